//! `charter.status/1` and `charter.plan/1`: what the server tells and the command line prints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole answer to `charter status`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// `charter.status/1`.
    pub schema: String,
    /// The server.
    pub server: Server,
    /// All deployments that the key may see.
    pub deployments: Vec<Deployment>,
    /// Their sums.
    pub totals: Totals,
}

/// The server that answered.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    /// Its address.
    pub url: String,
    /// Its gateway.
    pub gateway_url: Option<String>,
    /// Its version.
    pub version: String,
}

/// One deployment.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Deployment {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who pays.
    pub tenant: String,
    /// Who asked.
    pub owner: String,
    /// Its profile.
    pub profile: String,
    /// The number of its present specification.
    pub generation: u32,
    /// `starting`, `loading`, `running`, `unreachable`, `stopping`, `stopped` or `error`.
    pub status: String,
    /// The names that clients use.
    pub served_names: Vec<String>,
    /// Fields that differ from the profile.
    pub drift: Vec<String>,
    /// Why it could not be told whether it lags behind.
    #[serde(default)]
    pub drift_problem: Option<String>,
    /// When its lease ends.
    pub expires_at: Option<String>,
    /// When it is destroyed if nobody uses it.
    pub idle_destroy_at: Option<String>,
    /// What runs it.
    pub engine: Engine,
    /// What went wrong.
    pub cause: Option<Cause>,
    /// The upgrade that is under way.
    #[serde(default)]
    pub upgrade: Option<Upgrading>,
    /// How many copies are wanted.
    pub wanted: u32,
    /// Its copies.
    pub replicas: Vec<Replica>,
    /// What was used.
    pub usage: Usage,
    /// What it has cost.
    pub spent_usd_micros: i64,
}

/// An upgrade that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upgrading {
    /// The generation that served when it began.
    pub from: u32,
    /// The new one.
    pub to: u32,
    /// `side-by-side`, `rolling`, `in-place` or `recreate`.
    pub strategy: String,
    /// `raise`, `bake` or `back`.
    pub stage: String,
    /// Who asked.
    pub by: String,
    /// When it began.
    pub began_at: String,
}

/// The inference server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Engine {
    /// Its kind.
    pub kind: String,
    /// Its resolved version.
    pub version: String,
    /// The digest of its image.
    pub image_digest: Option<String>,
}

/// A failure.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// Its class.
    pub class: String,
    /// What shows it.
    pub evidence: String,
    /// What to do.
    pub hint: String,
    /// What charter does.
    pub action: String,
}

/// One copy.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Replica {
    /// Its id.
    pub id: String,
    /// The generation it runs.
    pub generation: u32,
    /// Its phase.
    pub phase: String,
    /// When it came there.
    pub since_at: String,
    /// Its provider.
    pub provider: Option<String>,
    /// Its instance at the provider.
    pub instance: Option<String>,
    /// Its GPUs.
    pub gpu: Option<String>,
    /// What it costs.
    pub price_usd_micros_per_hour: i64,
    /// The SSH link: `idle`, `up` or `down`.
    pub tunnel: Option<String>,
    /// Its local port.
    pub forward: Option<String>,
    /// How far its start has come.
    pub progress: Option<Progress>,
    /// What `/health` said; reported, never decisive.
    pub health: Option<u16>,
    /// Tokens that its cache holds.
    pub capacity_tokens: Option<u64>,
    /// One line that tells where it stands.
    pub symptom: Option<String>,
}

/// How far a start has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// The phase of the engine's start.
    pub phase: String,
    /// What happens.
    pub text: String,
    /// Per cent of the phase.
    pub percent: Option<u8>,
}

/// What was used.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Requests.
    pub requests: u64,
    /// Tokens in.
    pub prompt_tokens: u64,
    /// Tokens out.
    pub completion_tokens: u64,
    /// Tokens out for each second of a request.
    #[serde(default)]
    pub tokens_per_second: u64,
    /// What the requests were charged with.
    #[serde(default)]
    pub cost_usd_micros: i64,
}

/// Sums.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// Price of all that runs.
    pub price_usd_micros_per_hour: i64,
    /// Spent so far.
    pub spent_usd_micros: i64,
    /// Set aside.
    pub committed_usd_micros: i64,
}

/// The whole answer to `charter plan`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// `charter.plan/1`.
    pub schema: String,
    /// There is something to do.
    pub pending: bool,
    /// One entry per deployment.
    pub deployments: Vec<PlanEntry>,
}

/// What would happen to a deployment.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlanEntry {
    /// Its name.
    pub name: String,
    /// `none`, `create`, `upgrade`, `scale` or `remove`.
    pub action: String,
    /// How.
    pub strategy: String,
    /// Why so.
    pub why: String,
    /// Field by field.
    pub changes: Vec<Change>,
    /// Price now.
    pub price_before_usd_micros_per_hour: i64,
    /// Price then.
    pub price_after_usd_micros_per_hour: i64,
    /// What running both costs.
    pub extra_usd_micros: i64,
    /// The worst that may be spent.
    pub committed_usd_micros: i64,
    /// How long nothing answers.
    pub gap_ms: Option<i64>,
    /// What could be had.
    pub offers: Vec<Offer>,
    /// Why something is not done.
    pub reports: Vec<Report>,
}

/// One field.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Its path.
    pub field: String,
    /// What the file says.
    pub profile: serde_json::Value,
    /// What it was started with.
    pub started_with: serde_json::Value,
    /// What the engine says.
    pub engine_reports: serde_json::Value,
    /// `none`, `route`, `live`, `engine-restart` or `new-machine`.
    pub effect: String,
}

/// An offer that fits.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Offer {
    /// Its id.
    pub id: String,
    /// Its provider.
    pub provider: String,
    /// Its GPUs.
    pub gpu: String,
    /// Its price.
    pub price_usd_micros_per_hour: i64,
    /// How good it is.
    pub score: Option<f64>,
}

/// A line of the planner.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// A stable code.
    pub code: String,
    /// A sentence.
    pub text: String,
}
