//! Trees of text, in five layouts.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use super::{
    super::{collection::Snapshot, items::Item, kinds::Kind, refs::shown},
    markdown::{self, cut, one_line_of, source_chars},
    metadata, paths,
};
use crate::error::{Error, Result};

/// How a tree is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// The items in the order in which they were added, with their metadata below them.
    #[default]
    Insertion,
    /// The folders in which the files lie, with the refs to the right.
    Paths,
    /// Grouped by kind.
    Kind,
    /// A line an item, its ref first.
    Flat,
    /// As [`Self::Paths`], with role, kind and metadata below each item.
    Hybrid,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Self; 5] = [Self::Insertion, Self::Paths, Self::Kind, Self::Flat, Self::Hybrid];

    /// The layout's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insertion => "insertion",
            Self::Paths => "paths",
            Self::Kind => "kind",
            Self::Flat => "flat",
            Self::Hybrid => "hybrid",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Layout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|layout| layout.as_str() == text).ok_or_else(|| {
            Error::invalid_input(format!("unknown layout `{}`", shown(text)))
                .with_hint(format!("known layouts: {}", Self::ALL.map(Self::as_str).join(", ")))
        })
    }
}

/// The characters before a child and before what is below it.
pub(super) fn branches(is_last: bool) -> (&'static str, &'static str) {
    if is_last { ("└── ", "    ") } else { ("├── ", "│   ") }
}

/// A tree of the items, without a line end behind its last line.
pub(crate) fn tree(items: &Snapshot, layout: Layout) -> String {
    let mut out = markdown::header(items);
    match layout {
        Layout::Insertion => insertion(&mut out, items),
        Layout::Kind => by_kind(&mut out, items),
        Layout::Flat => flat(&mut out, items),
        Layout::Paths => paths::append(&mut out, items, |_| Vec::new()),
        Layout::Hybrid => paths::append(&mut out, items, |item| {
            let mut words = vec![item.role().to_string(), item.kind().to_string()];
            words.extend(metadata::lines(item));
            vec![words.join(" · ")]
        }),
    }
    out
}

/// Where the content of an item is, on one line.
pub(super) fn source(item: &Item) -> String {
    let (description, limit) = (item.source().description(), source_chars(item));
    cut(&one_line_of(&description, limit), limit).into_owned()
}

fn insertion(out: &mut String, items: &Snapshot) {
    for (place, item) in items.iter().enumerate() {
        let (branch, below) = branches(place + 1 == items.len());
        let (ref_id, role, kind) = (item.ref_id().text(), item.role().as_str(), item.kind().as_str());
        push(out, format_args!("\n{branch}[{}] {}  {role}  {kind}  {}", place + 1, &*ref_id, source(item)));
        push_metadata(out, below, item);
    }
}

fn push_metadata(out: &mut String, prefix: &str, item: &Item) {
    let mut lines = metadata::lines(item).into_iter().peekable();
    while let Some(line) = lines.next() {
        let branch = if lines.peek().is_some() { "├─" } else { "└─" };
        push(out, format_args!("\n{prefix}{branch} {line}"));
    }
}

fn by_kind(out: &mut String, items: &Snapshot) {
    let mut groups: Vec<(Kind, Vec<(usize, &Item)>)> = Kind::ALL.map(|kind| (kind, Vec::new())).into();
    for (place, item) in items.iter().enumerate() {
        groups[item.kind() as usize].1.push((place + 1, item));
    }
    groups.retain(|(_, members)| !members.is_empty());
    for (index, (kind, members)) in groups.iter().enumerate() {
        let (branch, below) = branches(index + 1 == groups.len());
        push(out, format_args!("\n{branch}{kind} ({})", members.len()));
        for (place, (number, item)) in members.iter().enumerate() {
            let (branch, deeper) = branches(place + 1 == members.len());
            let (ref_id, role) = (item.ref_id().text(), item.role());
            push(out, format_args!("\n{below}{branch}[{number}] {}  {role}  {}", &*ref_id, source(item)));
            push_metadata(out, &format!("{below}{deeper}"), item);
        }
    }
}

