//! Is everything in order? What the server's own tasks did last, what the providers show, and what its own computer tells.

use crate::auth::Caller;
use crate::problem::Answer;
use crate::router::App;
use axum::extract::{Json, State};
use charter_api::doctor::{Advice, Doctor, Finding, Task};
use charter_domain::money::UsdPerHour;
use charter_store::Role;

/// What the background tasks did last, what is advised, and, for those who may act on it, what was found.
pub(crate) async fn doctor(State(app): State<App>, caller: Caller) -> Answer<Json<Doctor>> {
    caller.need(Role::Viewer)?;
    let done = app.controller.tasks().activations().into_iter();
    let task = |(name, a): (_, charter_controller::Activation)| Task {
        name: String::from(name),
        count: a.count,
        took_ms: a.took_ms,
        said: a.said,
        failed: a.failed,
    };
    let advice = app.controller.advice().await?.into_iter().map(|a| Advice { model: a.model, said: a.said, todo: a.todo });
    let mut told = Doctor {
        tasks: done.map(task).collect(),
        commits: app.controller.store().commits(),
        advice: advice.collect(),
        rented_closed: app.controller.rented_closed(),
        findings: vec![],
    };
    if caller.is_house() && caller.role >= Role::Operator {
        told.findings = findings(&app, &told).await?;
    }
    Ok(Json(told))
}

/// Everything that was looked at.
async fn findings(app: &App, told: &Doctor) -> Answer<Vec<Finding>> {
    let mut all = app.premises.findings().await;
    let failing = told.tasks.iter().filter(|t| t.failed);
    let before = all.len();
    all.extend(failing.map(|t| Finding::bad("server", format!("`{}` fails: {}", t.name, t.said), "see the server's log")));
    if all.len() == before {
        all.push(Finding::good("server", format!("its {} background tasks do their work", told.tasks.len())));
    }
    let stands_in = "what stands behind them in routes answers meanwhile";
    all.extend(told.rented_closed.iter().map(|why| Finding::bad("rented", why, stands_in)));
    all.extend(told.advice.iter().map(|a| Finding::bad("advice", format!("`{}`: {}", a.model, a.said), a.todo.clone())));
    all.extend(accounts(app).await?);
    Ok(all)
}

/// What stands at the providers, by the last sweep.
async fn accounts(app: &App) -> Answer<Vec<Finding>> {
    let swept = app.controller.swept();
    let open = app.controller.store().replicas(None).await?;
    let held: Vec<_> = open.iter().filter_map(|(row, _)| row.state.instance()).collect();
    let price = UsdPerHour(held.iter().map(|i| i.placement.offer.price.0).sum());
    let said = format!("{} asked; {} machines in use, {price} in all", app.controller.providers().len(), held.len());
    let mut all = vec![Finding::good("provider", said)];
    for (name, why) in &swept.suspicious {
        let todo = "check its key and the network; what runs there goes on, and nothing new is rented there meanwhile";
        all.push(Finding::bad("provider", format!("the list of `{name}` is not believed: {why}"), todo));
    }
    if swept.strays > 0 {
        let said = format!("{} machines are ours and held by nobody", swept.strays);
        all.push(Finding::bad("sweep", said, "they are ended by themselves at the next look"));
    }
    for q in &swept.quarantined {
        let said = format!("`{}` of `{}` costs {}: {}", q.held.id, q.provider, q.held.price, q.why);
        all.push(Finding::bad("sweep", said, "look whose it is; charter never touches it unless somebody says so"));
    }
    Ok(all)
}
