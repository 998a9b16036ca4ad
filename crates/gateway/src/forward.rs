//! The way of a request: read, admitted, given a place, sent, and its answer passed on.

use crate::arrival::collect;
use crate::balance::{Candidate, Hint, choose};
use crate::body::{Answer, Later, Relay};
use crate::breaker::Outcome;
use crate::cache::{Kept, print};
use crate::connect::chain;
use crate::errors::Refusal;
use crate::framing::Head;
use crate::headers::{downstream, upstream};
use crate::lane::{Broke, Lane, Pool};
use crate::purse::Bank;
use crate::record::Recorder;
use crate::request::{Asked, asked, beginnings};
use crate::server::Notice;
use crate::sse::Scanner;
use crate::table::{Entry, Holder, Member, PATHS, Table, Target};
use crate::ticket::{Place, Ticket, tell};
use arc_swap::ArcSwap;
use bytes::Bytes;
use charter_domain::routing::Policy;
use charter_domain::time::Time;
use charter_domain::usage::{End, Used};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// After so long a stream that waits for a start gets its head and comments.
const HEAD_AFTER: Duration = Duration::from_secs(2);

/// Whose requests belong together.
const SESSION: HeaderName = HeaderName::from_static("x-charter-session");
/// How long the client waits for a start, in seconds.
const WAIT: HeaderName = HeaderName::from_static("x-charter-wait");

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) now: Arc<dyn Fn() -> Time + Send + Sync>,
    pub(crate) bank: Arc<dyn Bank>,
    pub(crate) recorder: Recorder,
    pub(crate) notices: mpsc::Sender<Notice>,
}

/// One worker's way to backends.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Arc<Pool>,
}

/// A request that was read and let in.
pub(crate) struct Admitted {
    pub(crate) asked: Asked,
    body: Bytes,
    headers: HeaderMap,
    path: usize,
    id: HeaderValue,
    session: Option<String>,
    marks: Vec<u64>,
    /// How long the client says that it waits for a start.
    pub(crate) wait: Option<Duration>,
    pub(crate) ticket: Ticket,
    /// Backends that could not be reached.
    pub(crate) tried: Vec<String>,
    /// Since when those that could take it were silent.
    pub(crate) silent_since: Option<Instant>,
}

/// What was found when a place was looked for.
pub(crate) enum Seat {
    Taken(Box<(Member, Place)>),
    Full,
    Starting,
    Asleep,
    /// Those that could take it are silent, and the control plane looks after them.
    Ill,
    Nobody,
}

impl Admitted {
    pub(crate) fn body_bytes(&self) -> usize {
        self.body.len()
    }
}

