//! `logs`: an engine's log, once or for as long as it grows.

use super::{Context, Done};
use crate::client::{Client, segment};
use charter_api::deployment::LogPart;
use charter_api::problem::Problem;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Between two questions of a follower.
const PAUSE: Duration = Duration::from_millis(500);

async fn read(client: &Client, name: &str, query: &str) -> Result<LogPart, Problem> {
    client.get(&format!("/api/v1/deployments/{}/logs?{query}", segment(name))).await
}

pub(crate) async fn logs(context: &Context<'_>, name: &str, follow: bool, tail: usize) -> Done {
    let client = context.client()?;
    let mut part = read(&client, name, &format!("tail={tail}")).await?;
    show(context, &part.text);
    while follow && !part.ended {
        tokio::time::sleep(PAUSE).await;
        let next = match read(&client, name, &format!("from={}", part.next)).await {
            Ok(next) => next,
            // The machine may be out of reach for a moment; a server that is gone is told.
            Err(problem) if problem.code == "R0006" => continue,
            Err(problem) => return Err(problem),
        };
        // A new start has a log of its own, from its beginning.
        part = if next.start == part.start { next } else { read(&client, name, "from=0").await? };
        show(context, &part.text);
    }
    Ok(ExitCode::SUCCESS)
}

/// A log is untrusted bytes: terminal codes are taken out before a terminal sees them.
fn show(context: &Context<'_>, text: &str) {
    if context.printer.json {
        for line in text.lines() {
            context.printer.data(&serde_json::json!({"line": line}).to_string());
        }
        return;
    }
    let clean: Vec<String> = text.split('\n').map(charter_engines::log::clean::strip_codes).collect();
    let mut out = std::io::stdout();
    // A reader that has left, such as `head`, is no failure of ours.
    write!(out, "{}", clean.join("\n")).and_then(|()| out.flush()).ok();
}
