//! The store on a database: SQLite in one file (a single writer, a few readers), or PostgreSQL, which several control planes
//! may share. Every commit is on disk before it counts. The statements are the same.

use crate::connection::{Connection, Row, failed, values};
use crate::migrations::{migrate_postgres, migrate_sqlite};
use crate::port::{
    BackendRow, Begun, Claimed, Commit, ControlPlane, Error, KeyRow, Logged, Store, StoredIntent, Tombstone, Versioned,
};
use crate::{persist, rows, sql};
use async_trait::async_trait;
use charter_domain::clock_jump::NEVER_SO_FAR;
use charter_domain::deployment::Deployment;
use charter_domain::fact::Fact;
use charter_domain::host_memory::{HostRecord, HostSpeed};
use charter_domain::ids::{DeploymentId, IntentId, KeyId, ReplicaId};
use charter_domain::money::Usd;
use charter_domain::replica::Replica;
use charter_domain::reservation::{Reservation, Spend, Whose};
use charter_domain::time::Time;
use sqlx::Connection as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Postgres, Sqlite};
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a free connection is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a database keeps which of its lives it is in, and the one after its end.
pub(crate) const EPOCH: &str = "epoch";
pub(crate) const MOVED: &str = "moved";

#[derive(Debug)]
enum Pools {
    Sqlite { writer: SqlitePool, readers: SqlitePool },
    Postgres(PgPool),
}

/// A connection taken out of a pool.
pub(crate) enum Held {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Held {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(held) => Connection::Sqlite(held),
            Self::Postgres(held) => Connection::Postgres(held),
        }
    }

    /// The connection ends with its use, and whatever it had begun.
    pub(crate) fn close_on_drop(&mut self) {
        match self {
            Self::Sqlite(held) => held.close_on_drop(),
            Self::Postgres(held) => held.close_on_drop(),
        }
    }
}

/// An open database.
#[derive(Debug)]
pub struct Database {
    pools: Pools,
    /// Leases are counted with the database's clock, because those who share it have clocks of their own.
    own_clock: bool,
    /// Which of the lives of this database is known here.
    epoch: Mutex<String>,
    commits: AtomicU64,
}

/// Makes the file before SQLite does, and for its owner alone: the log beside it gets the same mode.
fn private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(file)?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))
}

impl Database {
    /// Opens an SQLite file, makes it if it is not there, and brings it to the newest schema.
    ///
    /// # Errors
    /// [`Error::TooNew`] for a file of a newer charter; else what SQLite says.
    pub async fn open(file: &Path) -> Result<Self, Error> {
        private(file).map_err(|e| Error::Database(e.to_string()))?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // Kilobytes of pages for each connection: what is read often is little.
            .pragma("cache_size", "-512")
            .busy_timeout(PATIENCE);
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(failed)?;
        migrate_sqlite(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(2).connect_lazy_with(options.read_only(true));
        Ok(Self {
            pools: Pools::Sqlite { writer, readers },
            own_clock: false,
            epoch: Mutex::default(),
            commits: AtomicU64::new(0),
        })
    }

    /// Connects to a PostgreSQL database, `postgres://user:password@host/name`, and brings it to the newest schema.
    ///
    /// # Errors
    /// [`Error::TooNew`] for a database of a newer charter; else what PostgreSQL says, which never holds the password.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let unreadable = |_| Error::Database("the address is not `postgres://user:password@host:port/name`".to_owned());
        let options = PgConnectOptions::from_str(url).map_err(unreadable)?.application_name("charter");
        // A pool tells only that it waited in vain; one connection says why.
        let first = tokio::time::timeout(PATIENCE, sqlx::PgConnection::connect_with(&options)).await;
        let first = first.map_err(|_| Error::Database(format!("no answer within {} s", PATIENCE.as_secs())))?;
        first.map_err(failed)?.close().await.map_err(failed)?;
        let pool = PgPoolOptions::new().max_connections(6).acquire_timeout(PATIENCE);
        let pool = pool.connect_with(options).await.map_err(failed)?;
        migrate_postgres(&pool).await?;
        let made = Self { pools: Pools::Postgres(pool), own_clock: true, epoch: Mutex::default(), commits: AtomicU64::new(0) };
        let mut held = made.writer().await?;
        held.connection().run(sql::META_ADD, values![EPOCH, "1"]).await?;
        let row = held.connection().row(sql::META_GET, values![EPOCH]).await?;
        made.lives(row.map(|row| row.text(0)).unwrap_or_default());
        drop(held);
        Ok(made)
    }

