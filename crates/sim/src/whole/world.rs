//! A whole world and its driver: one thing after the other, and the clock moves in between.

use super::market::Outside;
use super::plane::Plane;
use super::rules::Rules;
use crate::fixtures::deployment;
use charter_controller::Declared;
use charter_domain::budget::{Budget, Scope};
use charter_domain::invariants::Violation;
use charter_domain::money::Usd;
use charter_domain::time::{Span, Time};
use charter_store::Store;
use charter_store::mem::Mem;
use std::collections::BTreeMap;
use std::sync::Arc;

/// On which store.
#[derive(Clone, Debug)]
pub enum Kind {
    /// In memory.
    Memory,
    /// SQLite in this file, which is made.
    Sqlite(std::path::PathBuf),
}

/// What a whole world showed.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    /// What did not hold.
    pub violations: Vec<Violation>,
    /// How often rare paths were reached.
    pub reached: BTreeMap<&'static str, u64>,
    /// Control planes that died.
    pub crashes: u64,
    /// Calls to the market.
    pub calls: u64,
    /// Hash over what was billed and when.
    pub trace: u64,
}

pub(crate) struct World {
    pub(crate) outside: Arc<Outside>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) planes: Vec<Option<Plane>>,
    budget: Budget,
    /// When the limit is lowered, if ever, and to how many percent.
    cut: Option<(Time, i64)>,
    /// When somebody puts a new key into the file.
    new_key: Option<Time>,
    bug: Bug,
    pub(crate) calm: Time,
    pub(crate) rules: Rules,
    /// What ran while nobody could have ended it.
    pub(crate) stuck_micros: i64,
    pub(crate) violations: Vec<Violation>,
    trace: u64,
}

/// Some day in 2023.
const START: Time = Time(1_700_000_000_000);
/// Faults end, everything is ended, nothing may be left.
const CALM: Span = Span::min(90);
const ENDED: Span = Span::min(240);
const OVER: Span = Span::min(420);

/// A control plane with a known bug, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// None.
    Right,
    /// The limit is checked after the rental is remembered, and so never: it is not known when money is set aside.
    LimitUnknown,
    /// Nobody looks at the limits again while something runs.
    NeverRenews,
}

/// Runs one world to its end.
#[must_use]
pub fn run(seed: u64, kind: &Kind, bug: Bug) -> Whole {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Whole::default() };
    runtime.block_on(async {
        let store: Arc<dyn Store> = match kind {
            Kind::Memory => Arc::new(Mem::default()),
            Kind::Sqlite(file) => match charter_store::database::Database::open(file).await {
                Ok(database) => Arc::new(database),
                Err(error) => unreachable!("a new file: {error}"),
            },
        };
        Box::pin(World::new(seed, store, bug).live()).await
    })
}

impl World {
    fn new(seed: u64, store: Arc<dyn Store>, bug: Bug) -> Self {
        let outside = Arc::new(Outside::new(seed, START));
        let (planes, hard, cut, new_key) = {
            let mut state = outside.state();
            let from = START + Span::s(state.rng.between(0, CALM.0 / 1000));
            state.outage = (from, from + Span::min(state.rng.between(1, 20)));
            let at = START + Span::s(state.other.between(0, ENDED.0 / 1000));
            let cut = state.other.chance(30).then(|| (at, state.other.between(10, 90)));
            if state.other.chance(25) {
                let from = START + Span::s(state.other.between(0, CALM.0 / 1000));
                state.locked = (from, from + Span::min(state.other.between(1, 20)));
            }
            let new_key = (state.locked.1 > START).then_some(state.locked.1);
            (state.rng.between(1, 3), state.rng.between(50_000, 2_000_000), cut, new_key)
        };
        let budget = Budget { scope: Scope::Total, target: Usd(hard), alert: Usd(hard), hard: Usd(hard) };
        let planes = (0..usize::try_from(planes).unwrap_or(1)).map(|_| None).collect();
        let calm = START + CALM;
        let rules = Rules::default();
        Self { outside, store, planes, budget, cut, new_key, bug, calm, rules, stuck_micros: 0, violations: vec![], trace: 0 }
    }