fn flat(out: &mut String, items: &Snapshot) {
    let width = |cell: fn(&Item) -> usize| items.iter().map(cell).max().unwrap_or_default();
    let refs = width(|item| item.ref_id().text().len());
    let roles = width(|item| item.role().as_str().len());
    let kinds = width(|item| item.kind().as_str().len());
    for item in items.iter() {
        let (ref_id, role, kind) = (item.ref_id().text(), item.role().as_str(), item.kind().as_str());
        push(out, format_args!("\n{:refs$}  {role:roles$}  {kind:kinds$}  {}", &*ref_id, source(item)));
    }
}

/// Writing to a text cannot fail.
fn push(out: &mut String, line: fmt::Arguments<'_>) {
    let _ = out.write_fmt(line);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::{
        context::{Context, NewItem, Role, Url},
        metadata::Metadata,
    };

    fn example() -> Snapshot {
        let context = Context::sim(7);
        let metadata = |json: &str| Metadata::parse(json).unwrap();
        let file = |path: &str, kind| NewItem::known_file(PathBuf::from(path), kind);
        context.add(NewItem::text("You are\na terse\x1b visual analyst.").with_role(Role::System).unwrap()).unwrap();
        context.add(file("/home/ana/project/photo.jpg", Kind::Image)).unwrap();
        let paper = file("/home/ana/project/docs/2026/paper.pdf", Kind::Document);
        context
            .add(paper.with_metadata(metadata(r#"{"summary":"Attention is all you need","tags":["nlp","[bold]"]}"#)))
            .unwrap();
        let clip = file("/srv/clip.mp4", Kind::Video).with_metadata(metadata(r#"{"scene":3,"actor":"A"}"#));
        context.add(clip).unwrap();
        context.add(NewItem::url(Url::new("https://example.com/a/b.png?size=2", None).unwrap())).unwrap();
        context.add(NewItem::url(Url::new("https://example.com", None).unwrap())).unwrap();
        let bytes = NewItem::bytes(vec![0; 1_234], "image/png").unwrap();
        context.add(bytes.with_metadata(metadata(r#"{"note":"hero [/x] :smile:"}"#))).unwrap();
        context.add(file("/home/ana/project/photo.jpg", Kind::Image)).unwrap();
        context.snapshot()
    }

    #[test]
    fn every_layout_is_as_it_was() {
        for layout in Layout::ALL {
            insta::assert_snapshot!(layout.as_str(), tree(&example(), layout));
        }
    }

    #[test]
    fn an_empty_context_is_its_header() {
        let context = Context::with_session("s").unwrap();
        for layout in Layout::ALL {
            assert_eq!(tree(&context.snapshot(), layout), "Context(session=s, items=0)");
        }
        assert!("rainbow".parse::<Layout>().unwrap_err().to_string().contains("hybrid"));
    }

    #[test]
    fn deep_paths_and_thousands_of_items_are_shown() {
        let context = Context::sim(2);
        for index in 0..3_000 {
            context.add(NewItem::known_file(format!("/a/{}/{index}.txt", index % 7).into(), Kind::Text)).unwrap();
        }
        let mut deep = PathBuf::from("/");
        for _ in 0..300 {
            deep.push("d");
            context.add(NewItem::known_file(deep.join("e.txt"), Kind::Text)).unwrap();
        }
        for layout in Layout::ALL {
            assert!(tree(&context.snapshot(), layout).lines().count() > 3_300, "{layout}");
        }
    }

    #[test]
    fn real_files_lie_below_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a\nb.txt"), "x").unwrap();
        let context = Context::sim(1);
        context.add(NewItem::file(folder.path().join("a\nb.txt")).unwrap()).unwrap();
        let shown = tree(&context.snapshot(), Layout::Paths);
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(shown.contains("└── a b.txt  txt_"), "{shown}");
    }
}
