//! `doctor`: looks whether everything is in order, and says for each thing that is not what to do. It changes nothing, and needs
//! no server.

use super::{Context, Done};
use crate::output::{Tone, table};
use crate::outside::Outside;
use crate::ports::RealSecrets;
use crate::{config, local};
use charter_api::doctor::Doctor;
use charter_api::problem::Problem;
use charter_controller::Secrets;
use charter_domain::deployment::Wish;
use charter_domain::invariants::{World, check};
use charter_domain::inventory::Belongs;
use charter_domain::profile::EnvValue;
use charter_domain::replica::Replica;
use charter_store::{Error, Store};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::path::Path;
use std::process::ExitCode;

/// Less free space than this is told, in bytes.
const DISK_MIN: u64 = 500_000_000;

/// One thing that was looked at.
struct Finding {
    what: &'static str,
    good: bool,
    said: String,
    todo: Cow<'static, str>,
}

fn good(what: &'static str, said: impl Into<String>) -> Finding {
    Finding { what, good: true, said: said.into(), todo: "".into() }
}

fn bad(what: &'static str, said: impl Into<String>, todo: impl Into<Cow<'static, str>>) -> Finding {
    Finding { what, good: false, said: said.into(), todo: todo.into() }
}

fn folder(data_dir: &Path) -> Vec<Finding> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(meta) = std::fs::metadata(data_dir) else {
        return vec![good("data", format!("`{}` is not there yet; the first server makes it", data_dir.display()))];
    };
    let mut all = vec![];
    if meta.permissions().mode() & 0o077 == 0 {
        all.push(good("data", format!("`{}`", data_dir.display())));
    } else {
        let said = format!("others can read `{}`, and keys are in it", data_dir.display());
        all.push(bad("data", said, "`chmod 700` it"));
    }
    if let Ok(disk) = nix::sys::statvfs::statvfs(data_dir) {
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let said = format!("{} MB are free for database and logs", free / 1_000_000);
        all.push(if free < DISK_MIN {
            bad("disk", said, "free some space, or choose another `--data-dir`")
        } else {
            good("disk", said)
        });
    }
    all
}

async fn server(context: &Context<'_>) -> Vec<Finding> {
    let asked = async {
        let client = local::find(&context.global).map(crate::client::Client)?;
        client.get::<Doctor>("/api/v1/doctor").await
    };
    match asked.await {
        Err(problem) if problem.code == "A0001" => vec![good("server", "none runs here".to_owned())],
        Err(problem) => vec![bad("server", problem.message, "see the server's log")],
        Ok(told) => {
            let failing = told.tasks.iter().filter(|t| t.failed);
            let mut all: Vec<Finding> =
                failing.map(|t| bad("server", format!("`{}` fails: {}", t.name, t.said), "see the server's log")).collect();
            if all.is_empty() {
                all.push(good("server", format!("it runs, and its {} background tasks do", told.tasks.len())));
            }
            let stands_in = "what stands behind them in routes answers meanwhile";
            all.extend(told.rented_closed.map(|why| bad("rented", why, stands_in)));
            all.extend(told.advice.into_iter().map(|a| bad("advice", format!("`{}`: {}", a.model, a.said), a.todo)));
            let frozen = told.tasks.into_iter().find(|t| t.name == "sweep" && t.said.contains("nothing new is rented"));
            let wait = "if its key is right, wait until the list is whole again; nothing is lost meanwhile";
            all.extend(frozen.map(|t| bad("market", t.said, wait)));
            all
        }
    }
}

/// What the records say, and what they need that is not there.
async fn records(outside: &Outside) -> Result<Vec<Finding>, Error> {
    let store = &outside.store;
    let open: Vec<(Replica, bool)> = store.replicas(None).await?.into_iter().map(|(row, at)| (row.state, at.is_some())).collect();
    let intents = store.intents().await?;
    let mut world = World { replicas: open.iter().map(|(r, at)| (r, *at)).collect(), ..World::default() };
    for stored in &intents {
        world.intents.entry(stored.intent.replica.0.clone()).or_default().push(&stored.intent.effect);
    }
    let deployments = store.deployments().await?;
    let mut all = vec![good(
        "database",
        format!("{}, schema {}, {} deployments, {} copies open", store.kind(), store.schema(), deployments.len(), open.len()),
    )];
    let broken = check(&world);
    all.extend(broken.into_iter().map(|v| bad("records", format!("{:?}: {}", v.id, v.text), "start the server, and tell us")));
    for (replica, _) in &open {
        let Some(name) = replica.instance().map(|i| &i.placement.offer.provider) else { continue };
        if outside.provider(name).is_none() {
            let said = format!("`{name}` holds a machine of ours and is not in the file");
            all.push(bad("provider", said, "put it back into `server.providers`, so that it can be ended"));
        }
    }
    for row in deployments.iter().filter(|row| row.state.wish == Wish::Run) {
        for (name, value) in &row.state.profile.engine.env {
            if let EnvValue::Secret(secret) = value
                && let Err(why) = RealSecrets.read(secret)
            {
                let said = format!("`{}` needs `{name}`: {why}", row.state.name);
                all.push(bad("secret", said, "set it where the server is started; the next start of the engine needs it"));
            }
        }
    }
    Ok(all)
}

