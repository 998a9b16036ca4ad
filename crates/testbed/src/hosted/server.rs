//! From a request over HTTP to an answer.

use super::body::{Piece, Pieces};
use super::errors::{Refusal, anthropic, named, openai};
use super::events::{Events, failure};
use super::fault::{Fault, row};
use super::mind::{Asked, Reply, reply};
use super::{Api, Post, Shared, chat, messages, messages_read, models, responses, responses_told};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};
use std::io;
use std::sync::atomic::Ordering;

/// Longer requests are refused.
const BODY_MAX: usize = 32 << 20;
/// The versions that Anthropic's API has.
const VERSIONS: [&str; 3] = ["2023-01-01", "2023-06-01", "2026-10-21"];

type Answer = Response<BoxBody<Bytes, io::Error>>;

/// Answers one request. An error ends the connection without a word.
pub(super) async fn answer(request: Request<Incoming>, shared: &Shared) -> io::Result<Answer> {
    let number = shared.number.fetch_add(1, Ordering::Relaxed);
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let api = match path.as_str() {
        "/v1/messages" => Api::Messages,
        "/v1/responses" => Api::Responses,
        _ if head.headers.contains_key("anthropic-version") => Api::Messages,
        _ => Api::Chat,
    };
    let is_asked =
        head.method == Method::POST && ["/v1/chat/completions", "/v1/responses", "/v1/messages"].contains(&path.as_str());
    let body = match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(why) if why.is::<http_body_util::LengthLimitError>() => {
            let refusal = match api {
                Api::Messages => named(api, "request_too_large"),
                Api::Chat | Api::Responses => openai(413, "Request body is too large.", None, None),
            };
            return Ok(refused(api, refusal, number));
        }
        Err(_) => return Err(io::Error::other("the request was cut")),
    };
    let value: Option<Value> = serde_json::from_slice(&body).ok();
    if head.method == Method::POST {
        let told = value.clone().unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned().into());
        shared.note(Post { path: path.clone(), body: told, headers: headers(&head.headers) });
    }
    if let Err(refusal) = known(api, &head, &shared.key) {
        return Ok(refused(api, refusal, number));
    }
    if !is_asked {
        return Ok(match other(api, &head.method, &path) {
            Ok(told) => sent(api, 200, &told, &[], number),
            Err(refusal) => refused(api, refusal, number),
        });
    }
    let fault = shared.next_fault().map(|fault| {
        let Fault::Table(name) = fault else { return fault };
        row(name).unwrap_or_else(|| Fault::Status(500, json!(format!("there is no fault `{name}`")), vec![]))
    });
    let read = understood(api, &head.headers, value.as_ref());
    let body = value.unwrap_or_default();
    match fault {
        None => Ok(match read {
            Ok(asked) => told(api, &body, &reply(&asked), number),
            Err(refusal) => refused(api, refusal, number),
        }),
        Some(fault) => failed(api, &fault, &body, read, number),
    }
}

/// The headers by their names in small letters.
fn headers(all: &HeaderMap) -> std::collections::BTreeMap<String, String> {
    all.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}

/// Does the client show the key?
fn known(api: Api, head: &Parts, key: &str) -> Result<(), Refusal> {
    let shown = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = shown("authorization").and_then(|value| value.strip_prefix("Bearer "));
    match api {
        Api::Messages => {
            let Some(shown) = shown("x-api-key").or(bearer) else {
                return Err(anthropic(401, "authentication_error", "x-api-key header is required"));
            };
            if shown == key { Ok(()) } else { Err(named(api, "authentication_error")) }
        }
        Api::Chat | Api::Responses => match bearer {
            Some(shown) if shown == key => Ok(()),
            Some(_) => {
                let message = "Incorrect API key provided: sk-****. You can \
                               find your API key at https://platform.openai.com/account/api-keys.";
                Err(openai(401, message, None, Some("invalid_api_key")))
            }
            None => {
                let message = "You didn't provide an API key. You need to provide your API key in an Authorization header using \
                               Bearer auth (i.e. Authorization: Bearer YOUR_KEY).";
                Err(openai(401, message, None, None))
            }
        },
    }
}

