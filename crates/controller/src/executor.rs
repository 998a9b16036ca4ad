//! The executor: applies events to stored states, and performs what was stored.

use crate::controller::Controller;
use crate::tasks::Kind;
use charter_domain::cause::Action;
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::host_memory::HostFailure;
use charter_domain::ids::{IntentId, ReplicaId};
use charter_domain::intent::{Draft, Effect, Intent, Outcome, Refusal};
use charter_domain::replica::{Phase, Replica, Stop};
use charter_domain::reservation::{Asked, Spend};
use charter_domain::step::{Event, step};
use charter_domain::time::{Span, Time};
use charter_engines::fit::fetched_bytes;
use charter_providers::{CreateError, Provider};
use charter_store::{Begun, Claimed, Close, Commit, Error, Lease, NewIntent, ReplicaWrite, Tombstone, Write};
use std::sync::Arc;

/// How long a claim holds, where nothing else is set.
pub const LEASE: Span = Span::s(150);
/// Intents that are claimed at once.
const CLAIM_MAX: u32 = 16;
/// A conflict is met by reading again; so often at most.
const CONFLICTS_MAX: u32 = 50;

/// What an instance did cost that this step has seen the end of.
fn ended(before: &Replica, after: &Replica, tenant: &str, now: Time) -> Option<Spend> {
    let instance = before.let_go(after).filter(|i| i.placement.offer.price.0 > 0)?;
    Some(Spend::of(&before.deployment, tenant, &before.id, instance, now))
}

/// What a machine that has become ours with this step fetches, and what that costs where the network is paid by its bytes.
fn fetched(before: &Replica, after: &Replica, deployment: &Deployment, now: Time) -> Option<Spend> {
    let instance = after.let_go(before)?;
    let amount = instance.placement.offer.traffic(fetched_bytes(&deployment.profile));
    let spend = Spend::of(&after.deployment, &deployment.tenant, &after.id, instance, now);
    (amount.0 > 0).then_some(Spend { amount, from: now, until: now, ..spend })
}

/// The rented instance that this step has seen the end of.
fn buried(before: &Replica, after: &Replica, now: Time) -> Option<Tombstone> {
    let instance = before.let_go(after).filter(|i| i.placement.order.is_some())?;
    Some(Tombstone {
        provider: instance.placement.offer.provider.clone(),
        instance: instance.id.clone(),
        tag: instance.tag.to_string(),
        gone_at: now,
    })
}

/// The rented host that this step has left out because it failed: others are to know.
fn blamed(before: &Replica, after: &Replica, now: Time) -> Option<HostFailure> {
    let cause = after.cause.as_ref().filter(|c| c.action == Action::OtherHost && c.class != "create_refused")?;
    let host = after.excluded_hosts.get(before.excluded_hosts.len())?;
    let placement = &before.instance().filter(|i| i.placement.order.is_some())?.placement;
    (placement.offer.host == *host).then(|| HostFailure {
        provider: placement.offer.provider.clone(),
        host: host.clone(),
        class: cause.class.clone(),
        at: now,
    })
}

/// A command that was right for what the deployment was, and is not any more.
fn is_outdated(deployment: &Deployment, replica: &Replica, event: &Event) -> bool {
    match event {
        Event::Switch(to) => deployment.wish == Wish::Stop || deployment.in_place_of(replica.slot) != *to,
        Event::Stop(Stop::Requested) => deployment.wish == Wish::Run,
        Event::Stop(Stop::Replaced | Stop::ScaledDown) => {
            deployment.wish == Wish::Run && deployment.wants(replica.generation, replica.slot)
        }
        Event::Done(..) | Event::Saw(_) => false,
    }
}

