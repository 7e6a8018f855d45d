//! What items say about themselves without a model: dimensions, EXIF, pages, duration, and the beginning of a text.

use std::{
    borrow::Cow,
    fmt::Write as _,
    fs,
    io::{Cursor, Read},
};

use exif::{Exif, In, Tag};

use super::{
    collection::Snapshot,
    encode::{
        Content, IMAGE_PIXELS, PdfFile, SOURCE_BYTES, Source, VideoFacts, audio_facts, inspect, is_pdf, office_text,
        read_text,
    },
    files::open_file,
    items::{Item, ItemSource, byte_count},
    kinds::Kind,
    parallel::in_parallel,
};
use crate::error::{Error, Result};

mod film;

pub(super) use film::{film, film_of};

/// How much of a text the metadata tier reads, in bytes.
const PREVIEW_BYTES: usize = 8 * 1024;
/// How much of a text the fast tier reads, in bytes.
const TEXT_BYTES: usize = 1_000_000;
/// The most pages whose words the fast tier reads.
const PAGES: usize = 200;

/// How much is read of an item to tell about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tier {
    /// What the head of a file says, and the beginning of a text.
    Metadata,
    /// Everything that can be extracted here: the words of all pages, tables, EXIF, duration.
    Fast,
}

impl Item {
    /// What the item says about itself, in words.
    ///
    /// # Errors
    /// `File` where its file cannot be read, `Capacity` where it is over a limit, `InvalidInput` where it is damaged.
    ///
    /// # Example
    /// ```
    /// use umi_core::context::{Context, NewItem, Tier};
    /// let context = Context::new();
    /// let ref_id = context.add(NewItem::bytes(b"a,b\n1,2\n".to_vec(), "text/csv")?)?;
    /// assert_eq!(context.get(&ref_id.to_string())?.describe(Tier::Metadata)?, "a,b\n1,2");
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn describe(&self, tier: Tier) -> Result<String> {
        let content = match self.source() {
            ItemSource::Text(_) => return Ok(self.source().as_text().unwrap_or_default().to_owned()),
            ItemSource::Url(url) => return Ok(url.media_type().unwrap_or_default().to_owned()),
            ItemSource::Object(object) => return Ok(object.description()),
            ItemSource::Path(path) => Content::Path(path),
            ItemSource::Bytes(bytes) => Content::Bytes(bytes.as_slice()),
        };
        let name = self.name().unwrap_or(Cow::Borrowed(""));
        let media_type = self.media_type().unwrap_or("application/octet-stream");
        let source = Source { name: &name, kind: self.kind(), media_type, content };
        match self.kind() {
            Kind::Image => image(&source, tier),
            Kind::Document => document(&source, tier),
            Kind::Audio => audio(&source),
            Kind::Video => video(&source),
            kind if kind.is_text() => {
                let limit = if tier == Tier::Fast { TEXT_BYTES } else { PREVIEW_BYTES };
                Ok(read_text(&source, limit)?.text.trim().to_owned())
            }
            _ => Ok(format!("{media_type}, {}", byte_count(size(&source)?))),
        }
    }
}

/// What all items say about themselves, told on as many threads as there are processors.
pub(super) fn of_all(items: &Snapshot) -> Vec<String> {
    let items: Vec<&Item> = items.iter().collect();
    in_parallel(items.len(), |index| items[index].describe(Tier::Fast).unwrap_or_else(|error| cannot_be_read(&error)))
}

/// What is told of an item that cannot be read.
pub(super) fn cannot_be_read(error: &Error) -> String {
    format!("[cannot be read: {}]", error.message())
}

fn size(source: &Source<'_>) -> Result<u64> {
    Ok(match source.content {
        Content::Path(path) => fs::metadata(path).map_err(|cause| Error::file("cannot read", path, cause))?.len(),
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::Pixels(pixels) => pixels.data().len() as u64,
    })
}

/// `3024×4032, jpeg, 2.1 MB, EXIF: Canon EOS R5, 2024-05-01 12:00:00, orientation 6, GPS 52.5,13.4`.
fn image(source: &Source<'_>, tier: Tier) -> Result<String> {
    let bytes = head(source)?;
    if source.media_type == "image/svg+xml" {
        return Ok(format!("svg, {}", byte_count(size(source)?)));
    }
    let found = inspect(&bytes, source.media_type)?;
    if u64::from(found.width) * u64::from(found.height) > IMAGE_PIXELS as u64 {
        return Err(Error::invalid_input(format!("an image of {}×{} is too large", found.width, found.height)));
    }
    let (mut width, mut height) = (found.width, found.height);
    let exif = found.exif.and_then(|raw| exif::Reader::new().read_raw(raw).ok());
    let orientation = exif.as_ref().and_then(|exif| exif.get_field(Tag::Orientation, In::PRIMARY)?.value.get_uint(0));
    if matches!(orientation, Some(5..=8)) {
        (width, height) = (height, width);
    }
    let mut told = format!("{width}×{height}, {}, {}", found.format, byte_count(size(source)?));
    if let Some(exif) = exif {
        let known = camera(&exif, tier);
        if !known.is_empty() {
            let _ = write!(told, ", EXIF: {}", known.join(", "));
        }
    }
    Ok(told)
}

