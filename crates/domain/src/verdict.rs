//! The verdict on a generation that has taken over: what its requests show, beside those of the one before it.

use crate::usage::{End, Used};
use serde::{Deserialize, Serialize};

/// With fewer answers than this nothing can be said.
const FEW: u64 = 10;
/// Failures below this number prove nothing.
const FAILURES_MIN: u64 = 3;
/// What failed may be so much more than before, in thousandths of all requests.
const FAILED_MORE_PERMILLE: u64 = 20;
/// The first part of an answer may come so much later than before, beside twice as late.
const FIRST_MORE_MS: u64 = 200;

/// What a group of requests shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// How many there were.
    pub requests: u64,
    /// Of those, how many the backend did not answer well.
    pub failed: u64,
    /// Until the first part of the answer: the median, in milliseconds.
    pub first_ms: u64,
    /// Tokens written per second of one request: the median; 0 where too few show it.
    pub tokens_per_s: u64,
}

impl Numbers {
    /// Adds up requests. Who left, or had no money left, says nothing of the backend.
    #[must_use]
    pub fn of<'a>(all: impl Iterator<Item = &'a Used>) -> Self {
        let (mut seen, mut first, mut speed) = (Self::default(), vec![], vec![]);
        for used in all.filter(|u| u.end != End::Cached) {
            seen.requests += 1;
            seen.failed += u64::from(used.end == End::Failed);
            if used.end != End::Done {
                continue;
            }
            // What it waited for a place or a start is not the engine's.
            let waited = used.queue_ms + used.cold_ms;
            first.push(used.first_ms.saturating_sub(waited));
            let writing = used.duration_ms.saturating_sub(used.first_ms);
            if used.completion_tokens > 1 && writing > 0 {
                speed.push(used.completion_tokens * 1000 / writing);
            }
        }
        seen.first_ms = median(first);
        // Short answers show no speed, and the long ones of the first minute are not at their end yet: none is not slow.
        if speed.len() as u64 >= FEW {
            seen.tokens_per_s = median(speed).max(1);
        }
        seen
    }

    fn failed_permille(&self) -> u64 {
        (self.failed * 1000).checked_div(self.requests).unwrap_or(0)
    }
}

fn median(mut all: Vec<u64>) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

impl std::fmt::Display for Numbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { requests, failed, first_ms, tokens_per_s } = self;
        write!(f, "{requests} requests, {failed} failed, first token after {first_ms} ms, ")?;
        // Answers too short to show a speed do not make it nothing.
        if *tokens_per_s == 0 { f.write_str("speed not known yet") } else { write!(f, "{tokens_per_s} tokens/s") }
    }
}

/// What follows from the numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Good(String),
    /// It is worse than what it replaced, and how.
    Bad(String),
}

/// Compares the new generation since its cut-over with the last hour of the one before it.
#[must_use]
pub fn judge(old: &Numbers, new: &Numbers) -> Verdict {
    if new.requests == 0 {
        return Verdict::Good("nobody asked it anything".to_owned());
    }
    let beside = format!("{new}; before: {old}");
    let failing = new.failed_permille() > old.failed_permille() * 2 + FAILED_MORE_PERMILLE;
    if new.failed >= FAILURES_MIN && failing {
        return Verdict::Bad(format!("more requests fail: {beside}"));
    }
    if new.requests < FEW || old.requests < FEW {
        return Verdict::Good(format!("too few requests to compare speed: {beside}"));
    }
    if new.first_ms > old.first_ms * 2 + FIRST_MORE_MS {
        return Verdict::Bad(format!("answers begin too late: {beside}"));
    }
    if new.tokens_per_s > 0 && new.tokens_per_s * 2 < old.tokens_per_s {
        return Verdict::Bad(format!("it writes less than half as fast: {beside}"));
    }
    Verdict::Good(beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(requests: u64, failed: u64, first_ms: u64, tokens_per_s: u64) -> Numbers {
        Numbers { requests, failed, first_ms, tokens_per_s }
    }

    #[test]
    fn what_is_worse_is_told_apart_from_what_is_only_noisy() {
        let old = numbers(1000, 5, 300, 40);
        let cases = [
            (numbers(100, 0, 320, 41), true),
            (numbers(100, 2, 300, 40), true),
            (numbers(100, 4, 300, 40), false),
            (numbers(5, 5, 0, 0), false),
            (numbers(5, 2, 0, 0), true),
            (numbers(0, 0, 0, 0), true),
            (numbers(50, 0, 790, 40), true),
            (numbers(50, 0, 900, 40), false),
            (numbers(50, 0, 300, 19), false),
            (numbers(50, 0, 300, 0), true),
            (numbers(9, 0, 9000, 1), true),
        ];
        for (new, good) in cases {
            assert_eq!(matches!(judge(&old, &new), Verdict::Good(_)), good, "{new}");
        }
        assert!(matches!(judge(&Numbers::default(), &numbers(500, 1, 9000, 1)), Verdict::Good(_)), "nothing to compare with");
    }

    #[test]
    fn who_left_says_nothing_and_waiting_is_not_the_engines() {
        let used = |end, first_ms, cold_ms, tokens| Used {
            end,
            first_ms,
            cold_ms,
            duration_ms: first_ms + 1000,
            completion_tokens: tokens,
            ..Used::default()
        };
        let all =
            [used(End::Done, 5300, 5000, 40), used(End::Left, 9, 0, 1), used(End::Failed, 0, 0, 0), used(End::Cached, 1, 0, 9)];
        assert_eq!(Numbers::of(all.iter()), numbers(3, 1, 300, 0), "one answer shows no speed");
        let many = vec![used(End::Done, 300, 0, 40); 10];
        assert_eq!(Numbers::of(many.iter()), numbers(10, 0, 300, 40));
    }
}
