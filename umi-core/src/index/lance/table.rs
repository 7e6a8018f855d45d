//! The table of pieces: its columns, its batches, its questions.

use std::{collections::HashSet, path::Path, sync::Arc};

use futures::TryStreamExt;
use lancedb::{
    Connection, DistanceType, ObjectStoreRegistry, Session, Table,
    arrow::{
        arrow_array::{
            Array, ArrayRef, FixedSizeListArray, Float32Array, Int32Array, Int64Array, RecordBatch, StringArray,
            cast::AsArray,
            types::{Int32Type, Int64Type},
        },
        arrow_buffer::NullBuffer,
        arrow_schema::{DataType, Field, Schema, SchemaRef},
    },
    expr::{DfExpr, col, is_in, lit},
    index::scalar::FullTextSearchQuery,
    query::{ExecutableQuery, QueryBase, Select},
};
use uuid::Uuid;

use super::errors::{arrow, failed};
use crate::{
    entity::EntityType,
    episode::Kind,
    error::{Error, Result},
    index::{SearchQuery, ValidAt, analysis::Lexical, vector},
    ledger::{IndexRow, Owner},
    scope::stored,
};

/// Memory for what is read of indexes, and of the structure of tables.
const INDEX_CACHE_BYTES: usize = 1024 * 1024 * 1024;
const METADATA_CACHE_BYTES: usize = 128 * 1024 * 1024;
/// The id of the row that says how far the table is.
const MARKER: &str = "";
/// How many partitions of the vector index are looked at, at least: recall at 10 of 0.95 and more.
const PROBES: usize = 64;

/// How far a table is, as its marker row says. It changes in the commit that makes it true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marker {
    /// The place in the feed up to which the table holds everything.
    pub(super) watermark: i64,
    /// The number of the feeder that wrote last.
    pub(super) fence: i64,
    /// The embedding space of its vectors.
    pub(super) space: String,
    /// Rows that the vector index was trained on.
    pub(super) trained: i64,
}

/// The columns of a table of vectors of these dimensions.
pub(super) fn schema(dimensions: usize) -> Result<SchemaRef> {
    let length = i32::try_from(dimensions)
        .map_err(|error| Error::internal(format!("vectors of `{dimensions}` dimensions")).with_source(error))?;
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    Ok(Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("part", DataType::Int32, false),
        Field::new("seq", DataType::Int64, false),
        text("kind"),
        text("user"),
        text("agent"),
        text("session"),
        text("type"),
        number("from"),
        number("to"),
        Field::new("importance", DataType::Float32, true),
        text("terms"),
        Field::new("vector", DataType::FixedSizeList(item, length), true),
        number("fence"),
        text("space"),
        number("trained"),
    ])))
}

/// A term as the BM25 index takes it: one word.
fn word(term: u64) -> String {
    format!("{term:x}")
}

/// An id as the table keeps it.
pub(super) fn key(id: Uuid) -> String {
    id.as_simple().to_string()
}

/// The rows of the ledger as rows of the table, with the marker behind them.
#[derive(Debug, Default)]
struct Columns {
    id: Vec<String>,
    part: Vec<i32>,
    seq: Vec<i64>,
    kind: Vec<Option<&'static str>>,
    user: Vec<Option<String>>,
    agent: Vec<Option<String>>,
    session: Vec<Option<String>>,
    entity_type: Vec<Option<&'static str>>,
    from: Vec<Option<i64>>,
    to: Vec<Option<i64>>,
    importance: Vec<Option<f32>>,
    terms: Vec<Option<String>>,
    vectors: Vec<f32>,
    has_vector: Vec<bool>,
}

impl Columns {
    /// Adds a row: a row of the table for each of its pieces under each of its origins.
    fn add(&mut self, user: &str, row: &IndexRow, dimensions: usize) -> Result<()> {
        let mut part = 0;
        for (agent, session) in &row.origins {
            for piece in &row.pieces {
                self.id.push(key(row.id));
                self.part.push(part);
                self.seq.push(row.seq);
                self.kind.push(Some(row.kind.as_str()));
                self.user.push(Some(user.to_owned()));
                self.agent.push(Some(stored(agent.as_deref()).to_owned()));
                self.session.push(Some(stored(session.as_deref()).to_owned()));
                self.entity_type.push(Some(row.entity_type.as_str()));
                self.from.push(Some(row.from.as_microsecond()));
                self.to.push(Some(row.to.map_or(i64::MAX, jiff::Timestamp::as_microsecond)));
                self.importance.push(Some(row.importance as f32));
                self.terms.push(Some(words(&piece.lexical)?));
                self.add_vector(piece.vector.as_deref(), dimensions)?;
                part += 1;
            }
        }
        Ok(())
    }

