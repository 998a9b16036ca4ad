//! What a gateway needs of the outside: the money of keys, and a place for usage. In the server's own process that is the
//! controller; in a process of its own it is the control plane's API.

use crate::cli::Global;
use crate::http;
use crate::local::find;
use charter_api::usage::{Draw, Drawn as Given};
use charter_controller::Controller;
use charter_domain::money::Usd;
use charter_domain::usage::Used;
use charter_gateway::{Bank, Drawn, Sink, Written};
use charter_web::UsageBatch;
use hyper::Method;
use std::time::Duration;

/// How long the control plane may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a batch is known by: its first request has an id of its own.
fn batch_id(batch: &[Used]) -> String {
    let first = batch.first().map_or("", |u| u.request.as_str());
    let last = batch.last().map_or("", |u| u.request.as_str());
    format!("{first}-{last}-{}", batch.len())
}

/// The doors of a gateway in the server's own process. The controller is there before anybody serves.
#[derive(Clone, Default)]
pub(crate) struct Own(std::sync::Arc<std::sync::OnceLock<Controller>>);

impl Own {
    pub(crate) fn open(&self, controller: Controller) {
        // It is opened once, at the start.
        self.0.set(controller).ok();
    }

    fn controller(&self) -> Result<&Controller, String> {
        self.0.get().ok_or_else(|| "the server is being started".to_owned())
    }
}

impl Bank for Own {
    fn draw<'a>(&'a self, key: &'a str, want: Usd) -> Drawn<'a> {
        Box::pin(async move { self.controller()?.draw(key, want).await.map_err(|e| e.to_string()) })
    }

    fn put_back<'a>(&'a self, key: &'a str, left: Usd) -> Drawn<'a> {
        Box::pin(async move {
            let controller = self.controller()?;
            controller.store().put_back(key, left, controller.now()).await.map_err(|e| e.to_string())?;
            Ok(left)
        })
    }
}

impl Sink for Own {
    fn write<'a>(&'a self, batch: &'a [Used]) -> Written<'a> {
        Box::pin(async move {
            let store = self.controller()?.store();
            store.record(&batch_id(batch), batch).await.map_err(|e| e.to_string())
        })
    }
}

/// The doors of a gateway in a process of its own.
pub(crate) struct Remote(pub(crate) Global);

impl Remote {
    async fn post(&self, path: &str, body: String) -> Result<Vec<u8>, String> {
        let known = find(&self.0).map_err(|problem| problem.message)?;
        let url = format!("{}/api/v1/gateway/{path}", known.url);
        let answer = http::send(Method::POST, &url, Some(&known.key), Some(body), PATIENCE).await?;
        if answer.status == 200 { Ok(answer.body.to_vec()) } else { Err(format!("`{url}` answered {}", answer.status)) }
    }
}

impl Bank for Remote {
    fn draw<'a>(&'a self, key: &'a str, want: Usd) -> Drawn<'a> {
        Box::pin(async move {
            let wish = Draw { key: key.to_owned(), want_usd_micros: want.0 };
            let answer = self.post("draw", serde_json::to_string(&wish).map_err(|e| e.to_string())?).await?;
            let drawn: Given = serde_json::from_slice(&answer).map_err(|e| e.to_string())?;
            Ok(Usd(drawn.drawn_usd_micros.clamp(0, want.0)))
        })
    }

    fn put_back<'a>(&'a self, key: &'a str, left: Usd) -> Drawn<'a> {
        Box::pin(async move {
            let wish = Draw { key: key.to_owned(), want_usd_micros: -left.0 };
            self.post("draw", serde_json::to_string(&wish).map_err(|e| e.to_string())?).await?;
            Ok(left)
        })
    }
}

impl Sink for Remote {
    fn write<'a>(&'a self, batch: &'a [Used]) -> Written<'a> {
        Box::pin(async move {
            let batch = UsageBatch { id: batch_id(batch), requests: batch.to_vec() };
            self.post("usage", serde_json::to_string(&batch).map_err(|e| e.to_string())?).await.map(drop)
        })
    }
}
