//! The executor of a simulated world: it performs what was claimed, with all that can go wrong, and records what came of it.

use crate::mutation::Variant;
use crate::world::{Alive, Sim, now};
use charter_domain::intent::{Effect, Outcome};
use charter_domain::step::Event;
use charter_domain::time::Span;
use charter_store::{Begun, Claimed, Store};

impl Sim {
    /// Performs the work at `at`, or records what it performed before.
    pub(crate) fn advance(&mut self, at: usize) -> Alive<()> {
        if self.work[at].outcome.is_some() {
            let work = self.work.swap_remove(at);
            let Some(outcome) = work.outcome else { return Ok(()) };
            let event = Event::Done(work.claimed.intent.effect.clone(), outcome);
            let replica = work.claimed.intent.replica.clone();
            self.delivered += 1;
            self.apply(&replica, &event, Some(&work.claimed))?;
            if self.setup.twice == Some(self.delivered) {
                self.reached("an outcome was delivered twice");
                self.apply(&replica, &event, None)?;
            }
            return Ok(());
        }
        let claimed = self.work[at].claimed.clone();
        match self.perform(&claimed)? {
            Some(outcome) => self.work[at].outcome = Some(outcome),
            None => drop(self.work.swap_remove(at)),
        }
        Ok(())
    }

    fn perform(&mut self, claimed: &Claimed) -> Alive<Option<Outcome>> {
        let effect = claimed.intent.effect.clone();
        let stored = now(self.store.intents()).unwrap_or_default();
        let ours = stored.iter().any(|i| i.intent.id == claimed.intent.id && i.fence == claimed.fence);
        if !ours {
            return Ok(None); // The lease ran out, and somebody else has it or has ended it.
        }
        if effect.once() {
            if claimed.begun_before && self.setup.variant == Variant::FindThenCreate {
                if let Effect::Create { bid } = &effect
                    && let Some(found) = self.cloud.list(bid, self.now, false)
                {
                    return Ok(Some(Outcome::Created(Box::new(found))));
                }
            } else if claimed.begun_before {
                self.reached("a create was begun before and its end unknown");
                return Ok(Some(Outcome::Unknown));
            } else if now(self.store.begin(&claimed.intent.id, claimed.fence, self.clock())).unwrap_or(Begun::No) == Begun::No {
                return Ok(None);
            }
            self.crash_here()?;
        }
        self.out.effects += 1;
        self.trace(effect.kind());
        let (mut done, mut lost) = (true, false);
        if self.faults {
            (done, lost) =
                [(true, false), (true, false), (true, false), (true, true), (false, false), (false, true)][self.rng.index(6)];
        }
        if self.is_out() {
            self.reached("the provider answered nothing for a long time");
            (done, lost) = (false, true);
        }
        // Now and then a create takes effect long after its caller has given it up.
        if self.faults
            && lost
            && !done
            && self.rng.chance(30)
            && let Effect::Create { bid } = &effect
        {
            self.reached("a create took effect long after its answer was lost");
            let at = self.now + Span::s(self.rng.between(0, 400));
            self.cloud.create_late(bid.clone(), at);
        }
        let outcome = self.take_effect(&claimed.intent.replica, &effect, done);
        self.crash_here()?;
        Ok(Some(if lost { self.lost(&effect) } else { outcome }))
    }
}
