//! The command line's way to the server.

use crate::http;
use crate::local::Known;
use charter_api::deployment::Watched;
use charter_api::problem::Problem;
use charter_api::upgrade::Upgrade;
use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long a request may take; the longest are those that wait for a change.
const PATIENCE: Duration = Duration::from_secs(150);

/// A server and a key.
#[derive(Clone, Debug)]
pub(crate) struct Client(pub(crate) Known);

impl Client {
    async fn send(&self, method: Method, path: &str, body: Option<String>) -> Result<http::Answer, Problem> {
        let url = format!("{}{path}", self.0.url);
        let answer = http::send(method, &url, Some(&self.0.key), body, PATIENCE).await.map_err(|why| {
            Problem::new(
                0,
                "A0001",
                format!("the server at `{}` does not answer", self.0.url),
                "is it running? `charter serve` starts one",
            )
            .with_detail(why)
        })?;
        if answer.status >= 400 {
            return Err(Problem::from_http(answer.status, &answer.body));
        }
        Ok(answer)
    }

    fn read<T: DeserializeOwned>(answer: &http::Answer) -> Result<T, Problem> {
        serde_json::from_slice(&answer.body).map_err(|e| {
            Problem::new(
                0,
                "A0007",
                "the server's answer cannot be read",
                "is another program, or another version, at this address?",
            )
            .with_detail(e.to_string())
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        Self::read(&self.send(Method::GET, path, None).await?)
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Problem> {
        let text = serde_json::to_string(body).unwrap_or_default();
        Self::read(&self.send(Method::POST, path, Some(text)).await?)
    }

    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Problem> {
        let text = serde_json::to_string(body).unwrap_or_default();
        Self::read(&self.send(Method::PUT, path, Some(text)).await?)
    }

    /// A deployment; with `after` it is waited for a change.
    pub(crate) async fn watched(&self, name: &str, after: Option<u64>) -> Result<Watched, Problem> {
        let after = after.map_or_else(String::new, |n| format!("?after={n}"));
        self.get(&format!("/api/v1/deployments/{}{after}", segment(name))).await
    }

    /// An upgrade; with `after` it is waited for a change.
    pub(crate) async fn upgrade(&self, id: &str, after: Option<u64>) -> Result<Upgrade, Problem> {
        let after = after.map_or_else(String::new, |n| format!("?after={n}"));
        self.get(&format!("/api/v1/upgrades/{}{after}", segment(id))).await
    }

    /// A request whose answer has no body that matters.
    pub(crate) async fn act(&self, method: Method, path: &str) -> Result<(), Problem> {
        let body = (method == Method::POST).then(String::new);
        self.send(method, path, body).await.map(|_| ())
    }
}

/// One segment of a path, escaped.
pub(crate) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            write!(out, "%{byte:02X}").ok();
        }
        out
    })
}
