//! `down`: end deployments, and return when what they held is proven gone.

use super::{Context, Done};
use crate::client::{Client, segment};
use crate::output::Tone;
use charter_api::problem::Problem;
use charter_api::status::{Deployment, Status};
use hyper::Method;
use std::process::ExitCode;

pub(crate) async fn down(context: &Context<'_>, names: Vec<String>, all: bool, no_wait: bool) -> Done {
    let client = context.client()?;
    let status: Status = client.get("/api/v1/status").await?;
    let names = if all { status.deployments.iter().map(|d| d.name.clone()).collect() } else { names };
    for name in &names {
        if !status.deployments.iter().any(|d| d.name == *name || d.id == *name) {
            return Err(Problem::new(
                404,
                "A0404",
                format!("there is no deployment `{name}`"),
                "`charter status` lists what is there",
            ));
        }
        client.act(Method::DELETE, &format!("/api/v1/deployments/{}", segment(name))).await?;
    }
    if !no_wait {
        for name in &names {
            wait(context, &client, name).await?;
        }
    }
    if context.printer.json {
        let answer: Status = client.get("/api/v1/status").await?;
        let ended: Vec<&Deployment> = answer.deployments.iter().filter(|d| names.contains(&d.name)).collect();
        context.printer.document(&serde_json::json!({"deployments": ended}));
    }
    Ok(ExitCode::SUCCESS)
}

async fn wait(context: &Context<'_>, client: &Client, name: &str) -> Result<(), Problem> {
    let mut change: Option<u64> = None;
    let (mut said, mut waited) = (String::new(), String::new());
    let mut begun: Option<i64> = None;
    loop {
        let seen = client.watched(name, change).await?;
        change = Some(seen.change);
        if seen.deployment.status == "stopped" {
            context.printer.settle();
            if !context.printer.json {
                context.printer.data(&format!("{name} has ended, and nothing of it is left"));
            }
            return Ok(());
        }
        let waits = seen.deployment.replicas.into_iter().find_map(|r| Some(r.progress?.text));
        if let Some(waits) = waits
            && waits != waited
        {
            context.printer.say_in(Tone::Busy, &format!("  {waits}"));
            waited = waits;
        }
        let (at, last) = seen.facts.into_iter().next_back().map(|f| (f.at_ms, f.text)).unwrap_or_default();
        // What stood there when this command began is an older server's story.
        let is_new = *begun.get_or_insert(at) != at;
        if is_new && last != said && last.starts_with("could not give") {
            context.printer.say_in(Tone::Busy, &format!("  {last}"));
        }
        if is_new && (last.contains("is not in the configuration") || last.contains("put the other key back")) {
            let message = format!("`{name}` cannot be ended by this server as it is configured");
            let hint = "start the server with the provider and the key that rented it: `charter stop`, then `charter serve --config FILE`; it ends by itself then";
            return Err(Problem::new(409, "A0415", message, hint).with_detail(last));
        }
        said = last;
    }
}
