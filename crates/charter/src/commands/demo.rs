//! `demo`: everything once on this computer: a marketplace, its machines, and an engine stand-in. No root, no network, nothing
//! installed, no money.

use super::{Context, Done};
use crate::client::{Client, segment};
use crate::http;
use crate::local::Known;
use crate::output::{Printer, Tone};
use crate::serve::{Options, Running, start};
use charter_api::ending::Ending;
use charter_api::market::{Offers, OffersQuestion};
use charter_api::problem::Problem;
use charter_api::status::{Deployment, Status};
use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::time::Span;
use charter_testbed::market::{Market, Settings};
use hyper::Method;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How long the whole demo may take.
const PATIENCE: Duration = Duration::from_secs(110);
/// Requests that it sends through the gateway.
const REQUESTS: u32 = 8;

#[derive(Default)]
pub(super) struct Report {
    steps: Vec<Value>,
    pub(super) requests: u32,
    pub(super) failed: u32,
    leaked: u64,
    spent_usd_micros: u64,
}

pub(super) struct Stage {
    pub(super) folder: PathBuf,
    market: Market,
    server: Running,
    pub(super) client: Client,
}

impl Stage {
    /// The gateway's address, and a key.
    pub(super) fn door(&self) -> (String, String) {
        (self.server.gateway_url.clone().unwrap_or_default(), self.client.0.key.clone())
    }
}

