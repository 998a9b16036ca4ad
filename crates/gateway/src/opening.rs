//! An answer is held until it has really begun: its head, and all that comes before its first content. Whatever goes wrong until
//! then is a refusal, and somebody else may be asked.

use crate::body::{Answer, Relay, Wire};
use crate::breaker::Outcome;
use crate::chain::rest;
use crate::errors::{No, Refusal};
use crate::form::Form;
use crate::forward::{Admitted, Way};
use crate::framing::Head;
use crate::headers::downstream;
use crate::lane::Lane;
use crate::sse::Scanner;
use crate::table::{CHAT, Entry, MESSAGES, Member};
use crate::ticket::Ticket;
use bytes::{Bytes, BytesMut};
use charter_domain::usage::End;
use charter_translate::fault::{self, Class, Fault};
use charter_translate::{Api, Stream, messages, responses};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;
use std::future::poll_fn;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Read of an answer that says no.
const NO_MAX: usize = 64 * 1024;
/// How long it may take to say it.
const NO_PATIENCE: Duration = Duration::from_secs(10);
/// An answer that is no stream is held whole up to this size.
const HELD_MAX: usize = 1024 * 1024;
/// One that is put into other words must be there whole.
const ANSWER_MAX: usize = 32 * 1024 * 1024;
/// An account that is closed, or out of money, is asked again after so long: a person may have seen to it.
const OFF_MS: i64 = 15 * 60 * 1000;
/// A backend that has more to do than it can rests so long, where it does not say how long.
const REST_MS: i64 = 5_000;

impl Way {
    /// Passes an answer on once it has begun.
    pub(crate) async fn open(
        &self,
        (lane, head): (Box<Lane>, Head),
        mut admitted: Box<Admitted>,
        member: &Member,
    ) -> Result<Response<Answer>, Refusal> {
        let Some(form) = admitted.form.take() else { return self.answered((lane, head), admitted, member) };
        let entry = &member.entry;
        let status = self.met(&mut admitted.ticket, head.status, entry)?;
        let mut headers = downstream(head.headers, entry);
        if form.translates || entry.backend.hosted.is_some() {
            headers = known(&headers);
        }
        if !status.is_success() {
            return Err(Box::pin(self.no((lane, status, headers), admitted, &form, entry)).await);
        }
        let Admitted { ticket, asked, .. } = *admitted;
        let kind = headers.get(header::CONTENT_TYPE).cloned();
        let is_plain = !headers.contains_key(header::CONTENT_ENCODING);
        let is_events = kind.as_ref().is_some_and(|k| k.as_bytes().starts_with(b"text/event-stream"));
        if is_events && is_plain && (form.stream || form.translates) {
            headers.remove(header::CONTENT_LENGTH);
            let strip = form.stream && !asked.usage && form.turn().is_none() && (form.path == CHAT || form.translates);
            let stream = Stream::to_chat(form.api, form.names.clone(), form.json_tool, true);
            let wire = Wire { stream, turns: form.translates };
            let own = form.path == MESSAGES && !form.translates;
            let scanner = if own { Scanner::for_messages() } else { Scanner::new(strip) };
            let mut relay = Box::new(Relay::new(lane, ticket, Some(scanner), kind));
            relay.follow(wire);
            let held = self.until_begun(&mut relay, entry, &form).await?;
            relay.hold_first(held);
            return Ok(respond(status, headers, Answer::Relay(relay)));
        }
        let relay = Box::new(Relay::new(lane, ticket, None, kind));
        self.whole(relay, (status, headers), entry, &form).await
    }

    /// What becomes of an answer that says no.
    async fn no(
        &self,
        (lane, status, headers): (Box<Lane>, StatusCode, HeaderMap),
        mut admitted: Box<Admitted>,
        form: &Form,
        entry: &Entry,
    ) -> Refusal {
        let body = self.said_no(lane, &mut admitted.ticket).await;
        let fault = fault::of(form.api, status.as_u16(), retry_after(&headers), &body);
        self.refused(&mut admitted.ticket, entry, form, (status, &headers, body), &fault)
    }

