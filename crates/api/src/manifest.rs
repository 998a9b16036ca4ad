//! `charter.manifest/1`, and manifests that are kept under names. Names of environment variables stand there, never their values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Everything that makes a deployment what it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// `charter.manifest/1`.
    pub schema: String,
    /// The deployment's name.
    pub name: String,
    /// Who pays.
    pub tenant: String,
    /// Who asked.
    pub owner: String,
    /// The number of its specification.
    pub generation: u32,
    /// Its model.
    pub model: String,
    /// What clients ask for.
    pub served_name: String,
    /// The model's revision.
    pub revision: Value,
    /// The seed.
    pub seed: Value,
    /// The engine's resolved version.
    pub engine_version: String,
    /// The digest of its image.
    pub image_digest: Option<String>,
    /// Why that is not known.
    pub image_digest_reason: String,
    /// The packages of its environment.
    pub packages: Option<Vec<String>>,
    /// Why they are not known.
    pub packages_reason: String,
    /// What the engine was started with.
    pub arguments: Arguments,
    /// Its adapters.
    pub lora: Vec<Adapter>,
    /// The GPUs that it ran on.
    pub gpu: Cards,
    /// The host that it ran on.
    pub host: Option<String>,
    /// The provider of that.
    pub provider: Option<String>,
    /// Names of variables whose values have to be given anew.
    pub env_keys: Vec<String>,
    /// When the deployment was made.
    pub created_at: String,
    /// The profile, as a file has it.
    pub profile: Value,
    /// The deployment, as a file has it.
    pub deployment: Value,
}

/// What an engine is started with.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Arguments {
    /// By name.
    pub options: Map<String, Value>,
    /// As they are.
    pub extra_args: Vec<String>,
}

/// An adapter.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Adapter {
    /// What clients ask for.
    pub name: String,
    /// Where it is fetched.
    pub path: String,
}

/// GPUs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Cards {
    /// Which of the machine's.
    pub indices: Vec<u32>,
    /// Their names.
    pub names: Vec<String>,
    /// The share of their memory that the engine takes.
    pub memory_fraction: Value,
    /// Over how many of them a layer is spread.
    pub tensor_parallel_size: Value,
}

/// A value that a manifest does not hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// The variable's name.
    pub key: String,
    /// Its value; it is never told again.
    pub value: String,
}

/// A manifest, and what it does not hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// As `charter manifest export` printed it.
    pub manifest: Value,
    /// Another name than the manifest's.
    #[serde(default)]
    pub name: Option<String>,
    /// One of our machines.
    #[serde(default)]
    pub node_id: Option<String>,
    /// A local port that leads to the engine.
    #[serde(default)]
    pub port: Option<u16>,
    /// Values of its variables.
    #[serde(default)]
    pub env_vars: Vec<Variable>,
}

/// What is saved: a deployment as it is now, or a manifest.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Save {
    /// Under this name.
    pub name: String,
    /// A deployment.
    #[serde(default)]
    pub deployment: Option<String>,
    /// Or a manifest.
    #[serde(default)]
    pub manifest: Option<Value>,
}

/// A saved configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Saved {
    /// Its name.
    pub name: String,
    /// Who saved it.
    pub by: String,
    /// Whose it is.
    #[serde(default = "house")]
    pub tenant: String,
    /// When.
    pub saved_at: String,
    /// As it was saved.
    pub manifest: Value,
}

fn house() -> String {
    "default".to_owned()
}

/// What is given beside a saved configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Again {
    /// Another name than the manifest's.
    pub name: Option<String>,
    /// One of our machines.
    pub node_id: Option<String>,
    /// A local port that leads to the engine.
    pub port: Option<u16>,
    /// Values of its variables.
    pub env_vars: Vec<Variable>,
}
