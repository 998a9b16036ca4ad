//! A gateway in this process, backends that do as they are told, and a client that shows every byte.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::string_slice,
    clippy::sliced_string_as_bytes,
    clippy::let_underscore_must_use,
    reason = "each test file uses its own share; a test that cannot go on fails"
)]

use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::routing::{Backend, Key, KeyLimits, Reach, Route, RouteTable, ServedName};
use charter_domain::time::Time;
use charter_domain::usage::Used;
use charter_gateway::{Bank, Drawn, Gateway, Notice, Outside, Sink, Written};
use charter_remote::Links;
use ring::digest;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub const SECRET: &str = "chk_test";
pub const CHAT: &str = "/v1/chat/completions";
const PATIENCE: Duration = Duration::from_secs(20);

/// Money of all keys together, as far as it reaches.
#[derive(Default)]
pub struct Vault(pub AtomicI64);

impl Bank for Vault {
    fn draw<'a>(&'a self, _: &'a str, want: Usd) -> Drawn<'a> {
        let left =
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left - want.0.min(left))).expect("an update");
        Box::pin(async move { Ok(Usd(want.0.min(left))) })
    }

    fn put_back<'a>(&'a self, _: &'a str, left: Usd) -> Drawn<'a> {
        self.0.fetch_add(left.0, Ordering::SeqCst);
        Box::pin(async move { Ok(left) })
    }
}

/// Keeps what is written; refuses so many batches first.
#[derive(Default)]
pub struct Book {
    pub written: Mutex<Vec<Used>>,
    pub refusals: AtomicU64,
}

impl Sink for Book {
    fn write<'a>(&'a self, batch: &'a [Used]) -> Written<'a> {
        Box::pin(async move {
            if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
                return Err("the disk is full".to_owned());
            }
            self.written.lock().expect("a lock").extend_from_slice(batch);
            Ok(())
        })
    }
}

pub struct Rig {
    pub address: SocketAddr,
    pub gateway: Gateway,
    pub tables: watch::Sender<Arc<RouteTable>>,
    pub notices: mpsc::Receiver<Notice>,
    pub book: Arc<Book>,
    pub vault: Arc<Vault>,
    pub ended: CancellationToken,
    pub served: tokio::task::JoinHandle<()>,
}

pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    Time(i64::try_from(since.as_millis()).expect("a time"))
}

impl Rig {
    pub async fn new(table: RouteTable) -> Self {
        Self::with(table, Arc::default()).await
    }

    pub async fn with(table: RouteTable, vault: Arc<Vault>) -> Self {
        let book = Arc::new(Book::default());
        let (bank, sink) = (Arc::clone(&vault) as Arc<dyn Bank>, Arc::clone(&book) as Arc<dyn Sink>);
        let outside = Outside { links: Links::default(), now: Arc::new(now), bank, sink };
        let (gateway, notices) = Gateway::new(outside, format!("{:x}", now().0));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (tables, receiver) = watch::channel(Arc::new(RouteTable { version: 1, gateways: 1, ..table }));
        let ended = CancellationToken::new();
        let (serving, stop) = (gateway.clone(), ended.clone());
        let served = tokio::spawn(async move { serving.serve(listener, receiver, stop).await });
        let version = || gateway.stats().version;
        until("the first table", || version() == 1).await;
        Self { address, gateway, tables, notices, book, vault, ended, served }
    }

    /// Another table, and waits until it is used.
    pub async fn table(&self, table: RouteTable) {
        let version = self.tables.borrow().version + 1;
        self.tables.send_replace(Arc::new(RouteTable { version, gateways: 1, ..table }));
        until("the table", || self.gateway.stats().version == version).await;
    }

    pub async fn ask(&self, body: &str) -> Answer {
        ask(self.address, CHAT, "", body).await
    }

    /// Requests that are being answered or wait.
    pub fn busy(&self) -> u64 {
        self.gateway.stats().in_flight.iter().map(|(_, n)| n).sum()
    }

    /// What was written of requests, once there are so many.
    pub async fn used(&self, count: usize) -> Vec<Used> {
        until("the usage", || self.book.written.lock().expect("a lock").len() >= count).await;
        self.book.written.lock().expect("a lock").clone()
    }
}

