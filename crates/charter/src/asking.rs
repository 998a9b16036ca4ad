//! The way from the dashboard's playground to the gateway: over HTTP, as every client goes.

use charter_web::{Ask, Asked};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::future::Future;
use std::pin::Pin;
use tokio::sync::mpsc;

/// The gateway of this process, if it has one.
pub(crate) struct Gateway {
    pub(crate) url: Option<String>,
}

/// What tells of the way that an answer took.
const TOLD: [&str; 5] = ["x-charter-plan", "x-charter-backend", "x-charter-attempts", "x-request-id", "x-charter-effort"];

impl Gateway {
    async fn send(&self, key: &str, headers: Vec<(String, String)>, body: String) -> Result<Asked, String> {
        let url = self.url.as_ref().ok_or("the gateway runs in a process of its own: ask it directly")?;
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("{url}/chat/completions"))
            .header("content-type", "application/json")
            .header("user-agent", concat!("charter/", env!("CARGO_PKG_VERSION")));
        let mut bearer = hyper::header::HeaderValue::from_str(&format!("Bearer {key}")).map_err(|e| e.to_string())?;
        bearer.set_sensitive(true);
        request = request.header("authorization", bearer);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())?;
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(tcp);
        let answer = client.request(request).await.map_err(|e| format!("the gateway does not answer: {e}"))?;
        let text = |name: &&str| Some(((*name).to_owned(), answer.headers().get(*name)?.to_str().ok()?.to_owned()));
        let told = TOLD.iter().filter_map(text).collect();
        let status = answer.status().as_u16();
        let (sender, pieces) = mpsc::channel(16);
        let mut body = answer.into_body();
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let piece = match frame {
                    Ok(frame) => frame.into_data().map_err(|_| String::new()),
                    Err(error) => Err(format!("the answer broke off: {error}")),
                };
                // Whoever has stopped asking hears nothing, and the gateway sees that they left.
                if piece != Err(String::new()) && sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(Asked { status, told, pieces })
    }
}

impl Ask for Gateway {
    fn ask<'a>(
        &'a self,
        key: &'a str,
        headers: Vec<(String, String)>,
        body: String,
    ) -> Pin<Box<dyn Future<Output = Result<Asked, String>> + Send + 'a>> {
        Box::pin(self.send(key, headers, body))
    }
}
