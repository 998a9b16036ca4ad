//! Requests that wait: for a place at a backend, or for a model that is being started. Keys take turns, so that one that asks
//! for much does not stand before all others.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, oneshot};

/// Requests that may wait for one name: half a minute of three hundred a second, as while an engine is restarted under load.
pub(crate) const LINE_MAX: usize = 8192;
/// Of those, requests of one key.
pub(crate) const LINE_KEY_MAX: usize = 6144;
/// Bytes of bodies that may wait for one name.
pub(crate) const LINE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Of those, bytes of one key.
pub(crate) const LINE_KEY_BYTES_MAX: usize = LINE_BYTES_MAX / 4 * 3;

/// Somebody who waits: the number it was given when it came, and how it is called.
type Caller = (u64, oneshot::Sender<()>);

#[derive(Debug, Default)]
struct State {
    /// Numbers that were given.
    given: u64,
    /// Keys with somebody waiting, in the order of their turns.
    turns: VecDeque<Arc<str>>,
    /// Who waits of each key, by number.
    waiting: HashMap<Arc<str>, VecDeque<Caller>>,
    /// How many stand there of each key, and the bytes of their bodies.
    standing: HashMap<Arc<str>, (usize, usize)>,
    /// Bytes of the bodies of all who stand there.
    bytes: usize,
}

/// The line before one name.
#[derive(Debug, Default)]
pub(crate) struct Line {
    length: AtomicUsize,
    state: Mutex<State>,
    news: Notify,
}

/// A place in the line. Letting go of it leaves the line, and passes a call on that came too late.
#[derive(Debug)]
pub(crate) struct Stand {
    line: Arc<Line>,
    key: Arc<str>,
    bytes: usize,
    number: u64,
    called: oneshot::Receiver<()>,
    /// It was called before, and found nothing: it is its turn to look.
    stood: bool,
    heard: bool,
}

/// The turn of somebody who was called. Letting go of it calls the next one.
#[derive(Debug)]
pub(crate) struct Turn(Option<Arc<Line>>);

impl Turn {
    pub(crate) fn of(line: &Arc<Line>) -> Self {
        Self(Some(Arc::clone(line)))
    }

    /// Nothing was found, and so the next one would find nothing: it is still this one's turn.
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            line.call();
        }
    }
}

impl Line {
    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Joins the line at its end, with a body of so many bytes. Who was called before and found nothing stands where it stood, and
    /// its key's turn is next.
    pub(crate) fn join(self: &Arc<Self>, key: &Arc<str>, stood: Option<u64>, bytes: usize) -> Option<Stand> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (of_key, key_bytes) = state.standing.get(key).copied().unwrap_or_default();
        let is_full = self.len() >= LINE_MAX
            || of_key >= LINE_KEY_MAX
            || state.bytes + bytes > LINE_BYTES_MAX
            || key_bytes + bytes > LINE_KEY_BYTES_MAX;
        if stood.is_none() && is_full {
            return None;
        }
        state.bytes += bytes;
        let standing = state.standing.entry(Arc::clone(key)).or_default();
        *standing = (standing.0 + 1, standing.1 + bytes);
        let (call, called) = oneshot::channel();
        state.given += 1;
        let number = stood.unwrap_or(state.given);
        if stood.is_some() {
            state.turns.retain(|k| k != key);
            state.turns.push_front(Arc::clone(key));
        } else if !state.waiting.contains_key(key) {
            state.turns.push_back(Arc::clone(key));
        }
        let own = state.waiting.entry(Arc::clone(key)).or_default();
        let at = own.partition_point(|(other, _)| *other < number);
        own.insert(at, (number, call));
        self.length.fetch_add(1, Ordering::AcqRel);
        let stood = stood.is_some();
        Some(Stand { line: Arc::clone(self), key: Arc::clone(key), bytes, number, called, stood, heard: false })
    }

    /// Somebody does not stand there any more.
    fn left(&self, key: &Arc<str>, number: Option<u64>, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes = state.bytes.saturating_sub(bytes);
        if let Some(number) = number
            && let Some(own) = state.waiting.get_mut(key)
        {
            let at = own.partition_point(|(other, _)| *other < number);
            if own.get(at).is_some_and(|(other, _)| *other == number) {
                own.remove(at);
            }
        }
        if let Some(standing) = state.standing.get_mut(key) {
            *standing = (standing.0.saturating_sub(1), standing.1.saturating_sub(bytes));
            if standing.0 == 0 {
                state.standing.remove(key);
            }
        }
    }

    /// Calls the next one: a place is free.
    pub(crate) fn call(&self) {
        if self.len() == 0 {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(key) = state.turns.pop_front() {
            let Some(own) = state.waiting.get_mut(&key) else { continue };
            let mut called = false;
            while let Some((_, next)) = own.pop_front() {
                if next.send(()).is_ok() {
                    called = true;
                    break;
                }
            }
            if own.is_empty() {
                state.waiting.remove(&key);
            } else {
                state.turns.push_back(key);
            }
            if called {
                return;
            }
        }
    }

    /// Hears of the next change of the backends.
    pub(crate) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Backends have changed: everybody looks at what there is to wait for, and the first one at whether there is a place.
    pub(crate) fn tell(&self) {
        if self.len() > 0 {
            self.news.notify_waiters();
            self.call();
        }
    }
}

