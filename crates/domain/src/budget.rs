//! Limits on money: what they count, and from when on.

use crate::money::Usd;
use crate::time::Time;
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

impl Scope {
    /// Its name in the configuration and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Day => "day",
            Self::Month => "month",
            Self::Tenant => "tenant",
            Self::Deployment => "deployment",
            Self::Rental => "rental",
        }
    }

    /// From when on what was spent counts in this scope: the beginning of the day or month in UTC, or all of it.
    #[must_use]
    pub const fn since(self, now: Time) -> Time {
        const DAY: i64 = 86_400_000;
        let days = now.0.div_euclid(DAY);
        match self {
            Self::Day => Time(days * DAY),
            Self::Month => Time((days - day_of_month(days) + 1) * DAY),
            Self::Total | Self::Tenant | Self::Deployment | Self::Rental => Time(0),
        }
    }
}

/// The day of the month, from 1, of a day counted from 1 January 1970: the civil calendar, reckoned in years from March.
const fn day_of_month(days: i64) -> i64 {
    let shifted = days + 719_468;
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month + 2) / 5 + 1
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_begin_at_midnight_in_utc() {
        // 2026-11-21T14:06:46Z, 2026-11-01 and 2026-11-21 at midnight; and a leap day.
        let now = Time(1_795_270_006_000);
        assert_eq!(Scope::Month.since(now), Time(1_793_491_200_000));
        assert_eq!(Scope::Day.since(now), Time(1_795_219_200_000));
        assert_eq!(Scope::Month.since(Time(951_782_400_000)), Time(949_363_200_000));
    }
}
