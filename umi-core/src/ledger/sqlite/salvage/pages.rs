//! The pages of a database, read without SQLite: the cells of its leaves, each checked by itself.
//!
//! Nothing here trusts a pointer from another page but the one to a row's own overflow, so a page that is lost takes with
//! it only the rows that it held.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use crate::ledger::sqlite::{
    log::{self, Log},
    open::{self, HEADER_BYTES},
};

/// The page that holds this byte is never used: SQLite locks its bytes.
const LOCK_BYTE: usize = 0x4000_0000;
const TABLE_INTERIOR: u8 = 5;
const DEFAULT_PAGE_BYTES: usize = 4_096;
/// The most bytes of a row: four times what a text may have, and more than any row of the engine.
const ROW_BYTES: u64 = 64 * 1024 * 1024;
/// The most columns of a row.
const COLUMNS: usize = 64;

/// A column's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) page: u32,
    pub(super) cell: u16,
}

/// A row of a table, or an entry of a table that is its own index, which has no key.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) key: i64,
    pub(super) is_indexed: bool,
    pub(super) values: Vec<Value>,
}

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    TableLeaf,
    IndexLeaf,
    IndexInterior,
}

/// What a look at a page found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The number of its cells.
    Cells(u16),
    /// A page that holds no rows and points to others.
    Inner,
    /// A page that holds no rows, and is one only where something names it: overflow or free.
    Named {
        /// Whether it has nothing but zeros.
        is_zero: bool,
    },
    /// Bytes that no page has.
    Damaged,
}

/// A database and its log.
#[derive(Debug)]
pub(super) struct Pages {
    /// None where only the log is left.
    database: Option<File>,
    log: Option<(File, Log)>,
    page_bytes: usize,
    count: u32,
    /// The number of pages that the file's own header tells, which may be wrong.
    told: u32,
    length: u64,
    loaded: u32,
    page: Vec<u8>,
    /// The overflow pages of rows that were read.
    chained: HashSet<u32>,
}

