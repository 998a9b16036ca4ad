//! Usage on its way to the database: a bounded queue, emptied in batches by one task. Nothing in the way of a request waits
//! for it; when it is full, what comes is added up instead of being lost.

use charter_domain::usage::Used;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Requests whose usage may wait to be written, each by itself.
const QUEUE: usize = 16_384;
/// Rows of one batch; as many as this are written at once, without a rest.
const BATCH: usize = 2048;
/// A crash loses no more than what came in so long.
const PAUSE: Duration = Duration::from_secs(1);
/// What could not be written is tried again after so long.
const AGAIN: Duration = Duration::from_millis(500);
/// A gateway that ends tries for so long.
const LAST: Duration = Duration::from_secs(15);

/// What became of writing a batch.
pub type Written<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Where usage goes. A batch that was written twice counts once: its rows have ids.
pub trait Sink: Send + Sync {
    /// Writes a batch.
    fn write<'a>(&'a self, batch: &'a [Used]) -> Written<'a>;
}

/// The queue's entrance.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Used>,
    /// What found no room, added up by key, name and backend.
    sums: Arc<Mutex<BTreeMap<[Arc<str>; 3], Used>>>,
    unwritten: Arc<AtomicU64>,
    full: Arc<Notify>,
}

impl Recorder {
    /// A queue, and the exit that [`write_all`] empties.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Used>) {
        let (queue, exit) = mpsc::channel(QUEUE);
        (Self { queue, sums: Arc::default(), unwritten: Arc::default(), full: Arc::default() }, exit)
    }

    /// Takes one in.
    pub(crate) fn put(&self, used: Used) {
        let before = self.unwritten.fetch_add(1, Ordering::Relaxed);
        if before >= BATCH as u64 && before.is_multiple_of(BATCH as u64) {
            self.full.notify_one();
        }
        if let Err(mpsc::error::TrySendError::Full(used) | mpsc::error::TrySendError::Closed(used)) = self.queue.try_send(used) {
            let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            add(sums.entry([used.key.clone(), used.model.clone(), used.backend.clone()]).or_default(), used);
        }
    }

    /// Requests whose usage has not been written.
    pub(crate) fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    fn take_sums(&self) -> Vec<Used> {
        std::mem::take(&mut *self.sums.lock().unwrap_or_else(PoisonError::into_inner)).into_values().collect()
    }
}

/// Adds one to a sum, which is known by its last request.
fn add(sum: &mut Used, one: Used) {
    *sum = Used {
        prompt_tokens: sum.prompt_tokens + one.prompt_tokens,
        cached_tokens: sum.cached_tokens + one.cached_tokens,
        completion_tokens: sum.completion_tokens + one.completion_tokens,
        reasoning_tokens: sum.reasoning_tokens + one.reasoning_tokens,
        cost: sum.cost.plus(one.cost),
        rent: sum.rent.plus(one.rent),
        saved: sum.saved.plus(one.saved),
        ..one
    };
}

/// Writes what comes out of the queue, until `ended`, and then what is left.
pub(crate) async fn write_all(recorder: Recorder, mut exit: mpsc::Receiver<Used>, sink: Arc<dyn Sink>, ended: CancellationToken) {
    let mut batch: Vec<Used> = vec![];
    let mut deadline = None;
    loop {
        if batch.is_empty() {
            let drained = ended.is_cancelled() && exit.is_empty();
            if drained {
                batch = recorder.take_sums();
                if batch.is_empty() {
                    return;
                }
            } else {
                // A short rest gathers a batch.
                if exit.len() < BATCH {
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => {}
                        () = recorder.full.notified() => {}
                        () = ended.cancelled() => {}
                    }
                }
                while batch.len() < BATCH
                    && let Ok(one) = exit.try_recv()
                {
                    batch.push(one);
                }
                if exit.is_empty() {
                    batch.extend(recorder.take_sums());
                }
                if batch.is_empty() {
                    continue;
                }
            }
        }
        let count = batch.len() as u64;
        match sink.write(&batch).await {
            Ok(()) => {
                recorder.unwritten.fetch_sub(count.min(recorder.unwritten()), Ordering::Relaxed);
                batch.clear();
                deadline = None;
            }
            Err(why) => {
                tracing::warn!(why, count, "usage could not be written, and is tried again");
                if ended.is_cancelled() {
                    let until = *deadline.get_or_insert_with(|| tokio::time::Instant::now() + LAST);
                    if tokio::time::Instant::now() > until {
                        tracing::error!(
                            count,
                            unwritten = recorder.unwritten(),
                            "usage is lost: it could not be written before the end"
                        );
                        return;
                    }
                }
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
