//! The log of a container whose own entrypoint runs the engine: asked for, uploaded by the host, and read from a public address.

use super::transport::Endpoint;
use super::{Vast, error, number};
use crate::port::{Kind, ProviderError};
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Lines that are asked for.
const LINES: &str = "2000";
/// How often the address is asked before the host has uploaded, and how long between two questions.
const UPLOAD_TRIES: u32 = 30;
const UPLOAD_PAUSE: Duration = Duration::from_millis(300);

/// May a log be read there? The service names an object of its public store; anything else could lead to a machine of ours.
fn is_store(url: &str, base: &str, loopback: bool) -> bool {
    let of_host = |host: &str| {
        let host = host.split(['/', '?']).next().unwrap_or_default();
        host.ends_with(".amazonaws.com") && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c))
    };
    url.strip_prefix("https://").is_some_and(of_host) || (loopback && url.starts_with(&format!("{base}/")))
}

impl Vast {
    /// The end of an instance's log.
    pub(super) async fn container_log(&self, id: &str) -> Result<String, ProviderError> {
        let path = format!("/api/v0/instances/request_logs/{}/", number(id)?);
        let asked = self.transport.ask(Endpoint::Log, &Method::PUT, &path, Some(&json!({"tail": LINES}))).await?;
        let url = asked.get("result_url").and_then(Value::as_str).unwrap_or_default();
        if !is_store(url, self.transport.base(), self.loopback) {
            return Err(error(Kind::Transient, "the answer names no address of a log that could be trusted"));
        }
        for _ in 0..UPLOAD_TRIES {
            match self.transport.fetch(url).await? {
                Some(text) => return Ok(text),
                None => tokio::time::sleep(self.transport.short(UPLOAD_PAUSE)).await,
            }
        }
        Err(error(Kind::Transient, "the host has not uploaded its log"))
    }
}

#[cfg(test)]
mod tests {
    use super::is_store;

    #[test]
    fn a_log_is_read_from_the_services_store_alone() {
        let base = "http://127.0.0.1:8899";
        for (url, loopback, read) in [
            ("https://s3.amazonaws.com/vast.ai/instance_logs/abc.log", false, true),
            ("https://s3.amazonaws.com.evil.example/abc.log", false, false),
            ("http://s3.amazonaws.com/abc.log", false, false),
            ("https://user@s3.amazonaws.com/abc.log", false, false),
            ("http://169.254.169.254/latest/meta-data", false, false),
            ("http://127.0.0.1:8899/logs/a.log", false, false),
            ("http://127.0.0.1:8899/logs/a.log", true, true),
            ("http://127.0.0.1:88/logs/a.log", true, false),
            ("", true, false),
        ] {
            assert_eq!(is_store(url, base, loopback), read, "{url}");
        }
    }
}
