//! Encoded images into [`Pixels`], within limits that are checked before memory is spent.

use std::io::{BufRead, Cursor, Seek};

use image::{
    AnimationDecoder, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
    error::ImageFormatHint,
    metadata::Orientation,
};

use super::{broken, guarded, room::Room, too_large};
use crate::{
    context::items::Pixels,
    error::{Error, ErrorKind, Result},
};

/// The most pixels of an image: what a camera of 100 megapixels takes.
pub const IMAGE_PIXELS: usize = 100_000_000;
/// The most bytes that a decoder may take for one image.
pub(super) const DECODER_BYTES: u64 = 1 << 30;

/// A decoded image.
pub(super) struct Decoded {
    /// As it is to be seen, where `orientation` is applied.
    pub(super) pixels: Pixels,
    pub(super) orientation: Orientation,
    /// Whether its format keeps every pixel as it is.
    pub(super) is_lossless: bool,
    pub(super) is_animated: bool,
    /// What `pixels` and what is made of them take.
    pub(super) room: Room,
}

/// What an image says about itself before it is decoded.
pub(in crate::context) struct Inspected {
    pub(in crate::context) width: u32,
    pub(in crate::context) height: u32,
    pub(in crate::context) format: &'static str,
    pub(in crate::context) exif: Option<Vec<u8>>,
}

/// Decodes the first frame of an image.
pub(super) fn decode(bytes: &[u8], media_type: &str) -> Result<Decoded> {
    let format = format_of(bytes, media_type)?;
    guarded("an image", || {
        let is_animated = is_animated(bytes, format);
        let mut decoder = open(bytes, format)?;
        check(decoder.dimensions())?;
        // As they are decoded, and with 8 bits a channel or scaled.
        let room = Room::take(decoder.total_bytes().saturating_mul(2));
        let limits = limits();
        decoder.set_limits(limits).map_err(|error| unreadable(error, format))?;
        let orientation = decoder.orientation().map_err(|error| unreadable(error, format))?;
        let image = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(error, format))?;
        if format == ImageFormat::Jpeg && is_cut_jpeg(bytes) {
            return Err(broken("a whole image").with_hint("the file ends early"));
        }
        let is_lossless = match format {
            ImageFormat::Jpeg => false,
            ImageFormat::WebP => bytes.get(12..16) == Some(b"VP8L"),
            _ => true,
        };
        Ok(Decoded { pixels: Pixels::from_image(image)?, orientation, is_lossless, is_animated, room })
    })
}

/// Reads the header of an image.
pub(in crate::context) fn inspect(bytes: &[u8], media_type: &str) -> Result<Inspected> {
    let format = format_of(bytes, media_type)?;
    guarded("an image", || {
        let mut decoder = open(bytes, format)?;
        let (width, height) = decoder.dimensions();
        let exif = decoder.exif_metadata().map_err(|error| unreadable(error, format))?;
        let format = format.extensions_str().first().copied().unwrap_or_default();
        Ok(Inspected { width, height, format: if format == "jpg" { "jpeg" } else { format }, exif })
    })
}

/// Refuses an image that is too large to be decoded.
pub(super) fn check((width, height): (u32, u32)) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels <= IMAGE_PIXELS as u64 {
        return Ok(());
    }
    Err(too_large("pixels", IMAGE_PIXELS, pixels).with_hint("scale it down before it is added"))
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODER_BYTES);
    limits
}

fn open<'a>(bytes: &'a [u8], format: ImageFormat) -> Result<Box<dyn ImageDecoder + 'a>> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let decoder = boxed(reader).map_err(|error| unreadable(error, format))?;
    Ok(decoder)
}

fn boxed<'a, R: BufRead + Seek + 'a>(reader: ImageReader<R>) -> Result<Box<dyn ImageDecoder + 'a>, ImageError> {
    Ok(Box::new(reader.into_decoder()?))
}

