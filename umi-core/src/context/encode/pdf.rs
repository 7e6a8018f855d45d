//! [`PdfFile`]: the pages of a PDF as text and as images.

use flate2::{Decompress, FlushDecompress, Status};
use hayro::{
    PixmapSettings, RenderCache, RenderSettings,
    hayro_interpret::{
        BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
        InterpreterSettings, SoftMask,
        font::{Glyph, GlyphRun},
        hayro_cmap::BfString,
        interpret_page,
    },
    hayro_syntax::{DecryptionError, LoadPdfError, Pdf, page::Page},
    kurbo::{Affine, BezPath, Point, Rect, Vec2},
    render,
    vello_cpu::color::palette::css::WHITE,
};

use super::{broken, guarded, too_large};
use crate::{
    context::items::{Channels, Pixels},
    error::{Error, Result},
};

/// The most bytes that one packed part of a PDF may have, unpacked.
const STREAM_BYTES: usize = 256 * 1024 * 1024;
/// The most pages of a PDF.
const PAGES: usize = 100_000;

/// A PDF that has been opened.
pub(in crate::context) struct PdfFile {
    pdf: Pdf,
}

impl PdfFile {
    /// Opens a PDF.
    pub(in crate::context) fn open(bytes: Vec<u8>) -> Result<Self> {
        check_streams(&bytes, STREAM_BYTES)?;
        let pdf = guarded("PDF", || {
            Pdf::new(bytes).map_err(|error| match error {
                LoadPdfError::Decryption(DecryptionError::PasswordProtected) => {
                    Error::invalid_input("is protected by a password").with_hint("remove its password")
                }
                LoadPdfError::Decryption(error) => {
                    Error::invalid_input(format!("is encrypted in a way that is not known ({error:?})"))
                        .with_hint("remove its encryption")
                }
                LoadPdfError::Invalid => broken("PDF"),
            })
        })?;
        let opened = Self { pdf };
        let pages = guarded("PDF", || Ok(opened.pages()))?;
        match pages {
            0 => Err(broken("PDF").with_hint("it has no pages")),
            pages if pages > PAGES => Err(too_large("pages", PAGES, pages as u64)),
            _ => Ok(opened),
        }
    }

    /// How many pages it has.
    pub(in crate::context) fn pages(&self) -> usize {
        self.pdf.pages().len()
    }

    /// The title that its author gave it.
    pub(in crate::context) fn title(&self) -> Option<String> {
        let title = self.pdf.metadata().title.as_deref()?;
        let text = match title.strip_prefix(&[0xfe, 0xff]) {
            Some(wide) => {
                let units: Vec<u16> = wide.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
                String::from_utf16_lossy(&units)
            }
            None => String::from_utf8_lossy(title).into_owned(),
        };
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// The words of a page, line by line in the order in which they were written into it.
    pub(in crate::context) fn text(&self, page: usize) -> Result<String> {
        guarded("a page of PDF", || {
            let page = self.page(page)?;
            let cache = InterpreterCache::new();
            let settings = InterpreterSettings::default();
            let bounds = Rect::new(0.0, 0.0, 1.0, 1.0);
            let mut context = Context::new(Affine::IDENTITY, bounds, &cache, self.pdf.xref(), settings);
            let mut reader = Reader::default();
            interpret_page(page, &mut context, &mut reader);
            Ok(reader.finish())
        })
    }

    /// A page as an image of this width, or less where it is more than twice as high.
    pub(super) fn render(&self, page: usize, width: u32) -> Result<Pixels> {
        guarded("a page of PDF", || {
            let page = self.page(page)?;
            let (page_width, page_height) = page.render_dimensions();
            if !(page_width >= 1.0 && page_height >= 1.0) {
                return Err(broken("a page of PDF").with_hint("it has no size"));
            }
            let scale = (width as f32 / page_width).min(2.0 * width as f32 / page_height);
            // A page must not be thinner than a pixel.
            let (x_scale, y_scale) = (scale.max(1.0 / page_width), scale.max(1.0 / page_height));
            let settings = PixmapSettings { x_scale, y_scale, bg_color: WHITE };
            let cache = RenderCache::new();
            let interpreter = InterpreterSettings::default();
            let canvas = render(page, &cache, &interpreter, &RenderSettings::default(), &settings);
            let (width, height) = (u32::from(canvas.width()), u32::from(canvas.height()));
            // The ground is white, so that nothing can be seen through.
            let data = canvas.data_as_u8_slice().chunks_exact(4).flat_map(|pixel| pixel[..3].iter().copied()).collect();
            Pixels::new(width, height, Channels::Rgb, data)
        })
    }

    fn page(&self, page: usize) -> Result<&Page<'_>> {
        self.pdf.pages().get(page).ok_or_else(|| Error::internal(format!("a PDF has no page {page}")))
    }
}