/// Waits for something that comes without being told.
pub async fn until(what: &str, done: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn key(limits: KeyLimits) -> Key {
    named_key("k", SECRET, "lab", limits)
}

pub fn named_key(id: &str, secret: &str, tenant: &str, limits: KeyLimits) -> Key {
    let hash = digest::digest(&digest::SHA256, secret.as_bytes());
    let sha256 = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Key { sha256, routes: vec![], expires_at: None, id: id.into(), tenant: tenant.into(), operator: true, limits }
}

/// A backend that serves `m`.
pub fn backend(id: &str, address: SocketAddr) -> Backend {
    Backend {
        id: id.to_owned(),
        group: id.to_owned(),
        served_names: vec![ServedName { name: "m".into(), parent: None }],
        upstream_model: None,
        reach: Reach::Http { base_url: format!("http://{address}") },
        bearer: Some("engine-key".into()),
        max_concurrent: 64,
        ready: true,
        starting: false,
        asleep: false,
        kept: false,
        rent: UsdPerHour(0),
        queue: 0,
        speaks: charter_domain::routing::Speaks::Chat,
        tools: true,
        hosted: None,
    }
}

pub fn table(backends: Vec<Backend>) -> RouteTable {
    RouteTable { backends, keys: vec![key(KeyLimits::default())], ..RouteTable::default() }
}

pub fn route(change: impl FnOnce(&mut Route)) -> Route {
    let mut route = Route::plain("m");
    change(&mut route);
    route
}

/// What one backend got.
#[derive(Clone, Default)]
pub struct Got(Arc<Mutex<Vec<String>>>);

impl Got {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().expect("a lock").clone()
    }

    pub fn posts(&self) -> usize {
        self.all().len()
    }
}

/// A backend: `serve` gets the socket and each request's text, and answers whether the connection goes on.
pub async fn upstream<F, R>(serve: F) -> (SocketAddr, Got)
where
    F: Fn(TcpStream, String) -> R + Send + Sync + 'static,
    R: Future<Output = Option<TcpStream>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (got, serve) = (Got::default(), Arc::new(serve));
    let kept = got.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (kept, serve) = (kept.clone(), Arc::clone(&serve));
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut socket).await {
                    kept.0.lock().expect("a lock").push(request.clone());
                    match serve(socket, request).await {
                        Some(again) => socket = again,
                        None => return,
                    }
                }
            });
        }
    });
    (address, got)
}

/// A backend that answers every request with the same bytes.
pub async fn always(answer: impl Into<String>) -> (SocketAddr, Got) {
    let answer: Arc<str> = answer.into().into();
    upstream(move |mut socket, _| {
        let answer = Arc::clone(&answer);
        async move {
            socket.write_all(answer.as_bytes()).await.ok()?;
            Some(socket)
        }
    })
    .await
}

async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = vec![];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// An answer in JSON.
pub fn json(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

pub fn status(code: u16, body: &str) -> String {
    format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The head of a stream, and its events as chunks.
pub fn stream(events: &[&str]) -> String {
    let mut text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for event in events {
        text.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
    }
    text + "0\r\n\r\n"
}

pub const HELLO: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\n";
pub const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n";
pub const DONE: &str = "data: [DONE]\n\n";
pub const STREAM: &str = r#"{"model":"m","stream":true,"messages":[]}"#;
pub const PLAIN: &str = r#"{"model":"m","messages":[]}"#;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    }
}

pub fn request(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// One request on a connection of its own; the answer as far as it comes.
pub async fn ask(address: SocketAddr, path: &str, headers: &str, body: &str) -> Answer {
    raw(address, &request(path, headers, body)).await
}

/// Whatever is sent, and whatever comes back until the end.
pub async fn raw(address: SocketAddr, text: &str) -> Answer {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket.write_all(text.as_bytes()).await.expect("sent");
    let mut bytes = vec![];
    // A reset is an end too.
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("an end").ok();
    parse(&bytes)
}

pub fn parse(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            whole.push_str(rest.get(..size.min(rest.len())).unwrap_or_default());
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

pub const ROLE: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
pub const GOOD: &str = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"from the second"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;

/// A backend that serves a name of its own.
pub fn named(name: &str, address: SocketAddr) -> Backend {
    Backend { served_names: vec![ServedName { name: name.into(), parent: None }], ..backend(name, address) }
}

/// A backend that answers well, as a stream or not.
pub async fn good() -> (SocketAddr, Got) {
    upstream(|mut socket, text| async move {
        let answer = if text.contains("\"stream\":true") { stream(&[ROLE, HELLO, USAGE, DONE]) } else { json(GOOD) };
        socket.write_all(answer.as_bytes()).await.ok()?;
        Some(socket)
    })
    .await
}
