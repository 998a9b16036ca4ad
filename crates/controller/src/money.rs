//! Money as the controller counts it: what was spent, what is running up, and what the limits leave.

use crate::controller::Controller;
use charter_domain::budget::{Budget, Spend};
use charter_domain::ids::DeploymentId;
use charter_domain::money::Usd;
use charter_store::Error;

impl Controller {
    /// What one deployment, or everything, has cost since a time: ended rentals, and those that run on up to now.
    ///
    /// # Errors
    /// What the store says.
    pub async fn spent(&self, of: Option<&DeploymentId>, since: charter_domain::time::Time) -> Result<Usd, Error> {
        let ended = self.store().spent(of, since).await?;
        let open = self.store().replicas(None).await?;
        let mine = open.iter().map(|(row, _)| &row.state).filter(|r| of.is_none_or(|id| r.deployment == *id));
        let running = mine.filter_map(|r| Some(Spend::of(&r.deployment, &r.id, r.instance()?, self.now()).amount));
        Ok(running.fold(ended, Usd::plus))
    }

    /// The limits that the server was started with.
    #[must_use]
    pub fn budgets(&self) -> &[Budget] {
        &self.0.parts.settings.budgets
    }

    /// The budgets with what is already spent taken off.
    pub(crate) async fn budgets_left(&self) -> Result<Vec<Budget>, Error> {
        let mut left = vec![];
        for budget in &self.0.parts.settings.budgets {
            let spent = self.spent(None, budget.scope.since(self.now())).await?;
            left.push(Budget { hard: Usd(budget.hard.0.saturating_sub(spent.0).max(0)), ..*budget });
        }
        Ok(left)
    }

    /// The limit that leaves nothing for anything that costs money, in words; looked at before a search is begun.
    pub(crate) async fn exhausted(&self) -> Result<Option<String>, Error> {
        let left = self.budgets_left().await?;
        let gone = left.iter().zip(&self.0.parts.settings.budgets).find(|(left, _)| left.hard.0 == 0);
        Ok(gone.map(|(_, budget)| {
            let scope = format!("{:?}", budget.scope).to_lowercase();
            format!("the budget `{scope}` leaves nothing: its hard limit is {}", budget.hard)
        }))
    }
}
