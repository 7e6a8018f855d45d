//! [`Table`]: rows in the columns of Arrow.

use std::{fmt, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, NullArray, RecordBatch, RecordBatchOptions,
    StringArray, TimestampMicrosecondArray, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use jiff::Timestamp;

use super::{FileEntry, Scan};
use crate::error::{Error, Result};

/// The most rows of a batch.
pub const BATCH_ROWS: usize = 65_536;

/// The columns of a scan.
pub const COLUMNS: [&str; 14] = [
    "path",
    "name",
    "stem",
    "ext",
    "size",
    "modified",
    "created",
    "mime",
    "kind",
    "is_binary",
    "depth",
    "parent",
    "width",
    "height",
];

/// The columns that refs add.
pub const REF_COLUMNS: [&str; 2] = ["session_id", "ref_id"];

/// Rows in the columns of Arrow, in batches of at most 65,536 rows. Clones share them.
///
/// # Example
/// ```
/// use umi_core::context::{Cell, Scan, ScanOptions};
/// # let folder = tempfile::tempdir().unwrap();
/// # std::fs::write(folder.path().join("a.txt"), "one").unwrap();
/// let table = Scan::open(folder.path(), &ScanOptions::new())?.to_arrow(false)?;
/// assert_eq!(table.num_rows(), 1);
/// let row = table.rows().next().unwrap();
/// assert_eq!((&row[0], &row[4]), (&Cell::Text("a.txt"), &Cell::Integer(3)));
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// A value of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// A text.
    Text(&'a str),
    /// A whole number.
    Integer(i64),
    /// A number.
    Real(f64),
    /// True or false.
    Truth(bool),
    /// A time.
    Time(Timestamp),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// A column of a batch, by its type.
enum Values<'a> {
    Text(&'a StringArray),
    Signed(&'a Int64Array),
    Unsigned16(&'a UInt16Array),
    Unsigned32(&'a UInt32Array),
    Unsigned64(&'a UInt64Array),
    Real(&'a Float64Array),
    Truth(&'a BooleanArray),
    Time(&'a TimestampMicrosecondArray),
    Bytes(&'a BinaryArray),
    Nothing,
}

impl<'a> Values<'a> {
    fn of(array: &'a dyn Array) -> Self {
        fn cast<T: 'static>(array: &dyn Array) -> Option<&T> {
            array.as_any().downcast_ref()
        }
        let known = match array.data_type() {
            DataType::Utf8 => cast(array).map(Self::Text),
            DataType::Int64 => cast(array).map(Self::Signed),
            DataType::UInt16 => cast(array).map(Self::Unsigned16),
            DataType::UInt32 => cast(array).map(Self::Unsigned32),
            DataType::UInt64 => cast(array).map(Self::Unsigned64),
            DataType::Float64 => cast(array).map(Self::Real),
            DataType::Boolean => cast(array).map(Self::Truth),
            DataType::Timestamp(TimeUnit::Microsecond, _) => cast(array).map(Self::Time),
            DataType::Binary => cast(array).map(Self::Bytes),
            _ => None,
        };
        known.unwrap_or(Self::Nothing)
    }

    fn cell(&self, row: usize) -> Cell<'a> {
        fn of<'a, A: Array, V>(array: &'a A, row: usize, value: impl Fn(&'a A, usize) -> V) -> Option<V> {
            array.is_valid(row).then(|| value(array, row))
        }
        let cell = match self {
            Self::Text(array) => of(*array, row, |array, row| Cell::Text(array.value(row))),
            Self::Signed(array) => of(*array, row, |array, row| Cell::Integer(array.value(row))),
            Self::Unsigned16(array) => of(*array, row, |array, row| Cell::Integer(array.value(row).into())),
            Self::Unsigned32(array) => of(*array, row, |array, row| Cell::Integer(array.value(row).into())),
            Self::Unsigned64(array) => of(*array, row, |array, row| Cell::Integer(array.value(row).cast_signed())),
            Self::Real(array) => of(*array, row, |array, row| Cell::Real(array.value(row))),
            Self::Truth(array) => of(*array, row, |array, row| Cell::Truth(array.value(row))),
            Self::Bytes(array) => of(*array, row, |array, row| Cell::Bytes(array.value(row))),
            Self::Time(array) => of(*array, row, |array, row| {
                Timestamp::from_microsecond(array.value(row)).map_or(Cell::Null, Cell::Time)
            }),
            Self::Nothing => None,
        };
        cell.unwrap_or(Cell::Null)
    }
}

impl Table {
    pub(super) fn new(fields: Vec<Field>, batches: Vec<Batch>) -> Result<Self> {
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let batches = batches
            .into_iter()
            .map(|batch| {
                let options = RecordBatchOptions::new().with_row_count(Some(batch.rows));
                RecordBatch::try_new_with_options(Arc::clone(&schema), batch.columns, &options)
            })
            .collect::<std::result::Result<Vec<_>, ArrowError>>()
            .map_err(|error| Error::internal("a table does not fit its schema").with_source(error))?;
        Ok(Self { schema, batches })
    }

    /// The names and types of the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The names of the columns.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|field| field.name().as_str())
    }

    /// The values, row by row.
    pub fn rows(&self) -> impl Iterator<Item = Vec<Cell<'_>>> {
        self.batches.iter().flat_map(|batch| {
            let columns: Vec<Values<'_>> = batch.columns().iter().map(|column| Values::of(column)).collect();
            (0..batch.num_rows()).map(move |row| columns.iter().map(|column| column.cell(row)).collect())
        })
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} rows × {} columns)", self.num_rows(), self.schema.fields().len())
    }
}

/// The columns of a batch and how many rows they have.
pub(super) struct Batch {
    pub(super) rows: usize,
    pub(super) columns: Vec<ArrayRef>,
}

/// A time as Arrow has it here: microseconds of UTC.
pub(super) const TIME: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The type of a column of [`COLUMNS`] or [`REF_COLUMNS`].
pub(super) fn column_type(name: &str) -> DataType {
    match name {
        "size" => DataType::UInt64,
        "modified" | "created" => TIME,
        "is_binary" => DataType::Boolean,
        "depth" => DataType::UInt16,
        "width" | "height" => DataType::UInt32,
        _ => DataType::Utf8,
    }
}

/// Values that SQLite or a scan gave, as one column of a type that they fit; what does not is null.
pub(super) fn column(kind: &DataType, cells: &[Cell<'_>]) -> ArrayRef {
    let integers = || cells.iter().map(|cell| if let Cell::Integer(value) = cell { Some(*value) } else { None });
    match kind {
        DataType::UInt64 => Arc::new(integers().map(|value| value.map(i64::cast_unsigned)).collect::<UInt64Array>()),
        DataType::UInt32 => {
            Arc::new(integers().map(|value| value.and_then(|value| value.try_into().ok())).collect::<UInt32Array>())
        }
        DataType::UInt16 => {
            Arc::new(integers().map(|value| value.and_then(|value| value.try_into().ok())).collect::<UInt16Array>())
        }
        DataType::Int64 => Arc::new(integers().collect::<Int64Array>()),
        DataType::Float64 => {
            let real = |cell: &Cell<'_>| match cell {
                Cell::Real(value) => Some(*value),
                Cell::Integer(value) => Some(*value as f64),
                _ => None,
            };
            Arc::new(cells.iter().map(real).collect::<Float64Array>())
        }
        DataType::Boolean => {
            let truth = |cell: &Cell<'_>| match cell {
                Cell::Truth(value) => Some(*value),
                Cell::Integer(value) => Some(*value != 0),
                _ => None,
            };
            Arc::new(cells.iter().map(truth).collect::<BooleanArray>())
        }
        DataType::Timestamp(..) => {
            let time = |cell: &Cell<'_>| match cell {
                Cell::Time(value) => Some(value.as_microsecond()),
                Cell::Integer(value) => Some(*value),
                _ => None,
            };
            Arc::new(cells.iter().map(time).collect::<TimestampMicrosecondArray>())
        }
        DataType::Binary => {
            let bytes = |cell: &Cell<'_>| match *cell {
                Cell::Bytes(value) => Some(value.to_vec()),
                Cell::Text(value) => Some(value.as_bytes().to_vec()),
                _ => None,
            };
            Arc::new(cells.iter().map(bytes).collect::<BinaryArray>())
        }
        DataType::Utf8 => {
            let text = |cell: &Cell<'_>| match cell {
                Cell::Text(value) => Some((*value).to_owned()),
                Cell::Integer(value) => Some(value.to_string()),
                Cell::Real(value) => Some(value.to_string()),
                Cell::Bytes(value) => Some(String::from_utf8_lossy(value).into_owned()),
                _ => None,
            };
            Arc::new(cells.iter().map(text).collect::<StringArray>())
        }
        _ => Arc::new(NullArray::new(cells.len())),
    }
}

