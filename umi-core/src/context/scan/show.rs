//! A scan as a text for people.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{COLUMNS, Cell, REF_COLUMNS, Scan, table::Described};
use crate::{
    context::{
        items::byte_count,
        kinds::Kind,
        refs::shown,
        render::markdown::{self, one_line},
    },
    error::{Error, Result},
};

/// The columns that are shown unless others are asked for.
const SHOWN_COLUMNS: [&str; 4] = ["path", "kind", "size", "modified"];

impl Scan {
    /// A Markdown table of the first `limit` files, with a line that says how many more there are.
    ///
    /// The columns are path, kind, size and time of change, and with `refs` the ref, unless `columns` names those of
    /// [`COLUMNS`] and [`REF_COLUMNS`] that are wanted. A size is told in its unit, a time in UTC.
    ///
    /// # Errors
    /// `InvalidInput` for an unknown column, and where there is none.
    pub fn show(&self, limit: usize, columns: Option<&[&str]>, refs: bool) -> Result<String> {
        let mut names = columns.map_or_else(|| SHOWN_COLUMNS.to_vec(), <[&str]>::to_vec);
        if refs && !names.contains(&"ref_id") {
            names.push("ref_id");
        }
        if names.is_empty() {
            return Err(
                Error::invalid_input("a table needs a column").with_hint("leave `columns` out for the usual ones")
            );
        }
        let known = || COLUMNS.iter().chain(&REF_COLUMNS).copied();
        if let Some(unknown) = names.iter().find(|name| !known().any(|column| column == **name)) {
            return Err(Error::invalid_input(format!("unknown column `{}`", shown(unknown)))
                .with_hint(format!("the columns are: {}", known().collect::<Vec<_>>().join(", "))));
        }
        let cells = self.entries.iter().take(limit).flat_map(|entry| {
            let described = Described::new(entry);
            names.iter().map(move |name| text(name, described.cell(name, self.session_id()))).collect::<Vec<_>>()
        });
        let mut out = markdown::of_cells(&names, cells);
        if let Some(more) = self.len().checked_sub(limit).filter(|more| *more > 0) {
            let _ = writeln!(out, "and {more} more");
        }
        Ok(out)
    }

    /// What was scanned in a few lines: root, session, files by kind, and what could not be read.
    pub fn info(&self) -> String {
        let mut kinds: BTreeMap<Kind, (usize, u64)> = BTreeMap::new();
        for entry in &self.entries {
            let (files, bytes) = kinds.entry(entry.format.kind).or_default();
            *files += 1;
            *bytes += entry.size;
        }
        let total = kinds.values().map(|(_, bytes)| bytes).sum();
        let root = self.root().to_string_lossy();
        let mut out = format!("root:    {}\nsession: {}\n", one_line(&root), self.session_id());
        let _ = writeln!(out, "files:   {} ({})", self.len(), byte_count(total));
        for (kind, (files, bytes)) in kinds {
            let _ = writeln!(out, "  {:<9}{files} ({})", kind.as_str(), byte_count(bytes));
        }
        if self.links() > 0 {
            let _ = writeln!(out, "symbolic links, not followed: {}", self.links());
        }
        if !self.errors().is_empty() {
            let _ = writeln!(out, "errors:  {}", self.errors().len());
            for error in self.errors().iter().take(10) {
                let _ = writeln!(out, "  {}", one_line(&error.to_string()));
            }
            if let Some(more) = self.errors().len().checked_sub(10).filter(|more| *more > 0) {
                let _ = writeln!(out, "  and {more} more");
            }
        }
        out
    }

    /// The root, the session and how many files there are, in a line.
    pub fn header(&self) -> String {
        let root = self.root().to_string_lossy();
        format!("Context(root={}, session={}, files={})", one_line(&root), self.session_id(), self.len())
    }
}

fn text(column: &str, cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Text(text) => text.to_owned(),
        Cell::Integer(number) if column == "size" => byte_count(number.unsigned_abs()),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Truth(truth) => truth.to_string(),
        Cell::Time(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Cell::Bytes(bytes) => byte_count(bytes.len() as u64),
    }
}
