//! The texts of files: whole, their beginning or their end.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::Scan;
use crate::{
    context::{files::open_file, items::byte_count, refs::shown},
    error::{Error, ErrorKind, Result},
};

/// The most that is read of a file as a text, in bytes.
pub const TEXT_FILE_BYTES: usize = 64 * 1024 * 1024;

/// How much of a file tells whether it is a text, in bytes.
pub(super) const SAMPLE_BYTES: usize = 8 * 1024;

/// How much is read at once from the end of a file, in bytes.
const BLOCK_BYTES: u64 = 64 * 1024;

impl Scan {
    /// The text of a file; what is not UTF-8 in it is replaced by `U+FFFD`.
    ///
    /// # Errors
    /// `File` for a file that is not in this scan or cannot be read, `InvalidInput` for one with a zero byte at its
    /// beginning, `Capacity` for one of more than 64 MiB.
    pub fn text(&self, path: &Path) -> Result<String> {
        let (path, file) = self.open_text(path)?;
        let mut bytes = Vec::new();
        file.take(TEXT_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|cause| failed(&path, cause))?;
        checked(&path, bytes)
    }

    /// The first `lines` lines of a file, as [`Self::text`] gives them.
    ///
    /// # Errors
    /// As [`Self::text`], but that it is the lines that may have at most 64 MiB.
    pub fn head(&self, path: &Path, lines: usize) -> Result<String> {
        let (path, file) = self.open_text(path)?;
        let mut reader = BufReader::new(file).take(TEXT_FILE_BYTES as u64 + 1);
        let mut bytes = Vec::new();
        for _ in 0..lines {
            if reader.read_until(b'\n', &mut bytes).map_err(|cause| failed(&path, cause))? == 0 {
                break;
            }
        }
        checked(&path, bytes)
    }

    /// The last `lines` lines of a file, as [`Self::text`] gives them.
    ///
    /// # Errors
    /// As [`Self::head`].
    pub fn tail(&self, path: &Path, lines: usize) -> Result<String> {
        let (path, file) = self.open_text(path)?;
        let bytes = last_lines(file, lines).map_err(|cause| failed(&path, cause))?;
        checked(&path, bytes)
    }

    /// Opens a file of the scan that has no zero byte at its beginning.
    fn open_text(&self, path: &Path) -> Result<(PathBuf, File)> {
        let path = self.absolute(self.require(path)?);
        let opened = open_file(&path).and_then(|mut file| {
            let mut sample = Vec::with_capacity(SAMPLE_BYTES);
            file.by_ref().take(SAMPLE_BYTES as u64).read_to_end(&mut sample)?;
            file.rewind()?;
            Ok((file, sample.contains(&0)))
        });
        let (file, is_binary) = opened.map_err(|cause| failed(&path, cause))?;
        if is_binary {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            return Err(Error::invalid_input(format!("`{}` is not a text: it has a zero byte", shown(&name)))
                .with_hint("add it to a context, which renders it for a model"));
        }
        Ok((path, file))
    }
}

fn failed(path: &Path, cause: io::Error) -> Error {
    Error::file("cannot read", path, cause)
}

fn checked(path: &Path, bytes: Vec<u8>) -> Result<String> {
    if bytes.len() > TEXT_FILE_BYTES {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let message = format!("of `{}` more than {} would be read", shown(&name), byte_count(TEXT_FILE_BYTES as u64));
        return Err(Error::new(ErrorKind::Capacity, message)
            .with_sizes(TEXT_FILE_BYTES, bytes.len())
            .with_hint("ask for its head or tail"));
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The bytes of the last lines, at most one more than a text may have.
fn last_lines(mut file: File, lines: usize) -> io::Result<Vec<u8>> {
    let mut start = file.seek(SeekFrom::End(0))?;
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let (mut read, mut missing) = (0, lines);
    while start > 0 && missing > 0 && read <= TEXT_FILE_BYTES {
        let length = start.min(BLOCK_BYTES);
        start -= length;
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::with_capacity(length as usize);
        file.by_ref().take(length).read_to_end(&mut block)?;
        // the newline that ends the last line begins none
        let searched = if blocks.is_empty() && block.ends_with(b"\n") { block.len() - 1 } else { block.len() };
        for place in (0..searched).rev().filter(|&place| block[place] == b'\n').collect::<Vec<_>>() {
            missing -= 1;
            if missing == 0 {
                block.drain(..=place);
                break;
            }
        }
        read += block.len();
        blocks.push(block);
    }
    blocks.reverse();
    Ok(blocks.concat())
}
