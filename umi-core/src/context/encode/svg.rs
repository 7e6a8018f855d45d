//! Drawings of lines (SVG) into pixels. Nothing outside the file is read.

use std::{
    io::Read,
    sync::{Arc, LazyLock},
};

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{ImageHrefResolver, Options, Tree, fontdb},
};

use super::{broken, decode, guarded, pixels::fit, too_large};
use crate::{
    context::items::{Channels, Pixels},
    error::{Error, Result},
};

/// The most bytes of a drawing, unpacked.
const SVG_BYTES: usize = 16 * 1024 * 1024;

/// The fonts of the system, looked up once, when a drawing has text.
static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    fonts.load_system_fonts();
    Arc::new(fonts)
});

/// Whether bytes look like a drawing.
pub(super) fn is_svg(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(1_024)];
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    start.starts_with(b"<svg") || (start.starts_with(b"<?xml") && start.windows(4).any(|four| four == b"<svg"))
}

/// Draws it as large as fits into a box of these sides, since it has no pixels of its own to keep.
pub(super) fn render(bytes: &[u8], sides: u32) -> Result<Pixels> {
    let text = unpacked(bytes)?;
    guarded("SVG", || {
        let mut options = Options { image_href_resolver: resolver(), ..Options::default() };
        if text.windows(5).any(|five| five == b"<text") {
            options.fontdb = FONTS.clone();
        }
        let tree = Tree::from_data(&text, &options).map_err(|error| {
            let shown: String = error.to_string().chars().take(200).collect();
            Error::invalid_input(format!("cannot be read as SVG: {shown}")).with_source(error)
        })?;
        let size = tree.size();
        let scale = f64::from(sides) / f64::from(size.width().max(size.height()));
        #[expect(clippy::cast_sign_loss, reason = "sizes of drawings are positive")]
        let side = |length: f32| ((f64::from(length) * scale).round() as u32).clamp(1, sides);
        let (width, height) = (side(size.width()), side(size.height()));
        let mut canvas = Pixmap::new(width, height).ok_or_else(|| broken("SVG"))?;
        let scale = Transform::from_scale(width as f32 / size.width(), height as f32 / size.height());
        resvg::render(&tree, scale, &mut canvas.as_mut());
        Pixels::new(width, height, Channels::Rgba, canvas.take_demultiplied())
    })
}

/// Images inside of a drawing are drawn where they are in the file and within the limits; a path or an address in it
/// would read what the drawing has no right to.
fn resolver() -> ImageHrefResolver<'static> {
    let default = ImageHrefResolver::default_data_resolver();
    ImageHrefResolver {
        resolve_data: Box::new(move |media_type, data, options| {
            let is_drawing = media_type == "image/svg+xml";
            let is_small = || decode::inspect(&data, media_type).is_ok_and(|image| fits(image.width, image.height));
            if is_drawing || !is_small() {
                return None;
            }
            default(media_type, data, options)
        }),
        resolve_string: Box::new(|_, _| None),
    }
}

fn fits(width: u32, height: u32) -> bool {
    decode::check((width, height)).is_ok() && fit((width, height), (16_384, 16_384)) == (width, height)
}

fn unpacked(bytes: &[u8]) -> Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        if bytes.len() > SVG_BYTES {
            return Err(too_large("bytes of SVG", SVG_BYTES, bytes.len() as u64));
        }
        return Ok(bytes.to_vec());
    }
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes)
        .take(SVG_BYTES as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|error| broken("packed SVG").with_source(error))?;
    if text.len() > SVG_BYTES {
        return Err(too_large("bytes of SVG", SVG_BYTES, text.len() as u64));
    }
    Ok(text)
}
