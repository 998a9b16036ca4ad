//! The sweep in a simulated world: what the provider shows is held against the records by the same judgement as in a real one,
//! and lists that fail, are cut short or come back empty freeze what is rented.

use crate::mutation::Variant;
use crate::world::{Alive, INSTALLATION, Sim, now};
use charter_domain::ids::{ReplicaId, Tag};
use charter_domain::invariants::{InvariantId, accounts_for, violation};
use charter_domain::inventory::Held;
use charter_domain::money::UsdPerHour;
use charter_domain::replica::{Phase, Replica};
use charter_domain::sweep::{Judgement, List, Memory, Records, judge};
use charter_domain::time::{Span, Time};
use charter_store::{Commit, ReplicaWrite, Store, Tombstone, Write};
use std::collections::{BTreeMap, BTreeSet};

/// How often the providers are swept.
const PERIOD: Span = Span::min(2);
/// While a list is not believed it is asked for so often.
const PERIOD_FROZEN: Span = Span::s(15);
/// So long may a machine that nobody knows of stand once calls work again: until two sweeps have seen it, the brake has let it
/// pass, and a little.
const ORPHAN_MAX: Span = Span::min(20);
/// The brake, as it is published.
const BRAKE: (Span, usize) = (Span::min(10), 3);

/// What the sweep remembers between two runs, and since when the world knows of orphans.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orphans {
    /// On our clock.
    swept_at: Option<Time>,
    memory: Memory,
    pub(crate) frozen: bool,
    since: BTreeMap<String, Time>,
    /// When strays were ended, in the world's time, and how much of ours stood there.
    ended: Vec<(Time, usize)>,
}

impl Orphans {
    /// What a process knew dies with it; what the world knows does not.
    pub(crate) fn forget(&mut self) {
        (self.swept_at, self.memory, self.frozen) = (None, Memory::default(), false);
        // Another process has a brake of its own.
        self.ended.clear();
    }