    /// Leases count with the clock of the caller, as they do in SQLite.
    #[cfg(test)]
    pub(crate) fn with_the_callers_clock(mut self) -> Self {
        self.own_clock = false;
        self
    }

    /// Opens what a person named: an address of PostgreSQL, or else a file.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::connect`].
    pub async fn at(place: &str) -> Result<Self, Error> {
        if place.starts_with("postgres://") || place.starts_with("postgresql://") {
            Self::connect(place).await
        } else {
            Self::open(Path::new(place)).await
        }
    }

    /// Lets go of the database; SQLite writes its log back into the file.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }

    pub(crate) fn counted(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) async fn reader(&self) -> Result<Held, Error> {
        match &self.pools {
            Pools::Sqlite { readers, .. } => readers.acquire().await.map(Held::Sqlite),
            Pools::Postgres(pool) => pool.acquire().await.map(Held::Postgres),
        }
        .map_err(failed)
    }

    pub(crate) async fn writer(&self) -> Result<Held, Error> {
        match &self.pools {
            Pools::Sqlite { writer, .. } => writer.acquire().await.map(Held::Sqlite),
            Pools::Postgres(pool) => pool.acquire().await.map(Held::Postgres),
        }
        .map_err(failed)
    }

    pub(crate) async fn read(&self, text: &'static str, values: Vec<crate::connection::Value>) -> Result<Vec<Row>, Error> {
        self.reader().await?.connection().rows(text, values).await
    }

    /// One statement that writes. Where others may share the database they are told that something has changed.
    pub(crate) async fn write(&self, text: &'static str, values: Vec<crate::connection::Value>) -> Result<u64, Error> {
        let mut held = self.writer().await?;
        if let Held::Postgres(_) = held {
            self.pulse_in(&mut held.connection()).await?;
        }
        held.connection().run(text, values).await
    }

    /// Which life of the database this process knows from now on.
    pub(crate) fn lives(&self, epoch: String) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = epoch;
    }

    pub(crate) fn epoch(&self) -> String {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn pulse_in(&self, c: &mut Connection<'_>) -> Result<(), Error> {
        match c.run(sql::PULSE, values![self.epoch()]).await? {
            1 => Ok(()),
            _ => Err(Error::Database("it was restored or moved since this process opened it: end the process".to_owned())),
        }
    }

    /// Which database it is, for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.pools {
            Pools::Sqlite { .. } => "SQLite",
            Pools::Postgres(_) => "PostgreSQL",
        }
    }

    /// The time that leases are counted with, where several processes with clocks of their own share the database.
    async fn clock(&self, c: &mut Connection<'_>) -> Result<Option<Time>, Error> {
        if !self.own_clock {
            return Ok(None);
        }
        Ok(c.row(sql::CLOCK, vec![]).await?.map(|row| Time(row.int(0))))
    }

    async fn commit_sqlite(writer: &SqlitePool, commit: Commit) -> Result<(), Error> {
        let mut connection = writer.acquire().await.map_err(failed)?;
        let written = async {
            let mut tx = connection.begin().await.map_err(failed)?;
            rows::write_all(&mut Connection::Sqlite(&mut tx), commit, None).await?;
            tx.commit().await.map_err(failed)
        };
        let written = written.await;
        if matches!(written, Err(Error::Database(_))) {
            // A commit that failed, for a full disk most likely, leaves its transaction open: whatever came next on this
            // connection would seem to be written, and would never be. Another connection begins anew.
            connection.close_on_drop();
        }
        written
    }

    async fn commit_postgres(&self, pool: &PgPool, commit: Commit) -> Result<(), Error> {
        let mut tx = pool.begin().await.map_err(failed)?;
        let mut c = Connection::Postgres(&mut tx);
        // One commit at a time: what it reads of money cannot change under it, and two commits never wait for each other.
        self.pulse_in(&mut c).await?;
        let clock = self.clock(&mut c).await?;
        rows::write_all(&mut c, commit, clock).await?;
        tx.commit().await.map_err(failed)
    }
}

#[async_trait]
impl Store for Database {
    async fn installation(&self, fresh: &str) -> Result<String, Error> {
        self.meta("installation", fresh).await
    }

    async fn meta(&self, name: &str, fresh: &str) -> Result<String, Error> {
        self.write(sql::META_ADD, values![name, fresh]).await?;
        Ok(self.read(sql::META_GET, values![name]).await?.first().map_or_else(String::new, |row| row.text(0)))
    }

