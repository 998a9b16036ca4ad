//! The smallest honest gateway that hyper allows, one thread: a yardstick between nginx and real
//! gateways, not a product.
//!
//!   floor --listen 127.0.0.1:9240 --upstream 127.0.0.1:9101 --upstream 127.0.0.1:9102 --mode peek
//!
//! raw:  bodies pass through unread.
//! peek: the request body is collected and one borrowing pass over the JSON takes `model` and
//!       `stream`; the same bytes go upstream. Response frames pass through; the ones that could hold
//!       it are searched for `"usage"`. This is the least an accounting gateway must do.
//! typed: as peek, but the request goes through serde_json::Value and is written anew, as several
//!       peers do.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::exit,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::get_unwrap,
    clippy::let_underscore_must_use,
    clippy::uninlined_format_args,
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    clippy::large_futures,
    clippy::str_to_string,
    clippy::collapsible_match,
    clippy::collapsible_if,
    reason = "a rig, and no part of the product: what goes wrong ends it"
)]

use bytes::Bytes;
use charter_bench::Args;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

type B = BoxBody<Bytes, hyper::Error>;
static TOKENS: AtomicU64 = AtomicU64::new(0);

#[derive(serde::Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    model: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    stream: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Raw,
    Peek,
    Typed,
}

struct Watch(Incoming);

impl Body for Watch {
    type Data = Bytes;
    type Error = hyper::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let r = Pin::new(&mut self.0).poll_frame(cx);
        if let Poll::Ready(Some(Ok(f))) = &r {
            if let Some(d) = f.data_ref() {
                if let Some(p) = memchr::memmem::rfind(d, b"\"completion_tokens\":") {
                    let n = d[p + 20..].iter().take_while(|c| c.is_ascii_digit()).fold(0u64, |a, c| a * 10 + (c - b'0') as u64);
                    TOKENS.fetch_add(n, Relaxed);
                }
            }
        }
        r
    }
    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.size_hint()
    }
}

fn main() {
    let a = Args::from_env();
    let listen = a.get("listen").unwrap_or("127.0.0.1:9240").to_string();
    assert!(listen.starts_with("127."), "loopback only");
    let ups: &'static [String] = Box::leak(a.all("upstream").map(String::from).collect::<Vec<_>>().into_boxed_slice());
    assert!(!ups.is_empty());
    let mode = match a.get("mode").unwrap_or("peek") {
        "raw" => Mode::Raw,
        "typed" => Mode::Typed,
        _ => Mode::Peek,
    };
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    rt.block_on(async move {
        let mut conn = HttpConnector::new();
        conn.set_nodelay(true);
        let client: Client<HttpConnector, B> = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(4096).build(conn);
        let lis = tokio::net::TcpListener::bind(&listen).await.unwrap();
        loop {
            let Ok((s, _)) = lis.accept().await else { continue };
            let _ = s.set_nodelay(true);
            let client = client.clone();
            tokio::spawn(async move {
                let svc = hyper::service::service_fn(move |rq| handle(rq, client.clone(), ups, mode));
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(s), svc).await;
            });
        }
    });
}

async fn handle(
    rq: Request<Incoming>,
    client: Client<HttpConnector, B>,
    ups: &'static [String],
    mode: Mode,
) -> Result<Response<B>, hyper::Error> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let up = &ups[NEXT.fetch_add(1, Relaxed) % ups.len()];
    let (mut p, body) = rq.into_parts();
    p.uri = format!("http://{up}{}", p.uri.path_and_query().map_or("/", |x| x.as_str())).parse().unwrap();
    p.headers.remove("host");
    p.headers.remove("connection");
    let body: B = if mode == Mode::Raw {
        body.boxed()
    } else {
        let bytes = body.collect().await?.to_bytes();
        if mode == Mode::Typed {
            let Ok(v) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return Ok(bad()) };
            let out = serde_json::to_vec(&v).unwrap();
            p.headers.insert("content-length", out.len().into());
            Full::from(out).map_err(|e| match e {}).boxed()
        } else {
            match serde_json::from_slice::<Peek<'_>>(&bytes) {
                Ok(k) => std::hint::black_box((k.model.map(|m| m.len()), k.stream)),
                Err(_) => return Ok(bad()),
            };
            Full::from(bytes).map_err(|e| match e {}).boxed()
        }
    };
    match client.request(Request::from_parts(p, body)).await {
        Ok(r) => Ok(if mode == Mode::Raw { r.map(|b| b.boxed()) } else { r.map(|b| Watch(b).boxed()) }),
        Err(_) => Ok(bad()),
    }
}

fn bad() -> Response<B> {
    let mut r = Response::new(Full::from("{\"error\":{\"message\":\"bad\"}}").map_err(|e| match e {}).boxed());
    *r.status_mut() = hyper::StatusCode::BAD_GATEWAY;
    r
}
