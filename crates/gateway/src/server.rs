//! The listener: connections are shared out among threads, each with a runtime and a pool of its own, so that nothing of a
//! request crosses from one to another.

use crate::body::Answer;
use crate::connect::Connector;
use crate::errors::Refusal;
use crate::forward::{Shared, Way, bank_name};
use crate::front::{Front, HEADERS_MAX, LOOKED_MAX};
use crate::lane::Pool;
use crate::metrics;
use crate::plan_log::PlanLog;
use crate::purse::Bank;
use crate::record::{Recorder, Sink, write_all};
use crate::table::{Holder, MESSAGES, PATHS, RESPONSES, Table};
use crate::turned::in_their_shape;
use arc_swap::ArcSwap;
use bytes::Bytes;
use charter_domain::routing::RouteTable;
use charter_domain::time::Time;
use charter_domain::usage::Used;
use charter_remote::Links;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A client that sends its headers slower than this is let go.
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
/// How long requests may finish after the gateway was told to end.
const DRAIN: Duration = Duration::from_secs(300);
/// Connections at the same time.
const CONNECTIONS_MAX: usize = 10_000;
/// What a request is called, here and in its usage.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Threads at the most.
const THREADS_MAX: usize = 16;

/// The present time in milliseconds since the epoch.
pub type Now = Arc<dyn Fn() -> Time + Send + Sync>;

/// What the control plane is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This backend gave no answer.
    Failing(String),
    /// Somebody asks for this deployment, of which nothing runs.
    Wanted(String),
}

/// What lies outside of a gateway.
pub struct Outside {
    /// The ways to machines.
    pub links: Links,
    /// The clock.
    pub now: Now,
    /// Where the money of keys is kept.
    pub bank: Arc<dyn Bank>,
    /// Where usage goes.
    pub sink: Arc<dyn Sink>,
}

/// A place where connections come in.
pub struct Door {
    /// Where it listens.
    pub listener: TcpListener,
    /// What is spoken there, if it is not plain HTTP.
    pub tls: Option<TlsAcceptor>,
}

/// A connection, and how it is spoken on.
type Arrived = (std::net::TcpStream, Option<TlsAcceptor>);

/// A gateway. Clones share everything.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    connector: Connector,
    requests: AtomicU64,
    prefix: String,
    connections: AtomicUsize,
    /// The queue's exit, until somebody serves.
    exit: Mutex<Option<mpsc::Receiver<Used>>>,
    sink: Arc<dyn Sink>,
}

/// What a gateway counts for one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The version of the table that is in use.
    pub version: u64,
    /// Requests being answered, by backend.
    pub in_flight: Vec<(String, u64)>,
    /// Requests that wait, by deployment or registered backend.
    pub waiting: Vec<(String, u64)>,
    /// When each backend answered last, in milliseconds since the epoch.
    pub last_used_ms: Vec<(String, i64)>,
}

impl Gateway {
    /// A gateway with an empty table. `prefix` begins the request ids of this process; what the control plane should know
    /// comes out of the receiver, as far as it is read.
    #[must_use]
    pub fn new(outside: Outside, prefix: String) -> (Self, mpsc::Receiver<Notice>) {
        let (notices, reader) = mpsc::channel(64);
        let (recorder, exit) = Recorder::new();
        let Outside { links, now, bank, sink } = outside;
        let shared = Arc::new(Shared { table: ArcSwap::default(), now, bank, recorder, notices, plans: PlanLog::default() });
        let inner = Inner {
            shared,
            connector: Connector::new(links),
            requests: AtomicU64::new(0),
            prefix,
            connections: AtomicUsize::new(0),
            exit: Mutex::new(Some(exit)),
            sink,
        };
        (Self(Arc::new(inner)), reader)
    }

    /// Uses another table from now on. Those who wait look at it.
    pub fn update(&self, source: &Arc<RouteTable>) {
        let old = self.0.shared.table.load_full();
        if old.heed_queues(source) {
            // All else is as it was: nobody has to look anew.
            return;
        }
        let table = Arc::new(Table::new(source, &old));
        let backends: Vec<_> = table.entries.iter().map(|e| &e.backend).collect();
        self.0.connector.update(&backends);
        self.0.shared.table.store(Arc::clone(&table));
        for target in old.names.values().chain(table.names.values()) {
            target.state.line.tell();
        }
    }

    fn table(&self) -> Arc<Table> {
        self.0.shared.table.load_full()
    }

