//! A request's body on its way in: read once, within a size and a time.

use crate::errors::Refusal;
use crate::request::BODY_MAX;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::time::Duration;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(120);

/// Reads the body once. A body that says that it is too large is refused before it is read.
pub(crate) async fn collect(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
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
