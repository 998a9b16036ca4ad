//! The sweep: what carries our tag at a provider and belongs to no open replica is ended. It is the second half of the
//! promise that nothing is left behind: a create call that took effect after we had given it up is found here. What follows from
//! the lists is decided in `domain::sweep`.

use crate::controller::Controller;
use charter_domain::ids::DeploymentId;
use charter_domain::inventory::Held;
use charter_domain::replica::Replica;
use charter_domain::sweep::{Judgement, List, Memory, Records, Restored, TOMBSTONE_KEPT, judge};
use charter_domain::time::{Span, Time};
use charter_store::{Commit, Error, Tombstone};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// How often the providers are asked for what they hold.
const PERIOD: Span = Span::min(2);
/// While a list is not believed it is asked for again so often, and sooner where somebody waits for it.
const PERIOD_FROZEN: Span = Span::s(15);
/// The shortest time between two lists.
const GAP: Span = Span::s(2);
/// Where the store keeps what is known of a restored backup.
const RESTORED: &str = "restored";

/// Looks after an end by hand.
const LOOKS: u32 = 10;

/// Why an instance was not ended.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// Nothing of that name is quarantined.
    #[error("it is not there")]
    NotThere,
    /// The provider says no, or says nothing.
    #[error("{0}")]
    Provider(String),
}

impl Controller {
    pub(crate) fn spawn_sweep(&self) {
        let (this, memory) = (self.clone(), Arc::new(tokio::sync::Mutex::new((Memory::default(), Time(i64::MIN)))));
        self.0.tasks.background(&self.0.ended, "sweep", PERIOD_FROZEN, move || {
            let (this, memory) = (this.clone(), memory.clone());
            async move {
                let (memory, last) = &mut *memory.lock().await;
                // Lists are long: they are asked for seldom, unless something waits for one.
                let asked = this.0.look_around.load(Ordering::SeqCst);
                let gap = if this.swept().suspicious.is_empty() && !asked { PERIOD } else { GAP };
                if (Time(i64::MIN + 1)..=this.now()).contains(last) && this.now().since(*last) < gap {
                    return Ok(this.swept_says());
                }
                *last = this.now();
                this.0.look_around.store(false, Ordering::SeqCst);
                this.sweep(memory).await.map_err(|e| e.to_string())
            }
        });
    }

    /// Looks at the providers as soon as they let themselves be asked, and not only when the time has come.
    pub fn look_around(&self) {
        self.0.look_around.store(true, Ordering::SeqCst);
        self.0.tasks.wake("sweep");
    }

