//! One simulated world: users who change their minds, a control plane of two executors, a store, a cloud, and faults.

use crate::cloud::Cloud;
use crate::mutation::Variant;
use crate::orphans::Orphans;
use crate::rng::Rng;
use crate::users::{HOUR, LONG, SHORT, Shape};
use charter_domain::clock_jump::is_from_another_clock;
use charter_domain::deployment::Wish;
use charter_domain::ids::{DeploymentId, IntentId, ReplicaId};
use charter_domain::instance::Instance;
use charter_domain::intent::{Effect, Intent, Outcome};
use charter_domain::invariants::{InvariantId, Violation, violation};
use charter_domain::plan::{Command, plan};
use charter_domain::policy::Policy;
use charter_domain::profile::Limits;
use charter_domain::replica::Replica;
use charter_domain::step::{Event, step};
use charter_domain::time::{Span, Time};
use charter_store::mem::{Mem, State};
use charter_store::{Claimed, Close, Commit, Error, Lease, NewIntent, ReplicaWrite, Store, Tombstone, Versioned, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// How a world is run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Decides everything.
    pub seed: u64,
    /// Faults happen in the first half.
    pub faults: bool,
    /// Die at this crash point.
    pub crash_at: Option<u64>,
    /// Deliver this intent twice, counted from 1.
    pub twice: Option<u64>,
    /// Which executor.
    pub variant: Variant,
    /// Keep every event for people to read.
    pub logged: bool,
    /// Go on whatever happens, wrong variants without a sweep, and count what is left at the end in dollars.
    pub measured: bool,
    /// A day with many deployments, instead of an hour with a few.
    pub long: bool,
}

/// What a run showed.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// Crash points passed.
    pub points: u64,
    /// Effects performed.
    pub effects: u64,
    /// Crashes.
    pub crashes: u64,
    /// Hash over all events.
    pub trace: u64,
    /// Every event, for people.
    pub log: Vec<String>,
    /// How often each fault and each rare path was reached.
    pub reached: BTreeMap<&'static str, u64>,
    /// What machines that nobody ended have cost by the end, in micro-dollars.
    pub leaked_micros: i64,
    /// How long it lasted, in its own time.
    pub simulated_ms: i64,
    /// Deployments in this world.
    pub deployments: u64,
}

pub(crate) struct Crash;
pub(crate) type Alive<T> = Result<T, Crash>;

/// Work in the hands of an executor; lost in a crash.
pub(crate) struct Work {
    pub(crate) claimed: Claimed,
    pub(crate) outcome: Option<Outcome>,
}

pub(crate) struct Sim {
    pub(crate) setup: Setup,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    pub(crate) store: Mem,
    pub(crate) cloud: Cloud,
    pub(crate) looks: BTreeMap<ReplicaId, Time>,
    pub(crate) work: Vec<Work>,
    pub(crate) faults: bool,
    pub(crate) shape: Shape,
    /// How far our clock is ahead of the world's. It jumps when a process starts.
    skew: i64,
    /// When the present process started, on our clock.
    started: Time,
    pub(crate) hidden_until: Time,
    pub(crate) orphans: Orphans,
    /// From when until when the provider answers nothing at all.
    outage: (Time, Time),
    /// From when until when nothing can be rented.
    pub(crate) scarce: (Time, Time),
    /// An upgrade may be under way.
    pub(crate) upgrades: bool,
    /// Deployments to plan; all of them after a start.
    dirty: Option<BTreeSet<DeploymentId>>,
    pub(crate) checked: (u64, u64, usize, i64),
    ids: u64,
    pub(crate) delivered: u64,
    pub(crate) out: Summary,
}

pub(crate) const INSTALLATION: &str = "simulate";
const LEASE: Span = Span::s(90);

fn policy(known_since: Time) -> Policy {
    let limits = Limits { boot: Span::min(10), load: Span::min(10), attempts: 5, ..Limits::default() };
    // Looks at what runs are rare here, so that the hours of a world pass quickly.
    Policy { limits, look_ready: Span::min(10), known_since, ..Policy::default() }
}

/// The store in memory is always ready, so one poll is enough.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the store in memory never waits"),
    }
}

