//! The end of everything, by one word.

use crate::auth::Caller;
use crate::problem::{Answer, failed};
use crate::router::App;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::ending::Ending;
use charter_store::Role;

/// Ends every deployment of every tenant in one commit, and looks at once for what else of ours stands at the providers: that is ended by the
/// sweep.
pub(crate) async fn end_all(State(app): State<App>, caller: Caller) -> Answer<(StatusCode, Json<Ending>)> {
    caller.need(Role::Admin)?;
    let open = app.controller.store().replicas(None).await?;
    let price = open.iter().filter_map(|(row, _)| row.state.instance()).map(|i| i.placement.offer.price.0).sum();
    // Whoever said it may leave: it goes on.
    let ending = tokio::spawn(async move {
        let ended = app.controller.end_everything(&caller.name).await;
        app.controller.look_around();
        ended
    });
    let broken = |_| failed(500, "A0007", "the end of everything was broken off", "say it again, or run `charter panic`");
    let deployments = ending.await.map_err(broken)??;
    Ok((StatusCode::ACCEPTED, Json(Ending { deployments, price_usd_micros_per_hour: price })))
}
