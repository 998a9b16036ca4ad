//! The answer's body on its way to the client: frames pass as they come, are read in passing, and are watched for time and
//! money. What the request held is let go with it.

use crate::breaker::Outcome;
use crate::cache::Keeping;
use crate::errors::Refusal;
use crate::lane::Lane;
use crate::purse::Reserved;
use crate::sse::{Scanner, usage};
use crate::steps::Telling;
use crate::ticket::Ticket;
use crate::turned::Turned;
use bytes::Bytes;
use charter_domain::usage::End;
use charter_translate::Stream;
use charter_translate::fault::Fault;
use http::{HeaderValue, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Why a body broke off.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;
type Held = Pin<Box<dyn Future<Output = Result<Response<Answer>, Refusal>> + Send>>;
type Paying = Pin<Box<dyn Future<Output = Result<Reserved, Refusal>> + Send>>;

/// A client that waits for a start hears of it so often.
const COMMENT_EACH: Duration = Duration::from_secs(10);
const COMMENT: &[u8] = b": the model is being started\n\n";
/// The end of a whole answer that is looked through for its usage.
const TAIL_MAX: usize = 64 * 1024;

/// What a response of the gateway carries.
pub(crate) enum Answer {
    /// Our own words.
    Whole(Full<Bytes>),
    /// A backend's.
    Relay(Box<Relay>),
    /// A stream whose model is being started.
    Later(Box<Later>),
    /// One that is put into Anthropic's words.
    Turned(Box<Turned>),
    /// One that is made in several steps.
    Steps(Box<Telling>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Relay(relay) => relay.poll(cx).map(|some| some.map(|one| one.map(Frame::data))),
            Self::Later(later) => later.poll(cx).map(|some| some.map(|one| one.map(Frame::data))),
            Self::Turned(turned) => turned.poll(cx).map(|some| some.map(|one| one.map(Frame::data))),
            Self::Steps(telling) => telling.poll(cx).map(|some| some.map(|one| Ok(Frame::data(one)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(full) => full.is_end_stream(),
            Self::Relay(relay) => relay.over && relay.then.is_none(),
            Self::Later(_) | Self::Turned(_) | Self::Steps(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(full) => full.size_hint(),
            Self::Relay(relay) if relay.scanner.is_none() => relay.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Relay(_) | Self::Later(_) | Self::Turned(_) | Self::Steps(_) => SizeHint::default(),
        }
    }
}

/// A stream that is followed, or put into OpenAI's words, on its way.
pub(crate) struct Wire {
    pub(crate) stream: Stream,
    /// What it makes of the backend's words is what is passed on.
    pub(crate) turns: bool,
}

/// A backend's body. When the client leaves, it is dropped, and with it the connection to the backend.
pub(crate) struct Relay {
    /// Gone when the answer is over.
    lane: Option<Box<Lane>>,
    ticket: Option<Ticket>,
    /// It is a stream of events.
    scanner: Option<Scanner>,
    then: Option<Bytes>,
    /// The end of an answer that is no stream.
    tail: Vec<u8>,
    /// It takes longer than it may.
    late: bool,
    /// All of it, where it may be kept.
    keep: Keeping,
    timer: Option<Pin<Box<Sleep>>>,
    last: Instant,
    paying: Option<Paying>,
    over: bool,
    /// Only where it must be followed.
    wire: Option<Box<Wire>>,
    /// What was held of it, and is passed on first.
    held: Option<Bytes>,
    /// Why it broke off.
    pub(crate) broke: Option<Refusal>,
    /// The two parts that came last: an end without a word for it is looked for there.
    latest: [Bytes; 2],
}

impl Relay {
    pub(crate) fn new(lane: Box<Lane>, ticket: Ticket, scanner: Option<Scanner>, kind: Option<HeaderValue>) -> Self {
        let keep = Keeping::new(ticket.print.is_some(), kind);
        let last = Instant::now();
        let mut relay = Self {
            lane: Some(lane),
            ticket: Some(ticket),
            scanner,
            then: None,
            tail: vec![],
            late: false,
            keep,
            timer: None,
            last,
            paying: None,
            over: false,
            wire: None,
            held: None,
            broke: None,
            latest: [Bytes::new(), Bytes::new()],
        };
        // An answer without a body is over before anybody asks for it.
        if relay.scanner.is_none() && relay.lane.as_mut().is_some_and(|lane| lane.is_over()) {
            relay.finish();
        }
        relay
    }

    /// It is followed from now on.
    pub(crate) fn follow(&mut self, wire: Wire) {
        self.wire = Some(Box::new(wire));
    }

    /// What was held is passed on first. Nobody follows what needs no other words, once it has begun.
    pub(crate) fn hold_first(&mut self, held: Bytes) {
        self.held = Some(held).filter(|held| !held.is_empty());
        if self.wire.as_ref().is_some_and(|wire| !wire.turns && wire.stream.has_begun()) {
            self.wire = None;
        }
    }

    /// Has its content begun?
    pub(crate) fn has_begun(&self) -> bool {
        self.wire.as_ref().is_none_or(|wire| wire.stream.has_begun())
    }

    /// What an error in it means, where one was told.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let failure = self.wire.as_ref()?.stream.failure()?;
        Some(Fault { class: failure.class.clone(), reason: failure.message.chars().take(200).collect() })
    }

    /// Until when its content must begin.
    pub(crate) fn first_deadline(&self) -> Instant {
        self.last + self.ticket.as_ref().map_or(Duration::ZERO, |t| t.patience.first.std())
    }

    /// Nobody needs it any more, before it has begun.
    pub(crate) fn give_up(&mut self, outcome: Option<Outcome>) {
        drop(self.break_off(End::Failed, outcome, &Refusal::BrokeOff));
        self.broke = None;
    }

    /// How much is to come, where that is known.
    fn left(&self) -> Option<u64> {
        self.lane.as_ref().map_or(Some(0), |lane| lane.left())
    }

    /// The next part.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if let Some(held) = self.held.take() {
                return Poll::Ready(Some(Ok(held)));
            }
            if let Some(then) = self.then.take() {
                return Poll::Ready(Some(Ok(then)));
            }
            if self.over {
                return Poll::Ready(None);
            }
            if let Some(paying) = &mut self.paying {
                let Poll::Ready(paid) = paying.as_mut().poll(cx) else { return Poll::Pending };
                self.paying = None;
                match (paid, &mut self.ticket) {
                    (Ok(reserved), Some(ticket)) => ticket.reserved = reserved,
                    (Err(refusal), _) => return Poll::Ready(Some(self.break_off(End::Cut, None, &refusal))),
                    (Ok(_), None) => {}
                }
            }
            if self.late {
                return Poll::Ready(Some(self.break_off(End::Failed, Some(Outcome::Bad), &Refusal::Stalled)));
            }
            let Some(lane) = &mut self.lane else { return Poll::Ready(None) };
            match lane.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    let is_last = lane.is_over();
                    let shown = self.pass(data);
                    if self.wire.as_ref().is_some_and(|wire| wire.turns) && self.fault().is_some() {
                        return Poll::Ready(Some(self.break_off(End::Failed, Some(Outcome::Bad), &Refusal::BrokeOff)));
                    }
                    let is_last = is_last && (self.scanner.is_none() || self.has_ended());
                    // Where the length is known nobody asks for what comes after it.
                    if is_last && let Some(rest) = self.finish() {
                        self.then =
                            Some(self.then.take().map_or_else(|| rest.clone(), |then| [then, rest.clone()].concat().into()));
                    }
                    if !shown.is_empty() {
                        return Poll::Ready(Some(Ok(shown)));
                    }
                }
                // Whoever was told that it is done needs no more.
                Poll::Ready(Some(Err(_))) if self.is_done() => return Poll::Ready(self.finish().map(Ok)),
                Poll::Ready(Some(Err(_))) => {
                    let refusal = Refusal::BrokeOff;
                    return Poll::Ready(Some(self.break_off(End::Failed, Some(Outcome::Bad), &refusal)));
                }
                // A stream without its end is none.
                Poll::Ready(None) if self.scanner.is_some() && !self.has_ended() => {
                    return Poll::Ready(Some(self.break_off(End::Failed, Some(Outcome::Bad), &Refusal::BrokeOff)));
                }
                Poll::Ready(None) => return Poll::Ready(self.finish().map(Ok)),
                Poll::Pending => match self.watch(cx) {
                    Some(refusal) => return Poll::Ready(Some(self.break_off(End::Failed, Some(Outcome::Bad), &refusal))),
                    None if self.paying.is_some() => {}
                    None => return Poll::Pending,
                },
            }
        }
    }

    /// Reads a frame in passing; what the client gets of it.
    fn pass(&mut self, data: Bytes) -> Bytes {
        let now = Instant::now();
        self.last = now;
        let Some(ticket) = &mut self.ticket else { return data };
        ticket.begun(now);
        // While something is always there nobody waits, and nobody else would look at the time.
        self.late = now >= ticket.started + ticket.patience.whole.std();
        let data = match &mut self.wire {
            Some(wire) => {
                let turned = wire.stream.take(&data);
                if wire.turns { turned.into() } else { data }
            }
            None => data,
        };
        let Some(scanner) = &mut self.scanner else {
            self.tail.extend_from_slice(&data[data.len().saturating_sub(TAIL_MAX)..]);
            if self.tail.len() > 2 * TAIL_MAX {
                self.tail.drain(..self.tail.len() - TAIL_MAX);
            }
            self.keep.add(&data);
            return data;
        };
        if !data.is_empty() {
            self.latest.swap(0, 1);
            self.latest[1] = data.clone();
        }
        let passed = scanner.frame(data);
        // What came before any content is none.
        let begun = self.wire.as_ref().is_none_or(|wire| wire.stream.has_begun());
        ticket.written = if begun { scanner.events } else { 0 };
        for shown in [Some(&passed.first), passed.then.as_ref()].into_iter().flatten() {
            self.keep.add(shown);
        }
        self.then = passed.then;
        if let Some(micros) = ticket.short(now) {
            self.pay(micros);
        }
        passed.first
    }

    /// Sets more money aside before anything else is passed on.
    fn pay(&mut self, micros: i64) {
        let Some(ticket) = &mut self.ticket else { return };
        if ticket.pay_at_hand(micros) {
            return;
        }
        let (shared, holder, mut reserved) = (Arc::clone(&ticket.shared), Arc::clone(&ticket.holder), ticket.reserved);
        self.paying = Some(Box::pin(async move {
            let (key, now) = (&holder.key, (shared.now)());
            let bank = shared.bank.as_ref();
            holder.state.purse.reserve(bank, (&key.id, &key.limits), &mut reserved, micros, now).await?;
            Ok(reserved)
        }));
    }

    /// Nothing has come: is there time left, and money?
    fn watch(&mut self, cx: &mut Context<'_>) -> Option<Refusal> {
        loop {
            let ticket = self.ticket.as_ref()?;
            let patience = &ticket.patience;
            let silent = self.last + patience.between.std();
            let whole = ticket.started + patience.whole.std();
            let timer = self.timer.get_or_insert_with(|| {
                let soon = Instant::now() + Duration::from_secs(10);
                let first = silent.min(whole);
                Box::pin(tokio::time::sleep_until(if ticket.holder.key.limits.costs() { first.min(soon) } else { first }))
            });
            if timer.as_mut().poll(cx).is_pending() {
                return None;
            }
            let now = Instant::now();
            if now >= silent || now >= whole {
                return Some(Refusal::Stalled);
            }
            if let Some(micros) = ticket.short(now) {
                self.pay(micros);
            }
            let next = silent.min(whole).min(now + Duration::from_secs(10));
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(next);
            }
            if self.paying.is_some() {
                return None;
            }
        }
    }

    /// Has it said that it is done?
    fn is_done(&self) -> bool {
        let turned = self.wire.as_ref().is_some_and(|wire| wire.turns && wire.stream.is_finished());
        turned || self.scanner.as_ref().is_some_and(|s| s.done)
    }

    /// Was its end told in any way: as being done, as an error, or as the reason why nothing more is written?
    fn has_ended(&self) -> bool {
        self.is_done()
            || self.scanner.as_ref().is_some_and(|s| s.failed || s.is_unread())
            || self.latest.iter().any(|part| has_reason(part))
    }

    /// The end, as the backend meant it. What was held back of an unfinished event is passed on.
    fn finish(&mut self) -> Option<Bytes> {
        self.over = true;
        if let Some(lane) = self.lane.take() {
            lane.go_home();
        }
        let mut rest = None;
        if let Some(wire) = self.wire.as_mut().filter(|wire| wire.turns)
            && let Some(scanner) = &mut self.scanner
        {
            let passed = scanner.frame(wire.stream.end().into());
            rest = Some([passed.first, passed.then.unwrap_or_default()].concat().into()).filter(|b: &Bytes| !b.is_empty());
        }
        if let Some(mut ticket) = self.ticket.take() {
            let told = match &self.scanner {
                Some(scanner) => scanner.failed && !scanner.done,
                None => self.tail.trim_ascii_start().starts_with(b"{\"error\""),
            };
            ticket.owed &= !told;
            let failed = ticket.used.status >= 500 || (told && ticket.used.status < 400);
            ticket.outcome = Some(if failed { Outcome::Bad } else { Outcome::Good });
            ticket.used.end = if failed { End::Failed } else { End::Done };
            match &mut self.scanner {
                Some(scanner) => {
                    ticket.tokens = scanner.tokens;
                    let left = scanner.rest();
                    if scanner.strips() && !left.is_empty() {
                        rest = Some(rest.map_or_else(|| left.clone(), |rest| [rest, left.clone()].concat().into()));
                    }
                    if !scanner.done || scanner.events == 0 || scanner.failed {
                        // A stream without its end: what came is all that there is, and it is not kept.
                        self.keep = Keeping::default();
                    }
                }
                None => ticket.tokens = self.usage_of_tail(),
            }
            ticket.kept = self.keep.whole();
        }
        rest
    }

    fn usage_of_tail(&self) -> Option<crate::sse::Tokens> {
        usage(&self.tail)
    }

    /// The end, before it should have come. A stream tells why in an event, and never says that it is done.
    fn break_off(&mut self, end: End, outcome: Option<Outcome>, why: &Refusal) -> Result<Bytes, Broken> {
        self.over = true;
        // The backend need not go on.
        self.lane = None;
        let told = self.fault().is_some();
        let scanner = self.scanner.take();
        if let Some(mut ticket) = self.ticket.take() {
            // Who says that it fails does not bill what it never wrote.
            ticket.owed &= !told;
            ticket.used.end = end;
            ticket.outcome = outcome;
            ticket.tokens = scanner.as_ref().and_then(|s| s.tokens);
            if let Some(place) = ticket.place.as_ref().filter(|_| end == End::Failed) {
                place.entry.counters.counts.broken.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.broke = Some(why.clone());
        match scanner {
            Some(scanner) if scanner.of_messages() => Ok(why.event_of_messages()),
            Some(_) => Ok(why.event()),
            None => Err(why.text().into()),
        }
    }
}

/// Is there a reason why nothing more is written? Inside of a text its quotes would be escaped.
fn has_reason(part: &[u8]) -> bool {
    const NAME: &[u8] = b"\"finish_reason\"";
    memchr::memmem::find_iter(part, NAME).any(|at| {
        let rest = part.get(at + NAME.len()..).unwrap_or_default();
        rest.trim_ascii_start().strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"\""))
    })
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Still here: the client has left.
        if let Some(ticket) = &mut self.ticket {
            ticket.used.end = End::Left;
            ticket.tokens = self.scanner.as_ref().and_then(|s| s.tokens);
        }
    }
}

