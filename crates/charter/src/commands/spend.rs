//! `spend`: what requests used and cost, added up or one by one.

use super::{Context, Done};
use crate::cli::Spend;
use crate::client::segment;
use crate::output::{Printer, cut, table};
use charter_api::usage as wire;
use charter_api::usage::{RequestRow, Requests, SpendRow};
use charter_domain::money::Usd;
use serde::Serialize;
use std::process::ExitCode;

fn short(text: &str) -> String {
    cut(text, 18)
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
    let printer = context.printer;
    if args.requests {
        let answer: Requests = client.get(&format!("/api/v1/requests?{query}")).await?;
        let rows = answer.items.iter().map(request).collect();
        let saved = answer.items.iter().map(|r| r.saved_usd_micros).sum();
        show(printer, &answer, (&["AT", "KEY", "MODEL", "TOKENS", "TOOK", "COLD", "END", "COST"], rows), (saved, args.hours));
    } else {
        let answer: wire::Spend = client.get(&format!("/api/v1/spend?{query}")).await?;
        let rows = answer.items.iter().map(sum).collect();
        let saved = answer.items.iter().map(|r| r.saved_usd_micros).sum();
        show(printer, &answer, (&["KEY", "TENANT", "MODEL", "REQUESTS", "READ", "WRITTEN", "COST"], rows), (saved, args.hours));
    }
    Ok(ExitCode::SUCCESS)
}

fn request(r: &RequestRow) -> Vec<String> {
    let cold = if r.cold_start_ms == 0 { "-".to_owned() } else { took(r.cold_start_ms) };
    vec![
        r.at.get(11..19).unwrap_or_default().to_owned(),
        short(&r.key),
        short(&r.model),
        format!("{}+{}", r.prompt_tokens, r.completion_tokens),
        took(r.duration_ms),
        cold,
        short(&r.end),
        Usd(r.cost_usd_micros).to_string(),
    ]
}

fn sum(r: &SpendRow) -> Vec<String> {
    vec![
        short(&r.key),
        short(&r.tenant),
        short(&r.model),
        r.requests.to_string(),
        r.prompt_tokens.to_string(),
        r.completion_tokens.to_string(),
        Usd(r.cost_usd_micros).to_string(),
    ]
}

fn show(printer: &Printer, answer: &impl Serialize, (head, rows): (&[&str], Vec<Vec<String>>), (saved, hours): (i64, u32)) {
    if printer.json {
        return printer.document(answer);
    }
    if rows.is_empty() {
        return printer.data(&format!("no request in the last {hours} hours"));
    }
    table(head, &rows).iter().for_each(|line| printer.data(line));
    if saved > 0 {
        printer.wrapped("", &format!("answers that were kept have saved {}", Usd(saved)));
    }
}
