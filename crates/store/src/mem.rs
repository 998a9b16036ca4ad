//! The store in memory, for simulations: maps under one lock. A clone of its [`State`] is the image that a crash leaves.

use crate::port::{
    BackendRow, Begun, Claimed, Commit, ControlPlane, Error, KeyRow, Logged, Store, StoredIntent, Tombstone, Versioned,
};
use crate::usage::{Of, Total};
use async_trait::async_trait;
use charter_domain::clock_jump::is_from_another_clock;
use charter_domain::deployment::Deployment;
use charter_domain::fact::Fact;
use charter_domain::host_memory::{HostRecord, HostSpeed};
use charter_domain::ids::{DeploymentId, IntentId, KeyId, ReplicaId};
use charter_domain::money::Usd;
use charter_domain::replica::Replica;
use charter_domain::reservation::{Asked, Reservation, Spend, Whose, admit, whose};
use charter_domain::routing::Route;
use charter_domain::time::Time;
use charter_domain::usage::Used;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Everything that survives a crash.
#[derive(Clone, Debug, Default)]
pub struct State {
    meta: BTreeMap<String, String>,
    deployments: BTreeMap<DeploymentId, Versioned<Deployment>>,
    replicas: BTreeMap<ReplicaId, (Versioned<Replica>, Option<Time>)>,
    intents: BTreeMap<IntentId, StoredIntent>,
    /// Who claimed each last.
    owners: BTreeMap<IntentId, String>,
    reservations: BTreeMap<ReplicaId, Reservation>,
    facts: Vec<Fact>,
    hosts: BTreeMap<(String, String, String), HostRecord>,
    speeds: BTreeMap<(String, String), HostSpeed>,
    keys: Vec<KeyRow>,
    backends: Vec<BackendRow>,
    gateways: BTreeSet<String>,
    spend: Vec<Spend>,
    tombstones: BTreeMap<(String, String, String), Time>,
    control_planes: BTreeMap<String, (Time, String)>,
    commits: u64,
}

/// What goes with requests.
#[derive(Debug, Default)]
pub(crate) struct UsageState {
    pub(crate) routes: BTreeMap<String, Route>,
    pub(crate) batches: BTreeMap<String, Vec<Used>>,
    pub(crate) totals: BTreeMap<(Of, i64), Total>,
    pub(crate) draws: BTreeMap<(String, i64), i64>,
}

/// A store that forgets everything with its process.
#[derive(Debug, Default)]
pub struct Mem(Mutex<State>, Mutex<UsageState>);

impl Mem {
    /// A store that goes on from `state`.
    #[must_use]
    pub fn from_state(state: State) -> Self {
        Self(Mutex::new(state), Mutex::default())
    }

    pub(crate) fn usage(&self) -> MutexGuard<'_, UsageState> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a crash at this moment would leave.
    #[must_use]
    pub fn image(&self) -> State {
        self.state().clone()
    }
}

/// Is a time over, or one that was written under another clock?
fn is_over(at: Time, now: Time) -> bool {
    at <= now || is_from_another_clock(at, now)
}

