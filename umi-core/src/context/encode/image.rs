//! The encoders of images: `resize` and `tile`.

use std::{borrow::Cow, fmt, sync::Arc};

use image::metadata::Orientation;

use super::{
    Content, EncodeOptions, Encoder, SOURCE_BYTES, Source,
    decode::{IMAGE_PIXELS, check, decode},
    room::Room,
    svg,
};
use crate::{
    context::{
        items::Pixels,
        kinds::Kind,
        part::{Media, Part},
    },
    error::{ErrorKind, Result},
};

/// The sides of the box that images are scaled into where no other is asked for, in pixels.
pub(super) const MAX_WIDTH: u32 = 1_024;
/// The quality of JPEG where no other is asked for.
pub(super) const QUALITY: u32 = 85;
/// The most tiles of an image.
const TILES: u32 = 64;

/// An image as it is to be seen.
struct Seen<'a> {
    pixels: Cow<'a, Pixels>,
    /// Applied after scaling, which is cheaper by as much as it scales.
    orientation: Orientation,
    is_lossless: bool,
    is_animated: bool,
    /// Where it was decoded here: what the pixels take, and what is made of them.
    _room: Option<Room>,
}

impl<'a> Seen<'a> {
    /// An image that was not decoded here, already turned.
    fn still(pixels: Cow<'a, Pixels>, is_lossless: bool) -> Self {
        Self { pixels, orientation: Orientation::NoTransforms, is_lossless, is_animated: false, _room: None }
    }

    /// The pixels scaled into a box of these sides, then turned. A quarter turn swaps the sides.
    fn within(&self, sides: u32) -> Result<Pixels> {
        self.pixels.within(sides, sides)?.into_owned().oriented(self.orientation)
    }

    fn encode(&self, pixels: &Pixels, quality: u8) -> Result<Media> {
        if self.is_lossless || pixels.has_alpha() { pixels.to_png() } else { pixels.to_jpeg(quality) }
    }
}

/// Decodes images of formats that are not built in, which the bindings may bring.
pub trait ImageReader: Send + Sync + fmt::Debug {
    /// The pixels of an encoded image, as it is to be seen.
    ///
    /// # Errors
    /// `FeatureNotBuilt` where it cannot read the format here, `Capacity` where there are more than `limit` pixels,
    /// before memory is spent on them; `InvalidInput` where the bytes are damaged.
    fn pixels(&self, bytes: &[u8], limit: u64) -> Result<Pixels>;
}

/// The encoders of images, with a reader of the formats that are not built in.
pub(super) fn encoders(reader: Option<Arc<dyn ImageReader>>) -> [Arc<dyn Encoder>; 2] {
    [Arc::new(Resize(reader.clone())), Arc::new(Tile(reader))]
}

/// Decodes an image; of one that is drawn by lines, so many pixels as fit a box of `sides`.
fn see<'a>(source: &Source<'a>, sides: u32, reader: Option<&dyn ImageReader>) -> Result<Seen<'a>> {
    if let Content::Pixels(pixels) = source.content {
        check((pixels.width(), pixels.height()))?;
        return Ok(Seen::still(Cow::Borrowed(pixels), true));
    }
    let bytes = source.read(SOURCE_BYTES)?;
    if source.media_type == "image/svg+xml" || svg::is_svg(&bytes) {
        let pixels = svg::render(&bytes, sides)?;
        return Ok(Seen::still(Cow::Owned(pixels), true));
    }
    let decoded = match (decode(&bytes, source.media_type), reader) {
        (Err(error), Some(reader)) if error.kind() == ErrorKind::FeatureNotBuilt => {
            let pixels = reader.pixels(&bytes, IMAGE_PIXELS as u64)?;
            return Ok(Seen::still(Cow::Owned(pixels), false));
        }
        (decoded, _) => decoded?,
    };
    Ok(Seen {
        pixels: Cow::Owned(decoded.pixels),
        orientation: decoded.orientation,
        is_lossless: decoded.is_lossless,
        is_animated: decoded.is_animated,
        _room: Some(decoded.room),
    })
}

fn quality(options: &EncodeOptions) -> Result<u8> {
    Ok(options.integer("quality", QUALITY, 1..=100)? as u8)
}

/// What a model is told about the frames that it does not see.
fn told(seen: &Seen<'_>) -> Option<Part> {
    seen.is_animated.then(|| Part::text("[animated image: its first frame]"))
}

/// The whole image, scaled down into a box.
#[derive(Debug)]
struct Resize(Option<Arc<dyn ImageReader>>);

impl Encoder for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn kind(&self) -> Kind {
        Kind::Image
    }

    fn options(&self) -> Option<&[&str]> {
        Some(&["max_width", "quality"])
    }

    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>> {
        let sides = options.integer("max_width", MAX_WIDTH, 1..=8_192)?;
        let seen = see(source, sides, self.0.as_deref())?;
        let media = seen.encode(&seen.within(sides)?, quality(options)?)?;
        Ok(told(&seen).into_iter().chain([Part::media(media)]).collect())
    }
}

/// The whole image, then parts of it that keep its pixels.
#[derive(Debug)]
struct Tile(Option<Arc<dyn ImageReader>>);

impl Encoder for Tile {
    fn name(&self) -> &'static str {
        "tile"
    }

    fn kind(&self) -> Kind {
        Kind::Image
    }

    fn options(&self) -> Option<&[&str]> {
        Some(&["max_width", "quality", "max_tiles"])
    }

    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>> {
        let side = options.integer("max_width", MAX_WIDTH, 64..=8_192)?;
        let most = options.integer("max_tiles", 16, 1..=TILES)?;
        let quality = quality(options)?;
        let seen = see(source, side.saturating_mul(4).min(8_192), self.0.as_deref())?;
        let overview = seen.encode(&seen.within(side)?, quality)?;
        let whole = seen.pixels.as_ref().clone().oriented(seen.orientation)?;
        // A grid whose tiles are at most a side long, and not more than are allowed: else the image is scaled down.
        let (mut width, mut height) = (whole.width(), whole.height());
        while width.div_ceil(side) * height.div_ceil(side) > most {
            let (across, down) = if width >= height { (width.div_ceil(20), 0) } else { (0, height.div_ceil(20)) };
            (width, height) = super::pixels::fit((width, height), (width - across, height - down));
        }
        let scaled = whole.within(width, height)?;
        let (columns, rows) = (scaled.width().div_ceil(side), scaled.height().div_ceil(side));
        let mut parts: Vec<Part> = told(&seen).into_iter().collect();
        if columns * rows == 1 {
            parts.push(Part::media(overview));
            return Ok(parts);
        }
        parts.push(Part::text(format!(
            "{}, {}×{} pixels: an overview, then {} tiles in {rows} rows of {columns}:",
            source.name,
            whole.width(),
            whole.height(),
            columns * rows
        )));
        parts.push(Part::media(overview));
        let (width, height) = (scaled.width().div_ceil(columns), scaled.height().div_ceil(rows));
        for row in 0..rows {
            for column in 0..columns {
                let tile = scaled.cut(column * width, row * height, width, height)?;
                parts.push(Part::media(seen.encode(&tile, quality)?));
            }
        }
        Ok(parts)
    }
}
