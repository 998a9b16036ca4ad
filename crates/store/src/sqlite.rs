//! SQLite in one file: a single writer, a few readers, write-ahead log, and every commit on disk before it counts.

use crate::port::{
    BackendRow, Begun, Claimed, Commit, Error, KeyRow, NewIntent, ReplicaWrite, Role, Store, StoredIntent, Versioned, Write,
};
use crate::{persist, sql};
use async_trait::async_trait;
use charter_domain::deployment::Deployment;
use charter_domain::fact::Fact;
use charter_domain::host_memory::{HostFailure, HostRecord};
use charter_domain::ids::{BackendId, DeploymentId, IntentId, KeyId, ReplicaId};
use charter_domain::intent::Intent;
use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::replica::Replica;
use charter_domain::reservation::{Asked, Reservation, Whose, admit, part, whose};
use charter_domain::time::Time;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Connection, Row, Sqlite, Transaction};
use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The SQL of each schema version, in order.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("../migrations/sqlite/0001_first.sql")),
    (2, "gateways", include_str!("../migrations/sqlite/0002_gateways.sql")),
    (3, "spend", include_str!("../migrations/sqlite/0003_spend.sql")),
    (4, "money", include_str!("../migrations/sqlite/0004_money.sql")),
    (5, "hosts", include_str!("../migrations/sqlite/0005_hosts.sql")),
];

/// A database file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    commits: AtomicU64,
}

fn db(error: impl std::fmt::Display) -> Error {
    Error::Database(error.to_string())
}

/// Makes the file before SQLite does, and for its owner alone: the log beside it gets the same mode.
fn private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(file)?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))
}

fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

impl SqliteStore {
    /// Opens `file`, makes it if it is not there, and brings it to the newest schema.
    ///
    /// # Errors
    /// [`Error::TooNew`] for a file of a newer charter; else what SQLite says.
    pub async fn open(file: &Path) -> Result<Self, Error> {
        private(file).map_err(db)?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(db)?;
        migrate(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(2).connect_lazy_with(options.read_only(true));
        Ok(Self { writer, readers, commits: AtomicU64::new(0) })
    }

    /// Writes the log back into the file and lets go of it.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn counted(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's other errors are told as they are")]
async fn migrate(pool: &SqlitePool) -> Result<(), Error> {
    let migrations = MIGRATIONS
        .iter()
        .map(|(version, name, text)| {
            Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, sqlx::SqlStr::from_static(text), false)
        })
        .collect::<Vec<_>>();
    let known = MIGRATIONS.last().map_or(0, |m| m.0);
    let migrator = Migrator { migrations: Cow::Owned(migrations), ..Migrator::DEFAULT };
    migrator.run(pool).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(found) => Error::TooNew { found, known },
        other => db(other),
    })
}

fn deployment(row: &SqliteRow) -> Result<Versioned<Deployment>, Error> {
    Ok(Versioned { version: uint(row.get(0)), state: persist::read(row.get(1))? })
}

fn replica(row: &SqliteRow) -> Result<(Versioned<Replica>, Option<Time>), Error> {
    let wake_at: Option<i64> = row.get(1);
    Ok((Versioned { version: uint(row.get(0)), state: persist::read(row.get(2))? }, wake_at.map(Time)))
}

fn intent(row: &SqliteRow) -> Result<StoredIntent, Error> {
    let intent = Intent {
        id: IntentId(row.get(0)),
        replica: ReplicaId(row.get(1)),
        due_at: Time(row.get(2)),
        effect: persist::read(row.get(7))?,
    };
    Ok(StoredIntent {
        intent,
        attempts: u32::try_from(row.get::<i64, _>(3)).unwrap_or(u32::MAX),
        started_at: row.get::<Option<i64>, _>(4).map(Time),
        lease_until: row.get::<Option<i64>, _>(5).map(Time),
        fence: uint(row.get(6)),
    })
}

type Tx<'a> = Transaction<'a, Sqlite>;