/// A stream that waits: its head is out, and comments keep the connection alive until the answer begins.
pub(crate) struct Later {
    held: Option<Held>,
    answer: Option<Answer>,
    comment: Pin<Box<Sleep>>,
    over: bool,
    /// Its client speaks Anthropic's language.
    of_messages: bool,
}

impl Later {
    pub(crate) fn new(held: Held, of_messages: bool) -> Self {
        let comment = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { held: Some(held), answer: None, comment, over: false, of_messages }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Some(held) = &mut self.held
            && let Poll::Ready(answer) = held.as_mut().poll(cx)
        {
            self.held = None;
            match answer {
                Ok(response) if response.status().is_success() => self.answer = Some(response.into_body()),
                Ok(response) => return Poll::Ready(Some(Ok(self.end(&Refusal::Answered(response.status().as_u16()))))),
                Err(refusal) => return Poll::Ready(Some(Ok(self.end(&refusal)))),
            }
        }
        if let Some(answer) = &mut self.answer {
            let polled = Pin::new(answer).poll_frame(cx);
            return polled.map(|some| some.map(|one| one.map(|frame| frame.into_data().unwrap_or_default())));
        }
        if self.comment.as_mut().poll(cx).is_ready() {
            self.comment.as_mut().reset(tokio::time::Instant::now() + COMMENT_EACH);
            return Poll::Ready(Some(Ok(Bytes::from_static(COMMENT))));
        }
        Poll::Pending
    }

    fn end(&mut self, why: &Refusal) -> Bytes {
        self.over = true;
        if self.of_messages { why.event_of_messages() } else { why.event() }
    }
}
