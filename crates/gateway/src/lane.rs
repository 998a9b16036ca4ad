//! A connection to a backend, which carries one request after the other. Whoever reads the answer reads the socket itself: nothing
//! stands between a backend's bytes and the client's, and what is let go of ends the connection.

use crate::connect::{Connector, Socket};
use crate::framing::{self, Framing, Head, Step, Strange};
use crate::table::Origin;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

/// Idle connections end before the engine ends them, which it does after 5 s.
const IDLE: Duration = Duration::from_secs(3);
/// Read at a time, at the least and at the most.
const READ: usize = 4 * 1024;
const READ_MAX: usize = 64 * 1024;
/// Kept of an answer that begins before its request was sent.
const EARLY_MAX: usize = 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Broke {
    /// The backend got nothing of the request, for certain.
    Unsent(io::Error),
    /// It may have got some of it.
    Sent(io::Error),
}

/// A connection to a backend.
pub(crate) struct Lane {
    socket: Socket,
    /// What has come and was not read.
    buffer: BytesMut,
    /// Read at once the next time.
    room: usize,
    /// Bytes of a head that were looked through for its end.
    looked: usize,
    framing: Framing,
    reusable: bool,
    /// Where it leads.
    name: Arc<str>,
    home: Weak<Pool>,
}

impl Lane {
    /// Sends a request, and waits for the head of its answer. An answer that begins before all was sent is an answer.
    async fn ask(&mut self, head: &[u8], body: &[u8]) -> Result<Head, Broke> {
        let joined;
        let (mut head, mut body) = if self.socket.is_write_vectored() {
            (head, body)
        } else {
            joined = [head, body].concat();
            (&joined[..], &[][..])
        };
        let mut sending = Sending { whole: head.len() + body.len(), flushed: false, failed: None };
        let mut early: Option<Head> = None;
        std::future::poll_fn(|cx| {
            self.send(cx, (&mut head, &mut body), &mut sending);
            let left = head.len() + body.len();
            // What TLS has taken may have gone out in part.
            if sending.failed.is_some() && left == sending.whole && !matches!(self.socket, Socket::Tls(_)) {
                let error = sending.failed.take().unwrap_or_else(closed);
                return Poll::Ready(Err(Broke::Unsent(error)));
            }
            if early.is_none() {
                match self.poll_head(cx) {
                    Poll::Ready(Ok(found)) => early = Some(found),
                    // What could not be sent is why nothing came.
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broke::Sent(sending.failed.take().unwrap_or(error)))),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let (all, refused) = (left == 0 && sending.flushed, early.as_ref().is_some_and(|found| found.status >= 300));
            if !all && sending.failed.is_none() && !refused {
                // It speaks already, and listens on; what it says meanwhile is kept, so that it need not wait for us.
                while self.buffer.len() < EARLY_MAX && matches!(self.poll_read(cx), Poll::Ready(Ok(1..))) {}
                return Poll::Pending;
            }
            let Some(mut found) = early.take() else { return Poll::Pending };
            found.reusable &= all && sending.failed.is_none();
            Poll::Ready(Ok(found))
        })
        .await
    }