/// The head of an image is enough; a decoder says where it is not.
fn head<'a>(source: &Source<'a>) -> Result<Cow<'a, [u8]>> {
    const HEAD_BYTES: u64 = 64 * 1024;
    let Content::Path(path) = source.content else { return source.read(SOURCE_BYTES) };
    // TIFF keeps its directory where it likes.
    if source.media_type == "image/tiff" {
        return source.read(SOURCE_BYTES);
    }
    let failed = |cause| Error::file("cannot read", path, cause);
    let mut bytes = Vec::new();
    open_file(path).map_err(failed)?.take(HEAD_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 == HEAD_BYTES && inspect(&bytes, source.media_type).is_err() {
        return source.read(SOURCE_BYTES);
    }
    Ok(Cow::Owned(bytes))
}

fn camera(exif: &Exif, tier: Tier) -> Vec<String> {
    let shown = |tag: Tag| {
        let field = exif.get_field(tag, In::PRIMARY)?;
        let text = field.display_value().with_unit(exif).to_string();
        Some(text.trim_matches(['"', ' ']).trim().chars().take(100).collect::<String>()).filter(|text| !text.is_empty())
    };
    let (make, model) = (shown(Tag::Make), shown(Tag::Model));
    let device = match (make, model) {
        (Some(make), Some(model)) if !model.starts_with(&make) => Some(format!("{make} {model}")),
        (make, model) => model.or(make),
    };
    let orientation = shown(Tag::Orientation).filter(|text| !text.starts_with("row 0 at top and column 0 at left"));
    let place = |tag, reference| Some(format!("{} {}", shown(tag)?, shown(reference)?));
    let gps = place(Tag::GPSLatitude, Tag::GPSLatitudeRef)
        .zip(place(Tag::GPSLongitude, Tag::GPSLongitudeRef))
        .map(|(latitude, longitude)| format!("GPS {latitude}, {longitude}"));
    let mut known: Vec<String> =
        [device, shown(Tag::DateTimeOriginal).or_else(|| shown(Tag::DateTime)), orientation, gps]
            .into_iter()
            .flatten()
            .collect();
    if tier == Tier::Fast {
        let more = [Tag::LensModel, Tag::FocalLength, Tag::FNumber, Tag::ExposureTime, Tag::PhotographicSensitivity];
        known.extend(more.into_iter().filter_map(shown));
        known.extend(shown(Tag::ImageDescription));
    }
    known
}

fn document(source: &Source<'_>, tier: Tier) -> Result<String> {
    let bytes = source.read(SOURCE_BYTES)?;
    if !is_pdf(&bytes) {
        return office_text(&bytes);
    }
    let file = PdfFile::open(bytes.into_owned())?;
    let pages = file.pages();
    let mut told = format!("pdf, {pages} {}", if pages == 1 { "page" } else { "pages" });
    if let Some(title) = file.title() {
        let _ = write!(told, ", title: {title}");
    }
    let read = if tier == Tier::Fast { PAGES } else { 1 };
    for page in 0..pages.min(read) {
        let text = file.text(page)?;
        if tier == Tier::Fast {
            let _ = write!(told, "\n\n--- page {} of {pages} ---\n", page + 1);
            told.push_str(if text.is_empty() { "[no text]" } else { &text });
        } else if !text.is_empty() {
            told.push('\n');
            told.push_str(&text);
        }
    }
    if tier == Tier::Fast && pages > read {
        let _ = write!(told, "\n\n[pages {} to {pages} left out]", read + 1);
    }
    Ok(told)
}

fn audio(source: &Source<'_>) -> Result<String> {
    let facts = match source.content {
        Content::Path(path) => audio_facts(open_file(path).map_err(|cause| Error::file("cannot read", path, cause))?)?,
        _ => audio_facts(Cursor::new(source.read(SOURCE_BYTES)?))?,
    };
    let mut told = duration_in_words(facts.seconds);
    let subtype = source.media_type.rsplit('/').next().unwrap_or_default();
    let _ = write!(told, ", {subtype}, {}", byte_count(size(source)?));
    if let Some(rate) = facts.sample_rate {
        let _ = write!(told, ", {rate} Hz");
    }
    match facts.channels {
        Some(1) => told.push_str(", mono"),
        Some(2) => told.push_str(", stereo"),
        Some(channels) => drop(write!(told, ", {channels} channels")),
        None => {}
    }
    if let Some(kilobits) = facts.kilobits {
        let _ = write!(told, ", {kilobits} kbit/s");
    }
    Ok(told)
}

fn video(source: &Source<'_>) -> Result<String> {
    let facts = match source.content {
        Content::Path(path) => {
            let failed = |cause| Error::file("cannot read", path, cause);
            film_of(open_file(path).map_err(failed)?).map_err(failed)?
        }
        _ => film(&source.read(SOURCE_BYTES)?),
    };
    let subtype = source.media_type.rsplit('/').next().unwrap_or_default();
    let about = format!("{subtype}, {}", byte_count(size(source)?));
    Ok(match facts {
        Some(VideoFacts { seconds, width, height, .. }) => {
            format!("{}, {width}×{height}, {about}", duration_in_words(seconds))
        }
        None => about,
    })
}

/// `1:02.5`.
fn duration_in_words(seconds: f64) -> String {
    let tenths = (seconds.max(0.0) * 10.0).round() / 10.0;
    let minutes = (tenths / 60.0).floor();
    format!("{minutes}:{:04.1}", tenths - minutes * 60.0)
}
