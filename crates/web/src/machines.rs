//! What stands in the providers' accounts: whose it is, what it costs, and the end of what is nobody's, by a person's word.

use crate::auth::Caller;
use crate::problem::{Answer, Path, failed, unknown};
use crate::router::App;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_controller::EndError;
use charter_store::Role;
use serde_json::{Value, json};

/// Everything that is held, and everything that is shown and not touched.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Answer<Json<Value>> {
    caller.need(Role::Operator)?;
    let mut items = vec![];
    for row in app.controller.store().deployments().await?.into_iter().filter(|row| caller.sees(&row.state.tenant)) {
        for replica in app.controller.replicas_of(&row.state.id).await? {
            let Some(instance) = replica.instance() else { continue };
            let offer = &instance.placement.offer;
            items.push(
                json!({"provider": offer.provider, "id": instance.id, "deployment": row.state.name, "replica": replica.id.0,
                "gpu": instance.placement.label(), "price_usd_micros_per_hour": offer.price.0, "belongs": "in-use", "why": null}),
            );
        }
    }
    if caller.role == Role::Admin {
        items.extend(app.controller.swept().quarantined.iter().map(|q| {
            json!({"provider": q.provider, "id": q.held.id, "deployment": null, "replica": null, "gpu": null,
                "price_usd_micros_per_hour": q.held.price.0, "belongs": "unclear", "why": q.why})
        }));
    }
    Ok(Json(json!({"items": items, "next": null})))
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

/// Where machines come from.
pub(crate) async fn providers(State(app): State<App>, caller: Caller) -> Answer<Json<Value>> {
    caller.need(Role::Viewer)?;
    let swept = app.controller.swept();
    let items: Vec<Value> = app
        .controller
        .providers()
        .iter()
        .map(|p| json!({"name": p.name(), "rented": p.descriptor().rented, "proven": app.controller.proven(p.name()), "frozen": swept.suspicious.get(p.name())}))
        .collect();
    Ok(Json(json!({"items": items, "next": null})))
}
