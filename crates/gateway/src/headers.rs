//! Headers: what of them passes the gateway, and what ends here.

use crate::table::Entry;
use charter_domain::routing::Speaks;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of one hop, and those that are ours or the client's secrets.
const OURS: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::COOKIE,
    header::ACCEPT_ENCODING,
    header::FORWARDED,
    header::RANGE,
];
/// What clients are told of the backend that answered.
const BACKEND: HeaderName = HeaderName::from_static("x-charter-backend");
const KEYS: [&str; 4] = ["x-api-key", "api-key", "x-real-ip", "x-request-id"];
/// What a hosted API gets of the client's headers.
const HOSTED: [&str; 2] = ["content-type", "anthropic-version"];
const OURS_BACK: [HeaderName; 6] =
    [header::SET_COOKIE, header::SERVER, header::WWW_AUTHENTICATE, header::AUTHORIZATION, header::LOCATION, header::ALT_SVC];

/// Headers that end at this hop by the standard's word.
fn is_hop(name: &HeaderName) -> bool {
    const HOP: [&str; 9] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    HOP.contains(&name.as_str())
}

/// Headers that end at this hop by their own word.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// The head of a request to a backend: its first lines, the client's headers without its key, its address of us and what ends
/// here, and the engine's own key.
pub(crate) fn upstream(lines: &str, headers: &HeaderMap, entry: &Entry, id: &HeaderValue, length: usize) -> Vec<u8> {
    let ends = listed(headers);
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(lines.as_bytes());
    let mut say = |name: &str, value: &[u8]| {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    let hosted = entry.backend.hosted.is_some();
    for (name, value) in headers {
        let text = name.as_str();
        // A hosted API is told nothing of the client, but for what belongs to the request itself.
        if hosted && !(HOSTED.contains(&text) && (text == HOSTED[0] || entry.backend.speaks == Speaks::Anthropic)) {
            continue;
        }
        let ours = OURS.contains(name)
            || KEYS.contains(&text)
            || text.starts_with("x-charter-")
            || text.starts_with("x-forwarded-")
            || is_hop(name)
            || ends.contains(name);
        if !ours {
            say(text, value.as_bytes());
        }
    }
    if hosted && !headers.contains_key(header::CONTENT_TYPE) {
        say(HOSTED[0], b"application/json");
    }
    if let Some((name, secret)) = &entry.secret {
        say(name, secret.as_bytes());
    }
    if entry.backend.speaks == Speaks::Anthropic && !headers.contains_key(HOSTED[1]) {
        say(HOSTED[1], b"2023-06-01");
    }
    say("x-request-id", id.as_bytes());
    say("content-length", length.to_string().as_bytes());
    head.extend_from_slice(b"\r\n");
    head
}

/// The backend's headers without what ends here and what is its own.
pub(crate) fn downstream(mut headers: HeaderMap, entry: &Entry) -> HeaderMap {
    let ends = listed(&headers);
    let gone: Vec<HeaderName> =
        headers.keys().filter(|name| OURS_BACK.contains(name) || is_hop(name) || ends.contains(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    if let Some(shown) = &entry.shown {
        headers.insert(BACKEND, shown.clone());
    }
    headers
}
