//! `panic`: everything of ours down, now, with a receipt. It tells the server if one answers, and needs none.

use super::sweep::rows;
use super::{Context, Done};
use crate::client::{Client, segment};
use crate::install::{data_problem, database_problem};
use crate::output::{Printer, Tone, table};
use crate::outside::{Found, Outside, ask};
use crate::ports::now;
use charter_api::ending::Ending;
use charter_api::problem::Problem;
use charter_api::status::Status;
use charter_domain::deployment::Wish;
use charter_domain::fact::Fact;
use charter_domain::inventory::Belongs;
use charter_providers::Provider;
use charter_store::{Commit, Error, Store, Write};
use hyper::Method;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How long a server may take to answer before it is left aside.
const SERVER_PATIENCE: Duration = Duration::from_secs(5);
/// Rounds of list and destroy before it is told that something is left.
const ROUNDS_MAX: u32 = 120;
/// How long one provider may take for one list.
const PROVIDER_PATIENCE: Duration = Duration::from_secs(30);
/// Lists in a row without an answer before a provider is given up, and told as left.
const SILENT_MAX: u32 = 10;
/// Lists in a row that must be whole and empty.
const EMPTY_LISTS: u32 = 2;

/// Tells the running server that nothing is wanted any more. False where none answers.
async fn tell(client: &Client) -> Result<bool, Problem> {
    let told = async {
        match client.post::<Ending>("/api/v1/panic", &json!({})).await {
            // A server of an earlier version is told one by one.
            Err(problem) if problem.status == 404 => {
                let status: Status = client.get("/api/v1/status").await?;
                for deployment in &status.deployments {
                    client.act(Method::DELETE, &format!("/api/v1/deployments/{}", segment(&deployment.id))).await?;
                }
            }
            told => drop(told?),
        }
        Ok(true)
    };
    tokio::time::timeout(SERVER_PATIENCE, told).await.unwrap_or(Ok(false))
}

/// Writes down that nothing is wanted any more, for the next server.
async fn write_down(outside: &Outside) -> Result<(), Problem> {
    for _ in 0..20 {
        let rows = outside.store.deployments().await.map_err(|e| database_problem(&e))?;
        let wanted: Vec<_> = rows.into_iter().filter(|row| row.state.wish == Wish::Run).collect();
        let fact = |id: &charter_domain::ids::DeploymentId| Fact {
            at: now(),
            deployment: id.clone(),
            replica: None,
            text: "`charter panic` ended it".to_owned(),
        };
        let facts = wanted.iter().map(|row| fact(&row.state.id)).collect();
        let deployments = wanted
            .into_iter()
            .map(|mut row| {
                row.state.wish = Wish::Stop;
                Write { expected: row.version, state: row.state }
            })
            .collect();
        match outside.store.commit(Commit { deployments, facts, ..Commit::default() }).await {
            Ok(()) => return Ok(()),
            Err(Error::Conflict) => {}
            Err(error) => return Err(database_problem(&error)),
        }
    }
    Err(database_problem(&Error::Conflict))
}

/// Ends everything of ours at one provider, until whole lists show none of it, twice in a row. Returns what was ended, and what
/// is left or could not be asked.
async fn end_at(outside: Arc<Outside>, provider: Arc<dyn Provider>, printer: Printer) -> (Vec<Found>, Vec<String>) {
    let (mut ended, mut empty, mut silent): (Vec<Found>, u32, u32) = (vec![], 0, 0);
    let mut left = vec![];
    for _ in 0..ROUNDS_MAX {
        let (held, problem) = ask(&provider, PROVIDER_PATIENCE).await;
        silent = if problem.is_some() && held.is_empty() { silent + 1 } else { 0 };
        left = problem.into_iter().collect();
        let listed = held.into_iter().map(|h| (provider.name().to_owned(), h)).collect();
        let found = outside.belonging(listed).await.unwrap_or_default();
        let ours: Vec<Found> = found.into_iter().filter(|f| matches!(f.belongs, Belongs::InUse | Belongs::Stray)).collect();
        empty = if ours.is_empty() && left.is_empty() { empty + 1 } else { 0 };
        if empty >= EMPTY_LISTS {
            return (ended, vec![]);
        }
        if silent >= SILENT_MAX {
            return (ended, left);
        }
        for found in ours {
            match provider.destroy_stray(found.held.tag.as_ref(), &found.held.id).await {
                Ok(()) if ended.iter().any(|e| e.held.id == found.held.id) => {}
                Ok(()) => {
                    printer.say(&format!("ended `{}` of `{}`, {}", found.held.id, found.provider, found.held.price));
                    ended.push(found);
                }
                Err(error) => left.push(format!("`{}` of `{}`: {error}", found.held.id, found.provider)),
            }
        }
        outside.pause().await;
    }
    if left.is_empty() {
        left.push(format!("`{}` still shows what was ended", provider.name()));
    }
    (ended, left)
}

/// All providers at the same time: one that does not answer holds up no other.
async fn end_all(context: &Context<'_>, outside: &Arc<Outside>) -> (Vec<Found>, Vec<String>) {
    let mut ending = tokio::task::JoinSet::new();
    for provider in outside.providers.iter().cloned() {
        let (outside, printer) = (Arc::clone(outside), context.printer.clone());
        ending.spawn(end_at(outside, provider, printer));
    }
    let (mut ended, mut left) = (vec![], outside.problems.clone());
    while let Some(done) = ending.join_next().await {
        if let Ok((some, rest)) = done {
            ended.extend(some);
            left.extend(rest);
        }
    }
    (ended, left)
}

pub(crate) async fn panic(context: &Context<'_>) -> Done {
    let outside = Arc::new(Outside::open(context).await?);
    let told = match context.client() {
        Ok(client) => tell(&client).await.unwrap_or(false),
        Err(_) => false,
    };
    if !told {
        context.printer.say("no server answers in time: what it wanted is written down as not wanted any more");
        write_down(&outside).await?;
    }
    let (ended, left) = end_all(context, &outside).await;
    let at = now();
    let path = outside.data_dir.join(format!("panic-{}.json", at.0));
    let machines: Vec<Value> = ended
        .iter()
        .map(|f| json!({"provider": f.provider, "id": f.held.id, "label": f.held.label, "price_usd_micros_per_hour": f.held.price.0}))
        .collect();
    let receipt = json!({"schema": "charter.panic/1", "at": charter_web::rfc3339(at), "installation": outside.installation,
        "server_told": told, "ended": machines, "left": left, "receipt": path.display().to_string()});
    std::fs::write(&path, format!("{receipt:#}\n")).map_err(|e| data_problem(&outside.data_dir, &e))?;
    if context.printer.json {
        context.printer.document(&receipt);
    } else {
        if !ended.is_empty() {
            let lines = table(&["PROVIDER", "ID", "BELONGED", "PRICE", "LABEL"], &rows(&ended));
            lines.iter().for_each(|line| context.printer.data(line));
        }
        left.iter().for_each(|why| context.printer.say_in(Tone::Bad, why));
        let verdict =
            if left.is_empty() { "nothing of ours is left" } else { "something may be left: see above, and run it again" };
        context.printer.data(&format!("{} ended; {verdict}", ended.len()));
        context.printer.say(&format!("receipt: {}", path.display()));
    }
    Ok(if left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
