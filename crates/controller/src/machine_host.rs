//! Machines on their way: what their provider says of them, and whether they let us in and are what was promised.

use crate::controller::Controller;
use charter_domain::cause::{Action, Cause};
use charter_domain::deployment::Deployment;
use charter_domain::instance::{Address, Instance};
use charter_domain::look::{AwaySight, EngineSight, MachineSight, Sight, Verdict};
use charter_domain::replica::Replica;
use charter_domain::time::Span;
use charter_providers::{Observed, Provider};
use charter_remote::host::{Host, HostError, Inspection};
use std::sync::Arc;

/// So long the inspection that an offer came from counts as the machine's own.
const FRESH: Span = Span::s(5);
/// The price of what runs is read again after so many looks.
const LOOKS_PER_PRICE: i64 = 5;
/// Where our login is refused, the key is put there again after so long.
const KEY_PATIENCE: Span = Span::s(20);

pub(crate) fn gone() -> Cause {
    let hint = "its host, the provider or another user of the account ended it";
    Cause::new("instance_gone", Action::OtherHost, "the provider does not know it any more", hint)
}

fn away(why: impl Into<String>) -> Sight {
    Sight::MachineAway(AwaySight { why: why.into(), ..AwaySight::default() })
}

impl Controller {
    pub(crate) async fn see_machine(&self, replica: &Replica, instance: &Instance, deployment: &Deployment) -> Sight {
        let name = &instance.placement.offer.provider;
        let Some(provider) = self.provider(name) else {
            return Sight::Unclear(format!("provider `{name}` is not in the configuration"));
        };
        if !provider.descriptor().rented {
            return self.see_own(instance, deployment).await;
        }
        match provider.observe(instance).await {
            Err(error) => Sight::Unclear(error.to_string()),
            // What was made a moment ago may not be shown yet.
            Ok(Observed::Absent) if self.now().since(instance.since) < provider.descriptor().visibility_horizon => {
                away("not shown by the provider yet")
            }
            Ok(Observed::Absent) => Sight::MachineUnfit(gone()),
            Ok(Observed::Failed(cause)) => Sight::MachineUnfit(cause),
            Ok(Observed::Ended(said)) => {
                Sight::MachineUnfit(self.why_ended(&provider, replica, deployment, instance, &said).await)
            }
            Ok(Observed::Pending(said)) => {
                let (quiet, called_running) = self.0.live.booting(&instance.tag, &said, false, self.now());
                Sight::MachineAway(AwaySight { why: said, quiet, called_running })
            }
            Ok(Observed::Running { addresses, price }) => {
                let mut seen = match (&self.0.parts.machines, instance.mapped_port()) {
                    (Some(machines), _) => machines.enter(instance).await,
                    (None, Some(_)) => self.enter_port(instance, addresses),
                    (None, None) => self.enter(&provider, instance, deployment, addresses).await,
                };
                if let Sight::MachineUp(up) = &mut seen {
                    self.0.live.booted(&instance.tag);
                    up.price = price;
                }
                seen
            }
        }
    }

    /// Logs in at the first address that lets us, and looks whether the machine is what was promised.
    async fn enter(
        &self,
        provider: &Arc<dyn Provider>,
        instance: &Instance,
        deployment: &Deployment,
        addresses: Vec<Address>,
    ) -> Sight {
        let (quiet, called_running) = self.0.live.booting(&instance.tag, "running", true, self.now());
        let mut why = "the provider names no address that could be reached".to_owned();
        for address in addresses {
            let there = Instance { address: Some(address.clone()), ..instance.clone() };
            let host = match provider.target(&there) {
                Ok(target) => Host(self.0.parts.links.to(&target)),
                Err(error) => return Sight::Unclear(error.to_string()),
            };
            match host.inspect().await {
                Ok(seen) => match unfit(&seen, instance, deployment) {
                    Some(cause) => return Sight::MachineUnfit(cause),
                    None => {
                        let (host_key, address) = (Some(seen.host_key), Some(address));
                        return Sight::MachineUp(MachineSight { host_key, address, price: None });
                    }
                },
                Err(HostError::Link(error @ charter_remote::Error::HostKey { .. })) => {
                    return Sight::MachineUnfit(Cause::new(
                        "host_key_changed",
                        Action::OtherHost,
                        error.to_string(),
                        error.hint(),
                    ));
                }
                Err(error) => {
                    // A key that was handed over takes some seconds to get in; after a while it is handed over again.
                    let refused = matches!(&error, HostError::Link(charter_remote::Error::Refused { .. }));
                    if refused
                        && called_running >= KEY_PATIENCE
                        && let Err(error) = provider.admit(instance).await
                    {
                        tracing::debug!(%error, tag = %instance.tag, "the key could not be handed over again");
                    }
                    why = error.to_string();
                }
            }
        }
        Sight::MachineAway(AwaySight { why, quiet, called_running })
    }

