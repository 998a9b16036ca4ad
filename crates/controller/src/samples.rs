//! How busy engines were in the last hour, minute by minute: for charts, and lost with the process.

use charter_domain::ids::ReplicaId;
use charter_domain::time::{Span, Time};
use charter_engines::log::load::Load;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Between two of them.
const EVERY: Span = Span::s(55);
/// As many as are kept of a replica.
const KEPT: usize = 70;

/// What an engine said of itself at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Time,
    /// Requests that it answered.
    pub running: u64,
    /// Requests that waited inside it.
    pub waiting: u64,
    /// How full its key-value cache was, in thousandths.
    pub kv_permille: u32,
}

/// Those of one replica, and when it was asked last.
#[derive(Debug, Default)]
struct Known {
    asked_at: Option<Time>,
    all: VecDeque<Sample>,
}

/// All that are kept.
#[derive(Debug, Default)]
pub(crate) struct Samples(Mutex<BTreeMap<ReplicaId, Known>>);

impl Samples {
    /// Is it time to ask again? Then it is taken as asked, whether it answers or not.
    pub(crate) fn asks(&self, replica: &ReplicaId, now: Time) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(replica.clone()).or_default();
        let is_due = known.asked_at.is_none_or(|last| now.since(last) >= EVERY || now < last);
        if is_due {
            known.asked_at = Some(now);
        }
        is_due
    }

    /// Keeps what it said, unless it was asked a moment before for another reason.
    pub(crate) fn add(&self, replica: &ReplicaId, load: Load, now: Time) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(replica.clone()).or_default();
        if known.all.back().is_some_and(|last| (Span::ms(0)..EVERY).contains(&now.since(last.at))) {
            return;
        }
        let Load { running, waiting, kv_permille } = load;
        known.all.push_back(Sample { at: now, running, waiting, kv_permille });
        if known.all.len() > KEPT {
            known.all.pop_front();
        }
    }

    /// Those of a replica, the oldest first.
    pub(crate) fn of(&self, replica: &ReplicaId) -> Vec<Sample> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(replica).map(|mine| mine.all.iter().copied().collect()).unwrap_or_default()
    }

    /// Forgets all but these.
    pub(crate) fn keep(&self, open: &[ReplicaId]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| open.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_is_kept_for_an_hour() {
        let (samples, id) = (Samples::default(), ReplicaId("r".to_owned()));
        for second in 0..2 * 3600 {
            let load = Load { running: second, waiting: 0, kv_permille: 0 };
            samples.add(&id, load, Time(i64::try_from(second).unwrap_or(0) * 1000));
        }
        let kept = samples.of(&id);
        assert_eq!(kept.len(), KEPT);
        assert!(kept.windows(2).all(|pair| pair[1].at.since(pair[0].at) == EVERY));
        assert!(samples.asks(&id, Time(0)) && !samples.asks(&id, Time(54_000)) && samples.asks(&id, Time(55_000)));
        samples.keep(&[]);
        assert_eq!(samples.of(&id), []);
    }
}