    /// What is counted now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let table = self.table();
        let mut waiting: Vec<(String, u64)> = vec![];
        for target in table.names.values().filter(|t| t.state.line.len() > 0) {
            if let Some(member) = target.members.first() {
                waiting.push((member.entry.backend.group.clone(), target.state.line.len() as u64));
            }
        }
        let last = |e: &Arc<crate::table::Entry>| (e.backend.id.clone(), e.counters.last_used_ms.load(Ordering::Relaxed));
        Stats {
            version: table.version(),
            in_flight: table.in_flight(),
            waiting,
            last_used_ms: table.entries.iter().map(last).collect(),
        }
    }

    /// Requests that a backend is answering.
    #[must_use]
    pub fn in_flight(&self, backend: &str) -> u64 {
        self.table().in_flight().iter().filter(|(id, _)| id == backend).map(|(_, count)| count).sum()
    }

    /// When a backend answered last.
    #[must_use]
    pub fn last_used(&self, backend: &str) -> Option<Time> {
        let table = self.table();
        let entry = table.entries.iter().find(|e| e.backend.id == backend)?;
        Some(entry.counters.last_used_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0).map(Time)
    }

    /// Takes tables from `tables` and serves on `listener` until `ended`; then lets requests finish, and writes their usage.
    pub async fn serve(&self, listener: TcpListener, tables: watch::Receiver<Arc<RouteTable>>, ended: CancellationToken) {
        self.serve_at(vec![Door { listener, tls: None }], tables, ended).await;
    }

    /// The same at several doors.
    pub async fn serve_at(&self, doors: Vec<Door>, mut tables: watch::Receiver<Arc<RouteTable>>, ended: CancellationToken) {
        self.update(&tables.borrow_and_update().clone());
        let (served, exit) = (CancellationToken::new(), self.0.exit.lock().unwrap_or_else(PoisonError::into_inner).take());
        // New tables are taken to the very end: who waits for a start while the gateway ends must see it.
        let (this, stop) = (self.clone(), served.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = tables.changed() => if changed.is_err() { return },
                }
                let table = tables.borrow_and_update().clone();
                this.update(&table);
            }
        });
        let (shared, stop) = (Arc::clone(&self.0.shared), served.clone());
        tokio::spawn(async move { shared.plans.write_all(stop).await });
        let writing = exit.map(|exit| {
            let (recorder, sink) = (self.0.shared.recorder.clone(), Arc::clone(&self.0.sink));
            tokio::spawn(write_all(recorder, exit, sink, served.clone()))
        });
        self.accept_all(doors, &ended).await;
        self.put_money_back().await;
        self.put_back_of_providers().await;
        served.cancel();
        if let Some(writing) = writing
            && writing.await.is_err()
        {
            tracing::error!("the writing of usage ended with a panic");
        }
    }

    /// What keys may still spend is there for other gateways, and for the next one here.
    async fn put_money_back(&self) {
        let now = (self.0.shared.now)();
        for holder in self.table().holders().into_iter().filter(|h| h.key.limits.costs()) {
            let left = holder.state.purse.empty(now);
            if left.0 > 0
                && let Err(why) = self.0.shared.bank.put_back(&holder.key.id, left).await
            {
                tracing::warn!(key = &*holder.key.id, why, "what is left of a key's money could not be put back");
            }
        }
    }

    async fn put_back_of_providers(&self) {
        let now = (self.0.shared.now)();
        for (name, purse) in &self.table().purses {
            let left = purse.empty(now);
            if left.0 > 0
                && let Err(why) = self.0.shared.bank.put_back(&bank_name(name), left).await
            {
                tracing::warn!(provider = name, why, "what is left of a provider's money could not be put back");
            }
        }
    }

    async fn accept_all(&self, doors: Vec<Door>, ended: &CancellationToken) {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX);
        let workers: Vec<Worker> = (0..threads).map(|n| Worker::start(self, n, ended)).collect();
        let mut loops: Vec<_> = doors.into_iter().map(|door| Box::pin(self.accept(door, &workers, ended))).collect();
        // All of them end at the same word, and are looked at together until then.
        poll_fn(|cx| {
            loops.retain_mut(|accepting| accepting.as_mut().poll(cx).is_pending());
            if loops.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(loops);
        for worker in workers {
            worker.finish().await;
        }
    }

    async fn accept(&self, door: Door, workers: &[Worker], ended: &CancellationToken) {
        let Door { listener, tls } = door;
        loop {
            let accepted = tokio::select! {
                () = ended.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let Ok((socket, _)) = accepted else {
                // Out of file descriptors, most likely; the next connection may end meanwhile.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let open = self.0.connections.load(Ordering::Relaxed);
            let idlest = workers.iter().min_by_key(|w| w.open.load(Ordering::Relaxed));
            if open < CONNECTIONS_MAX
                && socket.set_nodelay(true).is_ok()
                && let Some(worker) = idlest
                && let Ok(socket) = socket.into_std()
            {
                worker.open.fetch_add(1, Ordering::Relaxed);
                // A worker that is gone has taken the process with it.
                worker.sockets.send((socket, tls.clone())).ok();
            }
        }
    }

    async fn connection<S: AsyncRead + AsyncWrite + Send + Unpin>(&self, socket: S, way: Way, ended: CancellationToken) {
        let service = service_fn(|request| async { Ok::<_, std::convert::Infallible>(self.answer(request, &way).await) });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_PATIENCE)
            .max_buf_size(LOOKED_MAX)
            .keep_alive(true)
            .serve_connection(TokioIo::new(Front::new(socket)), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = ended.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a client connection ended");
        }
    }

    async fn encrypted(&self, socket: tokio::net::TcpStream, tls: TlsAcceptor, way: Way, ended: CancellationToken) {
        match tokio::time::timeout(HEADER_PATIENCE, tls.accept(socket)).await {
            Ok(Ok(stream)) => self.connection(stream, way, ended).await,
            Ok(Err(error)) => tracing::debug!(%error, "a client's TLS was not understood"),
            Err(_) => tracing::debug!("a client took too long for its TLS"),
        }
    }

    async fn answer(&self, request: Request<Incoming>, way: &Way) -> Response<Answer> {
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let id = HeaderValue::from_str(&format!("req_{}{number:08x}", self.0.prefix)).unwrap_or(HeaderValue::from_static("req_"));
        let of_anthropic = request.uri().path() == PATHS[MESSAGES];
        let mut response = match self.route(request, way, &id).await {
            Ok(response) => response,
            Err(refusal) if of_anthropic => in_their_shape(&refusal, &id),
            Err(refusal) => refusal.response().map(Answer::Whole),
        };
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    async fn route(&self, request: Request<Incoming>, way: &Way, id: &HeaderValue) -> Result<Response<Answer>, Refusal> {
        let path = request.uri().path();
        let bytes: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if bytes + path.len() > HEADERS_MAX {
            return Err(Refusal::HeadersTooLarge);
        }
        // A load balancer's question; it tells nothing but that the process serves.
        if path == "/healthz" {
            return Ok(json(&serde_json::json!({"status": "ok"})));
        }
        let posted = PATHS[..RESPONSES].iter().position(|known| *known == path);
        let listing = path == "/v1/models" || path.starts_with("/v1/models/");
        if posted.is_none() && !listing && path != "/metrics" {
            return Err(Refusal::NotFound(path.to_owned()));
        }
        let holder = Arc::clone(authorize(&self.0.shared.table.load(), request.headers(), (self.0.shared.now)())?);
        if *request.method() != if posted.is_some() { Method::POST } else { Method::GET } {
            return Err(Refusal::MethodNotAllowed);
        }
        if let Some(path) = posted {
            return way.forward(request, path, &holder, id).await;
        }
        let table = self.table();
        if listing {
            return models(&table, &holder, path.strip_prefix("/v1/models/"));
        }
        if !holder.key.operator {
            return Err(Refusal::NotFound(path.to_owned()));
        }
        let text = metrics::text(&table, self.0.connections.load(Ordering::Relaxed), self.0.shared.recorder.unwritten());
        let mut response = Response::new(Answer::Whole(Full::new(Bytes::from(text))));
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(response)
    }
}

/// A thread that serves connections.
struct Worker {
    sockets: mpsc::UnboundedSender<Arrived>,
    open: Arc<AtomicUsize>,
    over: tokio::sync::oneshot::Receiver<()>,
}

impl Worker {
    fn start(gateway: &Gateway, number: usize, ended: &CancellationToken) -> Self {
        let (sockets, incoming) = mpsc::unbounded_channel();
        let (done, over) = tokio::sync::oneshot::channel();
        let open: Arc<AtomicUsize> = Arc::default();
        let (gateway, ended, counted) = (gateway.clone(), ended.clone(), Arc::clone(&open));
        let run = move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(serve_here(gateway, incoming, counted, ended)),
                Err(error) => tracing::error!(%error, "a thread of the gateway cannot be started"),
            }
            // Nobody waits any more where the process ends at once.
            done.send(()).ok();
        };
        if let Err(error) = std::thread::Builder::new().name(format!("gateway-{number}")).spawn(run) {
            tracing::error!(%error, "a thread of the gateway cannot be started");
        }
        Self { sockets, open, over }
    }

    /// Lets its requests finish.
    async fn finish(self) {
        drop(self.sockets);
        self.over.await.ok();
    }
}