/// The format of an image by its first bytes, since extensions lie.
fn format_of(bytes: &[u8], media_type: &str) -> Result<ImageFormat> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    let known = image::guess_format(bytes).ok().filter(|format| matches!(format, Bmp | Gif | Jpeg | Png | Tiff | WebP));
    known.ok_or_else(|| match &bytes.get(4..12) {
        Some([b'f', b't', b'y', b'p', brand @ ..]) if is_still(brand) => unsupported("HEIC and AVIF"),
        _ if matches!(media_type, "image/heic" | "image/heif" | "image/avif") => unsupported("HEIC and AVIF"),
        _ => broken("an image").with_hint("known formats: PNG, JPEG, GIF, WebP, BMP, TIFF, SVG, HEIC, AVIF"),
    })
}

fn is_still(brand: &[u8]) -> bool {
    matches!(brand, b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" | b"avif" | b"avis")
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::FeatureNotBuilt, format!("{what} images are decoded by Pillow, which cannot do it here"))
        .with_hint("pip install pillow pillow-heif")
}

fn unreadable(error: ImageError, format: ImageFormat) -> Error {
    if let ImageError::Limits(_) = &error {
        let message = format!("takes more than {DECODER_BYTES} bytes to decode");
        return Error::new(ErrorKind::Capacity, message).with_source(error);
    }
    let name = match &error {
        ImageError::Unsupported(_) => format!("{} of a kind that is known", ImageFormatHint::Exact(format)),
        _ => ImageFormatHint::Exact(format).to_string(),
    };
    Error::invalid_input(format!("cannot be read as {name}: {}", shown(&error))).with_source(error)
}

fn shown(error: &ImageError) -> String {
    error.to_string().chars().take(200).collect()
}

/// Whether the first image of the file has no end. Its decoder would fill what is missing with grey. What cameras append
/// behind the end, films and further images, is not looked at.
fn is_cut_jpeg(bytes: &[u8]) -> bool {
    let (mut at, mut is_scan) = (2, false);
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.windows(2).position(|pair| is_marker(pair, is_scan))) {
        at += found + 2;
        match bytes[at - 1] {
            0xd9 => return false,
            // Marks without a length.
            0x01 | 0xd0..=0xd8 => {}
            mark => {
                let Some(length) = bytes.get(at..at + 2) else { return true };
                at += usize::from(u16::from_be_bytes([length[0], length[1]]));
                is_scan |= mark == 0xda;
            }
        }
    }
    true
}

/// In the data of a scan, a byte of zero says that the one before is no mark, and others are for resuming.
fn is_marker(pair: &[u8], is_scan: bool) -> bool {
    match pair {
        [0xff, 0x00 | 0xff] => false,
        [0xff, 0xd0..=0xd7] => !is_scan,
        [0xff, _] => true,
        _ => false,
    }
}

fn is_animated(bytes: &[u8], format: ImageFormat) -> bool {
    let reader = Cursor::new(bytes);
    match format {
        ImageFormat::Gif => {
            let Ok(mut decoder) = GifDecoder::new(reader) else { return false };
            if check(decoder.dimensions()).is_err() || decoder.set_limits(limits()).is_err() {
                return false;
            }
            decoder.into_frames().take(2).flatten().count() > 1
        }
        ImageFormat::Png => PngDecoder::new(reader).is_ok_and(|decoder| decoder.is_apng().unwrap_or(false)),
        ImageFormat::WebP => WebPDecoder::new(reader).is_ok_and(|decoder| decoder.has_animation()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::encode::fixtures::{colorful, encoded, png};

    #[test]
    fn a_jpeg_is_whole_whatever_follows_its_end() {
        let photo = encoded(colorful(60, 40), ImageFormat::Jpeg);
        let film = [&b"\0\0\0\x18ftypmp42"[..], b"\xff\xda\0\x08\xff\xd8"].concat();
        let preview = [&photo[..2], b"\xff\xe1", &(photo.len() as u16 + 2).to_be_bytes(), &photo, &photo[2..]].concat();
        for whole in [photo.clone(), [&photo[..], &film].concat(), preview.clone()] {
            assert!(!is_cut_jpeg(&whole));
            assert!(decode(&whole, "image/jpeg").is_ok());
        }
        for end in 0..photo.len() {
            assert!(is_cut_jpeg(&photo[..end]), "{end}");
        }
        assert!(is_cut_jpeg(&preview[..preview.len() - 1]), "the end of the preview is not that of the image");
        assert!(decode(&png(2, 2), "image/jpeg").is_ok());
    }
}
