//! The score of an offer: price, reliability, network, CUDA and disk, each part visible. It orders what fits already.

use crate::offer::Offer;
use crate::placement::Requirement;

/// Parts of a score in thousandths. Their greatest values are the weights: 400, 300, 150, 100 and 50.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// The cheapest fitting offer gets all of it, one at twice its price half.
    pub price: u32,
    /// In proportion; halved below 95 %; less the more it has failed here lately.
    pub reliability: u32,
    /// All of it from 1 Gbit/s of download; a third of its share below 100 Mbit/s.
    pub network: u32,
    /// Half for what is needed, all for one major version more.
    pub cuda: u32,
    /// All of it from four times what is needed.
    pub disk: u32,
}

impl Score {
    /// The sum, in thousandths.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.price + self.reliability + self.network + self.cuda + self.disk
    }
}

fn share(weight: u32, part: u64, whole: u64) -> u32 {
    let scaled = u64::from(weight) * part.min(whole) / whole.max(1);
    u32::try_from(scaled).unwrap_or(weight)
}

/// Rates an offer. `cheapest` is the lowest price among those that fit, in micro-dollars per hour.
#[must_use]
pub fn score(need: &Requirement, offer: &Offer, cheapest: i64) -> Score {
    let micros = |n: i64| u64::try_from(n.max(0)).unwrap_or(0);
    let price = if offer.price.0 <= 0 { 400 } else { share(400, micros(cheapest), micros(offer.price.0)) };
    let disk = match offer.disk_bytes {
        Some(free) => share(50, free, need.disk_bytes.saturating_mul(4)),
        None => 0,
    };
    let Some(market) = &offer.market else {
        // A machine of ours is as good as it gets.
        return Score { price, reliability: 300, network: 150, cuda: 100, disk };
    };
    let reliability = share(300, u64::from(market.reliability_permille), 1000);
    let reliability = if market.reliability_permille < 950 { reliability / 2 } else { reliability };
    // What it did here weighs more than what its market says of it: one failure just now leaves nothing.
    let failed = need.reputation(offer).map_or(0, |r| r.weight.min(1000));
    let reliability = reliability - reliability * failed / 1000;
    let network = share(150, u64::from(market.inet_down_mbps), 1000);
    let network = if market.inet_down_mbps < 100 { network * 3 / 10 } else { network };
    let more = market.cuda_tenths.unwrap_or(0).saturating_sub(need.cuda_tenths.unwrap_or(0));
    let cuda = if market.cuda_tenths.is_some() { 50 + share(50, u64::from(more), 10) } else { 0 };
    Score { price, reliability, network, cuda, disk }
}
