//! What lies outside of the control planes: time, chance, a market and its machines. It survives every crash.

use crate::cloud::{Cloud, Raise};
use crate::rng::Rng;
use async_trait::async_trait;
use charter_controller::{Clock, DataPlane, Machines, Secrets};
use charter_domain::cause::{Action, Cause};
use charter_domain::ids::Tag;
use charter_domain::instance::{Bid, Instance};
use charter_domain::intent::Outcome;
use charter_domain::inventory::Held;
use charter_domain::look::{AwaySight, EngineSight, MachineSight, Sight, Verdict};
use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::offer::{Accelerator, Market, Offer};
use charter_domain::order::LaunchWay;
use charter_domain::placement::Requirement;
use charter_domain::profile::SecretRef;
use charter_domain::time::{Span, Time};
use charter_providers::{CreateError, Descriptor, Kind, Listing, Observed, OfferPage, Provider, ProviderError};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What the network costs: the image alone is ten gigabytes.
const TRAFFIC_PER_GB: Usd = Usd(1_000);
const TRAFFIC_PER_MACHINE: i64 = 10_000;

/// The world's state.
pub(crate) struct State {
    pub(crate) now: Time,
    pub(crate) rng: Rng,
    /// Chance for what was added later: prices that rise and people who turn knobs. So the worlds of old seeds stay what they were.
    pub(crate) other: Rng,
    pub(crate) cloud: Cloud,
    pub(crate) faults: bool,
    /// From when until when the market answers nothing.
    pub(crate) outage: (Time, Time),
    /// From when until when the market refuses the key: somebody has taken it back, and puts a new one into the file later.
    pub(crate) locked: (Time, Time),
    /// Until when each control plane is cut off from the market, and from the store.
    pub(crate) cut: BTreeMap<usize, (Time, Time)>,
    /// The control plane that has just died.
    pub(crate) dead: Option<usize>,
    pub(crate) reached: BTreeMap<&'static str, u64>,
    pub(crate) crashes: u64,
    pub(crate) calls: u64,
    ids: u64,
}

pub(crate) struct Outside {
    state: Mutex<State>,
    died: Notify,
}

impl State {
    fn is_locked(&self) -> bool {
        self.locked.0 <= self.now && self.now < self.locked.1
    }
}

