//! Markdown: the summary that `repr` gives, and its tables.

use std::borrow::Cow;

use super::super::{
    collection::Snapshot,
    facts::Tier,
    items::{Item, ItemSource, Role},
    kinds::Kind,
    refs::RefId,
};

/// The characters of a source that are shown, but for a path, which is shown whole.
const SOURCE_CHARS: usize = 80;
/// The characters of a path or an address that are shown: more than any path has that a file system takes.
const PATH_CHARS: usize = 4_096;
/// The characters of a content that are shown.
const CONTENT_CHARS: usize = 120;
/// As many of what is extracted by the fast tier.
const FAST_CHARS: usize = 10_000;
/// A column is not made wider than this for the sake of a few long cells.
const COLUMN_CHARS: usize = 60;

/// The first line of every rendering.
pub(crate) fn header(items: &Snapshot) -> String {
    format!("Context(session={}, items={})", items.session_id(), items.len())
}

/// The header and the table of all items.
pub(crate) fn summary(items: &Snapshot) -> String {
    let mut out = header(items);
    out.push('\n');
    if !items.is_empty() {
        out.push('\n');
        out.push_str(&table(items.iter()));
    }
    out
}

/// A table of items, a line each. It is what [`Table`] makes of their cells, without a copy of those.
pub(crate) fn table<'a>(items: impl Iterator<Item = &'a Item> + Clone) -> String {
    let names = ["ref", "role", "kind", "source"];
    let mut widths = names.map(str::len);
    let ref_chars = Kind::ALL.map(|kind| RefId::new(kind, 0).text().len());
    let mut cells: Vec<Cow<'_, str>> = Vec::new();
    let mut bytes = 0;
    for item in items.clone() {
        let cell = source_cell(item);
        let chars = chars_of(&cell);
        let found = [ref_chars[item.kind() as usize], item.role().as_str().len(), item.kind().as_str().len(), chars];
        for (width, found) in widths.iter_mut().zip(found) {
            *width = (*width).max(found.min(COLUMN_CHARS));
        }
        bytes += cell.len().max(COLUMN_CHARS);
        cells.push(cell);
    }
    let [refs, roles, kinds, sources] = widths;
    // What stands between ref and source is the same for all items of a kind and a role.
    let between = Kind::ALL.map(|kind| {
        Role::ALL.map(|role| {
            let mut cells = String::new();
            push_end(&mut cells, ref_chars[kind as usize], refs);
            push_padded(&mut cells, role.as_str(), role.as_str().len(), roles);
            push_padded(&mut cells, kind.as_str(), kind.as_str().len(), kinds);
            cells.push_str("| ");
            cells
        })
    });
    let line = refs + roles + kinds + names.len() * 3 + 2;
    let mut out = String::with_capacity((cells.len() + 2) * line + bytes + 2 * sources);
    push_header(&mut out, &names, &widths);
    for (item, cell) in items.zip(cells) {
        out.push_str("| ");
        out.push_str(&item.ref_id().text());
        out.push_str(&between[item.kind() as usize][item.role() as usize]);
        out.push_str(&cell);
        push_end(&mut out, chars_of(&cell), sources);
        out.push_str("|\n");
    }
    out
}

/// The characters of a cell: one that is borrowed is plain.
#[expect(clippy::ptr_arg, reason = "it asks which of the two it is")]
fn chars_of(cell: &Cow<'_, str>) -> usize {
    match cell {
        Cow::Borrowed(text) => text.len(),
        Cow::Owned(text) => text.chars().count(),
    }
}

/// Where the content of an item is, as it stands in a cell.
fn source_cell(item: &Item) -> Cow<'_, str> {
    let limit = source_chars(item);
    match item.source().description() {
        Cow::Borrowed(text) => cell_of(text, limit),
        Cow::Owned(text) => Cow::Owned(cell_of(&text, limit).into_owned()),
    }
}

/// A text as it stands in a cell, cut to `limit` characters.
fn cell_of(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit && is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut cell = String::new();
    push_cell(&mut cell, &cut(&one_line_of(text, limit), limit));
    Cow::Owned(cell)
}

