//! Upgrades in a simulated world: how they are asked for, what is seen of them, and what must hold while they are under way.

use crate::mutation::Variant;
use crate::world::{Alive, Sim, now};
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::generation::Fate;
use charter_domain::ids::DeploymentId;
use charter_domain::invariants::{InvariantId, violation};
use charter_domain::replica::{Phase, Replica};
use charter_domain::succession::{Asked, next};
use charter_domain::time::Span;
use charter_domain::upgrade::{Seen, Stage, Step, Strategy, Upgrade, abort, step};
use charter_domain::verdict::Numbers;
use charter_store::{Commit, Store, Versioned, Write};
use std::collections::BTreeSet;

/// What an engine runs, as far as a world tells one specification from another.
pub(crate) fn runs(deployment: &Deployment, generation: u32) -> String {
    deployment.as_of(generation).profile.engine.extra_args.join(" ")
}

/// Does somebody answer, or hold the requests of those who ask?
fn answers(deployment: &Deployment, replicas: &[Replica]) -> bool {
    let in_place = deployment.upgrade.as_ref().is_some_and(|u| u.strategy == Strategy::InPlace);
    replicas.iter().any(|r| {
        let held = in_place && matches!(r.phase, Phase::Draining { restart: Some(_), .. } | Phase::Loading { .. });
        deployment.serves(r) && r.stop.is_none() && (matches!(r.phase, Phase::Ready { .. }) || held)
    })
}

impl Sim {
    fn of(&self, id: &DeploymentId) -> Option<Versioned<Deployment>> {
        now(self.store.deployment(id.as_str())).ok().flatten()
    }

    /// Does a deployment answer at this moment, if it is to?
    pub(crate) fn is_answering(&self, id: &DeploymentId) -> bool {
        let Some(row) = self.of(id) else { return false };
        row.state.wish == Wish::Run && answers(&row.state, &self.replicas_of(id))
    }

    /// I8: what the control plane decides must not take away the last one that answers, unless that was asked for.
    pub(crate) fn still_answers(&mut self, id: &DeploymentId, before: bool, what: &str) {
        let Some(row) = self.of(id) else { return };
        let recreated = row.state.upgrade.as_ref().is_some_and(|u| u.strategy == Strategy::Recreate);
        if before && row.state.wish == Wish::Run && !recreated && !self.is_answering(id) {
            let replicas = self.replicas_of(id);
            let open = replicas.iter().filter(|r| !r.phase.is_closed());
            let there: Vec<String> = open.map(|r| format!("{}.{} {}", r.generation, r.slot, r.phase.name())).collect();
            let under_way = row.state.upgrade.map(|u| (u.from, u.to, u.strategy, u.stage, u.flipped));
            let text = format!("`{}` answered, and after {what} nothing does: {there:?}, {under_way:?}", row.state.name);
            self.out.violations.push(violation(InvariantId::NoRequestLost, text));
        }
    }

    /// A user changes what is to run, goes back to what ran before, or undoes an upgrade that is under way.
    pub(crate) fn change(&mut self, row: Versioned<Deployment>) {
        let before = self.is_answering(&row.state.id);
        let under_way = row.state.upgrade.is_some();
        if under_way && self.rng.chance(35) {
            self.reached("an operator undid an upgrade");
            let (id, replicas) = (row.state.id.clone(), self.replicas_of(&row.state.id));
            if let Some(done) = abort(&row.state, &replicas, "the operator says so") {
                self.keep(row, done);
                self.still_answers(&id, before, "an undone upgrade");
            }
            return;
        }
        if under_way {
            self.reached("a specification was changed in the middle of an upgrade");
        }
        let mut wanted = row.state.clone();
        (wanted.wish, wanted.upgrade, wanted.history) = (Wish::Run, None, vec![]);
        let earlier = row.state.history.first().filter(|_| self.rng.chance(20)).map(|g| g.spec.clone());
        match earlier {
            Some(spec) => wanted.put(spec),
            None => wanted.profile.engine.extra_args = vec![format!("--number {}", self.rng.below(1000))],
        }
        let ways = [
            None,
            None,
            None,
            Some(Strategy::SideBySide),
            Some(Strategy::Rolling),
            Some(Strategy::InPlace),
            Some(Strategy::Recreate),
        ];
        let asked = Asked { by: "sim", now: self.clock(), strategy: ways[self.rng.index(ways.len())] };
        let replicas = self.replicas_of(&row.state.id);
        let Some(state) = next(&row.state, wanted, &replicas, asked) else {
            return self.reached("a change was refused in the middle of an upgrade");
        };
        let id = state.id.clone();
        let write = Write { expected: row.version, state };
        self.expect(now(self.store.commit(Commit { deployments: vec![write], ..Commit::default() })));
        self.upgrades = true;
        self.still_answers(&id, before, "a change");
    }

