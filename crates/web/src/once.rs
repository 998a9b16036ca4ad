//! Idempotency keys: a change that is sent twice under one key is made once, and its first answer is given again.

use crate::auth::{Caller, hash};
use crate::problem::{announced, failed};
use crate::router::{App, BODY_MAX};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use charter_domain::time::{Span, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replay");
const PREFIX: &str = "once:";
/// The hour in which old ones were forgotten.
const SWEPT: &str = "once-swept";
/// The longest key.
const KEY_MAX: usize = 255;
/// The largest answer.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Answers are given again for so long.
const KEPT: Span = Span::min(24 * 60);

/// What is remembered of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    at: Time,
    /// What was asked, so that a key is not used for something else.
    print: String,
    /// Different for every try.
    by: String,
    /// The process that was asked.
    #[serde(default)]
    epoch: String,
    /// What came of it.
    answer: Option<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    status: u16,
    kind: Option<String>,
    body: String,
}

/// Before every handler.
pub(crate) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let asked = request.headers().get(KEY).cloned();
    let Some(key) = asked.filter(|_| *request.method() != Method::GET) else { return next.run(request).await };
    let Some(key) = key.to_str().ok().map(str::trim).filter(|k| (1..=KEY_MAX).contains(&k.len())) else {
        let hint = "send at most 255 visible characters, different for every change";
        return failed(422, "A0422", "`Idempotency-Key` cannot be used", hint).into_response();
    };
    let (mut parts, body) = request.into_parts();
    // Whoever is not let in leaves nothing behind.
    let Ok(caller) = Caller::from_request_parts(&mut parts, &app).await else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    // What gateways exchange is theirs alone, and is not written down; and the end of everything is never a repeat.
    if parts.uri.path().starts_with("/api/v1/gateway/") || parts.uri.path() == "/api/v1/panic" {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let unread = || {
        let hint = format!("send no more than {} KiB, and all of it within a minute", BODY_MAX / 1024);
        failed(413, "A0422", "the body is too large, or it broke off", hint).into_response()
    };
    if announced(&parts.headers) > BODY_MAX as u64 {
        return unread();
    }
    let Ok(body) = to_bytes(body, BODY_MAX).await else { return unread() };
    let name = format!("{PREFIX}{}", hash(&format!("{}\n{key}", caller.id)));
    let print = hash(&format!("{} {}\n{}", parts.method, parts.uri, String::from_utf8_lossy(&body)));
    let request = Request::from_parts(parts, Body::from(body));
    // A client that goes away takes neither the change nor the word of it along: that is what the key is for.
    let made = tokio::spawn(async move { made_once(&app, (&name, print), request, next).await });
    match made.await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => crate::problem::Failed::from(error).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn made_once(
    app: &App,
    (name, print): (&str, String),
    request: Request,
    next: Next,
) -> Result<Response, charter_store::Error> {
    let (store, now) = (app.controller.store(), app.controller.now());
    let mine = Made { at: now, print: print.clone(), by: app.controller.fresh(), epoch: app.epoch.clone(), answer: None };
    let text = serde_json::to_string(&mine).unwrap_or_default();
    let known: Made = serde_json::from_str(&store.meta(name, &text).await?).unwrap_or_else(|_| mine.clone());
    if known != mine {
        if now.since(known.at) < KEPT {
            let is_gone = known.epoch != app.epoch && !store.shared();
            return Ok(again(known, &print, is_gone));
        }
        store.put_meta(name, &text).await?;
    }
    forget(app, now).await?;
    let response = next.run(request).await;
    // What failed for a reason that may pass by itself may be tried again under the same key.
    if response.status().is_server_error() || matches!(response.status().as_u16(), 409 | 429) {
        store.remove_meta(name).await?;
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, ANSWER_MAX).await else { return Ok(StatusCode::INTERNAL_SERVER_ERROR.into_response()) };
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let answer = Some(Told { status: parts.status.as_u16(), kind, body: without_secrets(&body) });
    store.put_meta(name, &serde_json::to_string(&Made { answer, ..mine }).unwrap_or_default()).await?;
    Ok(Response::from_parts(parts, body.into()))
}

fn again(known: Made, print: &str, is_gone: bool) -> Response {
    if known.print != print {
        let hint = "take another key for another change";
        return failed(422, "A0425", "this `Idempotency-Key` was used for something else", hint).into_response();
    }
    let Some(told) = known.answer else {
        if is_gone {
            let hint = "look whether it was made; if it was not, send it again under another key";
            return failed(
                409,
                "A0426",
                "the server ended before the first request with this `Idempotency-Key` was answered",
                hint,
            )
            .into_response();
        }
        let hint = "look at what there is; the same request can be sent again a moment later";
        return failed(409, "A0426", "the first request with this `Idempotency-Key` has not been answered yet", hint)
            .into_response();
    };
    let mut response = (StatusCode::from_u16(told.status).unwrap_or(StatusCode::OK), told.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.extend(told.kind.and_then(|kind| HeaderValue::from_str(&kind).ok()).map(|kind| (header::CONTENT_TYPE, kind)));
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// A key is shown once, and is written down nowhere; nor is what a command on a machine has printed.
fn without_secrets(body: &Bytes) -> String {
    let whole = || String::from_utf8_lossy(body).into_owned();
    let Ok(Value::Object(mut value)) = serde_json::from_slice::<Value>(body) else { return whole() };
    let mut changed = false;
    for (name, instead) in [("key", Value::Null), ("stdout", "".into()), ("stderr", "".into())] {
        if let Some(secret) = value.get_mut(name).filter(|secret| secret.is_string()) {
            (*secret, changed) = (instead, true);
        }
    }
    if changed { Value::Object(value).to_string() } else { whole() }
}

/// Forgets what is older than a day, once an hour.
async fn forget(app: &App, now: Time) -> Result<(), charter_store::Error> {
    let hour = (now.0 / 3_600_000).to_string();
    if app.controller.store().meta(SWEPT, "").await? == hour {
        return Ok(());
    }
    app.controller.store().put_meta(SWEPT, &hour).await?;
    for (name, text) in app.controller.store().metas(PREFIX).await? {
        let old = serde_json::from_str::<Made>(&text).map_or(true, |made| now.since(made.at) >= KEPT);
        if old {
            app.controller.store().remove_meta(&name).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_written_down() {
        let body = Bytes::from_static(br#"{"id":"key_1","key":"chk_secret"}"#);
        assert_eq!(without_secrets(&body), r#"{"id":"key_1","key":null}"#);
        assert_eq!(
            without_secrets(&Bytes::from_static(br#"{"address":"a","key":"an engine's"}"#)),
            r#"{"address":"a","key":null}"#
        );
        let printed = Bytes::from_static(br#"{"status":0,"stdout":"TOKEN=x","stderr":"y"}"#);
        assert_eq!(without_secrets(&printed), r#"{"status":0,"stderr":"","stdout":""}"#);
        for other in [&br#"{"key":null}"#[..], b"no json", br#"{"a":1}"#] {
            assert_eq!(without_secrets(&Bytes::from_static(other)).as_bytes(), other);
        }
    }

    #[test]
    fn a_second_try_hears_what_the_first_one_heard() {
        let told = Told { status: 202, kind: Some("application/json".into()), body: "{}".into() };
        let made = |answer| Made { at: Time(1), print: "p".into(), by: "x".into(), epoch: String::new(), answer };
        assert_eq!(again(made(Some(told)), "p", false).status(), 202);
        assert_eq!(again(made(None), "p", false).status(), 409);
        assert_eq!(again(made(None), "q", false).status(), 422);
    }
}
