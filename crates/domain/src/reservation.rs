//! Money set aside for a rental: made in the same commit as the intent that may spend it, renewed while it runs, and held
//! against every limit together with what was spent before.

use crate::budget::{Budget, OverBudget, Scope};
use crate::ids::{DeploymentId, ReplicaId};
use crate::instance::Instance;
use crate::money::{Usd, UsdPerHour};
use crate::time::{Span, Time};
use serde::{Deserialize, Serialize};

/// What a rental may cost: its price from its beginning until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Who it is for.
    pub deployment: DeploymentId,
    /// Who pays.
    pub tenant: String,
    /// The replica whose rental may spend it. It holds one reservation at a time.
    pub replica: ReplicaId,
    /// The most that an hour may cost.
    pub price: UsdPerHour,
    /// When the rental was ordered.
    pub from: Time,
    /// Until when it may run.
    pub until: Time,
}

/// What a rental that has ended did cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Whose it was.
    pub deployment: DeploymentId,
    /// Who pays.
    pub tenant: String,
    /// The replica.
    pub replica: ReplicaId,
    /// Where it was rented; empty for what was written down before that was.
    pub provider: String,
    /// The provider's id of what was rented.
    pub instance: String,
    /// From when it was ours.
    pub from: Time,
    /// When it was seen to be gone.
    pub until: Time,
    /// The price over that time, rounded up.
    pub amount: Usd,
}

/// Whose money is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    All,
    /// One tenant's.
    Tenant(String),
    /// One deployment's.
    Deployment(DeploymentId),
}

/// A wish to set money aside, with the limits that may refuse it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The limits.
    pub budgets: Vec<Budget>,
    /// What is asked for; it replaces what its replica holds.
    pub reservation: Reservation,
    /// The present time, which decides what day and month it is.
    pub now: Time,
}

impl Whose {
    /// Does it count what this deployment of this tenant spends?
    #[must_use]
    pub fn counts(&self, deployment: &DeploymentId, tenant: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(name) => name == tenant,
            Self::Deployment(id) => id == deployment,
        }
    }
}

impl Reservation {
    /// How much of it counts from `since` on.
    #[must_use]
    pub fn amount(&self, since: Time) -> Usd {
        self.price.cost(self.until.since(self.from.max(since)))
    }
}

impl Spend {
    /// What an instance that is ours since `from` has cost until `until`.
    #[must_use]
    pub fn of(deployment: &DeploymentId, tenant: &str, replica: &ReplicaId, instance: &Instance, until: Time) -> Self {
        Self {
            deployment: deployment.clone(),
            tenant: tenant.to_owned(),
            replica: replica.clone(),
            provider: instance.placement.offer.provider.clone(),
            instance: instance.id.clone(),
            from: instance.since,
            until,
            amount: instance.placement.offer.price.cost(until.since(instance.since)),
        }
    }

    /// How much of it counts from `since` on: in proportion to its time, rounded up.
    #[must_use]
    pub fn amount_since(&self, since: Time) -> Usd {
        part(self.amount, self.from, self.until, since)
    }
}

/// The part of an amount, spent evenly from `from` to `until`, that falls after `since`; rounded up.
#[must_use]
pub fn part(amount: Usd, from: Time, until: Time, since: Time) -> Usd {
    if since <= from {
        return amount;
    }
    let whole = i128::from(until.since(from).0);
    if whole == 0 || since >= until {
        return Usd(0);
    }
    let scaled = i128::from(amount.0) * i128::from(until.since(since).0);
    Usd(i64::try_from((scaled + whole - 1).div_euclid(whole)).unwrap_or(i64::MAX))
}

/// Whose money a limit counts for a reservation; `None` where it counts each rental by itself.
#[must_use]
pub fn whose(scope: Scope, reservation: &Reservation) -> Option<Whose> {
    match scope {
        Scope::Total | Scope::Day | Scope::Month => Some(Whose::All),
        Scope::Tenant => Some(Whose::Tenant(reservation.tenant.clone())),
        Scope::Deployment => Some(Whose::Deployment(reservation.deployment.clone())),
        Scope::Rental => None,
    }
}