impl State {
    /// Checks first and writes afterwards, so that a refusal leaves nothing behind.
    fn commit(&mut self, commit: Commit) -> Result<(), Error> {
        self.check(&commit)?;
        for write in commit.deployments {
            let row = Versioned { version: write.expected + 1, state: write.state };
            self.deployments.insert(row.state.id.clone(), row);
        }
        for replica in commit.replicas {
            let row = Versioned { version: replica.write.expected + 1, state: replica.write.state };
            self.replicas.insert(row.state.id.clone(), (row, replica.wake_at));
        }
        if let Some(close) = commit.close {
            self.intents.remove(&close.intent);
            self.owners.remove(&close.intent);
        }
        for new in commit.open {
            let (attempts, fence) = if new.claimed.is_some() { (1, 1) } else { (0, 0) };
            let lease_until = new.claimed.as_ref().map(|lease| lease.until);
            let id = new.intent.id.clone();
            self.owners.extend(new.claimed.map(|lease| (id.clone(), lease.owner)));
            self.intents.insert(id, StoredIntent { intent: new.intent, attempts, started_at: None, lease_until, fence });
        }
        for replica in commit.unreserve {
            self.reservations.remove(&replica);
        }
        for asked in commit.reserve {
            self.reservations.insert(asked.reservation.replica.clone(), asked.reservation);
        }
        self.spend.extend(commit.spend);
        self.facts.extend(commit.facts);
        for failure in commit.host_failures {
            let key = (failure.provider.clone(), failure.host.clone(), failure.class.clone());
            let record = HostRecord::with(self.hosts.remove(&key), &failure);
            self.hosts.insert(key, record);
        }
        let speeds = commit.host_speeds.into_iter().map(|s| ((s.provider.clone(), s.host.clone()), s));
        self.speeds.extend(speeds);
        for stone in commit.tombstones {
            self.tombstones.insert((stone.provider, stone.instance, stone.tag), stone.gone_at);
        }
        self.commits += 1;
        Ok(())
    }

    fn check(&self, commit: &Commit) -> Result<(), Error> {
        for write in &commit.deployments {
            if self.deployments.get(&write.state.id).map_or(0, |row| row.version) != write.expected {
                return Err(Error::Conflict);
            }
            let taken = |row: &Versioned<Deployment>| row.state.name == write.state.name && row.state.id != write.state.id;
            if self.deployments.values().any(taken) {
                return Err(Error::NameTaken);
            }
        }
        for replica in &commit.replicas {
            let version = self.replicas.get(&replica.write.state.id).map_or(0, |(row, _)| row.version);
            if version != replica.write.expected {
                return Err(Error::Conflict);
            }
        }
        if let Some(close) = &commit.close
            && self.intents.get(&close.intent).is_none_or(|i| i.fence != close.fence)
        {
            return Err(Error::Conflict);
        }
        let mut held = self.reservations.clone();
        held.retain(|id, _| !commit.unreserve.contains(id));
        for asked in &commit.reserve {
            held.remove(&asked.reservation.replica);
            self.admit(asked, &held.values().cloned().collect::<Vec<_>>())?;
            held.insert(asked.reservation.replica.clone(), asked.reservation.clone());
        }
        Ok(())
    }

    fn admit(&self, asked: &Asked, others: &[Reservation]) -> Result<(), Error> {
        for budget in &asked.budgets {
            let since = budget.scope.since(asked.now);
            let spent = whose(budget.scope, &asked.reservation).map_or(Usd(0), |whose| self.spent(&whose, since));
            admit(budget, asked, others, spent).map_err(|e| Error::OverBudget(Box::new(e)))?;
        }
        Ok(())
    }

    fn spent(&self, of: &Whose, since: Time) -> Usd {
        let counts = self.spend.iter().filter(|s| of.counts(&s.deployment, &s.tenant));
        counts.fold(Usd(0), |sum, s| sum.plus(s.amount_since(since)))
    }
}

#[async_trait]
impl Store for Mem {
    async fn installation(&self, fresh: &str) -> Result<String, Error> {
        self.meta("installation", fresh).await
    }

    async fn meta(&self, name: &str, fresh: &str) -> Result<String, Error> {
        Ok(self.state().meta.entry(name.to_owned()).or_insert_with(|| fresh.to_owned()).clone())
    }

    async fn put_meta(&self, name: &str, value: &str) -> Result<(), Error> {
        self.state().meta.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    async fn metas(&self, prefix: &str) -> Result<Vec<(String, String)>, Error> {
        let state = self.state();
        Ok(state.meta.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(n, v)| (n.clone(), v.clone())).collect())
    }

    async fn remove_meta(&self, name: &str) -> Result<(), Error> {
        self.state().meta.remove(name);
        Ok(())
    }

    async fn deployments(&self) -> Result<Vec<Versioned<Deployment>>, Error> {
        let mut rows: Vec<_> = self.state().deployments.values().cloned().collect();
        rows.sort_by(|a, b| (a.state.created_at, &a.state.id).cmp(&(b.state.created_at, &b.state.id)));
        Ok(rows)
    }

