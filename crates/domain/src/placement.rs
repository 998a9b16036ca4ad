//! Which offer a replica gets, and for each offer that it does not get, why.

use crate::filter::{Filter, Unmet, card, check, tier_of};
use crate::host_memory::{HostKey, Reputation};
use crate::money::UsdPerHour;
use crate::offer::{Offer, label};
use crate::order::Order;
use crate::profile::Tier;
use crate::score::{Score, score};
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Cards in order of preference, each with its cap; only a marketplace's offers are held against them.
    pub tiers: Vec<Tier>,
    /// Other cards may be taken too.
    pub other_names: bool,
    /// The CUDA that the image needs, in tenths.
    pub cuda_tenths: Option<u32>,
    /// Lowest reliability of a marketplace's host, in thousandths.
    pub min_reliability_permille: u32,
    /// Lowest download speed of a marketplace's host, in megabits per second.
    pub inet_down_mbps: u32,
    /// Ports to the outside that the launch needs.
    pub direct_ports: u32,
    /// Until when a marketplace must list it.
    pub listed_until: Option<Time>,
    /// Free disk in bytes.
    pub disk_bytes: u64,
    /// Hosts that failed this replica before.
    pub excluded_hosts: Vec<String>,
    /// Providers that failed this replica before: taken only where nothing else is left.
    pub avoided_providers: Vec<String>,
    /// Cards on which it failed more than once: the same.
    pub avoided_cards: Vec<String>,
    /// What is remembered of hosts that failed whomever.
    pub reputations: BTreeMap<HostKey, Reputation>,
}

impl Requirement {
    /// What is remembered of an offer's host; nothing of a machine of ours.
    #[must_use]
    pub fn reputation(&self, offer: &Offer) -> Option<&Reputation> {
        offer.market.as_ref()?;
        self.reputations.get(&(offer.provider.clone(), offer.host.clone()))
    }
}

/// A decision: this offer, and of its GPUs these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The offer.
    pub offer: Offer,
    /// Indices of the GPUs to use; empty on a machine without GPU.
    pub gpus: Vec<u32>,
    /// What a marketplace is asked to run there.
    #[serde(default)]
    pub order: Option<Order>,
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
    /// What it does not meet; never empty.
    pub unmet: Vec<Unmet>,
    /// The card and the price, for people.
    pub label: String,
    /// Its price.
    pub price: UsdPerHour,
    /// It comes from a marketplace.
    pub rented: bool,
}

impl Rejection {
    /// Why, as the end of the sentence "`host` ...".
    #[must_use]
    pub fn why(&self) -> &str {
        self.unmet.first().map_or("does not fit", |u| &u.why)
    }

    /// Will it be so as long as the profile stays what it is? What a marketplace lists changes by the minute.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        !self.rented && !self.unmet.iter().any(|u| u.passing)
    }
}

/// An offer that fits, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked<'a> {
    /// The offer.
    pub offer: &'a Offer,
    /// The GPUs that would be used.
    pub gpus: Vec<u32>,
    /// The tier that its card belongs to.
    pub tier: Option<usize>,
    /// Its score with its parts.
    pub score: Score,
}

/// All offers, the best first, and those that do not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranking<'a> {
    /// What fits.
    pub fitting: Vec<Ranked<'a>>,
    /// What does not.
    pub rejected: Vec<Rejection>,
}

/// Ranks offers. What costs nothing comes first, then the tiers in their order, then other cards; within one, the provider
/// that the profile names earlier, then the higher score, then the lower price, then the name.
#[must_use]
pub fn rank<'a>(need: &Requirement, offers: &'a [Offer]) -> Ranking<'a> {
    let mut ranking = Ranking::default();
    let mut cheapest = i64::MAX;
    let mut tiers: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for offer in offers {
        let tier = *tiers.entry(card(offer)).or_insert_with_key(|name| tier_of(need, name));
        let (unmet, gpus) = check(need, offer, tier);
        if unmet.is_empty() {
            cheapest = cheapest.min(offer.price.0);
            ranking.fitting.push(Ranked { offer, gpus, tier, score: Score::default() });
        } else {
            let (host, label, price) = (offer.host.clone(), offer.label(), offer.price);
            ranking.rejected.push(Rejection { host, unmet, label, price, rented: offer.market.is_some() });
        }
    }
    for ranked in &mut ranking.fitting {
        ranked.score = score(need, ranked.offer, cheapest);
    }
    let place = |r: &Ranked<'_>| {
        let provider = need.providers.iter().position(|p| *p == r.offer.provider).unwrap_or(usize::MAX);
        let paid = r.offer.price.0 > 0;
        let tier = if paid { r.tier.unwrap_or(usize::MAX) } else { 0 };
        (paid, tier, provider, u32::MAX - r.score.total(), r.offer.price)
    };
    ranking
        .fitting
        .sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| (&a.offer.host, &a.offer.id).cmp(&(&b.offer.host, &b.offer.id))));
    ranking
}