    /// Sends what the socket takes.
    fn send(&mut self, cx: &mut Context<'_>, (head, body): (&mut &[u8], &mut &[u8]), sending: &mut Sending) {
        while sending.failed.is_none() && head.len() + body.len() > 0 {
            match Pin::new(&mut self.socket).poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]) {
                Poll::Ready(Ok(0)) => sending.failed = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(sent)) => {
                    let of_head = sent.min(head.len());
                    head.advance(of_head);
                    body.advance(sent - of_head);
                }
                Poll::Ready(Err(error)) => sending.failed = Some(error),
                Poll::Pending => return,
            }
        }
        if sending.failed.is_none() && !sending.flushed {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => sending.flushed = true,
                Poll::Ready(Err(error)) => sending.failed = Some(error),
                Poll::Pending => {}
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Head>> {
        loop {
            // A head that trickles is not read anew with every byte; what is none is seen at its beginning.
            let worth = !self.buffer.is_empty() && (self.looked == 0 || framing::may_end(&self.buffer, self.looked));
            if worth && let Some(head) = framing::head(&mut self.buffer).map_err(strange)? {
                self.looked = 0;
                return Poll::Ready(Ok(head));
            }
            self.looked = self.buffer.len();
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(closed()));
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() - self.buffer.len() < READ / 4 {
            self.buffer.reserve(self.room);
        }
        let read = ready!(poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.buffer))?;
        if self.buffer.len() == self.buffer.capacity() {
            self.room = (self.room * 2).min(READ_MAX);
        }
        Poll::Ready(Ok(read))
    }

    /// The next part of the answer's body.
    pub(crate) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            match self.framing.next(&mut self.buffer) {
                Ok(Step::Data(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(Step::Over) => return Poll::Ready(None),
                Ok(Step::More) => {}
                Err(why) => return Poll::Ready(Some(Err(strange(why)))),
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if self.framing == Framing::UntilEnd => self.framing = Framing::Over,
                Ok(0) => return Poll::Ready(Some(Err(closed()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Was the last byte of the answer read?
    pub(crate) fn is_over(&mut self) -> bool {
        self.framing.is_over(&mut self.buffer)
    }

    /// How much of the answer is to come, where that is known.
    pub(crate) const fn left(&self) -> Option<u64> {
        self.framing.left()
    }

    /// Gives it back for the next request, if it can carry one.
    pub(crate) fn go_home(mut self: Box<Self>) {
        if self.reusable
            && self.is_over()
            && self.buffer.is_empty()
            && let Some(home) = self.home.upgrade()
        {
            self.room = READ;
            if self.buffer.capacity() > READ_MAX {
                self.buffer = BytesMut::new();
            }
            home.keep(self);
        }
    }

    /// Nothing has come while nobody asked: what has come then is no answer, or the end.
    fn is_quiet(&mut self) -> bool {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        // Without the library's bound on what a task may do at a time: beyond it everything seems quiet.
        let mut look = pin!(unconstrained(std::future::poll_fn(|cx| self.poll_read(cx).map(drop))));
        loop {
            if look.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                return false;
            }
            // A stream inside SSH may have had something to say that is no byte.
            if !woken.0.swap(false, Ordering::AcqRel) {
                return true;
            }
        }
    }
}

/// Notes that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// How far a request was sent.
struct Sending {
    whole: usize,
    flushed: bool,
    failed: Option<io::Error>,
}

fn strange(Strange(why): Strange) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended before the answer")
}

/// The connections of one worker that carry nothing at the moment.
pub(crate) struct Pool {
    connector: Connector,
    idle: Mutex<HashMap<Arc<str>, Vec<Rest>>>,
}

/// A connection that carries nothing, since then.
type Rest = (Instant, Box<Lane>);

impl Pool {
    /// An empty pool; the connections that nobody uses end by themselves while it lives.
    pub(crate) fn new(connector: Connector) -> Arc<Self> {
        let pool = Arc::new(Self { connector, idle: Mutex::default() });
        let weak = Arc::downgrade(&pool);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                let Some(pool) = weak.upgrade() else { return };
                pool.forget_old(Instant::now());
            }
        });
        pool
    }

    /// Asks a backend, on a connection that is there or on a new one.
    pub(crate) async fn ask(self: &Arc<Self>, origin: &Origin, head: &[u8], body: &[u8]) -> Result<(Box<Lane>, Head), Broke> {
        while let Some(lane) = self.take(origin) {
            match self.carry(lane, head, body).await {
                // It ended while it was idle, and nothing was sent.
                Err(Broke::Unsent(_)) => {}
                other => return other,
            }
        }
        // Behind a pointer: most requests find a connection, and all would carry the room for a new one.
        let socket = Box::pin(self.connector.dial(origin)).await.map_err(Broke::Unsent)?;
        let (name, home) = (Arc::clone(&origin.name), Arc::downgrade(self));
        let buffer = BytesMut::new();
        let lane = Lane { socket, buffer, room: READ, looked: 0, framing: Framing::Over, reusable: false, name, home };
        self.carry(Box::new(lane), head, body).await
    }

    async fn carry(&self, mut lane: Box<Lane>, head: &[u8], body: &[u8]) -> Result<(Box<Lane>, Head), Broke> {
        let found = lane.ask(head, body).await?;
        (lane.framing, lane.reusable) = (found.framing, found.reusable);
        Ok((lane, found))
    }

    /// The one that was used last: the others may end.
    fn take(&self, origin: &Origin) -> Option<Box<Lane>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let lanes = idle.get_mut(&origin.name)?;
        while let Some((since, mut lane)) = lanes.pop() {
            if since.elapsed() < IDLE && lane.is_quiet() {
                return Some(lane);
            }
        }
        None
    }

    fn keep(&self, lane: Box<Lane>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = (Instant::now(), lane);
        match idle.get_mut(&entry.1.name) {
            Some(lanes) => lanes.push(entry),
            None => drop(idle.insert(Arc::clone(&entry.1.name), vec![entry])),
        }
    }

    fn forget_old(&self, now: Instant) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, lanes| {
            lanes.retain(|(since, _)| now.saturating_duration_since(*since) < IDLE);
            !lanes.is_empty()
        });
    }
}
