//! Upgrades: from the generation that serves to the next one, in one of four ways, and back again if it does not pass.
//!
//! `step(deployment, replicas, seen, now)` is level-triggered: it compares what is stored with what is seen and says what the
//! deployment is from now on. It does nothing itself: which copies there have to be follows from the state ([`crate::plan`]), and
//! which of them get requests too ([`Deployment::serves`]). So a cut-over is one commit, and a way back is another one.

use crate::change::Effect;
use crate::deployment::Deployment;
use crate::generation::Fate;
use crate::ids::ReplicaId;
use crate::replica::{Phase, Replica};
use crate::time::{Span, Time};
use crate::verdict::{Numbers, Verdict, judge};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the next generation takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// All copies of the new one come up beside the old ones; then all requests go over at once.
    SideBySide,
    /// One copy after the other, each beside the one that it replaces.
    Rolling,
    /// One copy after the other, on the machine of the one that it replaces; requests are held meanwhile.
    InPlace,
    /// The old one is ended first. Nothing answers in between.
    Recreate,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::SideBySide, Self::Rolling, Self::InPlace, Self::Recreate];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SideBySide => "side-by-side",
            Self::Rolling => "rolling",
            Self::InPlace => "in-place",
            Self::Recreate => "recreate",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// How far an upgrade has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The new one, or its next copy, is brought up and examined. The old one serves.
    Raise,
    /// The new one serves, and is watched. The old one stands by.
    Bake {
        /// When it took over.
        since: Time,
    },
    /// The new one did not pass: copies that have been replaced are brought back.
    Back {
        /// Why.
        why: String,
    },
}

/// An upgrade that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The generation that served when it began, and serves again if the new one does not pass.
    pub from: u32,
    /// The new one: the deployment's present generation.
    pub to: u32,
    /// How.
    pub strategy: Strategy,
    /// It was chosen by charter, which may choose anew where no machine can be had.
    pub chosen: bool,
    /// The most that the change needs.
    pub effect: Effect,
    /// How far it has come.
    pub stage: Stage,
    /// Copies that the new generation has taken over, where that is done one by one.
    pub flipped: u32,
    /// Who asked.
    pub by: String,
    /// When.
    pub began_at: Time,
}

/// What an upgrade needs to know beside what is stored.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What came of examining a copy, once that is over: its capacity and its answers to known questions.
    pub exams: BTreeMap<ReplicaId, Result<String, String>>,
    /// What requests show of the old generation in its last hour.
    pub old: Numbers,
    /// What they show of the new one since it took over.
    pub new: Numbers,
}

/// What an upgrade came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The deployment from now on.
    pub next: Deployment,
    /// What happened, for people.
    pub facts: Vec<String>,
}

/// How an upgrade is done where nobody says how: several copies one by one, a single one beside its successor.
#[must_use]
pub const fn choose(replicas: u32) -> Strategy {
    if replicas > 1 { Strategy::Rolling } else { Strategy::SideBySide }
}

impl Deployment {
    /// Does this copy get new requests? At most one generation does for each copy, and where all go over at once, for all of
    /// them.
    #[must_use]
    pub fn serves(&self, replica: &Replica) -> bool {
        let Some(u) = &self.upgrade else { return replica.generation == self.generation };
        let is_old = replica.generation == u.from;
        let is_new = replica.generation == u.to;
        match (u.strategy, &u.stage) {
            (Strategy::SideBySide, Stage::Bake { .. }) | (Strategy::Recreate, _) => is_new,
            (Strategy::SideBySide, Stage::Raise | Stage::Back { .. }) => is_old,
            (Strategy::Rolling, _) => {
                if replica.slot < u.flipped {
                    is_new
                } else {
                    is_old
                }
            }
            (Strategy::InPlace, _) => is_old || is_new,
        }
    }

    /// Is a copy of this generation wanted in this place?
    #[must_use]
    pub fn wants(&self, generation: u32, slot: u32) -> bool {
        if slot >= self.replicas {
            return false;
        }
        let Some(u) = &self.upgrade else { return generation == self.generation };
        let (is_old, is_new) = (generation == u.from, generation == u.to);
        match (u.strategy, &u.stage) {
            (Strategy::SideBySide, _) => is_old || is_new,
            (Strategy::Recreate, _) => is_new,
            (Strategy::Rolling, Stage::Raise) => (is_old && slot >= u.flipped) || (is_new && slot <= u.flipped),
            (Strategy::Rolling, Stage::Bake { .. } | Stage::Back { .. }) => {
                (is_old && slot >= u.flipped.saturating_sub(1)) || (is_new && slot < u.flipped)
            }
            (Strategy::InPlace, _) => generation == self.in_place_of(slot),
        }
    }

