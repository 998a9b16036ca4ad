//! What must hold in a simulated world: after every event, after hours without faults, and at the end.

use crate::world::{INSTALLATION, Sim, now};
use charter_domain::deployment::Wish;
use charter_domain::invariants::{self, InvariantId, violation};
use charter_domain::replica::{Phase, Replica};
use charter_domain::time::Time;
use charter_store::Store;

impl Sim {
    /// After hours without faults everything that was wished runs, or says why it does not.
    pub(crate) fn converged(&mut self, name: &str) {
        let Ok(Some(row)) = now(self.store.deployment(name)) else {
            return;
        };
        let replicas = self.replicas_of(&row.state.id);
        let open: Vec<&Replica> = replicas.iter().filter(|r| !r.phase.is_closed()).collect();
        let fine = match row.state.wish {
            Wish::Stop => open.is_empty(),
            Wish::Run => open.iter().all(|r| matches!(r.phase, Phase::Ready { .. }) && r.generation == row.state.generation),
        };
        let count = u32::try_from(open.len()).unwrap_or(u32::MAX);
        let explained = replicas.iter().any(|r| r.generation == row.state.generation && r.cause.is_some());
        let whole = row.state.wish == Wish::Stop || count == row.state.replicas || explained;
        if !(fine && whole) {
            let phases: Vec<String> = open.iter().map(|r| format!("{}.{} {}", r.generation, r.slot, r.phase.name())).collect();
            let (wish, wanted, generation) = (row.state.wish, row.state.replicas, row.state.generation);
            let under_way = row.state.upgrade.as_ref().map(|u| (u.from, u.to, u.strategy, u.stage.clone(), u.flipped));
            let text =
                format!("`{name}` should {wish:?}, {wanted} of generation {generation}, and has {phases:?}, {under_way:?}");
            self.out.violations.push(violation(InvariantId::Converges, text));
        }
    }

    pub(crate) fn check(&mut self) {
        let seen = (self.store.commits(), self.cloud.created, self.cloud.alive(self.now).count(), self.orphans.oldest(self.now));
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
        let open: Vec<&Replica> = replicas.iter().map(|(r, _)| r).collect();
        let alive: Vec<(String, u32)> = self
            .cloud
            .alive(self.now)
            .filter(|m| m.tag.installation == INSTALLATION)
            .map(|m| (m.tag.to_string(), m.engines))
            .collect();
        // What was made after all had been given up may stand for as long as two sweeps take; then it is a leak. Whatever else
        // nobody knows of is one at once.
        let late: Vec<(String, u32)> = self.cloud.alive(self.now).filter(|m| m.late).map(|m| (m.tag.to_string(), 0)).collect();
        let young = self.orphans.young(&late, &open, self.now, if self.setup.faults { self.shape.calm } else { Time(0) });
        world.alive = alive.into_iter().filter(|(tag, _)| !young.contains(tag)).collect();
        self.out.violations.extend(invariants::check(&world));
        self.check_upgrades();
        if self.cloud.stranger_is_gone(self.now) {
            self.out.violations.push(violation(InvariantId::StrangersUntouched, "somebody else's machine was ended".into()));
        }
    }

    pub(crate) fn clean_slate(&mut self) {
        let open = now(self.store.replicas(None)).unwrap_or_default().len();
        let intents = now(self.store.intents()).unwrap_or_default().len();
        let alive = self.cloud.alive(self.now).filter(|m| m.tag.installation == INSTALLATION).count();
        if open + intents + alive > 0 {
            let text = format!("{open} replicas open, {intents} intents, {alive} machines alive");
            self.out.violations.push(violation(InvariantId::CleanSlate, text));
        }
    }
}
