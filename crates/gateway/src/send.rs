//! Sending a request to the backend where a place was taken, and the first word of its answer.

use crate::body::{Answer, Relay};
use crate::breaker::Outcome;
use crate::connect::chain;
use crate::errors::Refusal;
use crate::forward::{Admitted, Way};
use crate::framing::Head;
use crate::headers::{downstream, upstream};
use crate::lane::{Broke, Lane};
use crate::seat::Seat;
use crate::server::Notice;
use crate::sse::Scanner;
use crate::table::{Entry, MESSAGES, Member};
use crate::ticket::{Place, Ticket};
use charter_domain::time::Time;
use charter_domain::usage::End;
use http::{Response, StatusCode, header};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

impl Way {
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
            let Some(origin) = &entry.origin else { return Err(Refusal::NoBackend(admitted.name())) };
            let path = admitted.form.as_ref().map_or(admitted.path, |form| form.path);
            let own = member.rename.as_deref();
            let body = match &admitted.form {
                // On its way along a chain a request asks for the name that it has come to.
                Some(form) => form.put(own, &admitted.ticket.target.name).unwrap_or_else(|| {
                    admitted.asked.spliced(&admitted.body, own.or(Some(&*admitted.ticket.target.name)), path < 2)
                }),
                // Usage is asked for where streams can tell it; an answer that is no stream tells it by itself.
                None => admitted.asked.spliced(&admitted.body, own, path < 2),
            };
            let head = upstream(&origin.lines[path], &admitted.headers, &entry, &admitted.id, body.len());
            admitted.ticket.owed = entry.backend.hosted.is_some();
            // Behind a pointer: it is over when the answer begins, and connections would carry the room for it on.
            let asking = Box::pin(self.pool.ask(origin, &head, &body));
            match self.head(&mut admitted.ticket, asking).await {
                Ok(answer) if admitted.form.is_some() => return Box::pin(self.open(answer, admitted, &member)).await,
                Ok(answer) => return self.answered(answer, admitted, &member),
                Err(Unanswered::NothingSent) => {
                    admitted.ticket.owed = false;
                    admitted.ticket.leave_place(Some(Outcome::Bad));
                    admitted.tried.push(entry.backend.id.clone());
                    match self.seat(&admitted.ticket.target, &admitted) {
                        Seat::Taken(other) => (member, place) = *other,
                        Seat::Starting | Seat::Asleep | Seat::Ill if admitted.others => {
                            admitted.ticket.used.end = End::Failed;
                            return Err(Refusal::Unreachable(entry.backend.id.clone()));
                        }
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
        let deadline = Instant::now() + ticket.patience.first.std();
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

    pub(crate) fn answered(
        &self,
        (lane, head): (Box<Lane>, Head),
        admitted: Box<Admitted>,
        member: &Member,
    ) -> Result<Response<Answer>, Refusal> {
        let Admitted { mut ticket, asked, path, .. } = *admitted;
        let entry = &member.entry;
        let status = self.met(&mut ticket, head.status, entry)?;
        let mut headers = downstream(head.headers, entry);
        let kind = headers.get(header::CONTENT_TYPE).cloned();
        let is_plain = headers.get(header::CONTENT_ENCODING).is_none();
        let is_events = kind.as_ref().is_some_and(|k| k.as_bytes().starts_with(b"text/event-stream"));
        let of_messages = path == MESSAGES;
        let new = || if of_messages { Scanner::for_messages() } else { Scanner::new(asked.stream && !asked.usage) };
        let scanner = (is_events && is_plain).then(new);
        if scanner.is_some() {
            // Its length is not known any more where an event is taken out.
            headers.remove(header::CONTENT_LENGTH);
        }
        let mut response = Response::new(Answer::Relay(Box::new(Relay::new(lane, ticket, scanner, kind))));
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }
}

impl Way {
    /// A backend has begun to answer; its status, if it is one that concerns a client.
    pub(crate) fn met(&self, ticket: &mut Ticket, status: u16, entry: &Entry) -> Result<StatusCode, Refusal> {
        // A status that HTTP does not know is nothing that a client can be told.
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SWITCHING_PROTOCOLS);
        entry.counters.counts.answered(status.as_u16());
        entry.counters.last_used_ms.store((self.shared.now)().0, Ordering::Relaxed);
        // An engine has no business to send clients elsewhere, to change the protocol, or to speak of a key that is ours.
        let is_key = status == StatusCode::UNAUTHORIZED && entry.backend.hosted.is_none();
        if status.is_redirection() || status.is_informational() || is_key {
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
        Ok(status)
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
