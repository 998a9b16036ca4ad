//! `hosts`: which hosts failed, and which are left out for it.

use super::{Context, Done};
use crate::output::{Tone, table};
use serde_json::Value;
use std::process::ExitCode;

pub(crate) async fn hosts(context: &Context<'_>) -> Done {
    let answer: Value = context.client()?.get("/api/v1/hosts").await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let all = answer.get("hosts").and_then(Value::as_array).cloned().unwrap_or_default();
    let row = |host: &Value| {
        let text = |key: &str| host.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let failures = host.get("failures").and_then(Value::as_array).cloned().unwrap_or_default();
        let classes: Vec<String> = failures
            .iter()
            .map(|f| format!("{} x{}", f["class"].as_str().unwrap_or_default(), f["count"].as_u64().unwrap_or(0)))
            .collect();
        let last = failures.iter().filter_map(|f| f["last_at"].as_str()).max().unwrap_or_default().to_owned();
        let out = match (host["left_out"].as_bool(), failures.is_empty()) {
            (Some(true), _) => "left out",
            (_, false) => "taken last",
            (_, true) => "-",
        };
        let speed = host["download_mbps"].as_u64().map_or("-".to_owned(), |mbps| format!("{mbps} Mb/s"));
        let last = last.split('T').next().unwrap_or_default().to_owned();
        vec![text("provider"), text("host"), out.to_owned(), speed, classes.join(", "), last]
    };
    if all.is_empty() {
        printer.data("no host has failed or was measured so far");
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    table(&["PROVIDER", "HOST", "NOW", "DOWN", "FAILED", "LAST"], &rows).iter().for_each(|line| printer.data(line));
    printer.say_in(Tone::Faint, "a failure counts half after three days; two within that time leave a host out");
    Ok(ExitCode::SUCCESS)
}
