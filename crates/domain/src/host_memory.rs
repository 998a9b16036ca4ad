//! What is remembered of hosts that failed: by class, fading with time, a part of the score and, where it happens again, a
//! reason to leave a host out for a while.

use crate::time::{Span, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is remembered counts half after so long.
const HALF_LIFE: Span = Span::min(3 * 24 * 60);
/// One failure, in thousandths.
const ONE: u32 = 1000;
/// From this weight on a host is left out: two failures within one half-life, for example.
pub const LEFT_OUT: u32 = 1500;

/// A host that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFailure {
    /// Whose host.
    pub provider: String,
    /// Which.
    pub host: String,
    /// The class of the failure.
    pub class: String,
    /// When.
    pub at: Time,
}

/// All failures of one class on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Whose host.
    pub provider: String,
    /// Which.
    pub host: String,
    /// The class.
    pub class: String,
    /// How often, ever.
    pub count: u32,
    /// What they weighed at the time of the last one, in thousandths of one failure.
    pub weight: u32,
    /// The last one.
    pub last_at: Time,
}

/// A measured speed counts for so long.
const SPEED_KEPT: Span = Span::min(30 * 24 * 60);

/// How fast a host really fetched something large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpeed {
    /// Whose host.
    pub provider: String,
    /// Which.
    pub host: String,
    /// Megabits per second.
    pub mbps: u32,
    /// When it was measured.
    pub at: Time,
}

impl HostSpeed {
    /// The speed of a transfer; nothing for one that was too short to tell.
    #[must_use]
    pub fn measured(provider: &str, host: &str, bytes: u64, took: Span, at: Time) -> Option<Self> {
        let ms = u64::try_from(took.0).ok().filter(|ms| *ms >= 1000)?;
        let mbps = u32::try_from(bytes.saturating_mul(8) / 1000 / ms).unwrap_or(u32::MAX);
        Some(Self { provider: provider.to_owned(), host: host.to_owned(), mbps, at }).filter(|_| bytes > 0)
    }

    /// Does it still count?
    #[must_use]
    pub fn counts(&self, now: Time) -> bool {
        now.since(self.at) < SPEED_KEPT
    }
}

/// What a host's records add up to now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reputation {
    /// In thousandths of one failure that has just happened.
    pub weight: u32,
    /// The class that weighs most.
    pub class: String,
}

/// Provider and host.
pub type HostKey = (String, String);

/// What is left of a weight after a time: half of it per half-life, in a straight line between.
#[must_use]
pub fn faded(weight: u32, age: Span) -> u32 {
    let age = u64::try_from(age.0.max(0)).unwrap_or(0);
    let half = HALF_LIFE.0.unsigned_abs().max(1);
    let halved = u64::from(weight).checked_shr(u32::try_from(age / half).unwrap_or(u32::MAX)).unwrap_or(0);
    let left = halved - halved * (age % half) / (2 * half);
    u32::try_from(left).unwrap_or(u32::MAX)
}

impl HostRecord {
    /// One more failure.
    #[must_use]
    pub fn with(before: Option<Self>, failure: &HostFailure) -> Self {
        let (count, weight) = before.map_or((0, 0), |b| (b.count, faded(b.weight, failure.at.since(b.last_at))));
        Self {
            provider: failure.provider.clone(),
            host: failure.host.clone(),
            class: failure.class.clone(),
            count: count.saturating_add(1),
            weight: weight.saturating_add(ONE),
            last_at: failure.at,
        }
    }

    /// What it weighs now.
    #[must_use]
    pub fn weighs(&self, now: Time) -> u32 {
        faded(self.weight, now.since(self.last_at))
    }
}

/// The reputation of every host that is remembered and still weighs something.
#[must_use]
pub fn reputations(records: &[HostRecord], now: Time) -> BTreeMap<HostKey, Reputation> {
    let mut all: BTreeMap<HostKey, (Reputation, u32)> = BTreeMap::new();
    for record in records {
        let weight = record.weighs(now);
        if weight == 0 {
            continue;
        }
        let (known, most) = all.entry((record.provider.clone(), record.host.clone())).or_default();
        known.weight = known.weight.saturating_add(weight);
        if weight > *most {
            (known.class, *most) = (record.class.clone(), weight);
        }
    }
    all.into_iter().map(|(key, (reputation, _))| (key, reputation)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn failure(class: &str, day: i64) -> HostFailure {
        HostFailure { provider: "market".into(), host: "7".into(), class: class.into(), at: Time(day * DAY) }
    }

    #[test]
    fn a_measured_speed_is_bits_over_time_and_counts_for_a_month() {
        let speed = HostSpeed::measured("p", "h", 14_000_000_000, Span::s(112), Time(0)).expect("a speed");
        assert_eq!(speed.mbps, 1000);
        assert!(speed.counts(Time(0) + Span::min(29 * 24 * 60)) && !speed.counts(Time(0) + Span::min(30 * 24 * 60)));
        assert_eq!(HostSpeed::measured("p", "h", 14_000_000_000, Span::ms(900), Time(0)), None);
        assert_eq!(HostSpeed::measured("p", "h", 0, Span::s(10), Time(0)), None);
    }

    #[test]
    fn failures_fade_and_add_up() {
        for (days, left) in [(0, 1000), (3, 500), (6, 250), (9, 125), (30, 0), (3000, 0)] {
            assert_eq!(faded(1000, Span(days * DAY)), left, "{days} days");
        }
        assert_eq!(faded(1000, Span(DAY * 3 / 2)), 750);
        let first = HostRecord::with(None, &failure("host_fault", 0));
        let second = HostRecord::with(Some(first.clone()), &failure("host_fault", 3));
        assert_eq!((second.count, second.weight), (2, 1500));
        let other = HostRecord::with(None, &failure("ssh_timeout", 3));
        let known = reputations(&[second, other], Time(3 * DAY));
        let of = &known[&("market".to_owned(), "7".to_owned())];
        assert_eq!((of.weight, of.class.as_str()), (2500, "host_fault"));
        assert!(reputations(&[first], Time(400 * DAY)).is_empty());
    }
}