async fn serve_here(
    gateway: Gateway,
    mut incoming: mpsc::UnboundedReceiver<Arrived>,
    counted: Arc<AtomicUsize>,
    ended: CancellationToken,
) {
    let pool = Pool::new(gateway.0.connector.clone());
    let way = Way { shared: Arc::clone(&gateway.0.shared), pool };
    let open = TaskTracker::new();
    while let Some((socket, tls)) = incoming.recv().await {
        let Ok(socket) = tokio::net::TcpStream::from_std(socket) else { continue };
        let (gateway, way, ended, counted) = (gateway.clone(), way.clone(), ended.clone(), Arc::clone(&counted));
        gateway.0.connections.fetch_add(1, Ordering::Relaxed);
        open.spawn(async move {
            match tls {
                None => gateway.connection(socket, way, ended).await,
                // Behind a pointer: a plain connection would carry the room for it.
                Some(tls) => Box::pin(gateway.encrypted(socket, tls, way, ended)).await,
            }
            gateway.0.connections.fetch_sub(1, Ordering::Relaxed);
            counted.fetch_sub(1, Ordering::Relaxed);
        });
    }
    open.close();
    if tokio::time::timeout(DRAIN, open.wait()).await.is_err() {
        tracing::warn!(connections = open.len(), "requests were cut at shutdown");
    }
}

