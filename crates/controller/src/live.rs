//! What is seen and not stored: progress of a start, health, capacity. Lost with the process, and seen again at once.

use charter_domain::ids::{ReplicaId, Tag};
use charter_domain::time::{Span, Time};
use charter_engines::log::Phase;
use charter_engines::probe::Task;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How far a start has come, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The phase's name.
    pub phase: &'static str,
    /// What happens, with its percentage if it has one.
    pub text: String,
    /// Per cent of the phase, if it says so.
    pub percent: Option<u8>,
}

/// An engine as it was last seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EngineView {
    /// The start number this is about.
    pub number: u32,
    /// Size of its log, and the end of it.
    pub log_bytes: u64,
    /// The end of its log.
    #[serde(skip)]
    pub log_tail: String,
    /// When its log was asked for, where that has a price.
    pub log_asked_at: Option<Time>,
    /// When its machine's price was read.
    pub price_asked_at: Option<Time>,
    /// How long its weights took to fetch, once its log has told.
    pub fetched_in: Option<Span>,
    /// When anything moved last.
    pub moved_at: Time,
    /// How far it has come.
    pub phase: Option<Phase>,
    /// Per cent of the phase.
    pub percent: Option<u8>,
    /// What `/health` says; reported, and never decisive alone.
    pub health: Option<u16>,
    /// Tokens that its cache holds.
    pub capacity_tokens: Option<u64>,
    /// What it says of its version.
    #[serde(default)]
    pub version: Option<String>,
    /// The task that it answered.
    pub task: Option<Task>,
    /// When its process was seen last.
    pub seen_at: Time,
    /// The last complete symptom line.
    pub symptom: String,
    /// An answer is outstanding for the reason given.
    pub waiting_for: Option<String>,
}

/// An instance on its way, as its provider describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boot {
    said: String,
    moved_at: Time,
    running_since: Option<Time>,
}

/// All views of a process.
#[derive(Debug, Default)]
pub(crate) struct Live {
    engines: Mutex<BTreeMap<ReplicaId, EngineView>>,
    /// Instances on their way, by tag.
    boots: Mutex<BTreeMap<Tag, Boot>>,
    /// What a replica waits for, as its driver last said.
    waits: Mutex<BTreeMap<ReplicaId, String>>,
}

impl Live {
    /// The view of a replica, if its start is the one asked for.
    pub(crate) fn get(&self, replica: &ReplicaId) -> Option<EngineView> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).get(replica).cloned()
    }

    /// Notes what a provider says of an instance on its way: how long nothing has moved, and how long it has been called
    /// running.
    pub(crate) fn booting(&self, tag: &Tag, said: &str, running: bool, now: Time) -> (Span, Span) {
        let mut boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
        let boot = boots.entry(tag.clone()).or_insert_with(|| Boot { moved_at: now, ..Boot::default() });
        if boot.said != said {
            (boot.said, boot.moved_at) = (said.to_owned(), now);
        }
        if !running {
            boot.running_since = None;
            return (now.since(boot.moved_at), Span::s(0));
        }
        let since = *boot.running_since.get_or_insert(now);
        (Span::s(0), now.since(since))
    }

    pub(crate) fn booted(&self, tag: &Tag) {
        self.boots.lock().unwrap_or_else(PoisonError::into_inner).remove(tag);
    }

    /// Remembers what a replica waits for; true when that is news.
    pub(crate) fn wait_for(&self, replica: &ReplicaId, what: &str) -> bool {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        if what.is_empty() {
            return waits.remove(replica).is_some();
        }
        waits.insert(replica.clone(), what.to_owned()).as_deref() != Some(what)
    }

    pub(crate) fn waits_for(&self, replica: &ReplicaId) -> Option<String> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).get(replica).cloned()
    }

    /// Changes the view of a replica; a new start begins with an empty one.
    pub(crate) fn update<T>(&self, replica: &ReplicaId, number: u32, now: Time, change: impl FnOnce(&mut EngineView) -> T) -> T {
        let mut views = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        let view = views.entry(replica.clone()).or_default();
        if view.number != number {
            *view = EngineView { number, moved_at: now, ..EngineView::default() };
        }
        change(view)
    }

    /// A start begins. Its number alone does not say that it is a new one: on the next machine it is counted from one again.
    pub(crate) fn begin(&self, replica: &ReplicaId, number: u32, now: Time) {
        let mut views = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        views.insert(replica.clone(), EngineView { number, moved_at: now, ..EngineView::default() });
    }

    pub(crate) fn forget(&self, replica: &ReplicaId) {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).remove(replica);
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).remove(replica);
    }
}

impl EngineView {
    /// How long nothing has moved.
    pub(crate) fn quiet(&self, now: Time) -> Span {
        now.since(self.moved_at)
    }

    /// The progress for people, once something is known.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let phase = self.phase?;
        let text = match (self.percent, &self.waiting_for) {
            (Some(percent), _) => format!("{} · {percent} %", phase.says()),
            (None, Some(why)) if phase == Phase::Running => why.clone(),
            (None, _) => phase.says().to_owned(),
        };
        Some(Progress { phase: phase.as_str(), text, percent: self.percent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_on_the_next_machine_has_not_been_quiet_since_the_last_one() {
        let (live, replica) = (Live::default(), ReplicaId("rep_a".into()));
        live.begin(&replica, 1, Time(0));
        live.update(&replica, 1, Time(5000), |view| {
            view.moved_at = Time(5000);
            view.log_tail = "the first machine's".into();
        });
        live.begin(&replica, 1, Time(700_000));
        let view = live.get(&replica).expect("a view");
        assert_eq!((view.quiet(Time(700_000)), view.log_tail.as_str()), (Span::ms(0), ""));
    }
}
