//! Which offer a replica gets, and for each offer that it does not get, why.

use crate::money::UsdPerHour;
use crate::offer::{Accelerator, Offer, label};
use serde::{Deserialize, Serialize};

/// What a replica needs of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Providers by name, in order; empty means any.
    pub providers: Vec<String>,
    /// Exactly this offer.
    pub offer: Option<String>,
    /// GPUs that are taken.
    pub gpu_count: u32,
    /// Exactly these GPUs.
    pub gpu_indices: Vec<u32>,
    /// Memory per GPU, in bytes, before the tolerance.
    pub vram_bytes: u64,
    /// Compute capability in tenths.
    pub compute_tenths: Option<u32>,
    /// The most it may cost.
    pub max_price: Option<UsdPerHour>,
    /// Free disk in bytes.
    pub disk_bytes: u64,
    /// Hosts that failed this replica before.
    pub excluded_hosts: Vec<String>,
    /// Providers that failed this replica before.
    pub excluded_providers: Vec<String>,
}

/// A decision: this offer, and of its GPUs these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The offer.
    pub offer: Offer,
    /// Indices of the GPUs to use; empty on a machine without GPU.
    pub gpus: Vec<u32>,
}

impl Placement {
    /// The GPUs that were chosen, for people.
    #[must_use]
    pub fn label(&self) -> String {
        label(self.offer.gpus.iter().filter(|g| self.gpus.contains(&g.index)).map(|g| g.name.as_str()))
    }
}

/// Why an offer was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The offer's host.
    pub host: String,
    /// Why, as the end of the sentence "`host` ...".
    pub why: String,
    /// It will be so as long as the profile and the machine stay what they are.
    pub lasting: bool,
}

/// Takes the cheapest offer that meets every need, the provider's order and then the host's name deciding a tie.
///
/// # Errors
/// For every offer the first need that it does not meet.
pub fn choose(need: &Requirement, offers: &[Offer]) -> Result<Placement, Vec<Rejection>> {
    let mut fitting: Vec<(usize, Placement)> = vec![];
    let mut rejections = vec![];
    for offer in offers {
        match fit(need, offer) {
            Ok(gpus) => {
                let rank = need.providers.iter().position(|p| *p == offer.provider).unwrap_or(usize::MAX);
                fitting.push((rank, Placement { offer: offer.clone(), gpus }));
            }
            Err(why) => {
                let lasting = !why.contains("is in use");
                rejections.push(Rejection { host: offer.host.clone(), why, lasting });
            }
        }
    }
    fitting.sort_by(|(a_rank, a), (b_rank, b)| {
        (a.offer.price, a_rank, &a.offer.host, &a.offer.id).cmp(&(b.offer.price, b_rank, &b.offer.host, &b.offer.id))
    });
    fitting.into_iter().next().map(|(_, placement)| placement).ok_or(rejections)
}

fn fit(need: &Requirement, offer: &Offer) -> Result<Vec<u32>, String> {
    if !need.providers.is_empty() && !need.providers.contains(&offer.provider) {
        return Err(format!("belongs to provider `{}`, which the profile does not name", offer.provider));
    }
    if need.offer.as_ref().is_some_and(|id| *id != offer.id) {
        return Err("is not the offer that was asked for".to_owned());
    }
    if need.excluded_hosts.contains(&offer.host) || need.excluded_providers.contains(&offer.provider) {
        return Err("failed before and is left out".to_owned());
    }
    if let Some(cap) = need.max_price.filter(|cap| offer.price > *cap) {
        return Err(format!("costs {}, the cap is {cap}", offer.price));
    }
    if offer.disk_bytes.is_some_and(|free| free < need.disk_bytes) {
        let free = offer.disk_bytes.unwrap_or(0);
        return Err(format!("has {} of disk free, {} are needed", gb(free), gb(need.disk_bytes)));
    }
    pick_gpus(need, offer)
}

fn pick_gpus(need: &Requirement, offer: &Offer) -> Result<Vec<u32>, String> {
    if need.gpu_count == 0 && need.gpu_indices.is_empty() {
        return Ok(vec![]);
    }
    if offer.gpus.is_empty() {
        return if offer.no_gpu_allowed {
            Ok(vec![])
        } else {
            Err("has no GPU; `allow-no-gpu: true` on the machine permits that".to_owned())
        };
    }
    if !need.gpu_indices.is_empty() {
        return need.gpu_indices.iter().map(|index| named_gpu(need, offer, *index)).collect();
    }
    let mut why = vec![];
    let usable: Vec<u32> = offer
        .gpus
        .iter()
        .filter_map(|gpu| match usable(need, gpu) {
            Ok(()) => Some(gpu.index),
            Err(reason) => {
                why.push(reason);
                None
            }
        })
        .collect();
    let wanted = usize::try_from(need.gpu_count).unwrap_or(usize::MAX);
    if usable.len() >= wanted {
        return Ok(usable.into_iter().take(wanted).collect());
    }
    why.sort();
    why.dedup();
    let reasons = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
    Err(format!("has {} of {} GPUs that fit{reasons}", usable.len(), need.gpu_count))
}

