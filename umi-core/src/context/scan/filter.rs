//! [`FileFilter`]: which files of a scan are kept.

use jiff::Timestamp;

use super::FileEntry;
use crate::{
    context::{kinds::Kind, refs::shown},
    error::{Error, Result},
};

/// Which files are kept: those that fit everything that is asked for.
///
/// # Example
/// ```
/// use umi_core::context::{FileFilter, Kind, parse_size};
/// let large_images = FileFilter::new().with_kinds([Kind::Image]).with_min_size(parse_size("1.5MB")?);
/// let scripts = FileFilter::new().with_extensions(["py", ".sh"]);
/// # drop((large_images, scripts));
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFilter {
    kinds: Option<Vec<Kind>>,
    extensions: Option<Vec<String>>,
    min_size: Option<u64>,
    max_size: Option<u64>,
    modified_after: Option<Timestamp>,
}

impl FileFilter {
    /// A filter that keeps every file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the files of some kinds.
    #[must_use]
    pub fn with_kinds(mut self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        self.kinds = Some(kinds.into_iter().collect());
        self
    }

    /// Keeps the files of some extensions, in any case, with or without the period. An empty one is that of a file
    /// without any.
    #[must_use]
    pub fn with_extensions<E: AsRef<str>>(mut self, extensions: impl IntoIterator<Item = E>) -> Self {
        let bare = |extension: E| {
            let extension = extension.as_ref();
            extension.strip_prefix('.').unwrap_or(extension).to_lowercase()
        };
        self.extensions = Some(extensions.into_iter().map(bare).collect());
        self
    }

    /// Keeps the files of at least so many bytes.
    #[must_use]
    pub fn with_min_size(mut self, bytes: u64) -> Self {
        self.min_size = Some(bytes);
        self
    }

    /// Keeps the files of at most so many bytes.
    #[must_use]
    pub fn with_max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes);
        self
    }

    /// Keeps the files that were changed after a time; those of which that is not known are left out.
    #[must_use]
    pub fn with_modified_after(mut self, time: Timestamp) -> Self {
        self.modified_after = Some(time);
        self
    }

    /// Whether a file is kept.
    pub fn matches(&self, entry: &FileEntry) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&entry.format.kind))
            && self.extensions.as_ref().is_none_or(|known| {
                let extension = entry.extension();
                let bare = extension.strip_prefix('.').unwrap_or_default();
                known.iter().any(|known| known == bare)
            })
            && self.min_size.is_none_or(|bytes| entry.size >= bytes)
            && self.max_size.is_none_or(|bytes| entry.size <= bytes)
            && self.modified_after.is_none_or(|time| entry.modified.is_some_and(|modified| modified > time))
    }
}

/// Reads a size in bytes, such as `512`, `1KB`, `1.5 MB` or `2GiB`: a thousand to the unit, or 1,024 with an `i`.
///
/// # Errors
/// `InvalidInput` for what is not one.
pub fn parse_size(text: &str) -> Result<u64> {
    let refused = || {
        Error::invalid_input(format!("`{}` is not a size", shown(text)))
            .with_hint("a size is a number with B, KB, MB, GB, TB, KiB, MiB, GiB or TiB, such as `1.5MB`")
    };
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(refused()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(refused);
    }
    match number.parse::<f64>() {
        Ok(value)
            if number.starts_with(|first: char| first.is_ascii_digit())
                && number.ends_with(|last: char| last.is_ascii_digit()) =>
        {
            let bytes = value * factor as f64;
            if bytes < u64::MAX as f64 { Ok(whole_bytes(bytes)) } else { Err(refused()) }
        }
        _ => Err(refused()),
    }
}

#[expect(clippy::cast_sign_loss, reason = "a size is not negative")]
fn whole_bytes(bytes: f64) -> u64 {
    bytes.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_the_units_of_people() {
        let cases = [
            ("0", 0),
            ("512", 512),
            ("1KB", 1_000),
            (" 1.5 mb ", 1_500_000),
            ("2GiB", 2 << 30),
            ("3k", 3_000),
            ("0.5KiB", 512),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in
            ["", "KB", "-1", "1 e3", "1e3", "1.", ".5", "1..2", "1KB2", "1 XB", "99999999TB", "1' OR '1'='1", "∞"]
        {
            assert!(parse_size(text).unwrap_err().is_invalid_input(), "{text}");
        }
    }
}
