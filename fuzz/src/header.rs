//! The look at a store's bytes when it is opened.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use tempfile::TempDir;
use umi_core::{
    BlockType, Entity, EntityType, ErrorKind, ListOptions, Memory, MemoryBuilder, Result, Scope, StorageBackend,
    Timestamp, Uuid,
};

use crate::{
    engine::{run, typed},
    fields::Fields,
};

const DATABASE: &str = "umi.db";
/// What a store's own bytes may cause.
const DAMAGE: [ErrorKind; 3] = [ErrorKind::CorruptStore, ErrorKind::StoreVersion, ErrorKind::EmbeddingSpace];

/// The bytes of a store that was closed well; the same in every process.
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = folder();
    run(async {
        let memory = open(folder.path()).await?;
        fill(&memory).await?;
        memory.close().await
    })
    .expect("a store can be made");
    fs::read(folder.path().join(DATABASE)).expect("a store has a file")
});

/// A folder of its own, in memory where the machine has such a place.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("umi-fuzz-").tempdir_in(parent).expect("a folder can be made")
}

/// Opens a store whose ids and times are the same in every run.
pub(crate) async fn open(folder: &Path) -> Result<Memory> {
    MemoryBuilder::sim(1).storage(StorageBackend::sqlite(folder)).build().await
}

/// Writes a row into every table that a store without pending jobs has rows in.
pub(crate) async fn fill(memory: &Memory) -> Result<()> {
    for text in ["Ana moved to Lisbon in May.", "The boat is in the old harbour.", "Do you like tea?"] {
        memory.remember(text).await?;
    }
    for employer in ["works at Acme", "works at Globex"] {
        let mut fact = Entity::new(Uuid::nil(), Timestamp::UNIX_EPOCH, EntityType::Person, "Ana", employer)?;
        fact.attribute = Some("employer".to_owned());
        memory.add_entity(fact, &Scope::new()).await?;
    }
    memory.core().set_block(BlockType::Human, "Likes short answers.", Some("style"), None).await?;
    memory.working().set("task", b"write".to_vec(), None).await
}

/// Calls everything that reads and gives what failed.
pub(crate) async fn read_all(memory: &Memory) -> Vec<umi_core::Error> {
    let nobody = Scope::new();
    let mut ids: Vec<String> = Vec::new();
    let mut failed = Vec::new();
    let mut note = |result: Result<()>| failed.extend(result.err());
    note(memory.recall("Where is Ana's boat?").await.map(drop));
    note(memory.context().await.map(drop));
    note(memory.context().query("Where does Ana work?").await.map(drop));
    note(memory.episodes(10, 0, &nobody).await.map(|found| ids.extend(found.iter().map(|one| one.id.to_string()))));
    let every = ListOptions { current: false, ..ListOptions::default() };
    note(memory.list(&every, &nobody).await.map(|found| ids.extend(found.iter().map(|one| one.id.to_string()))));
    for id in &ids {
        note(memory.get(id, &nobody).await.map(drop));
        note(memory.history(id, &nobody).await.map(drop));
        note(memory.evolutions(id, &nobody).await.map(drop));
    }
    note(memory.core().render().await.map(drop));
    note(memory.core().snapshot().await.map(drop));
    note(memory.core().versions(BlockType::Human).await.map(drop));
    note(memory.working().keys().await.map(drop));
    note(memory.working().get("task").await.map(drop));
    note(memory.working().ttl("task").await.map(drop));
    note(memory.working().usage().await.map(drop));
    note(memory.pending(&nobody).await.map(drop));
    note(memory.count(&nobody).await.map(drop));
    note(memory.stats().await.map(drop));
    note(memory.check().await.map(drop));
    failed
}

/// Bytes in the place of a store's database: foreign ones, or a sound store's with some changed, cut off or with a
/// foreign file beside it. It opens or is refused by a typed error; a refused one is left as it was, with no file more.
pub fn header(data: &[u8]) {
    let mut fields = Fields::new(data);
    let mode = fields.byte();
    let mut beside = None;
    let bytes = match mode % 4 {
        0 => fields.rest().to_vec(),
        1 => patched(SOUND.clone(), fields.rest()),
        2 => {
            let mut bytes = SOUND.clone();
            let kept = usize::from(fields.byte()) << 8 | usize::from(fields.byte());
            bytes.truncate(if mode & 4 == 0 { kept } else { kept << 4 });
            patched(bytes, fields.rest())
        }
        _ => {
            beside = Some((if mode & 4 == 0 { "umi.db-wal" } else { "umi.db-journal" }, fields.bytes().to_vec()));
            patched(SOUND.clone(), fields.rest())
        }
    };
    let folder = folder();
    let is_alone = beside.is_none();
    for (name, bytes) in [(DATABASE, bytes)].into_iter().chain(beside) {
        fs::write(folder.path().join(name), bytes).expect("a file can be written");
    }
    let before = files(folder.path());
    match run(open(folder.path())) {
        Err(error) => {
            typed(&error, &DAMAGE);
            // A log or a journal is SQLite's to play back or to take away.
            if is_alone {
                let after = files(folder.path());
                let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
                assert_eq!(names(&after), names(&before), "{error}");
                assert!(after == before, "a refused store was changed: {error}");
            }
        }
        Ok(memory) => {
            for error in run(read_all(&memory)) {
                typed(&error, &DAMAGE);
            }
            if let Err(error) = run(memory.close()) {
                typed(&error, &DAMAGE);
            }
        }
    }
}

/// Sets bytes: each four are a place, in the first hundred or anywhere, and a value.
fn patched(mut bytes: Vec<u8>, patches: &[u8]) -> Vec<u8> {
    for patch in patches.as_chunks::<4>().0 {
        let [high, middle, low, value] = *patch;
        let place = u32::from_be_bytes([0, high & 0x7F, middle, low]) as usize;
        let place = if high & 0x80 == 0 { place % 100 } else { place % bytes.len().max(1) };
        if let Some(byte) = bytes.get_mut(place) {
            *byte = value;
        }
    }
    bytes
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    paths.map(|path| (path.clone(), fs::read(path).expect("a file can be read"))).collect()
}