/// What is answered where no model is asked.
fn other(api: Api, method: &Method, path: &str) -> Result<Value, Refusal> {
    let list = match api {
        Api::Messages => models::anthropic_list(),
        Api::Chat | Api::Responses => models::openai_list(),
    };
    let one = path.strip_prefix("/v1/models/");
    if method == Method::GET && path == "/v1/models" {
        return Ok(list);
    }
    if let Some(id) = one.filter(|_| method == Method::GET)
        && let Some(found) = list["data"].as_array().into_iter().flatten().find(|model| model["id"] == id)
    {
        return Ok(found.clone());
    }
    Err(match api {
        Api::Messages => {
            anthropic(404, "not_found_error", one.map_or("Not found".to_owned(), |id| format!("model: {id}")).as_str())
        }
        Api::Chat | Api::Responses => openai(404, &format!("Invalid URL ({method} {path})"), None, None),
    })
}

/// Reads what is asked, as strictly as the API does.
fn understood(api: Api, headers: &HeaderMap, body: Option<&Value>) -> Result<Asked, Refusal> {
    if api == Api::Messages {
        match headers.get("anthropic-version").and_then(|value| value.to_str().ok()) {
            None => return Err(super::errors::wrong("anthropic-version: header is required")),
            Some(version) if !VERSIONS.contains(&version) => {
                return Err(super::errors::wrong(format!("anthropic-version: \"{version}\" is not a valid version")));
            }
            Some(_) => {}
        }
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") && api != Api::Messages {
        let message = format!("Unsupported content type: '{kind}'. This API method only accepts 'application/json' requests.");
        return Err(openai(400, &message, None, Some("unsupported_content_type")));
    }
    let Some(body) = body.filter(|body| body.is_object()) else {
        return Err(match api {
            Api::Messages => super::errors::wrong("The request body is not valid JSON"),
            Api::Chat | Api::Responses => openai(400, "We could not parse the JSON body of your request.", None, None),
        });
    };
    match api {
        Api::Chat => chat::read(body),
        Api::Responses => responses::read(body),
        Api::Messages => messages_read::read(body),
    }
}

fn whole(api: Api, body: &Value, reply: &Reply, number: u64) -> Value {
    match api {
        Api::Chat => chat::whole(body, reply, number),
        Api::Responses => responses_told::whole(body, reply, number),
        Api::Messages => messages::whole(body, reply, number),
    }
}

fn events(api: Api, body: &Value, reply: &Reply, number: u64) -> Events {
    match api {
        Api::Chat => chat::events(body, reply, number),
        Api::Responses => responses_told::events(body, reply, number),
        Api::Messages => messages::events(body, reply, number),
    }
}

/// An answer that goes well.
fn told(api: Api, body: &Value, reply: &Reply, number: u64) -> Answer {
    if body["stream"] == true {
        let events = events(api, body, reply, number).whole();
        return streamed(api, events.into_iter().map(Piece::Bytes).collect(), number);
    }
    sent(api, 200, &whole(api, body, reply, number), &[], number)
}

