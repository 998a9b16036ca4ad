//! When rented machines get no requests any more, though they may still run: somebody says so, a limit on money is reached, or a
//! day costs more than any day should. What stands behind them in a route's chain answers then.

use crate::controller::Controller;
use charter_domain::budget::Scope;
use charter_domain::deployment::Deployment;
use charter_domain::money::Usd;
use charter_domain::routing::Backend;
use charter_store::Error;
use std::sync::PoisonError;

/// Where it is kept that somebody said so.
const SWITCH: &str = "switch:rented";

impl Controller {
    /// Says whether rented machines get requests, and who says so.
    ///
    /// # Errors
    /// What the store says.
    pub async fn switch_rented(&self, on: bool, by: &str) -> Result<(), Error> {
        if on {
            self.store().remove_meta(SWITCH).await?;
        } else {
            self.store().put_meta(SWITCH, by).await?;
        }
        self.judge_rented().await?;
        self.publish().await?;
        Ok(())
    }

    /// Why rented machines get no requests at present.
    #[must_use]
    pub fn rented_closed(&self) -> Option<String> {
        self.0.closed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds out whether they do, and lets routes follow.
    pub(crate) async fn judge_rented(&self) -> Result<(), Error> {
        let found = self.why_closed().await?;
        let mut known = self.0.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == found {
            return Ok(());
        }
        match &found {
            Some(why) => tracing::error!(why, "rented machines get no requests any more"),
            None => tracing::warn!("rented machines get requests again"),
        }
        *known = found;
        drop(known);
        self.0.tasks.wake("routes");
        Ok(())
    }

    async fn why_closed(&self) -> Result<Option<String>, Error> {
        if let Some((_, by)) = self.store().metas(SWITCH).await?.into_iter().next() {
            return Ok(Some(format!("`{by}` switched them off: `charter rented on` switches them on again")));
        }
        for account in self.accounts().await? {
            let budget = account.budget;
            // Rentals are ended a little before their money is.
            let whole = matches!(budget.scope, Scope::Total | Scope::Month | Scope::Day);
            if whole
                && account.spent.max(account.committed) >= budget.hard
                && budget.hard.0 > 0
                && account.spent.0 > 0
                && account.spent.0.saturating_mul(20) >= budget.hard.0.saturating_mul(19)
            {
                let scope = budget.scope.as_str();
                return Ok(Some(format!("the budget `{scope}` has reached its hard limit of {}", budget.hard)));
            }
        }
        let most = self.0.parts.settings.runaway;
        let today = self.spent(None, Scope::Day.since(self.now())).await?;
        Ok((today > most && most > Usd(0))
            .then(|| format!("today's machines have cost {today}, more than the {most} that a day may (`runaway-usd-per-day`)")))
    }

    /// A backend as routes may use it at present.
    pub(crate) fn open_or_closed(&self, backend: Backend, of: &Deployment) -> Backend {
        // What is being looked for has no price yet.
        let rented = backend.rent.0 > 0 || (backend.starting && self.rents(of));
        if !rented || self.rented_closed().is_none() {
            return backend;
        }
        // Nobody waits for what will not come.
        Backend { ready: false, starting: false, asleep: false, kept: false, ..backend }
    }
}
