//! Files of the pages, compiled in. Their addresses change with their contents, so browsers keep them for good.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest;
use std::io::Write;
use std::sync::LazyLock;

struct File {
    name: &'static str,
    kind: &'static str,
    text: String,
    packed: Vec<u8>,
    mark: String,
}

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let script = concat!(include_str!("../../assets/idiomorph.min.js"), "\n", include_str!("../../assets/charter.js"));
    let all = [
        ("charter.css", "text/css; charset=utf-8", include_str!("../../assets/charter.css")),
        ("charter.js", "text/javascript; charset=utf-8", script),
        ("icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
    ];
    all.into_iter().map(|(name, kind, text)| made(name, kind, text)).collect()
});

fn made(name: &'static str, kind: &'static str, text: &str) -> File {
    let mark = digest::digest(&digest::SHA256, text.as_bytes());
    let mark = mark.as_ref().iter().take(6).map(|b| format!("{b:02x}")).collect();
    File { name, kind, text: text.to_owned(), packed: packed(text.as_bytes()), mark }
}

/// In gzip.
pub(crate) fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    // Writing to memory cannot fail.
    writer.write_all(bytes).and_then(|()| writer.finish()).unwrap_or_default()
}

/// The address of a file.
pub(crate) fn path(name: &str) -> String {
    let mark = FILES.iter().find(|f| f.name == name).map_or("", |f| f.mark.as_str());
    format!("/assets/{name}?{mark}")
}

/// Does the client take gzip?
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("gzip"))
}

/// Open to everybody: the door needs its sheet, and these tell nothing of this server.
pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|f| f.name == name) else { return StatusCode::NOT_FOUND.into_response() };
    let gzip = takes_gzip(&headers);
    let body = if gzip { file.packed.clone() } else { file.text.clone().into_bytes() };
    let mut response = body.into_response();
    let own = response.headers_mut();
    own.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    own.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if gzip {
        own.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
