//! The text of office documents: docx, pptx, xlsx and the `OpenDocument` ones, within limits that hold while they are
//! unpacked.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Cursor, Read},
};

use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use zip::ZipArchive;

use self::{
    dates::Dates,
    sheet::{shared_strings, sheet},
};
use super::{broken, guarded, too_large};
use crate::error::Result;

mod dates;
mod sheet;

/// The most files in a document.
const FILES: usize = 20_000;
/// The most bytes that a document may have, unpacked.
const UNPACKED_BYTES: usize = 128 * 1024 * 1024;
/// The most bytes of text that is taken out of a document.
const TEXT_BYTES: usize = 8 * 1024 * 1024;
/// What a cell takes beside its text, in bytes.
const CELL_BYTES: usize = size_of::<String>();
/// The most empty cells that are shown in front of one.
const COLUMNS: usize = 256;

/// The text of an office document, with its headings, lists and tables as in Markdown.
pub(in crate::context) fn office_text(bytes: &[u8]) -> Result<String> {
    if bytes.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
        return Err(broken("an office document of today").with_hint("save it as docx, pptx or xlsx, or as PDF"));
    }
    if bytes.starts_with(b"{\\rtf") {
        return Err(broken("an office document").with_hint("save it as docx or as PDF"));
    }
    text_within(bytes, UNPACKED_BYTES)
}

fn text_within(bytes: &[u8], limit: usize) -> Result<String> {
    let text = guarded("an office document", || Package::open(bytes, limit)?.text())?;
    Ok(text.trim().to_owned())
}

/// A packed document.
struct Package<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// How many bytes may be unpacked, and how many still.
    limit: usize,
    left: usize,
}

impl<'a> Package<'a> {
    fn open(bytes: &'a [u8], limit: usize) -> Result<Self> {
        let unreadable = |error| broken("an office document").with_source(error);
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(unreadable)?;
        if archive.len() > FILES {
            return Err(too_large("files", FILES, archive.len() as u64));
        }
        Ok(Self { archive, limit, left: limit })
    }

    fn text(&mut self) -> Result<String> {
        if self.has("word/document.xml") {
            return markup(&self.must_read("word/document.xml")?, false);
        }
        if self.has("ppt/presentation.xml") {
            return self.slides();
        }
        if self.has("xl/workbook.xml") {
            return self.sheets();
        }
        if self.has("content.xml") {
            return markup(&self.must_read("content.xml")?, true);
        }
        Err(broken("an office document").with_hint("known ones: docx, pptx, xlsx, odt, odp, ods"))
    }

    fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(name).is_some()
    }

    /// The text of a file in it, which is refused by the size that it says, and by the one that it has.
    fn read(&mut self, name: &str) -> Result<Option<String>> {
        if !self.has(name) {
            return Ok(None);
        }
        let unreadable = |error| broken("an office document").with_source(error);
        let file = self.archive.by_name(name).map_err(unreadable)?;
        let whole = self.limit;
        let refused = |size: u64| too_large("bytes unpacked", whole, size);
        if file.size() > self.left as u64 {
            return Err(refused(file.size()));
        }
        let mut bytes = Vec::new();
        let limit = self.left as u64;
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| broken("an office document").with_source(error))?;
        self.left = self.left.checked_sub(bytes.len()).ok_or_else(|| refused(limit + 1))?;
        let text = match bytes.strip_prefix(b"\xef\xbb\xbf") {
            Some(text) => text.to_vec(),
            None => bytes,
        };
        let text = String::from_utf8(text).map_err(|error| broken("an office document").with_source(error))?;
        Ok(Some(text))
    }

    fn must_read(&mut self, name: &str) -> Result<String> {
        self.read(name)?.ok_or_else(|| broken("an office document"))
    }

    /// The files that a part of the document names, by their ids.
    fn relations(&mut self, part: &str) -> Result<BTreeMap<String, String>> {
        let (folder, name) = part.rsplit_once('/').unwrap_or(("", part));
        let mut files = BTreeMap::new();
        let Some(xml) = self.read(&format!("{folder}/_rels/{name}.rels"))? else { return Ok(files) };
        each_start(&xml, |element| {
            if element.local_name().as_ref() == "Relationship"
                && let (Some(id), Some(target)) = (attribute(element, "Id"), attribute(element, "Target"))
            {
                files.insert(id, resolve(folder, &target));
            }
            Ok(())
        })?;
        Ok(files)
    }

    fn slides(&mut self) -> Result<String> {
        let xml = self.must_read("ppt/presentation.xml")?;
        let files = self.relations("ppt/presentation.xml")?;
        let mut slides = Vec::new();
        each_start(&xml, |element| {
            if element.local_name().as_ref() == "sldId"
                && let Some(file) = attribute(element, "r:id").and_then(|id| files.get(&id))
            {
                slides.push(file.clone());
            }
            Ok(())
        })?;
        let mut text = String::new();
        for (index, slide) in slides.iter().enumerate() {
            let xml = self.must_read(slide)?;
            let _ = write!(text, "\n\n## Slide {}\n\n{}", index + 1, markup(&xml, false)?.trim());
            let notes = self.relations(slide)?.into_values().find(|file| file.contains("notesSlide"));
            if let Some(xml) = notes.map(|file| self.read(&file)).transpose()?.flatten() {
                let notes = markup(&xml, false)?;
                if !notes.trim().is_empty() {
                    let _ = write!(text, "\n\nNotes: {}", notes.trim());
                }
            }
            check_text(text.len())?;
        }
        Ok(text)
    }

    fn sheets(&mut self) -> Result<String> {
        let xml = self.must_read("xl/workbook.xml")?;
        let files = self.relations("xl/workbook.xml")?;
        let shared = match self.read("xl/sharedStrings.xml")? {
            Some(xml) => shared_strings(&xml)?,
            None => Vec::new(),
        };
        let dates = Dates {
            styles: self.read("xl/styles.xml")?.map(|xml| dates::styles(&xml)).transpose()?.unwrap_or_default(),
            is_from_1904: xml.contains("date1904=\"1\"") || xml.contains("date1904=\"true\""),
        };
        let mut sheets = Vec::new();
        each_start(&xml, |element| {
            if element.local_name().as_ref() == "sheet"
                && let Some(file) = attribute(element, "r:id").and_then(|id| files.get(&id))
            {
                sheets.push((attribute(element, "name").unwrap_or_default(), file.clone()));
            }
            Ok(())
        })?;
        let mut text = String::new();
        for (name, file) in sheets {
            let Some(xml) = self.read(&file)? else { continue };
            let _ = write!(text, "\n\n## {name}\n\n");
            sheet(&xml, &shared, &dates, &mut text)?;
        }
        Ok(text)
    }
}

/// A path in a document, as seen from a folder of it.
fn resolve(folder: &str, target: &str) -> String {
    if let Some(absolute) = target.strip_prefix('/') {
        return absolute.to_owned();
    }
    let mut path: Vec<&str> = folder.split('/').collect();
    for step in target.split('/') {
        match step {
            ".." => drop(path.pop()),
            "." => {}
            step => path.push(step),
        }
    }
    path.join("/")
}

fn each_event(xml: &str, mut read: impl FnMut(&Event<'_>) -> Result<()>) -> Result<()> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    loop {
        match reader.read_event() {
            Ok(Event::Eof) => return Ok(()),
            Ok(event) => read(&event)?,
            Err(error) => return Err(broken("an office document").with_source(error)),
        }
    }
}