pub(crate) async fn demo(context: &Context<'_>, once: bool) -> Done {
    let printer = context.printer;
    // Neither the user's marketplace nor the user's limits have a part in it.
    crate::environment::ignore();
    let folder = super::testbed::scratch("demo");
    if let Some(other) = &context.global.data_dir {
        printer.say(&format!("the demo has a folder of its own, and leaves `{}` as it is", other.display()));
    }
    let begun = now();
    let mut report = Report::default();
    let mut terminated = signal(SignalKind::terminate()).map_err(|_| problem("signals cannot be received"))?;
    let outcome = match tokio::time::timeout(PATIENCE, stage(&folder)).await {
        Ok(Ok(stage)) => {
            let resting = AtomicBool::new(false);
            // Whoever has seen it all ends it so, and after so long as they please.
            let ended = |why: &str| if resting.load(Ordering::Relaxed) { Ok(()) } else { Err(problem(why)) };
            let result = tokio::select! {
                result = play(&stage, &mut report, printer, (once, &resting)) => result,
                () = too_long(&resting) => Err(problem("it took too long")),
                _ = tokio::signal::ctrl_c() => ended("it was interrupted"),
                _ = terminated.recv() => ended("it was told to end"),
            };
            clean_up(stage, &mut report).await;
            result
        }
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(problem("it took too long to begin")),
    };
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        tracing::debug!(%error, "there was no folder to remove");
    }
    let seconds = begun.elapsed().as_secs_f64();
    let ok = outcome.is_ok() && report.leaked == 0 && report.failed == 0;
    if printer.json {
        printer.document(&json!({
            "schema": "charter.demo/1", "ok": ok, "seconds": (seconds * 10.0).round() / 10.0, "steps": report.steps,
            "requests": report.requests, "failed_requests": report.failed, "spent_usd_micros": report.spent_usd_micros, "leaked": report.leaked,
        }));
        return Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    outcome?;
    printer.data(&format!(
        "{} requests, {} failed, {} machines left behind, {seconds:.1} s",
        report.requests, report.failed, report.leaked
    ));
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn problem(why: &str) -> Problem {
    Problem::new(0, "A0011", "the demo did not come to its end", "run it again with `--json`, and report what it prints")
        .with_detail(why)
}

#[expect(clippy::disallowed_methods, reason = "the demo tells how long its steps took")]
pub(super) fn now() -> Instant {
    Instant::now()
}

async fn stage(folder: &Path) -> Result<Stage, Problem> {
    let failed = |e: std::io::Error| problem(&e.to_string());
    crate::install::make_private_folder(folder).map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let market = Market::new(Settings::default(), &folder.join("market"), &program);
    market.start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.map_err(failed)?;
    let key_file = folder.join("api.key");
    std::fs::write(&key_file, market.key()).map_err(failed)?;
    let yaml = format!(
        "version: 1\nserver:\n  providers:\n    vast: {{kind: vast, base-url: \"{}\", api-key: {{file: {}}}}}\n\
         profiles:\n  demo:\n    model: demo/stand-in-7B\n    served-name: demo\n    gpu: {{min-vram: 24GB, max-usd-per-hour: 0.25}}\n    disk: 40GB\n    limits: {{bake: 3s}}\n    engine: {{env: {{STANDIN_START_MS: \"900\", STANDIN_TOKEN_MS: \"5\"}}}}\n\
         deployments:\n  demo: {{profile: demo}}\n",
        market.url(),
        json!(key_file.display().to_string()),
    );
    let config = folder.join("charter.yaml");
    std::fs::write(&config, yaml).map_err(failed)?;
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let data_dir = folder.join("data");
    let look = (Span::s(2), Span::s(60));
    let server = start(Options {
        listen: free,
        gateway_listen: Some(free),
        data_dir: data_dir.clone(),
        config: Some(config),
        database: None,
        look,
        tls: None,
    })
    .await?;
    let key = std::fs::read_to_string(data_dir.join("local.key")).map_err(failed)?;
    let client = Client(Known { url: server.url.clone(), key: key.trim().to_owned() });
    Ok(Stage { folder: folder.to_owned(), market, server, client })
}

/// Notes a step, and says it.
pub(super) fn step(report: &mut Report, printer: &Printer, name: &str, seconds: f64, detail: &str) {
    let seconds = (seconds * 1000.0).round() / 1000.0;
    report.steps.push(json!({"name": name, "ok": true, "seconds": seconds, "detail": detail}));
    printer.say(&format!("  {name:<13} {seconds:>7.3} s  {detail}"));
}

/// After the longest time that a demo may take, unless it is only being looked at.
async fn too_long(resting: &AtomicBool) {
    tokio::time::sleep(PATIENCE).await;
    if resting.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

async fn play(
    stage: &Stage,
    report: &mut Report,
    printer: &Printer,
    (once, resting): (bool, &AtomicBool),
) -> Result<(), Problem> {
    printer.say_in(Tone::Strong, "charter demo: a marketplace, a machine and an engine stand-in on this computer");
    if !once {
        show_page(stage, printer);
    }
    let file = crate::config::read(&stage.folder.join("charter.yaml"))?;
    let wanted = super::up::wanted(&stage.folder.join("charter.yaml"), &file, &[])?;
    let begun = now();
    let question = OffersQuestion { profile: wanted[0].profile.clone() };
    let found: Offers = stage.client.post("/api/v1/offers", &question).await?;
    let best = found.offers.first().ok_or_else(|| problem("no offer fits"))?;
    let price = UsdPerHour(best.price_usd_micros_per_hour);
    let card = best.gpu.trim_start_matches("1x ").to_owned();
    step(report, printer, "search", begun.elapsed().as_secs_f64(), &format!("{} offers fit, {card} at {price}", found.fitting));
    let begun = now();
    let _: Deployment = stage.client.post("/api/v1/deployments", &wanted[0]).await?;
    let marks = watch(stage, begun).await?;
    let names =
        [("rent", "the contract is made"), ("boot", "the machine lets us in"), ("deploy", "the engine gave a real answer")];
    let mut before = Duration::ZERO;
    for (index, (name, detail)) in names.iter().enumerate() {
        let until = marks.get(index + 1).copied().unwrap_or(before).max(before);
        step(report, printer, name, (until - before).as_secs_f64(), detail);
        before = until;
    }
    let begun = now();
    for _ in 0..REQUESTS {
        report.requests += 1;
        let (gateway, key) = stage.door();
        if let Err(why) = ask(&gateway, &key).await {
            report.failed += 1;
            printer.say_in(Tone::Bad, &format!("  a request failed: {why}"));
        }
    }
    let detail = format!("{REQUESTS} streamed answers through {}", stage.server.gateway_url.as_deref().unwrap_or_default());
    step(report, printer, "ask", begun.elapsed().as_secs_f64(), &detail);
    super::demo_upgrade::upgrade(stage, report, printer).await?;
    if !once {
        printer.data(&format!("gateway: {}", stage.server.gateway_url.as_deref().unwrap_or_default()));
        printer.say("it runs until Ctrl-C: look at the dashboard, ask it in the playground, change it");
        resting.store(true, Ordering::Relaxed);
        std::future::pending::<()>().await;
    }
    give_back(stage, report, printer).await
}

/// Ends it, and looks whether nothing is left.
async fn give_back(stage: &Stage, report: &mut Report, printer: &Printer) -> Result<(), Problem> {
    let begun = now();
    stage.client.act(Method::DELETE, &format!("/api/v1/deployments/{}", segment("demo"))).await?;
    until(stage, |status| status == "stopped").await?;
    step(report, printer, "destroy", begun.elapsed().as_secs_f64(), "the machine is given back, and was seen to be gone");
    let begun = now();
    let ledger = stage.market.ledger();
    let number = |name: &str| ledger.get(name).and_then(Value::as_u64).unwrap_or(0);
    (report.leaked, report.spent_usd_micros) = (number("alive"), number("spent_usd_micros"));
    if report.leaked > 0 {
        return Err(problem(&format!("{} machines are left", report.leaked)));
    }
    let spent = Usd(i64::try_from(report.spent_usd_micros).unwrap_or(i64::MAX));
    step(
        report,
        printer,
        "verify-empty",
        begun.elapsed().as_secs_f64(),
        &format!("the account holds nothing; {spent} of play money was spent"),
    );
    Ok(())
}

/// Tells where the dashboard is, and with which key.
fn show_page(stage: &Stage, printer: &Printer) {
    printer.data(&format!("dashboard: {}", stage.server.url));
    printer.data(&format!("key: {}", stage.client.0.key));
    open_page(&stage.server.url);
}

/// Opens the page where there is a screen to show it on. The key is not in the address: it is asked for there.
fn open_page(url: &str) {
    let screen = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| crate::environment::var(name).is_some());
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if !screen && !cfg!(target_os = "macos") {
        return;
    }
    let quiet = std::process::Stdio::null;
    let opened = std::process::Command::new(program).arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
    if let Err(error) = opened {
        tracing::debug!(%error, program, "the page was not opened");
    }
}

/// When each phase was left behind: search, rent, boot, load.
async fn watch(stage: &Stage, begun: Instant) -> Result<Vec<Duration>, Problem> {
    let order = ["pending", "renting", "booting", "loading", "ready"];
    let mut marks: Vec<Duration> = vec![];
    let mut change: Option<u64> = None;
    loop {
        let seen = stage.client.watched("demo", change).await?;
        change = Some(seen.change);
        let phase = seen.deployment.replicas.first().map_or("", |r| r.phase.as_str());
        let reached = order.iter().position(|p| *p == phase).unwrap_or(0);
        while marks.len() < reached {
            marks.push(begun.elapsed());
        }
        if phase == "ready" {
            return Ok(marks);
        }
        if seen.deployment.status == "error" {
            return Err(problem(&seen.deployment.cause.map(|c| format!("{}: {}", c.class, c.evidence)).unwrap_or_default()));
        }
    }
}

async fn until(stage: &Stage, reached: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let mut change: Option<u64> = None;
    loop {
        let seen = stage.client.watched("demo", change).await?;
        change = Some(seen.change);
        if reached(&seen.deployment.status) {
            return Ok(());
        }
    }
}

/// One streamed request through the gateway, checked to its end.
pub(super) async fn ask(gateway: &str, key: &str) -> Result<(), String> {
    let url = format!("{gateway}/chat/completions");
    let body =
        json!({"model": "demo", "stream": true, "max_tokens": 8, "messages": [{"role": "user", "content": "are you there? "}]});
    let answer = http::send(Method::POST, &url, Some(key), Some(body.to_string()), Duration::from_secs(30)).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let whole = answer.status == 200 && text.ends_with("data: [DONE]\n\n") && text.contains("are ");
    if whole { Ok(()) } else { Err(format!("status {}: {text}", answer.status)) }
}

/// Ends what is left, on every path.
/// Waits until nothing is left of anything.
async fn all_stopped(stage: &Stage) -> Result<(), Problem> {
    loop {
        let status: Status = stage.client.get("/api/v1/status").await?;
        let Some(left) = status.deployments.iter().find(|d| d.status != "stopped") else { return Ok(()) };
        let mut change = None;
        loop {
            let seen = stage.client.watched(&left.name, change).await?;
            change = Some(seen.change);
            if seen.deployment.status == "stopped" {
                break;
            }
        }
    }
}

async fn clean_up(stage: Stage, report: &mut Report) {
    // Whatever somebody has deployed beside the demo's own ends with it.
    let ended: Result<Ending, Problem> = stage.client.post("/api/v1/panic", &json!({})).await;
    if ended.is_ok() {
        let waited = tokio::time::timeout(Duration::from_secs(30), all_stopped(&stage)).await;
        tracing::debug!(in_time = waited.is_ok(), "everything has ended");
    }
    let ledger = stage.market.ledger();
    report.leaked = ledger.get("alive").and_then(Value::as_u64).unwrap_or(0);
    report.spent_usd_micros = ledger.get("spent_usd_micros").and_then(Value::as_u64).unwrap_or(0);
    stage.server.end().await;
    stage.market.end().await;
}
