//! Money of keys, drawn for a gateway; and requests that are forgotten one by one when they are old.

use crate::controller::Controller;
use charter_domain::money::Usd;
use charter_domain::time::{Span, Time};
use charter_store::Error;

/// Single requests are kept for so long; their sums for ever.
const USED_KEPT: Span = Span::min(30 * 24 * 60);
const PERIOD: Span = Span::min(60);

impl Controller {
    /// Draws at most so much of what the limits of a key leave today. A key that is gone has nothing.
    ///
    /// # Errors
    /// What the store says.
    pub async fn draw(&self, key: &str, want: Usd) -> Result<Usd, Error> {
        if let Some(provider) = key.strip_prefix("provider:") {
            let hosted = self.0.parts.settings.hosted.iter().filter_map(|b| b.hosted.as_ref());
            let Some(found) = hosted.into_iter().find(|h| h.provider == provider) else { return Ok(Usd(0)) };
            return self.store().draw(key, &found.limits, want, self.now()).await;
        }
        let keys = self.store().keys().await?;
        match keys.into_iter().find(|k| k.id.0 == key) {
            Some(key) => self.store().draw(&key.id.0, &key.limits, want, self.now()).await,
            None => Ok(Usd(0)),
        }
    }

    pub(crate) fn spawn_forgetting(&self) {
        let this = self.clone();
        self.0.tasks.background(&self.0.ended, "usage", PERIOD, move || {
            let this = this.clone();
            async move {
                let before = Time(this.now().0.saturating_sub(USED_KEPT.0));
                this.store().forget_used(before).await.map_err(|e| e.to_string())?;
                Ok("single requests are kept for 30 days".to_owned())
            }
        });
    }
}