fn named_gpu(need: &Requirement, offer: &Offer, index: u32) -> Result<u32, String> {
    let gpu = offer.gpus.iter().find(|g| g.index == index).ok_or_else(|| format!("has no GPU {index}"))?;
    usable(need, gpu).map(|()| index).map_err(|why| format!("cannot give GPU {index}: {why}"))
}

/// A card is a little smaller than its label says: 7 % are forgiven.
fn usable(need: &Requirement, gpu: &Accelerator) -> Result<(), String> {
    if !gpu.free {
        return Err(format!("GPU {} is in use", gpu.index));
    }
    if gpu.memory_bytes < need.vram_bytes / 100 * 93 {
        return Err(format!("{} has {}, {} are needed", gpu.name, gb(gpu.memory_bytes), gb(need.vram_bytes)));
    }
    match (need.compute_tenths, gpu.compute_tenths) {
        (Some(min), Some(has)) if has < min => {
            Err(format!("{} has compute capability {}.{}, {}.{} is needed", gpu.name, has / 10, has % 10, min / 10, min % 10))
        }
        _ => Ok(()),
    }
}

/// Bytes in the decimal unit that cards are sold in.
#[must_use]
pub fn gb(bytes: u64) -> String {
    format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(index: u32, gb: u64, free: bool) -> Accelerator {
        let (name, memory_bytes) = ("RTX 3090".to_owned(), gb * 1_000_000_000);
        Accelerator { index, name, memory_bytes, compute_tenths: Some(86), free }
    }

    fn offer(host: &str, price: i64, gpus: Vec<Accelerator>) -> Offer {
        Offer {
            provider: "lab".into(),
            id: host.into(),
            host: host.into(),
            gpus,
            no_gpu_allowed: false,
            disk_bytes: Some(100_000_000_000),
            driver: None,
            price: UsdPerHour(price),
        }
    }

    fn need() -> Requirement {
        Requirement { gpu_count: 1, vram_bytes: 24_000_000_000, disk_bytes: 60_000_000_000, ..Requirement::default() }
    }

    #[test]
    fn the_cheapest_fitting_offer_wins_and_a_name_decides_a_tie() {
        let offers =
            [offer("c", 2, vec![gpu(0, 24, true)]), offer("b", 1, vec![gpu(0, 24, true)]), offer("a", 1, vec![gpu(0, 24, true)])];
        assert_eq!(choose(&need(), &offers).map(|p| p.offer.host), Ok("a".to_owned()));
    }

    #[test]
    fn every_refusal_says_why() {
        let cases: Vec<(Requirement, Offer, &str)> = vec![
            (need(), offer("a", 1, vec![gpu(0, 24, false)]), "has 0 of 1 GPUs that fit (GPU 0 is in use)"),
            (
                need(),
                offer("a", 1, vec![gpu(0, 16, true)]),
                "has 0 of 1 GPUs that fit (RTX 3090 has 16.0 GB, 24.0 GB are needed)",
            ),
            (need(), offer("a", 1, vec![]), "has no GPU; `allow-no-gpu: true` on the machine permits that"),
            (Requirement { gpu_indices: vec![3], ..need() }, offer("a", 1, vec![gpu(0, 24, true)]), "has no GPU 3"),
            (
                Requirement { max_price: Some(UsdPerHour(1)), ..need() },
                offer("a", 2, vec![gpu(0, 24, true)]),
                "costs $0.000002/h, the cap is $0.000001/h",
            ),
            (
                Requirement { compute_tenths: Some(89), ..need() },
                offer("a", 1, vec![gpu(0, 24, true)]),
                "has 0 of 1 GPUs that fit (RTX 3090 has compute capability 8.6, 8.9 is needed)",
            ),
        ];
        for (need, offer, why) in cases {
            let rejections = choose(&need, &[offer]).expect_err(why);
            assert_eq!(rejections[0].why, why);
        }
    }

    #[test]
    fn a_card_seven_percent_smaller_than_its_label_fits() {
        let mut small = offer("a", 1, vec![gpu(0, 24, true)]);
        small.gpus[0].memory_bytes = 22_400_000_000;
        assert!(choose(&need(), &[small]).is_ok());
    }

    #[test]
    fn chosen_gpus_are_exactly_the_named_ones() {
        let both = offer("a", 1, vec![gpu(0, 24, true), gpu(1, 24, true)]);
        let named = choose(&Requirement { gpu_indices: vec![1], ..need() }, &[both]).map(|p| p.gpus);
        assert_eq!(named, Ok(vec![1]));
    }
}
