//! What keeps a PDF from taking more memory and time than its pages are worth, found before either is spent.

use std::{borrow::Cow, panic::resume_unwind};

use flate2::{Decompress, FlushDecompress, Status};
use hayro::{
    hayro_interpret::{
        BlendMode, ClipPath, Device, DrawMode, DrawProps, Image, ImageDrawProps, Paint, SoftMask,
        font::{Glyph, GlyphRun},
        pattern::Pattern,
    },
    hayro_syntax::{
        Filter, Pdf,
        object::{Array, Dict, Object, Stream},
    },
    kurbo::{Affine, BezPath},
};

use super::super::{IMAGE_PIXELS, too_large};
use crate::error::{Error, Result};

/// The most bytes that one packed part of a PDF may have, unpacked.
pub(super) const STREAM_BYTES: usize = 256 * 1024 * 1024;
/// The most that is drawn on one page: lines, letters, images and what they are made of.
pub(super) const OPERATIONS: usize = 2_000_000;
/// The most pixels of all images that are drawn on one page.
const PAGE_PIXELS: usize = 4 * IMAGE_PIXELS;
/// The most bytes that one packed byte may become.
const MOST_GAINED: usize = 1_032;
/// How wide a fax is that does not say it.
const FAX_COLUMNS: u32 = 1_728;
/// How far before its data the description of a part may begin, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// Refuses a PDF with a part that would take more memory than is allowed, by its bytes alone: opening it unpacks the
/// parts that list the others. Nothing of what is unpacked is kept.
pub(super) fn check_bytes(bytes: &[u8], limit: usize) -> Result<()> {
    let mut from = 0;
    while let Some(at) = bytes[from..].windows(6).position(|word| word == b"stream") {
        let mark = from + at;
        from = mark + 6;
        let rest = &bytes[from..];
        let Some(data) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")).or(rest.strip_prefix(b"\r"))
        else {
            continue;
        };
        let head = &bytes[mark.saturating_sub(HEAD_BYTES)..mark];
        let start = head.windows(3).rposition(|word| word == b"obj").unwrap_or_default();
        let named = filters_in(&head[start..]);
        let is_packed = matches!(data, [0x08 | 0x18 | 0x28 | 0x38 | 0x48 | 0x58 | 0x68 | 0x78, _, ..]);
        match &named[..] {
            [] if is_packed => from += inflate(data, limit, None)?,
            [] => {}
            [Filter::FlateDecode] => from += inflate(data, limit, None)?,
            // Images are unpacked when a page is drawn, by when the part is known better.
            filters if filters.iter().copied().any(is_image) => {}
            filters => {
                let end = data.windows(9).position(|word| word == b"endstream").unwrap_or(data.len());
                check_layers(filters, Cow::Borrowed(&data[..end]), limit)?;
            }
        }
    }
    Ok(())
}

/// The filters that the description of a part names in itself.
fn filters_in(head: &[u8]) -> Vec<Filter> {
    let mut filters = Vec::new();
    // What follows a key that names filters: one name, or a list of them.
    let (mut is_awaited, mut is_list, mut is_comment) = (false, false, false);
    let mut place = 0;
    while let Some(&byte) = head.get(place) {
        place += 1;
        match byte {
            b'\n' | b'\r' => is_comment = false,
            _ if is_comment => {}
            b'%' => is_comment = true,
            b'[' if is_awaited => is_list = true,
            b']' => (is_awaited, is_list) = (false, false),
            b'/' => {
                let (name, length) = name_at(&head[place..]);
                place += length;
                if is_awaited {
                    filters.extend(filter_of(&name));
                    is_awaited = is_list;
                } else {
                    is_awaited = matches!(&name[..], b"Filter" | b"F");
                }
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => is_awaited &= is_list,
        }
    }
    filters
}

/// A name without its mark, and how long it is as it is written.
fn name_at(text: &[u8]) -> (Vec<u8>, usize) {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"/[]<>(){}%\0".contains(byte);
    let written = &text[..text.iter().position(ends).unwrap_or(text.len())];
    let mut name = Vec::with_capacity(written.len());
    let mut rest = written;
    while let [byte, after @ ..] = rest {
        let escaped = (*byte == b'#').then(|| std::str::from_utf8(after.get(..2)?).ok()).flatten();
        (name, rest) = match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => ([name, vec![byte]].concat(), &after[2..]),
            None => ([name, vec![*byte]].concat(), after),
        };
    }
    (name, written.len())
}

