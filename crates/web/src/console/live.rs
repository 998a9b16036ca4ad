//! Tells an open page that something has changed; the page asks for what it shows anew.

use super::console::Console;
use super::visitor::Visitor;
use crate::stream::QUIET;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use std::time::Duration;

/// A page is told no more often than this.
const EACH: Duration = Duration::from_millis(400);
/// What changes by itself, such as a log's end or a load's progress, is looked at so often without a word.
const ANYWAY: Duration = Duration::from_secs(5);

/// One event for many changes.
pub(crate) async fn stream(State(console): State<Console>, _: Visitor) -> Response {
    let (events, receiver) = tokio::sync::mpsc::channel(1);
    let (mut changes, stop) = (console.app.controller.changes(), console.app.stop);
    tokio::spawn(async move {
        let mut quiet = Duration::ZERO;
        loop {
            let changed = tokio::select! {
                changed = tokio::time::timeout(ANYWAY, changes.changed()) => changed,
                () = stop.cancelled() => return,
                () = events.closed() => return,
            };
            let said = match changed {
                Ok(Ok(())) => {
                    quiet = Duration::ZERO;
                    Bytes::from(format!("event: changed\ndata: {}\n\n", *changes.borrow_and_update()))
                }
                Ok(Err(_)) => return,
                Err(_) => {
                    quiet += ANYWAY;
                    if quiet < QUIET {
                        continue;
                    }
                    quiet = Duration::ZERO;
                    Bytes::from_static(b"event: tick\ndata: 0\n\n")
                }
            };
            if events.send(said).await.is_err() {
                return;
            }
            tokio::time::sleep(EACH).await;
        }
    });
    crate::stream::response(receiver)
}
