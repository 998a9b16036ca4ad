//! Whether a backend gets requests, after what became of the last ones. A pure machine: time is an argument.

use charter_domain::time::{Span, Time};

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// How long it stays open at first; doubled each time a trial fails.
const OPEN_FIRST: Span = Span::s(2);
const OPEN_MAX: Span = Span::s(60);
/// Requests that may try a backend at the same time while it is half open.
const TRIALS: u32 = 2;
/// A failure is forgotten after so long.
const MEMORY: Span = Span::s(10);

/// What became of a request at a backend. What the gateway itself refused, and clients that left, are no result at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Good,
    Bad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Time, step: u32 },
    HalfOpen { trials: u32, step: u32 },
}

/// The machine of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breaker {
    state: State,
    /// The last failure, and how many lay close before it.
    last: Time,
    weight: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed { failures: 0 }, last: Time(0), weight: 0 }
    }
}

impl Breaker {
    /// May a request be sent now? A yes while it is half open takes one of its trials.
    pub(crate) fn admit(&mut self, now: Time) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, step } if until <= now => {
                self.state = State::HalfOpen { trials: 1, step };
                true
            }
            State::Open { .. } => false,
            State::HalfOpen { trials, step } if trials < TRIALS => {
                self.state = State::HalfOpen { trials: trials + 1, step };
                true
            }
            State::HalfOpen { .. } => false,
        }
    }

    /// Would [`Breaker::admit`] say yes?
    pub(crate) fn would_admit(&self, now: Time) -> bool {
        let mut copy = *self;
        copy.admit(now)
    }

    /// A request ended without a result: its trial is free again.
    pub(crate) fn forgo(&mut self) {
        if let State::HalfOpen { trials, step } = self.state {
            self.state = State::HalfOpen { trials: trials.saturating_sub(1), step };
        }
    }

    /// Takes a result in.
    pub(crate) fn result(&mut self, outcome: Outcome, now: Time) {
        if outcome == Outcome::Bad {
            self.weight = if now.since(self.last) < MEMORY { (self.weight + 1).min(100) } else { 1 };
            self.last = now;
        }
        self.state = match (self.state, outcome) {
            (State::Closed { .. } | State::HalfOpen { .. }, Outcome::Good) => State::Closed { failures: 0 },
            (State::Closed { failures }, Outcome::Bad) if failures + 1 < FAILURES => State::Closed { failures: failures + 1 },
            (State::Closed { .. }, Outcome::Bad) => State::Open { until: now + OPEN_FIRST, step: 1 },
            (State::HalfOpen { step, .. }, Outcome::Bad) => {
                State::Open { until: now + OPEN_FIRST.backoff(step + 1, OPEN_MAX), step: step + 1 }
            }
            // An answer to a request that was sent before it opened.
            (open @ State::Open { .. }, _) => open,
        };
    }

    /// Is it closed, as for a backend that is well?
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Failures of the last seconds, as load: who fails fast has nothing to do, and must not win by it.
    pub(crate) fn recent(&self, now: Time) -> u32 {
        if now.since(self.last) < MEMORY { self.weight } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(breaker: &mut Breaker, times: u32, now: Time) {
        (0..times).for_each(|_| breaker.result(Outcome::Bad, now));
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_good_answer_between_them_does_not() {
        let mut breaker = Breaker::default();
        bad(&mut breaker, FAILURES - 1, Time(0));
        breaker.result(Outcome::Good, Time(0));
        bad(&mut breaker, FAILURES - 1, Time(0));
        assert!(breaker.admit(Time(1)));
        bad(&mut breaker, 1, Time(0));
        assert!(!breaker.admit(Time(1)));
        assert_eq!(breaker.recent(Time(1)), 2 * FAILURES - 1);
        assert_eq!(breaker.recent(Time(10_000)), 0, "it is forgotten");
    }

    #[test]
    fn half_open_lets_few_through_and_waits_longer_after_each_failure() {
        let mut breaker = Breaker::default();
        bad(&mut breaker, FAILURES, Time(0));
        let at = Time(0) + OPEN_FIRST;
        assert_eq!((0..10).filter(|_| breaker.admit(at)).count(), TRIALS as usize);
        breaker.forgo();
        assert!(breaker.would_admit(at) && breaker.admit(at) && !breaker.admit(at), "a client that left gives its trial back");
        bad(&mut breaker, 1, at);
        assert!(!breaker.admit(at + OPEN_FIRST));
        let later = at + Span(OPEN_FIRST.0 * 2);
        assert!(breaker.admit(later));
        breaker.result(Outcome::Good, later);
        assert!(breaker.is_closed() && (0..10).all(|_| breaker.admit(later)));
    }
}
