//! The search for a pattern in the texts of a scan, in parallel.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use parking_lot::Mutex;
use regex::bytes::{Regex, RegexBuilder};

use super::{FileEntry, Scan, read::SAMPLE_BYTES, sql::RESULT_BYTES};
use crate::{
    context::{files::open_file, refs::shown},
    error::{Error, ErrorKind, Result},
};

/// The longest line that is searched, in bytes.
const LINE_BYTES: usize = 1024 * 1024;
/// The memory that a compiled pattern may take, in bytes.
const PATTERN_BYTES: usize = 10 * 1024 * 1024;

/// How a scan is searched.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrepOptions {
    ignore_case: bool,
    limit: Option<usize>,
}

impl GrepOptions {
    /// Every match; capital and small letters are apart.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether capital and small letters are the same.
    #[must_use]
    pub fn with_ignore_case(mut self, ignore_case: bool) -> Self {
        self.ignore_case = ignore_case;
        self
    }

    /// The most matches, the first in order.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// A line in which a pattern was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrepMatch {
    /// The file.
    pub entry: Arc<FileEntry>,
    /// The number of the line, from 1 on.
    pub line_number: u64,
    /// The line without its end; what is not UTF-8 in it is replaced by `U+FFFD`.
    pub line: String,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GrepResults {
    /// The matches by file and line.
    pub matches: Vec<GrepMatch>,
    /// The files that could not be searched, or not in whole.
    pub errors: Vec<Error>,
}

/// What is found in one file.
#[derive(Default)]
struct Searched {
    matches: Vec<GrepMatch>,
    errors: Vec<Error>,
}

impl Scan {
    /// The lines of all texts in which a regular expression is found.
    ///
    /// Files with a zero byte among their first 8 KiB are binary and left out. The pattern has the syntax of the crate
    /// `regex` and is matched in time linear in the length of a line; `^` and `$` are the ends of the line. Of a line of
    /// more than 1 MiB the beginning is searched, which an error says.
    ///
    /// # Errors
    /// `InvalidInput` for a pattern that is malformed or too large, `Capacity` where the lines found have more than 256 MiB.
    /// What is wrong with a file is among the results.
    ///
    /// # Example
    /// ```
    /// use umi_core::context::{GrepOptions, Scan, ScanOptions};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # std::fs::write(folder.path().join("a.txt"), "one\nTwo\n").unwrap();
    /// let scan = Scan::open(folder.path(), &ScanOptions::new())?;
    /// let found = scan.grep("t.o", GrepOptions::new().with_ignore_case(true))?;
    /// assert_eq!((found.matches[0].line_number, found.matches[0].line.as_str()), (2, "Two"));
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn grep(&self, pattern: &str, options: GrepOptions) -> Result<GrepResults> {
        let regex = RegexBuilder::new(pattern)
            .case_insensitive(options.ignore_case)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES)
            .build()
            .map_err(|error| {
                let message = format!("`{}` is not a regular expression", shown(pattern));
                Error::invalid_input(message).with_source(error)
            })?;
        let limit = options.limit.unwrap_or(usize::MAX);
        let (next, held) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let all: Mutex<Vec<(usize, Searched)>> = Mutex::default();
        let work = || {
            let mut reused = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(entry) = self.entries.get(place) else { return };
                if held.load(Ordering::Relaxed) > RESULT_BYTES {
                    return;
                }
                let searched = self.search(entry, &regex, limit, &held, &mut reused);
                if !searched.matches.is_empty() || !searched.errors.is_empty() {
                    all.lock().push((place, searched));
                }
            }
        };
        thread::scope(|scope| {
            // One thread fewer, because this one works too; it does the work of those that cannot be started.
            for _ in 1..self.folder.threads.min(self.entries.len()) {
                drop(thread::Builder::new().name("umi-grep".to_owned()).spawn_scoped(scope, work));
            }
            work();
        });
        if held.into_inner() > RESULT_BYTES {
            let message = format!("the lines found have more than {} MiB", RESULT_BYTES >> 20);
            return Err(Error::new(ErrorKind::Capacity, message)
                .with_sizes(RESULT_BYTES, RESULT_BYTES + 1)
                .with_hint("narrow the pattern, filter the files, or set a limit"));
        }
        let mut all = all.into_inner();
        all.sort_unstable_by_key(|(place, _)| *place);
        let mut results = GrepResults::default();
        for (_, searched) in all {
            results.matches.extend(searched.matches);
            results.errors.extend(searched.errors);
        }
        results.matches.truncate(limit);
        Ok(results)
    }

    fn search(
        &self,
        entry: &Arc<FileEntry>,
        regex: &Regex,
        limit: usize,
        held: &AtomicUsize,
        line: &mut Vec<u8>,
    ) -> Searched {
        let path = self.absolute(entry);
        let mut searched = Searched::default();
        let outcome = Lines::open(&path).and_then(|lines| {
            let Some(mut lines) = lines else { return Ok(()) };
            while searched.matches.len() < limit && held.load(Ordering::Relaxed) <= RESULT_BYTES && lines.next(line)? {
                if regex.is_match(line) {
                    let text = String::from_utf8_lossy(line).into_owned();
                    held.fetch_add(text.len(), Ordering::Relaxed);
                    searched.matches.push(GrepMatch {
                        entry: Arc::clone(entry),
                        line_number: lines.number,
                        line: text,
                    });
                }
            }
            if let Some(number) = lines.cut {
                searched.errors.push(cut(&path, number));
            }
            Ok(())
        });
        if let Err(cause) = outcome {
            searched.errors.push(Error::file("cannot search", &path, cause));
        }
        searched
    }
}

fn cut(path: &Path, number: u64) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let message = format!("line {number} of `{}` has more than 1 MiB: its beginning was searched", shown(&name));
    Error::new(ErrorKind::Capacity, message)
        .with_file(None, path.to_string_lossy())
        .with_sizes(LINE_BYTES, LINE_BYTES + 1)
}

/// The lines of a text.
struct Lines {
    reader: BufReader<File>,
    number: u64,
    /// The first line that was cut.
    cut: Option<u64>,
}

impl Lines {
    /// None for a binary file.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut reader = BufReader::with_capacity(8 * SAMPLE_BYTES, open_file(path)?);
        let start = reader.fill_buf()?;
        if start[..start.len().min(SAMPLE_BYTES)].contains(&0) {
            return Ok(None);
        }
        Ok(Some(Self { reader, number: 0, cut: None }))
    }

    /// Reads the next line without its end; false at the end of the file.
    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        if self.reader.by_ref().take(LINE_BYTES as u64).read_until(b'\n', line)? == 0 {
            return Ok(false);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else if line.len() == LINE_BYTES && self.reader.skip_until(b'\n')? > 1 {
            self.cut.get_or_insert(self.number);
        }
        Ok(true)
    }
}
