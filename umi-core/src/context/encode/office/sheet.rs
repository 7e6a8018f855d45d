//! The rows of a sheet of a workbook.

use std::fmt::Write as _;

use quick_xml::events::Event;

use super::{CELL_BYTES, COLUMNS, attribute, characters, check_text, dates::Dates, each_event, table_row};
use crate::{
    context::encode::broken,
    error::{Error, Result},
};

/// The texts that the cells of a workbook name by number.
pub(super) fn shared_strings(xml: &str) -> Result<Vec<String>> {
    let (mut strings, mut text, mut shown, mut phonetic) = (Vec::new(), String::new(), false, false);
    each_event(xml, |event| {
        match event {
            Event::Start(element) => match element.local_name().as_ref() {
                "t" => shown = true,
                "rPh" => phonetic = true,
                _ => {}
            },
            Event::End(element) => match element.local_name().as_ref() {
                "t" => shown = false,
                "rPh" => phonetic = false,
                "si" => strings.push(std::mem::take(&mut text)),
                _ => {}
            },
            Event::Empty(element) if element.local_name().as_ref() == "si" => strings.push(String::new()),
            other if shown && !phonetic => text.push_str(&characters(other).unwrap_or_default()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(strings)
}

/// The rows of a sheet.
pub(super) fn sheet(xml: &str, shared: &[String], dates: &Dates, text: &mut String) -> Result<()> {
    let mut row: Vec<String> = Vec::new();
    let (mut style, mut left_out) = (None, 0_usize);
    let (mut kind, mut column, mut value, mut is_value) = (String::new(), 0, String::new(), false);
    let (mut rows, mut held) = (0_usize, 0_usize);
    each_event(xml, |event| {
        match event {
            Event::Start(element) => match element.local_name().as_ref() {
                "c" => {
                    kind = attribute(element, "t").unwrap_or_default();
                    style = attribute(element, "s").and_then(|style| style.parse::<usize>().ok());
                    column = attribute(element, "r").map_or(row.len(), |place| column_of(&place));
                    value.clear();
                }
                "v" | "t" => is_value = true,
                _ => {}
            },
            Event::End(element) => match element.local_name().as_ref() {
                "v" | "t" => is_value = false,
                "c" => {
                    let date;
                    let shown = match kind.as_str() {
                        "s" => {
                            let number = value.trim().parse::<usize>().ok();
                            let string = number.and_then(|number| shared.get(number));
                            string.ok_or_else(|| broken("a sheet").with_hint("a cell names no text"))?.as_str()
                        }
                        "b" if value.trim() == "1" => "TRUE",
                        "b" => "FALSE",
                        "" | "n" => {
                            date = dates.shown(&value, style);
                            date.as_deref().unwrap_or(&value)
                        }
                        _ => value.as_str(),
                    };
                    // Many cells may name one long text.
                    held += CELL_BYTES + shown.len();
                    check_text(text.len() + held)?;
                    // Cells that are empty are not in the file.
                    if column > row.len() && column < COLUMNS {
                        row.resize(column, String::new());
                    }
                    if let Some(cell) = row.get_mut(column) {
                        shown.clone_into(cell);
                    } else if column == row.len() {
                        row.push(shown.to_owned());
                    } else {
                        left_out += 1;
                    }
                }
                "row" => {
                    held = 0;
                    let mut cells = std::mem::take(&mut row);
                    if left_out > 0 {
                        cells.push(format!("[left out further right: {left_out}]"));
                        left_out = 0;
                    }
                    if cells.iter().any(|cell| !cell.is_empty()) {
                        text.push_str(&table_row(&cells));
                        if rows == 0 {
                            let _ = writeln!(text, "|{}", " --- |".repeat(cells.len()));
                        }
                        rows += 1;
                        check_text(text.len())?;
                    }
                }
                _ => {}
            },
            other if is_value => value.push_str(&characters(other).unwrap_or_default()),
            _ => {}
        }
        Ok::<(), Error>(())
    })
}

/// The number of a column, from 0, of the place of a cell such as `AB12`.
fn column_of(place: &str) -> usize {
    let letters = place.bytes().take_while(u8::is_ascii_alphabetic).take(4);
    letters
        .fold(0_usize, |column, letter| column * 26 + usize::from(letter.to_ascii_uppercase() - b'A') + 1)
        .saturating_sub(1)
}
