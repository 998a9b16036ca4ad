//! How many copies of a deployment are wanted, between two bounds: a pure judgement of what its requests wait for.

use crate::time::{Span, Time};
use serde::{Deserialize, Serialize};

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Copies at the least; with 0 nothing runs while nobody asks, and the first request starts one.
    pub min: u32,
    /// Copies at the most.
    pub max: u32,
}

/// What is seen of a deployment's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Copies that answer.
    pub ready: u32,
    /// Copies that are on their way.
    pub starting: u32,
    /// Requests that wait at gateways, and inside engines.
    pub waiting: u64,
    /// Requests that are being answered.
    pub in_flight: u64,
    /// Requests that one copy answers at the same time.
    pub room: u32,
    /// The fullest key-value cache of a copy, in thousandths.
    pub kv_permille: u32,
}

/// What is remembered between two judgements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Since when there is too much to do for what runs.
    busy_since: Option<Time>,
    /// Since when one copy fewer would do.
    idle_since: Option<Time>,
}

/// So long there must be too much to do before another copy is taken: a burst is over by then.
const BUSY_FOR: Span = Span::s(15);
/// So long one fewer must do before one is given back: machines cost minutes to get again.
const IDLE_FOR: Span = Span::min(5);
/// A key-value cache fuller than this makes requests wait inside the engine.
const KV_FULL: u32 = 900;

impl Scale {
    /// How many copies are wanted, where `present` are wanted now.
    #[must_use]
    pub fn judge(self, present: u32, seen: Demand, memory: &mut Memory, now: Time) -> u32 {
        let within = present.clamp(self.min.min(present.max(self.min)), self.max);
        let room = u64::from(seen.room.max(1));
        let busy = seen.waiting > 0 || seen.kv_permille >= KV_FULL;
        let spare = seen.ready > 1
            && seen.waiting == 0
            && seen.kv_permille < KV_FULL / 2
            && seen.in_flight * 2 < room * u64::from(seen.ready - 1);
        memory.busy_since = if busy { memory.busy_since.or(Some(now)) } else { None };
        memory.idle_since = if spare { memory.idle_since.or(Some(now)) } else { None };
        let lasts = |since: Option<Time>, span: Span| since.is_some_and(|at| now.since(at) >= span);
        // What is on its way may be enough.
        if seen.starting == 0 && seen.ready > 0 && lasts(memory.busy_since, BUSY_FOR) && within < self.max {
            memory.busy_since = None;
            return within + 1;
        }
        if seen.starting == 0 && lasts(memory.idle_since, IDLE_FOR) && within > self.min.max(1) {
            memory.idle_since = None;
            return within - 1;
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale { min: 1, max: 3 };

    fn seen(ready: u32, waiting: u64, in_flight: u64) -> Demand {
        Demand { ready, waiting, in_flight, room: 8, ..Demand::default() }
    }

    /// The same is seen for so many seconds, a look each second.
    fn after(scale: Scale, mut present: u32, demand: Demand, seconds: i64, memory: &mut Memory) -> u32 {
        for second in 0..=seconds {
            present = scale.judge(present, demand, memory, Time(second * 1000));
        }
        present
    }

    #[test]
    fn a_queue_that_lasts_takes_another_copy_and_a_burst_does_not() {
        assert_eq!(after(SCALE, 1, seen(1, 3, 8), 14, &mut Memory::default()), 1);
        assert_eq!(after(SCALE, 1, seen(1, 3, 8), 15, &mut Memory::default()), 2);
        assert_eq!(after(SCALE, 1, Demand { starting: 1, ..seen(1, 3, 8) }, 600, &mut Memory::default()), 1, "one is on its way");
        assert_eq!(after(SCALE, 3, seen(3, 9, 24), 600, &mut Memory::default()), 3, "and no more than allowed");
        let full = Demand { kv_permille: 950, ..seen(1, 0, 4) };
        assert_eq!(after(SCALE, 1, full, 15, &mut Memory::default()), 2, "a full cache makes requests wait inside the engine");
    }

    #[test]
    fn what_one_fewer_could_do_gives_one_back_after_a_while() {
        assert_eq!(after(SCALE, 3, seen(3, 0, 7), 299, &mut Memory::default()), 3);
        assert_eq!(after(SCALE, 3, seen(3, 0, 7), 300, &mut Memory::default()), 2);
        assert_eq!(after(SCALE, 3, seen(3, 0, 8), 600, &mut Memory::default()), 3, "two would be half full");
        assert_eq!(after(SCALE, 1, seen(1, 0, 0), 3600, &mut Memory::default()), 1, "the last one goes by `keep-alive` alone");
    }

    #[test]
    fn bounds_that_have_moved_hold_at_once() {
        assert_eq!(Scale { min: 2, max: 4 }.judge(1, seen(1, 0, 0), &mut Memory::default(), Time(0)), 2);
        assert_eq!(Scale { min: 0, max: 1 }.judge(3, seen(3, 0, 0), &mut Memory::default(), Time(0)), 1);
        assert_eq!(Scale { min: 0, max: 1 }.judge(0, seen(0, 0, 0), &mut Memory::default(), Time(0)), 0, "asleep");
    }
}