    fn add_vector(&mut self, encoded: Option<&[u8]>, dimensions: usize) -> Result<()> {
        self.has_vector.push(encoded.is_some());
        match encoded {
            Some(encoded) => {
                let (values, scale) = vector::decode(encoded, dimensions)?;
                self.vectors.extend(values.iter().map(|&value| f32::from(value) * scale));
            }
            None => self.vectors.resize(self.vectors.len() + dimensions, 0.0),
        }
        Ok(())
    }

    fn add_marker(&mut self, watermark: i64, dimensions: usize) -> Result<()> {
        self.id.push(MARKER.to_owned());
        self.part.push(0);
        self.seq.push(watermark);
        for column in [&mut self.user, &mut self.agent, &mut self.session, &mut self.terms] {
            column.push(None);
        }
        self.kind.push(None);
        self.entity_type.push(None);
        self.from.push(None);
        self.to.push(None);
        self.importance.push(None);
        self.add_vector(None, dimensions)
    }
}

/// The terms of a text, each as often as it is in it: the BM25 index counts them.
fn words(lexical: &[u8]) -> Result<String> {
    let mut out = String::new();
    for (term, count) in Lexical::decode(lexical)?.terms() {
        let word = word(term);
        for _ in 0..count {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(&word);
        }
    }
    Ok(out)
}

/// A batch that brings rows, and the marker.
///
/// # Errors
/// `CorruptStore` when a row cannot be read.
pub(super) fn batch(rows: &[(String, IndexRow)], marker: &Marker, dimensions: usize) -> Result<RecordBatch> {
    let schema = schema(dimensions)?;
    let mut columns = Columns::default();
    for (user, row) in rows {
        columns.add(user, row, dimensions)?;
    }
    columns.add_marker(marker.watermark, dimensions)?;
    let last = columns.id.len() - 1;
    let on_marker = |value: i64| -> ArrayRef {
        Arc::new((0..=last).map(|index| (index == last).then_some(value)).collect::<Int64Array>())
    };
    let DataType::FixedSizeList(item, length) = schema.field_with_name("vector").map_err(arrow)?.data_type() else {
        return Err(Error::internal("the vectors of the index are no vectors"));
    };
    let vectors = FixedSizeListArray::try_new(
        Arc::clone(item),
        *length,
        Arc::new(Float32Array::from(columns.vectors)),
        Some(NullBuffer::from(columns.has_vector)),
    )
    .map_err(arrow)?;
    let space = (0..=last).map(|index| (index == last).then_some(marker.space.as_str()));
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(columns.id)),
        Arc::new(Int32Array::from(columns.part)),
        Arc::new(Int64Array::from(columns.seq)),
        Arc::new(StringArray::from_iter(columns.kind)),
        Arc::new(StringArray::from_iter(columns.user)),
        Arc::new(StringArray::from_iter(columns.agent)),
        Arc::new(StringArray::from_iter(columns.session)),
        Arc::new(StringArray::from_iter(columns.entity_type)),
        Arc::new(Int64Array::from(columns.from)),
        Arc::new(Int64Array::from(columns.to)),
        Arc::new(Float32Array::from(columns.importance)),
        Arc::new(StringArray::from_iter(columns.terms)),
        Arc::new(vectors),
        on_marker(marker.fence),
        Arc::new(space.collect::<StringArray>()),
        on_marker(marker.trained),
    ];
    RecordBatch::try_new(schema, arrays).map_err(arrow)
}

