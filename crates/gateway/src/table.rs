//! The routing table as requests use it: looked up by name, with what is counted of each backend, name and key kept across
//! changes.

use crate::balance::Seen;
use crate::breaker::Breaker;
use crate::cache::Cache;
use crate::choices::Choices;
use crate::connect::Connector;
use crate::limits::Meter;
use crate::line::Line;
use crate::metrics::{BackendCounts, RouteCounts};
use crate::purse::Purse;
use crate::rent::Rent;
use charter_domain::routing::{Backend, Hosted, Key, Reach, Route, RouteTable, Speaks};
use charter_domain::time::Time;
use http::{HeaderValue, Uri};
use ring::digest;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Where requests go at a backend. Clients may use all but the last.
pub(crate) const PATHS: [&str; 5] =
    ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages", "/v1/responses"];
/// Places in [`PATHS`].
pub(crate) const CHAT: usize = 0;
pub(crate) const MESSAGES: usize = 3;
pub(crate) const RESPONSES: usize = 4;

/// What is counted for a backend, as long as it is in the table.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) in_flight: AtomicU64,
    /// Requests that wait inside the engine, as it said last.
    pub(crate) queue: AtomicU32,
    pub(crate) last_used_ms: AtomicI64,
    /// It gets nothing before this time: it said that it is asked too much, or that its account is closed.
    pub(crate) rests_until_ms: AtomicI64,
    pub(crate) breaker: Mutex<Breaker>,
    pub(crate) rent: Rent,
    pub(crate) counts: BackendCounts,
    /// The lines before the names that it serves: whoever gives a place back calls the next one.
    pub(crate) lines: Mutex<Vec<Arc<Line>>>,
}

impl Counters {
    /// Takes one of so many places.
    pub(crate) fn take(&self, room: u32) -> bool {
        let room = u64::from(room.max(1));
        let taken = self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < room).then_some(n + 1));
        taken.is_ok()
    }

    /// Gives a place back.
    pub(crate) fn give_back(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|line| line.call());
    }
}

/// Where a backend is, and how requests to it begin.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) uri: Uri,
    /// Connections to one of this name are connections to the same engine.
    pub(crate) name: Arc<str>,
    /// The first lines of a request, in the order of [`PATHS`].
    pub(crate) lines: Vec<String>,
}

impl Origin {
    fn of(backend: &Backend) -> Option<Self> {
        let uri = Connector::uri(backend)?;
        let (host, before) = (uri.host()?, uri.path().trim_end_matches('/'));
        let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().filter(|port| *port != usual).map(|port| format!(":{port}")).unwrap_or_default();
        let lines = PATHS.iter().map(|path| format!("POST {before}{path} HTTP/1.1\r\nhost: {host}{port}\r\n")).collect();
        let name = match &backend.reach {
            Reach::Http { .. } => uri.to_string(),
            // Another machine under the same id is another place.
            Reach::Ssh { address, port, .. } => format!("{uri} {}@{}:{} {port}", address.user, address.host, address.port),
        };
        Some(Self { name: name.into(), lines, uri })
    }
}

/// A backend in use.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) backend: Backend,
    /// Its id and its group once more, as usage names them.
    pub(crate) id: Arc<str>,
    pub(crate) group: Arc<str>,
    pub(crate) counters: Arc<Counters>,
    /// Where it is, if that can be read.
    pub(crate) origin: Option<Arc<Origin>>,
    /// The header that carries the engine's own key, and its value.
    pub(crate) secret: Option<(&'static str, HeaderValue)>,
    /// What clients are told of it.
    pub(crate) shown: Option<HeaderValue>,
}

/// A backend as a member of a name.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) entry: Arc<Entry>,
    pub(crate) weight: u32,
    /// What the name is called there, where that differs.
    pub(crate) rename: Option<String>,
}

/// What is kept of a name across changes.
#[derive(Debug, Default)]
pub(crate) struct NameState {
    pub(crate) line: Arc<Line>,
    pub(crate) turn: AtomicU64,
    pub(crate) seen: Mutex<Seen>,
    pub(crate) cache: Cache,
    pub(crate) counts: RouteCounts,
}

