//! `hosts`: which hosts failed, and which are left out for it.

use super::{Context, Done};
use crate::output::{Tone, table};
use charter_api::market::{Host, Hosts};
use std::process::ExitCode;

pub(crate) async fn hosts(context: &Context<'_>) -> Done {
    let answer: Hosts = context.client()?.get("/api/v1/hosts").await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let row = |host: &Host| {
        let classes: Vec<String> = host.failures.iter().map(|f| format!("{} x{}", f.class, f.count)).collect();
        let last = host.failures.iter().map(|f| f.last_at.as_str()).max().unwrap_or_default();
        let out = match (host.left_out, host.failures.is_empty()) {
            (true, _) => "left out",
            (false, false) => "taken last",
            (false, true) => "-",
        };
        let speed = host.download_mbps.map_or("-".to_owned(), |mbps| format!("{mbps} Mb/s"));
        let last = last.split('T').next().unwrap_or_default().to_owned();
        vec![host.provider.clone(), host.host.clone(), out.to_owned(), speed, classes.join(", "), last]
    };
    if answer.hosts.is_empty() {
        printer.data("no host has failed or was measured so far");
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = answer.hosts.iter().map(row).collect();
    table(&["PROVIDER", "HOST", "NOW", "DOWN", "FAILED", "LAST"], &rows).iter().for_each(|line| printer.data(line));
    printer.say_in(Tone::Faint, "a failure counts half after three days; two within that time leave a host out");
    Ok(ExitCode::SUCCESS)
}
