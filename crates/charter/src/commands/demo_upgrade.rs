//! The demo's upgrade: the file is changed, what that would do is shown, and it is done while clients go on asking.

use super::demo::{Report, Stage, ask, now, problem, step};
use crate::output::{Printer, Tone};
use charter_api::problem::Problem;
use charter_api::status::Plan;
use charter_api::upgrade::{Several, Upgrade};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Clients that ask at the same time.
const CLIENTS: usize = 6;
/// They go on until so many requests were answered, however soon the upgrade is over.
const REQUESTS_MIN: u32 = 200;

/// What clients have asked, and what went wrong.
#[derive(Default)]
struct Asked {
    over: AtomicBool,
    requests: AtomicU32,
    failed: AtomicU32,
    first: std::sync::Mutex<Option<String>>,
}

pub(super) async fn upgrade(stage: &Stage, report: &mut Report, printer: &Printer) -> Result<(), Problem> {
    let begun = now();
    let file = stage.folder.join("charter.yaml");
    let failed = |e: std::io::Error| problem(&e.to_string());
    let text = std::fs::read_to_string(&file).map_err(failed)?;
    let longer = text.replace("engine: {env:", "engine: {options: {max-model-len: 16384}, env:");
    std::fs::write(&file, longer).map_err(failed)?;
    step(report, printer, "change", begun.elapsed().as_secs_f64(), "`charter.yaml` asks for `max-model-len: 16384` now");
    let begun = now();
    let plan: Plan = stage
        .client
        .post("/api/v1/upgrades", &Several { names: vec!["demo".to_owned()], what_if: true, ..Several::default() })
        .await?;
    let entry = plan.deployments.first().filter(|_| plan.pending).ok_or_else(|| problem("the change was not seen"))?;
    let fields: Vec<&str> = entry.changes.iter().map(|c| c.field.as_str()).collect();
    let more = charter_domain::money::Usd(entry.extra_usd_micros);
    let detail = format!("{} would change, {}: {more} more, no gap", fields.join(", "), entry.strategy);
    step(report, printer, "what-if", begun.elapsed().as_secs_f64(), &detail);
    let (begun, asked) = (now(), Arc::<Asked>::default());
    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(client(stage.door(), Arc::clone(&asked)))).collect();
    let done = watched(stage).await;
    while done.is_ok() && asked.requests.load(Ordering::SeqCst) < REQUESTS_MIN && begun.elapsed().as_secs() < 30 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    asked.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.map_err(|e| problem(&e.to_string()))?;
    }
    let (requests, failures) = (asked.requests.load(Ordering::SeqCst), asked.failed.load(Ordering::SeqCst));
    report.requests += requests;
    report.failed += failures;
    let first = asked.first.lock().ok().and_then(|mut first| first.take());
    if let Some(why) = first {
        printer.say_in(Tone::Bad, &format!("  a request failed: {why}"));
    }
    let done = done?;
    let detail = format!("{} under load, {requests} requests, {failures} failed", done.strategy);
    step(report, printer, "upgrade", begun.elapsed().as_secs_f64(), &detail);
    Ok(())
}

async fn client(door: (String, String), asked: Arc<Asked>) {
    while !asked.over.load(Ordering::SeqCst) {
        asked.requests.fetch_add(1, Ordering::SeqCst);
        if let Err(why) = ask(&door.0, &door.1).await {
            asked.failed.fetch_add(1, Ordering::SeqCst);
            if let Ok(mut first) = asked.first.lock() {
                first.get_or_insert(why);
            }
        }
    }
}

struct Done {
    strategy: String,
}

/// Upgrades, and waits until that is over.
async fn watched(stage: &Stage) -> Result<Done, Problem> {
    let mut now: Upgrade =
        stage.client.post("/api/v1/upgrades", &Several { names: vec!["demo".to_owned()], ..Several::default() }).await?;
    let under_way = stage.client.watched("demo", None).await?.deployment.upgrade;
    let strategy = under_way.map_or_else(|| "upgraded".to_owned(), |u| u.strategy);
    while !now.over {
        now = stage.client.upgrade(&now.id, now.change).await?;
    }
    match (now.upgraded.len(), now.failed.first()) {
        (1, _) => Ok(Done { strategy }),
        (_, Some(failure)) => Err(problem(&failure.error.message)),
        (_, None) => Err(problem("nothing was upgraded")),
    }
}