impl Way {
    /// Answers a request for one of [`PATHS`].
    pub(crate) async fn forward(
        &self,
        request: Request<Incoming>,
        path: usize,
        holder: &Arc<Holder>,
        id: &HeaderValue,
    ) -> Result<Response<Answer>, Refusal> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let body = collect(&parts.headers, body).await?;
        let asked = asked(&body)?;
        let key = &holder.key;
        if !key.routes.is_empty() && !key.routes.contains(&asked.name) {
            return Err(Refusal::RouteNotAllowed(asked.name));
        }
        let table = self.shared.table.load();
        let Some(target) = table.names.get(&asked.name).cloned() else { return Err(Refusal::ModelNotFound(asked.name)) };
        let body_bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let estimate = body_bytes / 4 + asked.written_usual;
        holder.state.meter.admit(&key.limits, table.gateways, estimate, (self.shared.now)())?;
        drop(table);
        let ticket = self.ticket(holder, target, started, (estimate, body_bytes, asked.written_max), id);
        let marks = if ticket.target.route.policy == Policy::Prefix { beginnings(&body) } else { vec![] };
        let text = |name: HeaderName| parts.headers.get(name).and_then(|v| v.to_str().ok());
        let session = text(SESSION).map(str::to_owned).filter(|_| ticket.target.route.policy == Policy::Session);
        let wait = text(WAIT).and_then(|v| v.parse().ok()).map(Duration::from_secs);
        let headers = parts.headers;
        // Behind a pointer: it is handed on several times.
        let (id, tried, silent_since) = (id.clone(), vec![], None);
        let admitted = Admitted { asked, body, headers, path, id, session, marks, wait, ticket, tried, silent_since };
        self.admitted(Box::new(admitted)).await
    }

    fn ticket(
        &self,
        holder: &Arc<Holder>,
        target: Arc<Target>,
        started: Instant,
        (estimate, body_bytes, written_max): (u64, u64, u64),
        id: &HeaderValue,
    ) -> Ticket {
        let used = Used {
            request: id.to_str().unwrap_or_default().to_owned(),
            at: (self.shared.now)(),
            key: Arc::clone(&holder.key.id),
            tenant: Arc::clone(&holder.key.tenant),
            model: Arc::clone(&target.name),
            // Unless something else is said: whoever lets go of it has left.
            end: End::Left,
            ..Used::default()
        };
        Ticket {
            shared: Arc::clone(&self.shared),
            holder: Arc::clone(holder),
            target,
            used,
            started,
            estimate,
            body_bytes,
            written_max,
            reserved: crate::purse::Reserved::default(),
            place: None,
            tokens: None,
            written: 0,
            print: None,
            kept: None,
            outcome: None,
            refused: false,
        }
    }

    async fn admitted(&self, mut admitted: Box<Admitted>) -> Result<Response<Answer>, Refusal> {
        let ticket = &mut admitted.ticket;
        if ticket.target.route.cache.is_some() {
            let print = print(&ticket.holder.key.tenant, PATHS[admitted.path], &admitted.body);
            if let Some(kept) = ticket.target.state.cache.get(&print, (self.shared.now)()) {
                return Ok(from_cache(&kept, ticket));
            }
            ticket.print = Some(print);
        }
        let limits = ticket.holder.key.limits;
        if limits.costs() {
            let (holder, amount) = (Arc::clone(&ticket.holder), ticket.first_amount());
            let now = (self.shared.now)();
            let key = (&*holder.key.id, &limits);
            let bank = self.shared.bank.as_ref();
            // Behind a pointer: most requests never wait for money, and all would carry the room for it.
            let paid = Box::pin(holder.state.purse.reserve(bank, key, &mut ticket.reserved, amount, now)).await;
            // What is refused at the door is no request that was answered.
            ticket.refused = paid.is_err();
            paid?;
        }
        match self.seat(&admitted.ticket.target, &admitted) {
            // Whoever stands in the line already comes first.
            Seat::Taken(seat) if admitted.ticket.target.state.line.len() > 0 => {
                self.put_back(*seat);
                self.wait_and_send(admitted).await
            }
            Seat::Taken(seat) => self.seated(admitted, *seat).await,
            Seat::Nobody => Err(Refusal::NoBackend(admitted.asked.name)),
            Seat::Full => self.wait_and_send(admitted).await,
            // Only where it is a stream can the client be told anything before the answer.
            Seat::Starting | Seat::Asleep | Seat::Ill if admitted.asked.stream => {
                let this = self.clone();
                let mut held = Box::pin(async move { this.wait_and_send(admitted).await });
                match tokio::time::timeout(HEAD_AFTER, &mut held).await {
                    Ok(answer) => answer,
                    Err(_) => Ok(later(Later::new(held))),
                }
            }
            Seat::Starting | Seat::Asleep | Seat::Ill => self.wait_and_send(admitted).await,
        }
    }

    /// The backends that could take it at this moment, or why none can.
    pub(crate) fn candidates(&self, target: &Target, admitted: &Admitted) -> Result<Vec<Candidate>, Seat> {
        let now = (self.shared.now)();
        let mut candidates: Vec<Candidate> = Vec::with_capacity(target.members.len());
        let (mut ready, mut open) = (false, false);
        for (member, each) in target.members.iter().enumerate() {
            let (backend, counters) = (&each.entry.backend, &each.entry.counters);
            if !backend.ready || each.weight == 0 || admitted.tried.contains(&backend.id) {
                continue;
            }
            ready = true;
            let breaker = *counters.breaker.lock().unwrap_or_else(PoisonError::into_inner);
            if !breaker.would_admit(now) {
                continue;
            }
            open = true;
            let in_flight = counters.in_flight.load(Ordering::Acquire);
            let room = backend.max_concurrent.max(1);
            if in_flight < u64::from(room) {
                let (errors, queue) = (breaker.recent(now), counters.queue.load(Ordering::Relaxed));
                candidates.push(Candidate { member, in_flight, queue, errors, room, weight: each.weight });
            }
        }
        if candidates.is_empty() {
            return Err(if open { Seat::Full } else { unready(target, ready) });
        }
        Ok(candidates)
    }

    /// Takes a place at the backend that is the best at this moment, if one has a place.
    pub(crate) fn seat(&self, target: &Target, admitted: &Admitted) -> Seat {
        // Each round in which somebody else was quicker has one candidate less.
        for _ in 0..=target.members.len() {
            let candidates = match self.candidates(target, admitted) {
                Ok(candidates) => candidates,
                Err(why) => return why,
            };
            let Some(chosen) = pick(target, &candidates, admitted) else { return Seat::Nobody };
            let member = &target.members[candidates[chosen].member];
            let counters = &member.entry.counters;
            if !counters.take(member.entry.backend.max_concurrent) {
                continue;
            }
            let place = Place::taken(Arc::clone(&member.entry), Instant::now());
            if counters.breaker.lock().unwrap_or_else(PoisonError::into_inner).admit((self.shared.now)()) {
                return Seat::Taken(Box::new((member.clone(), place)));
            }
        }
        Seat::Full
    }

    /// What somebody would find whose turn it is not yet: nothing is taken.
    pub(crate) fn outlook(&self, target: &Target, admitted: &Admitted) -> Seat {
        self.candidates(target, admitted).map_or_else(|why| why, |_| Seat::Full)
    }

    /// Gives a place back that nothing was done with; the first one in the line is called.
    fn put_back(&self, (member, place): (Member, Place)) {
        tell(&member.entry, None, (self.shared.now)());
        drop(place);
    }

    /// Sends to the backend where a place was taken; to another one only while it is certain that nothing was sent.
    pub(crate) async fn seated(&self, mut admitted: Box<Admitted>, seat: (Member, Place)) -> Result<Response<Answer>, Refusal> {
        let (mut member, mut place) = seat;
        loop {
            admitted.ticket.place = Some(place);
            let entry = Arc::clone(&member.entry);
            if !admitted.marks.is_empty() {
                let mut seen = admitted.ticket.target.state.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.remember(&admitted.marks, &entry.backend.id);
            }
            let Some(origin) = &entry.origin else { return Err(Refusal::NoBackend(admitted.asked.name)) };
            // Usage is asked for where streams can tell it; an answer that is no stream tells it by itself.
            let ask_usage = admitted.path < 2;
            let body = admitted.asked.spliced(&admitted.body, member.rename.as_deref(), ask_usage);
            let head = upstream(&origin.lines[admitted.path], &admitted.headers, &entry, &admitted.id, body.len());
            // Behind a pointer: it is over when the answer begins, and connections would carry the room for it on.
            let asking = Box::pin(self.pool.ask(origin, &head, &body));
            match self.head(&mut admitted.ticket, asking).await {
                Ok(answer) => return self.answered(answer, admitted, &member),
                Err(Unanswered::NothingSent) => {
                    admitted.ticket.leave_place(Some(Outcome::Bad));
                    admitted.tried.push(entry.backend.id.clone());
                    match self.seat(&admitted.ticket.target, &admitted) {
                        Seat::Taken(other) => (member, place) = *other,
                        // Nothing was sent, so it may wait as if it had just come.
                        Seat::Full | Seat::Starting | Seat::Asleep | Seat::Ill => {
                            return self.wait_and_send(admitted).await;
                        }
                        Seat::Nobody => {
                            admitted.ticket.used.end = End::Failed;
                            return Err(Refusal::Unreachable(entry.backend.id.clone()));
                        }
                    }
                }
                Err(Unanswered::Sent(refusal)) => {
                    admitted.ticket.outcome = Some(Outcome::Bad);
                    admitted.ticket.used.end = End::Failed;
                    return Err(refusal);
                }
                Err(Unanswered::Unpaid(refusal)) => {
                    admitted.ticket.used.end = End::Cut;
                    return Err(refusal);
                }
            }
        }
    }

    /// Waits until an answer begins, as long as there is time and money.
    async fn head(
        &self,
        ticket: &mut Ticket,
        sent: Pin<Box<impl Future<Output = Result<(Box<Lane>, Head), Broke>>>>,
    ) -> Result<(Box<Lane>, Head), Unanswered> {
        let id = ticket.place.as_ref().map(|p| p.entry.backend.id.clone()).unwrap_or_default();
        let deadline = Instant::now() + ticket.target.route.patience.first.std();
        let mut sent = sent;
        loop {
            let costs = ticket.holder.key.limits.costs();
            let until = if costs { deadline.min(Instant::now() + Duration::from_secs(10)) } else { deadline };
            match tokio::time::timeout_at(until, sent.as_mut()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(broke)) => {
                    let (error, unsent) = match broke {
                        Broke::Unsent(error) => (error, true),
                        Broke::Sent(error) => (error, false),
                    };
                    tracing::warn!(backend = id, error = chain(&error), "a backend gave no answer");
                    // A full channel holds the same news already.
                    self.shared.notices.try_send(Notice::Failing(id.clone())).ok();
                    return Err(if unsent { Unanswered::NothingSent } else { Unanswered::Sent(Refusal::Unreachable(id)) });
                }
                Err(_) if Instant::now() >= deadline => return Err(Unanswered::Sent(Refusal::Timeout)),
                Err(_) => {
                    if let Some(micros) = ticket.short(Instant::now()) {
                        let (holder, now) = (Arc::clone(&ticket.holder), (self.shared.now)());
                        let key = (&*holder.key.id, &holder.key.limits);
                        let bank = self.shared.bank.as_ref();
                        let paid = Box::pin(holder.state.purse.reserve(bank, key, &mut ticket.reserved, micros, now)).await;
                        paid.map_err(Unanswered::Unpaid)?;
                    }
                }
            }
        }
    }

    fn answered(
        &self,
        (lane, head): (Box<Lane>, Head),
        admitted: Box<Admitted>,
        member: &Member,
    ) -> Result<Response<Answer>, Refusal> {
        let Admitted { mut ticket, asked, .. } = *admitted;
        let entry = &member.entry;
        // A status that HTTP does not know is nothing that a client can be told.
        let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::SWITCHING_PROTOCOLS);
        entry.counters.counts.answered(status.as_u16());
        entry.counters.last_used_ms.store((self.shared.now)().0, Ordering::Relaxed);
        // An engine has no business to send clients elsewhere, to change the protocol, or to speak of a key that is ours.
        if status.is_redirection() || status.is_informational() || status == StatusCode::UNAUTHORIZED {
            tracing::warn!(backend = entry.backend.id, status = status.as_u16(), "a backend's answer is not passed on");
            ticket.outcome = Some(Outcome::Bad);
            ticket.used.end = End::Failed;
            return Err(Refusal::Unreachable(entry.backend.id.clone()));
        }
        ticket.used.status = status.as_u16();
        if !status.is_server_error() {
            recovered(entry, (self.shared.now)());
        }
        if !status.is_success() {
            ticket.print = None;
        }
        let mut headers = downstream(head.headers, entry);
        let kind = headers.get(header::CONTENT_TYPE).cloned();
        let is_plain = headers.get(header::CONTENT_ENCODING).is_none();
        let is_events = kind.as_ref().is_some_and(|k| k.as_bytes().starts_with(b"text/event-stream"));
        let scanner = (is_events && is_plain).then(|| Scanner::new(asked.stream && !asked.usage));
        if scanner.is_some() {
            // Its length is not known any more where an event is taken out.
            headers.remove(header::CONTENT_LENGTH);
        }
        let mut response = Response::new(Answer::Relay(Box::new(Relay::new(lane, ticket, scanner, kind))));
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }
}