    /// The generation that the copy in a place is to run, where each copy stays on its machine.
    #[must_use]
    pub fn in_place_of(&self, slot: u32) -> u32 {
        let Some(u) = &self.upgrade else { return self.generation };
        let new = match u.stage {
            Stage::Raise => slot <= u.flipped,
            Stage::Bake { .. } => slot < u.flipped,
            Stage::Back { .. } => slot < u.flipped.saturating_sub(1),
        };
        if new { u.to } else { u.from }
    }

    /// The generation that a copy returns to on its machine when this one fails there.
    #[must_use]
    pub fn falls_back_to(&self, replica: &Replica) -> Option<u32> {
        let u = self.upgrade.as_ref().filter(|u| u.strategy == Strategy::InPlace)?;
        (replica.generation == u.to).then_some(u.from)
    }

    /// Begins an upgrade to a generation that was written down as the present one.
    pub fn begin_upgrade(&mut self, from: u32, strategy: Option<Strategy>, effect: Effect, by: &str, now: Time) {
        let chosen = strategy.is_none();
        let strategy = strategy.unwrap_or_else(|| choose(self.replicas));
        let (to, by) = (self.generation, by.to_owned());
        self.upgrade = Some(Upgrade { from, to, strategy, chosen, effect, stage: Stage::Raise, flipped: 0, by, began_at: now });
    }
}

/// One step of the upgrade that is under way, if there is one and it has come further.
#[must_use]
pub fn step(deployment: &Deployment, replicas: &[Replica], seen: &Seen, now: Time) -> Option<Step> {
    let upgrade = deployment.upgrade.clone()?;
    let mut turn = Turn { next: deployment.clone(), u: upgrade, replicas, seen, now, lost: Fate::Failed, facts: vec![] };
    turn.go();
    (turn.next != *deployment).then_some(Step { next: turn.next, facts: turn.facts })
}

/// Ends an upgrade by somebody's word: what served before serves on, or again.
#[must_use]
pub fn abort(deployment: &Deployment, replicas: &[Replica], why: &str) -> Option<Step> {
    let u = deployment.upgrade.clone().filter(|u| u.strategy != Strategy::Recreate)?;
    let mut turn =
        Turn { next: deployment.clone(), u, replicas, seen: &Seen::default(), now: Time(0), lost: Fate::Undone, facts: vec![] };
    turn.fail(why);
    (turn.next != *deployment).then_some(Step { next: turn.next, facts: turn.facts })
}

struct Turn<'a> {
    next: Deployment,
    u: Upgrade,
    replicas: &'a [Replica],
    seen: &'a Seen,
    now: Time,
    /// What becomes of the new generation where it does not come to serve.
    lost: Fate,
    facts: Vec<String>,
}

/// What is found in the place of a copy.
enum Found<'a> {
    /// It answers.
    Ready(&'a Replica),
    /// It is on its way, or there is none yet.
    Coming,
    /// It will not come: why, and whether another strategy might help.
    Lost(String, bool),
}