impl Outside {
    pub(crate) fn new(seed: u64, start: Time) -> Self {
        let mut cloud = Cloud::default();
        cloud.stranger();
        let state = State {
            now: start,
            rng: Rng::new(seed),
            other: Rng::new(seed ^ 0x7072_6963_6573),
            cloud,
            faults: true,
            outage: (Time(0), Time(0)),
            locked: (Time(0), Time(0)),
            cut: BTreeMap::new(),
            dead: None,
            reached: BTreeMap::new(),
            crashes: 0,
            calls: 0,
            ids: 0,
        };
        Self { state: Mutex::new(state), died: Notify::new() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of it that somebody can have known of, where so many machines were written down: one whose answer was lost may
    /// be gone before anybody finds it.
    pub(crate) fn billed_for(&self, recorded: usize) -> i64 {
        let state = self.state();
        let late = usize::try_from(state.cloud.made_late).unwrap_or(usize::MAX);
        let known = i64::try_from(recorded.saturating_sub(late)).unwrap_or(0);
        state.cloud.ledger(state.now).0 + known * TRAFFIC_PER_MACHINE
    }

    /// What was billed by now for machines that were known: their time, and what they fetched.
    pub(crate) fn billed(&self) -> i64 {
        let state = self.state();
        let made = i64::try_from(state.cloud.created - state.cloud.made_late).unwrap_or(0);
        state.cloud.ledger(state.now).0 + made * TRAFFIC_PER_MACHINE
    }

    /// What raised prices cost before they were written down.
    pub(crate) fn unnoted(&self) -> i64 {
        let state = self.state();
        state.cloud.unnoted(state.now)
    }

    pub(crate) fn reached(&self, what: &'static str) {
        *self.state().reached.entry(what).or_default() += 1;
    }

    pub(crate) fn strikes(&self, percent: u64) -> bool {
        let mut state = self.state();
        state.faults && state.rng.chance(percent)
    }

    /// A control plane may die at every call that leaves it, before and after: then nothing of it goes on.
    pub(crate) async fn crash_here(&self, plane: usize) {
        let dies = {
            let mut state = self.state();
            let dies = state.faults && state.rng.below(1000) < 4;
            if dies {
                state.dead = Some(plane);
                state.crashes += 1;
            }
            dies
        };
        if dies {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Runs something of a control plane, unless it dies of it.
    pub(crate) async fn alive<T>(&self, what: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = what => Some(done),
            () = self.died.notified() => None,
        }
    }

    pub(crate) fn cut_from_store(&self, plane: usize) -> bool {
        let state = self.state();
        state.faults && state.cut.get(&plane).is_some_and(|(_, store)| state.now < *store)
    }

    /// A call to the market: may it fail before its effect, or lose its answer after it?
    async fn call(&self, plane: usize) -> (bool, bool) {
        self.crash_here(plane).await;
        let mut state = self.state();
        state.calls += 1;
        if state.is_locked() {
            *state.reached.entry("the market refused the key").or_default() += 1;
            return (false, false);
        }
        let out = state.faults && state.outage.0 <= state.now && state.now < state.outage.1;
        let cut = state.faults && state.cut.get(&plane).is_some_and(|(market, _)| state.now < *market);
        if out || cut {
            drop(state);
            self.reached(if out {
                "the provider answered nothing for a long time"
            } else {
                "a control plane was cut off from the market"
            });
            return (false, true);
        }
        if !state.faults {
            return (true, false);
        }
        [(true, false), (true, false), (true, false), (true, false), (true, true), (false, false)][state.rng.index(6)]
    }
}

/// What one control plane sees of the market.
pub(crate) struct Stall {
    pub(crate) outside: std::sync::Arc<Outside>,
    pub(crate) plane: usize,
}

impl Stall {
    fn failed(&self, message: &str) -> ProviderError {
        if self.outside.state().is_locked() {
            return ProviderError { kind: Kind::Auth, message: "the key is refused".to_owned() };
        }
        ProviderError { kind: Kind::Transient, message: message.to_owned() }
    }
}

#[async_trait]
impl Provider for Stall {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            kind: "sim",
            visibility_horizon: Span::s(120),
            absence_looks: 2,
            absence_gap: Span::s(30),
            look_gap: Span::s(2),
            rented: true,
            container: Some(LaunchWay::Ssh),
        }
    }

    async fn offers(&self, need: &Requirement) -> OfferPage {
        let (done, _) = self.outside.call(self.plane).await;
        if !done {
            let lasting = self.outside.state().is_locked();
            return OfferPage { offers: vec![], problems: vec![("500".into(), lasting)] };
        }
        let mut state = self.outside.state();
        let offer = |n: i64, price: i64| Offer {
            provider: "sim".into(),
            id: format!("o{n}"),
            host: format!("h{n}"),
            gpus: (0..need.gpu_count.max(1))
                .map(|index| Accelerator {
                    index,
                    name: "RTX 4090".into(),
                    memory_bytes: 25_769_803_776,
                    compute_tenths: Some(89),
                    free: true,
                })
                .collect(),
            no_gpu_allowed: false,
            disk_bytes: Some(500_000_000_000),
            driver: None,
            price: UsdPerHour(price),
            market: Some(Market {
                cuda_tenths: Some(130),
                reliability_permille: 999,
                inet_down_mbps: 1000,
                down_per_gb: TRAFFIC_PER_GB,
                ..Market::default()
            }),
        };
        let offers = (0..12).map(|n| offer(n, state.rng.between(80_000, 260_000))).collect();
        OfferPage { offers, problems: vec![] }
    }

    async fn create(&self, bid: &Bid, now: Time) -> Result<Instance, CreateError> {
        let (done, lost) = self.outside.call(self.plane).await;
        if !done && !lost {
            let gone = ProviderError { kind: Kind::NoCapacity, message: "gone".into() };
            let refused = self.failed("gone");
            return Err(CreateError::Refused(if refused.kind == Kind::Auth { refused } else { gone }));
        }
        if done {
            self.outside.reached("a machine was rented");
        }
        let made = done.then(|| {
            let mut state = self.outside.state();
            let State { cloud, rng, now: at, faults, .. } = &mut *state;
            let made = cloud.create(bid, *at, rng, *faults);
            raise_later(&mut state);
            made
        });
        if !done && self.outside.strikes(30) {
            self.outside.reached("a create took effect long after its answer was lost");
            let mut state = self.outside.state();
            let at = state.now + Span::s(state.rng.between(0, 400));
            state.cloud.create_late(bid.clone(), at);
        }
        self.outside.crash_here(self.plane).await;
        match made {
            Some(instance) if !lost => Ok(Instance { since: now, ..instance }),
            _ => {
                self.outside.reached("an answer was lost");
                Err(CreateError::Unknown(self.failed("timed out")))
            }
        }
    }

    async fn find(&self, bid: &Bid, now: Time) -> Result<Option<Instance>, ProviderError> {
        let (done, lost) = self.outside.call(self.plane).await;
        if !done || lost {
            return Err(self.failed("500"));
        }
        let state = self.outside.state();
        Ok(state.cloud.list(bid, state.now, false).map(|i| Instance { since: now, ..i }))
    }

    async fn observe(&self, instance: &Instance) -> Result<Observed, ProviderError> {
        let (done, lost) = self.outside.call(self.plane).await;
        if !done || lost {
            return Err(self.failed("500"));
        }
        let state = self.outside.state();
        let shown = state.cloud.get(&instance.id, state.now).filter(|m| m.visible_at <= state.now);
        Ok(match shown {
            None => Observed::Absent,
            Some(machine) if machine.stops_at.is_some_and(|at| at <= state.now) => {
                Observed::Failed(Cause::new("stopped_by_provider", Action::OtherHost, "it was stopped", "another one is taken"))
            }
            Some(machine) if machine.up_at <= state.now => {
                Observed::Running { addresses: vec![], price: Some(machine.asks(state.now)) }
            }
            Some(_) => Observed::Pending("loading".into()),
        })
    }

    async fn is_present(&self, instance: &Instance) -> Result<bool, ProviderError> {
        let (done, lost) = self.outside.call(self.plane).await;
        if !done || lost {
            return Err(self.failed("500"));
        }
        let state = self.outside.state();
        Ok(state.cloud.get(&instance.id, state.now).is_some())
    }

    async fn destroy(&self, instance: &Instance) -> Result<(), ProviderError> {
        let (done, lost) = self.outside.call(self.plane).await;
        if done {
            let mut state = self.outside.state();
            let late = if state.faults { state.rng.between(0, 60) } else { 0 };
            let now = state.now;
            state.cloud.destroy(&instance.id, now, Span::s(late));
        }
        self.outside.crash_here(self.plane).await;
        if !done && self.outside.strikes(30) {
            self.outside.reached("a destroy was accepted and ignored");
            return Ok(());
        }
        if done && !lost { Ok(()) } else { Err(self.failed("try again")) }
    }

    async fn list(&self, _: &str) -> Listing {
        Listing::default()
    }

    async fn inventory(&self) -> Result<(Vec<Held>, bool), ProviderError> {
        let (done, lost) = self.outside.call(self.plane).await;
        if !done || lost {
            return Err(self.failed("500"));
        }
        let (empty, short) = (self.outside.strikes(8), self.outside.strikes(8));
        let state = self.outside.state();
        let held = |(id, tag): (String, Option<Tag>)| Held {
            id,
            label: tag.as_ref().map(ToString::to_string).unwrap_or_default(),
            tag,
            price: UsdPerHour(100_000),
            status: String::new(),
        };
        let mut all: Vec<Held> = state.cloud.inventory(state.now).into_iter().map(held).collect();
        drop(state);
        if empty {
            self.outside.reached("a list came back empty");
            return Ok((vec![], true));
        }
        if short {
            self.outside.reached("a list was not whole");
            all.truncate(all.len() / 2);
        }
        Ok((all, !short))
    }

    async fn destroy_stray(&self, tag: Option<&Tag>, id: &str) -> Result<(), ProviderError> {
        let (done, lost) = self.outside.call(self.plane).await;
        if done {
            let mut state = self.outside.state();
            let now = state.now;
            let found = state.cloud.inventory(now).into_iter().find(|(held, _)| held == id);
            if found.is_some_and(|(_, held)| held.as_ref() == tag) {
                state.cloud.destroy(id, now, Span::s(0));
            }
        }
        if done && !lost { Ok(()) } else { Err(self.failed("try again")) }
    }

    fn key_file(&self, _: &Instance) -> Option<String> {
        None
    }

    fn target(&self, _: &Instance) -> Result<charter_remote::Target, ProviderError> {
        Err(self.failed("nothing can be reached here"))
    }
}

#[async_trait]
impl Machines for Stall {
    async fn enter(&self, instance: &Instance) -> Sight {
        self.outside.crash_here(self.plane).await;
        let state = self.outside.state();
        match state.cloud.get(&instance.id, state.now) {
            Some(machine) if machine.up_at <= state.now => {
                let price = Some(machine.asks(state.now));
                Sight::MachineUp(MachineSight { host_key: Some("key".into()), price, ..MachineSight::default() })
            }
            _ => Sight::MachineAway(AwaySight { why: "refused".into(), ..AwaySight::default() }),
        }
    }

