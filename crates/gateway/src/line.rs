//! Requests that wait: for a place at a backend, or for a model that is being started. Keys take turns, so that one that asks
//! for much does not stand before all others.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Requests that may wait for one name.
pub(crate) const LINE_MAX: usize = 512;
/// Of those, requests of one key.
pub(crate) const LINE_KEY_MAX: usize = 256;

#[derive(Debug, Default)]
struct State {
    /// Keys with somebody waiting, in the order of their turns.
    turns: VecDeque<String>,
    waiting: HashMap<String, VecDeque<oneshot::Sender<()>>>,
}

/// The line before one name.
#[derive(Debug, Default)]
pub(crate) struct Line {
    length: AtomicUsize,
    state: Mutex<State>,
}

/// A place in the line. Letting go of it leaves the line, and passes a call on that came too late.
#[derive(Debug)]
pub(crate) struct Stand {
    line: Arc<Line>,
    called: oneshot::Receiver<()>,
    heard: bool,
}

impl Line {
    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    /// Joins the line; at its front who was called before and found nothing.
    pub(crate) fn join(self: &Arc<Self>, key: &str, front: bool) -> Option<Stand> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = state.waiting.get(key).map_or(0, |w| w.iter().filter(|s| !s.is_closed()).count());
        if !front && (self.len() >= LINE_MAX || of_key >= LINE_KEY_MAX) {
            return None;
        }
        let (call, called) = oneshot::channel();
        if !state.waiting.contains_key(key) {
            if front {
                state.turns.push_front(key.to_owned());
            } else {
                state.turns.push_back(key.to_owned());
            }
        }
        let own = state.waiting.entry(key.to_owned()).or_default();
        if front {
            own.push_front(call);
        } else {
            own.push_back(call);
        }
        self.length.fetch_add(1, Ordering::AcqRel);
        Some(Stand { line: Arc::clone(self), called, heard: false })
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
            while let Some(next) = own.pop_front() {
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

    /// Calls everybody: backends have changed.
    pub(crate) fn call_all(&self) {
        if self.len() == 0 {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.turns.clear();
        for call in state.waiting.drain().flat_map(|(_, own)| own) {
            // Who has left in this moment hears nothing.
            call.send(()).ok();
        }
    }
}

impl Stand {
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
        if !self.heard && self.called.try_recv().is_ok() {
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
        let mut stands: Vec<_> = ["a", "a", "a", "b"].iter().map(|key| line.join(key, false).expect("room")).collect();
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
        let (first, mut second) = (line.join("a", false).expect("room"), line.join("b", false).expect("room"));
        line.call();
        drop(first);
        assert!(is_called(&mut second));
        let left = line.join("a", false).expect("room");
        let mut stays = line.join("a", false).expect("room");
        drop(left);
        line.call();
        assert!(is_called(&mut stays), "who has left is not called");
    }

    #[test]
    fn a_line_has_an_end_and_one_key_does_not_fill_it() {
        let line = Arc::new(Line::default());
        let mut all: Vec<_> = std::iter::from_fn(|| line.join("greedy", false)).collect();
        assert_eq!(all.len(), LINE_KEY_MAX);
        all.extend(std::iter::from_fn(|| line.join("other", false)));
        assert_eq!(all.len(), LINE_MAX);
        assert!(line.join("third", false).is_none() && line.join("greedy", true).is_some());
    }
}