    /// A machine of ours.
    async fn see_own(&self, instance: &Instance, deployment: &Deployment) -> Sight {
        let host = match self.host_of(instance) {
            Ok(host) => host,
            Err(why) => return Sight::Unclear(why),
        };
        let up = |host_key| Sight::MachineUp(MachineSight { host_key: Some(host_key), ..MachineSight::default() });
        // What was looked at a moment ago, for the offer, needs no second look: that the way there stands is enough.
        if self.now().since(instance.since) < FRESH {
            return match host.0.session().await {
                Ok(session) => up(session.host_key().to_owned()),
                Err(error) => away(error.to_string()),
            };
        }
        match host.inspect().await {
            Ok(seen) => unfit(&seen, instance, deployment).map_or_else(|| up(seen.host_key), Sight::MachineUnfit),
            Err(HostError::Link(error)) if error.is_final() => {
                Sight::MachineUnfit(Cause::new("ssh_refused", Action::OtherHost, error.to_string(), error.hint()))
            }
            Err(error) => away(error.to_string()),
        }
    }

    /// An engine that answers; now and then with what its machine costs, which a host may change while it runs.
    pub(crate) async fn with_price(&self, replica: &Replica, instance: &Instance) -> EngineSight {
        let ready = EngineSight { verdict: Verdict::Ready, quiet: Span::ms(0), moved: None, price: None };
        let rented = self.provider(&instance.placement.offer.provider).filter(|p| p.descriptor().rented);
        let Some(provider) = rented else { return ready };
        let pause = Span(self.0.parts.settings.look.1.0.saturating_mul(LOOKS_PER_PRICE));
        let now = self.now();
        let due = self.0.live.update(&replica.id, replica.launches, now, |view| {
            // It was read when the machine answered.
            let asked = *view.price_asked_at.get_or_insert(now);
            let due = now.since(asked) >= pause;
            if due {
                view.price_asked_at = Some(now);
            }
            due
        });
        if !due {
            return ready;
        }
        match provider.observe(instance).await {
            Ok(Observed::Running { price, .. }) => EngineSight { price, ..ready },
            Ok(Observed::Failed(cause)) if cause.class == "price_raised" => {
                EngineSight { verdict: Verdict::Failed(cause), ..ready }
            }
            // It answers, whatever its provider says at this moment.
            Ok(Observed::Failed(_) | Observed::Pending(_) | Observed::Ended(_) | Observed::Absent) | Err(_) => ready,
        }
    }

    /// What is behind an engine that cannot be asked: its machine may be elsewhere, or lost.
    pub(crate) async fn away(&self, instance: &Instance, why: String, quiet: Span) -> EngineSight {
        let sight = |verdict, moved| EngineSight { verdict, quiet, moved, price: None };
        let provider = self.provider(&instance.placement.offer.provider).filter(|p| p.descriptor().rented);
        let Some(provider) = provider else { return sight(Verdict::Away(why), None) };
        match provider.observe(instance).await {
            Ok(Observed::Failed(cause)) => sight(Verdict::Failed(cause), None),
            Ok(Observed::Ended(said)) => sight(Verdict::Away(said), None),
            Ok(Observed::Absent) => sight(Verdict::Failed(gone()), None),
            Ok(Observed::Pending(said)) => sight(Verdict::Away(format!("{why}; its provider says: {said}")), None),
            Ok(Observed::Running { addresses, price }) => {
                let known = instance.address.as_ref().is_some_and(|a| addresses.contains(a));
                let moved = addresses.into_iter().next().filter(|_| !known);
                EngineSight { price, ..sight(Verdict::Away(why), moved) }
            }
            Err(error) => sight(Verdict::Away(format!("{why}; its provider: {error}")), None),
        }
    }
}

/// What was promised and is not there.
fn unfit(seen: &Inspection, instance: &Instance, deployment: &Deployment) -> Option<Cause> {
    if deployment.profile.gpu.count == 0 {
        return None;
    }
    let hint = "look at `nvidia-smi` on the machine";
    for index in &instance.placement.gpus {
        let Some(gpu) = seen.gpus.iter().find(|g| g.index == *index) else {
            let text = format!("GPU {index} is not there");
            return Some(Cause::new("no_gpu_visible", Action::OtherHost, text, hint));
        };
        let promised = instance.placement.offer.gpus.iter().find(|g| g.index == *index);
        // A card smaller than the offer said: other hardware, or somebody else's work on it.
        if let Some(promised) = promised.filter(|p| gpu.memory_bytes < p.memory_bytes / 100 * 93) {
            let gb = charter_domain::placement::gb;
            let text = format!(
                "{} with {} was promised, {} with {} is there",
                promised.name,
                gb(promised.memory_bytes),
                gpu.name,
                gb(gpu.memory_bytes)
            );
            return Some(Cause::new("wrong_gpu", Action::OtherHost, text, "the host has other hardware than its offer said"));
        }
    }
    None
}
