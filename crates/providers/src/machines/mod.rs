//! Computers of ours that are reached by SSH. Taking one means claiming a folder and GPUs there; they cost nothing.

mod pins;

use crate::port::{CreateError, Descriptor, Kind, Listing, OfferPage, Provider, ProviderError};
use async_trait::async_trait;
use charter_domain::ids::Tag;
use charter_domain::instance::{Address, Bid, Instance};
use charter_domain::money::UsdPerHour;
use charter_domain::offer::{Accelerator, Offer};
use charter_domain::placement::Requirement;
use charter_domain::time::{Span, Time};
use charter_remote::host::{Host, HostError, Inspection};
use charter_remote::{Error, KeyPair, Links, Target};
use pins::Pins;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::task::JoinSet;

/// One machine of the configuration.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// Our key.
    pub key: KeyPair,
    /// The file that it was read from.
    pub key_file: Option<String>,
    /// Its fingerprint, if the configuration names it.
    pub host_key: Option<String>,
    /// It may be used although it has no GPU.
    pub allow_no_gpu: bool,
}

/// The provider.
#[derive(Clone)]
pub struct Machines(Arc<Inner>);

struct Inner {
    name: String,
    machines: Vec<Machine>,
    links: Links,
    pins: Pins,
}

/// Used memory below this share of a card counts as free, in per cent.
const IDLE_MEMORY_PERCENT: u64 = 10;

fn error(kind: Kind, message: impl Into<String>) -> ProviderError {
    ProviderError { kind, message: message.into() }
}

fn kind_of(error: &HostError) -> Kind {
    match error {
        HostError::Link(link) if link.is_final() => Kind::Auth,
        HostError::Link(_) => Kind::Transient,
        HostError::Said(_) => Kind::NoCapacity,
    }
}

/// The error with its code and its remedy, in one line.
fn told(problem: &HostError) -> String {
    match problem {
        HostError::Link(link) => format!("{link} [{}] ({})", link.code(), link.hint()),
        HostError::Said(_) => problem.to_string(),
    }
}

impl Machines {
    /// A provider over `machines`; first-seen host keys are kept in `pins`.
    #[must_use]
    pub fn new(name: &str, machines: Vec<Machine>, links: Links, pins: PathBuf) -> Self {
        Self(Arc::new(Inner { name: name.to_owned(), machines, links, pins: Pins::open(pins) }))
    }

    fn machine(&self, name: &str) -> Result<&Machine, ProviderError> {
        let known = self.0.machines.iter().find(|m| m.name == name);
        known.ok_or_else(|| error(Kind::NotFound, format!("machine `{name}` is not in the configuration of `{}`", self.0.name)))
    }

    fn target_of(&self, machine: &Machine) -> Target {
        let host_key = machine.host_key.clone().or_else(|| self.0.pins.get(&machine.name));
        let Address { host, port, user } = machine.address.clone();
        Target { host, port, user, key: machine.key.clone(), host_key }
    }

    fn host(&self, machine: &Machine) -> Host {
        Host(self.0.links.to(&self.target_of(machine)))
    }

    /// Asks one machine what it has, and remembers the host key that it showed first.
    async fn inspect(&self, machine: &Machine) -> Result<Inspection, HostError> {
        let seen = self.host(machine).inspect().await?;
        if machine.host_key.is_none() {
            self.0.pins.learn(&machine.name, &seen.host_key);
        }
        Ok(seen)
    }

    fn offer(&self, machine: &Machine, seen: &Inspection) -> Offer {
        let held = |index: u32| seen.held.iter().any(|(_, gpus)| gpus.contains(&index));
        let idle = |used: u64, total: u64| used <= total / 100 * IDLE_MEMORY_PERCENT;
        let gpus = seen.gpus.iter().map(|gpu| Accelerator {
            index: gpu.index,
            name: gpu.name.clone(),
            memory_bytes: gpu.memory_bytes,
            compute_tenths: gpu.compute_tenths,
            free: !held(gpu.index) && idle(gpu.used_bytes, gpu.memory_bytes),
        });
        Offer {
            provider: self.0.name.clone(),
            id: machine.name.clone(),
            host: machine.name.clone(),
            gpus: gpus.collect(),
            no_gpu_allowed: machine.allow_no_gpu,
            disk_bytes: Some(seen.disk_bytes),
            driver: seen.driver.clone(),
            price: UsdPerHour(0),
            market: None,
        }
    }

    fn instance(&self, machine: &Machine, bid: &Bid, now: Time) -> Instance {
        Instance {
            id: format!("{}/{}", machine.name, bid.tag),
            tag: bid.tag.clone(),
            placement: bid.placement.clone(),
            address: Some(machine.address.clone()),
            host_key: machine.host_key.clone().or_else(|| self.0.pins.get(&machine.name)),
            account: None,
            since: now,
        }
    }
}