async fn write_deployment(tx: &mut Tx<'_>, write: Write<Deployment>) -> Result<(), Error> {
    let (id, state) = (write.state.id.0.clone(), persist::write(&write.state)?);
    let query = if write.expected == 0 {
        sqlx::query(sql::DEPLOYMENT_ADD).bind(id).bind(write.state.name).bind(write.state.created_at.0).bind(state)
    } else {
        sqlx::query(sql::DEPLOYMENT_SET).bind(id).bind(int(write.expected)).bind(state)
    };
    match query.execute(&mut **tx).await.map_err(db)?.rows_affected() {
        1 => Ok(()),
        _ if write.expected == 0 => Err(Error::NameTaken),
        _ => Err(Error::Conflict),
    }
}

async fn write_replica(tx: &mut Tx<'_>, replica: ReplicaWrite) -> Result<(), Error> {
    let state = &replica.write.state;
    let (text, wake_at) = (persist::write(state)?, replica.wake_at.map(|t| t.0));
    let query = if replica.write.expected == 0 {
        sqlx::query(sql::REPLICA_ADD)
            .bind(state.id.0.clone())
            .bind(state.deployment.0.clone())
            .bind(i64::from(state.generation))
            .bind(state.phase.name())
            .bind(wake_at)
            .bind(text)
    } else {
        let (id, expected) = (state.id.0.clone(), int(replica.write.expected));
        sqlx::query(sql::REPLICA_SET).bind(id).bind(expected).bind(state.phase.name()).bind(wake_at).bind(text)
    };
    match query.execute(&mut **tx).await.map_err(db)?.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::Conflict),
    }
}

async fn open_intent(tx: &mut Tx<'_>, new: NewIntent) -> Result<(), Error> {
    let times = i64::from(new.claimed.is_some());
    let (owner, until) = new.claimed.map_or((None, None), |(owner, until)| (Some(owner), Some(until.0)));
    sqlx::query(sql::INTENT_ADD)
        .bind(new.intent.id.0)
        .bind(new.intent.replica.0)
        .bind(new.intent.effect.kind())
        .bind(new.intent.due_at.0)
        .bind(times)
        .bind(owner)
        .bind(until)
        .bind(times)
        .bind(persist::write(&new.intent.effect)?)
        .execute(&mut **tx)
        .await
        .map_err(db)?;
    Ok(())
}

/// Sets money aside if every limit allows it. Everything is read in the same transaction that writes.
async fn set_aside(tx: &mut Tx<'_>, asked: Asked) -> Result<(), Error> {
    sqlx::query(sql::UNRESERVE).bind(asked.reservation.replica.0.clone()).execute(&mut **tx).await.map_err(db)?;
    let rows = sqlx::query(sql::RESERVATIONS).fetch_all(&mut **tx).await.map_err(db)?;
    let others: Vec<Reservation> = rows.iter().map(reservation).collect();
    for budget in &asked.budgets {
        let since = budget.scope.since(asked.now);
        let spent = match whose(budget.scope, &asked.reservation) {
            Some(whose) => spent(tx, &whose, since).await?,
            None => Usd(0),
        };
        admit(budget, &asked, &others, spent).map_err(|e| Error::OverBudget(Box::new(e)))?;
    }
    let wish = asked.reservation;
    let query = sqlx::query(sql::RESERVE).bind(wish.replica.0).bind(wish.deployment.0).bind(wish.tenant);
    query.bind(wish.price.0).bind(wish.from.0).bind(wish.until.0).execute(&mut **tx).await.map_err(db)?;
    Ok(())
}

fn reservation(row: &SqliteRow) -> Reservation {
    Reservation {
        replica: ReplicaId(row.get(0)),
        deployment: DeploymentId(row.get(1)),
        tenant: row.get(2),
        price: UsdPerHour(row.get(3)),
        from: Time(row.get(4)),
        until: Time(row.get(5)),
    }
}