/// A name that clients use.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: Arc<str>,
    pub(crate) route: Route,
    pub(crate) parent: Option<String>,
    pub(crate) members: Vec<Member>,
    pub(crate) state: Arc<NameState>,
    /// Its place among the table's choices.
    number: usize,
    /// A model of a hosted provider, and the money of that provider. It is nobody's to ask for by name.
    pub(crate) hosted: Option<(Hosted, Arc<Purse>)>,
}

impl Target {
    /// What its members understand.
    pub(crate) fn speaks(&self) -> Speaks {
        let mut all = self.members.iter().map(|m| m.entry.backend.speaks);
        let first = all.next().unwrap_or_default();
        // Where one of them understands less, all are asked in what it understands.
        if all.all(|other| other == first) { first } else { Speaks::Chat }
    }

    /// Its model can call tools, as far as is known.
    pub(crate) fn calls_tools(&self) -> bool {
        self.members.is_empty() || self.members.iter().any(|m| m.entry.backend.tools)
    }

    /// Does each of its members take requests for this path as they come?
    pub(crate) fn takes(&self, path: usize) -> bool {
        let takes = |speaks: Speaks| match path {
            MESSAGES => speaks.messages(),
            _ => matches!(speaks, Speaks::Chat | Speaks::Both),
        };
        self.members.iter().all(|m| takes(m.entry.backend.speaks))
    }
}

/// What is kept of a key across changes.
#[derive(Debug, Default)]
pub(crate) struct KeyState {
    pub(crate) meter: Meter,
    pub(crate) purse: Purse,
    /// Requests that wait, before whatever name.
    pub(crate) waiting: AtomicUsize,
}

/// A key with what it has used.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) key: Key,
    pub(crate) state: Arc<KeyState>,
}

/// A table ready for look-ups.
#[derive(Debug, Default)]
pub(crate) struct Table {
    version: AtomicU64,
    /// What it was made of.
    source: Arc<RouteTable>,
    pub(crate) gateways: u32,
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Backends that have left the table while they were still answering.
    retired: Vec<Arc<Entry>>,
    pub(crate) names: BTreeMap<String, Arc<Target>>,
    choices: Vec<Choices>,
    /// The first name of each deployment and registered backend.
    groups: BTreeMap<String, String>,
    keys: HashMap<[u8; 32], Arc<Holder>>,
    /// Money of hosted providers, by their names.
    pub(crate) purses: BTreeMap<String, Arc<Purse>>,
}

impl Table {
    /// Prepares a table; what stays keeps what was counted of it.
    pub(crate) fn new(source: &Arc<RouteTable>, old: &Self) -> Self {
        let mut table = Self {
            version: AtomicU64::new(source.version),
            source: Arc::clone(source),
            gateways: source.gateways,
            ..Self::default()
        };
        table.entries = source.backends.iter().map(|backend| Arc::new(entry(backend, old))).collect();
        let busy = |e: &&Arc<Entry>| e.counters.in_flight.load(Ordering::Acquire) > 0;
        let left = |e: &&Arc<Entry>| !table.entries.iter().any(|n| n.backend.id == e.backend.id);
        table.retired = old.retired.iter().chain(&old.entries).filter(busy).filter(left).cloned().collect();
        for hosted in source.backends.iter().filter_map(|b| b.hosted.as_ref()) {
            let known = old.purses.get(&hosted.provider).cloned().unwrap_or_default();
            table.purses.insert(hosted.provider.clone(), known);
        }
        table.name_all(source, old);
        for key in &source.keys {
            let Some(hash) = unhex(&key.sha256) else { continue };
            let known = old.keys.get(&hash).filter(|h| h.key.id == key.id);
            let state = known.map_or_else(Arc::default, |h| Arc::clone(&h.state));
            table.keys.insert(hash, Arc::new(Holder { key: key.clone(), state }));
        }
        table
    }

