//! Answers that are given again to the very same request of the same tenant, where a route says so.

use bytes::{Bytes, BytesMut};
use charter_domain::money::Usd;
use charter_domain::time::{Span, Time};
use http::HeaderValue;
use ring::digest;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Longer answers are not kept.
const ANSWER_MAX: usize = 1024 * 1024;
/// All kept answers of a route together.
const ROUTE_MAX: usize = 64 * 1024 * 1024;

/// What a request is known by: tenant, path and every byte of its body.
pub(crate) type Print = [u8; 32];

/// A kept answer.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) kind: Option<HeaderValue>,
    pub(crate) body: Bytes,
    pub(crate) cost: Usd,
    until: Time,
}

#[derive(Debug, Default)]
struct State {
    by_print: HashMap<Print, Arc<Kept>>,
    /// In the order of their coming, the oldest first.
    order: VecDeque<Print>,
    bytes: usize,
}

/// The kept answers of one route.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<State>);

/// An answer that may be kept, as it is shown. One that grows too long is forgotten at once, and takes no room any more.
#[derive(Debug, Default)]
pub(crate) struct Keeping(Option<(Option<HeaderValue>, BytesMut)>);

impl Keeping {
    /// The beginning of an answer, where `wanted`.
    pub(crate) fn new(wanted: bool, kind: Option<HeaderValue>) -> Self {
        Self(wanted.then(|| (kind, BytesMut::new())))
    }

    pub(crate) fn add(&mut self, shown: &[u8]) {
        if let Some((_, all)) = &mut self.0 {
            if all.len() + shown.len() > ANSWER_MAX {
                self.0 = None;
            } else {
                all.extend_from_slice(shown);
            }
        }
    }

    /// The whole answer, if it was short enough.
    pub(crate) fn whole(&mut self) -> Option<(Option<HeaderValue>, Bytes)> {
        self.0.take().map(|(kind, all)| (kind, all.freeze()))
    }
}

pub(crate) fn print(tenant: &str, path: &str, body: &[u8]) -> Print {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [tenant.as_bytes(), path.as_bytes()] {
        context.update(&u64::try_from(part.len()).unwrap_or(0).to_le_bytes());
        context.update(part);
    }
    context.update(body);
    let mut print = [0; 32];
    print.copy_from_slice(context.finish().as_ref());
    print
}

impl Cache {
    pub(crate) fn get(&self, print: &Print, now: Time) -> Option<Arc<Kept>> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.by_print.get(print).filter(|kept| now < kept.until).cloned()
    }

    pub(crate) fn keep(&self, print: Print, (kind, body): (Option<HeaderValue>, Bytes), cost: Usd, now: Time, ttl: Span) {
        if body.len() > ANSWER_MAX {
            return;
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += body.len();
        let kept = Arc::new(Kept { kind, body, cost, until: now + ttl });
        match state.by_print.insert(print, kept) {
            Some(old) => state.bytes -= old.body.len(),
            None => state.order.push_back(print),
        }
        while state.bytes > ROUTE_MAX {
            let Some(oldest) = state.order.pop_front() else { break };
            if let Some(gone) = state.by_print.remove(&oldest) {
                state.bytes -= gone.body.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_its_time_its_tenant_and_its_very_bytes() {
        let cache = Cache::default();
        let mine = print("lab", "/v1/completions", b"{}");
        cache.keep(mine, (None, Bytes::from_static(b"x")), Usd(5), Time(0), Span(100));
        assert!(cache.get(&mine, Time(99)).is_some_and(|kept| kept.cost == Usd(5)));
        assert!(cache.get(&mine, Time(100)).is_none());
        for other in [
            print("shop", "/v1/completions", b"{}"),
            print("lab", "/v1/embeddings", b"{}"),
            print("lab", "/v1/completions", b"{ }"),
        ] {
            assert!(cache.get(&other, Time(0)).is_none());
        }
    }

    #[test]
    fn an_endless_answer_takes_no_room() {
        let mut keeping = Keeping::new(true, None);
        for _ in 0..=ANSWER_MAX / 1000 {
            keeping.add(&[b'x'; 1000]);
        }
        assert!(keeping.0.is_none() && keeping.whole().is_none());
        let mut short = Keeping::new(true, None);
        short.add(b"a");
        short.add(b"b");
        assert_eq!(short.whole(), Some((None, Bytes::from_static(b"ab"))));
        assert_eq!(Keeping::new(false, None).whole(), None);
    }

    #[test]
    fn the_oldest_make_room() {
        let cache = Cache::default();
        let body = Bytes::from(vec![0; ANSWER_MAX]);
        let prints: Vec<Print> = (0..70_u32).map(|n| print("t", "p", &n.to_le_bytes())).collect();
        prints.iter().for_each(|p| cache.keep(*p, (None, body.clone()), Usd(0), Time(0), Span(1)));
        assert_eq!(prints.iter().filter(|p| cache.get(p, Time(0)).is_some()).count(), ROUTE_MAX / ANSWER_MAX);
        assert!(cache.get(&prints[0], Time(0)).is_none() && cache.get(&prints[69], Time(0)).is_some());
    }
}
