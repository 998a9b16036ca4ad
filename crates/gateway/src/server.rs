//! The listener, and the way of a request through the gateway.

use crate::body::{Answer, Place, Relay};
use crate::connect::Connector;
use crate::errors::Refusal;
use crate::request::{BODY_MAX, model};
use crate::table::{Entry, Found, Table};
use bytes::Bytes;
use charter_domain::routing::{Key, RouteTable};
use charter_domain::time::Time;
use charter_remote::Links;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A client that sends its headers slower than this is let go.
const HEADER_PATIENCE: Duration = Duration::from_secs(10);
/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(120);
/// How long a request waits for a place at a backend.
const QUEUE_PATIENCE: Duration = Duration::from_secs(60);
/// How long a backend may take until it begins to answer.
const FIRST_BYTE_PATIENCE: Duration = Duration::from_secs(600);
/// Idle connections end before the engine ends them, which it does after 5 s.
const IDLE: Duration = Duration::from_secs(3);
/// How long requests may finish after the gateway was told to end.
const DRAIN: Duration = Duration::from_secs(30);
/// Bytes of headers that a request may have.
const HEADERS_MAX: usize = 32 * 1024;
/// Connections at the same time.
const CONNECTIONS_MAX: usize = 10_000;

/// The present time in milliseconds since the epoch.
pub type Now = Arc<dyn Fn() -> Time + Send + Sync>;

/// A gateway. Clones share everything.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    table: Mutex<Arc<Table>>,
    connector: Connector,
    client: Client<Connector, Full<Bytes>>,
    now: Now,
    requests: AtomicU64,
    prefix: String,
    failing: mpsc::Sender<String>,
}

/// What a gateway counts for one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The version of the table that is in use.
    pub version: u64,
    /// Requests being answered, by backend.
    pub in_flight: Vec<(String, u64)>,
    /// When each backend answered last, in milliseconds since the epoch.
    pub last_used_ms: Vec<(String, i64)>,
}

impl Gateway {
    /// A gateway with an empty table. `prefix` begins the request ids of this process; the ids of backends that gave no
    /// answer come out of the receiver, as far as it is read.
    #[must_use]
    pub fn new(links: Links, now: Now, prefix: String) -> (Self, mpsc::Receiver<String>) {
        let connector = Connector::new(links);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .retry_canceled_requests(false)
            .set_host(true)
            .build(connector.clone());
        let (failing, reader) = mpsc::channel(64);
        let inner = Inner { table: Mutex::default(), connector, client, now, requests: AtomicU64::new(0), prefix, failing };
        (Self(Arc::new(inner)), reader)
    }

    /// Uses another table from now on.
    pub fn update(&self, source: &RouteTable) {
        let mut slot = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = Arc::new(Table::new(source, &slot));
        let backends: Vec<_> = table.entries.iter().map(|e| &e.backend).collect();
        self.0.connector.update(&backends);
        *slot = table;
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is counted now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let table = self.table();
        Stats {
            version: table.version,
            in_flight: table.in_flight(),
            last_used_ms: table
                .entries
                .iter()
                .map(|e| (e.backend.id.clone(), e.counters.last_used_ms.load(Ordering::Relaxed)))
                .collect(),
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

    /// Takes tables from `tables` and serves on `listener` until `ended`; then lets requests finish.
    pub async fn serve(&self, listener: TcpListener, mut tables: watch::Receiver<Arc<RouteTable>>, ended: CancellationToken) {
        self.update(&tables.borrow_and_update().clone());
        let (this, stop) = (self.clone(), ended.clone());
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
        let open = TaskTracker::new();
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
            if open.len() < CONNECTIONS_MAX && socket.set_nodelay(true).is_ok() {
                let (this, ended) = (self.clone(), ended.clone());
                open.spawn(async move { this.connection(socket, ended).await });
            }
        }
        open.close();
        if tokio::time::timeout(DRAIN, open.wait()).await.is_err() {
            tracing::warn!(connections = open.len(), "requests were cut at shutdown");
        }
    }

    async fn connection(&self, socket: tokio::net::TcpStream, ended: CancellationToken) {
        let service = service_fn(|request| async { Ok::<_, std::convert::Infallible>(self.answer(request).await) });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_PATIENCE)
            .max_buf_size(HEADERS_MAX.max(64 * 1024))
            .keep_alive(true)
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = std::pin::pin!(connection);
        let result = tokio::select! {
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

    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let number = self.0.requests.fetch_add(1, Ordering::Relaxed);
        let id = format!("req_{}{number:08x}", self.0.prefix);
        let mut response = match self.route(request, &id).await {
            Ok(response) => response,
            Err(refusal) => refusal.response().map(|body| body.map_err(|never| match never {}).boxed()),
        };
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("x-request-id", value);
        }
        response
    }

