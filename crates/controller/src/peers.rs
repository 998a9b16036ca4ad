//! Other control planes on the same database: who is there, who looks after what, and what their gateways answer.
//!
//! Nothing here is needed to be right: intents have fences, and rows have versions. It keeps two control planes from asking
//! a provider everything twice, and one from ending what the gateway of another still answers with.

use crate::controller::Controller;
use crate::live::EngineView;
use charter_domain::ids::{DeploymentId, ReplicaId};
use charter_domain::replica::Replica;
use charter_domain::time::{Span, Time};
use charter_store::Error;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// How often each says that it is there.
const PERIOD: Span = Span::s(1);
/// Who has been silent for so long is not there any more: others look after what was its share.
const GONE: Span = Span::s(15);
/// Who has been silent for so long is forgotten.
const FORGOTTEN: Span = Span::min(60);

/// What a control plane tells the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Report {
    /// Replicas that its gateways may send requests to.
    routed: Vec<ReplicaId>,
    /// Requests that they answer, where there are any.
    in_flight: BTreeMap<ReplicaId, u64>,
    /// When a replica answered its last request.
    last_used: BTreeMap<ReplicaId, Time>,
    /// What it last saw of the engines that it looks after.
    engines: BTreeMap<ReplicaId, EngineView>,
    /// What they wait for.
    waits: BTreeMap<ReplicaId, String>,
    /// Providers that its file names.
    #[serde(default)]
    providers: Vec<String>,
    /// Providers whose lists it does not believe, where it is the one that sweeps.
    #[serde(default)]
    suspicious: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
struct Peer {
    id: String,
    at: Time,
    report: Report,
}

/// The others, as they were last heard of.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    others: Mutex<Vec<Peer>>,
    /// The state of the database that was seen last.
    pulse: Mutex<String>,
    /// The versions of the open replicas that are known here: whoever wrote another one is somebody else.
    versions: Mutex<BTreeMap<ReplicaId, u64>>,
}

impl Peers {
    /// This process has written a replica.
    pub(crate) fn wrote(&self, replica: &ReplicaId, version: u64) {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).insert(replica.clone(), version);
    }

    /// The replicas that others have written, of all that are open.
    fn written_by_others(&self, open: &BTreeMap<ReplicaId, u64>) -> Vec<ReplicaId> {
        let mut known = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let news = open.iter().filter(|(id, version)| known.get(*id) != Some(version)).map(|(id, _)| id.clone()).collect();
        known.clone_from(open);
        news
    }
}