    /// The version of what it was made of, or of what differs from that by queues alone.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Takes over what engines say of their queues, if that is all that has changed.
    pub(crate) fn heed_queues(&self, source: &RouteTable) -> bool {
        let but_queues = |a: &Backend, b: &Backend| *a == Backend { queue: a.queue, ..b.clone() };
        let old = &self.source;
        let same = old.version > 0
            && old.gateways == source.gateways
            && old.routes == source.routes
            && old.keys == source.keys
            && old.backends.len() == source.backends.len()
            && old.backends.iter().zip(&source.backends).all(|(a, b)| but_queues(a, b));
        if same {
            for (entry, backend) in self.entries.iter().zip(&source.backends) {
                entry.counters.queue.store(backend.queue, Ordering::Relaxed);
            }
            self.version.store(source.version, Ordering::Release);
        }
        same
    }

    /// The names that backends serve, and those that routes add.
    fn name_all(&mut self, source: &RouteTable, old: &Self) {
        let mut names: BTreeMap<String, Target> = BTreeMap::new();
        let fresh = |name: &str, route: Route| Target {
            name: name.into(),
            route,
            parent: None,
            members: vec![],
            state: old.names.get(name).map_or_else(Arc::default, |t| Arc::clone(&t.state)),
            number: 0,
            hosted: None,
        };
        for entry in &self.entries {
            for served in &entry.backend.served_names {
                let target = names.entry(served.name.clone()).or_insert_with(|| fresh(&served.name, Route::plain(&served.name)));
                // What is ours and what is paid by the token never answer under one name: ours wins.
                let theirs = entry.backend.hosted.is_some();
                if !target.members.is_empty() && target.hosted.is_some() != theirs {
                    tracing::warn!(name = served.name, "a hosted provider has the name of something that is served");
                    if theirs {
                        continue;
                    }
                    *target = fresh(&served.name, Route::plain(&served.name));
                }
                target.parent.clone_from(&served.parent);
                if let Some(hosted) = &entry.backend.hosted {
                    target.route.price = Some(hosted.price);
                    let purse = self.purses.get(&hosted.provider).cloned().unwrap_or_default();
                    target.hosted = Some((hosted.clone(), purse));
                }
                let upstream = entry.backend.upstream_model.clone().filter(|n| *n != served.name && served.parent.is_none());
                target.members.push(Member { entry: Arc::clone(entry), weight: 1, rename: upstream });
            }
        }
        for route in &source.routes {
            let mut target = names.remove(&route.name).unwrap_or_else(|| fresh(&route.name, route.clone()));
            if let Some((hosted, _)) = &target.hosted {
                // How long it may take is anybody's to say; what it costs, and who answers, is not.
                target.route = Route { price: Some(hosted.price), patience: route.patience, ..Route::plain(&route.name) };
                names.insert(route.name.clone(), target);
                continue;
            }
            target.route = route.clone();
            if !route.backends.is_empty() {
                target.members = self.entries.iter().filter_map(|entry| member(entry, route)).collect();
            }
            names.insert(route.name.clone(), target);
        }
        for target in names.values() {
            for member in &target.members {
                let mut lines = member.entry.counters.lines.lock().unwrap_or_else(PoisonError::into_inner);
                if !lines.iter().any(|line| Arc::ptr_eq(line, &target.state.line)) {
                    lines.push(Arc::clone(&target.state.line));
                }
            }
        }
        for backend in self.entries.iter().map(|entry| &entry.backend) {
            if let Some(own) = backend.served_names.iter().find(|s| s.parent.is_none()) {
                self.groups.insert(backend.group.clone(), own.name.clone());
            }
        }
        let numbered = |(number, (name, target))| (name, Arc::new(Target { number, ..target }));
        self.names = names.into_iter().enumerate().map(numbered).collect();
        self.choices.resize_with(self.names.len(), Choices::default);
    }

