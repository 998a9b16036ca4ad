//! `plan`: what `up` would do. Exit 0: nothing; exit 2: something.

use super::up::wanted;
use super::{Context, Done};
use crate::cli::Names;
use crate::client::Client;
use crate::config;
use crate::output::Tone;
use charter_api::status::Plan;
use serde_json::Value;
use std::process::ExitCode;

pub(crate) async fn plan(context: &Context<'_>, names: Names) -> Done {
    let (path, file) = config::required(&context.global, names.file.as_ref())?;
    let all = wanted(&path, &file, &names.names)?;
    let client: Client = context.client()?;
    let bodies: Vec<&Value> = all.iter().map(|w| &w.body).collect();
    let plan: Plan = client.post("/api/v1/plan", &serde_json::json!({"deployments": bodies})).await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&plan);
    } else {
        for entry in &plan.deployments {
            let tone = if entry.action == "none" { Tone::Faint } else { Tone::Busy };
            printer.data(&format!(
                "{} {}: {}",
                printer.tint(Tone::Strong, &entry.name),
                printer.tint(tone, &entry.action),
                entry.why
            ));
            for change in &entry.changes {
                let (before, after) = (shown(&change.started_with), shown(&change.profile));
                let what = if change.profile.is_object() { after } else { format!("{before} -> {after}") };
                printer.data(&format!("  {}: {what} ({})", change.field, change.effect));
            }
            for offer in &entry.offers {
                let price = charter_domain::money::UsdPerHour(offer.price_usd_micros_per_hour);
                printer.data(&format!("  would take `{}` of `{}`: {}, {price}", offer.id, offer.provider, offer.gpu));
            }
            if entry.committed_usd_micros > 0 {
                let commits = charter_domain::money::Usd(entry.committed_usd_micros);
                printer.data(&format!("  sets aside {commits} at first; `charter budget` shows the limits"));
            }
            for report in &entry.reports {
                printer.wrapped("  ", &report.text);
            }
        }
    }
    Ok(if plan.pending { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(map) if map.contains_key("changed") => "changed; secrets are not shown".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
