//! `up` and `deploy`: declare, watch, and return when the model answers.

use super::{Context, Done};
use crate::cli::{Deploy, Up};
use crate::client::{Client, segment};
use crate::config;
use crate::local;
use crate::output::{Printer, Tone};
use charter_api::deployment::{Declare, Fact, LogPart, Watched};
use charter_api::file::decode::usd_micros;
use charter_api::file::route::Route;
use charter_api::list::List;
use charter_api::problem::Problem;
use charter_api::route as wire;
use charter_api::route::RouteWish;
use charter_api::status::{Deployment, Progress};
use charter_api::upgrade::Generation;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// The deployments of a file that were named, or all.
pub(crate) fn wanted(path: &Path, file: &charter_api::file::File, names: &[String]) -> Result<Vec<Declare>, Problem> {
    for name in names {
        if !file.deployments.iter().any(|(n, ..)| n == name) {
            let known: Vec<&str> = file.deployments.iter().map(|(n, ..)| n.as_str()).collect();
            let message = format!("`{}` has no deployment `{name}`", path.display());
            return Err(Problem::new(0, "C0004", message, format!("it has: {}", known.join(", "))));
        }
    }
    let source = std::fs::canonicalize(path).ok().map(|p| p.display().to_string());
    let chosen = file.deployments.iter().filter(|(n, ..)| names.is_empty() || names.contains(n));
    let all: Vec<Declare> = chosen
        .filter_map(|(name, deployment, raw)| {
            let profile = file.profiles.iter().find(|(n, ..)| *n == deployment.profile).map(|(_, _, raw)| raw)?;
            let (profile, deployment) = (profile.clone(), raw.clone());
            Some(Declare { name: name.clone(), profile, deployment, source_file: source.clone(), keep_others: false })
        })
        .collect();
    if let Some((name, a, b)) = same_name(file, &all) {
        let message = format!("`{a}` and `{b}` of `{}` are both served as `{name}`", path.display());
        return Err(Problem::new(0, "G0003", message, format!("give one of them a `served-name`, such as `{name}-2`")));
    }
    if all.is_empty() {
        let message = format!("`{}` has no `deployments`", path.display());
        return Err(Problem::new(0, "C0004", message, "name at least one, with its profile"));
    }
    Ok(all)
}

/// Two that would be served under one name: found before anything is asked for, so that not one of them is rented.
fn same_name(file: &charter_api::file::File, all: &[Declare]) -> Option<(String, String, String)> {
    let mut seen: Vec<(String, &str)> = vec![];
    for one in all {
        let (_, deployment, _) = file.deployments.iter().find(|(n, ..)| *n == one.name)?;
        let profile = file.profiles.iter().find(|(n, ..)| *n == deployment.profile).map(|(_, p, _)| p)?;
        let served = deployment.served_name.clone().unwrap_or_else(|| profile.served_name.clone());
        if let Some((name, other)) = seen.iter().find(|(name, _)| *name == served) {
            return Some((name.clone(), (*other).to_owned(), one.name.clone()));
        }
        seen.push((served, &one.name));
    }
    None
}

fn check_price(price: Option<&str>) -> Result<(), Problem> {
    match price.map(usd_micros) {
        Some(Err(why)) => Err(Problem::new(0, "C0001", why, "write it as `--max-price 0.25`")),
        Some(Ok(_)) | None => Ok(()),
    }
}

pub(crate) async fn up(context: &Context<'_>, args: Up) -> Done {
    check_price(args.max_price.as_deref())?;
    let (path, file) = config::required(&context.global, args.names.file.as_ref())?;
    let mut all = wanted(&path, &file, &args.names.names)?;
    for one in &mut all {
        if let Some(offer) = &args.offer {
            one.deployment["offer"] = offer.clone().into();
        }
        if args.wait {
            one.deployment["wait"] = true.into();
        }
        if let Some(price) = &args.max_price {
            if one.profile["gpu"].is_null() {
                one.profile["gpu"] = json!({});
            }
            one.profile["gpu"]["max-usd-per-hour"] = price.clone().into();
        }
    }
    // A file without providers is no file to start a server from.
    let server = Some(path.as_path()).filter(|_| !file.server.providers.is_empty());
    run(context, server, (all, &file.routes), args.detach).await
}