/// Runs one world to its end.
#[must_use]
pub fn run(setup: Setup) -> Summary {
    let shape = if setup.long { LONG } else { SHORT };
    let mut sim = Sim {
        rng: Rng::new(setup.seed),
        setup,
        shape,
        skew: 0,
        started: Time(i64::MIN),
        now: Time(0),
        store: Mem::default(),
        cloud: Cloud::default(),
        looks: BTreeMap::new(),
        work: vec![],
        faults: setup.faults,
        hidden_until: Time(-60_000),
        orphans: Orphans::default(),
        outage: (Time(0), Time(0)),
        scarce: (Time(0), Time(0)),
        upgrades: false,
        dirty: None,
        checked: (u64::MAX, 0, 0, 0),
        ids: 0,
        delivered: 0,
        out: Summary::default(),
    };
    // Somebody else's machine stands in the same account.
    sim.cloud.stranger();
    if setup.faults && sim.rng.chance(30) {
        let from = Time(sim.rng.between(0, shape.calm.0));
        sim.outage = (from, from + Span::min(sim.rng.between(5, 60)));
    }
    if setup.faults && sim.rng.chance(30) {
        let from = Time(sim.rng.between(0, shape.calm.0));
        sim.scarce = (from, from + Span::min(sim.rng.between(5, 60)));
    }
    let deployments = sim.rng.between((shape.most / 8).max(1), shape.most);
    sim.out.deployments = u64::try_from(deployments).unwrap_or(0);
    for n in 0..deployments {
        sim.declare(n);
    }
    let mut wishes = sim.wishes();
    while sim.now < shape.end && (setup.measured || sim.out.violations.is_empty()) {
        if let Some(at) = wishes.iter().position(|(at, ..)| *at <= sim.now) {
            let (_, name, wish, generation) = wishes.remove(at);
            sim.wish(&name, wish, generation);
        }
        let empty = now(sim.store.replicas(None)).is_ok_and(|open| open.is_empty());
        let finished = sim.now >= shape.settled && empty && wishes.is_empty() && !sim.cloud.has_orphans(sim.now);
        if finished {
            break;
        }
        if sim.turn().is_err() {
            sim.crash();
        }
        if sim.faults && sim.now >= shape.calm {
            sim.faults = false;
        }
        sim.check();
    }
    if sim.out.violations.is_empty() {
        sim.clean_slate();
    }
    sim.out.simulated_ms = sim.now.0;
    sim.out.leaked_micros = sim.cloud.leaked_micros(shape.end);
    sim.out
}

impl Sim {
    /// What our clock says.
    pub(crate) fn clock(&self) -> Time {
        Time(self.now.0 + self.skew)
    }

    /// Does the provider answer nothing at all now?
    pub(crate) fn is_out(&self) -> bool {
        self.faults && self.outage.0 <= self.now && self.now < self.outage.1
    }

    pub(crate) fn reached(&mut self, what: &'static str) {
        *self.out.reached.entry(what).or_default() += 1;
    }

