//! The life cycle of one replica: `step(state, event, now, policy) -> (state, intents, next look, facts)`.
//!
//! Every phase meets every event here. Late and duplicate events fall into one final arm that changes nothing.

use crate::cause::{Action, Cause};
use crate::clock_jump::bring_back;
use crate::ids::Tag;
use crate::instance::{Acquired, Acquisition, Address, Bid, Instance, Release};
use crate::intent::{Draft, Effect, Outcome, Process, Refusal};
use crate::look::{AwaySight, EngineSight, NoOffer, Sight, Verdict};
use crate::money::UsdPerHour;
use crate::offer::Offer;
use crate::placement::Placement;
use crate::policy::Policy;
use crate::replica::{Phase, Replica, Stop};
use crate::time::Time;

/// What happened.
#[expect(clippy::large_enum_variant, reason = "an event lives for one step and is never stored")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The replica has to end.
    Stop(Stop),
    /// It is to run another generation on the machine that it holds.
    Switch(u32),
    /// An effect ended.
    Done(Effect, Outcome),
    /// A look was answered.
    Saw(Sight),
}

/// What one step decided. The intents are stored in the same commit as the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The state from now on.
    pub next: Replica,
    /// Effects to store.
    pub intents: Vec<Draft>,
    /// When to look again; `None` while an effect is under way, and at the end.
    pub wake_at: Option<Time>,
    /// What happened, for people.
    pub facts: Vec<String>,
}

/// One step. `installation` goes into the tag of a machine that is asked for.
#[must_use]
pub fn step(replica: &Replica, event: Event, now: Time, policy: &Policy, installation: &str) -> Step {
    let mut turn = Turn { r: replica.clone(), now, policy, intents: vec![], facts: vec![] };
    if let Event::Stop(why) = &event
        && turn.r.stop.is_none()
        && !turn.r.phase.is_closed()
    {
        turn.r.stop = Some(*why);
    }
    bring_back(&mut turn.r, now, policy);
    turn.r.settle(now, policy.settled_after);
    let before = turn.r.phase.clone();
    turn.r.phase = turn.phase(before, event, installation);
    if turn.r.phase.name() != replica.phase.name() {
        turn.r.took.insert(replica.phase.name().to_owned(), now.since(replica.since));
        turn.r.since = now;
    }
    let wake_at = turn.wake_at();
    Step { next: turn.r, intents: turn.intents, wake_at, facts: turn.facts }
}

/// Orders in a row that a market may refuse, one offer after the other being gone, before it is left alone.
const REFUSALS_MAX: u32 = 8;

/// A restart may give a machine another port.
fn moved(instance: &mut Instance, to: Option<Address>) {
    instance.address = to.or_else(|| instance.address.take());
}

pub(crate) struct Turn<'a> {
    pub(crate) r: Replica,
    pub(crate) now: Time,
    pub(crate) policy: &'a Policy,
    pub(crate) intents: Vec<Draft>,
    pub(crate) facts: Vec<String>,
}