pub(crate) async fn deploy(context: &Context<'_>, args: Deploy) -> Done {
    check_price(args.max_price.as_deref())?;
    let made_up = args.name.is_none();
    let name = args.name.unwrap_or_else(|| name_of(&args.model));
    let mut gpu = json!({});
    if let Some(price) = &args.max_price {
        gpu["max-usd-per-hour"] = price.clone().into();
    }
    if let Some(card) = &args.gpu {
        gpu["tiers"] = json!([{"gpu": card, "max-usd-per-hour": args.max_price.as_deref().unwrap_or("1000")}]);
        gpu["other-names"] = false.into();
    }
    let mut profile = json!({"model": args.model, "engine": {"kind": args.engine}, "gpu": gpu});
    if let Some(provider) = &args.provider {
        profile["provider"] = json!([provider]);
    }
    let deployment = json!({"profile": name});
    let one = Declare { name, profile, deployment, source_file: None, keep_others: made_up };
    let file = config::find(&context.global, None);
    run(context, file.as_deref(), (vec![one], &[]), args.detach).await
}

/// A deployment's name from a model's: `org/Model-7B` becomes `model-7b`.
fn name_of(model: &str) -> String {
    let last = model.trim_end_matches('/').rsplit('/').next().unwrap_or(model);
    let plain: String =
        last.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_ascii_lowercase() } else { '-' }).collect();
    let name: String = plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(63).collect();
    if name.is_empty() { "model".to_owned() } else { name }
}

/// Says of a route what the file says of it; what else was said of it stays.
async fn put_route(client: &Client, name: &str, route: &Route) -> Result<(), Problem> {
    let path = format!("/api/v1/routes/{}", segment(name));
    let known: RouteWish = match client.get::<wire::Route>(&path).await {
        Ok(known) => known.into(),
        Err(problem) if problem.status == 404 => RouteWish::default(),
        Err(problem) => return Err(problem),
    };
    let tiers = route.tiers.iter().cloned().collect();
    let wish = RouteWish { tiers, fallback: route.fallback.clone(), ..known };
    client.put::<wire::Route>(&path, &wish).await.map(drop)
}

async fn run(
    context: &Context<'_>,
    file: Option<&Path>,
    (all, routes): (Vec<Declare>, &[(String, Route)]),
    detach: bool,
) -> Done {
    let (known, started) = local::find_or_start(&context.global, file)?;
    if started {
        context.printer.say_in(Tone::Faint, &format!("started a server at {}", known.url));
    }
    let client = Client(known);
    let mut declared = vec![];
    for one in &all {
        let made: Deployment = client.post("/api/v1/deployments", one).await?;
        declared.push(made);
    }
    for (name, route) in routes {
        put_route(&client, name, route).await?;
    }
    if detach {
        return finished(context, &client, &all).await;
    }
    let mut failed = None;
    for one in &all {
        let watch = Watch { client: &client, printer: context.printer, name: &one.name };
        let asked = declared.iter().find(|d: &&Deployment| d.name == one.name).map_or(0, |d| d.generation);
        let watched = tokio::select! {
            watched = watch.until_served(asked) => watched,
            _ = tokio::signal::ctrl_c() => {
                context.printer.settle();
                let message = format!("stopped watching; `{}` is stored, and the server goes on with it", one.name);
                let hint = "`charter up` watches again, `charter down` ends it";
                return Err(Problem::new(0, "A0414", message, hint));
            }
        };
        if let Err(problem) = watched {
            failed = Some(problem);
        }
    }
    match failed {
        Some(problem) => Err(problem),
        None => finished(context, &client, &all).await,
    }
}

