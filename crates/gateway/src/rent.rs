//! What a request costs of its machine's rent: at every moment the rent is shared evenly among the requests that the machine is
//! answering, so that all shares together are the rent of the time in which it had something to do.

use charter_domain::money::{Usd, UsdPerHour};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Nanoseconds of an hour.
const HOUR: u128 = 3_600_000_000_000;

#[derive(Debug)]
struct State {
    price: u128,
    in_flight: u64,
    /// What one request would have cost that was there all the time, in micro-dollars times nanoseconds per hour.
    each: u128,
    at: Instant,
}

/// The rent of one backend.
#[derive(Debug)]
pub(crate) struct Rent(Mutex<State>);

/// Where a request came in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark(u128);

impl State {
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_nanos();
        if let Some(share) = (self.price * passed).checked_div(u128::from(self.in_flight)) {
            self.each += share;
        }
        self.at = now;
    }
}

impl Rent {
    pub(crate) fn new(price: UsdPerHour, now: Instant) -> Self {
        Self(Mutex::new(State { price: micros(price), in_flight: 0, each: 0, at: now }))
    }

    /// The price counts from now on.
    pub(crate) fn set(&self, price: UsdPerHour, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(now);
        state.price = micros(price);
    }

    /// A request comes.
    pub(crate) fn begin(&self, now: Instant) -> Mark {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(now);
        state.in_flight += 1;
        Mark(state.each)
    }

    /// A request goes: its share, rounded to the next micro-dollar.
    pub(crate) fn end(&self, mark: Mark, now: Instant) -> Usd {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(now);
        state.in_flight = state.in_flight.saturating_sub(1);
        let share = (state.each - mark.0 + HOUR / 2) / HOUR;
        Usd(i64::try_from(share).unwrap_or(i64::MAX))
    }
}

fn micros(price: UsdPerHour) -> u128 {
    u128::try_from(price.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn two_at_the_same_time_share_and_idle_time_is_nobodys() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // One micro-dollar a second.
        let rent = Rent::new(UsdPerHour(3600), start);
        let one = rent.begin(at(100));
        let two = rent.begin(at(110));
        assert_eq!(rent.end(one, at(130)), Usd(20), "ten seconds alone, twenty of two");
        rent.set(UsdPerHour(7200), at(140));
        assert_eq!(rent.end(two, at(150)), Usd(40), "ten of two, ten alone, ten at twice the price");
    }
}