    /// Looks at every upgrade that is under way.
    pub(crate) fn upgrade(&mut self) -> Alive<()> {
        if !self.upgrades {
            return Ok(());
        }
        let all = now(self.store.deployments()).unwrap_or_default();
        self.upgrades = all.iter().any(|row| row.state.upgrade.is_some());
        for row in all {
            let Some(upgrade) = row.state.upgrade.clone().filter(|_| row.state.wish == Wish::Run) else { continue };
            let replicas = self.replicas_of(&row.state.id);
            let seen = self.seen(&upgrade, &replicas);
            let Some(done) = step(&row.state, &replicas, &seen, self.clock()) else { continue };
            let before = self.is_answering(&row.state.id);
            self.crash_here()?;
            let id = row.state.id.clone();
            self.told(&upgrade, &done);
            let what = format!("a step of its upgrade ({}) from {:?}", done.facts.join("; "), upgrade.stage);
            self.keep(row, done);
            self.still_answers(&id, before, &what);
            self.crash_here()?;
        }
        Ok(())
    }

    fn seen(&mut self, upgrade: &Upgrade, replicas: &[Replica]) -> Seen {
        let mut seen = Seen::default();
        let faults = self.faults;
        for replica in replicas.iter().filter(|r| r.generation == upgrade.to && matches!(r.phase, Phase::Ready { .. })) {
            if self.rng.chance(50) {
                let wrong = faults && self.rng.chance(10);
                let came = if wrong { Err("a wrong answer".to_owned()) } else { Ok("answers".to_owned()) };
                seen.exams.insert(replica.id.clone(), came);
            }
        }
        if faults && self.rng.chance(5) {
            seen.new = Numbers { requests: 100, failed: 50, ..Numbers::default() };
        }
        seen
    }

    fn keep(&mut self, row: Versioned<Deployment>, done: Step) {
        let write = Write { expected: row.version, state: done.next };
        self.expect(now(self.store.commit(Commit { deployments: vec![write], ..Commit::default() })));
        self.touch(&row.state.id);
    }

    /// Counts what upgrades come to, and lets a new copy die soon after it has taken over.
    fn told(&mut self, before: &Upgrade, done: &Step) {
        let now = done.next.upgrade.as_ref();
        let fate = done.next.generation(before.to).map(|g| g.fate);
        match (&before.stage, now.map(|u| &u.stage)) {
            (Stage::Raise, Some(Stage::Bake { .. })) => {
                self.reached("a new generation took over");
                if self.faults && self.rng.chance(30) {
                    self.reached("what had taken over died soon after");
                    let at = self.now + Span::s(self.rng.between(1, 300));
                    let new = self.replicas_of(&done.next.id).into_iter().find(|r| r.generation == before.to);
                    let instance = new.and_then(|r| r.instance().map(|i| i.id.clone()));
                    instance.into_iter().for_each(|id| self.cloud.dies(&id, at));
                }
            }
            (_, Some(Stage::Back { .. })) => self.reached("copies were brought back"),
            (_, None) if fate.is_some_and(Fate::is_lost) => self.reached("a new generation did not pass"),
            (_, None) => self.reached("an upgrade came to its end"),
            (Stage::Raise | Stage::Bake { .. } | Stage::Back { .. }, Some(_)) => {}
        }
        if now.is_some_and(|u| u.strategy == Strategy::InPlace && before.strategy != Strategy::InPlace) {
            self.reached("no second machine: an upgrade went on in place");
        }
    }

    /// I7 and I9: who gets requests is of one generation, and runs what that generation says.
    pub(crate) fn check_upgrades(&mut self) {
        for row in now(self.store.deployments()).unwrap_or_default() {
            let state = row.state;
            if state.wish == Wish::Stop {
                continue;
            }
            let replicas = self.replicas_of(&state.id);
            let early = self.setup.variant == Variant::RoutesBeforeItAnswers;
            let coming = state.upgrade.as_ref().filter(|_| early).map(|u| u.to);
            let ready = |r: &&Replica| matches!(r.phase, Phase::Ready { .. }) && state.serves(r);
            let gets = |r: &&Replica| r.stop.is_none() && (ready(r) || Some(r.generation) == coming);
            let routed: Vec<&Replica> = replicas.iter().filter(gets).collect();
            let one_by_one = state.upgrade.as_ref().is_some_and(|u| matches!(u.strategy, Strategy::Rolling | Strategy::InPlace));
            let groups: BTreeSet<(u32, u32)> =
                routed.iter().map(|r| (if one_by_one { r.slot } else { 0 }, r.generation)).collect();
            let places: BTreeSet<u32> = groups.iter().map(|(place, _)| *place).collect();
            let mut found = vec![];
            if groups.len() > places.len() {
                let text = format!("`{}` answers as several generations: {groups:?}", state.name);
                found.push(violation(InvariantId::OneGenerationRouted, text));
            }
            for replica in routed {
                let machine = replica.instance().and_then(|i| self.cloud.get(&i.id, self.now));
                let (there, wanted) = (machine.map(|m| m.runs.clone()), runs(&state, replica.generation));
                if there.as_ref().is_some_and(|there| *there != wanted) {
                    let text = format!("`{}` is generation {} and runs {there:?}", replica.id, replica.generation);
                    found.push(violation(InvariantId::RightModelAnswers, text));
                }
            }
            self.out.violations.extend(found);
        }
    }
}