impl Turn<'_> {
    fn go(&mut self) {
        match (self.u.strategy, self.u.stage.clone()) {
            (Strategy::Recreate, _) => self.recreate(),
            (_, Stage::Raise) => self.raise(),
            (_, Stage::Bake { since }) => self.bake(since),
            (_, Stage::Back { why }) => self.back(&why),
        }
    }

    /// The copy of the new generation in a place.
    fn new_in(&self, slot: u32) -> Found<'_> {
        let mine = || self.replicas.iter().filter(move |r| r.slot == slot);
        if let Some(fell) = mine().find_map(|r| r.fell_back.as_ref().filter(|f| f.generation == self.u.to)) {
            return Found::Lost(fell.why.clone(), false);
        }
        // In place the copy is the one that is there, whatever it runs yet; what was tried beside it before is over.
        let in_place = self.u.strategy == Strategy::InPlace;
        let old = mine().any(|r| r.generation == self.u.from && !r.phase.is_closed() && r.stop.is_none());
        if in_place && old {
            return Found::Coming;
        }
        let of = || mine().filter(|r| r.generation == self.u.to);
        if let Some(live) = of().find(|r| !r.phase.is_closed() && r.stop.is_none()) {
            return match &live.phase {
                Phase::Ready { .. } => Found::Ready(live),
                Phase::Unreachable { held: true, .. } => Found::Lost(why(live), false),
                Phase::Pending { .. }
                | Phase::Acquiring(_)
                | Phase::Booting { .. }
                | Phase::Loading { .. }
                | Phase::Unreachable { .. }
                | Phase::Draining { .. }
                | Phase::Releasing(_)
                | Phase::Closed => Found::Coming,
            };
        }
        let Some(closed) = of().find(|r| r.phase.is_closed() && r.stop.is_none()) else { return Found::Coming };
        let class = closed.cause.as_ref().map_or("", |c| c.class.as_str());
        Found::Lost(why(closed), matches!(class, "no_offer" | "over_budget" | "create_refused" | "provider_refused"))
    }

    /// Those that have to be there before requests go over.
    fn places(&self) -> Vec<u32> {
        match self.u.strategy {
            Strategy::SideBySide | Strategy::Recreate => (0..self.next.replicas).collect(),
            Strategy::Rolling | Strategy::InPlace => vec![self.u.flipped],
        }
    }

    fn raise(&mut self) {
        if self.one_by_one() && self.u.flipped >= self.next.replicas {
            // Fewer copies are wanted than when it began.
            return self.finish("fewer copies are wanted than when it began");
        }
        let mut passed = vec![];
        for slot in self.places() {
            match self.new_in(slot) {
                Found::Lost(why, no_machine) => return self.lost(&why, no_machine),
                Found::Coming => return,
                Found::Ready(replica) => match self.seen.exams.get(&replica.id) {
                    None => return,
                    Some(Err(wrong)) => return self.fail(&wrong.clone()),
                    Some(Ok(said)) => passed.push(said.clone()),
                },
            }
        }
        passed.dedup();
        let how = match self.u.strategy {
            Strategy::SideBySide | Strategy::Recreate => {
                format!("all requests go to generation {} from now on", self.u.to)
            }
            Strategy::Rolling | Strategy::InPlace => {
                self.u.flipped += 1;
                format!("copy {} serves as generation {} from now on", self.u.flipped - 1, self.u.to)
            }
        };
        self.facts.push(format!("{how} ({})", passed.join("; ")));
        self.put(Stage::Bake { since: self.now });
    }

    /// The new one will not come. Where that is for want of a machine or money, the one that is there may do.
    fn lost(&mut self, why: &str, no_machine: bool) {
        let restart = self.u.effect <= Effect::EngineRestart;
        let beside = matches!(self.u.strategy, Strategy::SideBySide | Strategy::Rolling);
        if no_machine && beside && self.u.chosen && restart && self.u.flipped == 0 {
            self.facts.push(format!(
                "no second machine ({why}): the engine is started anew on the one that is there, and requests wait"
            ));
            self.u.strategy = Strategy::InPlace;
            return self.put(Stage::Raise);
        }
        self.fail(why);
    }

    fn bake(&mut self, since: Time) {
        if since > self.now {
            // It was written down under another clock, and would never be over.
            return self.put(Stage::Bake { since: self.now });
        }
        let slots: Vec<u32> = match self.u.strategy {
            Strategy::SideBySide | Strategy::Recreate => self.places(),
            Strategy::Rolling | Strategy::InPlace => vec![self.u.flipped.saturating_sub(1)],
        };
        for slot in slots.into_iter().filter(|s| *s < self.next.replicas) {
            match self.new_in(slot) {
                Found::Ready(_) => {}
                Found::Lost(why, _) => return self.fail(&format!("it failed after it had taken over: {why}")),
                Found::Coming => return self.fail("it stopped answering after it had taken over"),
            }
        }
        let verdict = judge(&self.seen.old, &self.seen.new);
        let over = self.now.since(since) >= self.next.profile.limits.bake;
        match verdict {
            Verdict::Bad(why) => self.fail(&why),
            Verdict::Good(_) if !over => {}
            Verdict::Good(text) if self.one_by_one() && self.u.flipped < self.next.replicas => {
                self.facts.push(format!("copy {} passed: {text}", self.u.flipped - 1));
                self.put(Stage::Raise);
            }
            Verdict::Good(text) => self.finish(&text),
        }
    }

    /// One copy after the other comes back, the last one first.
    fn back(&mut self, why: &str) {
        let slot = self.u.flipped.saturating_sub(1);
        let live = |r: &&Replica| r.slot == slot && !r.phase.is_closed() && r.stop.is_none();
        let old = self.replicas.iter().filter(live).find(|r| r.generation == self.u.from);
        let failed = |r: &Replica| {
            r.slot == slot && r.generation == self.u.from && r.phase.is_closed() && r.stop.is_none() && old.is_none()
        };
        // In place the copy that is there comes back, whatever it runs yet: one that was closed before it says nothing.
        let returns = self.u.strategy == Strategy::InPlace && self.replicas.iter().any(|r| live(&r));
        let lost = !returns && self.replicas.iter().any(failed);
        if lost && !self.is_there(self.u.from) && self.is_there(self.u.to) {
            return self.finish(&format!("kept, since generation {} does not come back ({why})", self.u.from));
        }
        let there = lost || old.is_some_and(|r| matches!(r.phase, Phase::Ready { .. }));
        // A place that is not wanted any more has nothing to come back to.
        let there = there || slot >= self.next.replicas;
        if there && self.u.flipped == 0 {
            return self.give_up(why);
        }
        if there && self.u.flipped > 0 {
            self.facts.push(format!("copy {slot} serves as generation {} again", self.u.from));
            self.u.flipped -= 1;
            if self.u.flipped == 0 {
                return self.give_up(why);
            }
            self.put(Stage::Back { why: why.to_owned() });
        }
    }

    fn recreate(&mut self) {
        for slot in self.places() {
            match self.new_in(slot) {
                Found::Lost(why, _) => {
                    // What was there before was ended on purpose: there is nothing to go back to.
                    self.facts.push(format!("generation {} did not come up: {why}", self.u.to));
                    let back = format!("{why}; generation {} was ended first: `charter rollback` starts it again", self.u.from);
                    self.next.decide(self.u.to, Fate::Failed, Some(back));
                    self.next.decide(self.u.from, Fate::Replaced, None);
                    self.next.upgrade = None;
                    return;
                }
                Found::Coming => return,
                Found::Ready(_) => {}
            }
        }
        self.finish("the old one was ended first, as was asked for");
    }

    const fn one_by_one(&self) -> bool {
        matches!(self.u.strategy, Strategy::Rolling | Strategy::InPlace)
    }

    fn put(&mut self, stage: Stage) {
        self.u.stage = stage;
        self.next.upgrade = Some(self.u.clone());
    }

    /// Does a copy of this generation answer?
    fn is_there(&self, generation: u32) -> bool {
        let ready = |r: &Replica| r.generation == generation && r.stop.is_none() && matches!(r.phase, Phase::Ready { .. });
        self.replicas.iter().any(ready)
    }

    /// The new generation did not pass.
    fn fail(&mut self, why: &str) {
        let over = self.u.strategy == Strategy::SideBySide && matches!(self.u.stage, Stage::Bake { .. });
        if over && !self.is_there(self.u.from) && self.is_there(self.u.to) {
            return self.finish(&format!("kept, since nothing of generation {} answers any more ({why})", self.u.from));
        }
        self.facts.push(format!("generation {} does not pass: {why}", self.u.to));
        match self.u.strategy {
            // The old copies are all there: routes go back with this very commit.
            Strategy::SideBySide | Strategy::Recreate => self.give_up(why),
            Strategy::Rolling if self.u.flipped == 0 => self.give_up(why),
            Strategy::Rolling | Strategy::InPlace => self.put(Stage::Back { why: why.to_owned() }),
        }
    }

    /// What served before is the present generation again.
    fn give_up(&mut self, why: &str) {
        if let Some(before) = self.next.generation(self.u.from).map(|g| g.spec.clone()) {
            self.next.put(before);
        }
        self.next.generation = self.u.from;
        self.next.decide(self.u.to, self.lost, Some(why.to_owned()));
        self.next.decide(self.u.from, Fate::Serving, None);
        self.next.upgrade = None;
        self.facts.push(format!("generation {} serves as before", self.u.from));
    }

    fn finish(&mut self, text: &str) {
        self.next.decide(self.u.from, Fate::Replaced, None);
        self.next.decide(self.u.to, Fate::Serving, Some(text.to_owned()));
        self.next.upgrade = None;
        let took = Span(self.now.since(self.u.began_at).0);
        self.facts.push(format!("generation {} has taken over after {took}: {text}", self.u.to));
    }
}

fn why(replica: &Replica) -> String {
    let cause = replica.cause.as_ref();
    cause.map_or_else(|| "it ended without a cause".to_owned(), |c| format!("{}: {}", c.class, c.evidence))
}
