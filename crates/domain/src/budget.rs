//! Limits on money. A reservation is made in the same commit as the intent that may spend it.

use crate::ids::{DeploymentId, ReplicaId};
use crate::money::{Usd, UsdPerHour};
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Everything, for ever.
    Total,
    /// One calendar day, UTC.
    Day,
    /// One calendar month, UTC.
    Month,
    /// One tenant.
    Tenant,
    /// One deployment.
    Deployment,
    /// One rental.
    Rental,
}

/// Three marks on one scope; only `hard` refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// What is counted.
    pub scope: Scope,
    /// Where spending should stay.
    pub target: Usd,
    /// Where people are told.
    pub alert: Usd,
    /// Where charter refuses.
    pub hard: Usd,
}

/// The built-in budget: 100, 150 and 200 dollars a month.
pub const BUILT_IN: Budget =
    Budget { scope: Scope::Month, target: Usd(100_000_000), alert: Usd(150_000_000), hard: Usd(200_000_000) };

/// Money set aside before a rental may begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Who it is for.
    pub deployment: DeploymentId,
    /// The replica whose rental may spend it.
    pub replica: ReplicaId,
    /// How much.
    pub amount: Usd,
}

/// Why money refused a rental.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// The budget that refused.
    pub budget: Budget,
    /// What was committed before.
    pub committed: Usd,
    /// What was asked for.
    pub asked: Usd,
}

/// The worst cost of a rental that must be set aside: the price over the time it may run before it is looked at again.
#[must_use]
pub fn worst_cost(price: UsdPerHour, horizon: Span) -> Usd {
    price.cost(horizon)
}

/// Would `asked` on top of `committed` stay within every hard limit?
///
/// # Errors
/// The first budget that says no.
pub fn admit(budgets: &[Budget], committed: Usd, asked: Usd) -> Result<(), OverBudget> {
    if asked.0 == 0 {
        return Ok(());
    }
    match budgets.iter().find(|b| committed.plus(asked) > b.hard) {
        Some(budget) => Err(OverBudget { budget: *budget, committed, asked }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_machine_is_never_refused_and_a_zero_limit_refuses_every_other() {
        let none = Budget { hard: Usd(0), ..BUILT_IN };
        assert!(admit(&[none], Usd(0), Usd(0)).is_ok());
        assert!(admit(&[none], Usd(0), Usd(1)).is_err());
    }

    #[test]
    fn the_limit_itself_may_be_spent_and_not_one_micro_dollar_more() {
        assert!(admit(&[BUILT_IN], Usd(199_000_000), Usd(1_000_000)).is_ok());
        assert!(admit(&[BUILT_IN], Usd(199_000_000), Usd(1_000_001)).is_err());
    }
}