async fn spent(tx: &mut SqliteConnection, of: &Whose, since: Time) -> Result<Usd, Error> {
    let (tenant, deployment) = match of {
        Whose::All => ("", ""),
        Whose::Tenant(name) => (name.as_str(), ""),
        Whose::Deployment(id) => ("", id.as_str()),
    };
    let query = sqlx::query_scalar(sql::SPENT).bind(since.0).bind(tenant).bind(deployment);
    let whole = query.fetch_one(&mut *tx).await.map(Usd).map_err(db)?;
    let query = sqlx::query(sql::SPENT_ACROSS).bind(since.0).bind(tenant).bind(deployment);
    let across = query.fetch_all(&mut *tx).await.map_err(db)?;
    let parts = across.iter().map(|row| part(Usd(row.get(2)), Time(row.get(0)), Time(row.get(1)), since));
    Ok(parts.fold(whole, Usd::plus))
}

fn host(row: &SqliteRow) -> HostRecord {
    HostRecord {
        provider: row.get(0),
        host: row.get(1),
        class: row.get(2),
        count: u32::try_from(row.get::<i64, _>(3)).unwrap_or(u32::MAX),
        weight: u32::try_from(row.get::<i64, _>(4)).unwrap_or(u32::MAX),
        last_at: Time(row.get(5)),
    }
}

async fn remember(tx: &mut Tx<'_>, failure: &HostFailure) -> Result<(), Error> {
    let query = sqlx::query(sql::HOST).bind(&failure.provider).bind(&failure.host).bind(&failure.class);
    let before = query.fetch_optional(&mut **tx).await.map_err(db)?;
    let record = HostRecord::with(before.as_ref().map(host), failure);
    let query = sqlx::query(sql::HOST_PUT).bind(record.provider).bind(record.host).bind(record.class);
    let query = query.bind(i64::from(record.count)).bind(i64::from(record.weight)).bind(record.last_at.0);
    query.execute(&mut **tx).await.map_err(db)?;
    Ok(())
}

async fn write_all(tx: &mut Tx<'_>, commit: Commit) -> Result<(), Error> {
    for write in commit.deployments {
        write_deployment(tx, write).await?;
    }
    for replica in commit.replicas {
        write_replica(tx, replica).await?;
    }
    if let Some(close) = commit.close {
        let query = sqlx::query(sql::INTENT_CLOSE).bind(close.intent.0).bind(int(close.fence));
        if query.execute(&mut **tx).await.map_err(db)?.rows_affected() != 1 {
            return Err(Error::Conflict);
        }
    }
    for new in commit.open {
        open_intent(tx, new).await?;
    }
    for replica in commit.unreserve {
        sqlx::query(sql::UNRESERVE).bind(replica.0).execute(&mut **tx).await.map_err(db)?;
    }
    for asked in commit.reserve {
        set_aside(tx, asked).await?;
    }
    for spend in commit.spend {
        let query = sqlx::query(sql::SPEND_ADD).bind(spend.deployment.0).bind(spend.tenant).bind(spend.replica.0);
        let query = query.bind(spend.instance);
        let query = query.bind(spend.from.0).bind(spend.until.0).bind(spend.amount.0);
        query.execute(&mut **tx).await.map_err(db)?;
    }
    for failure in commit.host_failures {
        remember(tx, &failure).await?;
    }
    for fact in commit.facts {
        let query = sqlx::query(sql::FACT_ADD).bind(fact.at.0).bind(fact.deployment.0);
        query.bind(fact.replica.map(|r| r.0)).bind(fact.text).execute(&mut **tx).await.map_err(db)?;
    }
    Ok(())
}

#[async_trait]
impl Store for SqliteStore {
    async fn installation(&self, fresh: &str) -> Result<String, Error> {
        sqlx::query(sql::META_ADD).bind("installation").bind(fresh).execute(&self.writer).await.map_err(db)?;
        sqlx::query_scalar(sql::META_GET).bind("installation").fetch_one(&self.writer).await.map_err(db)
    }

    async fn deployments(&self) -> Result<Vec<Versioned<Deployment>>, Error> {
        let rows = sqlx::query(sql::DEPLOYMENTS).fetch_all(&self.readers).await.map_err(db)?;
        rows.iter().map(deployment).collect()
    }

