//! Limits that were lowered, and prices that rose: what runs is looked at again, and who must end earlier is ended.

use crate::controller::Controller;
use crate::money::{END_BEFORE, owners, paid};
use charter_domain::budget::OverBudget;
use charter_domain::cutback::{Rental, cutback};
use charter_domain::deployment::Deployment;
use charter_domain::ids::ReplicaId;
use charter_domain::money::Usd;
use charter_domain::reservation::Reservation;
use charter_store::Error;

impl Controller {
    /// Ends what runs on beyond what the limits leave.
    pub(crate) async fn cut_back(&self) -> Result<(), Error> {
        let rentals = self.rentals().await?;
        if rentals.is_empty() {
            return Ok(());
        }
        let deployments: Vec<Deployment> = self.store().deployments().await?.into_iter().map(|row| row.state).collect();
        let now = self.now();
        for budget in self.budgets() {
            for (_, whose) in owners(budget.scope, &deployments) {
                let counted = rentals.iter().filter(|r| whose.counts(&r.reservation.deployment, &r.reservation.tenant));
                let mine: Vec<Rental> = counted.cloned().collect();
                if mine.is_empty() {
                    continue;
                }
                let spent = self.store().spent(&whose, budget.scope.since(now)).await?;
                let all = cutback(budget, &mine, spent, now, END_BEFORE);
                let over = all.iter().filter(|(_, until)| until.since(now) <= END_BEFORE);
                for (replica, _) in over {
                    let committed = mine.iter().fold(spent, |sum, r| sum.plus(r.reservation.amount(budget.scope.since(now))));
                    let over = OverBudget { budget: *budget, committed, asked: Usd(0) };
                    self.end_one(replica, &mine, &deployments, &over).await?;
                }
            }
        }
        Ok(())
    }

    async fn end_one(&self, id: &ReplicaId, of: &[Rental], all: &[Deployment], over: &OverBudget) -> Result<(), Error> {
        let owner = of.iter().find(|r| r.reservation.replica == *id).map(|r| &r.reservation.deployment);
        let deployment = all.iter().find(|d| Some(&d.id) == owner).filter(|d| self.my_deployment(&d.id));
        match deployment {
            Some(deployment) => self.end_for_money(deployment, over).await,
            None => Ok(()),
        }
    }

    /// What is paid for and has money set aside, at the higher one of the two prices.
    async fn rentals(&self) -> Result<Vec<Rental>, Error> {
        let held = self.store().reservations().await?;
        if held.is_empty() {
            return Ok(vec![]);
        }
        let open = self.store().replicas(None).await?;
        let rental = |reservation: Reservation| {
            let replica = open.iter().map(|(row, _)| &row.state).find(|r| r.id == reservation.replica);
            let price = replica.and_then(|r| paid(r.instance())).map_or(reservation.price, |(price, _)| price);
            let leaving = replica.is_none_or(|r| r.stop.is_some());
            let price = reservation.price.max(price);
            Rental { reservation: Reservation { price, ..reservation }, leaving }
        };
        Ok(held.into_iter().map(rental).collect())
    }
}
