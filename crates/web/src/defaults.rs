//! What the form of a new deployment begins with, for everybody who deploys here. It only fills fields in: whoever deploys sees
//! them, and may say something else.

use crate::auth::Caller;
use crate::events::told;
use crate::problem::{Answer, Body, failed};
use crate::router::App;
use axum::extract::{Json, State};
use charter_store::Role;

/// Where they are kept.
const KEPT: &str = "form-defaults";
/// Ten years.
const HOURS_MAX: u32 = 87_600;

/// What is left out is chosen as before.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Defaults {
    /// The first local port to an engine; the next one that no deployment has is taken.
    pub(crate) port: Option<u16>,
    /// Share of a GPU's memory that an engine takes, above 0 and at most 1.
    pub(crate) gpu_memory_utilization: Option<f64>,
    /// How long something is served.
    pub(crate) serve_for_hours: Option<u32>,
    /// The engine's version: `x.y.z`, `nightly` or a commit.
    pub(crate) engine_version: Option<String>,
    /// Starts that may fail on one machine, one after the other.
    pub(crate) failed_restarts: Option<u32>,
}

impl Defaults {
    fn check(&self) -> Answer<()> {
        let wrong = |message: &str, hint: &str| Err(failed(422, "A0422", message.to_owned(), hint.to_owned()));
        if self.port == Some(0) {
            return wrong("`port` is 0", "name a port from 1 to 65535, or leave it out");
        }
        if self.gpu_memory_utilization.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            return wrong("`gpu_memory_utilization` is no share", "a number above 0 and at most 1, such as 0.9");
        }
        if self.serve_for_hours.is_some_and(|hours| hours == 0 || hours > HOURS_MAX) {
            return wrong("`serve_for_hours` is out of range", "1 to 87600 hours; leave it out for no end");
        }
        if self.failed_restarts.is_some_and(|count| count > 100) {
            return wrong("`failed_restarts` is out of range", "0 to 100");
        }
        let plain = |text: &String| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_+".contains(&b));
        if self.engine_version.as_ref().is_some_and(|version| version.is_empty() || !plain(version)) {
            return wrong("`engine_version` is no version", "`x.y.z`, `nightly`, or a commit of 40 hex digits");
        }
        Ok(())
    }
}

/// Those in use.
pub(crate) async fn kept(app: &App) -> Answer<Defaults> {
    let stored = app.controller.store().metas(KEPT).await?;
    let text = stored.into_iter().find(|(name, _)| name == KEPT).map(|(_, text)| text);
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

pub(crate) async fn get(State(app): State<App>, _: Caller) -> Answer<Json<Defaults>> {
    Ok(Json(kept(&app).await?))
}

pub(crate) async fn put(State(app): State<App>, caller: Caller, Body(wanted): Body<Defaults>) -> Answer<Json<Defaults>> {
    caller.need_house(Role::Operator)?;
    wanted.check()?;
    app.controller.store().put_meta(KEPT, &serde_json::json!(wanted).to_string()).await?;
    told(&app, &caller, "changed what the form of a new deployment begins with".to_owned()).await?;
    Ok(Json(wanted))
}

/// The first local port from this one on that no deployment here leads to its engine.
pub(crate) async fn free_port(app: &App, from: u16) -> Answer<Option<u16>> {
    let rows = app.controller.store().deployments().await?;
    let runs = |wish| wish == charter_domain::deployment::Wish::Run;
    let taken: std::collections::BTreeSet<u16> =
        rows.iter().filter(|row| runs(row.state.wish)).filter_map(|row| row.state.forward.as_ref().map(|f| f.port)).collect();
    Ok((from..=u16::MAX).find(|port| !taken.contains(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_deployment_could_have_is_refused() {
        let of = |text: &str| serde_json::from_str::<Defaults>(text).map_err(|e| e.to_string());
        let good = [
            "{}",
            r#"{"port":9000,"gpu_memory_utilization":1,"serve_for_hours":8,"engine_version":"0.33.0","failed_restarts":0}"#,
        ];
        for text in good {
            assert!(of(text).is_ok_and(|d| d.check().is_ok()), "{text}");
        }
        let wrong = [
            r#"{"port":0}"#,
            r#"{"gpu_memory_utilization":0}"#,
            r#"{"gpu_memory_utilization":1.1}"#,
            r#"{"serve_for_hours":0}"#,
            r#"{"engine_version":""}"#,
            r#"{"engine_version":"1; rm -rf /"}"#,
            r#"{"failed_restarts":101}"#,
        ];
        for text in wrong {
            assert!(of(text).is_ok_and(|d| d.check().is_err()), "{text}");
        }
        assert!(of(r#"{"ports":1}"#).is_err());
    }
}
