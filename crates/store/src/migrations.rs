//! Schema versions: the same numbers for both databases, each in its own words.

use crate::connection::failed;
use crate::port::Error;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use std::borrow::Cow;

macro_rules! migrations {
    ($folder:literal: $($version:literal $name:literal),* $(,)?) => {
        &[$(($version, $name, include_str!(concat!("../migrations/", $folder, "/", $name, ".sql")))),*]
    };
}

type Versions = &'static [(i64, &'static str, &'static str)];

pub(crate) const SQLITE: Versions = migrations!("sqlite":
    1 "0001_first", 2 "0002_gateways", 3 "0003_spend", 4 "0004_money", 5 "0005_hosts", 6 "0006_control_planes",
    7 "0007_host_speeds", 8 "0008_usage", 9 "0009_spend_provider");

pub(crate) const POSTGRES: Versions = migrations!("postgres":
    1 "0001_first", 2 "0002_gateways", 3 "0003_spend", 4 "0004_money", 5 "0005_hosts", 6 "0006_control_planes",
    7 "0007_host_speeds", 8 "0008_usage", 9 "0009_spend_provider");

fn migrator(versions: Versions) -> Migrator {
    let one = |(version, name, text): &(i64, &'static str, &'static str)| {
        // The number stands in the file's name; the description is what follows it.
        let name = name.split_once('_').map_or(*name, |(_, rest)| rest);
        Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, sqlx::SqlStr::from_static(text), false)
    };
    Migrator { migrations: Cow::Owned(versions.iter().map(one).collect()), ..Migrator::DEFAULT }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's other errors are told as they are")]
fn migration(error: sqlx::migrate::MigrateError, versions: Versions) -> Error {
    match error {
        sqlx::migrate::MigrateError::VersionMissing(found) => Error::TooNew { found, known: versions.last().map_or(0, |v| v.0) },
        sqlx::migrate::MigrateError::Execute(error) => failed(error),
        other => Error::Database(other.to_string()),
    }
}

pub(crate) async fn migrate_sqlite(pool: &SqlitePool) -> Result<(), Error> {
    migrator(SQLITE).run(pool).await.map_err(|e| migration(e, SQLITE))
}

pub(crate) async fn migrate_postgres(pool: &PgPool) -> Result<(), Error> {
    migrator(POSTGRES).run(pool).await.map_err(|e| migration(e, POSTGRES))
}