/// An answer that goes wrong.
fn failed(api: Api, fault: &Fault, body: &Value, read: Result<Asked, Refusal>, number: u64) -> io::Result<Answer> {
    let streams = body["stream"] == true;
    let pieces = |events: Vec<Bytes>| events.into_iter().map(Piece::Bytes).collect::<Vec<_>>();
    let needs_content = matches!(fault, Fault::ErrorMidStream(_) | Fault::CutMidStream | Fault::RoleThenError);
    let asked = match read {
        Err(refusal) if needs_content => return Ok(refused(api, refusal, number)),
        Err(_) => Asked::default(),
        Ok(asked) => asked,
    };
    let reply = reply(&asked);
    let usual = if api == Api::Messages { "overloaded_error" } else { "server_error" };
    Ok(match fault {
        Fault::Status(status, body, headers) => sent(api, *status, body, headers, number),
        Fault::Table(_) | Fault::DropBeforeHead => return Err(io::Error::other("dropped on purpose")),
        Fault::DropAfterHead => streamed_or_not(api, streams, vec![Piece::Break], number),
        Fault::StallAfterHead => streamed_or_not(api, streams, vec![Piece::Stall], number),
        Fault::EmptyStream => streamed_or_not(api, streams, vec![], number),
        Fault::Garbage => {
            let page = Bytes::from_static(b"<html><head><title>Just a moment...</title></head><body>\xff\xfe</body></html>\n");
            streamed_or_not(api, streams, vec![Piece::Bytes(page)], number)
        }
        Fault::ErrorInFirstEvent(name) | Fault::ErrorMidStream(name) if !streams => refused(api, named(api, name), number),
        Fault::RoleThenError if !streams => refused(api, named(api, usual), number),
        Fault::ErrorInFirstEvent(name) => streamed(api, pieces(failure(api, name, 0)), number),
        Fault::ErrorMidStream(name) => {
            let mut said = events(api, body, &reply, number).begun();
            said.extend(failure(api, name, said.len()));
            streamed(api, pieces(said), number)
        }
        Fault::RoleThenError => {
            let mut said = events(api, body, &reply, number).opening;
            said.extend(failure(api, usual, said.len()));
            streamed(api, pieces(said), number)
        }
        Fault::CutMidStream if streams => streamed(api, pieces(events(api, body, &reply, number).begun()), number),
        Fault::CutMidStream => {
            let text = Bytes::from(whole(api, body, &reply, number).to_string());
            let half = text.slice(..text.len() / 2);
            let mut answer = streamed_or_not(api, false, vec![Piece::Bytes(half), Piece::Break], number);
            answer.headers_mut().insert(header::CONTENT_LENGTH, text.len().into());
            answer
        }
    })
}

fn refused(api: Api, refusal: Refusal, number: u64) -> Answer {
    sent(api, refusal.status, &refusal.body, &[], number)
}

/// An answer at once.
fn sent(api: Api, status: u16, body: &Value, more: &[(String, String)], number: u64) -> Answer {
    let mut body = body.clone();
    if api == Api::Messages && body["type"] == "error" {
        body["request_id"] = format!("req_{number:08}").into();
    }
    let full = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {});
    finished(api, status, "application/json", full.boxed(), more, number)
}

fn streamed(api: Api, pieces: Vec<Piece>, number: u64) -> Answer {
    streamed_or_not(api, true, pieces, number)
}

/// An answer in pieces, whatever it says it is.
fn streamed_or_not(api: Api, streams: bool, pieces: Vec<Piece>, number: u64) -> Answer {
    let kind = if streams { "text/event-stream; charset=utf-8" } else { "application/json" };
    finished(api, 200, kind, Pieces::new(pieces).boxed(), &[], number)
}

/// The head of an answer, with the headers that the API sends with each.
fn finished(
    api: Api,
    status: u16,
    kind: &str,
    body: BoxBody<Bytes, io::Error>,
    more: &[(String, String)],
    number: u64,
) -> Answer {
    let id = format!("req_{number:08}");
    let usual: &[(&str, &str)] = match api {
        Api::Messages => &[
            ("request-id", &id),
            ("anthropic-organization-id", "00000000-0000-0000-0000-000000000000"),
            ("anthropic-ratelimit-requests-limit", "1000"),
            ("anthropic-ratelimit-requests-remaining", "999"),
            ("anthropic-ratelimit-requests-reset", "2026-11-20T00:00:06Z"),
            ("anthropic-ratelimit-tokens-limit", "400000"),
            ("anthropic-ratelimit-tokens-remaining", "399000"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-20T00:00:06Z"),
        ],
        Api::Chat | Api::Responses => &[
            ("x-request-id", &id),
            ("openai-version", "2020-10-01"),
            ("openai-processing-ms", "12"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-limit-tokens", "200000"),
            ("x-ratelimit-remaining-tokens", "199000"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ],
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let all = usual.iter().copied().chain([("content-type", kind)]).chain(more.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    for (name, value) in all {
        if let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), value.parse::<header::HeaderValue>()) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}