    pub(crate) fn trace(&mut self, value: &str) {
        for byte in value.bytes() {
            self.out.trace = (self.out.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    pub(crate) fn crash_here(&mut self) -> Alive<()> {
        self.out.points += 1;
        let random = self.faults && self.rng.below(1000) < 15;
        if random || self.setup.crash_at == Some(self.out.points) { Err(Crash) } else { Ok(()) }
    }

    /// Nothing but the store and the cloud survives.
    fn crash(&mut self) {
        self.out.crashes += 1;
        let image: State = self.store.image();
        self.store = Mem::from_state(image);
        // The next process of one data directory need not wait for the leases of the last one; of several it must.
        if self.rng.chance(50) {
            let abandoned = now(self.store.abandon_leases(""));
            self.expect(abandoned);
        }
        self.work.clear();
        self.orphans.forget();
        if self.setup.variant == Variant::ShutdownDropsDestroys {
            self.drop_destroys();
        }
        self.now = self.now + Span::s(self.rng.between(0, 120));
        if self.faults && self.rng.chance(10) {
            self.reached("the clock jumped between two processes");
            let widest = [1_000, 60_000, HOUR, 24 * HOUR][self.rng.index(4)];
            self.skew = self.rng.between(-widest, widest);
        }
        self.started = self.clock();
        self.upgrades = true;
        self.dirty = None;
        // Every replica is looked at by the new process, whatever time stands beside it.
        self.looks.clear();
        if let Ok(open) = now(self.store.replicas(None)) {
            let at = self.clock();
            self.looks.extend(open.into_iter().filter_map(|(row, wake)| wake.map(|_| (row.state.id, at))));
        }
    }

    fn drop_destroys(&mut self) {
        for stored in now(self.store.intents()).unwrap_or_default() {
            if matches!(stored.intent.effect, Effect::Destroy { .. }) {
                let close = Some(Close { intent: stored.intent.id, fence: stored.fence });
                let dropped = now(self.store.commit(Commit { close, ..Commit::default() }));
                self.expect(dropped);
            }
        }
    }

    pub(crate) fn expect<T>(&mut self, result: Result<T, Error>) {
        if let Err(error) = result {
            self.out.violations.push(violation(InvariantId::Converges, format!("the store refused: {error}")));
        }
    }

    pub(crate) fn replicas_of(&self, id: &DeploymentId) -> Vec<Replica> {
        now(self.store.replicas(Some(id))).map(|rows| rows.into_iter().map(|(r, _)| r.state).collect()).unwrap_or_default()
    }

    /// One thing happens: a plan, a claim, an effect, a record or a look; else time passes.
    fn turn(&mut self) -> Alive<()> {
        self.cloud.age(self.now, &mut self.rng, self.faults);
        self.sweep()?;
        self.upgrade()?;
        self.plan()?;
        let due: Vec<ReplicaId> = self.looks.iter().filter(|(_, at)| **at <= self.clock()).map(|(id, _)| id.clone()).collect();
        if self.faults && !self.work.is_empty() && self.rng.chance(3) {
            self.reached("an executor slept longer than its lease");
            // An executor sleeps longer than its lease and wakes with work that is not its own any more.
            self.now = self.now + LEASE + Span::s(1);
        }
        let choice = self.rng.below(4);
        if choice == 0 || (self.work.is_empty() && due.is_empty()) {
            let until = self.clock() + LEASE;
            let claimed = now(self.store.claim("x", self.clock(), until, 1)).unwrap_or_default();
            if let Some(claimed) = claimed.into_iter().next() {
                self.work.push(Work { claimed, outcome: None });
                return self.crash_here();
            }
        }
        if !self.work.is_empty() && (choice <= 1 || due.is_empty()) {
            let at = self.rng.index(self.work.len());
            return self.advance(at);
        }
        if !due.is_empty() {
            let at = self.rng.index(due.len());
            return self.look(&due[at]);
        }
        self.pass();
        Ok(())
    }

    /// Time jumps to the next thing that is planned, or a little further.
    fn pass(&mut self) {
        let intents = now(self.store.intents()).unwrap_or_default();
        let (clock, skew) = (self.clock(), self.skew);
        let leases = intents.iter().map(|i| i.lease_until.unwrap_or(i.intent.due_at).max(i.intent.due_at));
        let leases = leases.map(|at| if is_from_another_clock(at, clock) { clock } else { at });
        // A sweep that finds nothing changes nothing: only where there is something to find is its time waited for.
        let sweep = (self.orphans.frozen || self.cloud.has_orphans(self.now)).then(|| self.orphans.next_sweep(clock));
        let late = self.cloud.next_late();
        let ours = self.looks.values().copied().chain(leases).chain(sweep).map(|at| Time(at.0.saturating_sub(skew)));
        let next = ours.chain(late).min();
        let next = next.unwrap_or(self.now + Span::min(10));
        self.now = next.max(self.now) + Span::ms(self.rng.between(1, 2000));
        let settled = self.shape.settled;
        if self.now < settled && next > settled {
            self.now = settled;
        }
    }

    fn plan(&mut self) -> Alive<()> {
        if self.dirty.as_ref().is_some_and(BTreeSet::is_empty) {
            return Ok(());
        }
        let dirty = self.dirty.replace(BTreeSet::new());
        let all = now(self.store.deployments()).unwrap_or_default();
        for row in all.into_iter().filter(|row| dirty.as_ref().is_none_or(|d| d.contains(&row.state.id))) {
            let replicas = self.replicas_of(&row.state.id);
            for command in plan(&row.state, &replicas).commands {
                match command {
                    Command::Open { slot, generation } => {
                        self.ids += 1;
                        let id = ReplicaId::new(&format!("r{}x{}", self.ids, self.out.crashes));
                        let state = Replica::open(id.clone(), row.state.id.clone(), generation, slot, self.clock());
                        let write = ReplicaWrite { write: Write { expected: 0, state }, wake_at: Some(self.clock()) };
                        self.expect(now(self.store.commit(Commit { replicas: vec![write], ..Commit::default() })));
                        self.looks.insert(id, self.clock());
                        self.touch(&row.state.id);
                        self.crash_here()?;
                    }
                    Command::Stop { .. } if self.setup.variant == Variant::OldGenerationStays && row.state.wish == Wish::Run => {}
                    Command::Stop { replica, why } => self.command(&row.state.id, &replica, Event::Stop(why))?,
                    Command::Switch { replica, generation } => {
                        self.command(&row.state.id, &replica, Event::Switch(generation))?;
                    }
                }
            }
            if self.setup.variant == Variant::EndsTheOldOneFirst
                && let Some(upgrade) = row.state.upgrade.as_ref().filter(|_| row.state.wish == Wish::Run)
            {
                let old = replicas.iter().find(|r| r.generation == upgrade.from && !r.phase.is_closed() && r.stop.is_none());
                if let Some(old) = old {
                    self.command(&row.state.id, &old.id, Event::Stop(charter_domain::replica::Stop::Replaced))?;
                }
            }
        }
        Ok(())
    }

    /// What the planner decided; it must leave somebody who answers.
    fn command(&mut self, id: &DeploymentId, replica: &ReplicaId, event: Event) -> Alive<()> {
        let before = self.is_answering(id);
        self.apply(replica, &event, None)?;
        self.still_answers(id, before, "a command of the planner");
        Ok(())
    }

    /// Steps the state and commits it with what follows; a conflict is read and stepped again.
    pub(crate) fn apply(&mut self, id: &ReplicaId, event: &Event, close: Option<&Claimed>) -> Alive<()> {
        let Ok(Some(Versioned { version, state })) = now(self.store.replica(id)) else {
            return Ok(());
        };
        let mut bent = state.clone();
        self.setup.variant.before(&mut bent, event);
        let deployment = now(self.store.deployment(state.deployment.as_str())).ok().flatten();
        let falls_back_to = deployment.and_then(|d| d.state.falls_back_to(&state));
        let policy = Policy { falls_back_to, ..policy(self.started) };
        let mut done = step(&bent, event.clone(), self.clock(), &policy, INSTALLATION);
        let random = matches!(self.setup.variant, Variant::LosesIntents | Variant::ProviderRemoved);
        let chance = random && self.rng.chance(10);
        self.setup.variant.after(&state, event, &mut done, self.clock(), chance);
        self.trace(done.next.phase.name());
        if self.setup.logged {
            self.out.log.push(format!("{:>8} ms {id} {event:?} -> {}", self.now.0, done.next.phase.name()));
        }
        let same = done.next == state && done.intents.is_empty() && close.is_none();
        if same {
            self.look_again(id, done.wake_at);
            return Ok(());
        }
        if self.setup.variant == Variant::CallFirst {
            for draft in &done.intents {
                if let Effect::Create { bid } = &draft.effect {
                    self.cloud.create(bid, self.now, &mut self.rng, self.faults);
                }
            }
        }
        self.crash_here()?;
        let open = done.intents.into_iter().map(|draft| self.intent(id, draft.effect, draft.not_before)).collect();
        let stone = state.let_go(&done.next).filter(|_| self.setup.variant != Variant::NoTombstones).map(|i| self.stone(i));
        let commit = Commit {
            tombstones: stone.into_iter().collect(),
            replicas: vec![ReplicaWrite { write: Write { expected: version, state: done.next }, wake_at: done.wake_at }],
            close: close.map(|c| Close { intent: c.intent.id.clone(), fence: c.fence }),
            open,
            ..Commit::default()
        };
        match now(self.store.commit(commit)) {
            Ok(()) => {
                self.touch(&state.deployment);
                self.look_again(id, done.wake_at);
            }
            Err(_) => self.reached("a stale fence was refused"),
        }
        self.crash_here()
    }

    pub(crate) fn touch(&mut self, deployment: &DeploymentId) {
        if let Some(dirty) = &mut self.dirty {
            dirty.insert(deployment.clone());
        }
    }

    fn stone(&self, instance: &Instance) -> Tombstone {
        let (provider, tag) = (instance.placement.offer.provider.clone(), instance.tag.to_string());
        Tombstone { provider, instance: instance.id.clone(), tag, gone_at: self.clock() }
    }

    fn look_again(&mut self, id: &ReplicaId, wake_at: Option<Time>) {
        match wake_at {
            Some(at) => self.looks.insert(id.clone(), at),
            None => self.looks.remove(id),
        };
    }

    fn intent(&mut self, replica: &ReplicaId, effect: Effect, due_at: Time) -> NewIntent {
        self.ids += 1;
        let id = IntentId::new(&format!("{:06}x{}", self.ids, self.out.crashes));
        // Half of them are claimed at birth, as the real executor does for those that are due.
        let clock = self.clock();
        let claimed =
            (due_at <= clock && self.rng.chance(50)).then(|| Lease { owner: "x".to_owned(), since: clock, until: clock + LEASE });
        let intent = Intent { id, replica: replica.clone(), effect, due_at };
        if claimed.is_some() {
            let claimed = Claimed { intent: intent.clone(), fence: 1, begun_before: false };
            self.work.push(Work { claimed, outcome: None });
        }
        NewIntent { intent, claimed }
    }
}
