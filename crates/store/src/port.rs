//! The port: what the control plane asks of a database.

use async_trait::async_trait;
use charter_domain::budget::OverBudget;
use charter_domain::deployment::Deployment;
use charter_domain::fact::Fact;
use charter_domain::host_memory::{HostFailure, HostRecord, HostSpeed};
use charter_domain::ids::{BackendId, DeploymentId, IntentId, KeyId, ReplicaId};
use charter_domain::intent::Intent;
use charter_domain::money::Usd;
use charter_domain::replica::Replica;
use charter_domain::reservation::{Asked, Reservation, Spend, Whose};
use charter_domain::routing::KeyLimits;
use charter_domain::time::Time;

/// A row and the version under which it was read. Versions start at 1 and rise by one with every write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// Pass it back in [`Write::expected`].
    pub version: u64,
    /// The row.
    pub state: T,
}

/// A row to write if nobody else has written it since.
#[derive(Clone, Debug)]
pub struct Write<T> {
    /// The version that was read; 0 for a new row.
    pub expected: u64,
    /// The row from now on.
    pub state: T,
}

/// A replica to write, with the time at which it wants to look around next.
#[derive(Clone, Debug)]
pub struct ReplicaWrite {
    /// The row.
    pub write: Write<Replica>,
    /// When it wants to look again.
    pub wake_at: Option<Time>,
}

/// An intent to store.
#[derive(Clone, Debug)]
pub struct NewIntent {
    /// The intent.
    pub intent: Intent,
    /// Claimed at birth by the process that stores it: that saves the claim's own commit.
    pub claimed: Option<Lease>,
}

/// The right to perform an intent, for a time. Its length counts: a database that several processes share has a clock of
/// its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who has it.
    pub owner: String,
    /// From when on.
    pub since: Time,
    /// Until when.
    pub until: Time,
}

/// An instance that was seen to be gone. What comes back under its id is ours, whatever it is called now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tombstone {
    /// Whose it was.
    pub provider: String,
    /// The provider's id of it.
    pub instance: String,
    /// The tag that it was made under.
    pub tag: String,
    /// When it was seen to be gone.
    pub gone_at: Time,
}

/// A process that works on the same database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlane {
    /// Different for every process.
    pub id: String,
    /// When it reported last.
    pub seen_at: Time,
    /// What it said.
    pub report: String,
}

/// A line of a time line with its place among all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Rises with every line, in the order in which they were committed.
    pub seq: u64,
    /// The line.
    pub fact: Fact,
}

/// An intent that ended. It is removed only under the fence that its performer holds.
#[derive(Clone, Debug)]
pub struct Close {
    /// Which.
    pub intent: IntentId,
    /// The fence of the claim.
    pub fence: u64,
}

/// One atomic change.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Deployments to write.
    pub deployments: Vec<Write<Deployment>>,
    /// Replicas to write.
    pub replicas: Vec<ReplicaWrite>,
    /// The intent whose outcome this records.
    pub close: Option<Close>,
    /// Intents that follow.
    pub open: Vec<NewIntent>,
    /// Money to set aside, and the budgets that may refuse it.
    pub reserve: Vec<Asked>,
    /// Replicas whose reservations end, before anything is set aside.
    pub unreserve: Vec<ReplicaId>,
    /// What rentals that have ended did cost.
    pub spend: Vec<Spend>,
    /// Lines of the time line.
    pub facts: Vec<Fact>,
    /// Hosts that have failed.
    pub host_failures: Vec<HostFailure>,
    /// How fast hosts were.
    pub host_speeds: Vec<HostSpeed>,
    /// Instances that were seen to be gone.
    pub tombstones: Vec<Tombstone>,
}

/// An intent together with its state of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredIntent {
    /// The intent.
    pub intent: Intent,
    /// Times it was claimed.
    pub attempts: u32,
    /// When its effect was begun, if it may be begun only once.
    pub started_at: Option<Time>,
    /// Until when somebody works on it.
    pub lease_until: Option<Time>,
    /// Rises with every claim.
    pub fence: u64,
}

