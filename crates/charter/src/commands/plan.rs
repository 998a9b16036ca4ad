//! `plan`: what `up` would do. Exit 0: nothing; exit 2: something.

use super::up::wanted;
use super::{Context, Done};
use crate::cli::Names;
use crate::client::Client;
use crate::config;
use crate::output::{Printer, Tone};
use charter_api::deployment::PlanQuestion;
use charter_api::status::{Plan, PlanEntry};
use charter_domain::money::{Usd, UsdPerHour};
use serde_json::Value;
use std::process::ExitCode;

pub(crate) async fn plan(context: &Context<'_>, names: Names) -> Done {
    let (path, file) = config::required(&context.global, names.file.as_ref())?;
    let all = wanted(&path, &file, &names.names)?;
    let client: Client = context.client()?;
    let plan: Plan = client.post("/api/v1/plan", &PlanQuestion { deployments: all }).await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&plan);
    } else {
        plan.deployments.iter().for_each(|entry| shown_entry(printer, entry));
    }
    Ok(if plan.pending { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// One deployment: what would be done, field by field, with what it costs and how long nothing answers.
pub(crate) fn shown_entry(printer: &Printer, entry: &PlanEntry) {
    let tone = if entry.action == "none" { Tone::Faint } else { Tone::Busy };
    let how = if entry.action == "upgrade" { format!("upgrade, {}", entry.strategy) } else { entry.action.clone() };
    let head = format!("{} {}: {}", printer.tint(Tone::Strong, &entry.name), printer.tint(tone, &how), entry.why);
    printer.wrapped("", &head);
    for change in &entry.changes {
        let told = match (shown(&change.started_with), shown(&change.profile), shown(&change.engine_reports)) {
            (before, after, said) if said != "-" && said != before => format!("{before} (engine: {said}) -> {after}"),
            (before, after, _) => format!("{before} -> {after}"),
        };
        printer.wrapped("  ", &format!("{}: {told} ({})", change.field, change.effect));
    }
    for offer in &entry.offers {
        let price = UsdPerHour(offer.price_usd_micros_per_hour);
        printer.data(&format!("  would take `{}` of `{}`: {}, {price}", offer.id, offer.provider, offer.gpu));
    }
    if entry.action == "upgrade" {
        cost(printer, entry);
    }
    if entry.committed_usd_micros > 0 {
        let commits = Usd(entry.committed_usd_micros);
        printer.data(&format!("  sets aside {commits} at first; `charter budget` shows the limits"));
    }
    for report in &entry.reports {
        printer.wrapped("  ", &report.text);
    }
}

/// What an upgrade costs, and for how long nothing answers.
fn cost(printer: &Printer, entry: &PlanEntry) {
    let (before, after) = (UsdPerHour(entry.price_before_usd_micros_per_hour), UsdPerHour(entry.price_after_usd_micros_per_hour));
    let price = if before == after { format!("{before} as before") } else { format!("{before} becomes {after}") };
    let both = if entry.extra_usd_micros > 0 {
        format!("; both together cost {} more", Usd(entry.extra_usd_micros))
    } else {
        String::new()
    };
    let gap = match entry.gap_ms {
        Some(0) => "no gap".to_owned(),
        Some(ms) => format!("nothing new is answered for about {}", charter_domain::time::Span::ms(ms)),
        None => "the gap is not known".to_owned(),
    };
    printer.wrapped("  ", &format!("{price}{both}; {gap}"));
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(map) if map.contains_key("changed") => "changed; secrets are not shown".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