impl Controller {
    pub(crate) fn spawn_executor(&self) {
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "executor", Span::s(2), move || {
            let this = this.clone();
            async move { this.claim_due().await }
        });
    }

    /// Takes over what is due and nobody works on: delayed intents, and those of a process that died.
    pub(crate) async fn claim_due(&self) -> Result<String, String> {
        let now = self.now();
        let claimed = self
            .store()
            .claim(&self.0.process, now, now + self.0.parts.settings.lease, CLAIM_MAX)
            .await
            .map_err(|e| e.to_string())?;
        let count = claimed.len();
        for one in claimed {
            self.spawn_perform(one);
        }
        Ok(format!("{count} intents claimed"))
    }

    fn spawn_perform(&self, claimed: Claimed) {
        let (this, begun_at) = (self.clone(), self.now());
        if let Some(hands) = &self.0.hands {
            return hands.take(claimed, begun_at);
        }
        self.0.tasks.spawn(Kind::Work, async move { this.perform_and_record(claimed, begun_at).await });
    }

    pub(crate) async fn perform_and_record(&self, claimed: Claimed, begun_at: Time) {
        let replica = claimed.intent.replica.clone();
        let Some(outcome) = self.perform(&claimed, begun_at).await else { return };
        let event = Event::Done(claimed.intent.effect.clone(), outcome);
        if let Err(error) = self.apply(&replica, event, Some(&claimed)).await {
            tracing::warn!(%error, %replica, "an outcome was not recorded; its intent comes up again");
        }
    }

    /// Applies an event: step, commit, and begin what follows. Returns when the replica wants to look again.
    ///
    /// # Errors
    /// What the store says, except conflicts, which are met by stepping again.
    pub(crate) async fn apply(&self, id: &ReplicaId, event: Event, close: Option<&Claimed>) -> Result<Option<Time>, Error> {
        let mut event = event;
        for _ in 0..CONFLICTS_MAX {
            let Some(row) = self.store().replica(id).await? else {
                return Ok(None);
            };
            let Some(deployment) = self.store().deployment(row.state.deployment.as_str()).await? else {
                return Ok(None);
            };
            if is_outdated(&deployment.state, &row.state, &event) {
                return Ok(None);
            }
            // Whoever decides by what the deployment is now must not be overtaken by what it is next.
            let decided = matches!(event, Event::Stop(_) | Event::Switch(_));
            let guard = decided.then(|| Write { expected: deployment.version, state: deployment.state.clone() });
            let policy = self.policy(&deployment.state, &row.state);
            let done = step(&row.state, event.clone(), self.now(), &policy, &self.0.parts.installation);
            if done.next == row.state && done.intents.is_empty() && close.is_none() {
                return Ok(done.wake_at);
            }
            let open: Vec<NewIntent> = done.intents.into_iter().map(|d| self.new_intent(id, d)).collect();
            let facts = done.facts.into_iter().map(|text| self.fact(&row.state.deployment, Some(id), text)).collect();
            let mut spend: Vec<Spend> = ended(&row.state, &done.next, &deployment.state.tenant, self.now()).into_iter().collect();
            let unreserve = done.next.phase.is_closed() || !spend.is_empty();
            spend.extend(fetched(&row.state, &done.next, &deployment.state.as_of(row.state.generation), self.now()));
            let of = deployment.state.as_of(row.state.generation);
            let commit = Commit {
                deployments: guard.into_iter().collect(),
                replicas: vec![ReplicaWrite {
                    write: Write { expected: row.version, state: done.next.clone() },
                    wake_at: done.wake_at,
                }],
                close: close.map(|c| Close { intent: c.intent.id.clone(), fence: c.fence }),
                reserve: self.reservation(&of, &done.next, &open).into_iter().collect(),
                spend,
                unreserve: if unreserve { vec![id.clone()] } else { vec![] },
                open: open.clone(),
                host_failures: blamed(&row.state, &done.next, self.now()).into_iter().collect(),
                tombstones: buried(&row.state, &done.next, self.now()).into_iter().collect(),
                facts,
                ..Commit::default()
            };
            match self.store().commit(commit).await {
                Ok(()) => {
                    self.0.peers.wrote(id, row.version + 1);
                    self.after(&row.state, &done.next, open);
                    return Ok(done.wake_at);
                }
                Err(Error::Conflict) if self.lost(close).await? => return Ok(None),
                Err(Error::Conflict) => {}
                Err(Error::OverBudget(over)) => {
                    let text = format!(
                        "{} is committed and {} more are asked for, but the hard limit of the budget `{}` is {}",
                        over.committed,
                        over.asked,
                        over.budget.scope.as_str(),
                        over.budget.hard
                    );
                    let none =
                        charter_domain::look::NoOffer { reasons: vec![text], lasting: true, over_budget: true, refused: false };
                    event = Event::Saw(charter_domain::look::Sight::Offers(Err(none)));
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    /// Has somebody else taken over the intent whose outcome we hold?
    async fn lost(&self, close: Option<&Claimed>) -> Result<bool, Error> {
        let Some(claimed) = close else { return Ok(false) };
        let stored = self.store().intents().await?;
        Ok(!stored.iter().any(|i| i.intent.id == claimed.intent.id && i.fence == claimed.fence))
    }

    /// What is due at once is ours from birth, which saves the claim's own commit.
    fn new_intent(&self, replica: &ReplicaId, draft: Draft) -> NewIntent {
        let now = self.now();
        let id = IntentId::new(&self.fresh());
        let claimed = (draft.not_before <= now).then(|| Lease {
            owner: self.0.process.clone(),
            since: now,
            until: now + self.0.parts.settings.lease,
        });
        NewIntent { intent: Intent { id, replica: replica.clone(), effect: draft.effect, due_at: draft.not_before }, claimed }
    }

    fn reservation(&self, deployment: &Deployment, next: &Replica, open: &[NewIntent]) -> Option<Asked> {
        let bid = open.iter().find_map(|new| match &new.intent.effect {
            Effect::Create { bid } => Some(bid),
            Effect::Launch { .. } | Effect::Destroy { .. } => None,
        });
        let bid = bid?;
        // The most that the order may cost, not what the offer says.
        let order = bid.placement.order.as_ref().and_then(|o| o.max_price);
        let price = order.map_or(bid.placement.offer.price, |max| max.max(bid.placement.offer.price));
        let traffic = bid.placement.offer.traffic(fetched_bytes(&deployment.profile));
        (price.0 > 0).then(|| self.asked(deployment, next, price, traffic))
    }

    /// What follows a commit in this process: perform, look, plan, route.
    fn after(&self, old: &Replica, new: &Replica, open: Vec<NewIntent>) {
        for intent in open {
            if intent.claimed.is_some() {
                self.spawn_perform(Claimed { intent: intent.intent, fence: 1, begun_before: false });
            } else {
                self.wake_executor_at(intent.intent.due_at);
            }
        }
        if old.phase.name() != new.phase.name() {
            // What was waited for before is over.
            let giving_back = matches!(new.phase, Phase::Releasing(_));
            self.0.live.wait_for(&new.id, if giving_back { "its provider is asked to end it" } else { "" });
            self.0.tasks.wake("routes");
            self.0.tasks.wake("upgrades");
            if new.phase.is_closed() || new.stop.is_some() {
                self.0.tasks.wake("planner");
            }
        }
        if new.phase.is_closed() {
            self.0.live.forget(&new.id);
        }
        self.drive(&new.id);
        self.changed();
    }

    fn wake_executor_at(&self, at: Time) {
        if self.0.hands.is_some() {
            return;
        }
        let (this, pause) = (self.clone(), at.since(self.now()));
        self.0.tasks.spawn(Kind::Timer(self.0.ended.clone()), async move {
            tokio::time::sleep(Span::ms(pause.0 + 1).std()).await;
            this.0.tasks.wake("executor");
        });
    }

    async fn perform(&self, claimed: &Claimed, claimed_at: Time) -> Option<Outcome> {
        let effect = &claimed.intent.effect;
        if effect.once() {
            if claimed.begun_before {
                return Some(Outcome::Unknown);
            }
            match self.store().begin(&claimed.intent.id, claimed.fence, self.now()).await {
                Ok(Begun::Yes) => {}
                Ok(Begun::No) => return None,
                Err(error) => {
                    tracing::warn!(%error, "an effect was not begun");
                    return None;
                }
            }
        }
        // A process that slept meanwhile has lost its lease, and somebody else has begun.
        let patience = self.patience();
        if self.now().since(claimed_at) >= patience {
            return None;
        }
        let work = async {
            match effect {
                Effect::Create { bid } => self.create(bid).await,
                Effect::Launch { instance, number } => self.launch(&claimed.intent.replica, instance, *number).await,
                Effect::Destroy { instance } => self.destroy(instance).await,
            }
        };
        let late = || {
            if effect.once() { Outcome::Unknown } else { Outcome::Retry(format!("no answer within {patience}")) }
        };
        Some(tokio::time::timeout(patience.std(), work).await.unwrap_or_else(|_| late()))
    }

    /// How long an effect may take; shorter than the lease, so that no effect is begun twice at the same time.
    fn patience(&self) -> Span {
        Span(self.0.parts.settings.lease.0 / 5 * 4)
    }

    async fn create(&self, bid: &charter_domain::instance::Bid) -> Outcome {
        let name = &bid.placement.offer.provider;
        let Some(provider) = self.provider(name) else {
            let message = format!("provider `{name}` is not in the configuration");
            return Outcome::Refused(Refusal { message, action: charter_domain::cause::Action::OtherProvider });
        };
        match provider.create(bid, self.now()).await {
            Ok(instance) => Outcome::Created(Box::new(instance)),
            Err(CreateError::Refused(error)) => Outcome::Refused(Refusal { action: error.action(), message: error.message }),
            Err(CreateError::Unknown(error)) => {
                tracing::warn!(%error, tag = %bid.tag, "the answer to a create call was lost");
                Outcome::Unknown
            }
        }
    }

    async fn destroy(&self, instance: &charter_domain::instance::Instance) -> Outcome {
        let name = &instance.placement.offer.provider;
        let Some(provider) = self.provider(name) else {
            return Outcome::Retry(format!(
                "provider `{name}` is not in the configuration: put it back, so that it can be ended"
            ));
        };
        let provider: Arc<dyn Provider> = provider;
        match provider.destroy(instance).await {
            Ok(()) => Outcome::Destroyed,
            Err(error) => Outcome::Retry(error.to_string()),
        }
    }
}