/// Takes the best offer that meets every need.
///
/// # Errors
/// For every offer what it does not meet.
pub fn choose(need: &Requirement, offers: &[Offer]) -> Result<Placement, Vec<Rejection>> {
    let avoided = |o: &Offer| {
        need.avoided_providers.contains(&o.provider) || (o.market.is_some() && need.avoided_cards.iter().any(|c| c == card(o)))
    };
    if offers.iter().any(avoided) {
        let others: Vec<Offer> = offers.iter().filter(|o| !avoided(o)).cloned().collect();
        if let Some(best) = rank(need, &others).fitting.into_iter().next() {
            return Ok(Placement { offer: best.offer.clone(), gpus: best.gpus, order: None });
        }
    }
    let ranking = rank(need, offers);
    match ranking.fitting.into_iter().next() {
        Some(best) => Ok(Placement { offer: best.offer.clone(), gpus: best.gpus, order: None }),
        None => Err(ranking.rejected),
    }
}

/// So many hosts are named one by one; of more only the numbers are told.
const NAMED_MAX: usize = 6;

/// Why nothing fits, for people: each machine of ours with its reason, and of a marketplace which filter removed how many and
/// the cheapest change that would let one in.
#[must_use]
pub fn explain(rejected: &[Rejection]) -> Vec<String> {
    let (rented, own): (Vec<&Rejection>, Vec<&Rejection>) = rejected.iter().partition(|r| r.rented);
    let named = |r: &&Rejection| format!("`{}` {}", r.host, r.why());
    let mut lines: Vec<String> = own.iter().map(named).collect();
    if rented.len() <= NAMED_MAX {
        lines.extend(rented.iter().map(named));
    } else {
        let mut counts: BTreeMap<Filter, usize> = BTreeMap::new();
        for rejection in &rented {
            let mut filters: Vec<Filter> = rejection.unmet.iter().map(|u| u.filter).collect();
            filters.dedup();
            filters.into_iter().for_each(|f| *counts.entry(f).or_default() += 1);
        }
        let mut counts: Vec<(Filter, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(filter, count)| (usize::MAX - count, *filter));
        lines.push(format!("of {} offers", rented.len()));
        lines.extend(counts.into_iter().map(|(filter, count)| format!("{count} {}", filter.says())));
    }
    lines.extend(relaxation(&rented));
    lines
}

/// The cheapest offer that only one demand keeps out, and what would have to change.
fn relaxation(rented: &[&Rejection]) -> Option<String> {
    let near = rented.iter().filter_map(|r| match r.unmet.as_slice() {
        [only] => only.relax.as_ref().map(|relax| (r, relax)),
        _ => None,
    });
    let (best, relax) = near.min_by_key(|(r, _)| (r.price, &r.host))?;
    Some(format!("{relax}, and `{}` fits: {}, {}", best.host, best.label, best.price))
}

