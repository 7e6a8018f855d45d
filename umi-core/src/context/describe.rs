//! What is told of an item without a model: the beginning of a text, or else the media type and the size.

use std::{
    collections::HashMap,
    fs::Metadata as FileMetadata,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    collection::Snapshot,
    facts::Tier,
    files::open_file,
    items::{Item, ItemSource, byte_count},
    kinds::Kind,
    parallel::in_parallel,
    refs::{BuildRefHasher, RefId},
};

/// How much is read of a file that is shown as text, in bytes.
const PREVIEW_BYTES: usize = 1024;

/// Which file it was, and of when.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    /// When anything about the file changed last; callers cannot set it back.
    touched: (i64, i64),
}

impl From<&FileMetadata> for Stamp {
    fn from(file: &FileMetadata) -> Self {
        let modified = (file.mtime(), file.mtime_nsec());
        let touched = (file.ctime(), file.ctime_nsec());
        Self { device: file.dev(), inode: file.ino(), bytes: file.len(), modified, touched }
    }
}

/// The descriptions of the files of a context, each for as long as its file stays the same.
#[derive(Default)]
pub(super) struct Descriptions {
    known: Mutex<HashMap<RefId, (Stamp, Arc<str>), BuildRefHasher>>,
}

impl Descriptions {
    /// The items with their descriptions. What a file that cannot be read is described by begins with `[cannot be read:`.
    pub(super) fn of<'a>(&self, items: &'a Snapshot) -> Vec<(&'a Item, Arc<str>)> {
        let old = std::mem::take(&mut *self.known.lock());
        let items: Vec<&'a Item> = items.iter().collect();
        let look = |item: &'a Item| {
            let ItemSource::Path(path) = item.source() else { return Ok((None, in_memory(item).into())) };
            let file = match path.metadata() {
                Ok(file) => file,
                Err(cause) => return Ok((None, cannot_be_read(&cause).into())),
            };
            let stamp = Stamp::from(&file);
            match old.get(&item.ref_id()) {
                Some((then, text)) if *then == stamp => Ok((Some(stamp), Arc::clone(text))),
                _ => Err((&**path, stamp)),
            }
        };
        // What is known needs no thread.
        let looked: Vec<Looked<'_>> = items.iter().map(|item| look(item)).collect();
        let new: Vec<(&Item, &Path, Stamp)> = items
            .iter()
            .zip(&looked)
            .filter_map(|(item, looked)| looked.as_ref().err().map(|(path, stamp)| (*item, *path, *stamp)))
            .collect();
        let read: Vec<Arc<str>> = in_parallel(new.len(), |place| {
            let (item, path, stamp) = new[place];
            of_file(item, path, stamp.bytes).unwrap_or_else(|cause| cannot_be_read(&cause)).into()
        });
        let mut read = read.into_iter();
        let mut known: HashMap<_, _, BuildRefHasher> = HashMap::default();
        let mut described = Vec::with_capacity(items.len());
        for (item, looked) in items.into_iter().zip(looked) {
            let (stamp, text) = match looked {
                Ok(told) => told,
                Err((_, stamp)) => (Some(stamp), read.next().unwrap_or_default()),
            };
            if let Some(stamp) = stamp {
                known.insert(item.ref_id(), (stamp, Arc::clone(&text)));
            }
            described.push((item, text));
        }
        *self.known.lock() = known;
        described
    }
}

/// The text of an item and when its file was as it is told there, or the file that is to be read.
type Looked<'a> = Result<(Option<Stamp>, Arc<str>), (&'a Path, Stamp)>;

fn cannot_be_read(cause: &io::Error) -> String {
    format!("[cannot be read: {cause}]")
}

fn of_file(item: &Item, path: &Path, bytes: u64) -> io::Result<String> {
    if item.kind().is_text() {
        let mut sample = Vec::with_capacity(PREVIEW_BYTES);
        open_file(path)?.take(PREVIEW_BYTES as u64).read_to_end(&mut sample)?;
        if let Some(text) = preview(&sample) {
            return Ok(text);
        }
    }
    Ok(of_head(item, facts(item.media_type(), bytes)))
}

/// What the head of a file says, or else `plain`.
fn of_head(item: &Item, plain: String) -> String {
    if !matches!(item.kind(), Kind::Image | Kind::Document | Kind::Audio | Kind::Video) {
        return plain;
    }
    match item.describe(Tier::Metadata) {
        Ok(told) if !told.is_empty() => told,
        Ok(_) => plain,
        Err(error) => format!("{plain} [{}]", error.message()),
    }
}