/// A backend on trial that begins to answer is well: others need not wait until the trial's stream ends.
fn recovered(entry: &Entry, now: Time) {
    let mut breaker = entry.counters.breaker.lock().unwrap_or_else(PoisonError::into_inner);
    if breaker.is_closed() {
        return;
    }
    breaker.result(Outcome::Good, now);
    drop(breaker);
    entry.counters.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|line| line.call());
}

/// Why there is no answer.
enum Unanswered {
    /// It is certain that the backend got nothing.
    NothingSent,
    Sent(Refusal),
    Unpaid(Refusal),
}

fn unready(target: &Target, ready: bool) -> Seat {
    let any = |is: fn(&Member) -> bool| target.members.iter().any(is);
    if any(|m| m.entry.backend.kept && m.entry.backend.ready && m.weight > 0) {
        return Seat::Ill;
    }
    if ready {
        return Seat::Nobody;
    }
    if any(|m| m.entry.backend.starting) {
        return Seat::Starting;
    }
    if any(|m| m.entry.backend.asleep) { Seat::Asleep } else { Seat::Nobody }
}

fn pick(target: &Target, candidates: &[Candidate], admitted: &Admitted) -> Option<usize> {
    let ids: Vec<&str> = candidates.iter().map(|c| target.members[c.member].entry.backend.id.as_str()).collect();
    let turn = target.state.turn.fetch_add(1, Ordering::Relaxed);
    let policy = target.route.policy;
    match &admitted.session {
        Some(session) => choose(policy, candidates, &ids, Hint::Session(session), turn),
        None if !admitted.marks.is_empty() => {
            let seen = target.state.seen.lock().unwrap_or_else(PoisonError::into_inner);
            choose(policy, candidates, &ids, Hint::Conversation(&admitted.marks, &seen), turn)
        }
        None => choose(policy, candidates, &ids, Hint::None, turn),
    }
}

fn from_cache(kept: &Kept, ticket: &mut Ticket) -> Response<Answer> {
    ticket.used.end = End::Cached;
    ticket.used.status = 200;
    ticket.used.saved = kept.cost;
    ticket.used.first_ms = 1;
    let mut response = Response::new(Answer::Whole(Full::new(kept.body.clone())));
    let headers = response.headers_mut();
    if let Some(kind) = &kept.kind {
        headers.insert(header::CONTENT_TYPE, kind.clone());
    }
    headers.insert("x-charter-cache", HeaderValue::from_static("hit"));
    response
}

fn later(body: Later) -> Response<Answer> {
    let mut response = Response::new(Answer::Later(Box::new(body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
