//! What the containers MP4 (MOV, 3GP) and Matroska (`WebM`) say about a film, without decoding it.

use std::io::{self, Read, Seek, SeekFrom};

use crate::context::encode::VideoFacts;

/// How deep the boxes of a container are followed.
const DEPTH: usize = 6;

/// Duration and size of the pictures, where the container is one that is known and says them.
pub(in crate::context) fn film(bytes: &[u8]) -> Option<VideoFacts> {
    let mut facts = VideoFacts::default();
    if bytes.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
        let mut matroska = Matroska { facts, scale: 1_000_000.0, ticks: 0.0 };
        matroska.read(bytes, 0);
        facts = VideoFacts { seconds: matroska.ticks * matroska.scale / 1e9, ..matroska.facts };
    } else if bytes.get(4..8) == Some(b"ftyp") {
        boxes(bytes, 0, &mut facts);
    }
    (facts.width > 0 && facts.height > 0).then_some(facts)
}

/// The most bytes of the part of a container that tells of it.
const HEAD_BYTES: u64 = 64 * 1024 * 1024;
/// The most parts that are passed over in search of it.
const PARTS: usize = 10_000;

/// As [`film`], of a file, of which only the part that tells of it is read.
pub(in crate::context) fn film_of(mut file: impl Read + Seek) -> io::Result<Option<VideoFacts>> {
    let mut head = Vec::new();
    file.by_ref().take(1024 * 1024).read_to_end(&mut head)?;
    if head.get(4..8) != Some(b"ftyp") {
        return Ok(film(&head));
    }
    let (mut at, mut parts) = (0_u64, 0);
    while parts < PARTS {
        parts += 1;
        file.seek(SeekFrom::Start(at))?;
        let mut start = Vec::new();
        file.by_ref().take(16).read_to_end(&mut start)?;
        let (Some(short), Some(name)) = (number(&start, 0, 4), start.get(4..8)) else { break };
        let length = if short == 1 { number(&start, 8, 8).unwrap_or_default() } else { short };
        if name == b"moov" {
            let mut found = b"\0\0\0\x08ftyp".to_vec();
            file.seek(SeekFrom::Start(at))?;
            file.take(length.clamp(8, HEAD_BYTES)).read_to_end(&mut found)?;
            return Ok(film(&found));
        }
        at = match at.checked_add(length) {
            Some(next) if length >= 8 => next,
            _ => break,
        };
    }
    Ok(None)
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Reads the boxes of MP4: a length, a name, what it holds.
fn boxes(mut bytes: &[u8], depth: usize, facts: &mut VideoFacts) {
    while let (Some(short), Some(name)) = (number(bytes, 0, 4), bytes.get(4..8)) {
        let (start, length) = match short {
            0 => (8, bytes.len() as u64),
            1 => (16, number(bytes, 8, 8).unwrap_or_default()),
            short => (8, short),
        };
        let end = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
        let Some(inner) = bytes.get(start..end) else { return };
        match name {
            b"moov" | b"trak" if depth < DEPTH => boxes(inner, depth + 1, facts),
            b"mvhd" => {
                let is_long = inner.first() == Some(&1);
                let scale = number(inner, if is_long { 20 } else { 12 }, 4);
                let duration = if is_long { number(inner, 24, 8) } else { number(inner, 16, 4) };
                if let (Some(scale @ 1..), Some(duration)) = (scale, duration) {
                    facts.seconds = duration as f64 / scale as f64;
                }
            }
            b"tkhd" => {
                // The last two numbers, in 65536ths of a pixel, are 0 of a track without pictures.
                let at = inner.len().saturating_sub(8);
                if let (Some(width), Some(height)) = (number(inner, at, 2), number(inner, at + 4, 2))
                    && width > 0
                    && height > 0
                {
                    (facts.width, facts.height) = (width as u32, height as u32);
                }
            }
            _ => {}
        }
        bytes = &bytes[end.max(start)..];
    }
}

struct Matroska {
    facts: VideoFacts,
    /// Nanoseconds a tick.
    scale: f64,
    ticks: f64,
}

impl Matroska {
    /// Reads the elements of Matroska: an id, a length, what it holds.
    fn read(&mut self, mut bytes: &[u8], depth: usize) {
        while let Some((id, start, length)) = element(bytes) {
            let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
            let Some(inner) = bytes.get(start..end) else { return };
            match id {
                // Segment, Info, Tracks, TrackEntry, Video
                0x1853_8067 | 0x1549_a966 | 0x1654_ae6b | 0xae | 0xe0 if depth < DEPTH => self.read(inner, depth + 1),
                0x002a_d7b1 => self.scale = unsigned(inner) as f64,
                0x4489 => {
                    self.ticks = match (number(inner, 0, 4), number(inner, 0, 8)) {
                        (_, Some(bits)) => f64::from_bits(bits),
                        (Some(bits), None) => f64::from(f32::from_bits(bits as u32)),
                        _ => 0.0,
                    };
                }
                0xb0 => self.facts.width = unsigned(inner) as u32,
                0xba => self.facts.height = unsigned(inner) as u32,
                // The first cluster: all that is told comes before the pictures.
                0x1f43_b675 => return,
                _ => {}
            }
            bytes = &bytes[end..];
        }
    }
}

fn unsigned(bytes: &[u8]) -> u64 {
    number(bytes, 0, bytes.len().min(8)).unwrap_or_default()
}

/// An id, where its content begins, and how long that is; one of unknown length goes to the end.
fn element(bytes: &[u8]) -> Option<(u64, usize, u64)> {
    let id_length = bytes.first()?.leading_zeros() as usize + 1;
    let id = number(bytes, 0, id_length.min(4))?;
    let rest = bytes.get(id_length..)?;
    let length = rest.first()?.leading_zeros() as usize + 1;
    if length > 8 || id_length > 4 {
        return None;
    }
    let mask = (1_u64 << (7 * length)) - 1;
    let size = number(rest, 0, length)? & mask;
    Some((id, id_length + length, if size == mask { u64::MAX } else { size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_box(name: [u8; 4], inner: &[u8]) -> Vec<u8> {
        [&u32::try_from(inner.len() + 8).unwrap().to_be_bytes()[..], &name, inner].concat()
    }

    #[test]
    fn mp4_and_matroska_tell_their_length_and_size() {
        let mut head = vec![0; 100];
        head[12..16].copy_from_slice(&600_u32.to_be_bytes());
        head[16..20].copy_from_slice(&1_500_u32.to_be_bytes());
        let mut track = vec![0; 84];
        track[76..78].copy_from_slice(&640_u16.to_be_bytes());
        track[80..82].copy_from_slice(&480_u16.to_be_bytes());
        let sound = a_box(*b"trak", &a_box(*b"tkhd", &[0; 84]));
        let movie = [a_box(*b"mvhd", &head), a_box(*b"trak", &a_box(*b"tkhd", &track)), sound].concat();
        let file = [a_box(*b"ftyp", b"isom"), a_box(*b"moov", &movie)].concat();
        let facts = film(&file).unwrap();
        assert_eq!((facts.seconds, facts.width, facts.height), (2.5, 640, 480));
        assert_eq!(film_of(io::Cursor::new(&file)).unwrap(), Some(facts));
        for end in 0..file.len() {
            film(&file[..end]);
            film_of(io::Cursor::new(&file[..end])).unwrap();
        }
        let video = [&[0xb0, 0x82, 0x02, 0x80][..], &[0xba, 0x82, 0x01, 0xe0]].concat();
        let track = [&[0xae, 0x8a, 0xe0, 0x88][..], &video].concat();
        let info = [&[0x44, 0x89, 0x88][..], &2_500_f64.to_be_bytes()].concat();
        let mut file = vec![0x1a, 0x45, 0xdf, 0xa3, 0x80, 0x18, 0x53, 0x80, 0x67, 0xff];
        file.extend([&[0x15, 0x49, 0xa9, 0x66, 0x80 | info.len() as u8][..], &info].concat());
        file.extend([&[0x16, 0x54, 0xae, 0x6b, 0x80 | track.len() as u8][..], &track].concat());
        let facts = film(&file).unwrap();
        assert_eq!((facts.seconds, facts.width, facts.height), (2.5, 640, 480));
        for end in 0..file.len() {
            film(&file[..end]);
        }
        assert!(film(b"RIFF....AVI ").is_none());
    }
}