    async fn deployment(&self, id_or_name: &str) -> Result<Option<Versioned<Deployment>>, Error> {
        let state = self.state();
        Ok(state.deployments.values().find(|d| d.state.id.0 == id_or_name || d.state.name == id_or_name).cloned())
    }

    async fn replicas(&self, deployment: Option<&DeploymentId>) -> Result<Vec<(Versioned<Replica>, Option<Time>)>, Error> {
        let wanted = |r: &Replica| deployment.map_or(!r.phase.is_closed(), |d| r.deployment == *d);
        Ok(self.state().replicas.values().filter(|(row, _)| wanted(&row.state)).cloned().collect())
    }

    async fn replica(&self, id: &ReplicaId) -> Result<Option<Versioned<Replica>>, Error> {
        Ok(self.state().replicas.get(id).map(|(row, _)| row.clone()))
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        self.state().commit(commit)
    }

    async fn claim(&self, owner: &str, now: Time, until: Time, limit: u32) -> Result<Vec<Claimed>, Error> {
        let mut state = self.state();
        let mut due: Vec<(Time, IntentId)> = state
            .intents
            .values()
            .filter(|i| is_over(i.intent.due_at, now) && i.lease_until.is_none_or(|until| is_over(until, now)))
            .map(|i| (i.intent.due_at, i.intent.id.clone()))
            .collect();
        due.sort();
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut claimed = vec![];
        for (_, id) in due {
            state.owners.insert(id.clone(), owner.to_owned());
            if let Some(row) = state.intents.get_mut(&id) {
                row.fence += 1;
                row.attempts += 1;
                row.lease_until = Some(until);
                claimed.push(Claimed { intent: row.intent.clone(), fence: row.fence, begun_before: row.started_at.is_some() });
            }
        }
        if !claimed.is_empty() {
            state.commits += 1;
        }
        Ok(claimed)
    }

    async fn abandon_leases(&self, place: &str) -> Result<(), Error> {
        let mut state = self.state();
        let State { owners, intents, control_planes, .. } = &mut *state;
        let gone = |id: &IntentId| owners.get(id).is_none_or(|owner| owner.starts_with(place));
        intents.iter_mut().filter(|(id, _)| gone(id)).for_each(|(_, i)| i.lease_until = None);
        control_planes.retain(|id, _| !id.starts_with(place));
        Ok(())
    }

    async fn begin(&self, intent: &IntentId, fence: u64, now: Time) -> Result<Begun, Error> {
        let mut state = self.state();
        state.commits += 1;
        match state.intents.get_mut(intent) {
            Some(row) if row.fence == fence && row.started_at.is_none() => {
                row.started_at = Some(now);
                Ok(Begun::Yes)
            }
            _ => Ok(Begun::No),
        }
    }

    async fn intents(&self) -> Result<Vec<StoredIntent>, Error> {
        let mut rows: Vec<StoredIntent> = self.state().intents.values().cloned().collect();
        rows.sort_by(|a, b| (a.intent.due_at, &a.intent.id).cmp(&(b.intent.due_at, &b.intent.id)));
        Ok(rows)
    }

    async fn facts(&self, deployment: &DeploymentId, limit: u32) -> Result<Vec<Fact>, Error> {
        let state = self.state();
        let all: Vec<&Fact> = state.facts.iter().filter(|f| f.deployment == *deployment).collect();
        let skip = all.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(all.into_iter().skip(skip).cloned().collect())
    }