fn filter_of(name: &[u8]) -> Option<Filter> {
    Some(match name {
        b"FlateDecode" | b"Fl" => Filter::FlateDecode,
        b"LZWDecode" | b"LZW" => Filter::LzwDecode,
        b"RunLengthDecode" | b"RL" => Filter::RunLengthDecode,
        b"ASCIIHexDecode" | b"AHx" => Filter::AsciiHexDecode,
        b"ASCII85Decode" | b"A85" => Filter::Ascii85Decode,
        b"DCTDecode" | b"DCT" => Filter::DctDecode,
        b"JPXDecode" => Filter::JpxDecode,
        b"JBIG2Decode" => Filter::Jbig2Decode,
        b"CCITTFaxDecode" | b"CCF" => Filter::CcittFaxDecode,
        _ => return None,
    })
}

fn is_image(filter: Filter) -> bool {
    matches!(filter, Filter::DctDecode | Filter::JpxDecode | Filter::Jbig2Decode | Filter::CcittFaxDecode)
}

/// Refuses an opened PDF with a part that would take more memory than is allowed.
pub(super) fn check_objects(pdf: &Pdf, limit: usize) -> Result<()> {
    for object in pdf.objects() {
        if let Object::Stream(stream) = object {
            check_stream(&stream, limit)?;
        }
    }
    Ok(())
}

/// Refuses a part that would take more memory than is allowed, packed data as well as an image.
fn check_stream(stream: &Stream<'_>, limit: usize) -> Result<()> {
    let dict = stream.dict();
    let number = |dict: &Dict<'_>, keys: [&str; 2]| {
        keys.iter().filter_map(|key| dict.get::<u32>(key.as_bytes())).max().unwrap_or_default()
    };
    let (width, height) = (number(dict, ["W", "Width"]), number(dict, ["H", "Height"]));
    check_pixels(width, height)?;
    for key in ["DP", "DecodeParms"] {
        let one = dict.get::<Dict<'_>>(key.as_bytes());
        let many = dict.get::<Array<'_>>(key.as_bytes());
        let many = many.iter().flat_map(Array::iter::<Object<'_>>).filter_map(Object::into_dict);
        for parameters in one.into_iter().chain(many) {
            let (columns, rows) = (number(&parameters, ["Columns"; 2]), number(&parameters, ["Rows"; 2]));
            check_pixels(columns, height.max(rows).max(1))?;
        }
    }
    let filters = stream.filters();
    if filters.is_empty() {
        return Ok(());
    }
    if filters.contains(&Filter::CcittFaxDecode) {
        check_pixels(FAX_COLUMNS, height)?;
    }
    check_layers(&filters, stream.raw_data(), limit)
}

fn check_pixels(width: u32, height: u32) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > IMAGE_PIXELS as u64 {
        return Err(too_large("pixels in an image of PDF", IMAGE_PIXELS, pixels));
    }
    Ok(())
}

