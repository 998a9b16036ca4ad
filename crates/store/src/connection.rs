//! One way to speak to two databases: the same text, the same two kinds of values, and rows that are read by position.

use crate::port::Error;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Postgres, Row as _, Sqlite};

/// A value that is bound to a statement: every column is a text or a 64-bit integer.
#[derive(Debug)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(Some(i64::from(value)))
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(Some(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

/// Values in the order of the statement's `$1`, `$2`, ...
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::connection::Value::from($value)),*] };
}
pub(crate) use values;

/// A row that was read.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(crate) fn int(&self, at: usize) -> i64 {
        self.opt_int(at).unwrap_or(0)
    }

    pub(crate) fn text(&self, at: usize) -> String {
        self.opt_text(at).unwrap_or_default()
    }

    pub(crate) fn opt_int(&self, at: usize) -> Option<i64> {
        match self {
            Self::Sqlite(row) => row.get(at),
            Self::Postgres(row) => row.get(at),
        }
    }

    pub(crate) fn opt_text(&self, at: usize) -> Option<String> {
        match self {
            Self::Sqlite(row) => row.get(at),
            Self::Postgres(row) => row.get(at),
        }
    }

    pub(crate) fn uint(&self, at: usize) -> u64 {
        u64::try_from(self.int(at)).unwrap_or(0)
    }

    pub(crate) fn count(&self, at: usize) -> u32 {
        u32::try_from(self.int(at)).unwrap_or(u32::MAX)
    }
}

/// An open connection, most often inside a transaction.
pub(crate) enum Connection<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

fn sqlite(text: &'static str, values: Vec<Value>) -> Query<'static, Sqlite, SqliteArguments> {
    values.into_iter().fold(sqlx::query(text), |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
    })
}

fn postgres(text: &'static str, values: Vec<Value>) -> Query<'static, Postgres, PgArguments> {
    values.into_iter().fold(sqlx::query(text), |query, value| match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
    })
}

impl Connection<'_> {
    /// Runs a statement and tells how many rows it changed.
    pub(crate) async fn run(&mut self, text: &'static str, values: Vec<Value>) -> Result<u64, Error> {
        match self {
            Self::Sqlite(c) => sqlite(text, values).execute(&mut **c).await.map(|done| done.rows_affected()),
            Self::Postgres(c) => postgres(text, values).execute(&mut **c).await.map(|done| done.rows_affected()),
        }
        .map_err(failed)
    }

    /// Runs a statement and reads all its rows.
    pub(crate) async fn rows(&mut self, text: &'static str, values: Vec<Value>) -> Result<Vec<Row>, Error> {
        match self {
            Self::Sqlite(c) => {
                sqlite(text, values).fetch_all(&mut **c).await.map(|rows| rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(c) => {
                postgres(text, values).fetch_all(&mut **c).await.map(|rows| rows.into_iter().map(Row::Postgres).collect())
            }
        }
        .map_err(failed)
    }

    /// Runs a statement and reads its first row.
    pub(crate) async fn row(&mut self, text: &'static str, values: Vec<Value>) -> Result<Option<Row>, Error> {
        Ok(self.rows(text, values).await?.into_iter().next())
    }
}

/// What a database's refusal means. A transaction that another one made impossible is a conflict like any other.
pub(crate) fn failed(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|e| e.code()).unwrap_or_default();
    if matches!(&*code, "40001" | "40P01") { Error::Conflict } else { Error::Database(error.to_string()) }
}
