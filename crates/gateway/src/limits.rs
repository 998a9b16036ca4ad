//! What a key may ask for in a minute and at the same time. All of it is in memory: nobody is asked.

use crate::errors::Refusal;
use charter_domain::routing::KeyLimits;
use charter_domain::time::Time;
use std::sync::{Mutex, PoisonError};

/// So much may be asked in a minute: a store that fills evenly, and is full at first.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Used of it, in thousandths.
    used: i64,
    at: Time,
}

impl Bucket {
    /// Lets time pass.
    fn fill(&mut self, per_minute: i64, now: Time) {
        let passed = now.since(self.at).0.min(60_000);
        // A thousandth of `per_minute` comes back every sixtieth of a second.
        self.used = (self.used - per_minute.saturating_mul(passed) / 60).max(0);
        self.at = self.at.max(now);
    }

    /// Takes so much, or says after how many seconds it is there.
    fn take(&mut self, amount: i64, per_minute: i64, now: Time) -> Result<(), u32> {
        self.fill(per_minute, now);
        let wanted = amount.saturating_mul(1000);
        let most = per_minute.saturating_mul(1000);
        // What is larger than a whole minute's share gets through an unused store: else it never would.
        if self.used.saturating_add(wanted) <= most || self.used == 0 {
            self.used = self.used.saturating_add(wanted);
            return Ok(());
        }
        let missing = self.used.saturating_add(wanted.min(most)) - most;
        let seconds = (missing.saturating_mul(60) + most - 1) / most.max(1);
        Err(u32::try_from(seconds).unwrap_or(60).clamp(1, 60))
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    requests: Bucket,
    tokens: Bucket,
    parallel: u32,
}

/// What one key has used.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<State>);

impl Meter {
    /// Lets a request of about so many tokens in, or says what refuses it. One of several gateways allows its share.
    pub(crate) fn admit(&self, limits: &KeyLimits, gateways: u32, tokens: u64, now: Time) -> Result<(), Refusal> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gateways = i64::from(gateways.max(1));
        let share = |whole: i64| (whole / gateways).max(1);
        if limits.parallel.is_some_and(|most| i64::from(state.parallel) >= share(i64::from(most))) {
            return Err(Refusal::RateLimited("requests at the same time", 1));
        }
        let before = *state;
        if let Some(most) = limits.requests_per_minute {
            let taken = state.requests.take(1, share(i64::from(most)), now);
            taken.map_err(|after| Refusal::RateLimited("requests per minute", after))?;
        }
        if let Some(most) = limits.tokens_per_minute {
            let most = share(i64::try_from(most).unwrap_or(i64::MAX / 1_000_000));
            if let Err(after) = state.tokens.take(i64::try_from(tokens).unwrap_or(i64::MAX / 1_000_000), most, now) {
                *state = before;
                return Err(Refusal::RateLimited("tokens per minute", after));
            }
        }
        state.parallel += 1;
        Ok(())
    }

    /// One more part of a request that was let in already.
    pub(crate) fn again(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).parallel += 1;
    }

    /// A request has ended: what was taken for it is made right.
    pub(crate) fn settle(&self, taken: u64, used: u64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.parallel = state.parallel.saturating_sub(1);
        let thousandths = |n: u64| i64::try_from(n).unwrap_or(0).saturating_mul(1000);
        state.tokens.used = (state.tokens.used + thousandths(used) - thousandths(taken)).max(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests: Option<u32>, tokens: Option<u64>, parallel: Option<u32>) -> KeyLimits {
        KeyLimits { requests_per_minute: requests, tokens_per_minute: tokens, parallel, ..KeyLimits::default() }
    }

    fn admitted(meter: &Meter, limits: &KeyLimits, gateways: u32, tokens: u64, at: i64) -> bool {
        meter.admit(limits, gateways, tokens, Time(at)).is_ok()
    }

    #[test]
    fn a_minute_has_so_many_requests_and_they_come_back_evenly() {
        let (meter, sixty) = (Meter::default(), limits(Some(60), None, None));
        assert_eq!((0..100).filter(|_| admitted(&meter, &sixty, 1, 0, 1000)).count(), 60);
        assert!(matches!(meter.admit(&sixty, 1, 0, Time(1000)), Err(Refusal::RateLimited(_, 1))));
        assert!(admitted(&meter, &sixty, 1, 0, 2000) && !admitted(&meter, &sixty, 1, 0, 2000));
        let meter = Meter::default();
        assert_eq!((0..100).filter(|_| admitted(&meter, &sixty, 3, 0, 1000)).count(), 20, "one of three gateways");
    }

    #[test]
    fn tokens_are_made_right_when_it_is_known_how_many_there_were() {
        let (meter, thousand) = (Meter::default(), limits(None, Some(1000), None));
        assert!(admitted(&meter, &thousand, 1, 900, 0) && !admitted(&meter, &thousand, 1, 200, 0));
        meter.settle(900, 100);
        assert!(admitted(&meter, &thousand, 1, 200, 0));
        meter.settle(200, 5000);
        assert!(!admitted(&meter, &thousand, 1, 1, 60_000), "more was used than a minute has");
        let fresh = Meter::default();
        assert!(
            admitted(&fresh, &thousand, 1, 5000, 0),
            "a request that is larger than a minute's share is not refused for ever"
        );
    }

    #[test]
    fn so_many_at_the_same_time() {
        let (meter, two) = (Meter::default(), limits(None, None, Some(2)));
        assert_eq!((0..5).filter(|_| admitted(&meter, &two, 1, 0, 0)).count(), 2);
        meter.settle(0, 0);
        assert!(admitted(&meter, &two, 1, 0, 0) && !admitted(&meter, &two, 1, 0, 0));
    }
}
