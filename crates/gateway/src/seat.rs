//! A place for a request: the backends that could take it at this moment, and the one that does.

use crate::balance::{Candidate, Hint, choose};
use crate::forward::{Admitted, Way};
use crate::table::{Member, Target};
use crate::ticket::{Place, tell};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tokio::time::Instant;

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

impl Way {
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
            if admitted.asked.tools && !backend.tools {
                continue;
            }
            if counters.rests_until_ms.load(Ordering::Relaxed) > now.0 {
                continue;
            }
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
    pub(crate) fn put_back(&self, (member, place): (Member, Place)) {
        tell(&member.entry, None, (self.shared.now)());
        drop(place);
    }
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
