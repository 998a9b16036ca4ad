//! An upgrade as it goes, told event by event.

use crate::auth::Caller;
use crate::problem::{Answer, Path};
use crate::router::App;
use crate::upgrades::{find_fleet, fleet_of, shown};
use axum::extract::State as Shared;
use axum::response::Response;

/// What happens to a fleet, as a stream of events that ends with it.
pub(crate) async fn stream(Shared(app): Shared<App>, caller: Caller, Path(id): Path<String>) -> Answer<Response> {
    fleet_of(&app, &caller, &id).await?;
    let (events, receiver) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        let mut changes = app.controller.changes();
        let mut last = serde_json::Value::Null;
        loop {
            let change = *changes.borrow_and_update();
            let Ok(fleet) = find_fleet(&app, &id).await else { return };
            let now = serde_json::to_value(shown(&fleet)).unwrap_or_default();
            let sent = if now == last {
                Ok(())
            } else {
                last.clone_from(&now);
                events.send(crate::stream::event(change, &now)).await
            };
            // Whoever has left hears nothing any more.
            if sent.is_err() || fleet.is_over() {
                return;
            }
            let waited = tokio::select! {
                waited = tokio::time::timeout(crate::stream::QUIET, changes.changed()) => waited,
                () = app.stop.cancelled() => return,
                () = events.closed() => return,
            };
            match waited {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) if events.send(": still under way\n\n".into()).await.is_err() => return,
                Err(_) => {}
            }
        }
    });
    Ok(crate::stream::response(receiver))
}
