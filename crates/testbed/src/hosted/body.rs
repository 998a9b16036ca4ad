//! The body of an answer that may break off.

use bytes::Bytes;
use hyper::body::{Body, Frame};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What comes next.
#[derive(Debug)]
pub(super) enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// Nothing any more, and no end.
    Stall,
    /// The connection breaks.
    Break,
}

/// Pieces one after the other. Each is written out before the next is begun, so that it is certain what a client
/// has seen of a broken answer.
#[derive(Debug)]
pub(super) struct Pieces {
    left: VecDeque<Piece>,
    has_rested: bool,
}

impl Pieces {
    /// A body of these pieces.
    pub(super) fn new(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self { left: pieces.into_iter().collect(), has_rested: false }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        // The server writes out what it has while it waits for more.
        if !std::mem::replace(&mut self.has_rested, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.left.pop_front() {
            None => Poll::Ready(None),
            Some(Piece::Bytes(bytes)) => {
                self.has_rested = false;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Piece::Break) => Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut on purpose")))),
            // Nobody wakes this: the task ends when the client leaves.
            Some(Piece::Stall) => {
                self.left.push_front(Piece::Stall);
                Poll::Pending
            }
        }
    }
}
