//! What lies outside of a simulated world: how effects take effect, how answers are lost, and what looks see.

use crate::fixtures::placement;
use crate::mutation::Variant;
use crate::world::{Alive, Sim, now};
use charter_domain::cause::{Action, Cause};
use charter_domain::ids::ReplicaId;
use charter_domain::intent::{Effect, Outcome, Refusal};
use charter_domain::look::{AwaySight, EngineSight, Look, MachineSight, NoOffer, Sight, Verdict};
use charter_domain::step::Event;
use charter_domain::time::{Span, Time};
use charter_store::Store;

impl Sim {
    pub(crate) fn lost(&mut self, effect: &Effect) -> Outcome {
        self.reached("an answer was lost");
        match effect {
            Effect::Create { .. } if self.setup.variant == Variant::CreateAgain => {
                Outcome::Refused(Refusal { message: "timed out".into(), action: Action::Wait })
            }
            Effect::Create { .. } => Outcome::Unknown,
            Effect::Launch { .. } | Effect::Destroy { .. } => Outcome::Retry("timed out".into()),
        }
    }

    pub(crate) fn take_effect(&mut self, replica: &ReplicaId, effect: &Effect, done: bool) -> Outcome {
        match effect {
            Effect::Create { .. } if !done => {
                self.reached("a create was refused");
                Outcome::Refused(Refusal { message: "no capacity".into(), action: Action::Wait })
            }
            Effect::Create { bid } if self.setup.variant == Variant::CallFirst => match self.cloud.list(bid, self.now, false) {
                Some(found) => Outcome::Created(Box::new(found)),
                None => Outcome::Unknown,
            },
            Effect::Create { bid } => Outcome::Created(Box::new(self.cloud.create(bid, self.now, &mut self.rng, self.faults))),
            Effect::Launch { instance, number } if done => {
                let Some(runs) = self.to_launch(replica) else {
                    self.reached("a start of a generation that is not wanted any more was refused");
                    return Outcome::Retry("a newer generation takes its place".into());
                };
                match self.cloud.launch(&instance.id, *number, &runs, self.now, &mut self.rng) {
                    Some(process) => Outcome::Launched(process),
                    None => Outcome::Retry("away".into()),
                }
            }
            Effect::Destroy { instance }
                if self.setup.variant == Variant::GoneIsAnError && self.cloud.get(&instance.id, self.now).is_none() =>
            {
                Outcome::Retry("404: no such instance".into())
            }
            Effect::Destroy { instance } if done => {
                let late = if self.faults { self.rng.between(0, 60) } else { 0 };
                if late > 30 {
                    self.reached("a destroy took effect late");
                }
                self.cloud.destroy(&instance.id, self.now, Span::s(late));
                Outcome::Destroyed
            }
            Effect::Destroy { .. } if self.faults && self.rng.chance(30) => {
                self.reached("a destroy was accepted and ignored");
                Outcome::Destroyed
            }
            Effect::Destroy { .. } => {
                self.reached("a destroy was answered with an error");
                Outcome::Retry("error 500".into())
            }
            Effect::Launch { .. } => Outcome::Retry("error 500".into()),
        }
    }

    /// What the engine of a copy is started with: what its generation says, as long as that is wanted in its place.
    fn to_launch(&self, id: &ReplicaId) -> Option<String> {
        let replica = now(self.store.replica(id)).ok()??.state;
        let deployment = now(self.store.deployment(replica.deployment.as_str())).ok()??.state;
        let newest = self.setup.variant == Variant::LaunchesTheNewest;
        let generation = if newest { deployment.generation } else { replica.generation };
        // What is on its way out is ended by its next step.
        let wanted = deployment.wants(replica.generation, replica.slot) || newest;
        wanted.then(|| crate::upgrades::runs(&deployment, generation))
    }

    pub(crate) fn look(&mut self, id: &ReplicaId) -> Alive<()> {
        let Ok(Some(row)) = now(self.store.replica(id)) else {
            return Ok(());
        };
        let Some(look) = row.state.look() else {
            self.looks.remove(id);
            return Ok(());
        };
        let sight =
            if self.is_out() || (self.faults && self.rng.chance(10)) { Sight::Unclear("500".into()) } else { self.see(look) };
        self.apply(id, &Event::Saw(sight), None)
    }