    async fn deployment(&self, id_or_name: &str) -> Result<Option<Versioned<Deployment>>, Error> {
        let row = sqlx::query(sql::DEPLOYMENT).bind(id_or_name).fetch_optional(&self.readers).await.map_err(db)?;
        row.as_ref().map(deployment).transpose()
    }

    async fn replicas(&self, of: Option<&DeploymentId>) -> Result<Vec<(Versioned<Replica>, Option<Time>)>, Error> {
        let query = match of {
            Some(id) => sqlx::query(sql::REPLICAS_OF).bind(id.0.clone()),
            None => sqlx::query(sql::REPLICAS_OPEN),
        };
        query.fetch_all(&self.readers).await.map_err(db)?.iter().map(replica).collect()
    }

    async fn replica(&self, id: &ReplicaId) -> Result<Option<Versioned<Replica>>, Error> {
        let row = sqlx::query(sql::REPLICA).bind(&id.0).fetch_optional(&self.readers).await.map_err(db)?;
        Ok(row.as_ref().map(replica).transpose()?.map(|(row, _)| row))
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        let mut connection = self.writer.acquire().await.map_err(db)?;
        let written = async {
            let mut tx = connection.begin().await.map_err(db)?;
            write_all(&mut tx, commit).await?;
            tx.commit().await.map_err(db)
        };
        let written = written.await;
        if matches!(written, Err(Error::Database(_))) {
            // A commit that failed, for a full disk most likely, leaves its transaction open: whatever came next on this
            // connection would seem to be written, and would never be. Another connection begins anew.
            connection.close_on_drop();
        }
        written?;
        self.counted();
        Ok(())
    }

    async fn claim(&self, owner: &str, now: Time, until: Time, limit: u32) -> Result<Vec<Claimed>, Error> {
        let query = sqlx::query(sql::INTENTS_CLAIM).bind(owner).bind(until.0).bind(now.0).bind(i64::from(limit));
        let rows = query.fetch_all(&self.writer).await.map_err(db)?;
        if !rows.is_empty() {
            self.counted();
        }
        let claimed = |row: &SqliteRow| {
            let stored = intent(row)?;
            Ok(Claimed { intent: stored.intent, fence: stored.fence, begun_before: stored.started_at.is_some() })
        };
        rows.iter().map(claimed).collect()
    }

    async fn abandon_leases(&self) -> Result<(), Error> {
        sqlx::query(sql::LEASES_ABANDON).execute(&self.writer).await.map_err(db)?;
        Ok(())
    }

    async fn begin(&self, id: &IntentId, fence: u64, now: Time) -> Result<Begun, Error> {
        let query = sqlx::query(sql::INTENT_BEGIN).bind(&id.0).bind(int(fence)).bind(now.0);
        let changed = query.execute(&self.writer).await.map_err(db)?.rows_affected();
        self.counted();
        Ok(if changed == 1 { Begun::Yes } else { Begun::No })
    }

    async fn intents(&self) -> Result<Vec<StoredIntent>, Error> {
        sqlx::query(sql::INTENTS).fetch_all(&self.readers).await.map_err(db)?.iter().map(intent).collect()
    }

    async fn facts(&self, of: &DeploymentId, limit: u32) -> Result<Vec<Fact>, Error> {
        let rows = sqlx::query(sql::FACTS).bind(&of.0).bind(i64::from(limit)).fetch_all(&self.readers).await.map_err(db)?;
        let fact = |row: SqliteRow| Fact {
            at: Time(row.get(0)),
            deployment: DeploymentId(row.get(1)),
            replica: row.get::<Option<String>, _>(2).map(ReplicaId),
            text: row.get(3),
        };
        Ok(rows.into_iter().map(fact).collect())
    }

    async fn reservations(&self) -> Result<Vec<Reservation>, Error> {
        Ok(sqlx::query(sql::RESERVATIONS).fetch_all(&self.readers).await.map_err(db)?.iter().map(reservation).collect())
    }

