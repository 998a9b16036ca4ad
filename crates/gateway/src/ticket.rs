//! A request from its admission to its end: what it holds, and what is made right when it lets go, however it ends.

use crate::breaker::Outcome;
use crate::cache::Print;
use crate::forward::Shared;
use crate::purse::Reserved;
use crate::rent::Mark;
use crate::sse::Tokens;
use crate::table::{Entry, Holder, Target};
use bytes::Bytes;
use charter_domain::money::Usd;
use charter_domain::routing::Patience;
use charter_domain::usage::{End, Used};
use http::HeaderValue;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::time::Instant;

/// What is set aside at a time for a request that is charged by its share of the rent pays for so long.
const PAID_AHEAD_S: i64 = 60;
/// Written tokens that are paid for ahead, where tokens have a price.
const TOKENS_AHEAD: u64 = 256;
/// Events of a stream that may carry nothing.
const EMPTY_EVENTS: u64 = 4;
/// Bytes of a prompt for each token, to guess by where nothing else is known.
const BYTES_PER_TOKEN: u64 = 4;

/// A place at a backend. Letting go of it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) entry: Arc<Entry>,
    mark: Mark,
    since: Instant,
    ended: bool,
}

impl Place {
    /// The place was taken in the counters already.
    pub(crate) fn taken(entry: Arc<Entry>, now: Instant) -> Self {
        let mark = entry.counters.rent.begin(now);
        Self { entry, mark, since: now, ended: false }
    }

    /// The request's share of the rent.
    fn end(mut self, now: Instant) -> Usd {
        self.ended = true;
        self.entry.counters.give_back();
        self.entry.counters.rent.end(self.mark, now)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.ended {
            self.entry.counters.give_back();
            self.entry.counters.rent.end(self.mark, Instant::now());
        }
    }
}

/// An admitted request.
pub(crate) struct Ticket {
    pub(crate) shared: Arc<Shared>,
    pub(crate) holder: Arc<Holder>,
    pub(crate) target: Arc<Target>,
    /// How long its parts may take: as the name says that was asked for, whoever answers.
    pub(crate) patience: Patience,
    pub(crate) used: Used,
    pub(crate) started: Instant,
    /// Tokens that were taken for it from what the key may use in a minute.
    pub(crate) estimate: u64,
    pub(crate) body_bytes: u64,
    pub(crate) written_max: u64,
    pub(crate) reserved: Reserved,
    /// The same of the money of a hosted provider.
    pub(crate) guarded: Reserved,
    pub(crate) place: Option<Place>,
    /// What the engine counted, or what we did.
    pub(crate) tokens: Option<Tokens>,
    pub(crate) written: u64,
    pub(crate) print: Option<Print>,
    /// What may be kept of the answer.
    pub(crate) kept: Option<(Option<HeaderValue>, Bytes)>,
    /// A hosted API has got it, and has neither said what it cost nor that it will not answer.
    pub(crate) owed: bool,
    /// It was refused at the door, and is no row of usage.
    pub(crate) refused: bool,
    /// What its backend's breaker is told; nothing for a client that left.
    pub(crate) outcome: Option<Outcome>,
}

impl Ticket {
    /// The first part of the answer is there.
    pub(crate) fn begun(&mut self, now: Instant) {
        if self.used.first_ms == 0 {
            self.used.first_ms = millis(self.started, now).max(1);
        }
    }

    /// What it may have cost at the most by now.
    fn accrued(&self, now: Instant) -> i64 {
        if let Some(price) = &self.target.route.price {
            // Of the events of a stream some carry no token: its beginning, its end, its usage.
            return price.cost(self.body_bytes, 0, self.written.saturating_sub(EMPTY_EVENTS)).0;
        }
        let Some(place) = &self.place else { return 0 };
        let ms = i64::try_from(millis(place.since, now)).unwrap_or(i64::MAX);
        place.entry.backend.rent.cost(charter_domain::time::Span::ms(ms)).0
    }

    /// What is to be set aside at the beginning.
    pub(crate) fn first_amount(&self) -> i64 {
        if let Some(price) = &self.target.route.price {
            return price.cost(self.body_bytes, 0, self.written_max).0;
        }
        let dearest = self.target.members.iter().map(|m| m.entry.backend.rent).max().unwrap_or_default();
        dearest.cost(charter_domain::time::Span::s(PAID_AHEAD_S)).0
    }

