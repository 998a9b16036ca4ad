//! What every answer of the control plane carries, and who may ask at all: names that are this server's, pages that are its own.

use super::assets::{packed, takes_gzip};
use super::console::Console;
use super::refusal::{as_page, asks_for_pages};
use crate::problem::failed;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Pages run their own script and show their own sheet, and nothing else: nothing inline, nothing from elsewhere, no frames.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Shorter pages are not worth packing.
const PACKED_FROM: usize = 1024;

/// The host of an address, without its port.
fn host_of(authority: &str) -> &str {
    let end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.rfind(':').unwrap_or(authority.len()),
    };
    authority.get(..end).unwrap_or_default()
}

/// Is it one of this server's names? A page of somebody else can make any name lead here, but not one of these.
fn is_ours(console: &Console, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let loopback = ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str());
    loopback || console.app.hosts.contains(&host)
}

/// May a request with these headers change anything in the name of a cookie?
fn is_own_page(headers: &HeaderMap) -> bool {
    let said = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    if said("sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return false;
    }
    let host = said("host").unwrap_or_default();
    said("origin").is_none_or(|origin| origin.split_once("://").is_some_and(|(_, from)| from == host))
}

/// The one name that a request says it asks, if it says one that can be a name at all.
fn host_said(request: &Request) -> Option<&str> {
    let mut all = request.headers().get_all(header::HOST).iter();
    let host = all.next()?.to_str().ok().filter(|_| all.next().is_none())?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    // A whole address in the first line counts before the header: the two must not differ.
    let same = request.uri().authority().is_none_or(|named| named.as_str().eq_ignore_ascii_case(host));
    (same && host.bytes().all(plain)).then_some(host)
}

/// Checks names and origins, and puts the policy on every answer.
pub(crate) async fn guard(State(console): State<Console>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    // Who shows a key in a header is no browser that was led here.
    let has_key = headers.contains_key(header::AUTHORIZATION);
    let host = host_said(&request);
    let asks = matches!(*request.method(), Method::GET | Method::HEAD);
    // Whoever keeps watch over processes asks by whatever name it has for them.
    let watches = ["/healthz", "/readyz"].contains(&request.uri().path());
    let several = headers.get_all(header::HOST).iter().count() > 1;
    let refused = if several || (host.is_none() && headers.contains_key(header::HOST)) {
        Some(failed(400, "A0013", "the request names no host, or several", "send one `Host` header: the address of the server"))
    } else if !has_key && !watches && !is_ours(&console, host_of(host.unwrap_or_default())) {
        let host = host.unwrap_or_default();
        let hint = "open it at an address of the server, or name this one in `server.hosts` of its file";
        Some(failed(421, "A0013", format!("`{host}` is no name of this server"), hint))
    } else if !has_key && !asks && !is_own_page(headers) {
        Some(failed(403, "A0012", "the request comes from a page of somebody else", "send it from the dashboard itself"))
    } else {
        None
    };
    let (gzip, pages) = (takes_gzip(headers), asks_for_pages(&request));
    let mut response = match refused {
        Some(refused) => refused.into_response(),
        None => next.run(request).await,
    };
    if let Some(asked) = pages {
        response = as_page(&console, &asked, response).await;
    }
    let own = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        own.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if !own.contains_key(header::CACHE_CONTROL) {
        own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if gzip { small(response).await } else { response }
}

/// Packs a page.
async fn small(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/html") || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if bytes.len() < PACKED_FROM {
        return Response::from_parts(parts, bytes.into());
    }
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, packed(&bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_its_port() {
        for (said, host) in [("a.b:8470", "a.b"), ("a.b", "a.b"), ("[::1]:8470", "[::1]"), ("[::1]", "[::1]"), ("", "")] {
            assert_eq!(host_of(said), host);
        }
    }

    #[test]
    fn changes_come_from_pages_of_our_own() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let all = pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)));
            is_own_page(&all.collect())
        };
        assert!(of(&[("host", "h:1"), ("origin", "http://h:1"), ("sec-fetch-site", "same-origin")]));
        assert!(of(&[("host", "h:1")]), "programs without a browser send neither");
        assert!(!of(&[("host", "h:1"), ("origin", "http://evil")]));
        assert!(!of(&[("host", "h:1"), ("origin", "null")]));
        assert!(!of(&[("host", "h:1"), ("sec-fetch-site", "cross-site")]));
        assert!(!of(&[("host", "h:1"), ("sec-fetch-site", "same-site")]), "another port of the same computer is somebody else");
    }
}