    async fn put_meta(&self, name: &str, value: &str) -> Result<(), Error> {
        self.write(sql::META_PUT, values![name, value]).await.map(drop)
    }

    async fn metas(&self, prefix: &str) -> Result<Vec<(String, String)>, Error> {
        Ok(self.read(sql::META_LIKE, values![prefix]).await?.iter().map(|row| (row.text(0), row.text(1))).collect())
    }

    async fn remove_meta(&self, name: &str) -> Result<(), Error> {
        self.write(sql::META_REMOVE, values![name]).await.map(drop)
    }

    async fn deployments(&self) -> Result<Vec<Versioned<Deployment>>, Error> {
        self.read(sql::DEPLOYMENTS, vec![]).await?.iter().map(rows::deployment).collect()
    }

    async fn deployment(&self, id_or_name: &str) -> Result<Option<Versioned<Deployment>>, Error> {
        self.read(sql::DEPLOYMENT, values![id_or_name]).await?.first().map(rows::deployment).transpose()
    }

    async fn replicas(&self, of: Option<&DeploymentId>) -> Result<Vec<(Versioned<Replica>, Option<Time>)>, Error> {
        let read = match of {
            Some(id) => self.read(sql::REPLICAS_OF, values![&id.0]).await?,
            None => self.read(sql::REPLICAS_OPEN, vec![]).await?,
        };
        read.iter().map(rows::replica).collect()
    }

    async fn replica(&self, id: &ReplicaId) -> Result<Option<Versioned<Replica>>, Error> {
        let read = self.read(sql::REPLICA, values![&id.0]).await?;
        Ok(read.first().map(rows::replica).transpose()?.map(|(row, _)| row))
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        match &self.pools {
            Pools::Sqlite { writer, .. } => Self::commit_sqlite(writer, commit).await?,
            Pools::Postgres(pool) => self.commit_postgres(pool, commit).await?,
        }
        self.counted();
        Ok(())
    }

    async fn claim(&self, owner: &str, now: Time, until: Time, limit: u32) -> Result<Vec<Claimed>, Error> {
        let mut held = self.writer().await?;
        let mut c = held.connection();
        let clock = self.clock(&mut c).await?.unwrap_or(now);
        let until = clock + until.since(now);
        let read = c.rows(sql::INTENTS_CLAIM, values![owner, until.0, now.0, limit, clock.0, NEVER_SO_FAR.0]).await?;
        if !read.is_empty() {
            self.counted();
        }
        let claimed = |row: &Row| {
            let stored = rows::intent(row)?;
            Ok(Claimed { intent: stored.intent, fence: stored.fence, begun_before: stored.started_at.is_some() })
        };
        read.iter().map(claimed).collect()
    }

    async fn abandon_leases(&self, place: &str) -> Result<(), Error> {
        self.write(sql::CONTROL_PLANES_GONE, values![place]).await?;
        self.write(sql::LEASES_ABANDON, values![place]).await.map(drop)
    }

    async fn begin(&self, id: &IntentId, fence: u64, now: Time) -> Result<Begun, Error> {
        let changed = self.writer().await?.connection().run(sql::INTENT_BEGIN, values![&id.0, fence, now.0]).await?;
        self.counted();
        Ok(if changed == 1 { Begun::Yes } else { Begun::No })
    }

    async fn intents(&self) -> Result<Vec<StoredIntent>, Error> {
        self.read(sql::INTENTS, vec![]).await?.iter().map(rows::intent).collect()
    }

    async fn facts(&self, of: &DeploymentId, limit: u32) -> Result<Vec<Fact>, Error> {
        Ok(self.read(sql::FACTS, values![&of.0, limit]).await?.iter().map(rows::fact).collect())
    }

    async fn logged_after(&self, seq: u64, limit: u32) -> Result<Vec<Logged>, Error> {
        let seq = i64::try_from(seq).unwrap_or(i64::MAX);
        Ok(self.read(sql::LOGGED_AFTER, values![seq, limit]).await?.iter().map(rows::logged).collect())
    }

    async fn logged_before(&self, seq: Option<u64>, limit: u32) -> Result<Vec<Logged>, Error> {
        let seq = seq.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        Ok(self.read(sql::LOGGED_BEFORE, values![seq, limit]).await?.iter().map(rows::logged).collect())
    }

    async fn reservations(&self) -> Result<Vec<Reservation>, Error> {
        Ok(self.read(sql::RESERVATIONS, vec![]).await?.iter().map(rows::reservation).collect())
    }

