//! What is counted for people and for Prometheus.

use crate::table::Table;
use charter_domain::usage::{End, Used};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// Upper ends of the steps of a histogram, in milliseconds.
const STEPS: [u64; 12] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000, 60_000, 600_000];

/// How long something took, in steps.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    steps: [AtomicU64; STEPS.len()],
    count: AtomicU64,
    sum_ms: AtomicU64,
}

impl Histogram {
    fn add(&self, ms: u64) {
        if let Some(at) = STEPS.iter().position(|end| ms <= *end) {
            self.steps[at].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

/// What is counted of a name.
#[derive(Debug, Default)]
pub(crate) struct RouteCounts {
    requests: AtomicU64,
    prompt: AtomicU64,
    cached: AtomicU64,
    completion: AtomicU64,
    /// Requests that it answered in the place of others.
    stood_in: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    saved_micros: AtomicU64,
    cost_micros: AtomicU64,
    duration: Histogram,
    first: Histogram,
    wait: Histogram,
}

impl RouteCounts {
    /// It answers where somebody else should have.
    pub(crate) fn stood_in(&self) {
        self.stood_in.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a request in that has ended; `looked` says whether kept answers were looked through for it.
    pub(crate) fn add(&self, used: &Used, looked: bool) {
        let count = |counter: &AtomicU64, n: u64| {
            counter.fetch_add(n, Ordering::Relaxed);
        };
        let micros = |usd: charter_domain::money::Usd| u64::try_from(usd.0).unwrap_or(0);
        count(&self.requests, 1);
        count(&self.prompt, used.prompt_tokens);
        count(&self.cached, used.cached_tokens);
        count(&self.completion, used.completion_tokens);
        count(&self.cost_micros, micros(used.cost));
        self.duration.add(used.duration_ms);
        self.first.add(used.first_ms);
        self.wait.add(used.queue_ms + used.cold_ms);
        if looked {
            let hit = used.end == End::Cached;
            count(if hit { &self.hits } else { &self.misses }, 1);
            count(&self.saved_micros, micros(used.saved));
        }
    }
}

/// What is counted of a backend.
#[derive(Debug, Default)]
pub(crate) struct BackendCounts {
    /// By the first digit of the answer's status; no answer at all is 0.
    pub(crate) answers: [AtomicU64; 6],
    pub(crate) broken: AtomicU64,
}

impl BackendCounts {
    pub(crate) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).min(5);
        self.answers[class].fetch_add(1, Ordering::Relaxed);
    }
}

fn quoted(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control()).collect();
    shown.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Everything, in the text format of Prometheus.
pub(crate) fn text(table: &Table, connections: usize, unwritten: u64) -> String {
    let mut out = String::new();
    let names: Vec<_> = table.names.values().collect();
    let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, u64)>| {
        // Writing to a String cannot fail.
        write!(out, "# HELP charter_gateway_{name} {help}\n# TYPE charter_gateway_{name} {kind}\n").ok();
        for (labels, value) in rows {
            writeln!(out, "charter_gateway_{name}{labels} {value}").ok();
        }
    };
    family("connections", "gauge", "Connections of clients.", vec![(String::new(), connections as u64)]);
    family("usage_unwritten", "gauge", "Requests whose usage is not in the database yet.", vec![(String::new(), unwritten)]);
    let per_name = |get: &dyn Fn(&RouteCounts) -> u64| -> Vec<(String, u64)> {
        names.iter().map(|t| (format!("{{model=\"{}\"}}", quoted(&t.route.name)), get(&t.state.counts))).collect()
    };
    family("requests_total", "counter", "Requests that have ended.", per_name(&|c| load(&c.requests)));
    family("prompt_tokens_total", "counter", "Tokens read.", per_name(&|c| load(&c.prompt)));
    family("cached_tokens_total", "counter", "Tokens read that the engine had in its cache.", per_name(&|c| load(&c.cached)));
    family("completion_tokens_total", "counter", "Tokens written.", per_name(&|c| load(&c.completion)));
    family("cost_usd_micros_total", "counter", "What requests were charged with.", per_name(&|c| load(&c.cost_micros)));
    let stood_in = per_name(&|c| load(&c.stood_in));
    family("fallbacks_total", "counter", "Requests that it answered where those before it in a chain could not.", stood_in);
    family("cache_hits_total", "counter", "Requests that a kept answer was given to.", per_name(&|c| load(&c.hits)));
    family(
        "cache_misses_total",
        "counter",
        "Requests without a kept answer, where answers are kept.",
        per_name(&|c| load(&c.misses)),
    );
    family("cache_saved_usd_micros_total", "counter", "What kept answers had cost.", per_name(&|c| load(&c.saved_micros)));
    let waiting = names.iter().map(|t| (format!("{{model=\"{}\"}}", quoted(&t.route.name)), t.state.line.len() as u64)).collect();
    family("waiting", "gauge", "Requests that wait for a place or a start.", waiting);
    let backend =
        |e: &crate::table::Entry| format!("backend=\"{}\",group=\"{}\"", quoted(&e.backend.id), quoted(&e.backend.group));
    let rows = table.entries.iter().map(|e| (format!("{{{}}}", backend(e)), load(&e.counters.in_flight))).collect();
    family("in_flight", "gauge", "Requests that a backend is answering.", rows);
    let classes = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
    let rows = table.entries.iter().flat_map(|e| {
        let of = backend(e);
        let each = e.counters.counts.answers.iter().zip(classes);
        each.map(move |(n, class)| (format!("{{{of},status=\"{class}\"}}"), load(n))).collect::<Vec<_>>()
    });
    family("answers_total", "counter", "Answers of a backend.", rows.collect());
    let rows = table.entries.iter().map(|e| (format!("{{{}}}", backend(e)), load(&e.counters.counts.broken))).collect();
    family("broken_total", "counter", "Answers that a backend broke off.", rows);
    let open = |e: &crate::table::Entry| {
        let breaker = e.counters.breaker.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        u64::from(!breaker.is_closed())
    };
    let rows = table.entries.iter().map(|e| (format!("{{{}}}", backend(e)), open(e))).collect();
    family("breaker_open", "gauge", "1 while a backend gets no requests, or few, after failures.", rows);
    type Pick = fn(&RouteCounts) -> &Histogram;
    let kinds: [(&str, &str, Pick); 3] = [
        ("duration_ms", "From a request's coming to its end.", |c| &c.duration),
        ("first_ms", "From a request's coming to the first part of its answer.", |c| &c.first),
        ("wait_ms", "How long a request waited for a place or a start.", |c| &c.wait),
    ];
    for (name, help, pick) in kinds {
        histograms(&mut out, name, help, names.iter().map(|t| (t.route.name.as_str(), pick(&t.state.counts))));
    }
    out
}

fn histograms<'a>(out: &mut String, name: &str, help: &str, all: impl Iterator<Item = (&'a str, &'a Histogram)>) {
    write!(out, "# HELP charter_gateway_{name} {help}\n# TYPE charter_gateway_{name} histogram\n").ok();
    for (model, histogram) in all {
        let model = quoted(model);
        let mut below = 0;
        for (end, n) in STEPS.iter().zip(&histogram.steps) {
            below += n.load(Ordering::Relaxed);
            writeln!(out, "charter_gateway_{name}_bucket{{model=\"{model}\",le=\"{end}\"}} {below}").ok();
        }
        let (count, sum) = (histogram.count.load(Ordering::Relaxed), histogram.sum_ms.load(Ordering::Relaxed));
        writeln!(out, "charter_gateway_{name}_bucket{{model=\"{model}\",le=\"+Inf\"}} {count}").ok();
        writeln!(out, "charter_gateway_{name}_sum{{model=\"{model}\"}} {sum}").ok();
        writeln!(out, "charter_gateway_{name}_count{{model=\"{model}\"}} {count}").ok();
    }
}