impl Scan {
    /// The files as a table with the columns [`COLUMNS`], and [`REF_COLUMNS`] where `refs` are asked for. Times are of
    /// UTC; what of a name is not UTF-8 is replaced by `U+FFFD`.
    ///
    /// # Errors
    /// None: the columns fit their schema.
    pub fn to_arrow(&self, refs: bool) -> Result<Table> {
        let names: Vec<&str> = if refs { [&COLUMNS[..], &REF_COLUMNS].concat() } else { COLUMNS.to_vec() };
        let fields = names.iter().map(|name| {
            let is_optional = matches!(*name, "modified" | "created" | "width" | "height");
            Field::new(*name, column_type(name), is_optional)
        });
        let batches = self.entries.chunks(BATCH_ROWS).map(|entries| {
            let rows: Vec<Described<'_>> = entries.iter().map(|entry| Described::new(entry)).collect();
            let session_id = self.session_id();
            let columns = names
                .iter()
                .map(|name| {
                    let cells: Vec<Cell<'_>> = rows.iter().map(|row| row.cell(name, session_id)).collect();
                    column(&column_type(name), &cells)
                })
                .collect();
            Batch { rows: entries.len(), columns }
        });
        Table::new(fields.collect(), batches.collect())
    }
}

/// A file with the texts of its columns.
pub(super) struct Described<'a> {
    entry: &'a FileEntry,
    path: std::borrow::Cow<'a, str>,
    name: std::borrow::Cow<'a, str>,
    stem: std::borrow::Cow<'a, str>,
    parent: std::borrow::Cow<'a, str>,
    extension: String,
    ref_id: crate::context::refs::RefText,
}