/// Bytes in the decimal unit that cards are sold in.
#[must_use]
pub fn gb(bytes: u64) -> String {
    format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::{Accelerator, Market};

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
            market: None,
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
    fn what_failed_is_taken_only_where_nothing_else_is_left() {
        let mut other = rented("b", 2, "RTX 4090", 24);
        other.provider = "shop".into();
        let offers = [rented("a", 1, "RTX 3090", 24), other];
        for (providers, cards, taken) in [
            (vec![], vec![], "a"),
            (vec!["lab"], vec![], "b"),
            (vec![], vec!["RTX 3090"], "b"),
            (vec!["lab", "shop"], vec![], "a"),
            (vec!["shop"], vec!["RTX 3090"], "a"),
        ] {
            let text = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect();
            let need = Requirement { avoided_providers: text(providers), avoided_cards: text(cards), ..need() };
            assert_eq!(choose(&need, &offers).map(|p| p.offer.host), Ok(taken.to_owned()), "{need:?}");
        }
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
            assert_eq!(rejections[0].why(), why);
        }
    }

    fn rented(host: &str, price: i64, name: &str, gb: u64) -> Offer {
        let mut made = offer(host, price, vec![Accelerator { name: name.into(), ..gpu(0, gb, true) }]);
        let cuda_tenths = Some(128);
        made.market = Some(Market { cuda_tenths, reliability_permille: 990, inet_down_mbps: 800, ..Market::default() });
        made
    }

    fn tiers() -> Requirement {
        let tier = |gpu: &str, cap| Tier { gpu: gpu.into(), max_price: UsdPerHour(cap) };
        let tiers = vec![tier("RTX_3090", 150_000), tier("RTX 4090", 180_000)];
        Requirement { tiers, other_names: true, max_price: Some(UsdPerHour(250_000)), ..need() }
    }

    #[test]
    fn tiers_come_in_their_order_then_other_cards_and_what_is_ours_before_all() {
        let offers = [
            rented("other", 90_000, "RTX A5000", 24),
            rented("second", 100_000, "RTX 4090", 24),
            rented("dear", 160_000, "RTX 3090", 24),
            rented("first", 140_000, "RTX 3090", 24),
        ];
        let order = |need: &Requirement, offers: &[Offer]| -> Vec<String> {
            rank(need, offers).fitting.iter().map(|r| r.offer.host.clone()).collect()
        };
        assert_eq!(order(&tiers(), &offers), ["first", "second", "other"]);
        assert_eq!(order(&Requirement { other_names: false, ..tiers() }, &offers), ["first", "second"]);
        let mut with_own = offers.to_vec();
        with_own.push(offer("own", 0, vec![gpu(0, 24, true)]));
        assert_eq!(order(&tiers(), &with_own), ["own", "first", "second", "other"]);
    }

    #[test]
    fn an_exact_offer_is_taken_whatever_its_name_and_held_to_the_cap_alone() {
        let offers = [rented("dear", 160_000, "RTX 3090", 24), rented("first", 140_000, "RTX 3090", 24)];
        let need = Requirement { offer: Some("dear".into()), ..tiers() };
        assert_eq!(choose(&need, &offers).map(|p| p.offer.host), Ok("dear".to_owned()));
        let capped = Requirement { max_price: Some(UsdPerHour(150_000)), ..need };
        assert_eq!(choose(&capped, &offers).expect_err("too dear")[0].why(), "costs $0.16/h, the cap is $0.15/h");
    }

    #[test]
    fn no_stock_is_explained_with_the_cheapest_way_out() {
        let mut offers: Vec<Offer> = (0..9).map(|n| rented(&format!("h{n}"), 300_000 + n, "RTX 3090", 24)).collect();
        offers.push(rented("old", 100_000, "RTX 3090", 24));
        offers[9].market.as_mut().expect("rented").cuda_tenths = Some(121);
        let need = Requirement { cuda_tenths: Some(128), min_reliability_permille: 950, ..tiers() };
        let lines = explain(&choose(&need, &offers).expect_err("nothing fits"));
        assert_eq!(
            lines,
            [
                "of 10 offers",
                "9 cost more than the cap",
                "1 run too old a CUDA for the engine's image",
                "take an older `engine.version`, whose image needs less, and `old` fits: 1x RTX 3090, $0.10/h"
            ]
        );
    }

    #[test]
    fn a_better_host_beats_a_slightly_cheaper_one_and_the_parts_say_why() {
        let mut shaky = rented("shaky", 140_000, "RTX 3090", 24);
        let market = shaky.market.as_mut().expect("rented");
        (market.reliability_permille, market.inet_down_mbps) = (940, 60);
        let offers = [shaky, rented("solid", 148_000, "RTX 3090", 24)];
        let need = tiers();
        let ranking = rank(&need, &offers);
        assert_eq!(ranking.fitting[0].offer.host, "solid");
        let parts = ranking.fitting[1].score;
        assert_eq!((parts.price, parts.reliability, parts.network), (400, 141, 2));
    }

    #[test]
    fn a_host_that_failed_here_comes_last_and_after_a_second_time_not_at_all() {
        let offers = [rented("bad", 140_000, "RTX 3090", 24), rented("good", 148_000, "RTX 3090", 24)];
        let known = |weight| Requirement {
            reputations: BTreeMap::from([(("lab".into(), "bad".into()), Reputation { weight, class: "host_fault".into() })]),
            ..tiers()
        };
        for (weight, order) in [(0, vec!["bad", "good"]), (900, vec!["good", "bad"]), (1500, vec!["good"])] {
            let need = known(weight);
            let hosts: Vec<String> = rank(&need, &offers).fitting.iter().map(|r| r.offer.host.clone()).collect();
            assert_eq!(hosts, order, "{weight}");
        }
        let need = known(1500);
        let rejected = rank(&need, &offers).rejected;
        assert_eq!(rejected[0].why(), "failed lately, host_fault most of all, and is left out for a while");
        let asked_for = Requirement { offer: Some("bad".into()), ..need };
        assert!(choose(&asked_for, &offers).is_ok(), "whoever names an offer gets it");
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
