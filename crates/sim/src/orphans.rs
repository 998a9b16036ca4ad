//! The sweep in a simulated world: what the provider shows is held against the records, and what is ours and held by nobody
//! is ended once it was seen twice.

use crate::mutation::Variant;
use crate::world::{Alive, INSTALLATION, Sim, now};
use charter_domain::ids::Tag;
use charter_domain::invariants::accounts_for;
use charter_domain::inventory::{Belongs, Held, belongs};
use charter_domain::money::UsdPerHour;
use charter_domain::replica::Replica;
use charter_domain::time::{Span, Time};
use charter_store::Store;
use std::collections::{BTreeMap, BTreeSet};

/// How often the providers are swept.
const PERIOD: Span = Span::min(2);
/// So long may a machine that nobody knows of stand once calls work again: until two sweeps have seen it, and a little.
const ORPHAN_MAX: Span = Span::min(8);

/// What the sweep remembers between two runs, and since when the world knows of orphans.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orphans {
    pub(crate) swept_at: Time,
    suspects: BTreeSet<String>,
    since: BTreeMap<String, Time>,
}

impl Orphans {
    /// What a process knew dies with it; what the world knows does not.
    pub(crate) fn forget(&mut self) {
        self.suspects.clear();
    }

    pub(crate) fn next_sweep(&self) -> Time {
        self.swept_at + PERIOD
    }

    /// How long the oldest one stands.
    pub(crate) fn oldest(&self, now: Time) -> i64 {
        self.since.values().map(|since| now.since(*since).0 / ORPHAN_MAX.0).max().unwrap_or(0)
    }

    /// Tags that nobody accounts for, and that are not old enough to be called a leak.
    pub(crate) fn young(&mut self, alive: &[(String, u32)], open: &[&Replica], now: Time, calm: Time) -> BTreeSet<String> {
        let orphans: BTreeSet<&String> =
            alive.iter().map(|(tag, _)| tag).filter(|tag| !open.iter().any(|r| accounts_for(r, tag))).collect();
        self.since.retain(|tag, _| orphans.contains(tag));
        for tag in orphans {
            self.since.entry(tag.clone()).or_insert(now);
        }
        // While calls fail and processes die there is no bound on the time; there is one from the end of that on.
        let from = |since: Time| since.max(calm);
        let young = self.since.iter().filter(|(_, since)| now < calm || now.since(from(**since)) <= ORPHAN_MAX);
        young.map(|(tag, _)| tag.clone()).collect()
    }
}

impl Sim {
    fn open(&self) -> Vec<Replica> {
        now(self.store.replicas(None)).unwrap_or_default().into_iter().map(|(row, _)| row.state).collect()
    }

    /// Lists the provider first and reads the records second, when its time has come.
    pub(crate) fn sweep(&mut self) -> Alive<()> {
        if self.orphans.next_sweep() > self.now
            || self.setup.variant == Variant::NoSweep
            || (self.setup.measured && self.setup.variant != Variant::Right)
        {
            return Ok(());
        }
        self.orphans.swept_at = self.now;
        if self.is_out() || (self.faults && self.rng.chance(20)) {
            return Ok(()); // The list failed.
        }
        let listed = self.cloud.inventory(self.now);
        let records = self.open();
        let mut seen = BTreeSet::new();
        for (id, tag) in listed {
            let held = Held {
                id: id.clone(),
                tag: Some(tag.clone()),
                label: tag.to_string(),
                price: UsdPerHour(0),
                status: String::new(),
            };
            let unknown = || !records.iter().any(|r| accounts_for(r, &tag.to_string()));
            let anybodys = self.setup.variant == Variant::SweepsStrangers && unknown();
            if anybodys || belongs(&held, INSTALLATION, &records) == Belongs::Stray {
                seen.insert(id);
            }
        }
        let twice: Vec<String> = seen.intersection(&self.orphans.suspects).cloned().collect();
        self.orphans.suspects = seen;
        for id in twice {
            self.crash_here()?;
            self.reached("a stray was ended");
            if !(self.faults && self.rng.chance(30)) {
                self.cloud.destroy(&id, self.now, Span::s(0));
            }
        }
        Ok(())
    }
}

/// The tag of somebody else.
pub(crate) fn stranger() -> Tag {
    Tag { installation: "stranger".into(), replica: "x".into(), attempt: 1 }
}
