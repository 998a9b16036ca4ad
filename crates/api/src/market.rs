//! `charter.offers/1` and `charter.hosts/1`: what could be had, from whom, and what stands in the accounts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// For which profile offers are asked.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OffersQuestion {
    /// A profile, as the file has it.
    pub profile: Value,
}

/// What could be had now.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Offers {
    /// `charter.offers/1`.
    pub schema: String,
    /// How many the providers showed.
    pub seen: usize,
    /// How many of them fit.
    pub fitting: usize,
    /// The best of those.
    pub offers: Vec<RankedOffer>,
    /// Which filter removed how many of the others.
    pub filtered: Vec<Filtered>,
    /// Why nothing fits, or who could not be asked.
    pub reasons: Vec<String>,
}

/// An offer that fits, with its score.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RankedOffer {
    /// Its id.
    pub id: String,
    /// Its provider.
    pub provider: String,
    /// Its host.
    pub host: String,
    /// Its GPUs.
    pub gpu: String,
    /// Memory of one of them.
    pub vram_bytes: Option<u64>,
    /// Its price.
    pub price_usd_micros_per_hour: i64,
    /// The place of its card in the list of the profile.
    pub tier: Option<usize>,
    /// From 0 to 1.
    pub score: f64,
    /// In thousandths, what of it comes from where.
    pub score_parts: ScoreParts,
    /// How reliable the provider says that it is, in thousandths.
    pub reliability_permille: Option<u32>,
    /// How fast it says that it fetches.
    pub inet_down_mbps: Option<u32>,
    /// The newest CUDA that its driver knows, in tenths.
    pub cuda_tenths: Option<u32>,
    /// Where it stands.
    pub country: Option<String>,
}

/// Parts of a score, in thousandths.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScoreParts {
    /// Up to 400.
    pub price: u32,
    /// Up to 300.
    pub reliability: u32,
    /// Up to 150.
    pub network: u32,
    /// Up to 100.
    pub cuda: u32,
    /// Up to 50.
    pub disk: u32,
}

/// What one filter removed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Filtered {
    /// So many offers.
    pub count: usize,
    /// For this.
    pub why: String,
}

/// Hosts that are remembered, the heaviest first.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Hosts {
    /// `charter.hosts/1`.
    pub schema: String,
    /// The hosts.
    pub hosts: Vec<Host>,
}

/// A host that failed, or that was measured.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its provider.
    pub provider: String,
    /// Its name there.
    pub host: String,
    /// How much its failures weigh now; each counts half after three days.
    pub weight: f64,
    /// Nothing is rented there for now.
    pub left_out: bool,
    /// How fast it fetched weights.
    pub download_mbps: Option<u32>,
    /// What went wrong.
    pub failures: Vec<HostFailure>,
}

/// Failures of one kind.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HostFailure {
    /// Their class.
    pub class: String,
    /// How many.
    pub count: u32,
    /// The last one.
    pub last_at: String,
}

/// Something in a provider's account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Where.
    pub provider: String,
    /// Its id there.
    pub id: String,
    /// The deployment that holds it.
    pub deployment: Option<String>,
    /// The copy that it runs.
    pub replica: Option<String>,
    /// Its GPUs.
    pub gpu: Option<String>,
    /// What it costs.
    pub price_usd_micros_per_hour: i64,
    /// `in-use` or `unclear`.
    pub belongs: String,
    /// Why it is unclear.
    pub why: Option<String>,
}

/// Where machines come from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Provider {
    /// Its name in the file.
    pub name: String,
    /// What it gives costs money.
    pub rented: bool,
    /// It answered with our key.
    pub proven: bool,
    /// Why nothing new is rented there for now.
    pub frozen: Option<String>,
}
