//! Plain HTTP requests of the command line and the server's own questions, over TCP or TLS.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

/// Largest answer that is read.
const BODY_MAX: usize = 16 * 1024 * 1024;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// Sends one request. Redirects are not followed.
pub(crate) async fn send(
    method: Method,
    url: &str,
    key: Option<&str>,
    body: Option<String>,
    patience: Duration,
) -> Result<Answer, String> {
    let mut request =
        Request::builder().method(method).uri(url).header("user-agent", concat!("charter/", env!("CARGO_PKG_VERSION")));
    if let Some(key) = key {
        let mut value = hyper::header::HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| "the key is no text for a header".to_owned())?;
        value.set_sensitive(true);
        request = request.header("authorization", value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(|e| e.to_string())?;
    let work = async {
        let response = if url.starts_with("https:") {
            let https = HttpsConnectorBuilder::new().with_webpki_roots().https_only().enable_http1().build();
            Client::builder(TokioExecutor::new()).build(https).request(request).await
        } else {
            let mut tcp = HttpConnector::new();
            tcp.set_nodelay(true);
            Client::builder(TokioExecutor::new()).build(tcp).request(request).await
        };
        let response = response.map_err(|e| chain(&e))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await.map_err(|e| e.to_string())?;
        Ok(Answer { status, body: body.to_bytes() })
    };
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs())))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}
