//! The answer's body on its way to the client: frames pass as they come, and what the request held is let go at the end.

use crate::table::Counters;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;

/// What a response of the gateway carries.
pub(crate) type Answer = BoxBody<Bytes, hyper::Error>;

/// A place at a backend, from admission to the last byte. Letting go of it frees the place, however the request ends.
#[derive(Debug)]
pub(crate) struct Place {
    counters: Arc<Counters>,
    _slot: OwnedSemaphorePermit,
}

impl Place {
    pub(crate) fn take(counters: Arc<Counters>, slot: OwnedSemaphorePermit) -> Self {
        counters.in_flight.fetch_add(1, Ordering::AcqRel);
        Self { counters, _slot: slot }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counters.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A backend's body. When the client leaves, it is dropped, and with it the connection to the backend.
pub(crate) struct Relay {
    pub(crate) inner: Incoming,
    pub(crate) place: Option<Place>,
    /// It is a stream of events: when it breaks off, the client is told by one event, and never that it is done.
    pub(crate) events: bool,
    pub(crate) over: bool,
}

const BROKEN: &[u8] = b"\n\ndata: {\"error\":{\"message\":\"the backend broke off in the middle of its answer\",\"type\":\"api_error\",\"param\":null,\"code\":\"upstream_unreachable\"}}\n\n";

impl Body for Relay {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.place = None;
        }
        if self.events && matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.over = true;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(BROKEN)))));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
