//! One simulated world: users who change their minds, a control plane of two executors, a store, a cloud, and faults.

use crate::cloud::Cloud;
use crate::fixtures::deployment;
use crate::rng::Rng;
use charter_domain::deployment::Wish;
use charter_domain::ids::{DeploymentId, IntentId, ReplicaId};
use charter_domain::intent::{Effect, Intent, Outcome};
use charter_domain::invariants::{self, InvariantId, Violation, violation};
use charter_domain::plan::{Command, plan};
use charter_domain::policy::Policy;
use charter_domain::profile::Limits;
use charter_domain::replica::{Phase, Replica};
use charter_domain::step::{Event, step};
use charter_domain::time::{Span, Time};
use charter_store::mem::{Mem, State};
use charter_store::{Begun, Claimed, Close, Commit, Error, NewIntent, ReplicaWrite, Store, Versioned, Write};
use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// The right executor, and three that are wrong in ways that were believed right once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As it is.
    Right,
    /// Before creating again it looks for the tag, and trusts the answer.
    FindThenCreate,
    /// After a lost answer it creates again.
    CreateAgain,
    /// It calls first and writes afterwards.
    CallFirst,
}

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
}

pub(crate) struct Crash;
pub(crate) type Alive<T> = Result<T, Crash>;

/// Work in the hands of an executor; lost in a crash.
struct Work {
    claimed: Claimed,
    outcome: Option<Outcome>,
}

pub(crate) struct Sim {
    pub(crate) setup: Setup,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    pub(crate) store: Mem,
    pub(crate) cloud: Cloud,
    pub(crate) looks: BTreeMap<ReplicaId, Time>,
    work: Vec<Work>,
    pub(crate) faults: bool,
    pub(crate) hidden_until: Time,
    planned_at: u64,
    checked: (u64, u64, usize),
    ids: u64,
    delivered: u64,
    out: Summary,
}

const INSTALLATION: &str = "simulate";
const HALF: Time = Time(3_600_000);
const SETTLED: Time = Time(6 * 3_600_000);
const END: Time = Time(9 * 3_600_000);
const LEASE: Span = Span::s(90);

fn policy() -> Policy {
    let limits = Limits { boot: Span::min(10), load: Span::min(10), attempts: 5, ..Limits::default() };
    // Looks at what runs are rare here, so that the hours of a world pass quickly.
    Policy { limits, look_ready: Span::min(10), ..Policy::default() }
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
    let mut sim = Sim {
        rng: Rng::new(setup.seed),
        setup,
        now: Time(0),
        store: Mem::default(),
        cloud: Cloud::default(),
        looks: BTreeMap::new(),
        work: vec![],
        faults: setup.faults,
        hidden_until: Time(-60_000),
        planned_at: u64::MAX,
        checked: (u64::MAX, 0, 0),
        ids: 0,
        delivered: 0,
        out: Summary::default(),
    };
    let deployments = sim.rng.between(1, 3);
    for n in 0..deployments {
        sim.declare(n);
    }
    let mut wishes = sim.wishes();
    while sim.now < END && sim.out.violations.is_empty() {
        if let Some(at) = wishes.iter().position(|(at, ..)| *at <= sim.now) {
            let (_, name, wish, generation) = wishes.remove(at);
            sim.wish(&name, wish, generation);
        }
        let finished = sim.now >= SETTLED && now(sim.store.replicas(None)).is_ok_and(|open| open.is_empty()) && wishes.is_empty();
        if finished {
            break;
        }
        if sim.turn().is_err() {
            sim.crash();
        }
        if sim.faults && sim.now >= HALF {
            sim.faults = false;
        }
        sim.check();
    }
    if sim.out.violations.is_empty() {
        sim.clean_slate();
    }
    sim.out
}

impl Sim {
    pub(crate) fn reached(&mut self, what: &'static str) {
        *self.out.reached.entry(what).or_default() += 1;
    }