/// What stands at the providers.
async fn providers(outside: &Outside) -> Result<Vec<Finding>, Problem> {
    let seen = outside.look().await?;
    let mut all: Vec<Finding> = seen
        .problems
        .iter()
        .map(|why| bad("provider", why.clone(), "check its key and the network; what runs there goes on"))
        .collect();
    let count = |kind: Belongs| seen.all.iter().filter(|f| f.belongs == kind).count();
    let price: i64 = seen.all.iter().filter(|f| f.belongs != Belongs::Foreign).map(|f| f.held.price.0).sum();
    let price = charter_domain::money::UsdPerHour(price);
    if seen.problems.is_empty() || !seen.all.is_empty() {
        let said = format!("{} asked; {} machines in use, {price} in all", outside.providers.len(), count(Belongs::InUse));
        all.push(good("provider", said));
    }
    if count(Belongs::Stray) > 0 {
        let said = format!("{} machines are ours and held by nobody", count(Belongs::Stray));
        all.push(bad("sweep", said, "a running server ends them; without one `charter sweep --execute` does"));
    }
    for found in seen.all.iter().filter(|f| f.belongs == Belongs::Unclear) {
        let said = format!("`{}` of `{}` carries no tag and costs {}", found.held.id, found.provider, found.held.price);
        all.push(bad("sweep", said, "look whose it is; charter never touches it"));
    }
    Ok(all)
}

pub(crate) async fn doctor(context: &Context<'_>) -> Done {
    let data_dir = config::data_dir(&context.global)?;
    let mut all = folder(&data_dir);
    let file = config::find(&context.global, None);
    match file.as_deref().map(config::read) {
        None => all.push(good("file", "none is here; `charter deploy MODEL` needs none")),
        Some(Ok(_)) => all.push(good("file", file.map_or(String::new(), |f| format!("`{}`", f.display())))),
        Some(Err(problem)) => all.push(bad("file", problem.message, "correct it: `charter plan` shows the place")),
    }
    all.extend(server(context).await);
    match Outside::open(context).await {
        Ok(outside) => {
            match records(&outside).await {
                Ok(found) => all.extend(found),
                Err(error) => all.push(bad("database", error.to_string(), "see `charter explain D0001`")),
            }
            match providers(&outside).await {
                Ok(found) => all.extend(found),
                Err(problem) => all.push(bad("database", problem.message, "see `charter explain D0001`")),
            }
        }
        // Before the first server there is nothing to look at.
        Err(problem) if matches!(problem.code.as_str(), "D0004" | "C0014") => all.push(good("records", problem.message)),
        Err(problem) => all.push(bad("records", problem.message, "see above, and the server's log")),
    }
    Ok(show(context, &all))
}

fn show(context: &Context<'_>, all: &[Finding]) -> ExitCode {
    let todo = all.iter().filter(|f| !f.good).count();
    if context.printer.json {
        let rows: Vec<Value> =
            all.iter().map(|f| json!({"what": f.what, "good": f.good, "said": f.said, "todo": f.todo})).collect();
        context.printer.document(&json!({"schema": "charter.doctor/1", "todo": todo, "findings": rows}));
    } else {
        let rows: Vec<Vec<String>> =
            all.iter().map(|f| vec![if f.good { "ok" } else { "TO DO" }.to_owned(), f.what.to_owned(), f.said.clone()]).collect();
        let lines = table(&["", "WHAT", "SEEN"], &rows);
        for (line, finding) in lines.iter().skip(1).zip(all) {
            context.printer.data(line);
            if !finding.good {
                context.printer.data(&format!("         {}", finding.todo));
            }
        }
        let verdict = if todo == 0 { "everything is in order".to_owned() } else { format!("{todo} things to do") };
        context.printer.say_in(if todo == 0 { Tone::Good } else { Tone::Bad }, &verdict);
    }
    if todo == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) }
}
