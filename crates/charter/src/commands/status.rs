//! `status` and `stop`.

use super::{Context, Done};
use crate::config;
use crate::local;
use crate::output::{Printer, Tone, cut, table};
use charter_api::problem::Problem;
use charter_api::status::{Deployment, Replica, Status};
use hyper::Method;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) async fn status(context: &Context<'_>, name: Option<String>) -> Done {
    let client = context.client()?;
    let mut status: Status = client.get("/api/v1/status").await?;
    if let Some(name) = &name {
        status.deployments.retain(|d| d.name == *name || d.id == *name);
        if status.deployments.is_empty() {
            return Err(Problem::new(
                404,
                "A0404",
                format!("there is no deployment `{name}`"),
                "`charter status` lists what is there",
            ));
        }
    }
    let printer = context.printer;
    if printer.json {
        printer.document(&status);
        return Ok(ExitCode::SUCCESS);
    }
    if status.deployments.is_empty() {
        printer.data(&format!("nothing runs (server {})", status.server.url));
        printer.say("hint: `charter up` starts what `charter.yaml` describes");
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = status.deployments.iter().map(|d| row(printer, d)).collect();
    table(&["NAME", "STATUS", "SERVED AS", "ON", "GPU", "PRICE"], &rows).iter().for_each(|line| printer.data(line));
    for deployment in &status.deployments {
        details(printer, deployment, name.is_some());
    }
    if let Some(gateway) = status.server.gateway_url {
        printer.data(&printer.tint(Tone::Faint, &format!("gateway {gateway}")));
    }
    Ok(ExitCode::SUCCESS)
}

fn tone(status: &str) -> Tone {
    match status {
        "running" | "ready" => Tone::Good,
        "error" | "unreachable" => Tone::Bad,
        "stopped" | "closed" => Tone::Faint,
        _ => Tone::Busy,
    }
}

fn row(printer: &Printer, deployment: &Deployment) -> Vec<String> {
    let on: Vec<&str> =
        deployment.replicas.iter().filter_map(|r| r.instance.as_deref()).filter_map(|i| i.split('/').next()).collect();
    let gpu = deployment.replicas.iter().find_map(|r| r.gpu.clone());
    let price: i64 = deployment.replicas.iter().map(|r| r.price_usd_micros_per_hour).sum();
    let served = cut(&deployment.served_names.join(","), 24);
    vec![
        printer.tint(Tone::Strong, &cut(&deployment.name, 16)),
        printer.tint(tone(&deployment.status), &deployment.status),
        served,
        if on.is_empty() { "-".to_owned() } else { cut(&on.join(","), 12) },
        gpu.map_or_else(|| "-".to_owned(), |g| cut(&g, 14)),
        charter_domain::money::UsdPerHour(price).to_string(),
    ]
}

fn details(printer: &Printer, deployment: &Deployment, all: bool) {
    if let Some(cause) = &deployment.cause {
        let class = printer.tint(Tone::Bad, &cause.class);
        printer.wrapped("  ", &format!("{} {class}: {}", deployment.name, cut(&cause.evidence, 200)));
        printer.wrapped("    ", &format!("hint: {}", cause.hint));
    }
    if let Some(upgrade) = &deployment.upgrade {
        let (from, to, how) = (upgrade.from, upgrade.to, &upgrade.strategy);
        let stage = match upgrade.stage.as_str() {
            "bake" => "has taken over, and is watched",
            "back" => "did not pass: what ran before is brought back",
            _ => "is brought up",
        };
        printer.wrapped("  ", &format!("{} generation {from} -> {to}, {how}: the new one {stage}", deployment.name));
    }
    if let Some(problem) = &deployment.drift_problem {
        let text = format!("{}: whether it lags behind its file cannot be told: {problem}", deployment.name);
        printer.wrapped("  ", &printer.tint(Tone::Busy, &text));
    }
    if !deployment.drift.is_empty() {
        let fields = printer.tint(Tone::Busy, &deployment.drift.join(", "));
        printer.wrapped("  ", &format!("{} lags behind its file: {fields}", deployment.name));
        printer.wrapped("    ", &format!("hint: `charter upgrade {} --what-if` shows what would be done", deployment.name));
    }
    for replica in &deployment.replicas {
        if let Some(progress) = &replica.progress {
            printer.wrapped("  ", &format!("{} {}: {}", deployment.name, replica.phase, progress.text));
        }
        if all {
            replica_lines(printer, replica);
        }
    }
}

fn replica_lines(printer: &Printer, replica: &Replica) {
    let state = printer.tint(tone(&replica.phase), &replica.phase);
    printer.data(&format!("  {} generation {} {state}", replica.id, replica.generation));
    let facts = [
        Some(format!("since {}", replica.since_at)),
        replica.instance.as_ref().map(|i| format!("instance {i}")),
        replica.tunnel.as_ref().map(|t| format!("tunnel {t}")),
        replica.forward.as_ref().map(|f| format!("forward {f}")),
        replica.health.map(|h| format!("/health {h}")),
        replica.capacity_tokens.map(|c| format!("cache {c} tokens")),
    ];
    let line: Vec<String> = facts.into_iter().flatten().collect();
    if !line.is_empty() {
        printer.wrapped("    ", &line.join(", "));
    }
    if let Some(symptom) = &replica.symptom {
        printer.wrapped("    ", &printer.tint(Tone::Faint, symptom));
    }
}

/// Ends the local server, and says what stays.
pub(crate) async fn stop(context: &Context<'_>) -> Done {
    let data_dir = config::data_dir(&context.global)?;
    let client = context.client()?;
    let status: Status = client.get("/api/v1/status").await?;
    client.act(Method::POST, "/api/v1/server/stop").await?;
    if context.global.server.is_none() {
        for _ in 0..600 {
            if local::running(&data_dir).is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let held: Vec<&Deployment> = status.deployments.iter().filter(|d| d.replicas.iter().any(|r| r.instance.is_some())).collect();
    let names: Vec<&str> = held.iter().map(|d| d.name.as_str()).collect();
    let price = charter_domain::money::UsdPerHour(status.totals.price_usd_micros_per_hour);
    if context.printer.json {
        context.printer.document(&serde_json::json!({"stopped": true, "stays": names, "price_usd_micros_per_hour": price.0}));
    } else if names.is_empty() {
        context.printer.data("the server has ended; nothing stays");
    } else {
        context.printer.data(&format!("the server has ended; what it runs stays, for {price}: {}", names.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}
