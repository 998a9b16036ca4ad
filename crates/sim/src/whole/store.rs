//! A store that fails: before it has written, or after; and for one process that is cut off from it, always.

use super::market::Outside;
use async_trait::async_trait;
use charter_domain::deployment::Deployment;
use charter_domain::fact::Fact;
use charter_domain::host_memory::{HostRecord, HostSpeed};
use charter_domain::ids::{DeploymentId, IntentId, KeyId, ReplicaId};
use charter_domain::money::Usd;
use charter_domain::replica::Replica;
use charter_domain::reservation::{Reservation, Spend, Whose};
use charter_domain::routing::{KeyLimits, Route};
use charter_domain::time::Time;
use charter_domain::usage::Used;
use charter_store::usage::{Of, Total, Usage, Wanted};
use charter_store::{
    BackendRow, Begun, Claimed, Commit, ControlPlane, Error, KeyRow, Logged, Store, StoredIntent, Tombstone, Versioned,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one control plane sees of the store.
pub(crate) struct Flaky {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) outside: Arc<Outside>,
    pub(crate) plane: usize,
}

impl Flaky {
    async fn before(&self) -> Result<(), Error> {
        self.outside.crash_here(self.plane).await;
        if self.outside.cut_from_store(self.plane) {
            self.outside.reached("a control plane was cut off from the store");
            return Err(Error::Database("nobody answers".into()));
        }
        if self.outside.strikes(2) {
            self.outside.reached("the store refused: locked or full");
            return Err(Error::Database("database is locked".into()));
        }
        Ok(())
    }

    async fn after<T: Send>(&self, done: Result<T, Error>) -> Result<T, Error> {
        self.outside.crash_here(self.plane).await;
        if done.is_ok() && self.outside.strikes(1) {
            self.outside.reached("the store wrote, and its answer was lost");
            return Err(Error::Database("connection reset".into()));
        }
        done
    }
}

/// Reads fail as often as writes do; only writes can fail after their effect.
macro_rules! pass {
    (read: $(fn $name:ident(&self $(, $arg:ident: $kind:ty)*) -> $out:ty;)* write: $(fn $wname:ident(&self $(, $warg:ident: $wkind:ty)*) -> $wout:ty;)*) => {
        #[async_trait]
        impl Store for Flaky {
            $(async fn $name(&self $(, $arg: $kind)*) -> Result<$out, Error> {
                self.before().await?;
                self.inner.$name($($arg),*).await
            })*
            $(async fn $wname(&self $(, $warg: $wkind)*) -> Result<$wout, Error> {
                self.before().await?;
                let done = self.inner.$wname($($warg),*).await;
                self.after(done).await
            })*
            fn shared(&self) -> bool {
                true
            }
            fn commits(&self) -> u64 {
                self.inner.commits()
            }
        }
    };
}

pass! {
    read:
    fn deployments(&self) -> Vec<Versioned<Deployment>>;
    fn deployment(&self, id_or_name: &str) -> Option<Versioned<Deployment>>;
    fn replicas(&self, deployment: Option<&DeploymentId>) -> Vec<(Versioned<Replica>, Option<Time>)>;
    fn replica(&self, id: &ReplicaId) -> Option<Versioned<Replica>>;
    fn intents(&self) -> Vec<StoredIntent>;
    fn facts(&self, deployment: &DeploymentId, limit: u32) -> Vec<Fact>;
    fn logged_after(&self, seq: u64, limit: u32) -> Vec<Logged>;
    fn logged_before(&self, seq: Option<u64>, limit: u32) -> Vec<Logged>;
    fn reservations(&self) -> Vec<Reservation>;
    fn spent(&self, of: &Whose, since: Time) -> Usd;
    fn rentals(&self, since: Time) -> Vec<Spend>;
    fn hosts(&self) -> Vec<HostRecord>;
    fn host_speeds(&self) -> Vec<HostSpeed>;
    fn keys(&self) -> Vec<KeyRow>;
    fn backends(&self) -> Vec<BackendRow>;
    fn gateways(&self) -> Vec<String>;
    fn metas(&self, prefix: &str) -> Vec<(String, String)>;
    fn tombstones(&self, since: Time) -> Vec<Tombstone>;
    fn pulse(&self) -> String;
    write:
    fn installation(&self, fresh: &str) -> String;
    fn meta(&self, name: &str, fresh: &str) -> String;
    fn put_meta(&self, name: &str, value: &str) -> ();
    fn remove_meta(&self, name: &str) -> ();
    fn commit(&self, commit: Commit) -> ();
    fn claim(&self, owner: &str, now: Time, until: Time, limit: u32) -> Vec<Claimed>;
    fn abandon_leases(&self, place: &str) -> ();
    fn begin(&self, intent: &IntentId, fence: u64, now: Time) -> Begun;
    fn put_key(&self, key: KeyRow) -> ();
    fn remove_key(&self, id: &KeyId) -> bool;
    fn add_backend(&self, backend: BackendRow) -> ();
    fn remove_backend(&self, id_or_name: &str) -> bool;
    fn add_gateway(&self, id: &str, now: Time) -> ();
    fn remove_gateway(&self, id: &str) -> ();
    fn report(&self, id: &str, now: Time, report: &str) -> Vec<ControlPlane>;
    fn forget_control_plane(&self, id: &str) -> ();
}

/// What goes with requests is no part of these worlds.
#[async_trait]
impl Usage for Flaky {
    async fn routes(&self) -> Result<Vec<Route>, Error> {
        self.inner.routes().await
    }

    async fn put_route(&self, route: Route) -> Result<(), Error> {
        self.inner.put_route(route).await
    }

    async fn remove_route(&self, name: &str) -> Result<bool, Error> {
        self.inner.remove_route(name).await
    }

    async fn record(&self, id: &str, batch: &[Used]) -> Result<(), Error> {
        self.inner.record(id, batch).await
    }

    async fn used(&self, since: Time, limit: usize, wanted: &Wanted) -> Result<Vec<Used>, Error> {
        self.inner.used(since, limit, wanted).await
    }

    async fn totals(&self, since: Time) -> Result<BTreeMap<Of, Total>, Error> {
        self.inner.totals(since).await
    }

    async fn daily(&self, since: Time) -> Result<Vec<(i64, Of, Total)>, Error> {
        self.inner.daily(since).await
    }

    async fn forget_used(&self, before: Time) -> Result<(), Error> {
        self.inner.forget_used(before).await
    }

    async fn put_back(&self, key: &str, left: Usd, now: Time) -> Result<(), Error> {
        self.inner.put_back(key, left, now).await
    }

    async fn draw(&self, key: &str, limits: &KeyLimits, want: Usd, now: Time) -> Result<Usd, Error> {
        self.inner.draw(key, limits, want, now).await
    }
}
