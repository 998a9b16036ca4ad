//! A request's body on its way in: read once, within a size and a time.

use crate::errors::Refusal;
use crate::request::BODY_MAX;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::time::Duration;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(120);
/// Room that is made on the word of a client alone.
const ROOM_MAX: usize = 1024 * 1024;

/// Reads the body once. A body that says that it is too large is refused before it is read.
pub(crate) async fn collect(headers: &HeaderMap, body: Incoming) -> Result<Bytes, Refusal> {
    let said = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if said.is_some_and(|bytes| bytes > BODY_MAX) {
        return Err(Refusal::TooLarge(BODY_MAX));
    }
    let whole = tokio::time::timeout(BODY_PATIENCE, whole(body, said.unwrap_or(0))).await;
    whole.unwrap_or_else(|_| Err(Refusal::InvalidJson("the body did not arrive in time".into())))
}

/// Puts the parts of a body together as they come, into room for as much as is said to come.
async fn whole(mut body: Incoming, said: usize) -> Result<Bytes, Refusal> {
    let mut all: Vec<u8> = vec![];
    while let Some(frame) = body.frame().await {
        // Trailers are no part of it.
        let Ok(data) = frame.map_err(|error| Refusal::InvalidJson(error.to_string()))?.into_data() else { continue };
        if all.len() + data.len() > BODY_MAX {
            return Err(Refusal::TooLarge(BODY_MAX));
        }
        if all.is_empty() {
            if body.is_end_stream() {
                // Most come in one part, which need not be copied.
                return Ok(data);
            }
            all.reserve(said.clamp(data.len(), ROOM_MAX.max(data.len())));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.into())
}
