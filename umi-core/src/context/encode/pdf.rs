//! [`PdfFile`]: the pages of a PDF as text and as images.

use hayro::{
    PixmapSettings, RenderCache, RenderSettings,
    hayro_interpret::{
        BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
        InterpreterSettings, SoftMask, TransformExt,
        font::{Glyph, GlyphRun},
        hayro_cmap::BfString,
        interpret_page,
    },
    hayro_syntax::{DecryptionError, LoadPdfError, Pdf, page::Page},
    kurbo::{Affine, BezPath, Point, Rect, Vec2},
    render,
    vello_cpu::color::palette::css::WHITE,
};

use parking_lot::Mutex;

use self::bounds::{Counter, OPERATIONS, STREAM_BYTES, check_bytes, check_objects};
use super::{broken, guarded, too_large};
use crate::{
    context::items::{Channels, Pixels},
    error::{Error, Result},
};

mod bounds;

/// The most pages of a PDF.
const PAGES: usize = 100_000;

/// A PDF that has been opened.
pub(in crate::context) struct PdfFile {
    pdf: Pdf,
    /// Whether all parts are known to stay within their bounds.
    is_checked: Mutex<bool>,
}

impl PdfFile {
    /// Opens a PDF.
    pub(in crate::context) fn open(bytes: Vec<u8>) -> Result<Self> {
        guarded("PDF", || check_bytes(&bytes, STREAM_BYTES))?;
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
        let opened = Self { pdf, is_checked: Mutex::new(false) };
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
            self.check()?;
            let page = self.page(page)?;
            let cache = InterpreterCache::new();
            let settings = InterpreterSettings::default();
            let bounds = Rect::new(0.0, 0.0, 1.0, 1.0);
            let mut context = Context::new(Affine::IDENTITY, bounds, &cache, self.pdf.xref(), settings);
            let mut reader = Reader { counter: Counter::new(OPERATIONS), text: String::new(), last: None, run: None };
            interpret_page(page, &mut context, &mut reader);
            Ok(reader.finish())
        })
    }

    /// A page as an image of this width, or less where it is more than twice as high.
    pub(super) fn render(&self, page: usize, width: u32) -> Result<Pixels> {
        guarded("a page of PDF", || {
            self.check()?;
            let page = self.page(page)?;
            self.count(page, OPERATIONS);
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

    /// Refuses a PDF with parts that take more memory than is allowed. Opening it does not unpack them.
    fn check(&self) -> Result<()> {
        let mut is_checked = self.is_checked.lock();
        if !*is_checked {
            check_objects(&self.pdf, STREAM_BYTES)?;
            *is_checked = true;
        }
        Ok(())
    }

    /// Gives up, by unwinding, where more is drawn on a page than is allowed.
    fn count(&self, page: &Page<'_>, limit: usize) {
        let (width, height) = page.render_dimensions();
        let bounds = Rect::new(0.0, 0.0, width.into(), height.into());
        let cache = InterpreterCache::new();
        let settings = InterpreterSettings::default();
        let seen = page.initial_transform(true).to_kurbo();
        let mut context = Context::new(seen, bounds, &cache, self.pdf.xref(), settings);
        interpret_page(page, &mut context, &mut Counter::new(limit));
    }

    fn page(&self, page: usize) -> Result<&Page<'_>> {
        self.pdf.pages().get(page).ok_or_else(|| Error::internal(format!("a PDF has no page {page}")))
    }
}

/// Collects the words of a page from where its letters stand.
struct Reader {
    counter: Counter,
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
        self.counter.add(run.glyphs().len());
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

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'_>, _: &DrawMode) {
        self.counter.add(1);
    }

    fn push_clip_path(&mut self, _: &ClipPath) {
        self.counter.add(1);
    }

    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'_>>, _: BlendMode) {}

    fn draw_image(&mut self, _: Image<'_, '_>, _: ImageDrawProps<'_>) {}

    fn pop_clip(&mut self) {}

    fn pop_transparency_group(&mut self) {}
}