/// Refuses a PDF with a part that would take more memory than is allowed, found without keeping what is unpacked.
fn check_streams(bytes: &[u8], limit: usize) -> Result<()> {
    let mut unpacked = vec![0_u8; 64 * 1024];
    let mut rest = bytes;
    while let Some(at) = rest.windows(6).position(|word| word == b"stream") {
        rest = &rest[at + 6..];
        let data = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")).unwrap_or_default();
        // A thousand times is the most that the packing gains.
        let is_packed = matches!(data, [0x08 | 0x18 | 0x28 | 0x38 | 0x48 | 0x58 | 0x68 | 0x78, _, ..]);
        if !is_packed {
            continue;
        }
        let mut unpack = Decompress::new(true);
        loop {
            let (read, made) = (unpack.total_in(), unpack.total_out());
            let input = data.get(read as usize..).unwrap_or_default();
            let status = unpack.decompress(input, &mut unpacked, FlushDecompress::None);
            if unpack.total_out() > limit as u64 {
                return Err(too_large("bytes in a packed part", limit, unpack.total_out()));
            }
            let is_stuck = unpack.total_in() == read && unpack.total_out() == made;
            if is_stuck || !matches!(status, Ok(Status::Ok | Status::BufError)) {
                break;
            }
        }
        let read = usize::try_from(unpack.total_in()).unwrap_or_default();
        rest = data.get(read..).unwrap_or_default();
    }
    Ok(())
}

/// Collects the words of a page from where its letters stand.
#[derive(Default)]
struct Reader {
    text: String,
    /// Where the last letter began and ended, and how large it was.
    last: Option<Letter>,
    /// Where the last run began: outlines of letters are drawn a second time over them.
    run: Option<Point>,
}

#[derive(Clone, Copy)]
struct Letter {
    start: Point,
    end: Point,
    size: f64,
}

impl Reader {
    fn letter(&mut self, text: &str, letter: Letter) {
        if let Some(last) = self.last {
            let along = (last.end - last.start).normalize();
            let along = if along.is_finite() { along } else { Vec2::new(1.0, 0.0) };
            let gap = letter.start - last.end;
            let (ahead, aside) = (gap.dot(along), gap.cross(along).abs());
            let size = last.size.max(letter.size);
            if aside > size * 0.5 || ahead < -size * 2.0 {
                // More than a line's height apart is a new paragraph.
                self.text.push_str(if aside > size * 2.2 { "\n\n" } else { "\n" });
            } else if ahead > size * 0.2 && !self.text.ends_with(char::is_whitespace) && !text.starts_with(' ') {
                self.text.push(' ');
            }
        }
        self.text.push_str(text);
        self.last = Some(letter);
    }

    fn finish(self) -> String {
        let mut text = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            let line = line.trim_end();
            // Never more than one empty line.
            if !line.is_empty() || !(text.is_empty() || text.ends_with("\n\n")) {
                text.push_str(line);
                text.push('\n');
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

impl Device<'_> for Reader {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, '_>, props: DrawProps<'_>, mode: &DrawMode) {
        let place = |transform: Affine, x: f64| props.transform * transform * Point::new(x, 0.0);
        let start = run.glyphs().first().map(|glyph| place(glyph.transform(), 0.0));
        if matches!(mode, DrawMode::Stroke(_)) && start.is_some() && start == self.run {
            return;
        }
        self.run = start;
        for glyph in run.glyphs() {
            let text = match glyph.as_unicode() {
                Some(BfString::Char(c)) => c.to_string(),
                Some(BfString::String(text)) => text,
                None => continue,
            };
            let text: String = text.chars().filter(|c| !c.is_control()).collect();
            let width = match &**glyph {
                Glyph::Outline(outline) => outline.advance_width(),
                Glyph::Type3(drawn) => drawn.advance_width(),
            };
            let (start, upwards) = (place(glyph.transform(), 0.0), glyph.transform() * Point::new(0.0, 1_000.0));
            let size = ((props.transform * upwards) - start).hypot();
            let end = place(glyph.transform(), f64::from(width.unwrap_or(500.0)));
            if !text.is_empty() && start.is_finite() && end.is_finite() {
                self.letter(&text, Letter { start, end, size });
            }
        }
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'_>, _: &DrawMode) {}

    fn push_clip_path(&mut self, _: &ClipPath) {}

    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'_>>, _: BlendMode) {}

    fn draw_image(&mut self, _: Image<'_, '_>, _: ImageDrawProps<'_>) {}

    fn pop_clip(&mut self) {}

    fn pop_transparency_group(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::{ErrorKind, context::encode::fixtures::pdf};

    #[test]
    fn a_swollen_part_is_found_without_being_kept() {
        let mut swollen = b"<< /Length 9 /Filter /FlateDecode >>\nstream\n".to_vec();
        let mut packer = flate2::write::ZlibEncoder::new(&mut swollen, flate2::Compression::fast());
        packer.write_all(&vec![0; 300_000]).unwrap();
        packer.finish().unwrap();
        swollen.extend(b"\nendstream");
        let file = pdf(&["/Im1 Do", "stream\nno packed one"], &[&swollen]);
        assert!(check_streams(&file, 300_000).is_ok());
        let error = check_streams(&file, 299_999).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Capacity, "{error}");
        for end in (0..file.len()).step_by(101) {
            drop(check_streams(&file[..end], 299_999));
        }
    }
}
