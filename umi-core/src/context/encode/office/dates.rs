//! The dates of a workbook, which are numbers of days with a format.

use jiff::{ToSpan, civil::date};
use quick_xml::events::Event;

use super::{attribute, each_event};
use crate::error::Result;

/// The last day of the year 9999, which is the last that a sheet knows.
const LAST_DAY: f64 = 2_958_466.0;
const DAY_SECONDS: f64 = 86_400.0;

/// Which styles of cells show dates, and from when days are counted.
pub(super) struct Dates {
    /// Whether a style shows a date, by its number.
    pub(super) styles: Vec<bool>,
    /// Whether days are counted from 1904 on.
    pub(super) is_from_1904: bool,
}

impl Dates {
    /// A number as the date that its style makes of it.
    pub(super) fn shown(&self, value: &str, style: Option<usize>) -> Option<String> {
        if !*self.styles.get(style?)? {
            return None;
        }
        let days: f64 = value.trim().parse::<f64>().ok().filter(|days| (0.0..LAST_DAY).contains(days))?;
        let seconds = ((days - days.floor()) * DAY_SECONDS).round();
        let first = match (self.is_from_1904, days) {
            (true, _) => date(1904, 1, 1),
            // A leap day in 1900, which was none, is counted since the first sheets did so.
            (false, ..60.0) => date(1899, 12, 31),
            (false, _) => date(1899, 12, 30),
        };
        let at = first.at(0, 0, 0, 0).checked_add((days.floor() as i64).days()).ok()?;
        let at = at.checked_add((seconds as i64).seconds()).ok()?;
        Some(match (days < 1.0, seconds == 0.0) {
            (true, _) => at.strftime("%H:%M:%S").to_string(),
            (false, true) => at.strftime("%Y-%m-%d").to_string(),
            (false, false) => at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        })
    }
}

/// Whether each style of cells shows a date.
pub(super) fn styles(xml: &str) -> Result<Vec<bool>> {
    let (mut own, mut styles, mut is_cell) = (Vec::new(), Vec::new(), false);
    each_event(xml, |event| {
        match event {
            Event::Start(element) | Event::Empty(element) => {
                let number = || attribute(element, "numFmtId").and_then(|number| number.parse::<u32>().ok());
                match element.local_name().as_ref() {
                    "cellXfs" => is_cell = matches!(event, Event::Start(_)),
                    "numFmt" => {
                        if let (Some(number), Some(format)) = (number(), attribute(element, "formatCode")) {
                            own.push((number, is_date(&format)));
                        }
                    }
                    "xf" if is_cell => styles.push(number().is_some_and(|number| {
                        let own = own.iter().find(|(known, _)| *known == number).map(|(_, is_date)| *is_date);
                        own.unwrap_or(matches!(number, 14..=22 | 27..=36 | 45..=47 | 50..=58))
                    })),
                    _ => {}
                }
            }
            Event::End(element) if element.local_name().as_ref() == "cellXfs" => is_cell = false,
            _ => {}
        }
        Ok(())
    })?;
    Ok(styles)
}

/// Whether a format has letters of dates outside of what it shows as it is.
fn is_date(format: &str) -> bool {
    let (mut is_quoted, mut is_bracketed, mut is_escaped) = (false, false, false);
    for letter in format.chars() {
        if is_escaped {
            is_escaped = false;
            continue;
        }
        match letter {
            '\\' | '_' | '*' if !is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '[' if !is_quoted => is_bracketed = true,
            ']' => is_bracketed = false,
            'y' | 'm' | 'd' | 'h' | 's' | 'Y' | 'M' | 'D' | 'H' | 'S' if !is_quoted && !is_bracketed => return true,
            ';' if !is_quoted => return false,
            _ => {}
        }
    }
    false
}
