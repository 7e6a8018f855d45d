//! Queries in SQL over the table of a scan: in memory, for reading alone.

use std::fmt;

use arrow_schema::{DataType, Field};
use parking_lot::Mutex;
use rusqlite::{
    Connection, ToSql,
    fallible_iterator::FallibleIterator,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
    types::{ToSqlOutput, Value, ValueRef},
};

use super::{
    BATCH_ROWS, COLUMNS, REF_COLUMNS, Scan, Table,
    table::{Batch, Cell, Described, TIME, column},
};
use crate::{
    context::{refs::shown, render::markdown::one_line},
    error::{Error, ErrorKind, Result},
};

/// The most memory that the rows of a query, or the lines of a search, may take, in bytes.
pub const RESULT_BYTES: usize = 256 * 1024 * 1024;

/// The longest text or blob of a query, and the longest query, in bytes.
const VALUE_BYTES: i32 = 64 * 1024 * 1024;
const QUERY_BYTES: i32 = 1024 * 1024;
/// The instructions of SQLite's machine between two questions whether to go on.
const OPERATIONS: i32 = 10_000;
/// What a value takes beside the bytes of a text or blob.
const CELL_BYTES: usize = size_of::<Value>();

/// A parameter of a query.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SqlValue {
    /// No value.
    Null,
    /// A whole number; a time is one, in microseconds since 1970 in UTC.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Real(value) => ValueRef::Real(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

/// The table of a scan in SQLite.
pub(super) struct Database(Mutex<Connection>);

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database")
    }
}

/// The type that a column of the table is declared with, and what Arrow makes of it. SQLite takes each for a number or a
/// text by the letters in it.
const DECLARED: [(&str, DataType); 6] = [
    ("TEXT", DataType::Utf8),
    ("UNSIGNED BIG INT", DataType::UInt64),
    ("UNSIGNED INT", DataType::UInt32),
    ("UNSIGNED SMALLINT", DataType::UInt16),
    ("BOOLEAN", DataType::Boolean),
    ("TIMESTAMP", TIME),
];

fn declared(name: &str) -> &'static str {
    match name {
        "size" => "UNSIGNED BIG INT",
        "modified" | "created" => "TIMESTAMP",
        "is_binary" => "BOOLEAN",
        "depth" => "UNSIGNED SMALLINT",
        "width" | "height" => "UNSIGNED INT",
        _ => "TEXT",
    }
}

impl Database {
    fn of(scan: &Scan) -> rusqlite::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        // What is too large for memory fails: nothing is written to a disk.
        connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")?;
        let names: Vec<&str> = COLUMNS.iter().chain(&REF_COLUMNS).copied().collect();
        let columns: Vec<String> = names.iter().map(|name| format!("{name} {}", declared(name))).collect();
        let places: Vec<&str> = names.iter().map(|_| "?").collect();
        connection.execute_batch(&format!("CREATE TABLE files ({})", columns.join(", ")))?;
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare(&format!("INSERT INTO files VALUES ({})", places.join(", ")))?;
            for entry in &scan.entries {
                let described = Described::new(entry);
                for (place, name) in names.iter().enumerate() {
                    insert.raw_bind_parameter(place + 1, Stored(described.cell(name, scan.session_id())))?;
                }
                insert.raw_execute()?;
            }
        }
        transaction.commit()?;
        connection.authorizer(Some(only_reads))?;
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, QUERY_BYTES),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            connection.set_limit(limit, value)?;
        }
        Ok(Self(Mutex::new(connection)))
    }
}

/// Lets a statement read, and do nothing else.
fn only_reads(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name } if !function_name.eq_ignore_ascii_case("load_extension") => {
            Authorization::Allow
        }
        _ => Authorization::Deny,
    }
}

/// A value of the table as SQLite has it: times in microseconds, truth as 0 and 1.
struct Stored<'a>(Cell<'a>);

impl ToSql for Stored<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Cell::Null => ValueRef::Null,
            Cell::Text(value) => ValueRef::Text(value.as_bytes()),
            Cell::Integer(value) => ValueRef::Integer(value),
            Cell::Real(value) => ValueRef::Real(value),
            Cell::Truth(value) => ValueRef::Integer(value.into()),
            Cell::Time(value) => ValueRef::Integer(value.as_microsecond()),
            Cell::Bytes(value) => ValueRef::Blob(value),
        }))
    }
}

