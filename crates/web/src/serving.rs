//! Connections to the control plane, a task for each. A stream of events leaves the hands of the HTTP library as soon as its head is
//! known: what stays is a socket and a channel, without the room that is kept for requests to come, so that an open page costs
//! next to nothing.

use crate::router::From;
use crate::stream::Source;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, Response, Version, header};
use axum::serve::Listener;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_service::Service;

/// A connection on which no request has come for so long, or no whole one, is let go.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
/// A body must have come whole after so long.
const BODY_PATIENCE: Duration = Duration::from_secs(60);
/// A client that takes nothing of a stream for so long has left.
const TAKE_PATIENCE: Duration = Duration::from_secs(120);

/// Serves until `stop`, and then lets requests finish.
pub(crate) async fn serve<L>(mut listener: L, router: Router, stop: CancellationToken)
where
    L: Listener<Addr = SocketAddr>,
{
    let open = TaskTracker::new();
    loop {
        let (io, from) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (router, stop) = (router.clone(), stop.clone());
        open.spawn(async move {
            // Behind a pointer: a stream does not keep what reading requests needs.
            if let Some((io, taken)) = Box::pin(connection(io, from, router, stop)).await {
                pass_on(io, taken).await;
            }
        });
    }
    open.close();
    open.wait().await;
}

/// A stream that is taken out of a connection.
struct Taken {
    head: Vec<u8>,
    pieces: mpsc::Receiver<Bytes>,
}

/// What the requests of a connection and the connection itself share.
#[derive(Default)]
struct Shared {
    taken: Option<Taken>,
    /// The client has not taken all that was written yet.
    is_blocked: bool,
}

type Slot = Arc<Mutex<Shared>>;

/// Answers requests until the connection is over, or one of them is for a stream.
async fn connection<I>(io: I, from: SocketAddr, router: Router, stop: CancellationToken) -> Option<(I, Taken)>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slot = Slot::default();
    let shared = Arc::clone(&slot);
    let service = service_fn(move |request| answer(request, from, router.clone(), Arc::clone(&shared)));
    let watched = Watched { io, slot: Arc::clone(&slot) };
    let mut builder = http1::Builder::new();
    let mut serving =
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).serve_connection(TokioIo::new(watched), service);
    let mut ended = std::pin::pin!(stop.cancelled());
    let mut is_ending = false;
    let taken = poll_fn(|cx| {
        if !is_ending && ended.as_mut().poll(cx).is_ready() {
            is_ending = true;
            Pin::new(&mut serving).graceful_shutdown();
        }
        let polled = Pin::new(&mut serving).poll(cx);
        match slot.lock().unwrap_or_else(PoisonError::into_inner).taken.take() {
            Some(taken) => Poll::Ready(Some(taken)),
            None => polled.map(|result| {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended");
                }
                None
            }),
        }
    })
    .await?;
    Some((serving.into_parts().io.into_inner().io, taken))
}

/// Answers a request, unless it is for a stream.
async fn answer(
    request: Request<Incoming>,
    from: SocketAddr,
    mut router: Router,
    slot: Slot,
) -> Result<Response<Body>, Infallible> {
    let is_plain = request.method() == Method::GET && request.version() == Version::HTTP_11;
    let mut request = request.map(|body| if body.is_end_stream() { Body::new(body) } else { Body::new(Timed::new(body)) });
    request.extensions_mut().insert(ConnectInfo(From(from)));
    let mut response = router.call(request).await?;
    let source = response.extensions_mut().remove::<Source>().filter(|_| is_plain && response.status() == 200);
    if source.is_some_and(|source| is_taken(&source, response.headers(), &slot)) {
        drop(response);
        // The connection is taken apart as soon as this waits.
        return std::future::pending().await;
    }
    Ok(response)
}

/// A body that must have come after a while: one that never ends would hold its connection, and whoever reads it.
struct Timed<B> {
    body: B,
    until: Pin<Box<Sleep>>,
}

impl<B> Timed<B> {
    fn new(body: B) -> Self {
        Self { body, until: Box::pin(tokio::time::sleep(BODY_PATIENCE)) }
    }
}

