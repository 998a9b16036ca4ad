//! `upgrade`, `rollback`, `migrate` and `generations`.

use super::plan::shown_entry;
use super::{Context, Done};
use crate::cli::{Migrate, Rollback, Upgrade};
use crate::client::{Client, segment};
use crate::output::{Tone, table};
use charter_api::list::List;
use charter_api::problem::Problem;
use charter_api::status::Plan;
use charter_api::upgrade as wire;
use charter_api::upgrade::{Back, Several, Single};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::ExitCode;

pub(crate) async fn upgrade(context: &Context<'_>, args: Upgrade) -> Done {
    let client = context.client()?;
    // The server reads the file itself; one that was named here and cannot be read is told before anything is begun.
    if let Some(path) = &context.global.config {
        crate::config::read(path)?;
    }
    let body = Several {
        all: args.all,
        names: args.names,
        profile: args.profile,
        what_if: args.what_if,
        strategy: args.how.strategy,
        waves: args.waves,
        keep_going: args.keep_going,
    };
    if args.what_if {
        return Ok(what_if(context, &client.post("/api/v1/upgrades", &body).await?));
    }
    let begun: wire::Upgrade = client.post("/api/v1/upgrades", &body).await?;
    watch(context, &client, begun, args.how.detach).await
}

pub(crate) async fn rollback(context: &Context<'_>, args: Rollback) -> Done {
    let client = context.client()?;
    let path = format!("/api/v1/deployments/{}/rollback", segment(&args.name));
    let body = Single { to: args.to, strategy: args.how.strategy, ..Single::default() };
    let undone = match client.post(&path, &body).await? {
        Back::Begun(begun) => return watch(context, &client, *begun, args.how.detach).await,
        Back::Undone(undone) => undone,
    };
    if context.printer.json {
        context.printer.document(&undone);
    } else {
        let number = |id: &str| id.rsplit('.').next().unwrap_or_default().to_owned();
        let (serves, undone) = (number(&undone.serves), number(&undone.aborted));
        // Where nothing of the old one answers any more, the new one stays.
        let says = if serves == undone { "stays" } else { "is undone" };
        context.printer.data(&format!("generation {undone} of {} {says}: generation {serves} serves", args.name));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn migrate(context: &Context<'_>, args: Migrate) -> Done {
    let client = context.client()?;
    let path = format!("/api/v1/deployments/{}/migrate", segment(&args.name));
    let strategy = args.how.strategy;
    let body = Single { provider: Some(args.provider.clone()), strategy, what_if: args.what_if, to: None };
    if args.what_if {
        return Ok(what_if(context, &client.post(&path, &body).await?));
    }
    let begun: wire::Upgrade = client.post(&path, &body).await?;
    let done = watch(context, &client, begun, args.how.detach).await?;
    if !context.printer.json {
        let text = format!("hint: the next upgrade goes by the file; write `provider: [{}]` into the profile", args.provider);
        context.printer.say(&text);
    }
    Ok(done)
}

fn what_if(context: &Context<'_>, plan: &Plan) -> ExitCode {
    if context.printer.json {
        context.printer.document(&plan);
    } else {
        plan.deployments.iter().for_each(|entry| shown_entry(context.printer, entry));
        if plan.deployments.is_empty() {
            context.printer.data("nothing runs that could be upgraded");
        }
    }
    if plan.pending { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

/// Tells what happens until it is over, and what came of it.
async fn watch(context: &Context<'_>, client: &Client, begun: wire::Upgrade, detach: bool) -> Done {
    let printer = context.printer;
    let mut now = begun;
    let mut told: BTreeMap<String, i64> = BTreeMap::new();
    while !now.over && !detach {
        for name in now.running.clone() {
            tell(context, client, &name, &mut told).await?;
        }
        let next = tokio::select! {
            next = client.upgrade(&now.id, now.change) => next?,
            _ = tokio::signal::ctrl_c() => {
                printer.settle();
                let hint = "`charter status` shows it, `charter rollback NAME` undoes it";
                return Err(Problem::new(0, "A0414", "stopped watching; the server goes on with the upgrade", hint));
            }
        };
        let names = std::mem::replace(&mut now, next).running;
        for name in names.into_iter().filter(|n| !now.running.contains(n)) {
            tell(context, client, &name, &mut told).await?;
        }
    }
    printer.settle();
    if printer.json {
        printer.document(&now);
    } else {
        summary(context, &now);
    }
    Ok(if now.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// New lines of a deployment's time line, from the moment on in which the upgrade was asked for.
async fn tell(context: &Context<'_>, client: &Client, name: &str, told: &mut BTreeMap<String, i64>) -> Result<(), Problem> {
    let facts = client.watched(name, None).await?.facts;
    let asked = facts.iter().rposition(|f| f.text.contains("was asked for")).unwrap_or(0);
    let first = facts.get(asked).map_or(0, |f| f.at_ms);
    let last = told.get(name).copied();
    for fact in facts.iter().skip(asked).filter(|f| last.is_none_or(|last| f.at_ms > last)) {
        let since = (fact.at_ms - first).max(0);
        let head = format!("  {:>6}.{} s  ", since / 1000, since % 1000 / 100);
        context.printer.settle();
        context.printer.say_behind(&head, &format!("{name}: {}", fact.text));
    }
    if let Some(fact) = facts.last() {
        told.insert(name.to_owned(), fact.at_ms);
    }
    Ok(())
}

fn summary(context: &Context<'_>, now: &wire::Upgrade) {
    let printer = context.printer;
    let generation = |id: &str| id.rsplit('.').next().unwrap_or_default().to_owned();
    for one in &now.upgraded {
        let (from, to) = (generation(&one.from), generation(&one.to));
        let word = printer.tint(Tone::Good, "upgraded");
        printer.wrapped("", &format!("{word} {}: generation {from} -> {to} in {:.1} s", one.name, one.seconds));
    }
    for one in &now.failed {
        let word = printer.tint(Tone::Bad, "failed");
        let stays = if one.rolled_back { "; what ran before serves on" } else { "" };
        printer.wrapped("", &format!("{word} {} ({}): {}{stays}", one.name, one.error.code, one.error.message));
    }
    for one in &now.skipped {
        printer.wrapped("", &format!("{} {}: {}", printer.tint(Tone::Faint, "skipped"), one.name, one.reason));
    }
    for name in &now.running {
        printer.data(&format!("{} {name}", printer.tint(Tone::Busy, "under way")));
    }
    for name in &now.waiting {
        printer.data(&format!("{} {name}", printer.tint(Tone::Faint, "waiting")));
    }
    if now.total == 0 {
        printer.data("nothing runs that could be upgraded");
    }
}

pub(crate) async fn generations(context: &Context<'_>, name: &str) -> Done {
    let client = context.client()?;
    let answer: List<wire::Generation> = client.get(&format!("/api/v1/deployments/{}/generations", segment(name))).await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let all = answer.items;
    let fields = |one: &wire::Generation| {
        let all = one.changes.as_array().cloned().unwrap_or_default();
        let names: Vec<String> = all.iter().filter_map(|c| c.get("field").and_then(Value::as_str)).map(str::to_owned).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(", ") }
    };
    let rows: Vec<Vec<String>> = all
        .iter()
        .rev()
        .map(|g| vec![g.number.to_string(), g.fate.clone(), g.at.clone(), g.by.clone(), crate::output::cut(&fields(g), 32)])
        .collect();
    table(&["GEN", "FATE", "ASKED AT", "BY", "CHANGED"], &rows).iter().for_each(|line| printer.data(line));
    for one in all.iter().rev() {
        if let Some(verdict) = &one.verdict {
            printer.wrapped("  ", &format!("{}: {verdict}", one.number));
        }
    }
    Ok(ExitCode::SUCCESS)
}