fn in_memory(item: &Item) -> String {
    match item.source() {
        ItemSource::Text(text) => {
            let text: &str = (**text).as_ref();
            text.chars().take(PREVIEW_BYTES).collect()
        }
        ItemSource::Bytes(bytes) => {
            let text = if item.kind().is_text() { preview(bytes.as_slice()) } else { None };
            text.unwrap_or_else(|| of_head(item, facts(item.media_type(), bytes.as_slice().len() as u64)))
        }
        ItemSource::Url(url) => url.media_type().unwrap_or_default().to_owned(),
        ItemSource::Object(object) => {
            object.bytes().map(|bytes| format!("{} in memory", byte_count(bytes))).unwrap_or_default()
        }
        ItemSource::Path(_) => String::new(),
    }
}

/// The beginning of a text in UTF-8; none for what is no text.
fn preview(bytes: &[u8]) -> Option<String> {
    let sample = &bytes[..bytes.len().min(PREVIEW_BYTES)];
    if sample.contains(&0) {
        return None;
    }
    let sample = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample);
    let mut text = String::from_utf8_lossy(sample).into_owned();
    if bytes.len() > PREVIEW_BYTES || sample.len() == PREVIEW_BYTES {
        // a character that the end of the sample cuts
        text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
    }
    Some(text)
}

fn facts(media_type: Option<&str>, bytes: u64) -> String {
    match media_type {
        Some(media_type) => format!("{media_type}, {}", byte_count(bytes)),
        None => byte_count(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::context::{Context, Kind, NewItem, Url};

    fn described(context: &Context) -> Vec<String> {
        Descriptions::default().of(&context.snapshot()).into_iter().map(|(_, text)| text.to_string()).collect()
    }

    #[test]
    fn texts_are_shown_and_all_else_by_type_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::sim(1);
        for (name, bytes) in [
            ("a.md", "\u{feff}# Über\n".as_bytes()),
            ("b.csv", b"x,y\n1,2\n"),
            ("c.toml", b"[a]\n"),
            ("d.py", b"print()\n"),
            ("e.parquet", b"PAR1\0\0\0"),
            ("f.zip", b"PK\x03\x04"),
            ("g", b"\0\x01"),
        ] {
            fs::write(folder.path().join(name), bytes).unwrap();
            context.add(NewItem::file(folder.path().join(name)).unwrap()).unwrap();
        }
        context.add(NewItem::known_file(folder.path().join("gone.txt"), Kind::Text)).unwrap();
        context.add(NewItem::text("Hello")).unwrap();
        context.add(NewItem::bytes(b"{}".to_vec(), "application/json").unwrap()).unwrap();
        context.add(NewItem::bytes(vec![0; 1_500], "image/png").unwrap()).unwrap();
        context.add(NewItem::url(Url::new("https://a/b.pdf", None).unwrap())).unwrap();
        let told = described(&context);
        let expected = [
            "# Über\n",
            "x,y\n1,2\n",
            "[a]\n",
            "print()\n",
            "application/vnd.apache.parquet, 7 B",
            "application/zip, 4 B",
            "2 B",
            "[cannot be read: No such file or directory (os error 2)]",
            "Hello",
            "{}",
            "image/png, 1.5 KB [cannot be read as an image]",
            "application/pdf",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_character_that_is_cut_is_left_out() {
        let text = format!("{}é", "x".repeat(PREVIEW_BYTES - 1));
        assert_eq!(preview(text.as_bytes()).unwrap(), "x".repeat(PREVIEW_BYTES - 1));
        assert_eq!(preview(&text.as_bytes()[..PREVIEW_BYTES]).unwrap(), "x".repeat(PREVIEW_BYTES - 1));
    }

    #[test]
    fn a_file_is_read_again_once_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "one").unwrap();
        let context = Context::sim(1);
        context.add(NewItem::file(&path).unwrap()).unwrap();
        let descriptions = Descriptions::default();
        let told = || descriptions.of(&context.snapshot())[0].1.clone();
        let first = told();
        assert!(Arc::ptr_eq(&first, &told()), "known");
        fs::write(&path, "other").unwrap();
        assert_eq!(&*told(), "other");
        // Neither the size nor the time of the content gives this change away.
        let modified = path.metadata().unwrap().modified().unwrap();
        fs::write(&path, "OTHER").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(&*told(), "OTHER");
    }

    #[test]
    fn many_files_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::sim(1);
        for number in 0..100 {
            let path = folder.path().join(format!("{number}.txt"));
            fs::write(&path, number.to_string()).unwrap();
            context.add(NewItem::file(&path).unwrap()).unwrap();
        }
        assert_eq!(described(&context), (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}