impl Stand {
    /// The number that it was given when it came.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// Waits for the call.
    pub(crate) async fn called(&mut self) {
        // A line that is gone calls nobody: what comes next is a look at the backends.
        drop((&mut self.called).await);
        self.heard = true;
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.line.length.fetch_sub(1, Ordering::AcqRel);
        self.called.close();
        let called = self.called.try_recv().is_ok();
        // Who was called is not on the list any more.
        let listed = (!self.heard && !called).then_some(self.number);
        self.line.left(&self.key, listed, self.bytes);
        // Whoever had kept the turn leaves it to the next one.
        if !self.heard && (called || self.stood) {
            self.line.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_called(stand: &mut Stand) -> bool {
        let called = stand.called.try_recv().is_ok();
        stand.heard |= called;
        called
    }

    #[test]
    fn keys_take_turns() {
        let line = Arc::new(Line::default());
        let mut stands: Vec<_> =
            ["a", "a", "a", "b"].iter().map(|key| line.join(&Arc::from(*key), None, 1).expect("room")).collect();
        let mut order = vec![];
        for _ in 0..4 {
            line.call();
            order.push(stands.iter_mut().position(is_called).expect("somebody"));
        }
        assert_eq!(order, [0, 3, 1, 2]);
        drop(stands);
        assert_eq!(line.len(), 0);
    }

    #[test]
    fn who_leaves_with_a_call_passes_it_on() {
        let line = Arc::new(Line::default());
        let (first, mut second) =
            (line.join(&Arc::from("a"), None, 1).expect("room"), line.join(&Arc::from("b"), None, 1).expect("room"));
        line.call();
        drop(first);
        assert!(is_called(&mut second));
        let left = line.join(&Arc::from("a"), None, 1).expect("room");
        let mut stays = line.join(&Arc::from("a"), None, 1).expect("room");
        drop(left);
        line.call();
        assert!(is_called(&mut stays), "who has left is not called");
    }

    #[test]
    fn who_was_called_and_found_nothing_stands_where_it_stood() {
        let line = Arc::new(Line::default());
        let mut stands: Vec<_> =
            ["a", "a", "b", "a"].iter().map(|key| line.join(&Arc::from(*key), None, 1).expect("room")).collect();
        // The first one finds nothing; somebody else comes meanwhile.
        line.call();
        assert!(is_called(&mut stands[0]));
        stands.push(line.join(&Arc::from("c"), None, 1).expect("room"));
        stands[0] = line.join(&Arc::from("a"), Some(stands[0].number()), 1).expect("room");
        let mut order = vec![];
        for _ in 0..5 {
            line.call();
            order.push(stands.iter_mut().position(is_called).expect("somebody"));
        }
        assert_eq!(order, [0, 2, 4, 1, 3]);
    }

    #[test]
    fn a_turn_is_passed_on_unless_nothing_was_found() {
        let line = Arc::new(Line::default());
        let mut next = line.join(&Arc::from("a"), None, 1).expect("room");
        Turn::of(&line).keep();
        assert!(!is_called(&mut next));
        drop(Turn::of(&line));
        assert!(is_called(&mut next));
    }

    #[test]
    fn a_line_has_an_end_and_one_key_does_not_fill_it() {
        let line = Arc::new(Line::default());
        let mut all: Vec<_> = std::iter::from_fn(|| line.join(&Arc::from("greedy"), None, 1)).collect();
        assert_eq!(all.len(), LINE_KEY_MAX);
        all.extend(std::iter::from_fn(|| line.join(&Arc::from("other"), None, 1)));
        assert_eq!(all.len(), LINE_MAX);
        assert!(line.join(&Arc::from("third"), None, 1).is_none() && line.join(&Arc::from("greedy"), Some(1), 1).is_some());
    }

    #[test]
    fn bodies_that_wait_are_bounded_and_who_leaves_makes_room() {
        let (line, key, other) = (Arc::new(Line::default()), Arc::from("a"), Arc::from("b"));
        let large = line.join(&key, None, LINE_KEY_BYTES_MAX).expect("room");
        assert!(line.join(&key, None, 1).is_none(), "one key does not fill it");
        let rest = LINE_BYTES_MAX - LINE_KEY_BYTES_MAX;
        assert!(line.join(&other, None, rest + 1).is_none() && line.join(&other, None, rest).is_some());
        drop(large);
        assert!(line.join(&key, None, LINE_KEY_BYTES_MAX).is_some());
    }

    #[test]
    fn who_kept_the_turn_and_leaves_leaves_it_to_the_next_one() {
        let line = Arc::new(Line::default());
        let first = line.join(&Arc::from("a"), None, 1).expect("room");
        let mut next = line.join(&Arc::from("b"), None, 1).expect("room");
        let number = first.number();
        line.call();
        drop(first);
        let kept = line.join(&Arc::from("a"), Some(number), 1).expect("room");
        while is_called(&mut next) {}
        drop(kept);
        let mut last = line.join(&Arc::from("c"), None, 1).expect("room");
        line.call();
        assert!(is_called(&mut last), "nobody who has left stands there");
    }
}
