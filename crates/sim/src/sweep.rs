//! The sweep: a clean run counts its crash points and its deliveries; then one run dies at each point, and one run
//! delivers each outcome twice.

use crate::mutation::Variant;
use crate::world::{Setup, Summary, run};

/// What a sweep or a set of seeds showed.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// Worlds run.
    pub worlds: u64,
    /// Worlds in which something did not hold, as the setups that repeat them.
    pub failed: Vec<(Setup, String)>,
    /// Effects performed.
    pub effects: u64,
    /// Crashes.
    pub crashes: u64,
    /// How long the worlds lasted, in their own time.
    pub simulated_ms: i64,
    /// How often each rare path was reached.
    pub reached: std::collections::BTreeMap<&'static str, u64>,
}

impl Total {
    /// Adds what another set showed.
    pub fn merge(&mut self, other: Self) {
        self.worlds += other.worlds;
        self.effects += other.effects;
        self.crashes += other.crashes;
        self.simulated_ms += other.simulated_ms;
        self.failed.extend(other.failed);
        for (what, count) in other.reached {
            *self.reached.entry(what).or_default() += count;
        }
    }

    fn add(&mut self, setup: Setup, summary: &Summary) {
        self.worlds += 1;
        self.effects += summary.effects;
        self.crashes += summary.crashes;
        self.simulated_ms += summary.simulated_ms;
        for (what, count) in &summary.reached {
            *self.reached.entry(what).or_default() += count;
        }
        if let Some(violation) = summary.violations.first() {
            self.failed.push((setup, format!("{:?}: {}", violation.id, violation.text)));
        }
    }
}

/// A world without faults.
#[must_use]
pub const fn setup(seed: u64, variant: Variant) -> Setup {
    Setup { seed, faults: false, crash_at: None, twice: None, variant, logged: false, measured: false, long: false }
}

/// Random worlds with faults, one per seed.
#[must_use]
pub fn seeds(first: u64, count: u64, variant: Variant) -> Total {
    let mut total = Total::default();
    for seed in first..first + count {
        let world = Setup { faults: true, ..setup(seed, variant) };
        total.add(world, &run(world));
    }
    total
}

/// Worlds of a day with many deployments.
#[must_use]
pub fn long_seeds(first: u64, count: u64, variant: Variant) -> Total {
    let mut total = Total::default();
    for seed in first..first + count {
        let world = Setup { faults: true, long: true, ..setup(seed, variant) };
        total.add(world, &run(world));
    }
    total
}

/// Every crash point and every double delivery of `count` scenarios without other faults.
#[must_use]
pub fn sweep(first: u64, count: u64, variant: Variant) -> Total {
    let mut total = Total::default();
    for seed in first..first + count {
        let clean = run(setup(seed, variant));
        total.add(setup(seed, variant), &clean);
        for point in 1..=clean.points {
            let world = Setup { crash_at: Some(point), ..setup(seed, variant) };
            total.add(world, &run(world));
        }
        for delivery in 1..=clean.effects {
            let world = Setup { twice: Some(delivery), ..setup(seed, variant) };
            total.add(world, &run(world));
        }
    }
    total
}
