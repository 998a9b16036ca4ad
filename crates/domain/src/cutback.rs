//! Who has to end earlier than agreed, because a limit was lowered or a price rose: what was set aside for what runs is then
//! more than the limit leaves. The oldest rental goes on as long as it can; the youngest makes room first.

use crate::budget::Budget;
use crate::ids::ReplicaId;
use crate::money::Usd;
use crate::reservation::{Reservation, whose};
use crate::time::{Span, Time};

/// A rental as a limit sees it.
#[derive(Clone, Debug)]
pub struct Rental {
    /// What was set aside for it, at the price that counts now.
    pub reservation: Reservation,
    /// It is on its way out, and costs until it is gone.
    pub leaving: bool,
}

/// Until when each rental may run under `budget`, for those that may not run until the end of their reservation. `rentals` are
/// those that the limit counts together, `spent` is what ended ones of them have cost since the scope's beginning, and an end
/// is counted with `ending`.
#[must_use]
pub fn cutback(budget: &Budget, rentals: &[Rental], spent: Usd, now: Time, ending: Span) -> Vec<(ReplicaId, Time)> {
    let since = budget.scope.since(now);
    if rentals.first().is_some_and(|r| whose(budget.scope, &r.reservation).is_none()) {
        return rentals.iter().filter_map(|rental| one(rental, budget.hard, since, now)).collect();
    }
    let whole = rentals.iter().fold(spent, |sum, r| sum.plus(r.reservation.amount(since)));
    if whole <= budget.hard {
        return vec![];
    }
    // What has run is spent, and what leaves is paid for until it is gone; the rest is shared out.
    let sure = |r: &Rental| {
        let until = if r.leaving { r.reservation.until.min(now + ending) } else { now };
        Reservation { until: until.max(r.reservation.from), ..r.reservation.clone() }.amount(since)
    };
    let mut left = Usd(budget.hard.0.saturating_sub(rentals.iter().fold(spent, |sum, r| sum.plus(sure(r))).0));
    let mut staying: Vec<&Rental> = rentals.iter().filter(|r| !r.leaving).collect();
    staying.sort_by_key(|r| (r.reservation.from, r.reservation.replica.clone()));
    let mut cut = vec![];
    for Rental { reservation, .. } in staying {
        let wish = reservation.price.cost(reservation.until.since(now));
        if wish <= left {
            left = Usd(left.0 - wish.0);
        } else {
            cut.push((reservation.replica.clone(), now + lasts(left, reservation.price.0)));
            left = Usd(0);
        }
    }
    cut
}

/// A limit that counts each rental by itself.
fn one(rental: &Rental, hard: Usd, since: Time, now: Time) -> Option<(ReplicaId, Time)> {
    let reservation = &rental.reservation;
    let over = !rental.leaving && reservation.amount(since) > hard;
    let until = reservation.from.max(since) + lasts(hard, reservation.price.0);
    over.then(|| (reservation.replica.clone(), until.max(now)))
}

/// For how long so much money pays.
fn lasts(money: Usd, micros_per_hour: i64) -> Span {
    let ms = i128::from(money.0.max(0)) * 3_600_000 / i128::from(micros_per_hour.max(1));
    Span(i64::try_from(ms).unwrap_or(i64::MAX / 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{BUILT_IN, Scope};
    use crate::ids::DeploymentId;
    use crate::money::UsdPerHour;

    const MINUTE: i64 = 60_000;
    const NOW: Time = Time(30 * MINUTE);
    const ENDING: Span = Span(5 * MINUTE);

    /// Ordered at that minute, set aside for until that minute, at 60 micro-dollars an hour: one a minute.
    fn rental(name: &str, from: i64, until: i64, leaving: bool) -> Rental {
        let reservation = Reservation {
            deployment: DeploymentId("d".into()),
            tenant: "t".into(),
            replica: ReplicaId(name.into()),
            price: UsdPerHour(60),
            from: Time(from * MINUTE),
            until: Time(until * MINUTE),
        };
        Rental { reservation, leaving }
    }

    fn cut(scope: Scope, hard: i64, spent: i64, rentals: &[Rental]) -> Vec<(String, i64)> {
        let budget = Budget { scope, hard: Usd(hard), ..BUILT_IN };
        let all = cutback(&budget, rentals, Usd(spent), NOW, ENDING);
        all.into_iter().map(|(id, at)| (id.0, at.0 / MINUTE)).collect()
    }

    #[test]
    fn the_youngest_makes_room_first_and_nothing_is_cut_that_fits() {
        let both = [rental("young", 20, 60, false), rental("old", 0, 60, false)];
        // 40 and 60 minutes were set aside, 10 and 30 of them have passed.
        assert_eq!(cut(Scope::Total, 100, 0, &both), []);
        assert_eq!(cut(Scope::Total, 105, 5, &both), []);
        assert_eq!(cut(Scope::Total, 99, 0, &both), [("young".into(), 59)]);
        assert_eq!(cut(Scope::Total, 60, 0, &both), [("old".into(), 50), ("young".into(), 30)]);
        assert_eq!(cut(Scope::Total, 10, 0, &both), [("old".into(), 30), ("young".into(), 30)], "all is over now");
    }

    #[test]
    fn what_leaves_is_paid_for_until_it_is_gone_and_frees_the_rest() {
        let both = [rental("old", 0, 60, false), rental("leaving", 20, 60, true)];
        assert_eq!(cut(Scope::Total, 75, 0, &both), [], "60 and 15");
        assert_eq!(cut(Scope::Total, 74, 0, &both), [("old".into(), 59)]);
    }

    #[test]
    fn a_limit_for_each_rental_counts_each_by_itself() {
        let both = [rental("old", 0, 60, false), rental("young", 20, 60, false)];
        assert_eq!(cut(Scope::Rental, 45, 0, &both), [("old".into(), 45)]);
        assert_eq!(cut(Scope::Rental, 20, 0, &both), [("old".into(), 30), ("young".into(), 40)]);
    }
}
