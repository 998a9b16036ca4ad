//! `spend`: what requests used and cost, added up or one by one.

use super::{Context, Done};
use crate::cli::Spend;
use crate::client::segment;
use crate::output::{cut, table};
use charter_domain::money::Usd;
use serde_json::Value;
use std::process::ExitCode;

fn number(row: &Value, key: &str) -> u64 {
    row.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn text(row: &Value, key: &str) -> String {
    cut(row.get(key).and_then(Value::as_str).unwrap_or_default(), 18)
}

fn dollars(row: &Value, key: &str) -> String {
    Usd(row.get(key).and_then(Value::as_i64).unwrap_or(0)).to_string()
}

/// Milliseconds as people read them.
fn took(ms: u64) -> String {
    if ms < 10_000 { format!("{ms} ms") } else { format!("{} s", ms / 1000) }
}

pub(crate) async fn spend(context: &Context<'_>, args: &Spend) -> Done {
    let client = context.client()?;
    let mut query = format!("hours={}&limit={}", args.hours, args.limit);
    for (name, said) in [("key", &args.key), ("deployment", &args.deployment)] {
        if let Some(said) = said {
            query.push_str(&format!("&{name}={}", segment(said)));
        }
    }
    let path = if args.requests { "requests" } else { "spend" };
    let answer: Value = client.get(&format!("/api/v1/{path}?{query}")).await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    if items.is_empty() {
        printer.data(&format!("no request in the last {} hours", args.hours));
        return Ok(ExitCode::SUCCESS);
    }
    let lines = if args.requests {
        let row = |r: &Value| {
            let at = r.get("at").and_then(Value::as_str).and_then(|t| t.get(11..19)).unwrap_or_default().to_owned();
            let tokens = format!("{}+{}", number(r, "prompt_tokens"), number(r, "completion_tokens"));
            let cold = number(r, "cold_start_ms");
            let cold = if cold == 0 { "-".to_owned() } else { took(cold) };
            vec![
                at,
                text(r, "key"),
                text(r, "model"),
                tokens,
                took(number(r, "duration_ms")),
                cold,
                text(r, "end"),
                dollars(r, "cost_usd_micros"),
            ]
        };
        table(&["AT", "KEY", "MODEL", "TOKENS", "TOOK", "COLD", "END", "COST"], &items.iter().map(row).collect::<Vec<_>>())
    } else {
        let row = |r: &Value| {
            let read = number(r, "prompt_tokens").to_string();
            let count = number(r, "requests").to_string();
            vec![
                text(r, "key"),
                text(r, "tenant"),
                text(r, "model"),
                count,
                read,
                number(r, "completion_tokens").to_string(),
                dollars(r, "cost_usd_micros"),
            ]
        };
        table(&["KEY", "TENANT", "MODEL", "REQUESTS", "READ", "WRITTEN", "COST"], &items.iter().map(row).collect::<Vec<_>>())
    };
    lines.iter().for_each(|line| printer.data(line));
    let saved: i64 = items.iter().filter_map(|r| r.get("saved_usd_micros").and_then(Value::as_i64)).sum();
    if saved > 0 {
        printer.wrapped("", &format!("answers that were kept have saved {}", Usd(saved)));
    }
    Ok(ExitCode::SUCCESS)
}
