//! The end of everything, by one word.

use crate::auth::Caller;
use crate::problem::Answer;
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
    let mut ending = Ending { deployments: vec![], price_usd_micros_per_hour: 0 };
    let open = app.controller.store().replicas(None).await?;
    ending.price_usd_micros_per_hour =
        open.iter().filter_map(|(row, _)| row.state.instance()).map(|i| i.placement.offer.price.0).sum();
    for row in app.controller.store().deployments().await? {
        if row.state.wish == Wish::Run {
            app.controller.write_down(&row.state.id, format!("`{}` said to end everything", caller.name)).await?;
            ending.deployments.push(row.state.name);
        }
        app.controller.end(row.state.id.as_str()).await?;
    }
    app.controller.look_around();
    Ok((StatusCode::ACCEPTED, Json(ending)))
}