/// The parameters of a query.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum SqlParameters {
    /// None at all.
    #[default]
    None,
    /// For each `?` in order.
    InOrder(Vec<SqlValue>),
    /// By name, for `:name`, `@name` and `$name`.
    Named(Vec<(String, SqlValue)>),
}

impl SqlParameters {
    fn bind(&self, statement: &mut rusqlite::Statement<'_>) -> Result<()> {
        let count = statement.parameter_count();
        let wrong = |given: usize| {
            let message = format!("the query has {count} parameters, {given} were given");
            Error::invalid_input(message).with_sizes(count, given)
        };
        match self {
            Self::None if count > 0 => return Err(wrong(0)),
            Self::None => {}
            Self::InOrder(values) if values.len() != count => return Err(wrong(values.len())),
            Self::InOrder(values) => {
                for (place, value) in values.iter().enumerate() {
                    statement.raw_bind_parameter(place + 1, value).map_err(|error| refused(&error))?;
                }
            }
            Self::Named(values) => {
                for place in 1..=count {
                    let name = statement.parameter_name(place).map(|name| name[1..].to_owned()).ok_or_else(|| {
                        Error::invalid_input("the query has a parameter without a name")
                            .with_hint("give a list for `?`")
                    })?;
                    let value = values.iter().find(|(known, _)| *known == name).ok_or_else(|| {
                        Error::invalid_input(format!("the query's parameter `{}` was not given", shown(&name)))
                    })?;
                    statement.raw_bind_parameter(place, &value.1).map_err(|error| refused(&error))?;
                }
            }
        }
        Ok(())
    }
}

fn refused(error: &rusqlite::Error) -> Error {
    let said = match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    };
    let message = format!("the query failed: {}", one_line(&said).chars().take(200).collect::<String>());
    let hint = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::AuthorizationForStatementDenied) => {
            Some("a query reads the table `files`, it changes nothing")
        }
        _ if said.starts_with("no such table") => Some("the table is `files`"),
        _ if said.starts_with("no such column") => {
            Some("a text stands in single quotes; `SELECT * FROM files` shows the columns")
        }
        _ => None,
    };
    match hint {
        Some(hint) => Error::invalid_input(message).with_hint(hint),
        None => Error::invalid_input(message),
    }
}

impl Scan {
    /// The rows of a query over the table `files`, which has the columns [`COLUMNS`] and [`REF_COLUMNS`]; times are
    /// microseconds since 1970 in UTC, truth is 0 and 1.
    ///
    /// It runs in SQLite in memory, where it can read and nothing else. A column of the result that is one of the table
    /// has its type; another has the type of its values: whole numbers, numbers, texts or bytes, texts where they are
    /// mixed. The table is made at the first query and kept. `is_over` is asked from time to time whether to give up.
    ///
    /// # Errors
    /// `InvalidInput` for a query that is malformed, more than one statement, would write, or fails, and for parameters
    /// that do not fit; `Capacity` where the rows take more than 256 MiB.
    ///
    /// # Example
    /// ```
    /// use umi_core::context::{Scan, ScanOptions, SqlParameters, SqlValue};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # std::fs::write(folder.path().join("a.txt"), "one").unwrap();
    /// let scan = Scan::open(folder.path(), &ScanOptions::new())?;
    /// let parameters = SqlParameters::InOrder(vec![SqlValue::Text("text".into())]);
    /// let table = scan.sql("SELECT name, size FROM files WHERE kind = ?", &parameters, || false)?;
    /// assert_eq!(table.num_rows(), 1);
    /// assert!(scan.sql("DELETE FROM files", &SqlParameters::None, || false).is_err());
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn sql(
        &self,
        query: &str,
        parameters: &SqlParameters,
        is_over: impl FnMut() -> bool + Send + 'static,
    ) -> Result<Table> {
        let failed = |error: rusqlite::Error| Error::internal("cannot make the table of a scan").with_source(error);
        let database = if let Some(database) = self.database.get() {
            database
        } else {
            let made = Database::of(self).map_err(failed)?;
            self.database.get_or_init(|| made)
        };
        let mut connection = database.0.lock();
        connection.progress_handler(OPERATIONS, Some(is_over)).map_err(failed)?;
        let outcome = rows(&connection, query, parameters);
        connection.progress_handler(0, None::<fn() -> bool>).map_err(failed)?;
        outcome
    }
}

