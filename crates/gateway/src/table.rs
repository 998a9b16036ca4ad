//! The routing table as requests use it: looked up by name, with the counters of each backend kept across changes.

use charter_domain::routing::{Backend, Key, RouteTable};
use charter_domain::time::Time;
use ring::digest;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// Requests that may wait for one backend.
const QUEUE_MAX: u64 = 256;

/// What is counted for a backend, as long as it is in the table.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) in_flight: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) last_used_ms: AtomicI64,
    pub(crate) slots: Arc<Semaphore>,
    max_concurrent: u32,
}

impl Counters {
    fn new(max_concurrent: u32) -> Self {
        let slots = usize::try_from(max_concurrent.max(1)).unwrap_or(1);
        Self {
            in_flight: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            last_used_ms: AtomicI64::new(0),
            slots: Arc::new(Semaphore::new(slots)),
            max_concurrent,
        }
    }

    /// Takes a place in the queue; false when it is full.
    pub(crate) fn enqueue(&self) -> bool {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        if before >= QUEUE_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }
}

/// A backend in use.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) backend: Backend,
    pub(crate) counters: Arc<Counters>,
}

/// A table ready for look-ups.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) version: u64,
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Backends that have left the table while they were still answering.
    retired: Vec<Arc<Entry>>,
    by_name: HashMap<String, Vec<usize>>,
    keys: HashMap<String, Key>,
}

/// What a name leads to.
pub(crate) enum Found {
    Backend(Arc<Entry>),
    Loading,
    Nobody,
    Unknown,
}

impl Table {
    /// Prepares a table; backends that stay keep their counters.
    pub(crate) fn new(source: &RouteTable, old: &Self) -> Self {
        let mut table = Self { version: source.version, ..Self::default() };
        for backend in &source.backends {
            let same =
                old.entries.iter().find(|e| e.backend.id == backend.id && e.counters.max_concurrent == backend.max_concurrent);
            let counters = same.map_or_else(|| Arc::new(Counters::new(backend.max_concurrent)), |e| Arc::clone(&e.counters));
            for name in &backend.served_names {
                table.by_name.entry(name.name.clone()).or_default().push(table.entries.len());
            }
            table.entries.push(Arc::new(Entry { backend: backend.clone(), counters }));
        }
        let busy = |e: &&Arc<Entry>| e.counters.in_flight.load(Ordering::Acquire) > 0;
        let left = |e: &&Arc<Entry>| !table.entries.iter().any(|n| n.backend.id == e.backend.id);
        table.retired = old.retired.iter().chain(&old.entries).filter(busy).filter(left).cloned().collect();
        table.keys = source.keys.iter().map(|k| (k.sha256.clone(), k.clone())).collect();
        table
    }

    /// Requests being answered, by backend, those included that get no new ones.
    pub(crate) fn in_flight(&self) -> Vec<(String, u64)> {
        let count = |e: &Arc<Entry>| (e.backend.id.clone(), e.counters.in_flight.load(Ordering::Acquire));
        self.entries.iter().chain(&self.retired).map(count).collect()
    }

    /// The key that a secret belongs to. Only hashes are compared, so the time taken tells nothing about a key.
    pub(crate) fn key(&self, secret: &str, now: Time) -> Option<&Key> {
        self.keys.get(&sha256(secret)).filter(|k| k.expires_at.is_none_or(|at| now < at))
    }

    /// The ready backend of that name with the fewest requests for its size.
    pub(crate) fn find(&self, name: &str) -> Found {
        let Some(indices) = self.by_name.get(name) else {
            return Found::Unknown;
        };
        let ready = indices.iter().map(|i| &self.entries[*i]).filter(|e| e.backend.ready);
        let load = |e: &&Arc<Entry>| {
            let busy = e.counters.in_flight.load(Ordering::Relaxed) + e.counters.waiting.load(Ordering::Relaxed);
            busy.saturating_mul(1000) / u64::from(e.backend.max_concurrent.max(1))
        };
        if let Some(entry) = ready.min_by_key(load) {
            return Found::Backend(Arc::clone(entry));
        }
        let starting = indices.iter().any(|i| self.entries[*i].backend.starting);
        if starting { Found::Loading } else { Found::Nobody }
    }
}

/// SHA-256 in hex.
pub(crate) fn sha256(text: &str) -> String {
    use std::fmt::Write as _;
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        write!(hex, "{byte:02x}").ok();
        hex
    })
}