    /// What is to be set aside before it may go on, if that is not there.
    pub(crate) fn short(&self, now: Instant) -> Option<i64> {
        if !self.holder.key.limits.costs() {
            return None;
        }
        let missing = self.accrued(now) - self.reserved.micros;
        if missing <= 0 {
            return None;
        }
        let more = match (&self.target.route.price, &self.place) {
            (Some(price), _) => price.cost(0, 0, TOKENS_AHEAD).0,
            (None, Some(place)) => place.entry.backend.rent.cost(charter_domain::time::Span::s(PAID_AHEAD_S)).0,
            (None, None) => 0,
        };
        (missing + more > 0).then_some(missing + more)
    }

    /// Sets more aside if the key's purse has it at hand.
    pub(crate) fn pay_at_hand(&mut self, micros: i64) -> bool {
        let holder = Arc::clone(&self.holder);
        holder.state.purse.take(&mut self.reserved, micros, (self.shared.now)())
    }

    /// The place is given back before the end: its backend could not be reached, and another one is tried.
    pub(crate) fn leave_place(&mut self, outcome: Option<Outcome>) {
        if let Some(place) = self.place.take() {
            tell(&place.entry, outcome, (self.shared.now)());
        }
    }

    fn count_tokens(&mut self) {
        let tokens = self.tokens.unwrap_or_else(|| {
            self.used.estimated = self.written > 0;
            let prompt = if self.written > 0 { self.body_bytes / BYTES_PER_TOKEN } else { 0 };
            Tokens { prompt, completion: self.written, ..Tokens::default() }
        });
        self.used.prompt_tokens = tokens.prompt;
        self.used.cached_tokens = tokens.cached;
        self.used.completion_tokens = tokens.completion;
        self.used.reasoning_tokens = tokens.reasoning;
    }

    fn cost(&self) -> Usd {
        let nothing = self.used.end == End::Cached || (self.used.end == End::Failed && self.used.completion_tokens == 0);
        if nothing {
            return Usd(0);
        }
        let used = &self.used;
        let price = self.target.route.price.as_ref();
        price.map_or(used.rent, |p| p.cost(used.prompt_tokens, used.cached_tokens, used.completion_tokens))
    }
}

fn millis(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn tell(entry: &Entry, outcome: Option<Outcome>, now: charter_domain::time::Time) {
    let mut breaker = entry.counters.breaker.lock().unwrap_or_else(PoisonError::into_inner);
    match outcome {
        Some(outcome) => breaker.result(outcome, now),
        None => breaker.forgo(),
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (now, time) = (Instant::now(), (self.shared.now)());
        if let Some(place) = self.place.take() {
            let entry = Arc::clone(&place.entry);
            self.used.group = Arc::clone(&entry.group);
            self.used.backend = Arc::clone(&entry.id);
            entry.counters.last_used_ms.store(time.0, Ordering::Relaxed);
            // Before the place is given back: whoever is called then sees how the backend is.
            tell(&entry, self.outcome, time);
            self.used.rent = place.end(now);
        }
        self.used.duration_ms = millis(self.started, now);
        let owed = self.owed && self.tokens.is_none() && self.written == 0;
        self.count_tokens();
        self.used.cost = self.cost();
        if owed && self.target.hosted.is_some() {
            // It is billed there whoever has left meanwhile: what was set aside is the most that it can be.
            self.used.cost = self.used.cost.max(Usd(self.guarded.micros));
            self.used.estimated = true;
        }
        self.holder.state.meter.settle(self.estimate, self.used.prompt_tokens + self.used.completion_tokens);
        if self.holder.key.limits.costs() {
            self.holder.state.purse.settle(self.reserved, self.used.cost, time);
        }
        if let Some((_, purse)) = &self.target.hosted {
            purse.settle(self.guarded, self.used.cost, time);
        }
        if let (Some(print), Some(kept), Some(ttl)) = (self.print.take(), self.kept.take(), self.target.route.cache)
            && self.used.end == End::Done
        {
            self.target.state.cache.keep(print, kept, self.used.cost, time, ttl);
        }
        if self.refused {
            return;
        }
        let used = std::mem::take(&mut self.used);
        self.target.state.counts.add(&used, self.target.route.cache.is_some());
        self.shared.recorder.put(used);
    }
}