/// A table of items with what is told of them: their own content, or else their metadata's `summary` or `note`.
pub(crate) fn contents<'a>(described: impl Iterator<Item = (&'a Item, Cow<'a, str>)>, tier: Tier) -> String {
    let limit = if tier == Tier::Fast { FAST_CHARS } else { CONTENT_CHARS };
    let mut table = Table::new(&["ref", "role", "kind", "source", "content"]);
    for (item, content) in described {
        table.item(item);
        if content.trim().is_empty() {
            table.cell(&said(item).unwrap_or_default(), limit);
        } else {
            table.cell(content.trim(), limit);
        }
    }
    table.render()
}

/// A table of cells, row by row.
pub(crate) fn of_cells(names: &[&str], cells: impl Iterator<Item = String>) -> String {
    let mut table = Table::new(names);
    for cell in cells {
        table.cell(&cell, PATH_CHARS);
    }
    table.render()
}

/// What its user says of an item: the summary, or else the note.
fn said(item: &Item) -> Option<String> {
    let metadata = item.metadata()?;
    let text = |key| serde_json::from_str::<String>(&metadata.get(key)?).ok().filter(|text| !text.trim().is_empty());
    text("summary").or_else(|| text("note"))
}

/// Whether all characters of a text are of ASCII, can be seen and need no escape in a cell. Without an early end, which
/// lets the compiler look at many at once.
fn is_plain(text: &str) -> bool {
    text.bytes().fold(true, |is_plain, byte| is_plain & matches!(byte, b' '..=b'{' | b'}' | b'~'))
}

/// A table whose columns are as wide as their cells.
struct Table<'a> {
    names: &'a [&'a str],
    /// The text of all cells, row by row.
    text: String,
    /// Where each cell ends in the text, and how many characters it has.
    cells: Vec<(usize, usize)>,
}

impl<'a> Table<'a> {
    fn new(names: &'a [&'a str]) -> Self {
        Self { names, text: String::new(), cells: Vec::new() }
    }

    /// Adds the next cell, cut to `limit` characters.
    fn cell(&mut self, text: &str, limit: usize) {
        let cell = cell_of(text, limit);
        self.text.push_str(&cell);
        self.cells.push((self.text.len(), cell.chars().count()));
    }

    /// Adds the cells that every table of items has.
    fn item(&mut self, item: &Item) {
        self.cell(&item.ref_id().text(), SOURCE_CHARS);
        self.cell(item.role().as_str(), SOURCE_CHARS);
        self.cell(item.kind().as_str(), SOURCE_CHARS);
        self.cell(&item.source().description(), source_chars(item));
    }

    fn render(&self) -> String {
        let mut widths: Vec<usize> = self.names.iter().map(|name| name.len()).collect();
        for row in self.cells.chunks(widths.len()) {
            for (width, (_, chars)) in widths.iter_mut().zip(row) {
                *width = (*width).max((*chars).min(COLUMN_CHARS));
            }
        }
        let line: usize = widths.iter().map(|width| width + 3).sum::<usize>() + 2;
        let rows = self.cells.len() / widths.len() + 2;
        let mut out = String::with_capacity(rows * line + self.text.len() / 2);
        push_header(&mut out, self.names, &widths);
        let mut start = 0;
        for row in self.cells.chunks(widths.len()) {
            for ((end, chars), width) in row.iter().zip(&widths) {
                push_padded(&mut out, &self.text[start..*end], *chars, *width);
                start = *end;
            }
            out.push_str("|\n");
        }
        out
    }
}

/// Appends the names of the columns, and the line below them.
fn push_header(out: &mut String, names: &[&str], widths: &[usize]) {
    for (name, width) in names.iter().zip(widths) {
        push_padded(out, name, name.len(), *width);
    }
    out.push_str("|\n");
    for width in widths {
        out.push('|');
        out.extend(std::iter::repeat_n('-', width + 2));
    }
    out.push_str("|\n");
}

/// One more than the width of the widest column.
const SPACES: &str = "                                                             ";

fn push_padded(out: &mut String, cell: &str, chars: usize, width: usize) {
    out.push_str("| ");
    out.push_str(cell);
    push_end(out, chars, width);
}