/// Unpacks the layers of a part, which are named from the outermost on.
fn check_layers(filters: &[Filter], mut data: Cow<'_, [u8]>, limit: usize) -> Result<()> {
    let packs = |filter: &&Filter| matches!(filter, Filter::FlateDecode | Filter::LzwDecode | Filter::RunLengthDecode);
    let packed = filters.iter().filter(packs).count();
    if packed > 1 {
        return Err(too_large("layers of packing in a part of PDF", 1, packed as u64));
    }
    for (place, filter) in filters.iter().enumerate() {
        let is_last = place + 1 == filters.len();
        match filter {
            Filter::AsciiHexDecode => data = Cow::Owned(from_hex(&data)),
            Filter::Ascii85Decode => data = Cow::Owned(from_ascii_85(&data)),
            Filter::FlateDecode if is_last => drop(inflate(&data, limit, None)?),
            Filter::FlateDecode => {
                let mut unpacked = Vec::new();
                inflate(&data, limit, Some(&mut unpacked))?;
                data = Cow::Owned(unpacked);
            }
            Filter::LzwDecode | Filter::RunLengthDecode => {
                let size = if *filter == Filter::LzwDecode { lzw_size(&data) } else { run_length_size(&data) };
                check_unpacked(size, limit)?;
                // An image within is not looked at, so it is bounded by the pixels of its description alone.
                return Ok(());
            }
            Filter::DctDecode => return check_jpeg(&data),
            Filter::JpxDecode => return check_jpeg_2000(&data),
            Filter::Jbig2Decode => return check_jbig2(&data),
            Filter::CcittFaxDecode | Filter::Crypt => {}
        }
    }
    Ok(())
}

fn check_unpacked(size: u64, limit: usize) -> Result<()> {
    if size > limit as u64 {
        return Err(too_large("bytes in a packed part", limit, size));
    }
    Ok(())
}

/// Unpacks into nothing, or into `kept`; gives how much of `data` was read.
fn inflate(data: &[u8], limit: usize, mut kept: Option<&mut Vec<u8>>) -> Result<usize> {
    let mut unpacked = vec![0_u8; 64 * 1024];
    // Without the head that it should have, it is unpacked all the same.
    for has_head in [true, false] {
        let mut unpack = Decompress::new(has_head);
        let status = loop {
            let (read, made) = (unpack.total_in(), unpack.total_out());
            let input = data.get(read as usize..).unwrap_or_default();
            let status = unpack.decompress(input, &mut unpacked, FlushDecompress::None);
            check_unpacked(unpack.total_out(), limit)?;
            if let Some(kept) = &mut kept {
                kept.extend(unpacked.get(..(unpack.total_out() - made) as usize).unwrap_or_default());
            }
            let is_stuck = unpack.total_in() == read && unpack.total_out() == made;
            if is_stuck || !matches!(status, Ok(Status::Ok | Status::BufError)) {
                break status;
            }
        };
        let read = unpack.total_in() as usize;
        if status.is_ok() {
            return Ok(read);
        }
        if unpack.total_out() > 0 {
            // Other decoders go on behind a damage, of which no more is known than how much it may become.
            let left = data.len().saturating_sub(read).min(limit) as u64;
            let end = data.windows(9).position(|word| word == b"endstream").unwrap_or(data.len()) as u64;
            check_unpacked(left.min(end) * MOST_GAINED as u64, limit)?;
            return Ok(read);
        }
    }
    Ok(0)
}

fn from_hex(data: &[u8]) -> Vec<u8> {
    let digits = data.iter().take_while(|byte| **byte != b'>').filter_map(|byte| (*byte as char).to_digit(16));
    let digits: Vec<u8> = digits.map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or_default()).collect()
}

fn from_ascii_85(data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(data.len());
    let mut group: Vec<u8> = Vec::with_capacity(5);
    let word = |group: &[u8]| {
        let digits = group.iter().copied().chain([84; 5]).take(5);
        digits.fold(0_u32, |word, digit| word.wrapping_mul(85).wrapping_add(u32::from(digit))).to_be_bytes()
    };
    for byte in data.iter().take_while(|byte| **byte != b'~') {
        match byte {
            b'z' if group.is_empty() => bytes.extend([0; 4]),
            b'!'..=b'u' => group.push(byte - b'!'),
            _ => {}
        }
        if group.len() == 5 {
            bytes.extend(word(&group));
            group.clear();
        }
    }
    bytes.extend(&word(&group)[..group.len().saturating_sub(1)]);
    bytes
}