/// An intent that is ours to perform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The intent.
    pub intent: Intent,
    /// Pass it back in [`Close::fence`].
    pub fence: u64,
    /// Its effect was begun before, and its end was never written down.
    pub begun_before: bool,
}

/// What became of the wish to begin an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Begin.
    Yes,
    /// Somebody else holds it, or began it before: keep away.
    No,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look.
    Viewer,
    /// Look and act.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// The role's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Reads a role's name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Viewer, Self::Operator, Self::Admin].into_iter().find(|r| r.as_str() == text)
    }
}

/// An API key as it is stored: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the key, in hex.
    pub sha256: String,
    /// The first characters, so that people recognise it.
    pub prefix: String,
    /// What it may do.
    pub role: Role,
    /// Served names it may use at the gateway; empty means all.
    pub routes: Vec<String>,
    /// When it was made.
    pub created_at: Time,
    /// From when on it is refused.
    pub expires_at: Option<Time>,
    /// Who pays for its requests.
    pub tenant: String,
    /// What it may ask for.
    pub limits: KeyLimits,
}

/// A backend that a person registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRow {
    /// Its id.
    pub id: BackendId,
    /// Its name.
    pub name: String,
    /// Base address, without `/v1`.
    pub base_url: String,
    /// The model's name at the backend, where the served name differs.
    pub upstream_model: Option<String>,
    /// The names it serves.
    pub served_names: Vec<String>,
    /// Requests that it answers at the same time.
    pub max_concurrent: u32,
    /// When it was registered.
    pub created_at: Time,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row has changed since it was read, or a lease was lost. Read again and step again; never redo the effect.
    #[error("the row was changed by somebody else")]
    Conflict,
    /// A name that must be unique is taken.
    #[error("the name is taken")]
    NameTaken,
    /// Money says no. Nothing was written.
    #[error("the budget does not allow it")]
    OverBudget(Box<OverBudget>),
    /// The data on disk is newer than this program.
    #[error("the database was written by a newer charter (schema {found}, this one knows {known})")]
    TooNew {
        /// The schema version found.
        found: i64,
        /// The newest one that this program knows.
        known: i64,
    },
    /// A stored row cannot be read.
    #[error("a stored row cannot be read: {0}")]
    Corrupt(String),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(String),
}

