//! The sweep: what carries our tag at a provider and belongs to no open replica is ended. It is the second half of the
//! promise that nothing is left behind: a create call that took effect after we had given it up is found here.

use crate::controller::Controller;
use charter_domain::ids::Tag;
use charter_domain::invariants::accounts_for;
use charter_domain::replica::Replica;
use charter_domain::time::Span;
use charter_store::Error;
use std::collections::BTreeSet;

impl Controller {
    pub(crate) fn spawn_sweep(&self) {
        let this = self.clone();
        let suspects = std::sync::Arc::new(tokio::sync::Mutex::new(BTreeSet::new()));
        self.0.tasks.background(&self.0.ended, "sweep", Span::min(2), move || {
            let (this, suspects) = (this.clone(), suspects.clone());
            async move { this.sweep(&mut *suspects.lock().await).await.map_err(|e| e.to_string()) }
        });
    }

    /// Lists the providers first and our records second: records can only be newer. A stray is ended when two sweeps in a
    /// row have found it, so that nothing under way is ever mistaken for one.
    async fn sweep(&self, suspects: &mut BTreeSet<(Tag, String, String)>) -> Result<String, Error> {
        if !self.mine("sweep") {
            suspects.clear();
            return Ok("another control plane sweeps".to_owned());
        }
        let owner = Tag::owner_prefix(&self.0.parts.installation);
        let mut listed = vec![];
        for provider in self.providers() {
            let found = provider.list(&owner).await;
            listed.extend(found.tags.into_iter().map(|(tag, host)| (tag, host, provider.name().to_owned())));
        }
        let open = self.store().replicas(None).await?;
        // A second instance under a tag that is in use is a stray too: somebody has repeated an order.
        let other = |replica: &Replica, host: &str| {
            let held = replica.instance().filter(|i| i.placement.order.is_some());
            held.is_some_and(|i| i.id != host)
        };
        let known =
            |tag: &Tag, host: &str| open.iter().any(|(r, _)| accounts_for(&r.state, &tag.to_string()) && !other(&r.state, host));
        let strays: BTreeSet<_> = listed.into_iter().filter(|(tag, host, _)| !known(tag, host)).collect();
        let mut ended = 0;
        for stray in strays.intersection(suspects) {
            let (tag, host, name) = stray;
            let Some(provider) = self.provider(name) else { continue };
            match provider.destroy_stray(tag, host).await {
                Ok(()) => ended += 1,
                Err(error) => tracing::warn!(%error, %tag, host, "a stray could not be ended; it is tried again"),
            }
        }
        let said = format!("{} strays seen, {ended} ended", strays.len());
        *suspects = strays;
        Ok(said)
    }
}
