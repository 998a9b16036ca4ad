//! The hard filters: what an offer must have. Every offer is checked against all of them on our side, whatever a provider
//! was asked, and what fails is told with the smallest change that would let it in.

use crate::card::is_named;
use crate::host_memory::LEFT_OUT;
use crate::money::UsdPerHour;
use crate::offer::{Accelerator, Offer};
use crate::placement::{Requirement, gb};

/// One demand on an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// The profile does not name its provider.
    Provider,
    /// Another offer was asked for by its id.
    Exact,
    /// It failed this replica before.
    Excluded,
    /// The card's name.
    Name,
    /// Number of GPUs.
    Count,
    /// Memory of each GPU.
    Vram,
    /// Compute capability.
    Compute,
    /// The host's CUDA against the image's.
    Cuda,
    /// Free disk.
    Disk,
    /// Download speed.
    Network,
    /// The host's record.
    Reliability,
    /// Ports to the outside.
    Ports,
    /// How long its listing lasts.
    Listing,
    /// The price.
    Price,
}

impl Filter {
    /// What it demands, for people.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Provider => "belong to a provider that the profile does not name",
            Self::Exact => "are not the offer that was asked for",
            Self::Excluded => "failed before and are left out",
            Self::Name => "have a card that is not in `gpu.tiers`",
            Self::Count => "have too few free GPUs",
            Self::Vram => "have too little memory per GPU",
            Self::Compute => "have too low a compute capability",
            Self::Cuda => "run too old a CUDA for the engine's image",
            Self::Disk => "have too little disk",
            Self::Network => "have too slow a network",
            Self::Reliability => "are not reliable enough",
            Self::Ports => "have no direct ports",
            Self::Listing => "are listed for too short a time",
            Self::Price => "cost more than the cap",
        }
    }
}

/// A demand that an offer does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Which.
    pub filter: Filter,
    /// As the end of the sentence "`host` ...".
    pub why: String,
    /// What would have to change in the profile to let it in, if that is possible.
    pub relax: Option<String>,
    /// It may change without the profile.
    pub passing: bool,
}

fn unmet(filter: Filter, why: String, relax: Option<String>) -> Unmet {
    Unmet { filter, why, relax, passing: false }
}

/// The name of an offer's card; empty where it has none.
#[must_use]
pub(crate) fn card(offer: &Offer) -> &str {
    offer.gpus.first().map(|g| g.name.as_str()).unwrap_or_default()
}

/// The place of a card in the profile's tiers. Comparing names is the dear part of a ranking: whoever looks at many offers
/// asks once per name.
#[must_use]
pub(crate) fn tier_of(need: &Requirement, card: &str) -> Option<usize> {
    need.tiers.iter().position(|t| is_named(&t.gpu, card))
}

/// All demands of `need` that `offer` does not meet; and the GPUs that would be used. `tier` is the place of its card in
/// the profile's tiers.
#[must_use]
pub(crate) fn check(need: &Requirement, offer: &Offer, tier: Option<usize>) -> (Vec<Unmet>, Vec<u32>) {
    let mut all = vec![];
    if !need.providers.is_empty() && !need.providers.contains(&offer.provider) {
        let why = format!("belongs to provider `{}`, which the profile does not name", offer.provider);
        all.push(unmet(Filter::Provider, why, Some(format!("add `{}` to `provider`", offer.provider))));
    }
    if need.offer.as_ref().is_some_and(|id| *id != offer.id) {
        all.push(unmet(Filter::Exact, "is not the offer that was asked for".to_owned(), None));
    }
    if need.excluded_hosts.contains(&offer.host) {
        all.push(unmet(Filter::Excluded, "failed before and is left out".to_owned(), None));
    }
    if let Some(bad) = need.reputation(offer).filter(|r| r.weight >= LEFT_OUT && need.offer.is_none()) {
        let why = format!("failed lately, {} most of all, and is left out for a while", bad.class);
        all.push(Unmet { passing: true, ..unmet(Filter::Excluded, why, None) });
    }
    if offer.disk_bytes.is_some_and(|free| free < need.disk_bytes) {
        let free = gb(offer.disk_bytes.unwrap_or(0));
        let why = format!("has {free} of disk free, {} are needed", gb(need.disk_bytes));
        all.push(unmet(Filter::Disk, why, Some(format!("lower `disk` to {free}"))));
    }
    let gpus = pick_gpus(need, offer, &mut all);
    market(need, offer, tier, &mut all);
    (all, gpus)
}

