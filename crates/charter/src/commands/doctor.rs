//! `doctor`: looks whether everything is in order, and says for each thing that is not what to do. It changes nothing, and needs
//! no server.

use super::{Context, Done};
use crate::examination::{Programs, file, folder, records};
use crate::output::{Tone, table};
use crate::outside::Outside;
use crate::{config, local};
use charter_api::doctor::{Doctor, Finding};
use charter_api::problem::Problem;
use charter_domain::inventory::Belongs;
use serde_json::json;
use std::process::ExitCode;

async fn server(context: &Context<'_>) -> Vec<Finding> {
    let asked = async {
        let client = local::find(&context.global).map(crate::client::Client)?;
        client.get::<Doctor>("/api/v1/doctor").await
    };
    match asked.await {
        Err(problem) if problem.code == "A0001" => vec![Finding::good("server", "none runs here".to_owned())],
        Err(problem) => vec![Finding::bad("server", problem.message, "see the server's log")],
        Ok(told) => {
            let failing = told.tasks.iter().filter(|t| t.failed);
            let mut all: Vec<Finding> = failing
                .map(|t| Finding::bad("server", format!("`{}` fails: {}", t.name, t.said), "see the server's log"))
                .collect();
            if all.is_empty() {
                all.push(Finding::good("server", format!("it runs, and its {} background tasks do", told.tasks.len())));
            }
            let stands_in = "what stands behind them in routes answers meanwhile";
            all.extend(told.rented_closed.map(|why| Finding::bad("rented", why, stands_in)));
            all.extend(told.advice.into_iter().map(|a| Finding::bad("advice", format!("`{}`: {}", a.model, a.said), a.todo)));
            let frozen = told.tasks.into_iter().find(|t| t.name == "sweep" && t.said.contains("nothing new is rented"));
            let wait = "if its key is right, wait until the list is whole again; nothing is lost meanwhile";
            all.extend(frozen.map(|t| Finding::bad("market", t.said, wait)));
            all
        }
    }
}

/// What stands at the providers.
async fn providers(outside: &Outside) -> Result<Vec<Finding>, Problem> {
    let seen = outside.look().await?;
    let mut all: Vec<Finding> = seen
        .problems
        .iter()
        .map(|why| Finding::bad("provider", why.clone(), "check its key and the network; what runs there goes on"))
        .collect();
    let count = |kind: Belongs| seen.all.iter().filter(|f| f.belongs == kind).count();
    let price: i64 = seen.all.iter().filter(|f| f.belongs != Belongs::Foreign).map(|f| f.held.price.0).sum();
    let price = charter_domain::money::UsdPerHour(price);
    if seen.problems.is_empty() || !seen.all.is_empty() {
        let said = format!("{} asked; {} machines in use, {price} in all", outside.providers.len(), count(Belongs::InUse));
        all.push(Finding::good("provider", said));
    }
    if count(Belongs::Stray) > 0 {
        let said = format!("{} machines are ours and held by nobody", count(Belongs::Stray));
        all.push(Finding::bad("sweep", said, "a running server ends them; without one `charter sweep --execute` does"));
    }
    for found in seen.all.iter().filter(|f| f.belongs == Belongs::Unclear) {
        let said = format!("`{}` of `{}` carries no tag and costs {}", found.held.id, found.provider, found.held.price);
        all.push(Finding::bad("sweep", said, "look whose it is; charter never touches it"));
    }
    Ok(all)
}

pub(crate) async fn doctor(context: &Context<'_>) -> Done {
    let data_dir = config::data_dir(&context.global)?;
    let mut all = folder(&data_dir);
    all.push(file(config::find(&context.global, None).as_deref()));
    all.extend(server(context).await);
    match Outside::open(context).await {
        Ok(outside) => {
            match records(&outside.store, |name| outside.provider(name).is_some(), Programs::Run).await {
                Ok(found) => all.extend(found),
                Err(error) => all.push(Finding::bad("database", error.to_string(), "see `charter explain D0001`")),
            }
            match providers(&outside).await {
                Ok(found) => all.extend(found),
                Err(problem) => all.push(Finding::bad("database", problem.message, "see `charter explain D0001`")),
            }
        }
        // Before the first server there is nothing to look at.
        Err(problem) if matches!(problem.code.as_str(), "D0004" | "C0014") => all.push(Finding::good("records", problem.message)),
        Err(problem) => all.push(Finding::bad("records", problem.message, "see above, and the server's log")),
    }
    Ok(show(context, &all))
}

fn show(context: &Context<'_>, all: &[Finding]) -> ExitCode {
    let todo = all.iter().filter(|f| !f.good).count();
    if context.printer.json {
        context.printer.document(&json!({"schema": "charter.doctor/1", "todo": todo, "findings": all}));
    } else {
        let rows: Vec<Vec<String>> =
            all.iter().map(|f| vec![if f.good { "ok" } else { "TO DO" }.to_owned(), f.what.clone(), f.said.clone()]).collect();
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