    pub(crate) fn see(&mut self, look: Look) -> Sight {
        let at = self.now;
        match look {
            // Nothing is rented while a list is not believed.
            Look::Offers if self.orphans.frozen => Sight::Unclear("its list is not believed".into()),
            Look::Offers if self.scarce.0 <= at && at < self.scarce.1 => {
                self.reached("nothing could be had, or paid, for a long time");
                let over_budget = self.rng.chance(50);
                Sight::Offers(Err(NoOffer { lasting: true, over_budget, ..NoOffer::default() }))
            }
            Look::Offers if self.faults && self.rng.chance(20) => Sight::Offers(Err(NoOffer::default())),
            Look::Offers => Sight::Offers(Ok(Box::new(placement()))),
            Look::Tag(_) if self.faults && self.rng.chance(10) => {
                self.reached("a list was cut short");
                if self.setup.variant == Variant::TrustShortList {
                    Sight::Tagged(None)
                } else {
                    Sight::Unclear("not whole".into())
                }
            }
            Look::Tag(bid) => {
                let label_only = self.setup.variant == Variant::LabelOnly;
                let found = self.cloud.list(&bid, at, label_only);
                if found.is_some() && self.cloud.list(&bid, at, true).is_none() {
                    self.reached("a machine without its label was found");
                }
                Sight::Tagged(found.map(Box::new))
            }
            Look::Machine(instance) => match self.cloud.get(&instance.id, at) {
                Some(machine) if machine.up_at <= at => {
                    Sight::MachineUp(MachineSight { host_key: Some("key".into()), ..MachineSight::default() })
                }
                Some(machine) if machine.up_at == Time(i64::MAX) => {
                    self.reached("a machine never came up");
                    Sight::MachineAway(AwaySight { why: "refused".into(), ..AwaySight::default() })
                }
                _ => Sight::MachineAway(AwaySight { why: "refused".into(), ..AwaySight::default() }),
            },
            Look::Engine(instance, _) => {
                Sight::Engine(EngineSight { verdict: self.verdict(&instance.id), quiet: Span::s(0), moved: None, price: None })
            }
            Look::InFlight => Sight::InFlight(self.rng.below(2)),
            Look::Absence(instance) => {
                // A provider may be wrong for a while, but not for as long as two looks lie apart, and not again at once.
                if self.faults && self.hidden_until + Span::s(60) <= at && self.rng.chance(20) {
                    self.hidden_until = at + Span::s(29);
                }
                if at < self.hidden_until {
                    self.reached("a list hid what is there");
                    return Sight::Absent;
                }
                match self.cloud.get(&instance.id, at) {
                    Some(machine) if machine.stops_at.is_some_and(|stop| stop <= at) => {
                        self.reached("a stopped machine was looked for");
                        if self.setup.variant == Variant::StoppedIsGone { Sight::Absent } else { Sight::Present }
                    }
                    Some(_) => Sight::Present,
                    None => Sight::Absent,
                }
            }
        }
    }

    fn verdict(&mut self, id: &str) -> Verdict {
        match self.cloud.get(id, self.now) {
            None => Verdict::Away("no route".into()),
            Some(machine) if machine.engine_fails && machine.ready_at <= self.now => {
                self.reached("an engine failed");
                let action = [Action::RetryHere, Action::OtherHost, Action::ChangeProfile][self.rng.index(3)];
                Verdict::Failed(Cause::new("cuda_oom", action, "out of memory", "less"))
            }
            Some(machine) if machine.stops_at.is_some_and(|at| at <= self.now) => {
                Verdict::Failed(Cause::new("stopped_by_provider", Action::OtherHost, "it was stopped", "another one is taken"))
            }
            Some(machine) if machine.ready_at <= self.now => Verdict::Ready,
            Some(_) => Verdict::Starting,
        }
    }
}
