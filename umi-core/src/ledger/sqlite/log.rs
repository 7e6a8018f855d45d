//! The write-ahead log, read beside SQLite: whether damage hides transactions that were acknowledged, and where the pages
//! are that it holds.
//!
//! SQLite reads a log up to the first frame whose checksum is wrong and takes everything behind it for what a crash left
//! of one transaction. Each transaction is on the disk before the next one begins, so a crash leaves no more than one; two
//! that follow one another behind a broken frame were acknowledged, and SQLite would drop them without a word.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

const HEADER_BYTES: usize = 32;
const FRAME_BYTES: usize = 24;
/// The magic number, whose last bit tells the order of bytes in checksums.
const MAGIC: u32 = 0x377f_0682;
/// How often a log is read that another process writes meanwhile. Damage is still there when it is read again.
const TRIES: usize = 4;
const DEFAULT_PAGE_BYTES: usize = 4_096;

/// Where a log holds the newest copy of each page.
pub(super) type Places = HashMap<u32, u64>;

/// What a log holds.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Whether transactions that were acknowledged lie behind a broken frame.
    pub(super) is_damaged: bool,
    /// The first frame that is broken or of an earlier log.
    broken_at: Option<u64>,
    /// The bytes of a page.
    pub(super) page_bytes: usize,
    /// The newest copies of pages, from what SQLite would read and, in a damaged log, from behind the damage.
    pub(super) places: Places,
    /// The pages of the database after the last transaction; 0 when there is none.
    pub(super) pages: u32,
}

type Sums = (u32, u32);

/// SQLite's checksum of an even number of words, going on from `sums`.
fn checksum(bytes: &[u8], is_big_endian: bool, (mut one, mut two): Sums) -> Sums {
    let word = |bytes: &[u8; 4]| if is_big_endian { u32::from_be_bytes(*bytes) } else { u32::from_le_bytes(*bytes) };
    for pair in bytes.as_chunks::<4>().0.as_chunks::<2>().0 {
        one = one.wrapping_add(word(&pair[0])).wrapping_add(two);
        two = two.wrapping_add(word(&pair[1])).wrapping_add(one);
    }
    (one, two)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Reads a log; none where there is none, or nothing in it.
pub(super) fn read(path: &Path) -> io::Result<Option<Log>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut log = None;
    let mut damaged_at = None;
    for _ in 0..TRIES {
        let Some(header) = read_header(&mut file)? else { return Ok(None) };
        let found = scan(&mut file, &header)?;
        let is_settled = read_header(&mut file)? == Some(header);
        if is_settled && (!found.is_damaged || found.broken_at == damaged_at) {
            return Ok(Some(found));
        }
        // What looks broken may be the work of a live writer, that began the log anew or wrote a frame after it was read
        // here and others behind it before those were. It is whole when it is read again; damage is still there.
        damaged_at = found.broken_at.filter(|_| is_settled);
        log = Some(found);
    }
    Ok(log.map(|log| Log { is_damaged: false, ..log }))
}

fn read_header(file: &mut File) -> io::Result<Option<[u8; HEADER_BYTES]>> {
    let mut header = [0; HEADER_BYTES];
    file.seek(SeekFrom::Start(0))?;
    match file.read_exact(&mut header) {
        Ok(()) => Ok(Some(header)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn scan(file: &mut File, header: &[u8; HEADER_BYTES]) -> io::Result<Log> {
    let is_big_endian = number(header, 0) == MAGIC | 1;
    let page_bytes = number(header, 8) as usize;
    let header_sums = (number(header, 24), number(header, 28));
    let is_sound = number(header, 0) & !1 == MAGIC
        && page_bytes.is_power_of_two()
        && (512..=65_536).contains(&page_bytes)
        && checksum(&header[..24], is_big_endian, (0, 0)) == header_sums;
    let page_bytes = if is_sound { page_bytes } else { DEFAULT_PAGE_BYTES };
    let mut salts = is_sound.then(|| [number(header, 16), number(header, 20)]);
    let mut before = header_sums;
    let mut is_broken = !is_sound;
    // Transactions in the run of frames that follow one another, and their pages: of the run behind the break.
    let mut commits = 0;
    let mut log = Log { page_bytes, broken_at: (!is_sound).then_some(0), ..Log::default() };
    let mut behind = Places::new();
    let mut pending: Vec<(u32, u64)> = Vec::new();
    let mut pages_behind = 0;

    let mut reader = BufReader::with_capacity(1 << 16, file);
    reader.seek(SeekFrom::Start(HEADER_BYTES as u64))?;
    let mut frame = vec![0; FRAME_BYTES + page_bytes];
    let mut at = HEADER_BYTES as u64;
    loop {
        match reader.read_exact(&mut frame) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        let (page, size) = (number(&frame, 0), number(&frame, 4));
        let sums = (number(&frame, 16), number(&frame, 20));
        let own = [number(&frame, 8), number(&frame, 12)];
        let is_of_log = *salts.get_or_insert(own) == own && page > 0;
        let found = checksum(&frame[FRAME_BYTES..], is_big_endian, checksum(&frame[..8], is_big_endian, before));
        let is_next = is_of_log && found == sums;
        before = sums;
        if is_next {
            pending.push((page, at + FRAME_BYTES as u64));
        } else {
            is_broken = true;
            log.broken_at.get_or_insert(at);
            pending.clear();
            commits = 0;
        }
        if size > 0 && is_of_log && (is_next || is_broken) {
            if is_broken {
                commits += 1;
                log.is_damaged |= commits >= 2;
                pages_behind = size;
                behind.extend(pending.drain(..));
            } else {
                log.pages = size;
                log.places.extend(pending.drain(..));
            }
        }
        at += frame.len() as u64;
    }
    if log.is_damaged {
        log.pages = log.pages.max(pages_behind);
        log.places.extend(behind);
    }
    Ok(log)
}
