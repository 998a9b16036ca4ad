//! What must hold in a whole world, after every turn and at the end.

use super::world::World;
use charter_domain::budget::Budget;
use charter_domain::invariants::{self, InvariantId, accounts_for, violation};
use charter_domain::money::Usd;
use charter_domain::replica::Replica;
use charter_domain::reservation::Whose;
use charter_domain::time::{Span, Time};
use std::collections::{BTreeMap, BTreeSet};

/// So long may a machine that nobody knows of stand once everything works again.
const ORPHAN_MAX: Span = Span::min(25);
/// What is counted may differ from what is billed by so much for each machine: clocks are read twice.
const ROUNDING_MICROS: i64 = 2_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    /// Machines that nobody knows of, since when.
    since: BTreeMap<String, Time>,
    /// The highest bound that was published.
    bound: i64,
    /// What was billed when the limit was lowered: that is spent, whatever the limit is now.
    pub(crate) before_cut: i64,
}

impl World {
    /// What holds at every moment.
    pub(crate) async fn check(&mut self) {
        let (now, calm, stranger_gone, alive, late) = {
            let state = self.outside.state();
            let ours = state.cloud.alive(state.now).filter(|m| m.tag.installation == "simulate");
            let alive: Vec<(String, u32)> = ours.map(|m| (m.tag.to_string(), m.engines)).collect();
            let late: BTreeSet<String> = state.cloud.alive(state.now).filter(|m| m.late).map(|m| m.tag.to_string()).collect();
            (state.now, self.calm, state.cloud.stranger_is_gone(state.now), alive, late)
        };
        if stranger_gone {
            self.violations.push(violation(InvariantId::StrangersUntouched, "somebody else's machine was ended".into()));
        }
        let open: Vec<(Replica, Option<Time>)> =
            self.store.replicas(None).await.unwrap_or_default().into_iter().map(|(row, at)| (row.state, at)).collect();
        {
            let mut state = self.outside.state();
            let at = state.now;
            for instance in open.iter().filter_map(|(replica, _)| replica.instance()) {
                state.cloud.note(&instance.id, instance.placement.offer.price, at);
            }
        }
        let nobodys: BTreeSet<&String> = alive.iter().map(|(tag, _)| tag).filter(|tag| late.contains(*tag)).collect();
        let nobodys: BTreeSet<String> =
            nobodys.into_iter().filter(|tag| !open.iter().any(|(r, _)| accounts_for(r, tag))).cloned().collect();
        self.rules.since.retain(|tag, _| nobodys.contains(tag));
        for tag in &nobodys {
            self.rules.since.entry(tag.clone()).or_insert(now);
        }
        let young = |tag: &String| {
            self.rules.since.get(tag).is_some_and(|since| now < calm || now.since((*since).max(calm)) <= ORPHAN_MAX)
        };
        let intents = self.store.intents().await.unwrap_or_default();
        let mut seen = invariants::World {
            replicas: open.iter().map(|(r, at)| (r, at.is_some())).collect(),
            alive: alive.into_iter().filter(|(tag, _)| !young(tag)).collect(),
            ..invariants::World::default()
        };
        for stored in &intents {
            seen.intents.entry(stored.intent.replica.0.clone()).or_default().push(&stored.intent.effect);
        }
        let found = invariants::check(&seen);
        let generations = open.iter().map(|(r, _)| (r.id.0.clone(), (r.deployment.0.clone(), r.generation))).collect();
        self.violations.extend(found);
        self.one_generation(&generations);
    }

    /// New requests go to one generation of a deployment, whichever control plane's gateway gets them.
    fn one_generation(&mut self, generations: &BTreeMap<String, (String, u32)>) {
        for plane in self.planes.iter().flatten() {
            let routes = plane.controller.routes();
            let mut routed: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
            let table = std::sync::Arc::clone(&routes.borrow());
            for (deployment, generation) in table.backends.iter().filter(|b| b.ready).filter_map(|b| generations.get(&b.id)) {
                routed.entry(deployment).or_default().insert(*generation);
            }
            if let Some((name, all)) = routed.iter().find(|(_, all)| all.len() > 1) {
                let text = format!("generations {all:?} of `{name}` get new requests at once");
                self.violations.push(violation(InvariantId::OneGenerationRouted, text));
            }
        }
    }

    /// What was spent stays under the hard limit and the bound that is published for it. While the market answers nothing no end
    /// can be had; what that costs is counted beside it.
    pub(crate) async fn money(&mut self, budget: &Budget) {
        let ledger = self.outside.billed();
        let late = Span::s(10 + 15 * 60 - 5 * 60);
        let held = self.store.reservations().await.unwrap_or_default();
        let bound = held.iter().fold(Usd(0), |sum, r| sum.plus(r.price.cost(late))).0;
        self.rules.bound = self.rules.bound.max(bound);
        let unnoted = self.outside.unnoted();
        // What was spent before a limit was lowered is spent.
        let limit = budget.hard.0.max(self.rules.before_cut);
        let most = limit.saturating_add(self.rules.bound).saturating_add(self.stuck_micros).saturating_add(unnoted);
        if ledger > most {
            let text = format!("{ledger} micro-dollars are billed; the limit is {limit}, the bound {}", self.rules.bound);
            self.violations.push(violation(InvariantId::WithinBudget, text));
        }
    }

    /// What was counted is what was billed, and never less.
    pub(crate) async fn ledgers(&mut self) {
        let stones = self.store.tombstones(Time(i64::MIN)).await.unwrap_or_default();
        let recorded: BTreeSet<String> = stones.into_iter().map(|s| s.instance).collect();
        let known = self.outside.billed_for(recorded.len());
        let created = i64::try_from(self.outside.state().cloud.created).unwrap_or(0);
        let counted = self.store.spent(&Whose::All, Time(0)).await.map_or(0, |usd| usd.0);
        if counted + ROUNDING_MICROS * created + self.outside.unnoted() < known {
            let text = format!("{known} micro-dollars were billed for machines that were known, and {counted} were counted");
            self.violations.push(violation(InvariantId::LedgersAgree, text));
        }
    }

    pub(crate) async fn clean_slate(&mut self) {
        let open = self.store.replicas(None).await.map_or(0, |all| all.len());
        let intents = self.store.intents().await.map_or(0, |all| all.len());
        let alive = {
            let state = self.outside.state();
            state.cloud.alive(state.now).filter(|m| m.tag.installation == "simulate").count()
        };
        if open + intents + alive > 0 {
            let text = format!("{open} replicas open, {intents} intents, {alive} machines alive");
            self.violations.push(violation(InvariantId::CleanSlate, text));
        }
    }
}