    async fn launch(&self, instance: &Instance, number: u32) -> Outcome {
        self.outside.crash_here(self.plane).await;
        let mut state = self.outside.state();
        let State { cloud, rng, now, .. } = &mut *state;
        match cloud.launch(&instance.id, number, "", *now, rng) {
            Some(process) => Outcome::Launched(process),
            None => Outcome::Retry("away".into()),
        }
    }

    async fn engine(&self, instance: &Instance) -> EngineSight {
        self.outside.crash_here(self.plane).await;
        let mut state = self.outside.state();
        let now = state.now;
        // The price is not read at each look.
        let asked = state.cloud.get(&instance.id, now).map(|m| m.asks(now));
        let price = asked.filter(|_| state.other.chance(40));
        let cap = instance.placement.order.as_ref().and_then(|o| o.max_price);
        if price.zip(cap).is_some_and(|(price, cap)| price > cap) {
            *state.reached.entry("a price rose above what was agreed to").or_default() += 1;
            let cause = Cause::new("price_raised", Action::OtherHost, "it asks more", "another one is taken");
            return EngineSight { verdict: Verdict::Failed(cause), quiet: Span::s(0), moved: None, price: None };
        }
        if price.is_some_and(|price| price > instance.placement.offer.price) {
            *state.reached.entry("a price rose while a machine ran").or_default() += 1;
        }
        let verdict = match state.cloud.get(&instance.id, now).map(|m| (m.engine_fails, m.ready_at, m.stops_at)) {
            None => Verdict::Away("no route".into()),
            Some((true, ready, _)) if ready <= now => {
                let action = [Action::RetryHere, Action::OtherHost, Action::ChangeProfile][state.rng.index(3)];
                Verdict::Failed(Cause::new("cuda_oom", action, "out of memory", "less"))
            }
            Some((.., Some(at))) if at <= now => {
                Verdict::Failed(Cause::new("stopped_by_provider", Action::OtherHost, "it was stopped", "another one is taken"))
            }
            Some((_, ready, _)) if ready <= now => Verdict::Ready,
            Some(_) => Verdict::Starting,
        };
        if verdict == Verdict::Ready {
            *state.reached.entry("an engine answered").or_default() += 1;
        }
        EngineSight { verdict, quiet: Span::s(0), moved: None, price }
    }
}

/// One host in five asks more some time later: most of them a little, some of them twice as much.
fn raise_later(state: &mut State) {
    if !state.faults || !state.other.chance(20) {
        return;
    }
    let at = state.now + Span::s(state.other.between(0, 5000));
    let permille = if state.other.chance(60) { state.other.between(1010, 1099) } else { state.other.between(1200, 2000) };
    if let Some(machine) = state.cloud.machines.last_mut() {
        let price = UsdPerHour(machine.price.0 * permille / 1000);
        machine.raise = Some(Raise { at, price, noted_at: None });
    }
}

impl Clock for Stall {
    fn now(&self) -> Time {
        self.outside.state().now
    }
}

impl charter_controller::Ids for Stall {
    fn fresh(&self) -> String {
        let mut state = self.outside.state();
        state.ids += 1;
        format!("{:012x}{:08}", state.now.0, state.ids)
    }
}

impl Secrets for Stall {
    fn read(&self, _: &SecretRef) -> Result<String, String> {
        Err("there are none".to_owned())
    }
}

impl DataPlane for Stall {
    fn in_flight(&self, _: &str, _: u64) -> Result<u64, String> {
        Ok(u64::from(self.outside.strikes(20)))
    }

    /// Somebody asks now and then.
    fn last_used(&self, _: &str) -> Option<Time> {
        let mut state = self.outside.state();
        state.rng.chance(30).then_some(state.now)
    }
}