impl<B: hyper::body::Body + Unpin> hyper::body::Body for Timed<B>
where
    B::Error: Into<axum::BoxError>,
{
    type Data = B::Data;
    type Error = axum::BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, axum::BoxError>>> {
        if self.until.as_mut().poll(cx).is_ready() {
            let why = format!("the body did not come within {} s", BODY_PATIENCE.as_secs());
            return Poll::Ready(Some(Err(why.into())));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Takes a stream out of its connection, unless the library still has something to write there, which would be lost with it.
fn is_taken(source: &Source, headers: &HeaderMap, slot: &Slot) -> bool {
    let mut shared = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.is_blocked {
        return false;
    }
    shared.taken = source.take().map(|pieces| Taken { head: head(headers), pieces });
    shared.taken.is_some()
}

fn head(headers: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    head
}

/// Passes a stream on to its end, or until the client has left.
async fn pass_on<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, taken: Taken) {
    let Taken { head, mut pieces } = taken;
    let mut next = head;
    loop {
        match tokio::time::timeout(TAKE_PATIENCE, written(&mut io, &next)).await {
            Ok(Ok(())) => {}
            // It has left, or as good as.
            Ok(Err(_)) | Err(_) => return,
        }
        drop(next);
        let mut ignored = [0; 32];
        let piece = loop {
            tokio::select! {
                piece = pieces.recv() => break piece,
                // Nothing more may come on this connection but its end.
                read = io.read(&mut ignored) => if !matches!(read, Ok(1..)) { return },
            }
        };
        let Some(piece) = piece else {
            // Nobody may listen to the end any more.
            let end = async {
                written(&mut io, b"0\r\n\r\n").await?;
                io.shutdown().await
            };
            tokio::time::timeout(TAKE_PATIENCE, end).await.ok();
            return;
        };
        next = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
    }
}

async fn written<I: AsyncWrite + Unpin>(io: &mut I, bytes: &[u8]) -> io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

/// A socket that remembers whether something is still to be written.
struct Watched<I> {
    io: I,
    slot: Slot,
}

impl<I> Watched<I> {
    fn saw<T>(&self, written: &Poll<T>) {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).is_blocked = written.is_pending();
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.saw(&written);
        written
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, all: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, all);
        self.saw(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::Ipv4Addr;
    use tokio::io::{DuplexStream, duplex};

    const LARGE: usize = 100_000;

    /// Serves one connection that holds so much on its way.
    fn served(room: usize, stop: &CancellationToken) -> DuplexStream {
        let pieces = || async {
            let (sender, receiver) = mpsc::channel(4);
            tokio::spawn(async move {
                for n in 0..3 {
                    sender.send(crate::stream::event(n, &serde_json::json!("piece"))).await.ok();
                }
            });
            crate::stream::response(receiver)
        };
        let router = Router::new()
            .route("/large", get(|| async { "x".repeat(LARGE) }))
            .route("/length", axum::routing::post(|body: Bytes| async move { body.len().to_string() }))
            .route("/who", get(|ConnectInfo(From(from)): ConnectInfo<From>| async move { from.port().to_string() }))
            .route("/stream", get(pieces).post(pieces));
        let ((here, there), stop) = (duplex(room), stop.clone());
        tokio::spawn(async move {
            let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 4242));
            if let Some((io, taken)) = connection(there, from, router, stop).await {
                pass_on(io, taken).await;
            }
        });
        here
    }

    async fn all(mut io: DuplexStream) -> String {
        let mut text = String::new();
        io.read_to_string(&mut text).await.expect("an end");
        text
    }

    #[tokio::test]
    async fn a_stream_comes_whole_and_with_its_end_after_whatever_came_before_it() {
        for (room, path) in [(64, "/large"), (1 << 20, "/large"), (16, "/who")] {
            let mut io = served(room, &CancellationToken::new());
            let both =
                format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\nGET /stream HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            let (mut reads, mut writes) = tokio::io::split(io);
            let sending = tokio::spawn(async move {
                writes.write_all(both.as_bytes()).await.expect("sent");
                writes
            });
            let mut text = String::new();
            reads.read_to_string(&mut text).await.expect("an end");
            io = reads.unsplit(sending.await.expect("sent"));
            drop(io);
            let second = text.rfind("HTTP/1.1 200 OK").expect("a second answer");
            let (first, stream) = text.split_at(second);
            match path {
                "/large" => assert!(first.ends_with(&"x".repeat(LARGE)), "{room}"),
                _ => assert!(first.ends_with("\r\n4242"), "{first}"),
            }
            assert!(
                stream.contains("transfer-encoding: chunked") && stream.contains("content-type: text/event-stream"),
                "{stream}"
            );
            assert_eq!(stream.matches("data: \"piece\"").count(), 3, "{stream}");
            assert!(stream.ends_with("\r\n0\r\n\r\n"), "{stream}");
        }
    }

    #[tokio::test]
    async fn older_clients_and_other_methods_are_answered_by_the_library() {
        for (request, is_last) in [
            ("GET /stream HTTP/1.0\r\n\r\n", "data: \"piece\"\n\n"),
            ("HEAD /stream HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "\r\n\r\n"),
        ] {
            let mut io = served(1 << 16, &CancellationToken::new());
            io.write_all(request.as_bytes()).await.expect("sent");
            let text = all(io).await;
            assert!(text.starts_with("HTTP/1.") && text.contains(" 200 OK") && text.ends_with(is_last), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_ends_its_request() {
        let mut io = served(1 << 16, &CancellationToken::new());
        io.write_all(b"POST /length HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345").await.expect("sent");
        let text = all(io).await;
        assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    }

    #[tokio::test]
    async fn an_idle_connection_ends_with_the_server() {
        let stop = CancellationToken::new();
        let mut io = served(1 << 16, &stop);
        io.write_all(b"GET /who HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
        let mut first = [0; 15];
        io.read_exact(&mut first).await.expect("an answer");
        stop.cancel();
        assert!(all(io).await.ends_with("4242"));
    }
}