/// Connects to a folder, which is made if it is missing. What is read of its tables' indexes is kept for the next
/// question, in bounded memory.
pub(super) async fn connect(folder: &Path) -> Result<Connection> {
    let Some(folder) = folder.to_str() else {
        return Err(Error::invalid_input(format!("the folder `{}` is not valid UTF-8", folder.display()))
            .with_hint("LanceDB takes only such paths: name another folder"));
    };
    let session = Session::new(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES, Arc::new(ObjectStoreRegistry::default()));
    let connecting = lancedb::connect(folder).session(Arc::new(session)).execute();
    connecting.await.map_err(|error| failed("the folder of the index cannot be opened", error))
}

/// The dimensions of a table's vectors.
pub(super) async fn dimensions(table: &Table) -> Result<usize> {
    let schema = table.schema().await.map_err(|error| failed("the index cannot be read", error))?;
    match schema.field_with_name("vector").map_err(arrow)?.data_type() {
        DataType::FixedSizeList(_, length) => Ok(usize::try_from(*length).unwrap_or(0)),
        _ => Ok(0),
    }
}

/// Reads the marker of a table; none where it has none.
pub(super) async fn marker(table: &Table) -> Result<Option<Marker>> {
    let columns = ["seq", "fence", "space", "trained"];
    // No other row has a fence, and a column of nothing is read in no time.
    let query = table.query().only_if_expr(col("fence").is_not_null()).select(Select::columns(&columns));
    let batches = collected(query.execute()).await?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
    let number = |index: usize| batch.column(index).as_primitive::<Int64Type>().value(0);
    let space = batch.column(2).as_string::<i32>().value(0).to_owned();
    Ok(Some(Marker { watermark: number(0), fence: number(1), space, trained: number(3) }))
}

async fn collected<S>(stream: impl Future<Output = lancedb::Result<S>>) -> Result<Vec<RecordBatch>>
where
    S: futures::Stream<Item = lancedb::Result<RecordBatch>>,
{
    let unread = |error| failed("the index cannot be read", error);
    stream.await.map_err(unread)?.try_collect().await.map_err(unread)
}

/// The rows of a table of a tenant, for a check: id, part and place in the feed.
pub(super) async fn rows_of(table: &Table, user: Option<&str>) -> Result<Vec<(Uuid, i32, i64)>> {
    let filter = col("user").eq(lit(stored(user)));
    let query = table.query().only_if_expr(filter).select(Select::columns(&["id", "part", "seq"]));
    let mut rows = Vec::new();
    for batch in collected(query.execute()).await? {
        let ids = batch.column(0).as_string::<i32>();
        let (parts, seqs) = (batch.column(1).as_primitive::<Int32Type>(), batch.column(2).as_primitive::<Int64Type>());
        for index in 0..batch.num_rows() {
            rows.push((parsed(ids.value(index))?, parts.value(index), seqs.value(index)));
        }
    }
    Ok(rows)
}

/// The parts of rows that a table holds.
pub(super) async fn parts_of(table: &Table, ids: &[Uuid]) -> Result<Vec<(Uuid, i32)>> {
    let filter = is_in(col("id"), ids.iter().map(|id| lit(key(*id))).collect());
    let query = table.query().only_if_expr(filter).select(Select::columns(&["id", "part"]));
    let mut held = Vec::new();
    for batch in collected(query.execute()).await? {
        let (ids, parts) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int32Type>());
        for index in 0..batch.num_rows() {
            held.push((parsed(ids.value(index))?, parts.value(index)));
        }
    }
    Ok(held)
}

fn parsed(id: &str) -> Result<Uuid> {
    Uuid::try_parse(id).map_err(|error| failed("the index holds a row without an id", error))
}

