//! Money over HTTP: the limits with what counts against them, and more time for a deployment.

use crate::auth::Caller;
use crate::problem::{Answer, Body, Failed, Path, failed, unknown};
use crate::router::App;
use crate::status::rfc3339;
use axum::extract::{Json, State};
use charter_api::budget as wire;
use charter_api::deployment::{Lease, More};
use charter_controller::{Account, ExtendError, Extension};
use charter_domain::budget::Scope;
use charter_domain::money::Usd;
use charter_domain::sweep::Quarantined;
use charter_domain::time::{Span, Time};
use charter_store::{Error, Role};

/// How far an account has come, for people who look at one word.
pub(crate) fn mark(account: &Account) -> &'static str {
    let committed = account.committed;
    match () {
        () if committed >= account.budget.hard => "hard",
        () if committed >= account.budget.alert => "alert",
        () if committed >= account.budget.target => "target",
        () => "ok",
    }
}

fn line(account: &Account) -> wire::Limit {
    let budget = &account.budget;
    wire::Limit {
        scope: budget.scope.as_str().to_owned(),
        of: account.of.clone(),
        state: mark(account).to_owned(),
        target_usd_micros: budget.target.0,
        alert_usd_micros: budget.alert.0,
        hard_usd_micros: budget.hard.0,
        spent_usd_micros: account.spent.0,
        committed_usd_micros: account.committed.0,
    }
}

/// Something that stands in our accounts, costs money, and is not touched.
fn quarantined(shown: &Quarantined) -> wire::Quarantined {
    wire::Quarantined {
        provider: shown.provider.clone(),
        id: shown.held.id.clone(),
        label: shown.held.label.clone(),
        status: shown.held.status.clone(),
        price_usd_micros_per_hour: shown.held.price.0,
        why: shown.why.to_owned(),
    }
}

/// When the month of a time ends, in UTC.
pub(crate) fn month_end(now: Time) -> Time {
    let begin = Scope::Month.since(now);
    // Any day of the next month: 32 days after the first of this one.
    Scope::Month.since(begin + Span::min(32 * 24 * 60))
}

/// All limits, what runs per hour, what the month will have cost if that goes on, and the most that may be overshot.
pub(crate) async fn budget(State(app): State<App>, caller: Caller) -> Answer<Json<wire::Budget>> {
    caller.need(Role::Viewer)?;
    let controller = &app.controller;
    let limits = accounts(&app, &caller).await?.iter().map(line).collect();
    let price = crate::status::Seen::read(&app, &caller).await?.price_usd_micros_per_hour;
    let now = controller.now();
    let month = spent(&app, &caller, Scope::Month.since(now)).await?;
    let rest = charter_domain::money::UsdPerHour(price).cost(month_end(now).since(now));
    let bound = controller.overshoot_bound().await?;
    let swept = controller.swept();
    Ok(Json(wire::Budget {
        schema: "charter.budget/1".to_owned(),
        limits,
        price_usd_micros_per_hour: price,
        spent_this_month_usd_micros: month.0,
        forecast_month_usd_micros: month.plus(rest).0,
        overshoot_bound_usd_micros: bound.0,
        quarantined: swept.quarantined.iter().filter(|_| caller.is_house()).map(quarantined).collect(),
        frozen: swept.suspicious,
    }))
}

/// The limits that concern a caller: for the house all, for a tenant its own and those of its deployments.
pub(crate) async fn accounts(app: &App, caller: &Caller) -> Answer<Vec<Account>> {
    let all = app.controller.accounts().await?;
    if caller.role == Role::Admin {
        return Ok(all);
    }
    let rows = app.controller.store().deployments().await?.into_iter().map(|row| row.state);
    let own: Vec<String> = rows.filter(|d| caller.sees(&d.tenant)).flat_map(|d| [d.id.0, d.name]).collect();
    let theirs = |a: &Account| match &a.of {
        None => caller.is_house(),
        Some(of) => *of == caller.tenant || own.contains(of),
    };
    Ok(all.into_iter().filter(theirs).collect())
}

/// What machines that a caller may see have cost since a time.
pub(crate) async fn spent(app: &App, caller: &Caller, since: Time) -> Answer<Usd> {
    if caller.is_house() {
        return Ok(app.controller.spent(None, since).await?);
    }
    let mut sum = Usd(0);
    for row in app.controller.store().deployments().await?.into_iter().filter(|row| caller.sees(&row.state.tenant)) {
        sum = sum.plus(app.controller.spent(Some(&row.state.id), since).await?);
    }
    Ok(sum)
}

/// The longest extension, so that no sum overflows: ten years.
const HOURS_MAX: i64 = 87_600;

fn extension(more: &More) -> Answer<Extension> {
    let hours = i64::from(more.hours.unwrap_or(0)).min(HOURS_MAX);
    let minutes = hours * 60 + i64::from(more.minutes.unwrap_or(0)).min(HOURS_MAX * 60);
    match (minutes, more.infinite) {
        (0, true) => Ok(Extension::Forever),
        (1.., false) => Ok(Extension::By(Span::min(minutes))),
        _ => Err(failed(422, "A0422", "how much longer is not said", "say `hours` or `minutes`, or `infinite: true`")),
    }
}

/// Refusals to extend, as people can act on them.
pub(crate) fn refused(name: &str, error: ExtendError) -> Failed {
    match error {
        ExtendError::NotActive => {
            failed(409, "A0418", format!("`{name}` does not run"), "start it with `charter up`; then it can be given more time")
        }
        ExtendError::Store(Error::OverBudget(over)) => {
            let text = format!(
                "the hard limit of the budget `{}` is {}: {} are spent or set aside, and {} more would be needed",
                over.budget.scope.as_str(),
                over.budget.hard,
                over.committed,
                over.asked
            );
            let message = format!("`{name}` is given no more time: there is no money for it");
            failed(409, "M0002", message, "give it less time, raise the limit, or end something else").detail(text)
        }
        ExtendError::Store(other) => other.into(),
    }
}

/// Gives a deployment more time.
pub(crate) async fn extend(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(more): Body<More>,
) -> Answer<Json<Lease>> {
    caller.need(Role::Operator)?;
    let id = crate::deployments::find(&app, &caller, &name).await?.id;
    let state = app.controller.extend(id.as_str(), extension(&more)?).await.map_err(|e| refused(&name, e))?;
    let Some(state) = state else { return Err(unknown("deployment", &name)) };
    let until = match (state.expires_at, state.keep_until) {
        (Some(at), _) => format!("until {}", rfc3339(at)),
        (None, Some(at)) if at.0 < i64::MAX / 2 => format!("until {} whether anybody asks or not", rfc3339(at)),
        (None, _) => "without an end".to_owned(),
    };
    app.controller.write_down(&state.id, format!("`{}` said to let it run {until}", caller.name)).await?;
    Ok(Json(Lease { expires_at: state.expires_at.map(rfc3339), kept_until: state.keep_until.map(rfc3339) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_where_the_next_one_begins() {
        assert_eq!(rfc3339(month_end(Time(1_795_259_775_000))), "2026-12-01T00:00:00Z");
        assert_eq!(rfc3339(month_end(Time(951_782_400_000))), "2000-03-01T00:00:00Z");
        assert_eq!(rfc3339(month_end(Time(1_798_761_599_000))), "2027-01-01T00:00:00Z");
    }
}