/// The database as the control plane sees it.
#[async_trait]
pub trait Store: crate::usage::Usage + Send + Sync {
    /// The eight characters that mark everything this installation owns. Made at the first call from `fresh`.
    async fn installation(&self, fresh: &str) -> Result<String, Error>;
    /// A value that stands for the whole installation: the one that is stored, or else `fresh`, which is stored now.
    async fn meta(&self, name: &str, fresh: &str) -> Result<String, Error>;
    /// Stores such a value in place of the present one.
    async fn put_meta(&self, name: &str, value: &str) -> Result<(), Error>;
    /// All such values whose names begin with `prefix`.
    async fn metas(&self, prefix: &str) -> Result<Vec<(String, String)>, Error>;
    /// Forgets one.
    async fn remove_meta(&self, name: &str) -> Result<(), Error>;
    /// All deployments, oldest first.
    async fn deployments(&self) -> Result<Vec<Versioned<Deployment>>, Error>;
    /// One deployment by id or by name.
    async fn deployment(&self, id_or_name: &str) -> Result<Option<Versioned<Deployment>>, Error>;
    /// Replicas that are not closed, with their next look; and of `deployment`, if given, the closed ones too.
    async fn replicas(&self, deployment: Option<&DeploymentId>) -> Result<Vec<(Versioned<Replica>, Option<Time>)>, Error>;
    /// One replica.
    async fn replica(&self, id: &ReplicaId) -> Result<Option<Versioned<Replica>>, Error>;
    /// Writes everything or nothing.
    async fn commit(&self, commit: Commit) -> Result<(), Error>;
    /// Takes up to `limit` intents that are due and that nobody works on, for `owner`, until `until`.
    async fn claim(&self, owner: &str, now: Time, until: Time, limit: u32) -> Result<Vec<Claimed>, Error>;
    /// Takes every lease away from processes that cannot be there any more, those whose names begin with `place`: called once
    /// at the start, under the lock of the data directory. What was begun by them stays marked as begun.
    async fn abandon_leases(&self, place: &str) -> Result<(), Error>;
    /// Writes down that an effect begins now. An effect that may happen once can begin once.
    async fn begin(&self, intent: &IntentId, fence: u64, now: Time) -> Result<Begun, Error>;
    /// Everything that is not known to be finished, oldest first.
    async fn intents(&self) -> Result<Vec<StoredIntent>, Error>;
    /// The newest `limit` lines of a deployment's time line, oldest first.
    async fn facts(&self, deployment: &DeploymentId, limit: u32) -> Result<Vec<Fact>, Error>;
    /// At most so many lines of all time lines that come after one, in their order.
    async fn logged_after(&self, seq: u64, limit: u32) -> Result<Vec<Logged>, Error>;
    /// At most so many lines of all time lines before one, or the last ones; the newest first.
    async fn logged_before(&self, seq: Option<u64>, limit: u32) -> Result<Vec<Logged>, Error>;
    /// Money set aside at present.
    async fn reservations(&self) -> Result<Vec<Reservation>, Error>;
    /// What ended rentals did cost from `since` on, those that began before in proportion.
    async fn spent(&self, of: &Whose, since: Time) -> Result<Usd, Error>;
    /// Ended rentals that cost something from `since` on.
    async fn rentals(&self, since: Time) -> Result<Vec<Spend>, Error>;
    /// What is remembered of hosts that failed.
    async fn hosts(&self) -> Result<Vec<HostRecord>, Error>;
    /// How fast hosts were when they were measured last.
    async fn host_speeds(&self) -> Result<Vec<HostSpeed>, Error>;
    /// All keys, oldest first.
    async fn keys(&self) -> Result<Vec<KeyRow>, Error>;
    /// Stores a key, or replaces the one of the same id.
    async fn put_key(&self, key: KeyRow) -> Result<(), Error>;
    /// Forgets a key; false if there was none.
    async fn remove_key(&self, id: &KeyId) -> Result<bool, Error>;
    /// All backends that people registered, oldest first.
    async fn backends(&self) -> Result<Vec<BackendRow>, Error>;
    /// Stores a backend; its name must be free.
    async fn add_backend(&self, backend: BackendRow) -> Result<(), Error>;
    /// Forgets a backend by id or name; false if there was none.
    async fn remove_backend(&self, id_or_name: &str) -> Result<bool, Error>;
    /// Ids of the gateways in processes of their own that have asked for routes and not said goodbye: a control plane that
    /// has just started must not believe that nobody answers requests.
    async fn gateways(&self) -> Result<Vec<String>, Error>;
    /// Remembers a gateway.
    async fn add_gateway(&self, id: &str, now: Time) -> Result<(), Error>;
    /// Forgets a gateway.
    async fn remove_gateway(&self, id: &str) -> Result<(), Error>;
    /// Instances that were seen to be gone since a time.
    async fn tombstones(&self, since: Time) -> Result<Vec<Tombstone>, Error>;
    /// May several processes work on it at once?
    fn shared(&self) -> bool;
    /// Different whenever somebody has changed something; of no use where nobody else can.
    async fn pulse(&self) -> Result<String, Error>;
    /// Says that this process is there, and learns who else is.
    async fn report(&self, id: &str, now: Time, report: &str) -> Result<Vec<ControlPlane>, Error>;
    /// Forgets a process that has ended, or has been silent for long.
    async fn forget_control_plane(&self, id: &str) -> Result<(), Error>;
    /// Commits made by this store since it was opened, for benchmarks.
    fn commits(&self) -> u64;
}
