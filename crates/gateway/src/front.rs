//! The client's side of a connection. Before hyper reads a request, its head is looked at for what two readers could take in
//! two ways: both lengths, more than one length, folded lines, bare line feeds. Such a request is not answered at all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of headers that a request may have.
pub(crate) const HEADERS_MAX: usize = 32 * 1024;
/// Bytes that are looked through for the end of a head; hyper reads no longer one.
pub(crate) const LOOKED_MAX: usize = 8 * HEADERS_MAX;

/// A client's socket.
pub(crate) struct Front {
    socket: TcpStream,
    /// The beginning of a head that did not come in one piece.
    head: Vec<u8>,
    /// What is read next is the beginning of a request: nothing was written since.
    fresh: bool,
}

impl Front {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, head: vec![], fresh: true }
    }

    /// Looks at what has come, as long as it is a head.
    fn look(&mut self, came: &[u8]) -> io::Result<()> {
        if came.is_empty() {
            return Ok(());
        }
        let whole;
        let head: &[u8] = if self.head.is_empty() {
            came
        } else {
            self.head.extend_from_slice(came);
            whole = std::mem::take(&mut self.head);
            &whole
        };
        let end = memchr::memmem::find(head, b"\r\n\r\n");
        let strange = io::Error::new(io::ErrorKind::InvalidData, "a head that two readers could take in two ways");
        match end {
            Some(end) => {
                self.fresh = false;
                if is_plain(&head[..end + 2]) { Ok(()) } else { Err(strange) }
            }
            // A line that ends with a bare line feed would never end for us, and for others it would.
            None if has_bare_feed(head) => Err(strange),
            // What is too large is refused by its reader.
            None if head.len() > LOOKED_MAX => {
                self.fresh = false;
                Ok(())
            }
            None => {
                self.head = head.to_vec();
                Ok(())
            }
        }
    }
}

fn has_bare_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

/// Is there one way to read it?
fn is_plain(head: &[u8]) -> bool {
    if has_bare_feed(head) || memchr::memchr(0, head).is_some() {
        return false;
    }
    let (mut lengths, mut codings) = (0, 0);
    for line in head.split(|b| *b == b'\n').skip(1) {
        match line.first() {
            Some(b' ' | b'\t') => return false,
            Some(b'c' | b'C') if starts(line, b"content-length") => lengths += 1,
            Some(b't' | b'T') if starts(line, b"transfer-encoding") => codings += 1,
            _ => {}
        }
    }
    lengths + codings <= 1
}

fn starts(line: &[u8], name: &[u8]) -> bool {
    line.len() > name.len() && line[..name.len()].eq_ignore_ascii_case(name) && matches!(line[name.len()], b':' | b' ' | b'\t')
}

impl AsyncRead for Front {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        if self.fresh && matches!(polled, Poll::Ready(Ok(()))) {
            self.look(&buf.filled()[before..])?;
        }
        polled
    }
}

impl AsyncWrite for Front {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.fresh = true;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.fresh = true;
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
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
        good.iter().for_each(|head| assert!(is_plain(head.as_bytes()), "{head:?}"));
        bad.iter().for_each(|head| assert!(!is_plain(head.as_bytes()), "{head:?}"));
    }
}
