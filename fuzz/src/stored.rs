//! Values of a store's rows that are not what was written: of another program, or damaged.

use std::sync::{LazyLock, Mutex, PoisonError};

use rusqlite::{Connection, types::Value};
use tempfile::TempDir;
use umi_core::{ErrorKind, Memory};

use crate::{
    engine::{run, typed},
    fields::Fields,
    header::{fill, folder, open, read_all},
};

/// Columns whose values are parsed, with the condition that names their row, and the rows that the index reads again.
const COLUMNS: [(&str, &str, &str); 34] = [
    ("episodes", "metadata", "episode = 1"),
    ("versions", "metadata", "version = 1"),
    ("sightings", "metadata", "sighting = 1"),
    ("pieces", "lexical", "episode = 1"),
    ("vectors", "vector", "piece = 1"),
    ("pieces", "lexical", "sighting = 1"),
    ("episodes", "text", "episode = 1"),
    ("episodes", "id", "episode = 1"),
    ("episodes", "at", "episode = 1"),
    ("episodes", "recorded_at", "episode = 1"),
    ("episodes", "role", "episode = 1"),
    ("episodes", "importance", "episode = 1"),
    ("episodes", "session", "episode = 1"),
    ("versions", "id", "version = 1"),
    ("versions", "type", "version = 1"),
    ("versions", "content", "version = 1"),
    ("versions", "valid_from", "version = 1"),
    ("versions", "valid_to", "version = 1"),
    ("versions", "last_seen", "version = 1"),
    ("versions", "confidence", "version = 1"),
    ("versions", "importance", "version = 1"),
    ("versions", "episode_id", "version = 1"),
    ("versions", "name", "version = 1"),
    ("sightings", "valid_from", "sighting = 1"),
    ("sightings", "content", "sighting = 1"),
    ("evolutions", "type", "evolution = 1"),
    ("evolutions", "confidence", "evolution = 1"),
    ("blocks", "type", "block = 1"),
    ("blocks", "content", "block = 1"),
    ("blocks", "version", "block = 1"),
    ("blocks", "importance", "block = 1"),
    ("working", "value", "key = 'task'"),
    ("working", "expires_at", "key = 'task'"),
    ("working", "ttl", "key = 'task'"),
];

struct Store {
    memory: Memory,
    beside: Connection,
    _folder: TempDir,
}

static STORE: LazyLock<Mutex<Store>> = LazyLock::new(|| {
    let folder = folder();
    let memory = run(async {
        let memory = open(folder.path()).await?;
        fill(&memory).await?;
        Ok::<_, umi_core::Error>(memory)
    })
    .expect("a store can be made");
    let beside = Connection::open(folder.path().join("umi.db")).expect("the store can be opened beside");
    // Whatever a damaged disk may hold; the store of this process alone need not survive a crash.
    beside
        .execute_batch("PRAGMA ignore_check_constraints = 1; PRAGMA foreign_keys = 0; PRAGMA synchronous = OFF")
        .expect("settings can be made");
    Mutex::new(Store { memory, beside, _folder: folder })
});

/// A choice of a column, a choice of a type, and a value. Every read gives an answer or says that the store is damaged;
/// with the old value back every read is well again.
pub fn stored(data: &[u8]) {
    let mut fields = Fields::new(data);
    let (column, kind) = (usize::from(fields.byte()) % COLUMNS.len(), fields.byte());
    let store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
    let sound = store.value(column);
    let (sql, value) = match &sound {
        Value::Integer(_) => ("?1", Value::Integer(i64::from_le_bytes(eight(fields.rest())))),
        Value::Real(_) => ("?1", Value::Real(f64::from_le_bytes(eight(fields.rest())))),
        Value::Null if kind & 1 == 0 && COLUMNS[column].1 != "episode_id" => {
            ("?1", Value::Integer(i64::from_le_bytes(eight(fields.rest()))))
        }
        Value::Blob(_) => ("?1", Value::Blob(fields.rest().to_vec())),
        // Bytes that need not be UTF-8.
        Value::Text(_) | Value::Null => ("CAST(?1 AS TEXT)", Value::Blob(fields.rest().to_vec())),
    };
    // A NaN is a null to SQLite, and a name that another row has is refused: such bytes no store can hold.
    if store.set(column, sql, &value).is_err() {
        return;
    }
    for error in run(read_all(&store.memory)) {
        typed(&error, &[ErrorKind::CorruptStore]);
    }
    store.set(column, "?1", &sound).expect("what was there can be there");
    let failed = run(read_all(&store.memory));
    assert!(failed.is_empty(), "{:?} was restored, and yet: {failed:?}", COLUMNS[column]);
}

fn eight(bytes: &[u8]) -> [u8; 8] {
    std::array::from_fn(|index| bytes.get(index).copied().unwrap_or_default())
}

impl Store {
    fn value(&self, column: usize) -> Value {
        let (table, column, row) = COLUMNS[column];
        let sql = format!("SELECT {column} FROM {table} WHERE {row}");
        self.beside.prepare_cached(&sql).and_then(|mut one| one.query_row((), |row| row.get(0))).expect("it has a row")
    }

    /// Changes a value and the place of every row in the feed, so that the index reads all of them again.
    fn set(&self, column: usize, sql: &str, value: &Value) -> rusqlite::Result<()> {
        let (table, column, row) = COLUMNS[column];
        let change = self.beside.unchecked_transaction()?;
        change.prepare_cached(&format!("UPDATE {table} SET {column} = {sql} WHERE {row}"))?.execute([value])?;
        let counted = "(SELECT seq FROM counter) + row_number() OVER (ORDER BY seq)";
        for feed in ["episodes", "versions", "evolutions", "blocks"] {
            let key = &feed[..feed.len() - 1];
            let sql = format!(
                "UPDATE {feed} SET seq = numbered.next FROM (SELECT {key} AS row, {counted} AS next FROM {feed}) \
                 AS numbered WHERE numbered.row = {feed}.{key}"
            );
            change.prepare_cached(&sql)?.execute(())?;
            let counter = format!("UPDATE counter SET seq = max(seq, (SELECT max(seq) FROM {feed}))");
            change.prepare_cached(&counter)?.execute(())?;
        }
        change.prepare_cached("UPDATE counter SET core = seq")?.execute(())?;
        change.commit()
    }
}
