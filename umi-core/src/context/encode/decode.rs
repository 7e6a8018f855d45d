//! Encoded images into [`Pixels`], within limits that are checked before memory is spent.

use std::io::{BufRead, Cursor, Seek};

use image::{
    AnimationDecoder, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
    error::ImageFormatHint,
    metadata::Orientation,
};

use super::{broken, guarded, too_large};
use crate::{
    context::items::Pixels,
    error::{Error, ErrorKind, Result},
};

/// The most pixels of an image: what a camera of 100 megapixels takes.
pub const IMAGE_PIXELS: usize = 100_000_000;
/// The most bytes that a decoder may take for one image.
const DECODER_BYTES: u64 = 1 << 30;

/// A decoded image.
pub(super) struct Decoded {
    /// As it is to be seen, where `orientation` is applied.
    pub(super) pixels: Pixels,
    pub(super) orientation: Orientation,
    /// Whether its format keeps every pixel as it is.
    pub(super) is_lossless: bool,
    pub(super) is_animated: bool,
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
        Ok(Decoded { pixels: Pixels::from_image(image)?, orientation, is_lossless, is_animated })
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

/// Whether no end follows the image itself (a preview in front of it has an end of its own). Its decoder would fill what
/// is missing with grey.
fn is_cut_jpeg(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    last(0xd9) < last(0xda)
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
