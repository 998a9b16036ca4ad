//! The port for what goes with requests: routes, usage, and the money of keys.

use crate::port::Error;
use async_trait::async_trait;
use charter_domain::money::Usd;
use charter_domain::routing::{KeyLimits, Route};
use charter_domain::time::Time;
use charter_domain::usage::Used;
use std::collections::BTreeMap;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The day that a time falls into, counted from 1 January 1970, UTC.
#[must_use]
pub const fn day_of(at: Time) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// Whose requests are added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Of {
    /// The key's id.
    pub key: String,
    /// Who pays.
    pub tenant: String,
    /// The name that clients used.
    pub model: String,
    /// The deployment or registered backend.
    pub group: String,
}

/// Requests added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub requests: u64,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Of those, found in a cache of the engine.
    pub cached_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// Of those, thoughts.
    pub reasoning_tokens: u64,
    /// How long they took together, in milliseconds.
    pub busy_ms: u64,
    /// What they were charged with.
    pub cost: Usd,
    /// Their shares of the rent.
    pub rent: Usd,
    /// What kept answers had cost.
    pub saved: Usd,
}

impl Total {
    /// One request.
    #[must_use]
    pub const fn of(used: &Used) -> Self {
        Self {
            requests: 1,
            prompt_tokens: used.prompt_tokens,
            cached_tokens: used.cached_tokens,
            completion_tokens: used.completion_tokens,
            reasoning_tokens: used.reasoning_tokens,
            busy_ms: used.duration_ms,
            cost: used.cost,
            rent: used.rent,
            saved: used.saved,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            prompt_tokens: self.prompt_tokens + other.prompt_tokens,
            cached_tokens: self.cached_tokens + other.cached_tokens,
            completion_tokens: self.completion_tokens + other.completion_tokens,
            reasoning_tokens: self.reasoning_tokens + other.reasoning_tokens,
            busy_ms: self.busy_ms + other.busy_ms,
            cost: Usd(self.cost.0 + other.cost.0),
            rent: Usd(self.rent.0 + other.rent.0),
            saved: Usd(self.saved.0 + other.saved.0),
        }
    }
}

/// A batch, added up by whose it is and by day.
#[must_use]
pub fn added_up(batch: &[Used]) -> BTreeMap<(Of, i64), Total> {
    let mut sums: BTreeMap<(Of, i64), Total> = BTreeMap::new();
    for used in batch {
        let of = Of {
            key: used.key.to_string(),
            tenant: used.tenant.to_string(),
            model: used.model.to_string(),
            group: used.group.to_string(),
        };
        let sum = sums.entry((of, day_of(used.at))).or_default();
        *sum = sum.and(Total::of(used));
    }
    sums
}

/// How much may be drawn at the most, where so much was drawn today and earlier in this month.
#[must_use]
pub fn drawable(limits: &KeyLimits, want: Usd, today: i64, earlier: i64) -> i64 {
    let day = limits.day.map_or(i64::MAX, |most| most.0.saturating_sub(today));
    let month = limits.month.map_or(i64::MAX, |most| most.0.saturating_sub(today).saturating_sub(earlier));
    want.0.min(day).min(month).max(0)
}

/// Says of a request whether it is asked for.
pub type Wanted = dyn for<'a> Fn(&'a Used) -> bool + Sync;

/// What goes with requests.
#[async_trait]
pub trait Usage: Send + Sync {
    /// All routes, by name.
    async fn routes(&self) -> Result<Vec<Route>, Error>;
    /// Stores a route, or replaces the one of the same name.
    async fn put_route(&self, route: Route) -> Result<(), Error>;
    /// Forgets a route; false if there was none.
    async fn remove_route(&self, name: &str) -> Result<bool, Error>;
    /// Writes a batch down and adds it up. A batch with the id of one that was written is not written again.
    async fn record(&self, id: &str, batch: &[Used]) -> Result<(), Error>;
    /// Requests that ended since a time, the newest first, at most so many that `wanted` takes.
    async fn used(&self, since: Time, limit: usize, wanted: &Wanted) -> Result<Vec<Used>, Error>;
    /// Sums since the day of a time.
    async fn totals(&self, since: Time) -> Result<BTreeMap<Of, Total>, Error>;
    /// The same for each day, with the day, the oldest first.
    async fn daily(&self, since: Time) -> Result<Vec<(i64, Of, Total)>, Error>;
    /// Forgets single requests that ended before a time; their sums stay.
    async fn forget_used(&self, before: Time) -> Result<(), Error>;
    /// Draws at most so much of what the limits of a key leave today.
    async fn draw(&self, key: &str, limits: &KeyLimits, want: Usd, now: Time) -> Result<Usd, Error>;
    /// Puts back what was drawn today and not spent.
    async fn put_back(&self, key: &str, left: Usd, now: Time) -> Result<(), Error>;
}