    fn trace(&mut self, value: &str) {
        for byte in value.bytes() {
            self.out.trace = (self.out.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    fn crash_here(&mut self) -> Alive<()> {
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
            let abandoned = now(self.store.abandon_leases());
            self.expect(abandoned);
        }
        self.planned_at = u64::MAX;
        self.work.clear();
        self.looks.clear();
        if let Ok(open) = now(self.store.replicas(None)) {
            self.looks.extend(open.into_iter().filter_map(|(row, wake)| wake.map(|at| (row.state.id, at))));
        }
        self.now = self.now + Span::s(self.rng.between(0, 120));
    }

    fn declare(&mut self, n: i64) {
        let state = deployment(n, u32::try_from(self.rng.between(1, 2)).unwrap_or(1));
        let write = Write { expected: 0, state };
        self.expect(now(self.store.commit(Commit { deployments: vec![write], ..Commit::default() })));
    }

    fn expect<T>(&mut self, result: Result<T, Error>) {
        if let Err(error) = result {
            self.out.violations.push(violation(InvariantId::Converges, format!("the store refused: {error}")));
        }
    }

    /// Users stop, restart and change what they asked for at times of their own; at the end they stop everything.
    fn wishes(&mut self) -> Vec<(Time, String, Wish, bool)> {
        let names: Vec<String> =
            now(self.store.deployments()).map(|all| all.into_iter().map(|d| d.state.name).collect()).unwrap_or_default();
        let mut wishes = vec![];
        for name in names {
            for _ in 0..self.rng.below(3) {
                let at = Time(self.rng.between(0, SETTLED.0 / 2));
                let (wish, generation) = if self.rng.chance(50) { (Wish::Stop, false) } else { (Wish::Run, true) };
                wishes.push((at, name.clone(), wish, generation));
            }
            wishes.push((SETTLED, name, Wish::Stop, false));
        }
        wishes.sort_by_key(|(at, ..)| *at);
        wishes
    }

    fn wish(&mut self, name: &str, wish: Wish, generation: bool) {
        if self.now >= SETTLED {
            self.converged(name);
        }
        let Ok(Some(row)) = now(self.store.deployment(name)) else {
            return;
        };
        let mut state = row.state;
        state.wish = wish;
        state.generation += u32::from(generation);
        let write = Write { expected: row.version, state };
        self.expect(now(self.store.commit(Commit { deployments: vec![write], ..Commit::default() })));
    }

    /// After hours without faults everything that was wished runs, or says why it does not.
    fn converged(&mut self, name: &str) {
        let Ok(Some(row)) = now(self.store.deployment(name)) else {
            return;
        };
        let replicas = self.replicas_of(&row.state.id);
        let open: Vec<&Replica> = replicas.iter().filter(|r| !r.phase.is_closed()).collect();
        let fine = match row.state.wish {
            Wish::Stop => open.is_empty(),
            Wish::Run => open.iter().all(|r| matches!(r.phase, Phase::Ready { .. })),
        };
        let count = u32::try_from(open.len()).unwrap_or(u32::MAX);
        let explained = replicas.iter().any(|r| r.generation == row.state.generation && r.cause.is_some());
        let whole = row.state.wish == Wish::Stop || count == row.state.replicas || explained;
        if !(fine && whole) {
            let phases: Vec<&str> = open.iter().map(|r| r.phase.name()).collect();
            let text = format!("`{name}` should {:?} and has {phases:?}", row.state.wish);
            self.out.violations.push(violation(InvariantId::Converges, text));
        }
    }

    fn replicas_of(&self, id: &DeploymentId) -> Vec<Replica> {
        now(self.store.replicas(Some(id))).map(|rows| rows.into_iter().map(|(r, _)| r.state).collect()).unwrap_or_default()
    }

    /// One thing happens: a plan, a claim, an effect, a record or a look; else time passes.
    fn turn(&mut self) -> Alive<()> {
        self.cloud.age(self.now);
        self.plan()?;
        let due: Vec<ReplicaId> = self.looks.iter().filter(|(_, at)| **at <= self.now).map(|(id, _)| id.clone()).collect();
        if self.faults && !self.work.is_empty() && self.rng.chance(3) {
            // An executor sleeps longer than its lease and wakes with work that is not its own any more.
            self.now = self.now + LEASE + Span::s(1);
        }
        let choice = self.rng.below(4);
        if choice == 0 || (self.work.is_empty() && due.is_empty()) {
            let until = self.now + LEASE;
            let claimed = now(self.store.claim("x", self.now, until, 1)).unwrap_or_default();
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
        let leases = intents.iter().map(|i| i.lease_until.unwrap_or(i.intent.due_at).max(i.intent.due_at));
        let next = self.looks.values().copied().chain(leases).min().unwrap_or(self.now + Span::min(10));
        self.now = next.max(self.now) + Span::ms(self.rng.between(1, 2000));
        if self.now < SETTLED && next > SETTLED {
            self.now = SETTLED;
        }
    }

    fn plan(&mut self) -> Alive<()> {
        if self.planned_at == self.store.commits() {
            return Ok(());
        }
        self.planned_at = self.store.commits();
        for row in now(self.store.deployments()).unwrap_or_default() {
            let replicas = self.replicas_of(&row.state.id);
            for command in plan(&row.state, &replicas).commands {
                match command {
                    Command::Open { slot } => {
                        self.ids += 1;
                        let id = ReplicaId::new(&format!("r{}x{}", self.ids, self.out.crashes));
                        let state = Replica::open(id.clone(), row.state.id.clone(), row.state.generation, slot, self.now);
                        let write = ReplicaWrite { write: Write { expected: 0, state }, wake_at: Some(self.now) };
                        self.expect(now(self.store.commit(Commit { replicas: vec![write], ..Commit::default() })));
                        self.looks.insert(id, self.now);
                        self.crash_here()?;
                    }
                    Command::Stop { replica, why } => self.apply(&replica, &Event::Stop(why), None)?,
                }
            }
        }
        Ok(())
    }

    /// Steps the state and commits it with what follows; a conflict is read and stepped again.
    pub(crate) fn apply(&mut self, id: &ReplicaId, event: &Event, close: Option<&Claimed>) -> Alive<()> {
        let Ok(Some(Versioned { version, state })) = now(self.store.replica(id)) else {
            return Ok(());
        };
        let done = step(&state, event.clone(), self.now, &policy(), INSTALLATION);
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
        let commit = Commit {
            replicas: vec![ReplicaWrite { write: Write { expected: version, state: done.next }, wake_at: done.wake_at }],
            close: close.map(|c| Close { intent: c.intent.id.clone(), fence: c.fence }),
            open,
            ..Commit::default()
        };
        match now(self.store.commit(commit)) {
            Ok(()) => self.look_again(id, done.wake_at),
            Err(_) => self.reached("a stale fence was refused"),
        }
        self.crash_here()
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
        let claimed = (due_at <= self.now && self.rng.chance(50)).then(|| ("x".to_owned(), self.now + LEASE));
        let intent = Intent { id, replica: replica.clone(), effect, due_at };
        if claimed.is_some() {
            let claimed = Claimed { intent: intent.clone(), fence: 1, begun_before: false };
            self.work.push(Work { claimed, outcome: None });
        }
        NewIntent { intent, claimed }
    }

    /// Performs the work at `at`, or records what it performed before.
    fn advance(&mut self, at: usize) -> Alive<()> {
        if self.work[at].outcome.is_some() {
            let work = self.work.swap_remove(at);
            let Some(outcome) = work.outcome else { return Ok(()) };
            let event = Event::Done(work.claimed.intent.effect.clone(), outcome);
            let replica = work.claimed.intent.replica.clone();
            self.delivered += 1;
            self.apply(&replica, &event, Some(&work.claimed))?;
            if self.setup.twice == Some(self.delivered) {
                self.reached("an outcome was delivered twice");
                self.apply(&replica, &event, None)?;
            }
            return Ok(());
        }
        let claimed = self.work[at].claimed.clone();
        match self.perform(&claimed)? {
            Some(outcome) => self.work[at].outcome = Some(outcome),
            None => drop(self.work.swap_remove(at)),
        }
        Ok(())
    }

    fn perform(&mut self, claimed: &Claimed) -> Alive<Option<Outcome>> {
        let effect = claimed.intent.effect.clone();
        let stored = now(self.store.intents()).unwrap_or_default();
        let ours = stored.iter().any(|i| i.intent.id == claimed.intent.id && i.fence == claimed.fence);
        if !ours {
            return Ok(None); // The lease ran out, and somebody else has it or has ended it.
        }
        if effect.once() {
            if claimed.begun_before && self.setup.variant == Variant::FindThenCreate {
                if let Effect::Create { bid } = &effect
                    && let Some(found) = self.cloud.list(bid, self.now)
                {
                    return Ok(Some(Outcome::Created(Box::new(found))));
                }
            } else if claimed.begun_before {
                self.reached("a create was begun before and its end unknown");
                return Ok(Some(Outcome::Unknown));
            } else if now(self.store.begin(&claimed.intent.id, claimed.fence, self.now)).unwrap_or(Begun::No) == Begun::No {
                return Ok(None);
            }
            self.crash_here()?;
        }
        self.out.effects += 1;
        self.trace(effect.kind());
        let (mut done, mut lost) = (true, false);
        if self.faults {
            (done, lost) =
                [(true, false), (true, false), (true, false), (true, true), (false, false), (false, true)][self.rng.index(6)];
        }
        let outcome = self.take_effect(&effect, done);
        self.crash_here()?;
        Ok(Some(if lost { self.lost(&effect) } else { outcome }))
    }

    fn check(&mut self) {
        let seen = (self.store.commits(), self.cloud.created, self.cloud.alive(self.now).count());
        if self.checked == seen {
            return;
        }
        self.checked = seen;
        let replicas: Vec<(Replica, bool)> = now(self.store.replicas(None))
            .unwrap_or_default()
            .into_iter()
            .map(|(row, wake)| (row.state, wake.is_some()))
            .collect();
        let intents = now(self.store.intents()).unwrap_or_default();
        let mut world =
            invariants::World { replicas: replicas.iter().map(|(r, wake)| (r, *wake)).collect(), ..invariants::World::default() };
        for stored in &intents {
            world.intents.entry(stored.intent.replica.0.clone()).or_default().push(&stored.intent.effect);
        }
        world.alive = self.cloud.alive(self.now).map(|m| (m.tag.to_string(), m.engines)).collect();
        self.out.violations.extend(invariants::check(&world));
    }

    fn clean_slate(&mut self) {
        let open = now(self.store.replicas(None)).unwrap_or_default().len();
        let intents = now(self.store.intents()).unwrap_or_default().len();
        let alive = self.cloud.alive(self.now).count();
        if open + intents + alive > 0 {
            let text = format!("{open} replicas open, {intents} intents, {alive} machines alive");
            self.out.violations.push(violation(InvariantId::CleanSlate, text));
        }
    }
}
