//! The layouts that show where things are: folders, hosts, memory.

use std::path::Component;

use super::{
    super::{
        collection::Snapshot,
        items::{Item, ItemSource},
    },
    markdown::one_line,
    tree::{branches, source},
};

/// The refs begin in the same column, unless it would have to be further right than this.
const COLUMN_CHARS: usize = 80;
/// What things in memory are below.
const MEMORY: &str = "(in memory)";

/// An item with the names that lead to it, from the outermost folder on.
struct Place<'a> {
    names: Vec<String>,
    item: &'a Item,
}

/// A line of the tree; that of an item ends with its ref.
struct Line<'a> {
    text: String,
    item: Option<&'a Item>,
    /// What the lines below it begin with.
    below: String,
}

/// Appends the tree of the places; `details` gives lines to be shown below an item.
pub(super) fn append(out: &mut String, items: &Snapshot, details: impl Fn(&Item) -> Vec<String>) {
    let lines = lines_of(&places(items));
    let lengths: Vec<usize> = lines.iter().map(|line| line.text.chars().count()).collect();
    let of_items = lines.iter().zip(&lengths).filter(|(line, _)| line.item.is_some());
    let column = of_items.map(|(_, length)| (*length).min(COLUMN_CHARS)).max().unwrap_or_default();
    for (line, length) in lines.iter().zip(lengths) {
        out.push('\n');
        out.push_str(&line.text);
        let Some(item) = line.item else { continue };
        out.extend(std::iter::repeat_n(' ', column.saturating_sub(length) + 2));
        out.push_str(&item.ref_id().text());
        for detail in details(item) {
            out.push('\n');
            out.push_str(&line.below);
            out.push_str("  ");
            out.push_str(&detail);
        }
    }
}

/// Files by their path, then addresses by theirs, then what is in memory in the order of adding.
fn places(items: &Snapshot) -> Vec<Place<'_>> {
    let (mut files, mut addresses, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for item in items.iter() {
        match item.source() {
            ItemSource::Path(path) => {
                let name = |part: Component<'_>| one_line(&part.as_os_str().to_string_lossy()).into_owned();
                files.push(Place { names: path.components().map(name).collect(), item });
            }
            ItemSource::Url(url) => addresses.push(Place { names: names_of_address(url.as_str()), item }),
            _ => memory.push(Place { names: vec![MEMORY.to_owned(), source(item)], item }),
        }
    }
    files.sort_by(|one, other| one.names.cmp(&other.names));
    addresses.sort_by(|one, other| one.names.cmp(&other.names));
    files.into_iter().chain(addresses).chain(memory).collect()
}

/// The host with its scheme, and the parts of the path; a query belongs to the last one.
fn names_of_address(address: &str) -> Vec<String> {
    let start = address.find("://").map_or(0, |scheme| scheme + 3);
    let end = address[start..].find(['/', '?', '#']).map_or(address.len(), |end| start + end);
    let mut names = vec![address[..end].to_owned()];
    let path_end = address[end..].find(['?', '#']).map_or(address.len(), |query| end + query);
    let mut parts: Vec<String> = address[end..path_end].split('/').skip(1).map(str::to_owned).collect();
    match parts.last_mut() {
        Some(last) => last.push_str(&address[path_end..]),
        None => parts.push(address[path_end..].to_owned()),
    }
    if parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    if parts.is_empty() {
        parts.push("/".to_owned());
    }
    names.extend(parts);
    names
}

/// The lines of all places, folder by folder. Paths may be deeper than a stack, so that nothing calls itself here.
fn lines_of<'a>(places: &[Place<'a>]) -> Vec<Line<'a>> {
    let mut lines = Vec::with_capacity(places.len());
    // what is left of each open folder, all of which share the names before a depth
    let mut open: Vec<(&[Place<'a>], usize, String)> = vec![(places, 0, String::new())];
    while let Some((rest, depth, prefix)) = open.pop() {
        let Some(first) = rest.first() else { continue };
        let name = &first.names[depth];
        let is_leaf = first.names.len() == depth + 1;
        // items of one name are a line each, but a folder is gone into once
        let is_below = |place: &Place<'_>| place.names.len() > depth + 1 && place.names[depth] == *name;
        let taken = if is_leaf { 1 } else { rest.iter().take_while(|place| is_below(place)).count() };
        let (group, others) = rest.split_at(taken);
        let (branch, below) = branches(others.is_empty());
        let below = format!("{prefix}{below}");
        if is_leaf {
            lines.push(Line { text: format!("{prefix}{branch}{name}"), item: Some(first.item), below });
            open.push((others, depth, prefix));
        } else {
            let (label, deeper) = folder(group, depth);
            lines.push(Line { text: format!("{prefix}{branch}{label}"), item: None, below: String::new() });
            open.push((others, depth, prefix));
            open.push((group, deeper, below));
        }
    }
    lines
}

/// The name of a folder with those of the only folders in it, and the depth of what lies in the last of them.
fn folder(group: &[Place<'_>], depth: usize) -> (String, usize) {
    let mut label = group.first().map(|place| place.names[depth].clone()).unwrap_or_default();
    let mut depth = depth + 1;
    while let Some((first, others)) = group.split_first()
        && first.names.len() > depth + 1
        && others.iter().all(|place| place.names.len() > depth + 1 && place.names[depth] == first.names[depth])
    {
        if !label.ends_with('/') {
            label.push('/');
        }
        label.push_str(&first.names[depth]);
        depth += 1;
    }
    if label != MEMORY && !label.ends_with('/') {
        label.push('/');
    }
    (label, depth)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let names = |address: &str| names_of_address(address).join(" | ");
        assert_eq!(names("https://a.example"), "https://a.example | /");
        assert_eq!(names("https://a.example/"), "https://a.example | /");
        assert_eq!(names("https://a.example/x/y.png?z=/1"), "https://a.example | x | y.png?z=/1");
        assert_eq!(names("https://a.example?z=1"), "https://a.example | ?z=1");
        assert_eq!(names("https://a.example/x/"), "https://a.example | x");
    }
}