impl<'a> Described<'a> {
    pub(super) fn new(entry: &'a FileEntry) -> Self {
        let path = entry.path();
        Self {
            entry,
            path: path.to_string_lossy(),
            name: path.file_name().unwrap_or_default().to_string_lossy(),
            stem: path.file_stem().unwrap_or_default().to_string_lossy(),
            parent: path.parent().map(|parent| parent.to_string_lossy()).unwrap_or_default(),
            extension: entry.extension(),
            ref_id: entry.ref_id().text(),
        }
    }

    /// The value of a column of [`COLUMNS`] or [`REF_COLUMNS`]; null for another.
    pub(super) fn cell<'b>(&'b self, name: &str, session_id: &'b str) -> Cell<'b> {
        let entry = self.entry;
        let side = |side: Option<u32>| side.map_or(Cell::Null, |pixels| Cell::Integer(pixels.into()));
        match name {
            "path" => Cell::Text(&self.path),
            "name" => Cell::Text(&self.name),
            "stem" => Cell::Text(&self.stem),
            "ext" => Cell::Text(&self.extension),
            "size" => Cell::Integer(i64::try_from(entry.size).unwrap_or(i64::MAX)),
            "modified" => entry.modified.map_or(Cell::Null, Cell::Time),
            "created" => entry.created.map_or(Cell::Null, Cell::Time),
            "mime" => Cell::Text(entry.format.media_type),
            "kind" => Cell::Text(entry.format.kind.as_str()),
            "is_binary" => Cell::Truth(entry.is_binary()),
            "depth" => Cell::Integer(entry.depth().into()),
            "parent" => Cell::Text(&self.parent),
            "width" => side(entry.dimensions.map(|(width, _)| width)),
            "height" => side(entry.dimensions.map(|(_, height)| height)),
            "session_id" => Cell::Text(session_id),
            "ref_id" => Cell::Text(&self.ref_id),
            _ => Cell::Null,
        }
    }
}
