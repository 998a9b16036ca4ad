//! Ranks 3,000 offers, many times, and prints the median in milliseconds: run by `cargo xtask bench-market`.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement that people and xtask read")]

use charter_domain::money::UsdPerHour;
use charter_domain::offer::{Accelerator, Market, Offer};
use charter_domain::placement::{Requirement, rank};
use charter_domain::profile::built_in_tiers;
use std::time::Instant;

const CARDS: [(&str, u64); 6] =
    [("RTX 3090", 24), ("RTX 4090", 24), ("RTX A5000", 24), ("A100 SXM4", 80), ("Tesla V100", 16), ("RTX 5090", 32)];

fn offer(n: u64) -> Offer {
    let (name, gb) = CARDS[usize::try_from(n).unwrap_or(0) % CARDS.len()];
    let gpu = Accelerator { index: 0, name: name.into(), memory_bytes: gb << 30, compute_tenths: Some(86), free: true };
    let permille = u32::try_from(900 + n % 100).unwrap_or(0);
    Offer {
        provider: "market".into(),
        id: n.to_string(),
        host: (n * 7 % 3000).to_string(),
        gpus: vec![gpu],
        no_gpu_allowed: false,
        disk_bytes: Some((50 + n % 400) * 1_000_000_000),
        driver: None,
        price: UsdPerHour(i64::try_from(90_000 + n * 37 % 200_000).unwrap_or(0)),
        market: Some(Market { cuda_tenths: Some(130), reliability_permille: permille, inet_down_mbps: 500, ..Market::default() }),
    }
}

fn main() {
    let offers: Vec<Offer> = (0..3000).map(offer).collect();
    let need = Requirement {
        gpu_count: 1,
        vram_bytes: 16_000_000_000,
        disk_bytes: 60_000_000_000,
        tiers: built_in_tiers(),
        other_names: true,
        cuda_tenths: Some(130),
        min_reliability_permille: 950,
        inet_down_mbps: 100,
        ..Requirement::default()
    };
    let mut times: Vec<f64> = (0..101)
        .map(|_| {
            let begun = Instant::now();
            let ranking = rank(&need, &offers);
            assert!(!ranking.fitting.is_empty() && !ranking.rejected.is_empty(), "some fit, some do not");
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{:.3}", times[50]);
}