    async fn spent(&self, of: &Whose, since: Time) -> Result<Usd, Error> {
        rows::spent(&mut self.reader().await?.connection(), of, since).await
    }

    async fn rentals(&self, since: Time) -> Result<Vec<Spend>, Error> {
        Ok(self.read(sql::SPEND, values![since.0]).await?.iter().map(rows::rental).collect())
    }

    async fn hosts(&self) -> Result<Vec<HostRecord>, Error> {
        Ok(self.read(sql::HOSTS, vec![]).await?.iter().map(rows::host).collect())
    }

    async fn host_speeds(&self) -> Result<Vec<HostSpeed>, Error> {
        Ok(self.read(sql::HOST_SPEEDS, vec![]).await?.iter().map(rows::host_speed).collect())
    }

    async fn keys(&self) -> Result<Vec<KeyRow>, Error> {
        self.read(sql::KEYS, vec![]).await?.iter().map(rows::key).collect()
    }

    async fn put_key(&self, key: KeyRow) -> Result<(), Error> {
        let (role, routes) = (key.role.as_str(), persist::write(&key.routes)?);
        let (made, expires) = (key.created_at.0, key.expires_at.map(|t| t.0));
        let limits = persist::write(&key.limits)?;
        let values = values![key.id.0, key.name, key.sha256, key.prefix, role, routes, made, expires, key.tenant, limits];
        self.write(sql::KEY_PUT, values).await.map(drop)
    }

    async fn remove_key(&self, id: &KeyId) -> Result<bool, Error> {
        Ok(self.write(sql::KEY_REMOVE, values![&id.0]).await? > 0)
    }

    async fn backends(&self) -> Result<Vec<BackendRow>, Error> {
        self.read(sql::BACKENDS, vec![]).await?.iter().map(rows::backend).collect()
    }

    async fn add_backend(&self, b: BackendRow) -> Result<(), Error> {
        let names = persist::write(&b.served_names)?;
        let values = values![b.id.0, b.name, b.base_url, b.upstream_model, names, b.max_concurrent, b.created_at.0];
        match self.write(sql::BACKEND_ADD, values).await? {
            1 => Ok(()),
            _ => Err(Error::NameTaken),
        }
    }

    async fn remove_backend(&self, id_or_name: &str) -> Result<bool, Error> {
        Ok(self.write(sql::BACKEND_REMOVE, values![id_or_name]).await? > 0)
    }

    async fn gateways(&self) -> Result<Vec<String>, Error> {
        Ok(self.read(sql::GATEWAYS, vec![]).await?.iter().map(|row| row.text(0)).collect())
    }

    async fn add_gateway(&self, id: &str, now: Time) -> Result<(), Error> {
        self.write(sql::GATEWAY_ADD, values![id, now.0]).await.map(drop)
    }

    async fn remove_gateway(&self, id: &str) -> Result<(), Error> {
        self.write(sql::GATEWAY_REMOVE, values![id]).await.map(drop)
    }

    async fn tombstones(&self, since: Time) -> Result<Vec<Tombstone>, Error> {
        Ok(self.read(sql::TOMBSTONES, values![since.0]).await?.iter().map(rows::tombstone).collect())
    }

    fn shared(&self) -> bool {
        matches!(self.pools, Pools::Postgres(_))
    }

    async fn pulse(&self) -> Result<String, Error> {
        Ok(self.read(sql::META_GET, values!["pulse"]).await?.first().map_or_else(String::new, |row| row.text(0)))
    }

    async fn report(&self, id: &str, now: Time, report: &str) -> Result<Vec<ControlPlane>, Error> {
        let mut held = self.writer().await?;
        let mut c = held.connection();
        let clock = self.clock(&mut c).await?.unwrap_or(now);
        c.run(sql::CONTROL_PLANE_PUT, values![id, clock.0, report]).await?;
        let all: Vec<ControlPlane> = c.rows(sql::CONTROL_PLANES, vec![]).await?.iter().map(rows::control_plane).collect();
        // Told in the time of the one who asks.
        let here = |seen: Time| Time(now.0.saturating_sub(clock.since(seen).0));
        Ok(all.into_iter().map(|other| ControlPlane { seen_at: here(other.seen_at), ..other }).collect())
    }

    async fn forget_control_plane(&self, id: &str) -> Result<(), Error> {
        self.writer().await?.connection().run(sql::CONTROL_PLANE_REMOVE, values![id]).await.map(drop)
    }

    fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}
