//! Something rentable now, or a machine of ours with free GPUs: a hint that may be gone.

use crate::money::{Usd, UsdPerHour};
use crate::time::Time;
use serde::{Deserialize, Serialize};

/// One GPU as its machine describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    /// Index on its machine.
    pub index: u32,
    /// Its name, with spaces.
    pub name: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Compute capability in tenths, if known.
    pub compute_tenths: Option<u32>,
    /// No engine of ours holds it.
    pub free: bool,
}

/// What one provider would let us have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The provider's name in the configuration.
    pub provider: String,
    /// The provider's own id of the offer.
    pub id: String,
    /// The machine behind it, for exclusions and reputation.
    pub host: String,
    /// Its GPUs.
    pub gpus: Vec<Accelerator>,
    /// A machine without GPU that may be used for engines without GPU.
    pub no_gpu_allowed: bool,
    /// Free disk in bytes, if known.
    pub disk_bytes: Option<u64>,
    /// Driver version, if known.
    pub driver: Option<String>,
    /// What it costs, with the disk that was asked for.
    pub price: UsdPerHour,
    /// What a marketplace says of its host; nothing for a machine of ours.
    #[serde(default)]
    pub market: Option<Market>,
}

/// What a marketplace says of a host. All of it is advertised, none of it is promised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Market {
    /// The highest CUDA that its driver runs, in tenths: `12.4` is 124.
    pub cuda_tenths: Option<u32>,
    /// How reliable it was, in thousandths.
    pub reliability_permille: u32,
    /// Download, in megabits per second.
    pub inet_down_mbps: u32,
    /// Upload, in megabits per second.
    pub inet_up_mbps: u32,
    /// Ports that can be mapped to the outside.
    pub direct_ports: u32,
    /// Where it stands, as two letters.
    pub country: Option<String>,
    /// When its listing ends, and every rental with it.
    pub listed_until: Option<Time>,
    /// What a gigabyte costs that is fetched from the network.
    #[serde(default)]
    pub down_per_gb: Usd,
}

impl Offer {
    /// What it costs to fetch so many bytes there, rounded up to whole gigabytes.
    #[must_use]
    pub fn traffic(&self, bytes: u64) -> Usd {
        let gigabytes = i64::try_from(bytes.div_ceil(1_000_000_000)).unwrap_or(i64::MAX);
        self.market.as_ref().map_or(Usd(0), |m| Usd(m.down_per_gb.0.saturating_mul(gigabytes)))
    }

    /// Such as `2x NVIDIA L4`, or `no GPU`.
    #[must_use]
    pub fn label(&self) -> String {
        label(self.gpus.iter().map(|g| g.name.as_str()))
    }
}

/// Names GPUs for people: `1x RTX 3090`, `1x L4 + 1x T4`, or `no GPU`.
#[must_use]
pub fn label<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut counted: Vec<(&str, u32)> = vec![];
    for name in names {
        match counted.iter_mut().find(|(n, _)| *n == name) {
            Some((_, count)) => *count += 1,
            None => counted.push((name, 1)),
        }
    }
    if counted.is_empty() {
        return "no GPU".to_owned();
    }
    counted.iter().map(|(name, count)| format!("{count}x {name}")).collect::<Vec<_>>().join(" + ")
}
