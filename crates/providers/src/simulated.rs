//! A provider in memory, for the contract suite and for trying a controller without a network: it obeys a plan of faults.

use crate::port::{CreateError, Descriptor, Kind, Listing, Observed, OfferPage, Provider, ProviderError};
use async_trait::async_trait;
use charter_domain::ids::Tag;
use charter_domain::instance::{Bid, Instance};
use charter_domain::money::UsdPerHour;
use charter_domain::offer::{Accelerator, Market, Offer};
use charter_domain::placement::Requirement;
use charter_domain::time::{Span, Time};
use charter_remote::Target;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the next calls do beside their work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The next create takes effect, and its answer is lost.
    pub lose_answer: bool,
    /// The next create is refused.
    pub refuse: bool,
    /// Lists end before their end.
    pub short_lists: bool,
}

#[derive(Debug, Default)]
struct State {
    plan: Plan,
    instances: BTreeMap<String, Tag>,
    made: u64,
}

/// The provider. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Simulated(Arc<Mutex<State>>);

impl Simulated {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong from now on.
    pub fn plan(&self, plan: Plan) {
        self.state().plan = plan;
    }

    fn instance(id: &str, bid: &Bid, now: Time) -> Instance {
        let (tag, placement) = (bid.tag.clone(), bid.placement.clone());
        Instance { id: id.to_owned(), tag, placement, address: None, host_key: None, account: None, since: now }
    }
}

fn refused(kind: Kind, message: &str) -> ProviderError {
    ProviderError { kind, message: message.to_owned() }
}

#[async_trait]
impl Provider for Simulated {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn descriptor(&self) -> Descriptor {
        let (visibility_horizon, absence_gap) = (Span::s(1), Span::s(0));
        Descriptor {
            kind: "simulated",
            visibility_horizon,
            absence_looks: 1,
            absence_gap,
            look_gap: Span::ms(20),
            rented: true,
            container: Some(charter_domain::order::LaunchWay::Ssh),
        }
    }

    async fn offers(&self, need: &Requirement) -> OfferPage {
        let gpus = (0..need.gpu_count.max(1)).map(|index| Accelerator {
            index,
            name: "RTX 3090".into(),
            memory_bytes: 25_769_803_776,
            compute_tenths: Some(86),
            free: true,
        });
        let offer = Offer {
            provider: self.name().into(),
            id: "1".into(),
            host: "1".into(),
            gpus: gpus.collect(),
            no_gpu_allowed: false,
            disk_bytes: Some(500_000_000_000),
            driver: None,
            price: UsdPerHour(140_000),
            market: Some(Market { cuda_tenths: Some(130), reliability_permille: 999, inet_down_mbps: 1000, ..Market::default() }),
        };
        OfferPage { offers: vec![offer], problems: vec![] }
    }

    async fn create(&self, bid: &Bid, now: Time) -> Result<Instance, CreateError> {
        let mut state = self.state();
        let plan = std::mem::take(&mut state.plan);
        if plan.refuse {
            return Err(CreateError::Refused(refused(Kind::NoCapacity, "the offer is gone")));
        }
        state.made += 1;
        let id = state.made.to_string();
        state.instances.insert(id.clone(), bid.tag.clone());
        if plan.lose_answer {
            return Err(CreateError::Unknown(refused(Kind::Transient, "the answer was lost")));
        }
        Ok(Self::instance(&id, bid, now))
    }

    async fn find(&self, bid: &Bid, now: Time) -> Result<Option<Instance>, ProviderError> {
        let state = self.state();
        let found = state.instances.iter().find(|(_, tag)| **tag == bid.tag);
        match found {
            Some((id, _)) => Ok(Some(Self::instance(id, bid, now))),
            None if state.plan.short_lists => Err(refused(Kind::Transient, "the list is not whole")),
            None => Ok(None),
        }
    }

    async fn observe(&self, instance: &Instance) -> Result<Observed, ProviderError> {
        let known = self.state().instances.contains_key(&instance.id);
        Ok(if known { Observed::Running { addresses: vec![], price: None } } else { Observed::Absent })
    }

    async fn is_present(&self, instance: &Instance) -> Result<bool, ProviderError> {
        Ok(self.state().instances.contains_key(&instance.id))
    }

    async fn destroy(&self, instance: &Instance) -> Result<(), ProviderError> {
        self.state().instances.remove(&instance.id);
        Ok(())
    }

    async fn list(&self, owner: &str) -> Listing {
        let state = self.state();
        let ours = state.instances.iter().filter(|(_, tag)| tag.to_string().starts_with(owner));
        Listing { tags: ours.map(|(id, tag)| (tag.clone(), id.clone())).collect(), complete: !state.plan.short_lists }
    }

    async fn destroy_stray(&self, tag: Option<&Tag>, host: &str) -> Result<(), ProviderError> {
        let mut state = self.state();
        if state.instances.get(host) == tag {
            state.instances.remove(host);
        }
        Ok(())
    }

    fn key_file(&self, _: &Instance) -> Option<String> {
        None
    }

    fn target(&self, _: &Instance) -> Result<Target, ProviderError> {
        Err(refused(Kind::Transient, "nothing can be reached here"))
    }
}
