//! `budget` and `extend`: what may be spent, and for how long.

use super::{Context, Done};
use crate::cli::Extend;
use crate::client::segment;
use crate::output::table;
use charter_domain::money::{Usd, UsdPerHour};
use serde_json::{Value, json};
use std::process::ExitCode;

fn micros(value: &Value, key: &str) -> i64 {
    value.get(key).and_then(Value::as_i64).unwrap_or(0)
}

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
    let answer: Value = context.client()?.get("/api/v1/budget").await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let limits = answer.get("limits").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows: Vec<Vec<String>> = limits
        .iter()
        .map(|l| {
            let text = |key: &str| l.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let of = if text("of").is_empty() { text("scope") } else { format!("{} {}", text("scope"), text("of")) };
            let sums = ["spent_usd_micros", "committed_usd_micros", "target_usd_micros", "alert_usd_micros", "hard_usd_micros"];
            let mut row = vec![of];
            row.extend(sums.map(|key| dollars(micros(l, key))));
            row.push(text("state"));
            row
        })
        .collect();
    table(&["LIMIT", "SPENT", "COMMITTED", "TARGET", "ALERT", "HARD", "STATE"], &rows).iter().for_each(|line| printer.data(line));
    let price = UsdPerHour(micros(&answer, "price_usd_micros_per_hour"));
    let month = Usd(micros(&answer, "spent_this_month_usd_micros"));
    let forecast = dollars(micros(&answer, "forecast_month_usd_micros"));
    printer.wrapped("", &format!("running now: {price}; this month {month}, {forecast} at its end if all of it goes on"));
    for shown in answer.get("quarantined").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| shown.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let price = UsdPerHour(micros(shown, "price_usd_micros_per_hour"));
        let line = format!("beside that `{}` of `{}` costs {price}: {}", text("id"), text("provider"), text("why"));
        printer.wrapped("", &line);
    }
    for (name, why) in answer.get("frozen").and_then(Value::as_object).into_iter().flatten() {
        let line = format!("nothing new is rented at `{name}` for now: {}", why.as_str().unwrap_or_default());
        printer.wrapped("", &line);
    }
    let bound = Usd(micros(&answer, "overshoot_bound_usd_micros"));
    printer.wrapped("", &format!("a hard limit may be overshot by {bound} at most: what runs, while an end takes long"));
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn extend(context: &Context<'_>, args: &Extend) -> Done {
    let client = context.client()?;
    let body = json!({"hours": args.hours, "minutes": args.minutes, "infinite": args.infinite});
    let answer: Value = client.post(&format!("/api/v1/deployments/{}/extend", segment(&args.name)), &body).await?;
    if context.printer.json {
        context.printer.document(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
    context.printer.data(&match (text("expires_at"), text("kept_until")) {
        (Some(at), _) => format!("{} runs until {at}", args.name),
        (None, Some(at)) => format!("{} is not ended for being idle before {at}", args.name),
        (None, None) => format!("{} has no end of its own", args.name),
    });
    Ok(ExitCode::SUCCESS)
}