/// How many bytes LZW unpacks to, by the lengths of its words alone.
fn lzw_size(data: &[u8]) -> u64 {
    const CLEAR: usize = 256;
    const END: usize = 257;
    let mut size = 0_u64;
    // Whether the codes grow early is said elsewhere: whichever gives more.
    for early in [0, 1] {
        let mut lengths: Vec<u64> = vec![1; 258];
        let (mut last, mut made, mut bits, mut held) = (None, 0_u64, 0_u32, 0_u32);
        for byte in data {
            (bits, held) = (bits << 8 | u32::from(*byte), held + 8);
            let width = match lengths.len() + early {
                ..512 => 9,
                512..1_024 => 10,
                1_024..2_048 => 11,
                _ => 12,
            };
            if held < width {
                continue;
            }
            held -= width;
            let code = (bits >> held) as usize & ((1 << width) - 1);
            bits &= (1 << held) - 1;
            match code {
                CLEAR => {
                    lengths.truncate(258);
                    last = None;
                }
                END => break,
                code => {
                    let new = last.map(|length| length + 1);
                    let Some(length) = lengths.get(code).copied().or(new) else { break };
                    made += length;
                    if let Some(new) = new.filter(|_| lengths.len() < 4_096) {
                        lengths.push(new);
                    }
                    last = Some(length);
                }
            }
        }
        size = size.max(made);
    }
    size
}

fn run_length_size(data: &[u8]) -> u64 {
    let (mut size, mut place) = (0_u64, 0);
    while let Some(&length) = data.get(place) {
        let (read, made) = match length {
            128 => break,
            ..128 => (usize::from(length) + 2, u64::from(length) + 1),
            _ => (2, 257 - u64::from(length)),
        };
        place += read;
        size += made;
    }
    size
}