/// What only a marketplace's offer has to meet: name, caps, CUDA, network, record, ports.
fn market(need: &Requirement, offer: &Offer, tier: Option<usize>, all: &mut Vec<Unmet>) {
    let name = card(offer);
    let by_name = offer.market.is_some() && need.offer.is_none();
    if by_name && tier.is_none() && !need.other_names && !need.tiers.is_empty() {
        let why = format!("has a {name}, which is not in `gpu.tiers`");
        all.push(unmet(Filter::Name, why, Some("allow other cards (`gpu.other-names: true`)".to_owned())));
    }
    let of_tier = tier.filter(|_| by_name).and_then(|t| need.tiers.get(t)).map(|t| t.max_price);
    if let Some(cap) = cap_in(need, offer, tier).filter(|cap| offer.price > *cap) {
        let relax =
            if of_tier == Some(cap) { format!("the cap of its tier, `{name}`,") } else { "`gpu.max-usd-per-hour`".to_owned() };
        all.push(unmet(
            Filter::Price,
            format!("costs {}, the cap is {cap}", offer.price),
            Some(format!("raise {relax} to {}", offer.price)),
        ));
    }
    let Some(market) = &offer.market else { return };
    if let Some(wanted) = need.cuda_tenths
        && market.cuda_tenths.is_none_or(|has| has < wanted)
    {
        let has =
            market.cuda_tenths.map_or_else(|| "an unknown CUDA".to_owned(), |has| format!("CUDA {}.{}", has / 10, has % 10));
        let why = format!("runs {has}, the image needs {}.{}", wanted / 10, wanted % 10);
        all.push(unmet(Filter::Cuda, why, Some("take an older `engine.version`, whose image needs less".to_owned())));
    }
    if market.reliability_permille < need.min_reliability_permille {
        let (has, wanted) = (market.reliability_permille, need.min_reliability_permille);
        let why = format!("is {}.{} % reliable, {}.{} % are needed", has / 10, has % 10, wanted / 10, wanted % 10);
        all.push(unmet(Filter::Reliability, why, Some(format!("lower `min-reliability` to 0.{has:03}"))));
    }
    if market.inet_down_mbps < need.inet_down_mbps {
        let why = format!("downloads {} Mbit/s, {} are needed", market.inet_down_mbps, need.inet_down_mbps);
        all.push(unmet(Filter::Network, why, None));
    }
    if market.direct_ports < need.direct_ports {
        let why = format!("has {} direct ports, {} are needed", market.direct_ports, need.direct_ports);
        all.push(unmet(Filter::Ports, why, None));
    }
    if let (Some(until), Some(wanted)) = (market.listed_until, need.listed_until)
        && until < wanted
    {
        all.push(unmet(Filter::Listing, "is listed for too short a time".to_owned(), None));
    }
}

/// The most that an offer may cost: the cap of its tier and the profile's own, whichever is lower; for a card of another
/// name the profile's own, else the highest of the tiers. An offer that was asked for by its id is held to the profile's.
#[must_use]
pub fn cap(need: &Requirement, offer: &Offer) -> Option<UsdPerHour> {
    cap_in(need, offer, tier_of(need, card(offer)))
}

fn cap_in(need: &Requirement, offer: &Offer, tier: Option<usize>) -> Option<UsdPerHour> {
    if offer.market.is_none() || need.offer.is_some() {
        return need.max_price;
    }
    let tier = tier.and_then(|t| need.tiers.get(t)).map(|t| t.max_price);
    match (tier, need.max_price) {
        (Some(tier), Some(all)) => Some(tier.min(all)),
        (None, None) => need.tiers.iter().map(|t| t.max_price).max(),
        (tier, all) => tier.or(all),
    }
}

fn pick_gpus(need: &Requirement, offer: &Offer, all: &mut Vec<Unmet>) -> Vec<u32> {
    if need.gpu_count == 0 && need.gpu_indices.is_empty() {
        return vec![];
    }
    if offer.gpus.is_empty() {
        if !offer.no_gpu_allowed {
            let why = "has no GPU; `allow-no-gpu: true` on the machine permits that".to_owned();
            all.push(unmet(Filter::Count, why, None));
        }
        return vec![];
    }
    if !need.gpu_indices.is_empty() {
        for index in &need.gpu_indices {
            match offer.gpus.iter().find(|g| g.index == *index) {
                None => all.push(unmet(Filter::Count, format!("has no GPU {index}"), None)),
                Some(gpu) => all.extend(
                    usable(need, gpu)
                        .into_iter()
                        .map(|fault| Unmet { why: format!("cannot give GPU {index}: {}", fault.why), ..fault }),
                ),
            }
        }
        return need.gpu_indices.clone();
    }
    let faults: Vec<Vec<Unmet>> = offer.gpus.iter().map(|gpu| usable(need, gpu)).collect();
    let free = offer.gpus.iter().zip(&faults).filter(|(_, f)| f.is_empty()).map(|(g, _)| g.index);
    let wanted = usize::try_from(need.gpu_count).unwrap_or(usize::MAX);
    let usable: Vec<u32> = free.take(wanted).collect();
    if usable.len() < wanted {
        let mut why: Vec<String> = faults.iter().flatten().map(|f| f.why.clone()).collect();
        why.sort();
        why.dedup();
        let reasons = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
        let first = faults.into_iter().flatten().next();
        let passing = first.as_ref().is_some_and(|f| f.passing);
        let why = format!("has {} of {} GPUs that fit{reasons}", usable.len(), need.gpu_count);
        all.push(Unmet {
            filter: first.as_ref().map_or(Filter::Count, |f| f.filter),
            why,
            relax: first.and_then(|f| f.relax),
            passing,
        });
    }
    usable
}

/// A card is a little smaller than its label says: 7 % are forgiven.
fn usable(need: &Requirement, gpu: &Accelerator) -> Vec<Unmet> {
    let mut all = vec![];
    if !gpu.free {
        all.push(Unmet { passing: true, ..unmet(Filter::Count, format!("GPU {} is in use", gpu.index), None) });
    }
    if gpu.memory_bytes < need.vram_bytes / 100 * 93 {
        let (has, wanted) = (gb(gpu.memory_bytes), gb(need.vram_bytes));
        let why = format!("{} has {has}, {wanted} are needed", gpu.name);
        all.push(unmet(Filter::Vram, why, Some(format!("lower `gpu.min-vram` to {}GB", gpu.memory_bytes / 1_000_000_000))));
    }
    if let (Some(min), Some(has)) = (need.compute_tenths, gpu.compute_tenths)
        && has < min
    {
        let (a, b, c, d) = (has / 10, has % 10, min / 10, min % 10);
        let why = format!("{} has compute capability {a}.{b}, {c}.{d} is needed", gpu.name);
        all.push(unmet(Filter::Compute, why, Some(format!("lower `gpu.min-compute-capability` to \"{a}.{b}\""))));
    }
    all
}