/// A number that everybody computes alike.
fn weight(process: &str, what: &str) -> u64 {
    let bytes = process.bytes().chain([0]).chain(what.bytes());
    let mixed = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    // The last bytes alone decide little of the upper bits without this.
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Is it the share of `me`? Everybody who is there has the same chance, and who goes takes no share of another along.
fn is_mine(me: &str, others: &[String], what: &str) -> bool {
    others.iter().all(|other| (weight(other, what), other.as_str()) < (weight(me, what), me))
}

impl Controller {
    pub(crate) fn spawn_peers(&self) {
        if !self.store().shared() {
            return;
        }
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "control-planes", PERIOD, move || {
            let this = this.clone();
            async move { this.meet().await.map_err(|e| e.to_string()) }
        });
    }

    /// Says what this one does, hears the others, and notices what they have changed.
    pub(crate) async fn meet(&self) -> Result<String, Error> {
        let now = self.now();
        let report = self.own_report().await?;
        let text = serde_json::to_string(&report).map_err(|e| Error::Corrupt(e.to_string()))?;
        let mut others = vec![];
        for heard in self.store().report(&self.0.process, now, &text).await? {
            if heard.id == self.0.process {
                continue;
            }
            if now.since(heard.seen_at) >= FORGOTTEN {
                self.store().forget_control_plane(&heard.id).await?;
                continue;
            }
            let report = serde_json::from_str(&heard.report).unwrap_or_default();
            others.push(Peer { id: heard.id, at: heard.seen_at, report });
        }
        let names = |all: &[Peer]| all.iter().filter(|p| now.since(p.at) < GONE).map(|p| p.id.clone()).collect::<Vec<_>>();
        let present = names(&others);
        let before = std::mem::replace(&mut *self.0.peers.others.lock().unwrap_or_else(PoisonError::into_inner), others);
        let pulse = self.store().pulse().await?;
        let changed = *self.0.peers.pulse.lock().unwrap_or_else(PoisonError::into_inner) != pulse;
        if changed || names(&before) != present {
            *self.0.peers.pulse.lock().unwrap_or_else(PoisonError::into_inner) = pulse;
            self.notice().await?;
        }
        Ok(format!("{} others", present.len()))
    }

    /// Somebody else has changed something, or has come or gone.
    async fn notice(&self) -> Result<(), Error> {
        self.0.tasks.wake("routes");
        self.0.tasks.wake("executor");
        let open = self.store().replicas(None).await?.into_iter().map(|(row, _)| (row.state.id, row.version)).collect();
        for id in self.0.peers.written_by_others(&open) {
            self.drive(&id);
        }
        self.changed();
        Ok(())
    }

    async fn own_report(&self) -> Result<Report, Error> {
        let table = std::sync::Arc::clone(&self.0.routes.borrow());
        let providers = self.0.parts.named.clone();
        let mut report = Report { suspicious: self.swept().suspicious, providers, ..Report::default() };
        for (row, _) in self.store().replicas(None).await? {
            let id = row.state.id;
            let counted = self.0.parts.data_plane.in_flight(&id.0, table.version);
            if counted.is_err() || table.backends.iter().any(|b| b.id == id.0 && b.ready) {
                report.routed.push(id.clone());
            }
            if let Ok(count @ 1..) = counted {
                report.in_flight.insert(id.clone(), count);
            }
            if let Some(at) = self.0.parts.data_plane.last_used(&id.0) {
                report.last_used.insert(id.clone(), at);
            }
            if let Some(view) = self.0.live.get(&id) {
                report.engines.insert(id.clone(), view);
            }
            if let Some(what) = self.0.live.waits_for(&id) {
                report.waits.insert(id, what);
            }
        }
        Ok(report)
    }

    fn with_peers<T>(&self, look: impl FnOnce(Vec<&Peer>) -> T) -> T {
        let now = self.now();
        let others = self.0.peers.others.lock().unwrap_or_else(PoisonError::into_inner);
        look(others.iter().filter(|p| now.since(p.at) < GONE).collect())
    }

    /// Does this control plane look after it? Each thing is the share of one of those that are there.
    pub(crate) fn mine(&self, what: &str) -> bool {
        let named = &self.0.parts.named;
        self.with_peers(|all| {
            // Whoever has a file with fewer providers looks after nothing, as long as somebody has one with all of them.
            let union: BTreeSet<&String> = all.iter().flat_map(|p| &p.report.providers).chain(named).collect();
            let knows_all = |names: &[String]| union.iter().all(|n| names.contains(*n));
            let somebody = knows_all(named) || all.iter().any(|p| knows_all(&p.report.providers));
            if somebody && !knows_all(named) {
                return false;
            }
            let others: Vec<String> =
                all.iter().filter(|p| !somebody || knows_all(&p.report.providers)).map(|p| p.id.clone()).collect();
            is_mine(&self.0.process, &others, what)
        })
    }

    /// Does this control plane look after something of that name?
    #[must_use]
    pub fn looks_after(&self, what: &str) -> bool {
        self.mine(what)
    }

    pub(crate) fn my_deployment(&self, id: &DeploymentId) -> bool {
        self.mine(id.as_str())
    }

    /// Requests that a replica is answering through the gateways of all control planes.
    ///
    /// # Errors
    /// Who may still send it new ones.
    pub(crate) fn in_flight(&self, replica: &Replica, version: u64) -> Result<u64, String> {
        let own = self.0.parts.data_plane.in_flight(&replica.id.0, version)?;
        self.with_peers(|all| {
            all.iter().try_fold(own, |sum, peer| {
                // What it said before the phase began may be over.
                if peer.at <= replica.since || peer.report.routed.contains(&replica.id) {
                    return Err(format!("waiting for the control plane `{}` to use the new routes", peer.id));
                }
                Ok(sum + peer.report.in_flight.get(&replica.id).copied().unwrap_or(0))
            })
        })
    }

    /// Is any gateway answering with it at this moment, as far as is known? One that has not spoken may be.
    pub(crate) fn is_answering(&self, replica: &Replica) -> bool {
        let others = self.with_peers(|all| all.iter().any(|p| p.report.in_flight.contains_key(&replica.id)));
        others || self.0.parts.data_plane.in_flight(&replica.id.0, 0) != Ok(0)
    }

    pub(crate) fn last_used(&self, replica: &ReplicaId) -> Option<Time> {
        let others = self.with_peers(|all| all.iter().filter_map(|p| p.report.last_used.get(replica).copied()).max());
        others.max(self.0.parts.data_plane.last_used(&replica.0))
    }

    /// Do the gateways of the others know the way to a replica? What has been there for long is known to all who answer at all.
    pub(crate) fn is_routed_by_others(&self, replica: &Replica) -> bool {
        let old = self.now().since(replica.since) >= GONE;
        old || self.with_peers(|all| all.iter().all(|p| p.report.routed.contains(&replica.id)))
    }

    /// Why a provider's list is not believed by the one that sweeps.
    pub(crate) fn suspected_by_others(&self, provider: &str) -> Option<String> {
        self.with_peers(|all| all.iter().find_map(|p| p.report.suspicious.get(provider).cloned()))
    }

    pub(crate) fn seen_by_others(&self, replica: &ReplicaId) -> Option<EngineView> {
        self.with_peers(|all| all.iter().filter_map(|p| p.report.engines.get(replica)).max_by_key(|view| view.seen_at).cloned())
    }

    pub(crate) fn waited_for_by_others(&self, replica: &ReplicaId) -> Option<String> {
        self.with_peers(|all| all.iter().find_map(|p| p.report.waits.get(replica).cloned()))
    }

    /// Says goodbye, so that others need not wait for the silence.
    pub(crate) async fn leave(&self) {
        if self.store().shared()
            && let Err(error) = self.store().forget_control_plane(&self.0.process).await
        {
            tracing::debug!(%error, "the other control planes were not told of the end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_the_share_of_exactly_one_and_shares_are_alike() {
        let all = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let mut shares = BTreeMap::new();
        for n in 0..3000 {
            let what = format!("dep_{n}");
            let owners: Vec<&String> = all
                .iter()
                .filter(|me| is_mine(me, &all.iter().filter(|o| o != me).cloned().collect::<Vec<_>>(), &what))
                .collect();
            assert_eq!(owners.len(), 1, "{what}");
            *shares.entry(owners[0].clone()).or_insert(0) += 1;
        }
        assert!(shares.len() == 3 && shares.values().all(|n| (800..1200).contains(n)), "{shares:?}");
    }
}
