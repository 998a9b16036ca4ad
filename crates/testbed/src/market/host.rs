//! Hosts and what they offer. Prices and machines depend on the seed alone.

use super::chance::Chance;
use serde_json::{Value, json};

/// A card that hosts have: name, memory in MiB, compute capability in hundredths, and usual price in micro-dollars per hour.
type Card = (&'static str, u64, u64, u64);

const CARDS: &[Card] = &[
    ("RTX 3090", 24576, 860, 130_000),
    ("RTX 3090", 24576, 860, 140_000),
    ("RTX 3090 Ti", 24564, 860, 150_000),
    ("RTX 4090", 24564, 890, 170_000),
    ("RTX 4090", 24564, 890, 290_000),
    ("RTX 4080", 16376, 890, 160_000),
    ("RTX 4080S", 16376, 890, 180_000),
    ("RTX A5000", 24564, 860, 180_000),
    ("RTX A6000", 49140, 860, 240_000),
    ("A40", 46068, 860, 280_000),
    ("A100 PCIE", 40960, 800, 450_000),
    ("A100 SXM4", 81920, 800, 780_000),
    ("Tesla V100", 16384, 700, 120_000),
    ("RTX 3080", 10240, 860, 100_000),
    ("RTX 5090", 32607, 1200, 380_000),
    ("H100 SXM", 81559, 900, 1_900_000),
    ("L40S", 46068, 890, 520_000),
];

/// One machine of somebody else.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// The machine's lasting number.
    pub(super) machine: u64,
    /// The number of the offer that stands for it now; a new one after every change.
    pub(super) ask: u64,
    /// A contract holds it.
    pub(super) rented: bool,
    card: Card,
    gpus: u64,
    base_micros: u64,
    disk_gb: u64,
    /// Storage, in micro-dollars per gigabyte and month.
    storage_micros: u64,
    reliability_permille: u64,
    down: u64,
    cuda_tenths: u64,
    verified: bool,
    country: &'static str,
}

const COUNTRIES: &[&str] = &["Texas, US", "Sweden, SE", "Quebec, CA", "Poland, PL", ", JP", "Germany, DE"];
const CUDAS: &[u64] = &[124, 126, 128, 129, 130, 130, 130, 130];

impl Host {
    /// The machines of a seed.
    #[must_use]
    pub(super) fn all(seed: u64, count: u64) -> Vec<Self> {
        let mut chance = Chance::new(seed ^ 0x5eed);
        (0..count).map(|n| Self::new(n, &mut chance)).collect()
    }

    fn new(n: u64, chance: &mut Chance) -> Self {
        let card = CARDS[usize::try_from(n).unwrap_or(0) % CARDS.len()];
        Self {
            machine: 12_000 + n,
            ask: 20_001 + n,
            rented: false,
            card,
            gpus: if n % 23 == 22 { 2 } else { 1 },
            base_micros: card.3 * chance.between(85, 118) / 100,
            disk_gb: chance.between(80, 900),
            storage_micros: chance.between(100_000, 250_000),
            reliability_permille: chance.between(930, 999),
            down: chance.between(60, 2500),
            cuda_tenths: chance.pick(CUDAS).copied().unwrap_or(130),
            verified: !chance.permille(60),
            country: chance.pick(COUNTRIES).copied().unwrap_or("Texas, US"),
        }
    }

    /// What it costs with a disk, in micro-dollars per hour.
    #[must_use]
    pub(super) const fn price_micros(&self, disk_gb: u64) -> u64 {
        self.base_micros * self.gpus + self.disk_micros(disk_gb)
    }

    /// What its disk alone costs, in micro-dollars per hour: the listed price is per month of 720 hours.
    #[must_use]
    pub(super) const fn disk_micros(&self, disk_gb: u64) -> u64 {
        (self.storage_micros * disk_gb).div_ceil(720)
    }

    /// The number of its GPUs.
    #[must_use]
    pub(super) const fn gpus(&self) -> u64 {
        self.gpus
    }

    /// Its card: name and memory in MiB.
    #[must_use]
    pub(super) const fn card(&self) -> (&'static str, u64, u64) {
        (self.card.0, self.card.1, self.card.2)
    }

    /// The fields that offers and instances share.
    #[must_use]
    pub(super) fn row(&self, disk_gb: u64) -> Value {
        let usd = |micros: u64| micros_usd(micros);
        let reliability = f64::from(u32::try_from(self.reliability_permille).unwrap_or(0)) / 1000.0;
        let (name, ram, compute) = self.card();
        let driver = if self.cuda_tenths >= 130 { "580.82.07" } else { "550.127.05" };
        let mut row = json!({
            "machine_id": self.machine, "host_id": self.machine / 3, "gpu_name": name, "num_gpus": self.gpus, "gpu_frac": 1.0,
            "gpu_ram": ram, "gpu_total_ram": ram * self.gpus, "gpu_mem_bw": 700.0, "gpu_lanes": 16, "gpu_ids": (0..self.gpus).collect::<Vec<_>>(),
            "compute_cap": compute, "cuda_max_good": f64::from(u32::try_from(self.cuda_tenths).unwrap_or(0)) / 10.0,
            "driver_version": driver, "cpu_cores": 32, "cpu_cores_effective": 16.0, "cpu_ghz": 3.5, "cpu_name": "EPYC 7302P", "cpu_arch": "amd64",
            "cpu_ram": 128_000, "pci_gen": 4.0, "pcie_bw": 12.0, "disk_bw": 2100.0, "disk_name": "nvme",
            "inet_up": self.down / 2, "inet_down": self.down, "inet_up_cost": 0.0, "inet_down_cost": 0.0,
            "dph_base": usd(self.base_micros * self.gpus), "dph_total": usd(self.price_micros(disk_gb)),
            "storage_cost": usd(self.storage_micros), "storage_total_cost": usd(self.disk_micros(disk_gb))
        });
        let more = json!({
            "min_bid": usd(self.base_micros / 2), "reliability": reliability, "reliability2": reliability,
            "verification": if self.verified { "verified" } else { "unverified" }, "hosting_type": 0, "static_ip": false,
            "direct_port_count": 100, "geolocation": self.country, "geolocode": 1, "dlperf": 30.0, "dlperf_per_dphtotal": 197.0,
            "flops_per_dphtotal": 200.0, "total_flops": 35.0, "score": 200.1, "os_version": "22.04", "mobo_name": "H12", "has_avx": 1,
            "bw_nvlink": 0.0, "gpu_max_power": 350.0, "gpu_max_temp": 90.0, "gpu_display_active": false, "logo": "/static/logos/vastai_small2.png",
        });
        if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
            row.extend(more);
        }
        row
    }

    /// The row of its offer.
    #[must_use]
    pub(super) fn offer(&self, disk_gb: u64) -> Value {
        let mut row = self.row(disk_gb);
        let listed = 1000 * 3600;
        for (name, value) in [
            ("id", json!(self.ask)),
            ("ask_contract_id", json!(self.ask)),
            ("bundle_id", json!(self.ask + 7)),
            ("disk_space", json!(self.disk_gb)),
            ("rentable", json!(true)),
            ("rented", json!(self.rented)),
            ("is_bid", json!(false)),
            ("external", Value::Null),
            ("duration", json!(listed)),
            ("public_ipaddr", json!("203.0.113.9")),
            ("start_date", Value::Null),
            ("verified", json!(self.verified)),
        ] {
            row[name] = value;
        }
        row
    }
}

/// Micro-dollars as the number of dollars that the wire carries.
#[must_use]
pub(super) fn micros_usd(micros: u64) -> f64 {
    f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1_000_000.0
}
