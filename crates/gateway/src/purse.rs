//! Money of a key, as one gateway holds it: it is drawn in slices from a bank that several gateways share, set aside when a
//! request comes, and settled when it is known what that cost. What was not drawn cannot be spent, so a limit holds however
//! many requests come at once, and through however many gateways.

use crate::errors::Refusal;
use charter_domain::money::Usd;
use charter_domain::routing::KeyLimits;
use charter_domain::time::Time;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

/// A bank that has refused is asked again after so long.
const REFUSED_MS: i64 = 1000;
/// A slice is this part of the smaller limit.
const SLICES: i64 = 20;
const DAY_MS: i64 = 86_400_000;

/// What the bank says.
pub type Drawn<'a> = Pin<Box<dyn Future<Output = Result<Usd, String>> + Send + 'a>>;

/// Where the money of keys is kept.
pub trait Bank: Send + Sync {
    /// Takes at most so much of what the limits of a key leave today; 0 where nothing is left. An error means that it is not
    /// known, and nothing was taken or it is lost.
    fn draw<'a>(&'a self, key: &'a str, want: Usd) -> Drawn<'a>;

    /// Puts back what was drawn today and will not be spent, because the gateway ends; what it says then is how much that was.
    fn put_back<'a>(&'a self, key: &'a str, left: Usd) -> Drawn<'a>;
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// The day that it was drawn for: the next one has its own.
    day: i64,
    left: i64,
    /// When the bank refused last, and how much that was.
    refused: Option<(i64, i64)>,
}

/// The money of one key at this gateway.
#[derive(Debug, Default)]
pub(crate) struct Purse {
    state: Mutex<State>,
    drawing: tokio::sync::Mutex<()>,
}

/// Money that is set aside for a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reserved {
    day: i64,
    pub(crate) micros: i64,
}

impl Purse {
    fn state(&self, now: Time) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let day = now.0.div_euclid(DAY_MS);
        // Whoever asks with the time of before midnight gets the new day's all the same.
        if state.day < day {
            *state = State { day, ..State::default() };
        }
        state
    }

    /// Sets more aside, if it is at hand. A day that has begun since has its own money.
    pub(crate) fn take(&self, reserved: &mut Reserved, micros: i64, now: Time) -> bool {
        let mut state = self.state(now);
        if state.left < micros {
            return false;
        }
        state.left -= micros;
        if reserved.day == state.day {
            reserved.micros += micros;
        } else {
            // What was set aside yesterday is yesterday's.
            *reserved = Reserved { day: state.day, micros };
        }
        true
    }

    /// Sets more aside, and draws it from the bank where it is not at hand.
    pub(crate) async fn reserve(
        &self,
        bank: &dyn Bank,
        (key, limits): (&str, &KeyLimits),
        reserved: &mut Reserved,
        micros: i64,
        now: Time,
    ) -> Result<(), Refusal> {
        if self.take(reserved, micros, now) {
            return Ok(());
        }
        // One draws, and those who wait for it find what it brought.
        let _alone = self.drawing.lock().await;
        if self.take(reserved, micros, now) {
            return Ok(());
        }
        if self.state(now).refused.is_some_and(|(at, then)| now.0 - at < REFUSED_MS && micros >= then) {
            return Err(Refusal::Quota);
        }
        let part = |limit: Option<Usd>, parts: i64| limit.map_or(i64::MAX, |usd| usd.0 / parts);
        let slice = part(limits.day, SLICES).min(part(limits.month, 10 * SLICES));
        let need = micros.saturating_sub(self.state(now).left);
        match bank.draw(key, Usd(need.saturating_add(slice))).await {
            // What is not enough here may be enough for a smaller request elsewhere.
            Ok(drawn) if drawn.0 < need => {
                if drawn.0 > 0
                    && let Err(why) = bank.put_back(key, drawn).await
                {
                    tracing::warn!(key, why, "money could not be put back");
                }
            }
            Ok(drawn) => {
                let mut state = self.state(now);
                state.left = state.left.saturating_add(drawn.0);
            }
            Err(why) => {
                tracing::warn!(key, why, "money could not be drawn");
                return Err(Refusal::Unsure);
            }
        }
        if self.take(reserved, micros, now) {
            return Ok(());
        }
        self.state(now).refused = Some((now.0, micros));
        Err(Refusal::Quota)
    }

    /// All that is left of what was drawn today: nothing is set aside any more.
    pub(crate) fn empty(&self, now: Time) -> Usd {
        Usd(std::mem::take(&mut self.state(now).left).max(0))
    }

    /// What was set aside and not spent is there for others. What a day left over is not the next one's.
    pub(crate) fn settle(&self, reserved: Reserved, cost: Usd, now: Time) {
        let mut state = self.state(now);
        if reserved.day == state.day {
            state.left = state.left.saturating_add(reserved.micros).saturating_sub(cost.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A bank that gives until a limit is reached.
    struct Limit(Mutex<i64>);

    impl Bank for Limit {
        fn draw<'a>(&'a self, _: &'a str, want: Usd) -> Drawn<'a> {
            Box::pin(async move {
                tokio::task::yield_now().await;
                let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let drawn = want.0.min(*left);
                *left -= drawn;
                Ok(Usd(drawn))
            })
        }

        fn put_back<'a>(&'a self, _: &'a str, left: Usd) -> Drawn<'a> {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) += left.0;
            Box::pin(async move { Ok(left) })
        }
    }

    #[tokio::test]
    async fn a_hundred_at_once_through_two_gateways_never_spend_more_than_the_limit() {
        let bank = Arc::new(Limit(Mutex::new(1000)));
        let purses = [Arc::new(Purse::default()), Arc::new(Purse::default())];
        let limits = KeyLimits { day: Some(Usd(1000)), ..KeyLimits::default() };
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let (bank, purse) = (Arc::clone(&bank), Arc::clone(&purses[n % 2]));
                tokio::spawn(async move {
                    let mut reserved = Reserved::default();
                    let taken = purse.reserve(bank.as_ref(), ("k", &limits), &mut reserved, 30, Time(5)).await.is_ok();
                    tokio::task::yield_now().await;
                    let cost = if taken { Usd(20) } else { Usd(0) };
                    if taken {
                        purse.settle(reserved, cost, Time(6));
                    }
                    cost.0
                })
            })
            .collect();
        let mut spent = 0;
        for task in tasks {
            spent += task.await.expect("a task");
        }
        assert!((900..=1000).contains(&spent), "{spent}");
    }

    #[tokio::test]
    async fn a_new_day_has_its_own_money() {
        let (bank, purse) = (Limit(Mutex::new(100)), Purse::default());
        let limits = KeyLimits { day: Some(Usd(100)), ..KeyLimits::default() };
        let mut reserved = Reserved::default();
        purse.reserve(&bank, ("k", &limits), &mut reserved, 60, Time(0)).await.expect("money");
        assert!(!purse.take(&mut Reserved::default(), 1, Time(DAY_MS)), "what was drawn yesterday is yesterday's");
        purse.settle(reserved, Usd(10), Time(DAY_MS));
        assert!(!purse.take(&mut Reserved::default(), 1, Time(DAY_MS)));
    }
}