    async fn spent(&self, of: &Whose, since: Time) -> Result<Usd, Error> {
        let mut connection = self.readers.acquire().await.map_err(db)?;
        spent(&mut connection, of, since).await
    }

    async fn hosts(&self) -> Result<Vec<HostRecord>, Error> {
        Ok(sqlx::query(sql::HOSTS).fetch_all(&self.readers).await.map_err(db)?.iter().map(host).collect())
    }

    async fn keys(&self) -> Result<Vec<KeyRow>, Error> {
        let rows = sqlx::query(sql::KEYS).fetch_all(&self.readers).await.map_err(db)?;
        let key = |row: SqliteRow| {
            let role: String = row.get(4);
            Ok(KeyRow {
                id: KeyId(row.get(0)),
                name: row.get(1),
                sha256: row.get(2),
                prefix: row.get(3),
                role: Role::parse(&role).ok_or_else(|| Error::Corrupt(format!("role `{role}`")))?,
                routes: persist::read(row.get(5))?,
                created_at: Time(row.get(6)),
                expires_at: row.get::<Option<i64>, _>(7).map(Time),
            })
        };
        rows.into_iter().map(key).collect()
    }

    async fn put_key(&self, key: KeyRow) -> Result<(), Error> {
        let query = sqlx::query(sql::KEY_PUT).bind(key.id.0).bind(key.name).bind(key.sha256).bind(key.prefix);
        let query = query.bind(key.role.as_str()).bind(persist::write(&key.routes)?).bind(key.created_at.0);
        query.bind(key.expires_at.map(|t| t.0)).execute(&self.writer).await.map_err(db)?;
        Ok(())
    }

    async fn remove_key(&self, id: &KeyId) -> Result<bool, Error> {
        let done = sqlx::query(sql::KEY_REMOVE).bind(&id.0).execute(&self.writer).await.map_err(db)?;
        Ok(done.rows_affected() > 0)
    }

    async fn backends(&self) -> Result<Vec<BackendRow>, Error> {
        let rows = sqlx::query(sql::BACKENDS).fetch_all(&self.readers).await.map_err(db)?;
        let backend = |row: SqliteRow| {
            Ok(BackendRow {
                id: BackendId(row.get(0)),
                name: row.get(1),
                base_url: row.get(2),
                upstream_model: row.get(3),
                served_names: persist::read(row.get(4))?,
                max_concurrent: u32::try_from(row.get::<i64, _>(5)).unwrap_or(u32::MAX),
                created_at: Time(row.get(6)),
            })
        };
        rows.into_iter().map(backend).collect()
    }

    async fn add_backend(&self, b: BackendRow) -> Result<(), Error> {
        let query = sqlx::query(sql::BACKEND_ADD).bind(b.id.0).bind(b.name).bind(b.base_url).bind(b.upstream_model);
        let query = query.bind(persist::write(&b.served_names)?).bind(i64::from(b.max_concurrent)).bind(b.created_at.0);
        match query.execute(&self.writer).await.map_err(db)?.rows_affected() {
            1 => Ok(()),
            _ => Err(Error::NameTaken),
        }
    }

    async fn remove_backend(&self, id_or_name: &str) -> Result<bool, Error> {
        let done = sqlx::query(sql::BACKEND_REMOVE).bind(id_or_name).execute(&self.writer).await.map_err(db)?;
        Ok(done.rows_affected() > 0)
    }

    async fn gateways(&self) -> Result<Vec<String>, Error> {
        sqlx::query_scalar(sql::GATEWAYS).fetch_all(&self.readers).await.map_err(db)
    }

    async fn add_gateway(&self, id: &str, now: Time) -> Result<(), Error> {
        sqlx::query(sql::GATEWAY_ADD).bind(id).bind(now.0).execute(&self.writer).await.map_err(db)?;
        Ok(())
    }

    async fn remove_gateway(&self, id: &str) -> Result<(), Error> {
        sqlx::query(sql::GATEWAY_REMOVE).bind(id).execute(&self.writer).await.map_err(db)?;
        Ok(())
    }

    fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}