/// What a question may find, as the table's columns say it. The scope stands in every one.
pub(super) fn filter(query: &SearchQuery) -> DfExpr {
    let mut filter = col("user").eq(lit(stored(query.scope.user())));
    if let Some(agent) = query.scope.agent() {
        filter = filter.and(col("agent").eq(lit(agent)));
    }
    if let Some(session) = query.scope.session() {
        filter = filter.and(col("session").eq(lit(session)));
    }
    if query.kinds.len() == 1 {
        for kind in &query.kinds {
            filter = filter.and(col("kind").eq(lit(kind.as_str())));
        }
    }
    if let Some(types) = &query.entity_types {
        let types = types.iter().map(|entity_type: &EntityType| lit(entity_type.as_str())).collect();
        filter = filter.and(is_in(col("type"), types));
    }
    let is_episode = || col("kind").eq(lit(Kind::Episode.as_str()));
    let holds = |at: jiff::Timestamp| {
        let at = at.as_microsecond();
        col("from").lt_eq(lit(at)).and(col("to").gt(lit(at)))
    };
    match query.valid_at {
        ValidAt::Now(at) => filter = filter.and(is_episode().or(holds(at))),
        // An episode never ends.
        ValidAt::AsOf(at) => filter = filter.and(holds(at)),
        ValidAt::Until(at) => filter = filter.and(is_episode().or(col("from").lt_eq(lit(at.as_microsecond())))),
        ValidAt::Any => {}
    }
    if let Some((start, end)) = query.time_range {
        let (start, end) = (start.as_microsecond(), end.as_microsecond());
        let is_told = is_episode().and(col("from").gt_eq(lit(start)));
        let overlaps = col("kind").eq(lit(Kind::Fact.as_str())).and(col("to").gt(lit(start)));
        filter = filter.and(col("from").lt_eq(lit(end))).and(is_told.or(overlaps));
    }
    filter
}

/// The nearest rows of a table, nearest first, each once, and whether there may be more. With `is_exact` every row that
/// the filter admits is looked at.
pub(super) async fn nearest(
    table: &Table,
    filter: DfExpr,
    vector: &[f32],
    limit: usize,
    is_exact: bool,
) -> Result<(Vec<Owner>, bool)> {
    let unasked = |error| failed("the index cannot be asked", error);
    let mut nearest = table
        .query()
        .only_if_expr(filter)
        .limit(limit)
        .select(Select::columns(&["id", "kind", "_distance"]))
        .nearest_to(vector)
        .map_err(unasked)?
        .column("vector")
        .distance_type(DistanceType::L2);
    nearest = if is_exact {
        nearest.bypass_vector_index()
    } else {
        // Where the filter leaves few rows in these partitions, more of them are looked at.
        let unbounded = nearest.maximum_nprobes(None).map_err(unasked)?;
        unbounded.minimum_nprobes(PROBES).map_err(unasked)?
    };
    owners(collected(nearest.execute()).await?, limit)
}

/// Rows of a table that have no vector, each once, and whether there may be more.
pub(super) async fn without_vector(table: &Table, filter: DfExpr, limit: usize) -> Result<(Vec<Owner>, bool)> {
    let columns = Select::columns(&["id", "kind"]);
    let query = table.query().only_if_expr(filter.and(col("vector").is_null())).limit(limit).select(columns);
    owners(collected(query.execute()).await?, limit)
}

/// The best rows of a table by BM25, best first, each once, and whether there may be more.
pub(super) async fn matching(table: &Table, filter: DfExpr, terms: &[u64], limit: usize) -> Result<(Vec<Owner>, bool)> {
    let words: Vec<String> = terms.iter().map(|term| word(*term)).collect();
    let question = FullTextSearchQuery::new(words.join(" "))
        .with_column("terms".to_owned())
        .map_err(|error| failed("the index cannot be asked", error))?;
    let query = table
        .query()
        .only_if_expr(filter)
        .limit(limit)
        .select(Select::columns(&["id", "kind", "_score"]))
        .full_text_search(question.limit(i64::try_from(limit).ok()));
    owners(collected(query.execute()).await?, limit)
}

fn owners(batches: Vec<RecordBatch>, limit: usize) -> Result<(Vec<Owner>, bool)> {
    let (mut found, mut seen, mut rows) = (Vec::new(), HashSet::new(), 0);
    for batch in batches {
        let (ids, kinds) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        rows += batch.num_rows();
        for index in 0..batch.num_rows() {
            if ids.is_null(index) || ids.value(index) == MARKER {
                continue;
            }
            let id = parsed(ids.value(index))?;
            let kind = if kinds.value(index) == Kind::Fact.as_str() { Kind::Fact } else { Kind::Episode };
            if seen.insert(id) {
                found.push(Owner { kind, id });
            }
        }
    }
    Ok((found, rows >= limit))
}
