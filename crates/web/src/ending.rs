//! The end of everything, by one word.

use crate::auth::Caller;
use crate::problem::{Answer, failed};
use crate::router::App;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::ending::Ending;
use charter_domain::deployment::Wish;
use charter_store::Role;

/// Ends every deployment of every tenant, and looks at once for what else of ours stands at the providers: that is ended by the
/// sweep.
pub(crate) async fn end_all(State(app): State<App>, caller: Caller) -> Answer<(StatusCode, Json<Ending>)> {
    caller.need(Role::Admin)?;
    // Whoever said it may leave: it goes on.
    let ending = tokio::spawn(async move { end_each(&app, &caller.name).await });
    let broken = |_| failed(500, "A0007", "the end of everything was broken off", "say it again, or run `charter panic`");
    Ok((StatusCode::ACCEPTED, Json(ending.await.map_err(broken)??)))
}

/// One that cannot be told to end keeps no other from it.
async fn end_each(app: &App, by: &str) -> Answer<Ending> {
    let store = app.controller.store();
    let open = store.replicas(None).await?;
    let price = open.iter().filter_map(|(row, _)| row.state.instance()).map(|i| i.placement.offer.price.0).sum();
    let mut ending = Ending { deployments: vec![], failed: vec![], price_usd_micros_per_hour: price };
    for row in store.deployments().await?.into_iter().filter(|row| row.state.wish == Wish::Run) {
        let (id, name) = (row.state.id, row.state.name);
        match app.controller.end(id.as_str()).await {
            Ok(_) => ending.deployments.push(name),
            Err(error) => ending.failed.push(format!("`{name}`: {error}")),
        }
        if let Err(error) = app.controller.write_down(&id, format!("`{by}` said to end everything")).await {
            tracing::error!(%error, "who said to end everything could not be written down");
        }
    }
    app.controller.look_around();
    Ok(ending)
}