    /// A name, or the one that a deployment of this name is served under.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Target>> {
        self.names.get(name).or_else(|| self.names.get(self.groups.get(name)?))
    }

    /// What it makes of one of its names, which must be of this very table.
    pub(crate) fn choices(&self, target: &Target) -> &Choices {
        &self.choices[target.number]
    }

    /// Requests being answered, by backend, those included that get no new ones.
    pub(crate) fn in_flight(&self) -> Vec<(String, u64)> {
        let count = |e: &Arc<Entry>| (e.backend.id.clone(), e.counters.in_flight.load(Ordering::Acquire));
        self.entries.iter().chain(&self.retired).map(count).collect()
    }

    /// Is a key that was let in still one?
    pub(crate) fn knows(&self, holder: &Holder, now: Time) -> bool {
        let known = unhex(&holder.key.sha256).and_then(|hash| self.keys.get(&hash));
        known.is_some_and(|h| h.key.expires_at.is_none_or(|at| now < at))
    }

    /// All keys with what they have used.
    pub(crate) fn holders(&self) -> Vec<Arc<Holder>> {
        let mut all: Vec<Arc<Holder>> = vec![];
        // Their order means nothing.
        self.keys.clone().into_iter().for_each(|(_, holder)| all.push(holder));
        all
    }

    /// The key that a secret belongs to. Only hashes are compared, so the time taken tells nothing about a key.
    pub(crate) fn key(&self, secret: &str, now: Time) -> Option<&Arc<Holder>> {
        self.keys.get(&sha256(secret)).filter(|h| h.key.expires_at.is_none_or(|at| now < at))
    }
}

/// A backend as a member of a route that names its members. Its own first name is what the route's name is called there.
fn member(entry: &Arc<Entry>, route: &Route) -> Option<Member> {
    let weight = route.backends.iter().find(|w| w.backend == entry.backend.group)?.weight;
    let own = entry.backend.served_names.iter().find(|s| s.parent.is_none());
    let upstream = entry.backend.upstream_model.clone().or_else(|| own.map(|s| s.name.clone()));
    Some(Member { entry: Arc::clone(entry), weight, rename: upstream.filter(|n| *n != route.name) })
}

fn entry(backend: &Backend, old: &Table) -> Entry {
    let now = Instant::now();
    let same = old.entries.iter().chain(&old.retired).find(|e| e.backend.id == backend.id);
    let counters = same.map_or_else(|| Arc::new(counters(backend, now)), |e| Arc::clone(&e.counters));
    let anew = same.is_some_and(|old| backend.ready && (!old.backend.ready || old.backend.reach != backend.reach));
    if anew {
        // Whoever says that it is ready has asked it: what it was before counts no more.
        *counters.breaker.lock().unwrap_or_else(PoisonError::into_inner) = Breaker::default();
    }
    counters.rent.set(backend.rent, now);
    counters.queue.store(backend.queue, Ordering::Relaxed);
    counters.lines.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let (name, text) = match backend.speaks {
        Speaks::Anthropic => ("x-api-key", backend.bearer.clone()),
        Speaks::Chat | Speaks::Both | Speaks::OpenAi => ("authorization", backend.bearer.as_ref().map(|b| format!("Bearer {b}"))),
    };
    let secret = text.and_then(|text| HeaderValue::from_str(&text).ok()).map(|mut value| {
        value.set_sensitive(true);
        (name, value)
    });
    Entry {
        shown: HeaderValue::from_str(&backend.id).ok(),
        id: backend.id.as_str().into(),
        group: backend.group.as_str().into(),
        backend: backend.clone(),
        counters,
        origin: Origin::of(backend).map(Arc::new),
        secret,
    }
}

fn counters(backend: &Backend, now: Instant) -> Counters {
    Counters {
        in_flight: AtomicU64::new(0),
        queue: AtomicU32::new(backend.queue),
        last_used_ms: AtomicI64::new(0),
        rests_until_ms: AtomicI64::new(0),
        breaker: Mutex::default(),
        rent: Rent::new(backend.rent, now),
        counts: BackendCounts::default(),
        lines: Mutex::default(),
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    hash
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}
