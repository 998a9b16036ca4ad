//! Questions over HTTP: the key in a header, never in an address; minimum pauses per endpoint; no redirect followed; reads tried
//! again, orders never.

use super::answer::{Answer, retry_after};
use crate::port::{Kind, ProviderError};
use bytes::Bytes;
use charter_domain::time::Span;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Largest answer that is read.
const BODY_MAX: usize = 16 * 1024 * 1024;
/// Largest log that is read.
const LOG_MAX: usize = 4 * 1024 * 1024;
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tries of a question that changes nothing, or that may be repeated.
const TRIES: u32 = 3;
/// Longest pause between two of them; whoever asked has a patience of its own.
const PAUSE_MAX: Span = Span::s(10);

/// Endpoints with a pause of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Endpoint {
    Search,
    Create,
    Destroy,
    Read,
    List,
    Key,
    Account,
    Log,
}

impl Endpoint {
    /// The shortest time between two calls, in milliseconds.
    const fn pause_ms(self) -> i64 {
        match self {
            Self::Create => 4500,
            Self::Destroy => 3000,
            Self::Read => 2000,
            Self::List | Self::Key | Self::Account | Self::Log => 1000,
            Self::Search => 500,
        }
    }
}

/// How a question ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It was never sent.
    NotSent(String),
    /// It may have arrived.
    Sent(String),
}

impl Lost {
    pub(super) fn error(self) -> ProviderError {
        let (Self::NotSent(why) | Self::Sent(why)) = self;
        ProviderError { kind: Kind::Transient, message: format!("the service cannot be reached: {why}") }
    }
}

/// One after another, in the order of their coming.
type Queue = Arc<tokio::sync::Mutex<Option<Instant>>>;

pub(super) struct Transport {
    base: String,
    bearer: HeaderValue,
    /// The key itself, so that an answer that repeats it tells nobody.
    key: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Who waits for each endpoint, and when it was asked last.
    queues: Mutex<BTreeMap<Endpoint, Queue>>,
    /// Until when an endpoint is closed.
    closed: Mutex<BTreeMap<Endpoint, Instant>>,
    /// Divides every pause: a service on this computer needs none.
    haste: i64,
}

impl Transport {
    /// # Errors
    /// A key that no header can carry.
    pub(super) fn new(base: &str, key: &str, haste: i64) -> Result<Self, String> {
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| "the API key is no text for a header".to_owned())?;
        bearer.set_sensitive(true);
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        let https = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_timer(TokioTimer::new())
            // A connection that dies under an order must not make the library send it again.
            .retry_canceled_requests(false)
            .build(https);
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            bearer,
            key: key.to_owned(),
            client,
            queues: Mutex::default(),
            closed: Mutex::default(),
            haste: haste.max(1),
        })
    }

    /// A pause as it is here.
    pub(super) fn span(&self, real: Span) -> Span {
        Span(real.0 / self.haste)
    }

    /// The same for a real pause.
    pub(super) fn short(&self, real: Duration) -> Duration {
        real / u32::try_from(self.haste).unwrap_or(1)
    }

    /// Where the service is.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Reads a text from somewhere else, without our key; nothing while it is not there.
    pub(super) async fn fetch(&self, url: &str) -> Result<Option<String>, ProviderError> {
        let transient = |message: String| ProviderError { kind: Kind::Transient, message };
        let request = Request::builder().uri(url).body(Full::default()).map_err(|e| transient(e.to_string()))?;
        let work = async {
            let response = self.client.request(request).await.map_err(|e| transient(root(&e)))?;
            match response.status().as_u16() {
                200 => {}
                403 | 404 => return Ok(None),
                status => return Err(transient(format!("the log's address answers {status}"))),
            }
            let body = Limited::new(response.into_body(), LOG_MAX).collect().await.map_err(|e| transient(e.to_string()))?;
            Ok(Some(String::from_utf8_lossy(&body.to_bytes()).into_owned()))
        };
        let late = || transient("the log's address does not answer".to_owned());
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Waits for this endpoint's turn and takes it. Whoever stops waiting takes none.
    async fn turn(&self, endpoint: Endpoint) {
        let queue = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(queues.entry(endpoint).or_default())
        };
        let mut last = queue.lock().await;
        let pause = self.span(Span::ms(endpoint.pause_ms())).std();
        if let Some(last) = *last {
            tokio::time::sleep_until(last + pause).await;
        }
        loop {
            let until = self.closed.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint).copied();
            let Some(until) = until.filter(|u| *u > now()) else { break };
            tokio::time::sleep_until(until).await;
        }
        *last = Some(now());
    }

    /// Keeps an endpoint closed for a while.
    pub(super) fn close(&self, endpoint: Endpoint, pause: Span) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let until = closed.entry(endpoint).or_insert_with(now);
        *until = (*until).max(now() + pause.std());
    }

    /// Asks once.
    pub(super) async fn once(
        &self,
        endpoint: Endpoint,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Lost> {
        self.turn(endpoint).await;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.bearer.clone())
            .header(USER_AGENT, concat!("charter/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(bytes))).map_err(|e| Lost::NotSent(e.to_string()))?;
        let work = async {
            let response = self.client.request(request).await.map_err(|e| {
                let text = root(&e);
                if e.is_connect() { Lost::NotSent(text) } else { Lost::Sent(text) }
            })?;
            let (head, incoming) = response.into_parts();
            let bytes = Limited::new(incoming, BODY_MAX).collect().await.map_err(|e| Lost::Sent(e.to_string()))?.to_bytes();
            let header = head.headers.get(RETRY_AFTER).and_then(|v| v.to_str().ok());
            if head.status.is_redirection() {
                tracing::warn!(to = ?head.headers.get(LOCATION), "the service leads elsewhere; that is not followed");
            }
            let body = without(&bytes, &self.key);
            Ok(Answer { status: head.status.as_u16(), retry_after_s: retry_after(header, &body), body })
        };
        let late = || Lost::Sent(format!("no answer within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Asks what may be asked again, until it is answered or the tries are over.
    pub(super) async fn ask(
        &self,
        endpoint: Endpoint,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ProviderError> {
        let mut tried = 0;
        loop {
            tried += 1;
            let read = match self.once(endpoint, method, path, body).await {
                Ok(answer) => answer.read(),
                Err(lost) => Err(lost.error()),
            };
            let pause = match &read {
                Err(ProviderError { kind: Kind::RateLimited(wait), .. }) => *wait,
                Err(ProviderError { kind: Kind::Transient, .. }) => Span::ms(500 << tried),
                Ok(_) | Err(_) => return read,
            };
            if tried >= TRIES || pause > PAUSE_MAX {
                return read;
            }
            self.close(endpoint, self.span(pause));
        }
    }
}

/// Bytes without a secret.
fn without(bytes: &[u8], secret: &str) -> Vec<u8> {
    let found = !secret.is_empty() && bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
    if found { String::from_utf8_lossy(bytes).replace(secret, "***").into_bytes() } else { bytes.to_vec() }
}

fn now() -> Instant {
    Instant::now()
}

fn root(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn an_answer_that_repeats_our_key_tells_nobody() {
        assert_eq!(without(b"bad key Bearer tb_secret, sorry", "tb_secret"), b"bad key Bearer ***, sorry");
        assert_eq!(without(b"nothing of it", "tb_secret"), b"nothing of it");
        assert_eq!(without(b"\xff tb_secret", "tb_secret"), "\u{fffd} ***".as_bytes());
    }
}