async fn finished(context: &Context<'_>, client: &Client, all: &[Declare]) -> Done {
    let mut status: charter_api::status::Status = client.get("/api/v1/status").await?;
    status.deployments.retain(|d| all.iter().any(|w| w.name == d.name));
    if context.printer.json {
        context.printer.document(&status);
    } else if let Some(gateway) = &status.server.gateway_url {
        for deployment in status.deployments.iter().filter(|d| d.status == "running") {
            let name = deployment.served_names.first().cloned().unwrap_or_default();
            context.printer.data(&format!("{} answers as `{name}` at {gateway}", deployment.name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The code of the way's failure, when nothing but the way to each machine failed.
fn way_code(evidence: &str) -> Option<&'static str> {
    let codes = ["R0001", "R0002", "R0003", "R0004", "R0005", "R0006"];
    let of = |part: &str| codes.into_iter().find(|c| part.contains(&format!("[{c}]")));
    let all: Vec<Option<&'static str>> = evidence.split("; ").map(of).collect();
    if all.iter().all(Option::is_some) { all.into_iter().flatten().next() } else { None }
}

/// Watches one deployment and tells what happens to it.
pub(crate) struct Watch<'a> {
    pub(crate) client: &'a Client,
    pub(crate) printer: &'a Printer,
    pub(crate) name: &'a str,
}

#[derive(Default)]
struct Seen {
    change: Option<u64>,
    /// The last line that was told: the server sends the newest ones only.
    last: Option<(i64, String)>,
    first: bool,
    last_at: i64,
    progress: Option<Progress>,
}

impl Watch<'_> {
    pub(crate) async fn until_ready(&self) -> Result<Deployment, Problem> {
        let mut seen = Seen { first: true, ..Seen::default() };
        loop {
            let deployment = self.look(&mut seen).await?;
            let copies = deployment.replicas.iter().filter(|r| r.generation == deployment.generation);
            let (ready, other): (Vec<_>, Vec<_>) = copies.partition(|r| r.phase == "ready");
            match deployment.status.as_str() {
                // Until the verdict nothing is certain.
                "running" if deployment.upgrade.is_some() => {}
                "running" if other.iter().all(|r| r.phase == "closed") && !other.is_empty() => {
                    return Err(self.error(&deployment).await);
                }
                "running" if other.is_empty() && ready.len() >= usize::try_from(deployment.wanted).unwrap_or(1) => {
                    self.printer.settle();
                    return Ok(deployment);
                }
                "error" => return Err(self.error(&deployment).await),
                "stopped" | "stopping" if deployment.replicas.iter().all(|r| r.generation == deployment.generation) => {
                    let message = format!("`{}` was told to end meanwhile", self.name);
                    return Err(Problem::new(409, "A0413", message, "start it again: `charter up`"));
                }
                _ => {}
            }
        }
    }

    /// Waits until it answers, as the generation that was asked for.
    async fn until_served(&self, asked: u32) -> Result<Deployment, Problem> {
        let deployment = self.until_ready().await?;
        if deployment.generation >= asked {
            return Ok(deployment);
        }
        let path = format!("/api/v1/deployments/{}/generations", segment(self.name));
        let all: List<Generation> = self.client.get(&path).await?;
        let found = all.items.into_iter().find(|g| g.number == asked);
        let verdict = found.and_then(|g| g.verdict).unwrap_or_else(|| "it was undone".to_owned());
        let message =
            format!("generation {asked} of `{}` did not pass; generation {} serves on", self.name, deployment.generation);
        Err(Problem::new(409, "E0003", message, "change the file, and say `charter up` again").with_detail(verdict))
    }

    async fn error(&self, deployment: &Deployment) -> Problem {
        self.printer.settle();
        let Some(cause) = &deployment.cause else {
            return Problem::new(0, "E0001", format!("`{}` could not be started", self.name), "see `charter logs`");
        };
        let code = match cause.class.as_str() {
            "no_offer" => way_code(&cause.evidence).unwrap_or("P0001"),
            "create_refused" | "create_lost" => "P0003",
            "over_budget" => "M0001",
            "provider_refused" => "P0004",
            "ssh_refused" | "boot_timeout" | "machine_unreachable" | "machine_reset" | "launch_timeout" => "R0010",
            "secret_missing" => "C0011",
            _ => "E0002",
        };
        // When only the way to a machine failed, its own remedy stands beside it already.
        let on_the_way = code.starts_with('R') && cause.class == "no_offer";
        let hint = if on_the_way { format!("`charter explain {code}`") } else { cause.hint.clone() };
        let ready = deployment.replicas.iter().filter(|r| r.phase == "ready").count();
        let message = match ready {
            0 => format!("`{}` did not start: {}", self.name, cause.class),
            _ => format!("`{}` has {ready} of {} copies: {}", self.name, deployment.wanted, cause.class),
        };
        let log = if code == "E0002" { self.log_tail().await } else { String::new() };
        let detail =
            if log.is_empty() { cause.evidence.clone() } else { format!("{}\nthe end of its log:\n{log}", cause.evidence) };
        Problem::new(0, code, message, hint).with_detail(detail)
    }

    /// The last lines of the engine's log, for an error that a person must be able to act on.
    async fn log_tail(&self) -> String {
        let answer: Result<LogPart, Problem> =
            self.client.get(&format!("/api/v1/deployments/{}/logs?tail=50", segment(self.name))).await;
        let text = answer.map(|part| part.text).unwrap_or_default();
        let lines = text.lines().map(charter_engines::log::clean::strip_codes).map(|l| format!("  | {l}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Waits for the next change, and tells what is new.
    async fn look(&self, seen: &mut Seen) -> Result<Deployment, Problem> {
        let Watched { change, deployment, facts } = self.client.watched(self.name, seen.change).await?;
        seen.change = Some(change);
        let present = |r: &charter_api::status::Replica| r.phase == "ready" && r.generation == deployment.generation;
        let settled = deployment.status == "running" && deployment.replicas.iter().all(present);
        // How it ended is told by the error itself, with what to do.
        let cause = deployment.cause.as_ref().filter(|_| deployment.status == "error");
        let ending = |f: &Fact| cause.is_some_and(|c| f.text.ends_with(&c.evidence));
        self.tell(seen, &facts, settled, ending);
        let several = deployment.wanted > 1;
        let progress = deployment.replicas.iter().enumerate().find_map(|(copy, r)| {
            let progress = r.progress.clone()?;
            let text = if several { format!("copy {copy}: {}", progress.text) } else { progress.text };
            Some(Progress { text, ..progress })
        });
        if progress.is_some() && progress != seen.progress {
            self.tell_progress(progress.as_ref(), seen.progress.as_ref());
            seen.progress = progress;
        }
        Ok(deployment)
    }

    /// New lines of the time line. What lies before this watch began belongs to an earlier story.
    fn tell(&self, seen: &mut Seen, facts: &[Fact], running: bool, ending: impl Fn(&Fact) -> bool) {
        if seen.first && running {
            // It ran before: its story was told then.
            (seen.first, seen.last_at) = (false, facts.last().map_or(0, |f| f.at_ms));
            seen.last = facts.last().map(|f| (f.at_ms, f.text.clone()));
            return;
        }
        let known = |f: &Fact| seen.last.as_ref().is_some_and(|(when, what)| f.at_ms == *when && f.text == *what);
        let mut begin = facts.iter().rposition(known).map_or(0, |n| n + 1);
        if seen.first {
            begin = facts.iter().rposition(|f| f.text.contains("asked for")).unwrap_or(0);
            (seen.first, seen.last_at) = (false, facts.get(begin).map_or(0, |f| f.at_ms));
        }
        for fact in facts.iter().skip(begin).filter(|f| !ending(f)) {
            self.printer.settle();
            let since = (fact.at_ms - seen.last_at).max(0);
            self.printer.say_behind(&format!("  {:>6}.{} s  ", since / 1000, since % 1000 / 100), &fact.text);
        }
        seen.last = facts.last().map(|f| (f.at_ms, f.text.clone()));
    }

    fn tell_progress(&self, new: Option<&Progress>, old: Option<&Progress>) {
        let Some(new) = new else { return };
        if self.printer.live {
            self.printer.transient(&format!("            {}", new.text));
        } else if old.is_none_or(|o| o.phase != new.phase) {
            self.printer.say(&format!("            {}", new.text));
        }
    }
}