fn rows(connection: &Connection, query: &str, parameters: &SqlParameters) -> Result<Table> {
    if query.contains('\0') {
        return Err(Error::invalid_input("the query has a zero character"));
    }
    let mut batch = rusqlite::Batch::new(connection, query);
    let mut statement =
        batch.next().map_err(|error| refused(&error))?.ok_or_else(|| Error::invalid_input("the query is empty"))?;
    if batch.next().map_err(|error| refused(&error))?.is_some() {
        return Err(Error::invalid_input("the query has more than one statement"));
    }
    parameters.bind(&mut statement)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let types: Vec<Option<DataType>> =
        statement.columns().map(|column| column.decl_type().and_then(arrow_type)).collect();
    let mut columns: Vec<Vec<Value>> = names.iter().map(|_| Vec::new()).collect();
    let mut held = 0;
    let mut found = statement.raw_query();
    let mut count = 0;
    while let Some(row) = found.next().map_err(|error| refused(&error))? {
        for (place, column) in columns.iter_mut().enumerate() {
            let value = row.get_ref(place).map_err(|error| refused(&error))?;
            held += CELL_BYTES
                + match value {
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
                    _ => 0,
                };
            column.push(match value {
                // SQLite makes texts of bytes that are none
                ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
                ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Real(number) => Value::Real(number),
                ValueRef::Null => Value::Null,
            });
        }
        count += 1;
        if held > RESULT_BYTES {
            return Err(Error::new(ErrorKind::Capacity, format!("the rows take more than {} MiB", RESULT_BYTES >> 20))
                .with_sizes(RESULT_BYTES, held)
                .with_hint("ask for fewer columns, or with a LIMIT"));
        }
    }
    table(&names, types, &columns, count)
}

fn arrow_type(declared: &str) -> Option<DataType> {
    DECLARED.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(declared)).map(|(_, kind)| kind)
}

fn table(names: &[String], types: Vec<Option<DataType>>, columns: &[Vec<Value>], rows: usize) -> Result<Table> {
    let types: Vec<DataType> =
        types.into_iter().zip(columns).map(|(known, values)| known.unwrap_or_else(|| common_type(values))).collect();
    let fields = names.iter().zip(&types).map(|(name, kind)| Field::new(name, kind.clone(), true)).collect();
    let batches = (0..rows).step_by(BATCH_ROWS).map(|start| {
        let end = rows.min(start + BATCH_ROWS);
        let arrays = columns.iter().zip(&types).map(|(values, kind)| {
            let cells: Vec<Cell<'_>> = values[start..end].iter().map(cell).collect();
            column(kind, &cells)
        });
        Batch { rows: end - start, columns: arrays.collect() }
    });
    Table::new(fields, batches.collect())
}

fn cell(value: &Value) -> Cell<'_> {
    match value {
        Value::Null => Cell::Null,
        Value::Integer(value) => Cell::Integer(*value),
        Value::Real(value) => Cell::Real(*value),
        Value::Text(value) => Cell::Text(value),
        Value::Blob(value) => Cell::Bytes(value),
    }
}

/// The narrowest type that holds all values.
fn common_type(values: &[Value]) -> DataType {
    let mut common = DataType::Null;
    for value in values {
        let kind = match value {
            Value::Null => continue,
            Value::Integer(_) => DataType::Int64,
            Value::Real(_) => DataType::Float64,
            Value::Text(_) => DataType::Utf8,
            Value::Blob(_) => DataType::Binary,
        };
        common = match (common, kind) {
            (DataType::Null, kind) => kind,
            (common, kind) if common == kind => common,
            (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => DataType::Float64,
            _ => return DataType::Utf8,
        };
    }
    common
}
