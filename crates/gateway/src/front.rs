//! The client's side of a connection. Before hyper reads a request, its head is looked at for what two readers could take in
//! two ways: both lengths, more than one length, folded lines, bare line feeds. Such a request is not answered at all.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A client that takes nothing of its answer for so long is let go.
const TAKE_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of headers that a request may have.
pub(crate) const HEADERS_MAX: usize = 32 * 1024;
/// Bytes that are looked through for the end of a head; hyper reads no longer one.
pub(crate) const LOOKED_MAX: usize = 8 * HEADERS_MAX;

/// What the next bytes of a client belong to.
#[derive(Debug)]
enum Next {
    /// A head, of which this has come.
    Head(Vec<u8>),
    /// A body of which so many bytes are to come.
    Body(u64),
    /// A body in chunks: it is over when the answer begins.
    Chunks,
    /// Something that nobody here follows any more.
    Anything,
}

/// A client's socket.
pub(crate) struct Front<S> {
    socket: S,
    next: Next,
    /// Runs while the client takes nothing of what is written.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Front<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, next: Next::Head(vec![]), stuck: None }
    }
}

impl<S> Front<S> {
    /// A client that takes nothing for too long holds a place that others wait for: its connection ends.
    fn patient<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stuck = None;
            return polled;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(TAKE_PATIENCE)));
        if stuck.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl Next {
    /// Looks at what has come.
    fn look(&mut self, mut came: &[u8]) -> io::Result<()> {
        while !came.is_empty() {
            match self {
                Self::Body(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(came.len());
                    *left -= taken as u64;
                    came = &came[taken..];
                    if *left == 0 {
                        *self = Self::Head(vec![]);
                    }
                }
                Self::Head(begun) => {
                    let whole;
                    let known = begun.len();
                    let head = if known == 0 {
                        came
                    } else {
                        begun.extend_from_slice(came);
                        whole = std::mem::take(begun);
                        &whole
                    };
                    let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else {
                        return self.keep(head);
                    };
                    let after = end + 4 - known;
                    *self = after_head(&head[..end + 2])?;
                    came = &came[after..];
                }
                Self::Chunks | Self::Anything => return Ok(()),
            }
        }
        Ok(())
    }

    /// The beginning of a head.
    fn keep(&mut self, head: &[u8]) -> io::Result<()> {
        // A line that ends with a bare line feed would never end for us, and for others it would.
        if has_bare_feed(head) {
            return Err(strange());
        }
        // What is too large is refused by its reader.
        *self = if head.len() > LOOKED_MAX { Self::Anything } else { Self::Head(head.to_vec()) };
        Ok(())
    }

    /// We speak: a body in chunks is over, unless that was the word to send it.
    fn answered(&mut self) {
        if matches!(self, Self::Chunks) {
            *self = Self::Head(vec![]);
        }
    }
}

fn strange() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a head that two readers could take in two ways")
}

/// What follows a head, if there is one way to read it.
fn after_head(head: &[u8]) -> io::Result<Next> {
    let said = said(head).ok_or_else(strange)?;
    if said.chunks {
        return Ok(if said.expects { Next::Anything } else { Next::Chunks });
    }
    let Some(length) = said.length else { return Ok(Next::Head(vec![])) };
    let digits = length.trim_ascii();
    let number = std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit())).and_then(|d| d.parse().ok());
    Ok(match number.ok_or_else(strange)? {
        0 => Next::Head(vec![]),
        length => Next::Body(length),
    })
}

fn has_bare_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

/// What a head says of the body behind it.
#[derive(Debug, Default)]
struct Said<'a> {
    length: Option<&'a [u8]>,
    chunks: bool,
    expects: bool,
}

/// Reads a head once, if there is one way to read it.
fn said(head: &[u8]) -> Option<Said<'_>> {
    if memchr::memchr(0, head).is_some() {
        return None;
    }
    let (mut said, mut told, mut begin) = (Said::default(), 0, 0);
    for end in memchr::memchr_iter(b'\n', head) {
        if end == 0 || head[end - 1] != b'\r' {
            return None;
        }
        let line = &head[begin..end];
        // The first line is no header.
        if begin > 0 {
            match line.first() {
                Some(b' ' | b'\t') => return None,
                Some(b'c' | b'C') if starts(line, b"content-length") => {
                    told += 1;
                    said.length = line.get(b"content-length:".len()..);
                }
                Some(b't' | b'T') if starts(line, b"transfer-encoding") => {
                    told += 1;
                    said.chunks = true;
                }
                Some(b'e' | b'E') if starts(line, b"expect") => said.expects = true,
                _ => {}
            }
        }
        begin = end + 1;
    }
    (told <= 1).then_some(said)
}

fn starts(line: &[u8], name: &[u8]) -> bool {
    line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name) && matches!(line[name.len()], b':' | b' ' | b'\t')
}

impl<S: AsyncRead + Unpin> AsyncRead for Front<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.next.look(&buf.filled()[before..])?;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Front<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.next.answered();
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.patient(polled, cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.next.answered();
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.patient(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_could_take_in_two_ways_is_refused() {
        let good =
            ["GET / HTTP/1.1\r\nhost: x\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nx: content-length: 4\r\n"];
        let bad = [
            "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\ncontent-length: 3\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\ncontent-length : 4\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: identity\r\n",
            "POST / HTTP/1.1\r\nx: a\r\n folded\r\n",
            "POST / HTTP/1.1\r\nx: a\ny: b\r\n",
            "POST / HTTP/1.1\r\nx: a\0b\r\n",
        ];
        good.iter().for_each(|head| assert!(said(head.as_bytes()).is_some(), "{head:?}"));
        bad.iter().for_each(|head| assert!(said(head.as_bytes()).is_none(), "{head:?}"));
    }

    fn follows(texts: &[&str]) -> bool {
        let mut next = Next::Head(vec![]);
        texts.iter().all(|text| next.look(text.as_bytes()).is_ok())
    }

    #[test]
    fn bodies_are_no_heads_however_they_come_and_heads_behind_them_are() {
        let body = "{\n  \"a\": 1\n}";
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        let whole = format!("{head}{body}");
        let twice = format!("{whole}{whole}");
        let hidden = format!("{whole}POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx");
        for piece in 1..=twice.len() {
            let cut =
                |text: &str| text.as_bytes().chunks(piece).map(|c| String::from_utf8_lossy(c).into_owned()).collect::<Vec<_>>();
            let pieces = cut(&twice);
            assert!(follows(&pieces.iter().map(String::as_str).collect::<Vec<_>>()), "{piece}");
            let pieces = cut(&hidden);
            assert!(
                !follows(&pieces.iter().map(String::as_str).collect::<Vec<_>>()),
                "{piece}: what hides behind a body is looked at"
            );
        }
        let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(follows(&[chunked, "3\r\n\n\n\n\r\n0\r\n\r\n"]), "a body in chunks is no head");
        assert!(!follows(&["POST / HTTP/1.1\r\ncontent-length: +3\r\n\r\n"]));
    }

    /// Time passes by itself here while nothing else happens.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_for_a_minute_is_let_go() {
        use tokio::io::AsyncWriteExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
        let mut front = Front::new(accepted.expect("a connection").0);
        let begun = tokio::time::Instant::now();
        let block = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = front.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= TAKE_PATIENCE && client.is_ok());
    }
}
