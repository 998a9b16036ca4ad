//! The controller without tasks and timers: somebody calls each of its turns, one after the other, and moves the clock between
//! them. Simulations run the real code in this way; nothing here decides anything.

use crate::controller::Controller;
use charter_domain::ids::ReplicaId;
use charter_domain::look::Look;
use charter_domain::step::Event;
use charter_domain::sweep::Memory;
use charter_domain::time::{Span, Time};
use charter_store::{Claimed, Error};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What is to be done by hand.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    /// Claimed, with the time of the claim.
    work: Mutex<Vec<(Claimed, Time)>>,
    /// When each replica wants to look.
    looks: Mutex<BTreeMap<ReplicaId, Time>>,
}

impl Hands {
    pub(crate) fn take(&self, claimed: Claimed, at: Time) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).push((claimed, at));
    }

    pub(crate) fn look(&self, id: &ReplicaId, at: Time) {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), at);
    }
}

impl Controller {
    fn hands(&self) -> Option<&Hands> {
        self.0.hands.as_ref()
    }

    /// Work that was claimed and not performed yet.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.hands().map_or(0, |h| h.work.lock().unwrap_or_else(PoisonError::into_inner).len())
    }

    /// Looks that are due, and when the next one is.
    #[must_use]
    pub fn looks_due(&self) -> (Vec<ReplicaId>, Option<Time>) {
        let (Some(hands), now) = (self.hands(), self.now()) else { return (vec![], None) };
        let looks = hands.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let due = looks.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        (due, looks.values().min().copied())
    }

    /// Takes over what is due.
    ///
    /// # Errors
    /// What the store says.
    pub async fn turn_claim(&self) -> Result<(), String> {
        self.claim_due().await.map(drop)
    }

    /// Performs one piece of work and records it.
    pub async fn turn_perform(&self, at: usize) {
        let taken = self.hands().map(|h| h.work.lock().unwrap_or_else(PoisonError::into_inner).swap_remove(at));
        let Some((claimed, since)) = taken else { return };
        self.perform_and_record(claimed, since).await;
    }

    /// One look of one replica.
    ///
    /// # Errors
    /// What the store says.
    pub async fn turn_look(&self, id: &ReplicaId) -> Result<(), Error> {
        let Some(hands) = self.hands() else { return Ok(()) };
        // Whatever goes wrong, it is looked at again.
        hands.look(id, self.now() + Span::s(2));
        let forget = || {
            hands.looks.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        };
        let Some(row) = self.store().replica(id).await? else {
            forget();
            return Ok(());
        };
        let Some(look) = row.state.look().filter(|_| !row.state.phase.is_closed()) else {
            forget();
            return Ok(());
        };
        if !self.my_deployment(&row.state.deployment) {
            return Ok(());
        }
        let asks_for_offers = matches!(look, Look::Offers);
        let sight = self.see(&row.state, look).await;
        let wake_at = self.apply(id, Event::Saw(sight), None).await?;
        match wake_at {
            Some(at) => hands.look(id, at.max(self.now() + Span::ms(if asks_for_offers { 500 } else { 20 }))),
            None => forget(),
        }
        Ok(())
    }

    /// Plans everything.
    ///
    /// # Errors
    /// What the store says.
    pub async fn turn_plan(&self) -> Result<(), Error> {
        self.plan_all().await.map(drop)
    }

    /// Publishes routes.
    ///
    /// # Errors
    /// What the store says.
    pub async fn turn_routes(&self) -> Result<(), Error> {
        self.publish().await.map(drop)
    }

    /// Renews what is set aside, or ends what cannot be paid.
    ///
    /// # Errors
    /// What the store says.
    pub async fn turn_money(&self) -> Result<(), Error> {
        self.renew_all().await.map(drop)
    }

    /// Ends what answers nobody.
    ///
    /// # Errors
    /// What the store says.
    pub async fn turn_keep_alive(&self) -> Result<(), Error> {
        self.end_idle().await.map(drop)
    }

    /// Sweeps.
    ///
    /// # Errors
    /// What the store says.
    pub async fn turn_sweep(&self, memory: &mut Memory) -> Result<(), Error> {
        self.sweep(memory).await.map(drop)
    }

    /// Meets the other control planes.
    ///
    /// # Errors
    /// What the store says.
    pub async fn turn_meet(&self) -> Result<(), Error> {
        self.meet().await.map(drop)
    }
}
