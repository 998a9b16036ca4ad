//! Requests that are held: they stand in the line of their name until it is their turn and there is a place, and see what
//! changes meanwhile without losing where they stand.

use crate::body::Answer;
use crate::errors::Refusal;
use crate::forward::{Admitted, Way};
use crate::line::{LINE_KEY_MAX, Stand, Turn};
use crate::seat::Seat;
use crate::server::Notice;
use crate::table::{KeyState, Member, Target};
use crate::ticket::Place;
use http::Response;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long somebody waits for what the control plane does with a backend of its own that is silent.
const ILL_PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks whether it may be tried again.
const LOOK_EACH: Duration = Duration::from_secs(1);

/// One that waits, counted for its key over all names.
struct Counted(Arc<KeyState>);

impl Counted {
    fn one(key: &Arc<KeyState>) -> Result<Self, Refusal> {
        let one = Self(Arc::clone(key));
        // Letting go of it counts it out again.
        if key.waiting.fetch_add(1, Ordering::AcqRel) < LINE_KEY_MAX { Ok(one) } else { Err(Refusal::QueueFull) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer that comes later.
pub(crate) type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Response<Answer>, Refusal>> + Send + 'a>>;

/// Why somebody in the line looks up.
enum Heard {
    /// It is its turn.
    Turn,
    /// Backends have changed.
    News,
    /// It has waited for as long as it may.
    Late,
}

impl Way {
    /// Behind a pointer: whoever has waited may have to wait again.
    pub(crate) fn wait_and_send(&self, admitted: Box<Admitted>) -> Waiting<'_> {
        Box::pin(self.wait_for_place(admitted))
    }

    /// Waits in the line for a place or a start, and then sends.
    async fn wait_for_place(&self, mut admitted: Box<Admitted>) -> Result<Response<Answer>, Refusal> {
        let (key, bytes) = (Arc::clone(&admitted.ticket.holder.key.id), admitted.body_bytes());
        let counted = Counted::one(&admitted.ticket.holder.state)?;
        let begun = Instant::now();
        let (mut cold, mut stood) = (Duration::ZERO, None);
        // Letting go of it calls the next one: where a place was found there may be another one.
        let mut turn: Option<Turn> = None;
        loop {
            if turn.is_some() {
                self.look_again(&mut admitted)?;
                if let Seat::Taken(taken) = self.seat(&admitted.ticket.target, &admitted) {
                    drop(counted);
                    return self.take(admitted, *taken, turn, (begun, cold)).await;
                }
            }
            let line = Arc::clone(&admitted.ticket.target.state.line);
            let Some(mut stand) = line.join(&key, stood, bytes) else { return Err(Refusal::QueueFull) };
            // What changed between the last look and the line would tell nobody.
            let mut news = pin!(line.news());
            news.as_mut().enable();
            self.look_again(&mut admitted)?;
            // Others may have been here before.
            let first = stood.is_some() || line.len() == 1;
            let target = &admitted.ticket.target;
            let mut seat = if first { self.seat(target, &admitted) } else { self.outlook(target, &admitted) };
            if let Seat::Taken(taken) = seat {
                drop((stand, counted));
                return self.take(admitted, *taken, turn, (begun, cold)).await;
            }
            let mut late = self.patience(&seat, &mut admitted, begun)?;
            if let Some(turn) = turn.take() {
                turn.keep();
            }
            if !first && self.candidates(&admitted.ticket.target, &admitted).is_ok() {
                // There is room, and somebody comes first: nobody else may tell.
                line.call();
            }
            loop {
                let from = Instant::now();
                let is_start = matches!(seat, Seat::Starting | Seat::Asleep);
                let is_ill = matches!(seat, Seat::Ill);
                // What is silent may be tried again after a while, without anybody saying so.
                let until = if is_ill { late.min(from + LOOK_EACH) } else { late };
                let heard = listen(&mut stand, news.as_mut(), until).await;
                cold += if is_start { from.elapsed() } else { Duration::ZERO };
                match heard {
                    Heard::Turn => break,
                    Heard::Late if is_ill && Instant::now() < late => {
                        (seat, late) = self.look_anew(&mut admitted, begun)?;
                        if matches!(seat, Seat::Full) {
                            line.call();
                        }
                    }
                    Heard::Late if is_ill => return Err(Refusal::NoBackend(admitted.name())),
                    Heard::Late if is_start => return Err(Refusal::Loading(admitted.name())),
                    Heard::Late => return Err(Refusal::QueueFull),
                    Heard::News => {
                        news.set(line.news());
                        news.as_mut().enable();
                        self.look_again(&mut admitted)?;
                        (seat, late) = self.look_anew(&mut admitted, begun)?;
                    }
                }
            }
            admitted.tried.clear();
            stood = Some(stand.number());
            turn = Some(Turn::of(&line));
        }
    }

    /// What there is to wait for, and until when. Nothing was sent to those that were tried, and they may be others by now.
    fn look_anew(&self, admitted: &mut Admitted, begun: Instant) -> Result<(Seat, Instant), Refusal> {
        admitted.tried.clear();
        let seat = self.outlook(&admitted.ticket.target, admitted);
        let late = self.patience(&seat, admitted, begun)?;
        Ok((seat, late))
    }

    /// Goes where a place was found; the next one is called if there is another one.
    async fn take(
        &self,
        mut admitted: Box<Admitted>,
        seat: (Member, Place),
        turn: Option<Turn>,
        (begun, cold): (Instant, Duration),
    ) -> Result<Response<Answer>, Refusal> {
        if let Some(turn) = turn.filter(|_| self.candidates(&admitted.ticket.target, &admitted).is_err()) {
            turn.keep();
        }
        admitted.ticket.used.cold_ms = ms(cold);
        admitted.ticket.used.queue_ms = ms(begun.elapsed().saturating_sub(cold));
        self.seated(admitted, seat).await
    }

    /// Until when it may wait for what it found; a refusal where there is nothing to wait for.
    fn patience(&self, seat: &Seat, admitted: &mut Admitted, begun: Instant) -> Result<Instant, Refusal> {
        let patience = admitted.ticket.patience;
        let start = patience.start.std();
        let most = match seat {
            // The control plane was told, and says in a moment what becomes of it.
            // However often it is tried meanwhile, the time counts from the first silence.
            Seat::Ill => {
                let since = *admitted.silent_since.get_or_insert_with(Instant::now);
                return Ok(since + start.min(ILL_PATIENCE));
            }
            Seat::Nobody => return Err(Refusal::NoBackend(admitted.name())),
            Seat::Taken(_) | Seat::Full => patience.queue.std(),
            Seat::Starting => admitted.wait.unwrap_or(start).min(start),
            Seat::Asleep => {
                self.wake(&admitted.ticket.target);
                admitted.wait.unwrap_or(start).min(start)
            }
        };
        Ok(begun + most)
    }

    /// The name in the present table: who waits sees what has changed.
    fn look_again(&self, admitted: &mut Admitted) -> Result<(), Refusal> {
        let table = self.shared.table.load();
        if !table.knows(&admitted.ticket.holder, (self.shared.now)()) {
            return Err(Refusal::InvalidKey);
        }
        let Some(target) = table.names.get(&*admitted.ticket.target.name) else {
            return Err(Refusal::ModelNotFound(admitted.name()));
        };
        admitted.ticket.target = Arc::clone(target);
        Ok(())
    }

    pub(crate) fn wake(&self, target: &Target) {
        for member in target.members.iter().filter(|m| m.entry.backend.asleep) {
            // A full channel holds the same news already.
            self.shared.notices.try_send(Notice::Wanted(member.entry.backend.group.clone())).ok();
        }
    }
}

/// Waits for the turn, for news, or for the end of all patience.
async fn listen(stand: &mut Stand, news: Pin<&mut tokio::sync::futures::Notified<'_>>, until: Instant) -> Heard {
    tokio::select! {
        biased;
        () = stand.called() => Heard::Turn,
        () = news => Heard::News,
        () = tokio::time::sleep_until(until) => Heard::Late,
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