    /// What the last sweep found.
    #[must_use]
    pub fn swept(&self) -> Judgement {
        self.0.swept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has a provider accepted our key since this process started?
    #[must_use]
    pub fn proven(&self, provider: &str) -> bool {
        self.0.proven.lock().unwrap_or_else(PoisonError::into_inner).contains(provider)
    }

    fn swept_says(&self) -> String {
        let judged = self.swept();
        let mut said = format!("{} strays, {} shown", judged.strays, judged.quarantined.len());
        if judged.braked > 0 {
            said.push_str(&format!(", {} held back by the brake", judged.braked));
        }
        judged.suspicious.iter().for_each(|(name, why)| said.push_str(&format!("; nothing new is rented at `{name}`: {why}")));
        said
    }

    /// Lists the providers first and reads our records second: records can only be newer.
    pub(crate) async fn sweep(&self, memory: &mut Memory) -> Result<String, Error> {
        if !self.mine("sweep") {
            *memory = Memory::default();
            *self.0.swept.lock().unwrap_or_else(PoisonError::into_inner) = Judgement::default();
            return Ok("another control plane sweeps".to_owned());
        }
        let mut lists = vec![];
        for provider in self.providers() {
            let held = provider.inventory().await.map_err(|e| e.to_string());
            if held.is_ok() {
                self.0.proven.lock().unwrap_or_else(PoisonError::into_inner).insert(provider.name().to_owned());
            }
            lists.push(List { provider: provider.name().to_owned(), rented: provider.descriptor().rented, held });
        }
        let open: Vec<Replica> = self.store().replicas(None).await?.into_iter().map(|(row, _)| row.state).collect();
        let stones = self.store().tombstones(Time(self.now().0.saturating_sub(TOMBSTONE_KEPT.0))).await?;
        let gone: BTreeSet<_> = stones.into_iter().map(|s| (s.provider, s.instance)).collect();
        let records = Records { installation: &self.0.parts.installation, open: &open, gone, restored: self.restored().await? };
        let judged = judge(memory, &lists, &records, self.now());
        for (name, held) in &judged.end {
            // It has no record of its own, and may come back without its label.
            let tag = held.tag.as_ref().map(ToString::to_string).unwrap_or_default();
            let stone = Tombstone { provider: name.clone(), instance: held.id.clone(), tag, gone_at: self.now() };
            self.store().commit(Commit { tombstones: vec![stone], ..Commit::default() }).await?;
            if self.end_stray(name, held).await {
                memory.ended(self.now());
            }
        }
        self.tell(&judged);
        *self.0.swept.lock().unwrap_or_else(PoisonError::into_inner) = judged;
        Ok(self.swept_says())
    }

    /// Ends what is quarantined, by a person's word, and looks whether it is gone.
    ///
    /// # Errors
    /// It is not there, or its provider does not end it.
    pub async fn end_quarantined(&self, provider: &str, id: &str, by: &str) -> Result<(), EndError> {
        let found = self.swept().quarantined.into_iter().find(|q| q.provider == provider && q.held.id == id);
        let (Some(found), Some(at)) = (found, self.provider(provider)) else { return Err(EndError::NotThere) };
        let told = |e: charter_providers::ProviderError| EndError::Provider(e.to_string());
        at.destroy_stray(found.held.tag.as_ref(), id).await.map_err(told)?;
        for _ in 0..LOOKS {
            let (held, whole) = at.inventory().await.map_err(told)?;
            if whole && !held.iter().any(|h| h.id == id) {
                let text = format!("`{by}` said to end the quarantined instance `{id}` at `{provider}`, and it is gone");
                tracing::warn!(provider, id, by, "a quarantined instance was ended");
                self.0
                    .swept
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .quarantined
                    .retain(|q| q.provider != provider || q.held.id != id);
                return self.write_down(&DeploymentId(String::new()), text).await.map_err(|e| EndError::Provider(e.to_string()));
            }
            tokio::time::sleep(GAP.std()).await;
        }
        Err(EndError::Provider("it was told to end, and its list shows it still".to_owned()))
    }

    async fn end_stray(&self, name: &str, held: &Held) -> bool {
        let Some(provider) = self.provider(name) else { return false };
        match provider.destroy_stray(held.tag.as_ref(), &held.id).await {
            Ok(()) => {
                tracing::warn!(provider = name, id = held.id, label = held.label, "a stray was ended");
                true
            }
            Err(error) => {
                tracing::warn!(%error, provider = name, id = held.id, "a stray could not be ended; it is tried again");
                false
            }
        }
    }

    /// What people should know is logged once, when it begins.
    fn tell(&self, judged: &Judgement) {
        let before = self.swept();
        for (name, why) in judged.suspicious.iter().filter(|(name, _)| !before.suspicious.contains_key(*name)) {
            tracing::warn!(provider = name, why, "nothing new is rented there until its list is clear again");
        }
        for shown in judged.quarantined.iter().filter(|q| !before.quarantined.contains(q)) {
            tracing::warn!(provider = shown.provider, id = shown.held.id, price = %shown.held.price, why = shown.why, "not touched");
        }
        if judged.braked > before.braked {
            tracing::warn!(held_back = judged.braked, "many strays at once: they are ended a few at a time");
        }
        if before.suspicious != judged.suspicious {
            self.changed();
        }
    }

    /// Why nothing new is rented at a provider, if that is so. Who waits for it has the list looked at again soon.
    pub(crate) fn frozen(&self, provider: &str) -> Option<String> {
        let own = self.swept().suspicious.get(provider).cloned();
        let why = own.or_else(|| self.suspected_by_others(provider))?;
        self.0.tasks.wake("sweep");
        Some(format!("nothing new is rented at `{provider}` for now: {why}"))
    }

    async fn restored(&self) -> Result<Option<Restored>, Error> {
        let text = self.store().meta(RESTORED, "").await?;
        Ok(serde_json::from_str(&text).ok())
    }
}