#[async_trait]
impl Provider for Machines {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn descriptor(&self) -> Descriptor {
        // The machine itself answers, about itself and at once: one look is proof. Only a claim that was under way when
        // its session broke may still come through, after waiting for the lock for 30 s at most.
        Descriptor {
            kind: "machines",
            visibility_horizon: Span::s(35),
            absence_looks: 1,
            absence_gap: Span::s(0),
            look_gap: Span::ms(20),
            rented: false,
            container: None,
        }
    }

    async fn offers(&self, _: &Requirement) -> OfferPage {
        let mut asked = JoinSet::new();
        for (index, machine) in self.0.machines.iter().cloned().enumerate() {
            let this = self.clone();
            asked.spawn(async move {
                let seen = this.inspect(&machine).await;
                (index, machine, seen)
            });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(index, ..)| *index);
        let mut page = OfferPage::default();
        for (_, machine, seen) in answers {
            match seen {
                Ok(seen) => {
                    if let Some(odd) = seen.odd.as_ref().filter(|_| seen.gpus.is_empty()) {
                        let text = format!("`{}` has cards that cannot be read; `nvidia-smi` says: {odd}", machine.name);
                        page.problems.push((text, false));
                    }
                    page.offers.push(self.offer(&machine, &seen));
                }
                Err(problem) => {
                    let lasting = matches!(&problem, HostError::Link(link) if link.is_final());
                    page.problems.push((format!("`{}`: {}", machine.name, told(&problem)), lasting));
                }
            }
        }
        page
    }

    async fn create(&self, bid: &Bid, now: Time) -> Result<Instance, CreateError> {
        let machine = self.machine(&bid.placement.offer.id).map_err(CreateError::Refused)?;
        match self.host(machine).claim(&bid.tag.to_string(), &bid.placement.gpus).await {
            Ok(()) => Ok(self.instance(machine, bid, now)),
            Err(HostError::Said(why)) => Err(CreateError::Refused(error(Kind::NoCapacity, why))),
            // These come before the command could have been sent.
            Err(HostError::Link(
                link @ (Error::Unreachable { .. } | Error::HostKey { .. } | Error::Refused { .. } | Error::Key(_)),
            )) => {
                let problem = HostError::Link(link);
                Err(CreateError::Refused(error(kind_of(&problem), told(&problem))))
            }
            Err(problem) => Err(CreateError::Unknown(error(kind_of(&problem), told(&problem)))),
        }
    }

    async fn find(&self, bid: &Bid, now: Time) -> Result<Option<Instance>, ProviderError> {
        let machine = self.machine(&bid.placement.offer.id)?;
        let present = self.host(machine).is_present(&bid.tag.to_string()).await;
        let present = present.map_err(|problem| error(kind_of(&problem), told(&problem)))?;
        Ok(present.then(|| self.instance(machine, bid, now)))
    }

    async fn is_present(&self, instance: &Instance) -> Result<bool, ProviderError> {
        let machine = self.machine(&instance.placement.offer.id)?;
        let present = self.host(machine).is_present(&instance.tag.to_string()).await;
        present.map_err(|problem| error(kind_of(&problem), told(&problem)))
    }

    async fn destroy(&self, instance: &Instance) -> Result<(), ProviderError> {
        let machine = self.machine(&instance.placement.offer.id)?;
        let ended = self.host(machine).end(&instance.tag.to_string()).await;
        ended.map_err(|problem| error(kind_of(&problem), told(&problem)))
    }

    async fn list(&self, owner: &str) -> Listing {
        let mut listing = Listing { tags: vec![], complete: true };
        for machine in &self.0.machines {
            match self.host(machine).inspect().await {
                Ok(seen) => {
                    let ours = seen.held.iter().filter(|(tag, _)| tag.starts_with(owner)).filter_map(|(tag, _)| Tag::parse(tag));
                    listing.tags.extend(ours.map(|tag| (tag, machine.name.clone())));
                }
                Err(_) => listing.complete = false,
            }
        }
        listing
    }

    async fn destroy_stray(&self, tag: Option<&Tag>, host: &str) -> Result<(), ProviderError> {
        // Without a tag nothing on a machine is ours.
        let Some(tag) = tag else { return Ok(()) };
        let machine = self.machine(host)?;
        let ended = self.host(machine).end(&tag.to_string()).await;
        ended.map_err(|problem| error(kind_of(&problem), told(&problem)))
    }

    fn key_file(&self, instance: &Instance) -> Option<String> {
        self.machine(&instance.placement.offer.id).ok()?.key_file.clone()
    }

    fn target(&self, instance: &Instance) -> Result<Target, ProviderError> {
        let machine = self.machine(&instance.placement.offer.id)?;
        let target = self.target_of(machine);
        // The key seen when this instance was made counts, whatever was learnt since.
        Ok(Target { host_key: instance.host_key.clone().or(target.host_key), ..target })
    }
}