fn each_start(xml: &str, mut read: impl FnMut(&BytesStart<'_>) -> Result<()>) -> Result<()> {
    each_event(xml, |event| match event {
        Event::Start(element) | Event::Empty(element) => read(element),
        _ => Ok(()),
    })
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.attributes().filter_map(Result::ok).find(|attribute| attribute.key.as_ref() == name)?;
    Some(attribute.normalized_value(XmlVersion::Implicit1_0).ok()?.into_owned())
}

/// The characters of an event, if it has any.
fn characters(event: &Event<'_>) -> Option<String> {
    match event {
        Event::Text(text) => Some(text.xml10_content().into_owned()),
        Event::CData(text) => Some(text.xml10_content().into_owned()),
        Event::GeneralRef(reference) => {
            let name = reference.xml10_content();
            if let Ok(Some(character)) = reference.resolve_char_ref() {
                return Some(character.to_string());
            }
            quick_xml::escape::resolve_predefined_entity(&name).map(str::to_owned)
        }
        _ => None,
    }
}

/// Refuses more text than is taken out of a document, of which so many bytes are held already.
fn check_text(bytes: usize) -> Result<()> {
    if bytes > TEXT_BYTES {
        return Err(too_large("bytes of text", TEXT_BYTES, bytes as u64));
    }
    Ok(())
}

/// The paragraphs and tables of a text, a slide or an `OpenDocument` file.
fn markup(xml: &str, is_open: bool) -> Result<String> {
    let mut writer = Writer { is_open, ..Writer::default() };
    each_event(xml, |event| {
        match event {
            Event::Start(element) => writer.start(element),
            Event::Empty(element) => {
                writer.start(element);
                writer.end(element.local_name().as_ref());
            }
            Event::End(element) => writer.end(element.local_name().as_ref()),
            other => {
                if let Some(text) = characters(other) {
                    writer.text(&text);
                }
            }
        }
        check_text(writer.done.len() + writer.paragraph.len() + writer.held)
    })?;
    Ok(writer.done)
}

#[derive(Default)]
struct Writer {
    is_open: bool,
    done: String,
    /// The paragraph that is being read, and what goes before it.
    paragraph: String,
    mark: String,
    /// How deep in elements whose characters are shown, and in ones that repeat what was shown.
    shown: usize,
    repeated: usize,
    /// The cells of the rows that are being read, the innermost last.
    rows: Vec<Vec<String>>,
    /// The bytes of text in them.
    held: usize,
    /// How often the cell that is being read stands in its row, and how many at the end of the row are one empty cell.
    times: usize,
    empty: usize,
    /// How many rows of the table came before.
    tables: Vec<usize>,
}

impl Writer {
    fn start(&mut self, element: &BytesStart<'_>) {
        let name = element.local_name();
        match name.as_ref() {
            "Fallback" => self.repeated += 1,
            "t" if !self.is_open => self.shown += 1,
            "p" if self.is_open => self.shown += 1,
            "h" if self.is_open => {
                self.shown += 1;
                let level = attribute(element, "text:outline-level").and_then(|level| level.parse().ok()).unwrap_or(1);
                self.mark = heading(level);
            }
            "pStyle" => {
                let style = attribute(element, "w:val").unwrap_or_default();
                if style == "Title" {
                    self.mark = heading(1);
                } else if let Some(level) = style.strip_prefix("Heading").and_then(|level| level.parse().ok()) {
                    self.mark = heading(level);
                }
            }
            "numPr" if self.mark.is_empty() => self.mark.push_str("- "),
            "list-item" => "- ".clone_into(&mut self.mark),
            "tab" => self.add("\t"),
            "br" | "cr" | "line-break" => self.add("\n"),
            "s" if self.is_open => self.add(" "),
            "tbl" | "table" => {
                self.flush();
                self.tables.push(0);
            }
            "tr" | "table-row" => self.rows.push(Vec::new()),
            "tc" | "table-cell" | "covered-table-cell" => {
                let times = attribute(element, "table:number-columns-repeated").and_then(|times| times.parse().ok());
                (self.times, self.empty) = (times.unwrap_or(1), 0);
                if let Some(row) = self.rows.last_mut() {
                    row.push(String::new());
                    self.held += CELL_BYTES;
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "Fallback" => self.repeated = self.repeated.saturating_sub(1),
            "t" if !self.is_open => self.shown = self.shown.saturating_sub(1),
            "p" | "h" => {
                if self.is_open {
                    self.shown = self.shown.saturating_sub(1);
                }
                self.flush();
            }
            "table-cell" | "covered-table-cell" => self.repeat(),
            "tr" | "table-row" => {
                if let Some(mut row) = self.rows.pop() {
                    self.held = self.held.saturating_sub(row.iter().map(|cell| CELL_BYTES + cell.len()).sum());
                    // Sheets fill their rows up to the last column.
                    row.truncate(row.len() - std::mem::take(&mut self.empty).min(row.len()));
                    self.row(&row);
                }
            }
            "tbl" | "table" => {
                self.tables.pop();
                self.done.push('\n');
            }
            _ => {}
        }
    }

    /// Puts the cell that was read into its row as often as it stands there, within the columns that are shown.
    fn repeat(&mut self) {
        let times = std::mem::replace(&mut self.times, 1);
        let Some(row) = self.rows.last_mut() else { return };
        let more = times.saturating_sub(1).min(COLUMNS.saturating_sub(row.len()));
        let Some(cell) = row.last().cloned().filter(|_| times > 1) else { return };
        if cell.is_empty() {
            self.empty = more + 1;
        }
        self.held += more * (CELL_BYTES + cell.len());
        if self.held <= TEXT_BYTES {
            row.extend(std::iter::repeat_n(cell, more));
        }
    }

    fn text(&mut self, text: &str) {
        if self.shown > 0 {
            self.add(text);
        }
    }

    fn add(&mut self, text: &str) {
        if self.repeated == 0 {
            self.paragraph.push_str(text);
        }
    }

    /// Ends a paragraph: in the cell of a table, or on its own.
    fn flush(&mut self) {
        let (text, mark) = (std::mem::take(&mut self.paragraph), std::mem::take(&mut self.mark));
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            let before = cell.len();
            if !cell.is_empty() {
                cell.push(' ');
            }
            cell.push_str(text);
            self.held += cell.len() - before;
            return;
        }
        let is_item = mark == "- ";
        if !(self.done.is_empty() || is_item && self.done.ends_with('\n') && last_line(&self.done).starts_with("- ")) {
            self.done.push('\n');
        }
        self.done.push_str(&mark);
        self.done.push_str(text);
        self.done.push('\n');
    }

    fn row(&mut self, cells: &[String]) {
        if cells.iter().all(String::is_empty) {
            return;
        }
        let row = table_row(cells);
        // A table in the cell of another one.
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            let text = cells.join(" ");
            self.held += text.len();
            cell.push_str(&text);
            return;
        }
        let before = self.tables.last_mut().map_or(1, |rows| std::mem::replace(rows, *rows + 1));
        if before == 0 {
            if !self.done.is_empty() {
                self.done.push('\n');
            }
            self.done.push_str(&row);
            let _ = writeln!(self.done, "|{}", " --- |".repeat(cells.len()));
        } else {
            self.done.push_str(&row);
        }
    }
}

fn heading(level: usize) -> String {
    format!("{} ", "#".repeat(level.clamp(1, 6)))
}

fn last_line(text: &str) -> &str {
    text.trim_end_matches('\n').rsplit('\n').next().unwrap_or_default()
}

fn table_row(cells: &[String]) -> String {
    let mut row = String::from("|");
    for cell in cells {
        row.push(' ');
        row.push_str(&cell.replace('|', "\\|").replace(['\n', '\t'], " "));
        row.push_str(" |");
    }
    row.push('\n');
    row
}

#[cfg(test)]
mod tests;