fn wide(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

/// Looks at every head of a frame, that of a preview too.
fn check_jpeg(data: &[u8]) -> Result<()> {
    for (at, frame) in data.windows(10).enumerate() {
        let [0xff, 0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, high, low, _, h1, h0, w1, w0, parts] = frame
        else {
            continue;
        };
        let is_frame = u16::from_be_bytes([*high, *low]) == 8 + 3 * u16::from(*parts) && matches!(parts, 1..=4);
        if is_frame && data.len() > at + 10 {
            check_pixels(u16::from_be_bytes([*w1, *w0]).into(), u16::from_be_bytes([*h1, *h0]).into())?;
        }
    }
    Ok(())
}

/// Looks at every head of a code stream.
fn check_jpeg_2000(data: &[u8]) -> Result<()> {
    for (at, mark) in data.windows(4).enumerate() {
        if mark == [0xff, 0x4f, 0xff, 0x51]
            && let (Some(right), Some(bottom), Some(left), Some(top)) =
                (wide(data, at + 8), wide(data, at + 12), wide(data, at + 16), wide(data, at + 20))
        {
            check_pixels(right.saturating_sub(left), bottom.saturating_sub(top))?;
        }
    }
    Ok(())
}

/// Looks at the heads of the page and of its regions.
fn check_jbig2(data: &[u8]) -> Result<()> {
    let mut at = 0;
    let mut pixels = 0_u64;
    while let (Some(number), Some(&flags), Some(&counted)) = (wide(data, at), data.get(at + 4), data.get(at + 5)) {
        let (references, counts) = match counted >> 5 {
            7 => {
                let references = wide(data, at + 5).unwrap_or_default() as usize & 0x1fff_ffff;
                (references, 4 + (references + 1).div_ceil(8))
            }
            references => (usize::from(references), 1),
        };
        let a_reference = match number {
            ..=256 => 1,
            257..=65_536 => 2,
            _ => 4,
        };
        let page = if flags & 0x40 == 0 { 1 } else { 4 };
        let length_at = at + 5 + counts + references * a_reference + page;
        let Some(length) = wide(data, length_at) else { break };
        let body = length_at + 4;
        if matches!(flags & 0x3f, 4..=7 | 20..=23 | 36..=43 | 48)
            && let (Some(width), Some(height)) = (wide(data, body), wide(data, body + 4))
        {
            // A page may leave its height open, and grows by its regions then.
            let height = if height == u32::MAX { 0 } else { height };
            check_pixels(width, height)?;
            pixels += u64::from(width) * u64::from(height);
            if pixels > PAGE_PIXELS as u64 {
                return Err(too_large("pixels in the regions of an image of PDF", PAGE_PIXELS, pixels));
            }
        }
        at = body.saturating_add(length as usize);
    }
    Ok(())
}

/// Counts what is drawn, and gives up where it is too much.
///
/// What interprets a page cannot be told to stop, so giving up is an unwinding with the error, which
/// [`guarded`](super::super::guarded) gives back.
#[derive(Debug)]
pub(super) struct Counter {
    operations: usize,
    pixels: usize,
    limit: usize,
}

impl Counter {
    /// Lets so many operations pass.
    pub(super) fn new(limit: usize) -> Self {
        Self { operations: 0, pixels: 0, limit }
    }

    /// Counts so many operations more.
    pub(super) fn add(&mut self, operations: usize) {
        self.operations = self.operations.saturating_add(operations);
        if self.operations > self.limit {
            give_up(too_large("operations on a page of PDF", self.limit, self.operations as u64));
        }
    }

    fn props(&mut self, props: &DrawProps<'_>, is_stroke: bool) {
        self.paint(&props.paint, props.transform, is_stroke);
        self.mask(props.soft_mask.as_ref());
    }

    /// A pattern is drawn as often as its cells lie one over the other.
    fn paint(&mut self, paint: &Paint<'_>, transform: Affine, is_stroke: bool) {
        let Paint::Pattern(pattern) = paint else { return };
        let Pattern::Tiling(tiling) = &**pattern else { return };
        let copies = |side: f64, step: f32| (side / f64::from(step.abs())).abs().ceil().clamp(1.0, 1e9);
        let copies = copies(tiling.bbox.width(), tiling.x_step) * copies(tiling.bbox.height(), tiling.y_step);
        let before = self.operations;
        tiling.interpret(self, transform, is_stroke);
        #[expect(clippy::cast_sign_loss, reason = "at least 1")]
        let others = (copies.min(1e12) as usize) - 1;
        self.add((self.operations - before + 1).saturating_mul(others));
    }

    fn mask(&mut self, mask: Option<&SoftMask<'_>>) {
        if let Some(mask) = mask {
            mask.interpret(self);
        }
    }
}

fn give_up(error: Error) -> ! {
    resume_unwind(Box::new(error))
}

impl<'a> Device<'a> for Counter {
    fn draw_path(&mut self, path: &BezPath, props: DrawProps<'a>, mode: &DrawMode) {
        self.add(1 + path.elements().len() / 16);
        self.props(&props, matches!(mode, DrawMode::Stroke(_)));
    }

    fn push_clip_path(&mut self, clip: &ClipPath) {
        self.add(1 + clip.path.elements().len() / 16);
    }

    fn push_transparency_group(&mut self, _: f32, mask: Option<SoftMask<'a>>, _: BlendMode) {
        self.add(1);
        self.mask(mask.as_ref());
    }

    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, 'a>, props: DrawProps<'a>, mode: &DrawMode) {
        self.props(&props, matches!(mode, DrawMode::Stroke(_)));
        for glyph in run.glyphs() {
            self.add(1);
            if let Glyph::Type3(drawn) = &**glyph {
                drawn.interpret(self, props.transform, glyph.transform(), &props.paint);
            }
        }
    }

    fn draw_image(&mut self, image: Image<'a, '_>, props: ImageDrawProps<'a>) {
        self.add(1);
        self.mask(props.soft_mask.as_ref());
        let stream = match &image {
            Image::Stencil(stencil) => stencil.stream(),
            Image::Raster(raster) => raster.stream(),
        };
        // Those that stand in the page itself are seen here for the first time.
        if let Err(error) = check_stream(stream, STREAM_BYTES) {
            give_up(error);
        }
        self.pixels = self.pixels.saturating_add(image.width() as usize * image.height() as usize);
        if self.pixels > PAGE_PIXELS {
            give_up(too_large("pixels in the images of a page of PDF", PAGE_PIXELS, self.pixels as u64));
        }
    }

    fn pop_clip(&mut self) {}

    fn pop_transparency_group(&mut self) {}
}

#[cfg(test)]
mod tests;