    /// Reads a stream up to its first content.
    async fn until_begun(&self, relay: &mut Relay, entry: &Entry, form: &Form) -> Result<Bytes, Refusal> {
        let mut held = BytesMut::new();
        let late = relay.first_deadline();
        loop {
            let part = timeout_at(late, poll_fn(|cx| relay.poll(cx))).await;
            if let Some(fault) = relay.fault() {
                relay.give_up(Some(Outcome::Bad));
                return Err(self.failed_early(entry, form, &fault));
            }
            if let Some(refusal) = relay.broke.take() {
                return Err(refusal);
            }
            match part {
                Err(_) => {
                    relay.give_up(Some(Outcome::Bad));
                    return Err(Refusal::Timeout);
                }
                Ok(Some(Ok(bytes))) => held.extend_from_slice(&bytes),
                Ok(Some(Err(_))) => return Err(Refusal::BrokeOff),
                Ok(None) if relay.has_begun() => return Ok(held.freeze()),
                Ok(None) => return Err(Refusal::BrokeOff),
            }
            if relay.has_begun() || held.len() > HELD_MAX {
                return Ok(held.freeze());
            }
        }
    }

    /// Holds an answer that is no stream until all of it is there, where it is no larger than answers are.
    async fn whole(
        &self,
        mut relay: Box<Relay>,
        (status, mut headers): (StatusCode, HeaderMap),
        entry: &Entry,
        form: &Form,
    ) -> Result<Response<Answer>, Refusal> {
        // Most come in one part, which need not be copied.
        let (mut only, mut held) = (Bytes::new(), BytesMut::new());
        let most = if form.translates { ANSWER_MAX } else { HELD_MAX };
        while let Some(part) = poll_fn(|cx| relay.poll(cx)).await {
            let Ok(bytes) = part else { return Err(relay.broke.take().unwrap_or(Refusal::BrokeOff)) };
            if only.is_empty() && held.is_empty() {
                only = bytes;
                continue;
            }
            held.extend_from_slice(&std::mem::take(&mut only));
            held.extend_from_slice(&bytes);
            if held.len() > most {
                if form.translates {
                    relay.give_up(Some(Outcome::Bad));
                    return Err(Refusal::Unreachable(entry.backend.id.clone()));
                }
                // It goes on as it comes.
                relay.hold_first(held.freeze());
                return Ok(respond(status, headers, Answer::Relay(relay)));
            }
        }
        let mut body = if held.is_empty() { only } else { held.freeze() };
        if form.translates {
            let Ok(said) = serde_json::from_slice::<Value>(&body) else {
                tracing::warn!(backend = entry.backend.id, "an answer is no JSON");
                return Err(Refusal::BrokeOff);
            };
            let chat = match form.api {
                Api::Messages => messages::answer(&said, &form.names, form.json_tool),
                Api::Responses => responses::answer(&said, &form.names),
                Api::Chat => said,
            };
            if chat.get("choices").is_none() {
                return Err(self.failed_early(entry, form, &fault::of_event(form.api, &chat)));
            }
            body = chat.to_string().into();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if body.trim_ascii_start().starts_with(b"{\"error\"") {
            // Some say no with a status that says yes.
            let said: Value = serde_json::from_slice(&body).unwrap_or_default();
            return Err(self.failed_early(entry, form, &fault::of_event(form.api, &said)));
        }
        headers.remove(header::CONTENT_LENGTH);
        Ok(respond(status, headers, Answer::Whole(Full::new(body))))
    }

    /// Reads what a backend says that says no.
    async fn said_no(&self, mut lane: Box<Lane>, ticket: &mut Ticket) -> Bytes {
        let mut all = BytesMut::new();
        let late = Instant::now() + NO_PATIENCE;
        while let Ok(Some(Ok(part))) = timeout_at(late, poll_fn(|cx| lane.poll_data(cx))).await {
            all.extend_from_slice(&part);
            if all.len() > NO_MAX {
                all.truncate(NO_MAX);
                break;
            }
        }
        if lane.is_over() {
            lane.go_home();
        }
        (ticket.used.end, ticket.owed) = (End::Failed, false);
        all.freeze()
    }

    /// What a no means for the backend, and for the client.
    fn refused(
        &self,
        ticket: &mut Ticket,
        entry: &Entry,
        form: &Form,
        (status, headers, body): (StatusCode, &HeaderMap, Bytes),
        fault: &Fault,
    ) -> Refusal {
        // What an engine of ours says of a request may repeat what stands in the request: of money it says nothing.
        let own = entry.backend.hosted.is_none() && matches!(status.as_u16(), 400 | 413 | 422);
        let plain = Fault { class: Class::Refused, reason: fault.reason.clone() };
        let fault = if own && fault.class == Class::Off { &plain } else { fault };
        let ours = matches!(fault.class, Class::Refused | Class::Context);
        ticket.outcome = Some(if ours || !status.is_server_error() { Outcome::Good } else { Outcome::Bad });
        self.heed(entry, fault);
        let hidden = matches!(status.as_u16(), 401..=403);
        if hidden && entry.backend.hosted.is_some() {
            // A client would take it for a fault of its own key.
            return Refusal::Unreachable(entry.backend.id.clone());
        }
        let (status, body) = translated(form, status, body);
        let kind = headers.get(header::CONTENT_TYPE).cloned().filter(|_| !form.translates);
        Refusal::Upstream(Box::new(No {
            status,
            body,
            kind,
            retry_after: headers.get(header::RETRY_AFTER).cloned(),
            backend: entry.backend.id.clone(),
            reason: fault.reason.clone(),
            is_final: fault.class == Class::Refused,
            again: fault.class == Class::Retry,
        }))
    }

    /// An error in a stream before anything else.
    fn failed_early(&self, entry: &Entry, form: &Form, fault: &Fault) -> Refusal {
        self.heed(entry, fault);
        tracing::warn!(backend = entry.backend.id, reason = fault.reason, "a stream began with an error");
        let body = serde_json::json!({"error": {
            "message": format!("backend `{}` failed: {}", entry.backend.id, fault.reason),
            "type": "api_error", "param": null, "code": "upstream_unreachable",
        }});
        Refusal::Upstream(Box::new(No {
            status: StatusCode::BAD_GATEWAY,
            body: if form.path == MESSAGES && !form.translates {
                charter_translate::from_messages::error(502, &body).1.to_string().into()
            } else {
                body.to_string().into()
            },
            kind: None,
            retry_after: None,
            backend: entry.backend.id.clone(),
            reason: fault.reason.clone(),
            is_final: fault.class == Class::Refused,
            again: false,
        }))
    }

    /// Lets a backend rest where that is what its answer means.
    fn heed(&self, entry: &Entry, fault: &Fault) {
        let now = (self.shared.now)().0;
        match fault.class {
            Class::Off if entry.backend.hosted.is_none() => {}
            Class::Off => {
                tracing::error!(backend = entry.backend.id, reason = fault.reason, "it gets nothing until somebody sees to it");
                rest(entry, now + OFF_MS);
            }
            Class::Cool(seconds) => rest(entry, now + i64::from(seconds).saturating_mul(1000).clamp(1000, OFF_MS)),
            Class::Next if entry.backend.hosted.is_some() => rest(entry, now + REST_MS),
            Class::Next | Class::Retry | Class::Elsewhere | Class::Context | Class::Refused => {}
        }
    }
}

/// A no in OpenAI's words.
fn translated(form: &Form, status: StatusCode, body: Bytes) -> (StatusCode, Bytes) {
    if !form.translates {
        return (status, body);
    }
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (code, said) = match form.api {
        Api::Messages => messages::error(status.as_u16(), &said),
        Api::Responses => responses::error(status.as_u16(), &said),
        Api::Chat => (status.as_u16(), said),
    };
    (StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY), said.to_string().into())
}

fn retry_after(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok())
}

/// Of a foreign answer's headers only what belongs to the answer itself.
fn known(headers: &HeaderMap) -> HeaderMap {
    let mut few = HeaderMap::new();
    for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::RETRY_AFTER, header::CACHE_CONTROL] {
        few.extend(headers.get(&name).cloned().map(|value| (name, value)));
    }
    let backend = http::HeaderName::from_static("x-charter-backend");
    few.extend(headers.get(&backend).cloned().map(|value| (backend, value)));
    few
}

fn respond(status: StatusCode, headers: HeaderMap, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}
