//! The encoders of documents: `rasterize`, `page-text` and `native`.

use std::fmt::Write as _;

use super::{
    EncodeOptions, Encoder, SOURCE_BYTES, Source, broken,
    image::{MAX_WIDTH, QUALITY},
    office::office_text,
    pdf::PdfFile,
};
use crate::{
    context::{
        kinds::Kind,
        parallel::in_parallel,
        part::{Media, Part},
    },
    error::Result,
};

/// The most pages that are made into images where no other number is asked for.
const IMAGE_PAGES: u32 = 20;
/// The most pages whose text is read where no other number is asked for.
const TEXT_PAGES: u32 = 1_000;

/// Whether it is a PDF: its mark may have something before it.
pub(in crate::context) fn is_pdf(bytes: &[u8]) -> bool {
    bytes[..bytes.len().min(1_024)].windows(5).any(|five| five == b"%PDF-")
}

/// The text of an office document under its name.
fn office(source: &Source<'_>, bytes: &[u8]) -> Result<Vec<Part>> {
    let text = office_text(bytes)?;
    Ok(vec![Part::text(format!("{}:\n\n{text}", source.name))])
}

struct Pages {
    /// How many become images.
    images: usize,
    /// How many are read at all.
    texts: usize,
    width: u32,
    quality: u8,
    /// Whether a page that becomes an image is told in words too.
    with_text: bool,
    /// Whether only pages without words become images.
    only_scanned: bool,
}

/// One page: its words, and its image where it has one.
struct PageParts {
    text: String,
    image: Option<Media>,
}

impl Pages {
    fn encode(&self, source: &Source<'_>, bytes: Vec<u8>) -> Result<Vec<Part>> {
        let file = PdfFile::open(bytes)?;
        let total = file.pages();
        let pages = self.read_all(&file, total.min(self.texts.max(self.images)))?;
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut words_alone: Option<usize> = None;
        for (index, page) in pages.into_iter().enumerate() {
            if !text.is_empty() {
                text.push_str("\n\n");
            }
            let _ = write!(text, "{}, page {} of {total}:", source.name, index + 1);
            let Some(image) = page.image else {
                if words_alone.is_none() {
                    words_alone = Some(index);
                }
                text.push('\n');
                text.push_str(if page.text.is_empty() { "[no text]" } else { &page.text });
                continue;
            };
            if !page.text.is_empty() && self.with_text {
                text.push('\n');
                text.push_str(&page.text);
            }
            parts.push(Part::text(std::mem::take(&mut text)));
            parts.push(Part::media(image));
        }
        let read = total.min(self.texts.max(self.images));
        let mut left = Vec::new();
        if let Some(first) = words_alone.filter(|_| !self.only_scanned || read > self.images) {
            left.push(format!("pages {} to {read} of {total} without their images", first + 1));
        }
        if read < total {
            left.push(format!("pages {} to {total} left out", read + 1));
        }
        if !left.is_empty() {
            let _ = write!(text, "\n\n[{}: {}]", source.name, left.join("; "));
        }
        if !text.is_empty() {
            parts.push(Part::text(text.trim_start().to_owned()));
        }
        Ok(parts)
    }

    /// The words of the pages, then the images of those that get one, the first ones where there are too many.
    fn read_all(&self, file: &PdfFile, count: usize) -> Result<Vec<PageParts>> {
        let texts = in_parallel(count.min(self.texts), |page| file.text(page));
        let mut texts = texts.into_iter().collect::<Result<Vec<String>>>()?;
        texts.resize(count, String::new());
        let wanted = (0..count).filter(|page| !self.only_scanned || texts[*page].is_empty());
        let wanted: Vec<usize> = wanted.take(self.images).collect();
        let images = in_parallel(wanted.len(), |place| file.render(wanted[place], self.width)?.to_jpeg(self.quality));
        let mut pages: Vec<PageParts> = texts.into_iter().map(|text| PageParts { text, image: None }).collect();
        for (page, image) in wanted.into_iter().zip(images) {
            pages[page].image = Some(image?);
        }
        Ok(pages)
    }
}

/// Every page as an image with its words; office documents as text.
#[derive(Debug)]
pub(super) struct Rasterize;

impl Encoder for Rasterize {
    fn name(&self) -> &'static str {
        "rasterize"
    }

    fn kind(&self) -> Kind {
        Kind::Document
    }

    fn options(&self) -> Option<&[&str]> {
        Some(&["max_width", "max_pages", "quality", "text"])
    }

    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>> {
        let images = options.integer("max_pages", IMAGE_PAGES, 1..=1_000)? as usize;
        let pages = Pages {
            images,
            texts: TEXT_PAGES as usize,
            width: options.integer("max_width", MAX_WIDTH, 64..=8_192)?,
            quality: options.integer("quality", QUALITY, 1..=100)? as u8,
            with_text: options.flag("text", true)?,
            only_scanned: false,
        };
        let bytes = source.read(SOURCE_BYTES)?;
        if is_pdf(&bytes) { pages.encode(source, bytes.into_owned()) } else { office(source, &bytes) }
    }
}

/// The words of every page; pages without any, which are scanned ones, as images.
#[derive(Debug)]
pub(super) struct PageText;

impl Encoder for PageText {
    fn name(&self) -> &'static str {
        "page-text"
    }

    fn kind(&self) -> Kind {
        Kind::Document
    }

    fn options(&self) -> Option<&[&str]> {
        Some(&["max_width", "max_pages", "max_images", "quality"])
    }

    fn encode(&self, source: &Source<'_>, options: &EncodeOptions) -> Result<Vec<Part>> {
        let pages = Pages {
            images: options.integer("max_images", IMAGE_PAGES, 0..=1_000)? as usize,
            texts: options.integer("max_pages", TEXT_PAGES, 1..=100_000)? as usize,
            width: options.integer("max_width", MAX_WIDTH, 64..=8_192)?,
            quality: options.integer("quality", QUALITY, 1..=100)? as u8,
            with_text: true,
            only_scanned: true,
        };
        let bytes = source.read(SOURCE_BYTES)?;
        if is_pdf(&bytes) { pages.encode(source, bytes.into_owned()) } else { office(source, &bytes) }
    }
}

/// The PDF itself, for providers that read it.
#[derive(Debug)]
pub(super) struct Native;

impl Encoder for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn kind(&self) -> Kind {
        Kind::Document
    }

    fn options(&self) -> Option<&[&str]> {
        Some(&[])
    }

    fn encode(&self, source: &Source<'_>, _: &EncodeOptions) -> Result<Vec<Part>> {
        let bytes = source.read(SOURCE_BYTES)?;
        if !is_pdf(&bytes) {
            return Err(broken("PDF").with_hint("office documents are sent as text: leave the encoder out"));
        }
        let pages = PdfFile::open(bytes.to_vec())?.pages();
        let media = Media::new("application/pdf", bytes.into_owned()).with_name(source.name).with_pages(pages);
        Ok(vec![Part::media(media)])
    }
}