    fn now(&self) -> Time {
        self.outside.state().now
    }

    async fn live(mut self) -> Whole {
        let mut wishes = self.wishes();
        while self.now() < START + OVER && self.violations.is_empty() {
            if self.now() >= self.calm {
                self.outside.state().faults = false;
            }
            self.turn_knobs();
            self.start_planes();
            if let Some(at) = wishes.iter().position(|(at, ..)| *at <= self.now()) {
                let (at, n, run) = wishes.remove(at);
                if !Box::pin(self.wish(n, run)).await {
                    // The answer of a user's command was an error: the user tries again.
                    wishes.push((at + Span::s(30), n, run));
                }
            }
            if self.now() >= START + ENDED && wishes.is_empty() && self.is_empty().await {
                break;
            }
            Box::pin(self.turn()).await;
            self.check().await;
            let budget = self.budget;
            self.money(&budget).await;
        }
        self.limits_reached().await;
        if self.violations.is_empty() {
            self.clean_slate().await;
            self.ledgers().await;
        }
        let state = self.outside.state();
        Whole {
            violations: self.violations,
            reached: state.reached.clone(),
            crashes: state.crashes,
            calls: state.calls,
            trace: self.trace,
        }
    }

    /// A world in which money is never short proves nothing about limits.
    async fn limits_reached(&self) {
        for row in self.store.deployments().await.unwrap_or_default() {
            for fact in self.store.facts(&row.state.id, 10_000).await.unwrap_or_default() {
                if fact.text.contains("has no room left under its hard limit") {
                    self.outside.reached("a limit ended what ran");
                } else if fact.text.contains("the hard limit of the budget") || fact.text.contains("leaves nothing") {
                    self.outside.reached("a limit refused an order");
                }
            }
        }
    }

    /// Somebody lowers the limit in the server file, or puts a new key there, and starts all control planes again.
    fn turn_knobs(&mut self) {
        if self.new_key.is_some_and(|at| at <= self.now()) {
            self.new_key = None;
            self.planes.iter_mut().for_each(|plane| *plane = None);
        }
        let Some((_, percent)) = self.cut.filter(|(at, _)| *at <= self.now()) else { return };
        self.cut = None;
        self.outside.reached("the limit was lowered while machines ran");
        let hard = Usd(self.budget.hard.0 * percent / 100);
        self.budget = Budget { scope: self.budget.scope, target: hard, alert: hard, hard };
        self.rules.before_cut = self.outside.billed();
        self.planes.iter_mut().for_each(|plane| *plane = None);
    }

    fn start_planes(&mut self) {
        for number in 0..self.planes.len() {
            if self.planes[number].is_none() {
                let unknown = Budget { hard: Usd(i64::MAX / 4), ..self.budget };
                let budgets = [if self.bug == Bug::LimitUnknown { unknown } else { self.budget }];
                self.planes[number] = Some(Plane::new(number, &self.outside, &self.store, &budgets, self.bug));
            }
        }
    }

    /// Users start, stop and start again; at the end they stop everything.
    fn wishes(&self) -> Vec<(Time, i64, bool)> {
        let mut state = self.outside.state();
        let mut all = vec![];
        for n in 0..state.rng.between(1, 4) {
            all.push((START, n, true));
            for _ in 0..state.rng.below(3) {
                let at = START + Span::s(state.rng.between(0, CALM.0 / 500));
                let run = state.rng.chance(60);
                all.push((at, n, run));
            }
            all.push((START + ENDED, n, false));
        }
        all
    }

    async fn wish(&mut self, n: i64, run: bool) -> bool {
        let number = {
            let mut state = self.outside.state();
            state.rng.index(self.planes.len())
        };
        let now = self.now();
        let Some(plane) = self.planes[number].as_ref().filter(|p| p.asleep_until <= now) else { return false };
        let (controller, made) = (plane.controller.clone(), deployment(n, 1 + u32::from(n % 2 == 0)));
        let asked = async {
            if run { controller.declare(declared(&made)).await.is_ok() } else { controller.end(&made.name).await.is_ok() }
        };
        let outside = Arc::clone(&self.outside);
        let done = outside.alive(asked).await;
        self.bury(done.is_none());
        done.unwrap_or(false)
    }

