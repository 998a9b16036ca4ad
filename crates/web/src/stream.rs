//! Streams of events: what is put into a channel goes out as it comes, with a comment now and then that keeps the way open.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// After so long without an event a comment is sent.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// Where the pieces of a stream come from: its body takes them one after the other, unless they are all taken at once.
#[derive(Clone)]
pub(crate) struct Source(Arc<Mutex<Option<mpsc::Receiver<Bytes>>>>);

impl Source {
    fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self(Arc::new(Mutex::new(Some(pieces))))
    }

    /// All that is to come.
    pub(crate) fn take(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Events(Source);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut pieces = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pieces) = &mut *pieces else { return Poll::Ready(None) };
        pieces.poll_recv(cx).map(|some| some.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// One event.
pub(crate) fn event(id: u64, data: &serde_json::Value) -> Bytes {
    Bytes::from(format!("id: {id}\ndata: {data}\n\n"))
}

/// Files, one after the other, as they are read. One that cannot be read to its end breaks the answer off: a part is not the whole.
pub(crate) fn files(files: Vec<tokio::fs::File>) -> Body {
    use tokio::io::AsyncReadExt;
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        for mut file in files {
            let mut piece = vec![0; 64 * 1024];
            loop {
                let read = match file.read(&mut piece).await {
                    Ok(0) => break,
                    Ok(read) => Ok(Bytes::copy_from_slice(&piece[..read])),
                    Err(error) => Err(error),
                };
                let broke = read.is_err();
                if sender.send(read).await.is_err() || broke {
                    return;
                }
            }
        }
    });
    Body::new(Pieces(receiver))
}

/// What is read of files.
struct Pieces(mpsc::Receiver<std::io::Result<Bytes>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.get_mut().0.poll_recv(cx).map(|some| some.map(|read| read.map(Frame::data)))
    }
}

/// A response that passes on what the channel brings, to its end.
pub(crate) fn response(events: mpsc::Receiver<Bytes>) -> Response {
    let source = Source::new(events);
    let mut response = Response::new(Body::new(Events(source.clone())));
    response.extensions_mut().insert(source);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