    pub(crate) fn next_sweep(&self, clock: Time) -> Time {
        let pause = if self.frozen { PERIOD_FROZEN } else { PERIOD };
        self.swept_at.map_or(clock, |at| at + pause)
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

    /// What the list of the provider says this time.
    fn list(&mut self) -> Result<(Vec<Held>, bool), String> {
        if self.is_out() || (self.faults && self.rng.chance(15)) {
            self.reached("a list failed");
            return Err("500".into());
        }
        let held = |(id, tag): (String, Option<Tag>)| Held {
            id,
            label: tag.as_ref().map(ToString::to_string).unwrap_or_default(),
            tag,
            price: UsdPerHour(0),
            status: String::new(),
        };
        let mut all: Vec<Held> = self.cloud.inventory(self.now).into_iter().map(held).collect();
        if self.faults && self.rng.chance(10) {
            self.reached("a list came back empty");
            return Ok((vec![], true));
        }
        if self.faults && self.rng.chance(10) {
            self.reached("a list was not whole");
            all.truncate(all.len() / 2);
            return Ok((all, false));
        }
        Ok((all, true))
    }

    /// Lists the provider first and reads the records second, when its time has come.
    pub(crate) fn sweep(&mut self) -> Alive<()> {
        let variant = self.setup.variant;
        if self.orphans.next_sweep(self.clock()) > self.clock()
            || variant == Variant::NoSweep
            || (self.setup.measured && variant != Variant::Right)
        {
            return Ok(());
        }
        self.orphans.swept_at = Some(self.clock());
        let held = self.list();
        let open = self.open();
        if variant == Variant::SweepsStrangers {
            self.sweep_everything(&held, &open);
        }
        if variant == Variant::BelievesEmptyList {
            self.believe(&held, &open);
        }
        let ours = held.as_ref().map_or(0, |(all, _)| all.iter().filter(|h| h.id != "stranger").count());
        let gone = now(self.store.tombstones(Time(i64::MIN))).unwrap_or_default();
        let gone = gone.into_iter().map(|s| (s.provider, s.instance)).collect();
        let records = Records { installation: INSTALLATION, open: &open, gone, restored: None };
        let lists = [List { provider: "sim".into(), rented: true, held }];
        let at = self.clock();
        let judged = judge(&mut self.orphans.memory, &lists, &records, at);
        self.orphans.frozen = !judged.suspicious.is_empty();
        if self.setup.logged && judged != Judgement::default() {
            let ids: Vec<&str> = judged.end.iter().map(|(_, held)| held.id.as_str()).collect();
            let text = format!("{} strays, ends {ids:?}, {} held back, {:?}", judged.strays, judged.braked, judged.suspicious);
            self.out.log.push(format!("{:>8} ms sweep: {text}", self.now.0));
        }
        if self.orphans.frozen {
            self.reached("a list was not believed, and nothing new was rented");
        }
        if judged.braked > 0 {
            self.reached("the brake held back");
        }
        for (_, held) in judged.end {
            self.crash_here()?;
            self.reached(if held.tag.is_some() { "a stray was ended" } else { "what came back without its label was ended" });
            self.orphans.memory.ended(at);
            // It has no record of its own, and may come back without its label.
            let tag = held.tag.as_ref().map(ToString::to_string).unwrap_or_default();
            let stone = Tombstone { provider: "sim".into(), instance: held.id.clone(), tag, gone_at: at };
            let tombstones = if variant == Variant::NoTombstones { vec![] } else { vec![stone] };
            let written = now(self.store.commit(Commit { tombstones, ..Commit::default() }));
            self.expect(written);
            self.orphans.ended.push((self.now, ours));
            if !(self.faults && self.rng.chance(30)) {
                self.cloud.destroy(&held.id, self.now, Span::s(0));
            }
        }
        self.check_brake();
        Ok(())
    }

    /// Never more at once than was said.
    fn check_brake(&mut self) {
        let (window, least) = BRAKE;
        let now = self.now;
        self.orphans.ended.retain(|(at, _)| now.since(*at) < window);
        let most = self.orphans.ended.iter().map(|(_, ours)| ours / 5).max().unwrap_or(0).max(least);
        let count = self.orphans.ended.len();
        if count > most {
            let text = format!("{count} machines were ended within ten minutes, and {most} may be");
            self.out.violations.push(violation(InvariantId::Braked, text));
        }
    }

    fn sweep_everything(&mut self, held: &Result<(Vec<Held>, bool), String>, open: &[Replica]) {
        for held in held.iter().flat_map(|(all, _)| all) {
            let known = held.tag.as_ref().is_some_and(|tag| open.iter().any(|r| accounts_for(r, &tag.to_string())));
            if !known {
                self.cloud.destroy(&held.id, self.now, Span::s(0));
            }
        }
    }

    /// A wrong control plane: what a list does not show is written down as gone.
    fn believe(&mut self, held: &Result<(Vec<Held>, bool), String>, open: &[Replica]) {
        let Ok((all, true)) = held else { return };
        let lost: Vec<ReplicaId> = open
            .iter()
            .filter(|r| r.instance().is_some_and(|i| !all.iter().any(|h| h.id == i.id)))
            .map(|r| r.id.clone())
            .collect();
        for id in lost {
            if let Ok(Some(row)) = now(self.store.replica(&id)) {
                let mut state = row.state;
                state.phase = Phase::Pending { not_before: Time(0) };
                let write = ReplicaWrite { write: Write { expected: row.version, state }, wake_at: Some(self.clock()) };
                let forgotten = now(self.store.commit(Commit { replicas: vec![write], ..Commit::default() }));
                self.expect(forgotten);
                self.looks.insert(id, self.clock());
            }
        }
    }
}

/// The tag of somebody else.
pub(crate) fn stranger() -> Tag {
    Tag { installation: "stranger".into(), replica: "x".into(), attempt: 1 }
}