    async fn route(&self, request: Request<Incoming>, id: &str) -> Result<Response<Answer>, Refusal> {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            // A load balancer's question; it tells nothing but that the process serves.
            "/healthz" => return Ok(json(&serde_json::json!({"status": "ok"}))),
            "/v1/models" | "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" => {}
            _ if path.starts_with("/v1/models/") => {}
            _ => return Err(Refusal::NotFound(path)),
        }
        let table = self.table();
        let key = authorize(&table, request.headers(), (self.0.now)())?.clone();
        let listing = path.starts_with("/v1/models");
        if *request.method() != if listing { Method::GET } else { Method::POST } {
            return Err(Refusal::MethodNotAllowed);
        }
        if listing {
            return models(&table, &key, path.strip_prefix("/v1/models/"));
        }
        self.forward(request, &path, &table, &key, id).await
    }

    async fn forward(
        &self,
        request: Request<Incoming>,
        path: &str,
        table: &Table,
        key: &Key,
        id: &str,
    ) -> Result<Response<Answer>, Refusal> {
        let (parts, body) = request.into_parts();
        let body = collect(&parts.headers, body).await?;
        let asked = model(&body)?;
        if !key.routes.is_empty() && !key.routes.contains(&asked.name) {
            return Err(Refusal::RouteNotAllowed(asked.name));
        }
        let entry = match table.find(&asked.name) {
            Found::Backend(entry) => entry,
            Found::Loading => return Err(Refusal::Loading(asked.name)),
            Found::Nobody => return Err(Refusal::NoBackend(asked.name)),
            Found::Unknown => return Err(Refusal::ModelNotFound(asked.name)),
        };
        let backend = &entry.backend;
        let body = match &backend.upstream_model {
            Some(name) if *name != asked.name => asked.renamed(&body, name),
            _ => body,
        };
        let place = admit(&entry).await?;
        let uri = Connector::uri(backend, path).ok_or_else(|| Refusal::NoBackend(asked.name.clone()))?;
        let mut upstream = Request::new(Full::new(body));
        *upstream.method_mut() = Method::POST;
        *upstream.uri_mut() = uri;
        *upstream.headers_mut() = request_headers(&parts.headers, backend.bearer.as_deref(), id);
        let sent = tokio::time::timeout(FIRST_BYTE_PATIENCE, self.0.client.request(upstream)).await;
        entry.counters.last_used_ms.store((self.0.now)().0, Ordering::Relaxed);
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                tracing::warn!(backend = backend.id, error = chain(&error), "a backend gave no answer");
                // A full channel holds the same news already.
                self.0.failing.try_send(backend.id.clone()).ok();
                return Err(Refusal::Unreachable(backend.id.clone()));
            }
            Err(_) => return Err(Refusal::Timeout),
        };
        let (mut head, incoming) = response.into_parts();
        // An engine has no business to send clients elsewhere, to change the protocol, or to speak of a key that is ours.
        let strange =
            head.status.is_redirection() || head.status.is_informational() || head.status == http::StatusCode::UNAUTHORIZED;
        if strange {
            tracing::warn!(backend = backend.id, status = head.status.as_u16(), "a backend's answer is not passed on");
            return Err(Refusal::Unreachable(backend.id.clone()));
        }
        head.headers = response_headers(&head.headers, &backend.id);
        head.version = http::Version::HTTP_11;
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let events = kind.starts_with("text/event-stream");
        let relay = Relay { inner: incoming, place: Some(place), events, over: false };
        Ok(Response::from_parts(head, relay.boxed()))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// Finds the key that a request shows. Every failure looks the same.
fn authorize<'a>(table: &'a Table, headers: &HeaderMap, now: Time) -> Result<&'a Key, Refusal> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let secret = shown.and_then(|v| v.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let secret = secret.map_or("", |(_, secret)| secret.trim());
    table.key(secret, now).ok_or(Refusal::InvalidKey)
}