impl Pages {
    /// Opens the files for reading alone.
    pub(super) fn open(database: &Path, wal: &Path) -> io::Result<Self> {
        let log = match log::read(wal)? {
            Some(log) => Some((File::open(wal)?, log)),
            None => None,
        };
        let mut file = match File::open(database) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && log.is_some() => None,
            Err(error) => return Err(error),
        };
        let length = file.as_ref().map(File::metadata).transpose()?.map_or(0, |metadata| metadata.len());
        let mut header = [0; HEADER_BYTES];
        let is_read = file.as_mut().is_some_and(|file| file.read_exact(&mut header).is_ok());
        let is_whole = is_read && open::is_sqlite(&header);
        let size = if is_whole { usize::from(u16::from_be_bytes([header[16], header[17]])) } else { 0 };
        let told = if is_whole { u32::from_be_bytes([header[28], header[29], header[30], header[31]]) } else { 0 };
        let is_size = |bytes: &usize| bytes.is_power_of_two() && *bytes >= 512;
        let logged = log.as_ref().map(|(_, log)| log.page_bytes);
        let page_bytes = Some(size).filter(is_size).or(logged).unwrap_or(DEFAULT_PAGE_BYTES);
        let log = log.filter(|(_, log)| log.page_bytes == page_bytes);
        let in_file = u32::try_from(length / page_bytes as u64).unwrap_or(u32::MAX);
        let in_log = log.as_ref().map_or(0, |(_, log)| log.pages);
        let count = if in_log > 0 { in_log } else { in_file };
        let (page, chained) = (vec![0; page_bytes], HashSet::new());
        Ok(Self { database: file, log, page_bytes, count, told, length, loaded: 0, page, chained })
    }

    /// The number of pages; the first is 1.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// The bytes of the database's file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the log tells the number of pages, so that the file may be shorter.
    pub(super) fn is_counted_by_log(&self) -> bool {
        self.log.as_ref().is_some_and(|(_, log)| log.pages > 0)
    }

    /// The newest header; none where it is not that of a SQLite file.
    pub(super) fn header(&mut self) -> Option<[u8; HEADER_BYTES]> {
        if !self.load(1) {
            return None;
        }
        self.page.first_chunk().copied().filter(open::is_sqlite)
    }

    /// The pages that are accounted for without rows of their own: free ones by the list of them, overflow by the rows
    /// that were read, and the one that SQLite never uses.
    pub(super) fn named(&mut self) -> HashSet<u32> {
        let mut named = self.chained.clone();
        named.extend(u32::try_from(LOCK_BYTE / self.page_bytes + 1));
        let Some(header) = self.header() else { return named };
        let mut trunk = header[32..].first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        while trunk != 0 && self.load(trunk) && named.insert(trunk) {
            let most = self.page_bytes / 4 - 2;
            let leaves = usize::try_from(self.four(4)).map_or(most, |leaves| leaves.min(most));
            named.extend((0..leaves).map(|leaf| self.four(8 + 4 * leaf)));
            trunk = self.four(0);
        }
        named
    }

    /// Whether the cells of a page, and what it says is free, are all of its content.
    pub(super) fn is_filled(&mut self, number: u32) -> bool {
        let Seen::Cells(cells) = self.look(number) else { return false };
        let Some(kind) = self.kind(number) else { return false };
        let start = Self::start(number);
        let first = start + if kind == Kind::IndexInterior { 12 } else { 8 };
        let mut filled = usize::from(self.page[start + 7]);
        for cell in 0..usize::from(cells) {
            let Some(bytes) = self.cell_bytes(self.two(first + 2 * cell), kind) else { return false };
            filled += bytes;
        }
        let mut free = self.two(start + 1);
        while free != 0 {
            let (next, bytes) = (self.two(free), self.two(free + 2));
            // They stand in order, which ends every walk.
            if bytes < 4 || (next != 0 && next <= free) {
                return false;
            }
            filled += bytes;
            free = next;
        }
        filled == self.page_bytes.saturating_sub(self.content(start))
    }

    /// The bytes of a cell on its own page.
    fn cell_bytes(&self, from: usize, kind: Kind) -> Option<usize> {
        let mut at = from;
        if kind == Kind::IndexInterior {
            at += 4;
        }
        let payload = usize::try_from(varint(&self.page, &mut at)?).ok()?;
        if kind == Kind::TableLeaf {
            varint(&self.page, &mut at)?;
        }
        let local = self.local(payload, kind);
        let end = at.checked_add(local)?.checked_add(if local < payload { 4 } else { 0 })?;
        (end <= self.page_bytes).then(|| (end - from).max(4))
    }

    /// Where the content of a page begins.
    fn content(&self, start: usize) -> usize {
        match self.two(start + 5) {
            0 => 65_536,
            at => at,
        }
    }

    /// Whether the loaded page is an inner one of a table, all of whose children can be there.
    fn is_inner(&self, start: usize, pages: u32) -> bool {
        let cells = self.two(start + 3);
        let is_page = |number: u32| (2..=pages).contains(&number);
        start + 12 + 2 * cells <= self.content(start)
            && is_page(self.four(start + 8))
            && (0..cells).all(|cell| is_page(self.four(self.two(start + 12 + 2 * cell))))
    }

    /// Whether the log hides transactions behind damage.
    pub(super) fn is_log_damaged(&self) -> bool {
        self.log.as_ref().is_some_and(|(_, log)| log.is_damaged)
    }

    /// Reads a page; false where the file ends before it, or the disk cannot read it.
    fn load(&mut self, number: u32) -> bool {
        if self.loaded == number {
            return true;
        }
        self.loaded = 0;
        if number == 0 || number > self.count {
            return false;
        }
        let place = self.log.as_ref().and_then(|(_, log)| log.places.get(&number).copied());
        let (file, at) = match (&mut self.log, place, &mut self.database) {
            (Some((file, _)), Some(at), _) => (file, at),
            (_, _, Some(file)) => (file, u64::from(number - 1) * self.page_bytes as u64),
            _ => return false,
        };
        let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut self.page));
        if read.is_ok() {
            self.loaded = number;
        }
        read.is_ok()
    }

    fn start(number: u32) -> usize {
        if number == 1 { HEADER_BYTES } else { 0 }
    }

    fn two(&self, at: usize) -> usize {
        self.page.get(at..at + 2).map_or(0, |bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    }

    fn four(&self, at: usize) -> u32 {
        self.page.get(at..at + 4).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    fn kind(&self, number: u32) -> Option<Kind> {
        match self.page.get(Self::start(number)) {
            Some(0x0d) => Some(Kind::TableLeaf),
            Some(0x0a) => Some(Kind::IndexLeaf),
            Some(0x02) => Some(Kind::IndexInterior),
            _ => None,
        }
    }

    /// Looks at a page.
    pub(super) fn look(&mut self, number: u32) -> Seen {
        if !self.load(number) {
            return Seen::Damaged;
        }
        let start = Self::start(number);
        let Some(kind) = self.kind(number) else {
            // Overflow and free pages begin with a page's number.
            return match self.page.get(start) {
                Some(&TABLE_INTERIOR) if self.is_inner(start, self.count.max(self.told)) => Seen::Inner,
                Some(0) => Seen::Named { is_zero: self.page.iter().all(|&byte| byte == 0) },
                _ => Seen::Damaged,
            };
        };
        let cells = self.two(start + 3);
        let first = start + if kind == Kind::IndexInterior { 12 } else { 8 };
        let content = self.content(start);
        let is_sound = first + 2 * cells <= content && content <= self.page_bytes && self.page[start + 7] <= 60;
        if is_sound { Seen::Cells(cells as u16) } else { Seen::Damaged }
    }

    /// Reads a row; none where any byte of it is not what it should be.
    pub(super) fn record(&mut self, place: Place) -> Option<Record> {
        let Seen::Cells(cells) = self.look(place.page) else { return None };
        let kind = self.kind(place.page)?;
        if place.cell >= cells {
            return None;
        }
        let first = Self::start(place.page) + if kind == Kind::IndexInterior { 12 } else { 8 };
        let mut at = self.two(first + 2 * usize::from(place.cell));
        if at < first + 2 * usize::from(cells) {
            return None;
        }
        if kind == Kind::IndexInterior {
            at += 4;
        }
        let payload = varint(&self.page, &mut at)?;
        let key = if kind == Kind::TableLeaf { varint(&self.page, &mut at)?.cast_signed() } else { 0 };
        if payload > ROW_BYTES {
            return None;
        }
        let bytes = self.payload(at, usize::try_from(payload).ok()?, kind)?;
        Some(Record { key, is_indexed: kind != Kind::TableLeaf, values: values(&bytes)? })
    }

    /// How many of a row's bytes are on its own page.
    fn local(&self, length: usize, kind: Kind) -> usize {
        let usable = self.page_bytes;
        let most = if kind == Kind::TableLeaf { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
        if length <= most {
            return length;
        }
        let least = (usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (usable - 4);
        if fitting <= most { fitting } else { least }
    }

    /// The bytes of a row, those of its overflow pages included.
    fn payload(&mut self, at: usize, length: usize, kind: Kind) -> Option<Vec<u8>> {
        let (usable, local) = (self.page_bytes, self.local(length, kind));
        if local == length {
            return self.page.get(at..at + length).map(<[u8]>::to_vec);
        }
        let mut bytes = self.page.get(at..at + local)?.to_vec();
        if at + local + 4 > self.page.len() {
            return None;
        }
        let mut next = self.four(at + local);
        while bytes.len() < length {
            if !self.load(next) {
                return None;
            }
            self.chained.insert(next);
            next = self.four(0);
            let part = (length - bytes.len()).min(usable - 4);
            bytes.extend_from_slice(&self.page[4..4 + part]);
        }
        // The last page of a chain names none.
        (next == 0).then_some(bytes)
    }
}

/// SQLite's number of one to nine bytes.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for index in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if index == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(value)
}

/// The values of a record, which must fill it.
fn values(bytes: &[u8]) -> Option<Vec<Value>> {
    let mut at = 0;
    let header = usize::try_from(varint(bytes, &mut at)?).ok()?;
    if header > bytes.len() {
        return None;
    }
    let mut body = header;
    let mut values = Vec::with_capacity(16);
    while at < header {
        let kind = varint(&bytes[..header], &mut at)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let content = bytes.get(body..body.checked_add(length)?)?;
        body += length;
        values.push(match kind {
            0 => Value::Null,
            7 => Value::Real(f64::from_be_bytes(*content.first_chunk()?)),
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            1..=6 => Value::Integer(integer(content)),
            _ if kind % 2 == 0 => Value::Blob(content.to_vec()),
            _ => Value::Text(String::from_utf8(content.to_vec()).ok()?),
        });
        if values.len() > COLUMNS {
            return None;
        }
    }
    (body == bytes.len()).then_some(values)
}

/// A signed number in big-endian order.
fn integer(bytes: &[u8]) -> i64 {
    let first = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(first, |value, &byte| value << 8 | i64::from(byte))
}
