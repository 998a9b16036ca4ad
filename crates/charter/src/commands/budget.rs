//! `budget` and `extend`: what may be spent, and for how long.

use super::{Context, Done};
use crate::cli::Extend;
use crate::client::segment;
use crate::output::table;
use charter_api::budget::{Budget, Limit};
use charter_api::deployment::{Lease, More};
use charter_domain::money::{Usd, UsdPerHour};
use std::process::ExitCode;

/// Dollars for a table: to the cent, upwards, so that nothing looks cheaper than it is.
fn dollars(micros: i64) -> String {
    if (1..100_000).contains(&micros) {
        // Cents would say little of so little.
        return Usd(micros).to_string();
    }
    let cents = micros.div_euclid(10_000) + i64::from(micros.rem_euclid(10_000) > 0);
    format!("${}.{:02}", cents / 100, cents % 100)
}

pub(crate) async fn budget(context: &Context<'_>) -> Done {
    let answer: Budget = context.client()?.get("/api/v1/budget").await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let row = |l: &Limit| {
        let of = l.of.as_ref().map_or_else(|| l.scope.clone(), |of| format!("{} {of}", l.scope));
        let sums = [l.spent_usd_micros, l.committed_usd_micros, l.target_usd_micros, l.alert_usd_micros, l.hard_usd_micros];
        let mut row = vec![of];
        row.extend(sums.map(dollars));
        row.push(l.state.clone());
        row
    };
    let rows: Vec<Vec<String>> = answer.limits.iter().map(row).collect();
    table(&["LIMIT", "SPENT", "COMMITTED", "TARGET", "ALERT", "HARD", "STATE"], &rows).iter().for_each(|line| printer.data(line));
    let price = UsdPerHour(answer.price_usd_micros_per_hour);
    let month = Usd(answer.spent_this_month_usd_micros);
    let forecast = dollars(answer.forecast_month_usd_micros);
    printer.wrapped("", &format!("running now: {price}; this month {month}, {forecast} at its end if all of it goes on"));
    for shown in &answer.quarantined {
        let price = UsdPerHour(shown.price_usd_micros_per_hour);
        printer.wrapped("", &format!("beside that `{}` of `{}` costs {price}: {}", shown.id, shown.provider, shown.why));
    }
    for (name, why) in &answer.frozen {
        printer.wrapped("", &format!("nothing new is rented at `{name}` for now: {why}"));
    }
    let bound = Usd(answer.overshoot_bound_usd_micros);
    printer.wrapped("", &format!("a hard limit may be overshot by {bound} at most: what runs, while an end takes long"));
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn extend(context: &Context<'_>, args: &Extend) -> Done {
    let client = context.client()?;
    let body = More { hours: args.hours, minutes: args.minutes, infinite: args.infinite };
    let answer: Lease = client.post(&format!("/api/v1/deployments/{}/extend", segment(&args.name)), &body).await?;
    if context.printer.json {
        context.printer.document(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    context.printer.data(&match (answer.expires_at, answer.kept_until) {
        (Some(at), _) => format!("{} runs until {at}", args.name),
        (None, Some(at)) => format!("{} is not ended for being idle before {at}", args.name),
        (None, None) => format!("{} has no end of its own", args.name),
    });
    Ok(ExitCode::SUCCESS)
}
