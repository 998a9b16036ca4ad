//! Streams of events: what is put into a channel goes out as it comes, with a comment now and then that keeps the way open.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// After so long without an event a comment is sent.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().0.poll_recv(cx).map(|some| some.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// One event.
pub(crate) fn event(id: u64, data: &serde_json::Value) -> Bytes {
    Bytes::from(format!("id: {id}\ndata: {data}\n\n"))
}

/// Files, one after the other, as they are read.
pub(crate) fn files(files: Vec<tokio::fs::File>) -> Body {
    use tokio::io::AsyncReadExt;
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        for mut file in files {
            let mut piece = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = file.read(&mut piece).await {
                if sender.send(Bytes::copy_from_slice(&piece[..read])).await.is_err() {
                    return;
                }
            }
        }
    });
    Body::new(Events(receiver))
}

/// A response that passes on what the channel brings, to its end.
pub(crate) fn response(events: mpsc::Receiver<Bytes>) -> Response {
    let mut response = Response::new(Body::new(Events(events)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