    fn bury(&mut self, died: bool) {
        let dead = self.outside.state().dead.take();
        if let Some(number) = dead.filter(|_| died) {
            self.planes[number] = None;
            let mut state = self.outside.state();
            let pause = Span::s(state.rng.between(0, 60));
            drop(state);
            // Others go on while it is away; alone the time just passes.
            self.advance(pause);
        }
    }

    async fn is_empty(&self) -> bool {
        let open = self.store.replicas(None).await.map_or(1, |all| all.len());
        let state = self.outside.state();
        open == 0 && !state.cloud.has_orphans(state.now)
    }

    /// The control plane whose turn comes next does one thing; if there is nothing to do, time passes.
    async fn turn(&mut self) {
        let now = self.now();
        let next: Vec<(usize, Time)> = self.planes.iter().flatten().map(|p| (p.number, p.next(now))).collect();
        let due: Vec<usize> = next.iter().filter(|(_, at)| *at <= now).map(|(n, _)| *n).collect();
        if due.is_empty() {
            let at = next.iter().map(|(_, at)| *at).min().unwrap_or(now + Span::s(1));
            let more = self.outside.state().rng.between(1, 500);
            self.advance(Span(at.since(now).0 + more));
            return;
        }
        let (number, pick) = {
            let mut state = self.outside.state();
            (due[state.rng.index(due.len())], state.rng.bits())
        };
        self.mischief(number);
        let outside = Arc::clone(&self.outside);
        let Some(plane) = &mut self.planes[number] else { return };
        let lived = Box::pin(outside.alive(plane.turn(now, pick))).await;
        self.bury(lived.is_none());
    }

    /// It sleeps longer than its lease, or is cut off for a while.
    fn mischief(&mut self, number: usize) {
        let mut state = self.outside.state();
        if !state.faults || state.rng.below(1000) >= 3 {
            return;
        }
        let until = state.now + Span::s(state.rng.between(30, 300));
        match state.rng.below(3) {
            0 => {
                *state.reached.entry("a control plane slept longer than its lease").or_default() += 1;
                drop(state);
                if let Some(plane) = &mut self.planes[number] {
                    plane.asleep_until = until;
                }
            }
            1 => drop(state.cut.insert(number, (until, Time(0)))),
            _ => drop(state.cut.insert(number, (Time(0), until))),
        }
    }

    /// Time passes for everybody, and machines cost what they cost.
    fn advance(&mut self, span: Span) {
        let now = self.now();
        let asleep = self.planes.iter().flatten().any(|p| p.asleep_until > now);
        let mut state = self.outside.state();
        let before = state.cloud.ledger(state.now);
        // Nobody can end anything, or not everybody: what that costs is nobody's fault.
        let out = state.outage.0 <= now && now < state.outage.1;
        let cut = state.cut.values().any(|(market, store)| now < *market.max(store));
        let locked = state.locked.0 <= now && now < state.locked.1;
        let hindered = locked || (state.faults && (asleep || out || cut));
        state.now = state.now + span;
        let super::market::State { cloud, rng, now, faults, .. } = &mut *state;
        cloud.age(*now, rng, *faults);
        let after = state.cloud.ledger(state.now);
        if hindered {
            self.stuck_micros += after.0 - before.0;
        }
        for part in [after.0, after.1, state.now.0] {
            self.trace = (self.trace ^ u64::from_ne_bytes(part.to_ne_bytes())).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

fn declared(made: &charter_domain::deployment::Deployment) -> Declared {
    Declared {
        strategy: None,
        strategy_now: None,
        by: "user".into(),
        name: made.name.clone(),
        tenant: made.tenant.clone(),
        owner: made.owner.clone(),
        profile_name: made.profile_name.clone(),
        source_file: None,
        profile: made.profile.clone(),
        offer: None,
        replicas: made.replicas,
        scale: None,
        forward: None,
        engine_version: "0.33.0".into(),
        wait: false,
        serve_for: None,
    }
}
