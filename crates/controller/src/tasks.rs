//! Tasks: work that must be recorded, timers, and background tasks that take no input and tell of their last activation.

use charter_domain::time::Span;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What happens to a task when the process stops.
#[derive(Clone, Debug)]
pub enum Kind {
    /// It is waited for.
    Work,
    /// It is dropped.
    Timer(CancellationToken),
}

/// What a background task did last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activation {
    /// Times it ran.
    pub count: u64,
    /// How long the last run took, in milliseconds.
    pub took_ms: u64,
    /// What it said.
    pub said: String,
    /// It failed.
    pub failed: bool,
}

#[derive(Debug, Default)]
struct Background {
    wake: Arc<Notify>,
    last: Activation,
}

/// All tasks of a controller. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    background: Arc<Mutex<BTreeMap<&'static str, Background>>>,
}

impl Tasks {
    /// Runs a future as a task.
    pub fn spawn(&self, kind: Kind, work: impl Future<Output = ()> + Send + 'static) {
        match kind {
            Kind::Work => drop(self.tracker.spawn(work)),
            Kind::Timer(ended) => drop(tokio::spawn(async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    () = work => {}
                }
            })),
        }
    }

    /// Runs `activate` at once, at every wake-up, and at least every `period`, until the end. It gets no input: whatever
    /// woke it, it looks at the whole present state. It never retries; its next run is the retry.
    pub fn background<F, R>(&self, ended: &CancellationToken, name: &'static str, period: Span, activate: F)
    where
        F: Fn() -> R + Send + 'static,
        R: Future<Output = Result<String, String>> + Send + 'static,
    {
        let wake = self.with(name, |b| Arc::clone(&b.wake));
        let (ended, this) = (ended.clone(), self.clone());
        tokio::spawn(async move {
            while !ended.is_cancelled() {
                let started = tokio::time::Instant::now();
                let result = activate().await;
                let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let failed = result.is_err();
                let said = result.unwrap_or_else(|why| why);
                if failed {
                    tracing::warn!(task = name, said, "a background task failed; it runs again");
                }
                this.with(name, |b| b.last = Activation { count: b.last.count + 1, took_ms, said, failed });
                tokio::select! {
                    () = ended.cancelled() => return,
                    () = wake.notified() => {}
                    () = tokio::time::sleep(period.std()) => {}
                }
            }
        });
    }

    fn with<T>(&self, name: &'static str, change: impl FnOnce(&mut Background) -> T) -> T {
        change(self.background.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default())
    }

    /// Wakes a background task. A wake-up during a run leads to another run.
    pub fn wake(&self, name: &'static str) {
        self.with(name, |b| b.wake.notify_one());
    }

    /// What each background task did last.
    #[must_use]
    pub fn activations(&self) -> Vec<(&'static str, Activation)> {
        let all = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(name, b)| (*name, b.last.clone())).collect()
    }

    /// Waits until all work is recorded.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