/// Reads the body once. A body that says that it is too large is refused before it is read.
async fn collect(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
    let said = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if said.is_some_and(|bytes| bytes > BODY_MAX) {
        return Err(Refusal::TooLarge(BODY_MAX));
    }
    match tokio::time::timeout(BODY_PATIENCE, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(Refusal::TooLarge(BODY_MAX)),
        Ok(Err(error)) => Err(Refusal::InvalidJson(error.to_string())),
        Err(_) => Err(Refusal::InvalidJson("the body did not arrive in time".into())),
    }
}

/// Takes a place at a backend, at once or after waiting in its queue.
async fn admit(entry: &Entry) -> Result<Place, Refusal> {
    let counters = &entry.counters;
    if let Ok(slot) = Arc::clone(&counters.slots).try_acquire_owned() {
        return Ok(Place::take(Arc::clone(counters), slot));
    }
    if !counters.enqueue() {
        return Err(Refusal::QueueFull);
    }
    // A client that leaves while it waits gives its place in the queue back.
    let waiting = Waiting(counters);
    let slot = tokio::time::timeout(QUEUE_PATIENCE, Arc::clone(&counters.slots).acquire_owned()).await;
    drop(waiting);
    match slot {
        Ok(Ok(slot)) => Ok(Place::take(Arc::clone(counters), slot)),
        Ok(Err(_)) | Err(_) => Err(Refusal::QueueFull),
    }
}

struct Waiting<'a>(&'a Arc<crate::table::Counters>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Headers that end at this hop, by their own word or by the standard's.
fn is_hop(name: &HeaderName, listed: &[String]) -> bool {
    const HOP: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    HOP.contains(&name.as_str()) || listed.iter().any(|l| l == name.as_str())
}

fn listed(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(|name| name.trim().to_ascii_lowercase()).collect()
}

/// The client's headers without its key, its address of us, and what ends here; with the engine's own key.
fn request_headers(from: &HeaderMap, bearer: Option<&str>, id: &str) -> HeaderMap {
    let listed = listed(from);
    let mut to = HeaderMap::with_capacity(from.len());
    for (name, value) in from {
        let ours = [header::AUTHORIZATION, header::HOST, header::CONTENT_LENGTH, header::EXPECT, header::COOKIE].contains(name);
        if !ours && !is_hop(name, &listed) && name != "x-request-id" && !name.as_str().starts_with("x-charter-") {
            to.append(name, value.clone());
        }
    }
    if let Some(Ok(mut value)) = bearer.map(|b| HeaderValue::from_str(&format!("Bearer {b}"))) {
        value.set_sensitive(true);
        to.insert(header::AUTHORIZATION, value);
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        to.insert("x-request-id", value);
    }
    to
}

fn response_headers(from: &HeaderMap, backend: &str) -> HeaderMap {
    let listed = listed(from);
    let mut to = HeaderMap::with_capacity(from.len());
    for (name, value) in from {
        if !is_hop(name, &listed)
            && ![header::SET_COOKIE, header::SERVER, header::WWW_AUTHENTICATE, header::AUTHORIZATION, header::LOCATION]
                .contains(name)
        {
            to.append(name, value.clone());
        }
    }
    if let Ok(value) = HeaderValue::from_str(backend) {
        to.insert("x-charter-backend", value);
    }
    to
}

/// The names that a key may use and that have a ready backend.
fn models(table: &Table, key: &Key, one: Option<&str>) -> Result<Response<Answer>, Refusal> {
    let mut names: Vec<(&str, Option<&str>)> = vec![];
    for entry in table.entries.iter().filter(|e| e.backend.ready) {
        for served in &entry.backend.served_names {
            let allowed = key.routes.is_empty() || key.routes.contains(&served.name);
            if allowed && !names.iter().any(|(n, _)| *n == served.name) {
                names.push((&served.name, served.parent.as_deref()));
            }
        }
    }
    let entry = |(name, parent): &(&str, Option<&str>)| serde_json::json!({"id": name, "object": "model", "created": 0, "owned_by": "charter", "parent": parent});
    match one {
        Some(one) => {
            names.iter().find(|(n, _)| *n == one).map(|n| json(&entry(n))).ok_or_else(|| Refusal::ModelNotFound(one.to_owned()))
        }
        None => Ok(json(&serde_json::json!({"object": "list", "data": names.iter().map(entry).collect::<Vec<_>>()}))),
    }
}

fn json(value: &serde_json::Value) -> Response<Answer> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
