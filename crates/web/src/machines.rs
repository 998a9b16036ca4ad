//! What stands in the providers' accounts: whose it is, what it costs, and the end of what is nobody's, by a person's word.

use crate::auth::Caller;
use crate::problem::{Answer, Path, failed, unknown};
use crate::router::App;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::list::List;
use charter_api::market::{Machine, Provider};
use charter_controller::EndError;
use charter_store::Role;

/// Everything that is held, and everything that is shown and not touched.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<List<Machine>>> {
    caller.need(Role::Operator)?;
    let mut items = vec![];
    for row in app.controller.store().deployments().await?.into_iter().filter(|row| caller.sees(&row.state.tenant)) {
        for replica in app.controller.replicas_of(&row.state.id).await? {
            let Some(instance) = replica.instance() else { continue };
            let offer = &instance.placement.offer;
            items.push(Machine {
                provider: offer.provider.clone(),
                id: instance.id.clone(),
                deployment: Some(row.state.name.clone()),
                replica: Some(replica.id.0.clone()),
                gpu: Some(instance.placement.label()),
                price_usd_micros_per_hour: offer.price.0,
                belongs: "in-use".to_owned(),
                why: None,
            });
        }
    }
    if caller.role == Role::Admin {
        items.extend(app.controller.swept().quarantined.into_iter().map(|q| Machine {
            provider: q.provider,
            id: q.held.id,
            deployment: None,
            replica: None,
            gpu: None,
            price_usd_micros_per_hour: q.held.price.0,
            belongs: "unclear".to_owned(),
            why: Some(q.why.to_owned()),
        }));
    }
    Ok(Json(List::whole(items)))
}

/// Ends an instance that is quarantined, and nothing else: what is ours ends with its deployment.
pub(crate) async fn end_quarantined(app: &App, caller: &Caller, provider: &str, id: &str) -> Answer<()> {
    caller.need(Role::Admin)?;
    match app.controller.end_quarantined(provider, id, &caller.name).await {
        Ok(()) => Ok(()),
        Err(EndError::NotThere) => Err(unknown("machine", id)),
        Err(EndError::Provider(why)) => {
            let hint = "it stands there still: try again, or end it in the provider's own console";
            Err(failed(502, "P0004", format!("`{id}` at `{provider}` could not be ended"), hint).detail(why))
        }
    }
}

pub(crate) async fn end(
    State(app): State<App>,
    caller: Caller,
    Path((provider, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    end_quarantined(&app, &caller, &provider, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Looks at the providers now, and not only when the time has come.
pub(crate) async fn look(State(app): State<App>, caller: Caller) -> Answer<StatusCode> {
    caller.need_house(Role::Operator)?;
    app.controller.look_around();
    Ok(StatusCode::ACCEPTED)
}

/// Where machines come from.
pub(crate) async fn providers(State(app): State<App>, caller: Caller) -> Answer<Json<List<Provider>>> {
    caller.need(Role::Viewer)?;
    let swept = app.controller.swept();
    let all = app.controller.providers().iter();
    let items = all
        .map(|p| Provider {
            name: p.name().to_owned(),
            rented: p.descriptor().rented,
            proven: app.controller.proven(p.name()),
            frozen: swept.suspicious.get(p.name()).cloned(),
        })
        .collect();
    Ok(Json(List::whole(items)))
}