/// Would it stay within a limit? `others` are the reservations of all other replicas, `spent` what ended rentals of [`whose`]
/// have cost since the scope's beginning.
///
/// # Errors
/// The limit, with what was committed before and what was asked for.
pub fn admit(budget: &Budget, asked: &Asked, others: &[Reservation], spent: Usd) -> Result<(), OverBudget> {
    let since = budget.scope.since(asked.now);
    let amount = asked.reservation.amount(since);
    if amount.0 == 0 {
        return Ok(());
    }
    let committed = match whose(budget.scope, &asked.reservation) {
        None => Usd(0),
        Some(whose) => {
            let mine = others.iter().filter(|r| whose.counts(&r.deployment, &r.tenant));
            mine.fold(spent, |sum, r| sum.plus(r.amount(since)))
        }
    };
    if committed.plus(amount) > budget.hard {
        return Err(OverBudget { budget: *budget, committed, asked: amount });
    }
    Ok(())
}

/// For how long a rental at `price` may run, counted from `from`, before it uses up what a refusal has left.
#[must_use]
pub fn room(over: &OverBudget, price: UsdPerHour) -> Span {
    let left = i128::from(over.budget.hard.0.saturating_sub(over.committed.0).max(0));
    let price = i128::from(price.0.max(1));
    Span(i64::try_from(left * 3_600_000 / price).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::BUILT_IN;

    const HOUR: i64 = 3_600_000;

    fn reservation(deployment: &str, tenant: &str, price: i64, from_h: i64, until_h: i64) -> Reservation {
        Reservation {
            deployment: DeploymentId(deployment.into()),
            tenant: tenant.into(),
            replica: ReplicaId(format!("rep_{deployment}")),
            price: UsdPerHour(price),
            from: Time(from_h * HOUR),
            until: Time(until_h * HOUR),
        }
    }

    fn asked(reservation: Reservation) -> Asked {
        Asked { budgets: vec![], now: reservation.from, reservation }
    }

    fn budget(scope: Scope, hard: i64) -> Budget {
        Budget { scope, hard: Usd(hard), ..BUILT_IN }
    }

    #[test]
    fn a_free_machine_is_never_refused_and_a_zero_limit_refuses_every_other() {
        let none = budget(Scope::Total, 0);
        assert!(admit(&none, &asked(reservation("a", "t", 0, 0, 1)), &[], Usd(0)).is_ok());
        assert!(admit(&none, &asked(reservation("a", "t", 1, 0, 1)), &[], Usd(0)).is_err());
    }

    #[test]
    fn the_limit_itself_may_be_spent_and_not_one_micro_dollar_more() {
        let others = [reservation("b", "t", 150, 0, 1)];
        let limit = budget(Scope::Month, 450);
        assert!(admit(&limit, &asked(reservation("a", "t", 100, 0, 1)), &others, Usd(200)).is_ok());
        let over = admit(&limit, &asked(reservation("a", "t", 101, 0, 1)), &others, Usd(200)).expect_err("one too many");
        assert_eq!((over.committed, over.asked), (Usd(350), Usd(101)));
        assert_eq!(room(&over, UsdPerHour(200)), Span(HOUR / 2));
    }

    #[test]
    fn each_scope_counts_its_own() {
        let others = [reservation("b", "lab", 100, 0, 1), reservation("c", "shop", 100, 0, 1)];
        let mine = asked(reservation("a", "lab", 100, 0, 1));
        for (scope, hard, fits) in [
            (Scope::Total, 300, true),
            (Scope::Total, 299, false),
            (Scope::Tenant, 200, true),
            (Scope::Tenant, 199, false),
            (Scope::Deployment, 100, true),
            (Scope::Deployment, 99, false),
            (Scope::Rental, 100, true),
            (Scope::Rental, 99, false),
        ] {
            assert_eq!(admit(&budget(scope, hard), &mine, &others, Usd(0)).is_ok(), fits, "{scope:?} {hard}");
        }
    }

    #[test]
    fn a_day_counts_what_falls_into_it() {
        // Ordered four hours before midnight; set aside until two hours after it.
        let mut wish = asked(reservation("a", "t", 100, 20, 26));
        wish.now = Time(25 * HOUR);
        assert!(admit(&budget(Scope::Day, 200), &wish, &[], Usd(0)).is_ok());
        assert!(admit(&budget(Scope::Total, 599), &wish, &[], Usd(0)).is_err());
        assert_eq!(part(Usd(600), Time(20 * HOUR), Time(26 * HOUR), Time(24 * HOUR)), Usd(200));
        assert_eq!(part(Usd(601), Time(20 * HOUR), Time(26 * HOUR), Time(24 * HOUR)), Usd(201), "never counted too low");
        assert_eq!(part(Usd(600), Time(0), Time(HOUR), Time(2 * HOUR)), Usd(0));
    }
}