    async fn logged_after(&self, seq: u64, limit: u32) -> Result<Vec<Logged>, Error> {
        let state = self.state();
        let logged = state.facts.iter().zip(1_u64..).map(|(fact, seq)| Logged { seq, fact: fact.clone() });
        Ok(logged.filter(|l| l.seq > seq).take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }

    async fn logged_before(&self, seq: Option<u64>, limit: u32) -> Result<Vec<Logged>, Error> {
        let state = self.state();
        let logged: Vec<Logged> = state.facts.iter().zip(1_u64..).map(|(fact, seq)| Logged { seq, fact: fact.clone() }).collect();
        let before = logged.into_iter().rev().filter(|l| seq.is_none_or(|seq| l.seq < seq));
        Ok(before.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }

    async fn reservations(&self) -> Result<Vec<Reservation>, Error> {
        Ok(self.state().reservations.values().cloned().collect())
    }

    async fn spent(&self, of: &Whose, since: Time) -> Result<Usd, Error> {
        Ok(self.state().spent(of, since))
    }

    async fn rentals(&self, since: Time) -> Result<Vec<Spend>, Error> {
        Ok(self.state().spend.iter().filter(|s| s.from >= since || s.until > since).cloned().collect())
    }

    async fn hosts(&self) -> Result<Vec<HostRecord>, Error> {
        Ok(self.state().hosts.values().cloned().collect())
    }

    async fn host_speeds(&self) -> Result<Vec<HostSpeed>, Error> {
        Ok(self.state().speeds.values().cloned().collect())
    }

    async fn keys(&self) -> Result<Vec<KeyRow>, Error> {
        Ok(self.state().keys.clone())
    }

    async fn put_key(&self, key: KeyRow) -> Result<(), Error> {
        let mut state = self.state();
        match state.keys.iter_mut().find(|k| k.id == key.id) {
            Some(old) => *old = key,
            None => state.keys.push(key),
        }
        Ok(())
    }

    async fn remove_key(&self, id: &KeyId) -> Result<bool, Error> {
        let mut state = self.state();
        let before = state.keys.len();
        state.keys.retain(|k| k.id != *id);
        Ok(state.keys.len() < before)
    }

    async fn backends(&self) -> Result<Vec<BackendRow>, Error> {
        Ok(self.state().backends.clone())
    }

    async fn add_backend(&self, backend: BackendRow) -> Result<(), Error> {
        let mut state = self.state();
        if state.backends.iter().any(|b| b.name == backend.name) {
            return Err(Error::NameTaken);
        }
        state.backends.push(backend);
        Ok(())
    }

    async fn remove_backend(&self, id_or_name: &str) -> Result<bool, Error> {
        let mut state = self.state();
        let before = state.backends.len();
        state.backends.retain(|b| b.id.0 != id_or_name && b.name != id_or_name);
        Ok(state.backends.len() < before)
    }

    async fn gateways(&self) -> Result<Vec<String>, Error> {
        Ok(self.state().gateways.iter().cloned().collect())
    }

    async fn add_gateway(&self, id: &str, _now: Time) -> Result<(), Error> {
        self.state().gateways.insert(id.to_owned());
        Ok(())
    }

    async fn remove_gateway(&self, id: &str) -> Result<(), Error> {
        self.state().gateways.remove(id);
        Ok(())
    }

    async fn tombstones(&self, since: Time) -> Result<Vec<Tombstone>, Error> {
        let state = self.state();
        let stone = |((provider, instance, tag), at): (&(String, String, String), &Time)| Tombstone {
            provider: provider.clone(),
            instance: instance.clone(),
            tag: tag.clone(),
            gone_at: *at,
        };
        Ok(state.tombstones.iter().filter(|(_, at)| **at >= since).map(stone).collect())
    }

    /// Several controllers in one process may share it.
    fn shared(&self) -> bool {
        true
    }

    async fn pulse(&self) -> Result<String, Error> {
        Ok(self.state().commits.to_string())
    }

    async fn report(&self, id: &str, now: Time, report: &str) -> Result<Vec<ControlPlane>, Error> {
        let mut state = self.state();
        state.control_planes.insert(id.to_owned(), (now, report.to_owned()));
        let all = state.control_planes.iter();
        Ok(all.map(|(id, (at, report))| ControlPlane { id: id.clone(), seen_at: *at, report: report.clone() }).collect())
    }

    async fn forget_control_plane(&self, id: &str) -> Result<(), Error> {
        self.state().control_planes.remove(id);
        Ok(())
    }

    fn commits(&self) -> u64 {
        self.state().commits
    }
}