/// Finds the key that a request shows. Every failure looks the same.
fn authorize<'a>(table: &'a Table, headers: &HeaderMap, now: Time) -> Result<&'a Arc<Holder>, Refusal> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let secret = shown.and_then(|v| v.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    // Anthropic's clients show theirs in a header of its own.
    let other = || headers.get("x-api-key").and_then(|v| v.to_str().ok()).unwrap_or("");
    let secret = secret.map_or_else(other, |(_, secret)| secret).trim();
    table.key(secret, now).ok_or(Refusal::InvalidKey)
}

/// The names that a key may use and that somebody would answer to.
fn models(table: &Table, holder: &Holder, one: Option<&str>) -> Result<Response<Answer>, Refusal> {
    let key = &holder.key;
    let well = |m: &crate::table::Member| {
        let closed = m.entry.counters.breaker.lock().unwrap_or_else(PoisonError::into_inner).is_closed();
        (m.entry.backend.ready && closed) || m.entry.backend.asleep
    };
    let answers = |t: &crate::table::Target| t.members.iter().any(|m| m.weight > 0 && well(m));
    let behind = |t: &crate::table::Target| {
        let names = t.route.tiers.values().chain(&t.route.fallback);
        names.filter_map(|name| table.find(name)).any(|other| answers(other))
    };
    let listed = |t: &crate::table::Target| t.hosted.is_none() && (answers(t) || behind(t));
    let allowed = |name: &String| key.routes.is_empty() || key.routes.contains(name);
    let names: Vec<_> = table.names.iter().filter(|(name, target)| allowed(name) && listed(target)).collect();
    let entry = |(name, target): &(&String, &Arc<crate::table::Target>)| serde_json::json!({"id": name, "object": "model", "created": 0, "owned_by": "charter", "parent": target.parent});
    match one {
        Some(one) => {
            let found = names.iter().find(|(n, _)| *n == one);
            found.map(|n| json(&entry(n))).ok_or_else(|| Refusal::ModelNotFound(one.to_owned()))
        }
        None => Ok(json(&serde_json::json!({"object": "list", "data": names.iter().map(entry).collect::<Vec<_>>()}))),
    }
}

fn json(value: &serde_json::Value) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Full::new(Bytes::from(value.to_string()))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: FnOnce(Request<Incoming>) -> R, R>(_: F) -> usize {
        size_of::<R>()
    }

    /// Each connection holds the state of its request from the beginning to the end, a thousand streams a thousand of them.
    #[test]
    fn what_a_request_holds_is_small() {
        let gateway: Option<(Gateway, Way)> = None;
        let bytes = size(|request| async move {
            if let Some((gateway, way)) = &gateway {
                gateway.answer(request, way).await;
            }
        });
        assert!(bytes < 4096, "{bytes}");
        assert!(size_of::<Answer>() <= 64 && size_of::<crate::ticket::Ticket>() < 1024, "{}", size_of::<crate::ticket::Ticket>());
    }
}
