//! `sweep`: what stands at the providers, to whom it belongs, and an end to what is ours and nobody holds. It needs no server.

use super::{Context, Done};
use crate::output::{Tone, cut, table};
use crate::outside::{Found, Outside, Seen};
use charter_domain::inventory::Belongs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// So many characters of a label leave room for the rest in 80 columns; `--json` has all of it.
const LABEL_SHOWN: usize = 36;

/// One line per machine.
pub(crate) fn rows(all: &[Found]) -> Vec<Vec<String>> {
    let row = |f: &Found| {
        let name = if f.held.label.is_empty() { "-".to_owned() } else { cut(&f.held.label, LABEL_SHOWN) };
        vec![f.provider.clone(), f.held.id.clone(), f.belongs.as_str().to_owned(), f.held.price.to_string(), name]
    };
    all.iter().map(row).collect()
}

fn document(found: &Found, ended: bool) -> Value {
    json!({"provider": found.provider, "id": found.held.id, "belongs": found.belongs.as_str(), "label": found.held.label,
        "status": found.held.status, "price_usd_micros_per_hour": found.held.price.0, "ended": ended})
}

fn show(context: &Context<'_>, seen: &Seen) {
    if context.printer.json {
        return;
    }
    if seen.all.is_empty() && !seen.problems.is_empty() {
        context.printer.data("nothing is listed, and not everybody could be asked:");
    } else if seen.all.is_empty() {
        context.printer.data("nothing stands at any provider");
    } else {
        let lines = table(&["PROVIDER", "ID", "BELONGS", "PRICE", "LABEL"], &rows(&seen.all));
        lines.iter().for_each(|line| context.printer.data(line));
    }
    seen.problems.iter().for_each(|why| context.printer.say_in(Tone::Bad, why));
}

pub(crate) async fn sweep(context: &Context<'_>, execute: bool) -> Done {
    let outside = Outside::open(context).await?;
    let seen = outside.look().await?;
    let strays: Vec<Found> = seen.all.iter().filter(|f| f.belongs == Belongs::Stray).cloned().collect();
    show(context, &seen);
    let mut ended = vec![];
    let mut problems = seen.problems.clone();
    if execute && !strays.is_empty() {
        // Nothing is ended that was seen once: what was under way a moment ago has its record by now.
        outside.pause().await;
        let again = outside.look().await?;
        for stray in strays.iter().filter(|s| again.all.iter().any(|f| f.is_same(s) && f.belongs == Belongs::Stray)) {
            let (Some(provider), Some(tag)) = (outside.provider(&stray.provider), &stray.held.tag) else { continue };
            match provider.destroy_stray(Some(tag), &stray.held.id).await {
                Ok(()) => {
                    ended.push(stray.held.id.clone());
                    context.printer.say(&format!("ended `{}` of `{}`", stray.held.id, stray.provider));
                }
                Err(error) => problems.push(format!("`{}` of `{}` could not be ended: {error}", stray.held.id, stray.provider)),
            }
        }
        problems.iter().skip(seen.problems.len()).for_each(|why| context.printer.say_in(Tone::Bad, why));
    }
    if context.printer.json {
        let machines: Vec<Value> = seen.all.iter().map(|f| document(f, ended.contains(&f.held.id))).collect();
        context
            .printer
            .document(&json!({"schema": "charter.sweep/1", "installation": outside.installation, "machines": machines,
            "strays": strays.len(), "ended": ended.len(), "problems": problems}));
    } else if !execute && !strays.is_empty() {
        context.printer.say(&format!("{} of them would be ended by `charter sweep --execute`", strays.len()));
    }
    let left = strays.len() > ended.len();
    Ok(match (left, problems.is_empty()) {
        (true, _) if !execute => ExitCode::from(2),
        (true, _) | (_, false) => ExitCode::FAILURE,
        (false, true) => ExitCode::SUCCESS,
    })
}