impl Turn<'_> {
    fn phase(&mut self, phase: Phase, event: Event, installation: &str) -> Phase {
        use Event::{Done, Saw, Stop as Stopped};
        match (phase, event) {
            (Phase::Pending { .. }, _) if self.r.stop.is_some() => Phase::Closed,
            (Phase::Pending { not_before }, Saw(Sight::Offers(found))) if not_before <= self.now => {
                self.found(found, installation)
            }
            (Phase::Acquiring(state), Done(Effect::Create { bid }, outcome)) if bid.tag == state.bid().tag => {
                let acquired = state.answered(outcome, self.r.since, self.now, self.policy);
                self.acquired(acquired)
            }
            (Phase::Acquiring(state), Saw(sight)) => {
                let acquired = state.saw(sight, self.now, self.policy);
                self.acquired(acquired)
            }
            (Phase::Booting { instance, .. } | Phase::Loading { instance, .. }, Stopped(_)) => self.release(instance),
            (Phase::Booting { instance, deadline }, Saw(sight)) => self.booting(instance, deadline, sight),
            (Phase::Loading { instance, deadline, process: None }, Done(Effect::Launch { instance: at, number }, outcome))
                if at.tag == instance.tag && number == self.r.launches =>
            {
                self.launched(instance, deadline, outcome)
            }
            // A machine may be taken away before anything was started there.
            (Phase::Loading { instance, process: None, .. }, Saw(Sight::MachineUnfit(cause))) => self.fail(instance, cause),
            (Phase::Loading { instance, process: Some(process), deadline }, Saw(Sight::Engine(sight))) => {
                self.loading(instance, process, deadline, sight)
            }
            (Phase::Ready { instance, process, .. }, Stopped(why)) => {
                let patience = if why == Stop::Replaced { self.policy.limits.drain } else { self.policy.drain };
                Phase::Draining { instance, deadline: self.now + patience, restart: None, process: Some(process) }
            }
            (phase, Event::Switch(to)) => self.switch(phase, to),
            (Phase::Ready { instance, process, failures }, Saw(Sight::Engine(sight))) => {
                self.ready(instance, process, failures, sight)
            }
            (Phase::Unreachable { instance, .. }, Stopped(_)) => self.release(instance),
            (Phase::Unreachable { instance, process: Some(process), since, held: false }, Saw(Sight::Engine(sight))) => {
                self.unreachable(instance, process, since, sight)
            }
            // Whoever waits for a restart is told the end at once: it only waits for less.
            (Phase::Draining { instance, restart: Some(_), process, .. }, Stopped(_)) => {
                Phase::Draining { instance, deadline: self.now + self.policy.drain, restart: None, process }
            }
            (Phase::Draining { instance, deadline, restart, process }, Saw(sight)) => {
                let idle = matches!(sight, Sight::InFlight(0));
                match restart.filter(|_| self.r.stop.is_none()) {
                    _ if !idle && deadline > self.now => Phase::Draining { instance, deadline, restart, process },
                    Some(to) => self.run_another(instance, to),
                    None => self.release(instance),
                }
            }
            (Phase::Releasing(release), Done(Effect::Destroy { instance }, outcome)) if instance.tag == release.instance.tag => {
                if let Outcome::Retry(why) = &outcome {
                    self.facts.push(format!("could not give `{}` back yet: {why}", release.instance.placement.offer.host));
                }
                let (next, draft) = release.answered(&outcome, self.now, self.policy);
                self.intents.extend(draft);
                Phase::Releasing(next)
            }
            (Phase::Releasing(release), Saw(sight)) => self.releasing(release, &sight),
            (phase, _) => phase, // Late and duplicate events change nothing.
        }
    }

    fn found(&mut self, found: Result<Box<Placement>, NoOffer>, installation: &str) -> Phase {
        match found {
            Ok(placement) => {
                self.r.searches = 0;
                self.r.attempt = self.r.attempt.saturating_add(1);
                let offer = &placement.offer;
                self.facts.push(format!(
                    "chose `{}` of `{}`: {}, {}",
                    offer.host,
                    offer.provider,
                    placement.label(),
                    offer.price
                ));
                let bid = Bid { tag: Tag::new(installation, &self.r.id, self.r.attempt), placement: *placement };
                self.intents.push(Draft { effect: Effect::Create { bid: bid.clone() }, not_before: self.now });
                Phase::Acquiring(Acquisition::Renting(bid))
            }
            Err(NoOffer { reasons, lasting, over_budget, refused }) => {
                self.r.searches = self.r.searches.saturating_add(1);
                // What has served before waits for stock, for room under a limit, and for a provider that is cured.
                let patient = self.r.settled && self.r.stop.is_none();
                if patient || (!lasting && self.r.searches <= self.policy.limits.search_retries) {
                    if self.r.searches == 1 && !reasons.is_empty() {
                        self.facts.push(format!("no machine yet: {}", reasons.join("; ")));
                    }
                    return Phase::Pending { not_before: self.pause(self.r.searches) };
                }
                let evidence = if reasons.is_empty() { "no machine is configured".to_owned() } else { reasons.join("; ") };
                // A failure that came before is the root; that no other machine was left is only its consequence.
                if self.r.cause.is_none() {
                    let (class, hint) = if over_budget {
                        ("over_budget", "raise the limit in `server.budgets`, or end something that costs money")
                    } else if refused {
                        ("provider_refused", "cure what the provider says, and try again")
                    } else {
                        ("no_offer", "change what the profile asks for, or add a machine that has it")
                    };
                    self.r.cause = Some(Cause::new(class, Action::AskUser, evidence.clone(), hint));
                }
                self.facts.push(format!("found no machine: {evidence}"));
                Phase::Closed
            }
        }
    }

    fn acquired(&mut self, acquired: Acquired) -> Phase {
        match acquired {
            Acquired::Not(state) => {
                if let (Acquisition::Resolving { .. }, Phase::Acquiring(Acquisition::Renting(_))) = (&state, &self.r.phase) {
                    self.facts.push("the answer to the create call was lost; looking for the machine by its tag".to_owned());
                }
                Phase::Acquiring(state)
            }
            Acquired::Owned(instance) if self.r.stop.is_some() => self.release(*instance),
            Acquired::Owned(instance) => {
                self.r.launches = 0;
                self.r.failed_launches = 0;
                self.facts.push(format!("holds `{}` on `{}`", instance.id, instance.placement.offer.host));
                Phase::Booting { instance: *instance, deadline: self.now + self.policy.limits.boot }
            }
            Acquired::Refused(bid, refusal) => self.refused(&bid, &refusal),
            Acquired::Nothing(bid) => {
                self.facts.push(format!("nothing came of `{}`", bid.tag));
                let evidence = "the answer was lost, and nothing appeared under the tag".to_owned();
                self.r.cause = Some(Cause::new("create_lost", Action::Wait, evidence, "try again with `charter up`"));
                self.search_again_or_close()
            }
        }
    }

    fn refused(&mut self, bid: &Bid, refusal: &Refusal) -> Phase {
        let host = bid.placement.offer.host.clone();
        self.facts.push(format!("`{host}` refused: {}", refusal.message));
        let hint = "see the provider's own words above";
        self.r.cause = Some(Cause::new("create_refused", refusal.action, refusal.message.clone(), hint));
        self.exclude(&bid.placement.offer, refusal.action);
        match refusal.action {
            // The next search is made at once: nothing has failed, and the market is large.
            Action::Wait => {
                self.r.refused = self.r.refused.saturating_add(1);
                if bid.placement.order.is_some() {
                    self.r.excluded_hosts.push(bid.placement.offer.host.clone());
                }
                let next = self.search_again_or_close();
                let soon = Phase::Pending { not_before: self.now + self.policy.backoff };
                if next.is_closed() { next } else { soon }
            }
            Action::ChangeProfile | Action::AskUser => Phase::Closed,
            Action::None | Action::RetryHere | Action::OtherHost | Action::OtherProvider => self.search_again_or_close(),
        }
    }

    fn exclude(&mut self, offer: &Offer, action: Action) {
        let class = self.r.cause.as_ref().map_or("", |c| c.class.as_str());
        // Where nobody gets in, it is often the provider's way in that is broken: others come first from now on.
        let no_way_in = class.starts_with("ssh_");
        match action {
            Action::OtherHost => {
                self.r.excluded_hosts.push(offer.host.clone());
                if offer.market.is_some() && class != "create_refused" {
                    self.r.failed_cards.extend(offer.gpus.first().map(|g| g.name.clone()));
                    if no_way_in {
                        self.r.excluded_providers.push(offer.provider.clone());
                    }
                }
            }
            Action::OtherProvider => self.r.excluded_providers.push(offer.provider.clone()),
            Action::None | Action::Wait | Action::RetryHere | Action::ChangeProfile | Action::AskUser => {}
        }
    }

    fn search_again_or_close(&mut self) -> Phase {
        if self.r.stop.is_some() || self.r.tried() >= self.policy.limits.attempts || self.r.refused >= REFUSALS_MAX {
            return Phase::Closed;
        }
        // Refused orders cost nothing and say nothing of the profile: they make no pause longer.
        Phase::Pending { not_before: self.pause(self.r.tried()) }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "every other sight is late and changes nothing")]
    fn booting(&mut self, mut instance: Instance, deadline: Time, sight: Sight) -> Phase {
        match sight {
            Sight::MachineUp(seen) => {
                instance.host_key = instance.host_key.or(seen.host_key);
                instance.address = seen.address.or(instance.address);
                self.priced(instance, seen.price)
            }
            Sight::MachineUnfit(cause) => self.fail(instance, cause),
            Sight::MachineAway(seen) => match self.too_long(&seen, deadline, instance.mapped_port()) {
                Some((class, hint)) => self.fail(instance, Cause::new(class, Action::OtherHost, seen.why, hint)),
                None => Phase::Booting { instance, deadline },
            },
            _ => Phase::Booting { instance, deadline },
        }
    }

    /// Which patience with a machine that does not answer is over.
    fn too_long(&self, seen: &AwaySight, deadline: Time, mapped: Option<u16>) -> Option<(&'static str, &'static str)> {
        let limits = &self.policy.limits;
        if seen.called_running >= limits.ssh && mapped.is_some() {
            return Some((
                "no_port",
                "the provider called it running, and no port of its host led to the engine; `limits.ssh` sets the patience",
            ));
        }
        if seen.called_running >= limits.ssh {
            return Some((
                "ssh_timeout",
                "the provider called it running, and nobody could log in; `limits.ssh` sets the patience",
            ));
        }
        if seen.quiet >= limits.stall {
            return Some(("boot_stalled", "nothing moved while it was set up; `limits.stall` sets the patience"));
        }
        (deadline <= self.now).then_some(("boot_timeout", "the machine never answered in the time that `limits.boot` gives it"))
    }

    /// A machine that answers, with the price that counts now: a host may ask more than its offer said.
    fn priced(&mut self, mut instance: Instance, price: Option<UsdPerHour>) -> Phase {
        let offered = instance.placement.offer.price;
        let Some(price) = price.filter(|p| *p != offered) else {
            return self.launch(instance, self.now);
        };
        instance.placement.offer.price = price;
        let cap = instance.placement.order.as_ref().and_then(|o| o.max_price);
        if cap.is_some_and(|cap| price > cap) {
            let evidence = format!("it costs {price}, and was offered for {offered}");
            let hint = "its host raised the price above the cap";
            return self.fail(instance, Cause::new("price_raised", Action::OtherHost, evidence, hint));
        }
        self.launch(instance, self.now)
    }

    pub(crate) fn launch(&mut self, instance: Instance, not_before: Time) -> Phase {
        self.r.launches = self.r.launches.saturating_add(1);
        let effect = Effect::Launch { instance: instance.clone(), number: self.r.launches };
        self.intents.push(Draft { effect, not_before });
        Phase::Loading { instance, process: None, deadline: not_before + self.policy.limits.load }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "whatever else came of it, the same start is asked for again")]
    fn launched(&mut self, instance: Instance, deadline: Time, outcome: Outcome) -> Phase {
        match outcome {
            Outcome::Launched(process) => {
                self.facts.push(match instance.mapped_port() {
                    Some(_) => "its image's own entrypoint starts the engine".to_owned(),
                    None => format!("engine started as process {}", process.pid),
                });
                Phase::Loading { instance, process: Some(process), deadline }
            }
            Outcome::LaunchFailed(cause) => self.fail(instance, cause),
            Outcome::Retry(why) if deadline <= self.now => {
                let hint = "the machine could not be asked to start the engine";
                self.fail(instance, Cause::new("launch_timeout", Action::OtherHost, why, hint))
            }
            // The same number again: the machine itself knows whether that start has happened.
            _ => {
                let effect = Effect::Launch { instance: instance.clone(), number: self.r.launches };
                self.intents.push(Draft { effect, not_before: self.now + self.policy.backoff });
                Phase::Loading { instance, process: None, deadline }
            }
        }
    }

    fn loading(&mut self, mut instance: Instance, process: Process, deadline: Time, sight: EngineSight) -> Phase {
        moved(&mut instance, sight.moved);
        let took = self.now.since(self.r.since);
        match sight.verdict {
            Verdict::Ready => {
                self.facts.push(format!("answers requests after {took} of loading"));
                self.r.cause = None;
                Phase::Ready { instance, process, failures: 0 }
            }
            Verdict::Failed(cause) => self.fail(instance, cause),
            Verdict::Starting | Verdict::Unhealthy(_) | Verdict::Away(_) if sight.quiet >= self.policy.limits.stall => {
                let evidence = format!("nothing moved for {}", sight.quiet);
                let hint = "read the log with `charter logs`; `limits.stall` sets the patience";
                self.fail(instance, Cause::new("stalled", Action::OtherHost, evidence, hint))
            }
            Verdict::Starting | Verdict::Unhealthy(_) | Verdict::Away(_) if deadline <= self.now => {
                let evidence = format!("no answer within {}", self.policy.limits.load);
                let hint = "raise `limits.load` if the model is large and the line slow";
                self.fail(instance, Cause::new("startup_timeout", Action::OtherHost, evidence, hint))
            }
            Verdict::Starting | Verdict::Unhealthy(_) | Verdict::Away(_) => {
                Phase::Loading { instance, process: Some(process), deadline }
            }
        }
    }

    fn ready(&mut self, mut instance: Instance, process: Process, failures: u32, sight: EngineSight) -> Phase {
        moved(&mut instance, sight.moved);
        if let Some(price) = sight.price.filter(|p| *p > instance.placement.offer.price) {
            let before = instance.placement.offer.price;
            // From its beginning on it counts as if it had cost the most that it ever did: never too little.
            instance.placement.offer.price = price;
            self.facts.push(format!("it costs {price} now, and was {before}"));
        }
        let failed = failures.saturating_add(1);
        let over = failed >= self.policy.ready_failures;
        match sight.verdict {
            Verdict::Ready => Phase::Ready { instance, process, failures: 0 },
            Verdict::Failed(cause) => self.fail(instance, cause),
            Verdict::Starting | Verdict::Unhealthy(_) if over => {
                let evidence = format!("{failed} looks in a row got no real answer");
                let hint = "read the log with `charter logs`";
                self.fail(instance, Cause::new("unhealthy", Action::RetryHere, evidence, hint))
            }
            Verdict::Away(why) if over => {
                self.facts.push(format!("the machine cannot be reached: {why}"));
                Phase::Unreachable { instance, process: Some(process), since: self.now, held: false }
            }
            Verdict::Starting | Verdict::Unhealthy(_) | Verdict::Away(_) => Phase::Ready { instance, process, failures: failed },
        }
    }

    fn unreachable(&mut self, mut instance: Instance, process: Process, since: Time, sight: EngineSight) -> Phase {
        moved(&mut instance, sight.moved);
        match sight.verdict {
            Verdict::Ready => {
                self.facts.push("the machine is back".to_owned());
                Phase::Ready { instance, process, failures: 0 }
            }
            Verdict::Failed(cause) => self.fail(instance, cause),
            Verdict::Away(why) if self.now.since(since) >= self.policy.limits.ssh => {
                let hint = "the machine was out of reach for longer than `limits.ssh`";
                self.fail(instance, Cause::new("machine_unreachable", Action::OtherHost, why, hint))
            }
            Verdict::Starting | Verdict::Unhealthy(_) => Phase::Ready { instance, process, failures: 1 },
            Verdict::Away(_) => Phase::Unreachable { instance, process: Some(process), since, held: false },
        }
    }

    /// What follows from a failure on a machine that is ours: the class's action decides.
    fn fail(&mut self, instance: Instance, cause: Cause) -> Phase {
        self.facts.push(format!("failed ({}): {}", cause.class, cause.evidence));
        if let Some(from) = self.falls_back() {
            return self.fall_back(instance, from, &cause);
        }
        let action = cause.action;
        self.r.cause = Some(cause);
        match action {
            Action::None | Action::Wait | Action::RetryHere => {
                self.r.failed_launches = self.r.failed_launches.saturating_add(1);
                if self.r.failed_launches < self.policy.limits.failed_restarts {
                    let not_before = self.pause(self.r.failed_launches);
                    return self.launch(instance, not_before);
                }
                // On a rented machine it may be the machine's fault after all; another one costs no more than this one.
                if instance.placement.order.is_some() && self.r.tried() < self.policy.limits.attempts {
                    self.exclude(&instance.placement.offer, Action::OtherHost);
                    return self.release(instance);
                }
                self.give_up(instance)
            }
            Action::OtherHost | Action::OtherProvider if self.r.tried() < self.policy.limits.attempts => {
                self.exclude(&instance.placement.offer, action);
                self.release(instance)
            }
            Action::OtherHost | Action::OtherProvider | Action::ChangeProfile | Action::AskUser => self.give_up(instance),
        }
    }

    fn give_up(&mut self, instance: Instance) -> Phase {
        if self.policy.keep_on_error && self.r.stop.is_none() {
            self.facts.push("kept for inspection because of `on-error: keep`; `charter down` ends it".to_owned());
            return Phase::Unreachable { instance, process: None, since: self.now, held: true };
        }
        self.r.attempt = self.r.attempt.max(self.policy.limits.attempts.saturating_add(self.r.refused));
        self.release(instance)
    }

    fn release(&mut self, instance: Instance) -> Phase {
        let (release, draft) = Release::begin(instance, self.now);
        self.intents.push(draft);
        Phase::Releasing(release)
    }

    fn releasing(&mut self, release: Release, sight: &Sight) -> Phase {
        let host = release.instance.placement.offer.host.clone();
        let (next, draft) = release.saw(sight, self.now, self.policy);
        if draft.is_some() {
            self.facts.push(format!("`{host}` still has it; giving it back again"));
        }
        self.intents.extend(draft);
        match next {
            Some(release) => Phase::Releasing(release),
            None => {
                self.facts.push(format!("gave `{host}` back, and saw that it is gone"));
                self.search_again_or_close()
            }
        }
    }

    fn pause(&self, tries: u32) -> Time {
        self.now + self.policy.backoff.backoff(tries, self.policy.backoff_max)
    }
}