/// Appends the white space behind a cell of so many characters.
fn push_end(out: &mut String, chars: usize, width: usize) {
    out.push_str(&SPACES[..=width.saturating_sub(chars)]);
}

/// The most characters of an item's source that are shown.
pub(crate) fn source_chars(item: &Item) -> usize {
    match item.source() {
        ItemSource::Path(_) | ItemSource::Url(_) => PATH_CHARS,
        _ => SOURCE_CHARS,
    }
}

/// Appends what is on one line already as the content of a cell: a pipe would end it, and so would one behind a
/// backslash, whose own escape it is.
fn push_cell(out: &mut String, text: &str) {
    for (place, character) in text.char_indices() {
        let rest = &text[place..];
        match character {
            '|' => out.push_str("\\|"),
            '\\' if rest.trim_start_matches('\\').starts_with('|') => out.push_str("\\\\"),
            other => out.push(other),
        }
    }
}

/// A text on one line: line ends and tabs become spaces, other control characters U+FFFD, so that no text can move the
/// cursor of a terminal.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    one_line_of(text, usize::MAX)
}

/// The beginning of a text on one line: enough of it to be cut to `limit` characters.
pub(crate) fn one_line_of(text: &str, limit: usize) -> Cow<'_, str> {
    let end = text.char_indices().nth(limit.saturating_add(1)).map_or(text.len(), |(end, _)| end);
    let text = &text[..end];
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let plain = |character: char| match character {
        '\n' | '\r' | '\t' => ' ',
        other if other.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    };
    Cow::Owned(text.chars().map(plain).collect())
}

/// A text of at most `limit` characters; the last one of a cut text is `…`.
pub(crate) fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit || text.chars().count() <= limit {
        return Cow::Borrowed(text);
    }
    let end = text.char_indices().nth(limit.saturating_sub(1)).map_or(text.len(), |(end, _)| end);
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Context, NewItem};

    #[test]
    fn a_cell_can_not_be_left() {
        let cell = |text: &str| {
            let mut out = String::new();
            push_cell(&mut out, text);
            out
        };
        assert_eq!(cell("a|b"), "a\\|b");
        assert_eq!(cell("a\\|b"), "a\\\\\\|b");
        assert_eq!(cell("a\\b"), "a\\b");
        assert_eq!(one_line("a\r\nb\x1b[2J"), "a  b\u{fffd}[2J");
    }

    #[test]
    fn texts_are_cut_at_characters() {
        assert_eq!(cut("ééé", 3), "ééé");
        assert_eq!(cut("éééé", 3), "éé…");
        assert_eq!(one_line_of(&"é".repeat(100), 3), "éééé");
    }

    #[test]
    fn items_are_shown_as_by_a_table_of_cells() {
        let context = Context::sim(7);
        let show = |context: &Context| {
            let items = context.snapshot();
            let mut cells = Table::new(&["ref", "role", "kind", "source"]);
            items.iter().for_each(|item| cells.item(item));
            assert_eq!(table(items.iter()), cells.render());
        };
        show(&context);
        for text in ["", "a|b\\|c", "é\n\x1b", &"é".repeat(100), &"x".repeat(59), &"x".repeat(61)] {
            let role = if text.is_empty() { Role::Developer } else { Role::User };
            context.add(NewItem::text(text.to_owned()).with_role(role).unwrap()).unwrap();
            show(&context);
        }
        for (kind, name) in [(Kind::Code, "/a.py"), (Kind::Image, "/ü|b.png"), (Kind::Document, "/very/long/")] {
            context.add(NewItem::known_file(name.repeat(9).into(), kind)).unwrap();
            show(&context);
        }
    }

    #[test]
    fn the_summary_is_a_table_with_columns_in_line() {
        let context = Context::sim(7);
        context.add(NewItem::text("You are terse.\nAlways.")).unwrap();
        context.add(NewItem::bytes(vec![0; 1_500], "image/png").unwrap()).unwrap();
        context.add(NewItem::text("x".repeat(100))).unwrap();
        insta::assert_snapshot!(summary(&context.snapshot()));
        assert!(!summary(&Context::sim(7).snapshot()).contains('|'));
    }
}
