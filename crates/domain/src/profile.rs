//! A profile: the source of truth for what runs, on what, at which price. Read from `charter.yaml`, stored as it was.

use crate::money::UsdPerHour;
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a model is to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Hub id, or absolute path on the machine.
    pub model: String,
    /// The name clients use; the model when nothing else is said.
    pub served_name: String,
    /// Providers by name in order of preference; empty means all, in the order of the file.
    pub providers: Vec<String>,
    /// The inference server and its settings.
    pub engine: Engine,
    /// What the machine must have.
    pub gpu: Gpu,
    /// Disk on the machine, in bytes.
    pub disk_bytes: u64,
    /// Lowest reliability a marketplace host may have, in thousandths.
    pub min_reliability_permille: u32,
    /// Requests that one replica answers at the same time.
    pub max_concurrent: u32,
    /// End what is rented after so long without a request; `None` leaves it to the server.
    pub keep_alive: Option<Span>,
    /// How long things may take, and how often they are tried.
    pub limits: Limits,
    /// Prompts with known answers.
    pub canary: Vec<Canary>,
}

/// The inference server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Engine {
    /// Its kind, such as `vllm`.
    pub kind: String,
    /// Wanted version as written; empty means the newest stable one.
    pub version: String,
    /// Where its program comes from.
    pub source: Source,
    /// The program and its first arguments, for [`Source::Installed`].
    pub command: Vec<String>,
    /// Structured options under the engine's own names, as written, so that they survive save, load and redeploy.
    pub options: BTreeMap<String, OptionValue>,
    /// Appended last; they win.
    pub extra_args: Vec<String>,
    /// Adapters served beside the model.
    pub lora: Vec<Lora>,
    /// Environment of the engine.
    pub env: BTreeMap<String, EnvValue>,
}

/// Where the engine's program comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The engine's official container image.
    Image,
    /// A virtual environment that charter makes on the machine.
    Venv,
    /// A program that is on the machine already.
    Installed,
}

/// The value of a structured option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// A switch.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Any other scalar, as written.
    Text(String),
}

impl std::fmt::Display for OptionValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(b) => write!(f, "{b}"),
            Self::Number(n) => write!(f, "{n}"),
            Self::Text(t) => f.write_str(t),
        }
    }
}

/// An adapter with the name that clients use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lora {
    /// The name it answers to.
    pub name: String,
    /// Hub id or path on the machine.
    pub path: String,
}

/// A value of the engine's environment. Secrets are named, never stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvValue {
    /// Written in the file.
    Plain(String),
    /// Read at the time of use.
    Secret(SecretRef),
}

/// Where a secret is read at the time of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretRef {
    /// An environment variable of the server.
    Env(String),
    /// A file on the server's machine.
    File(String),
    /// A program on the server's machine that prints it.
    Command(Vec<String>),
}

/// Is a variable of this name shown to nobody?
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    ["TOKEN", "KEY", "SECRET", "PASSWORD"].iter().any(|word| upper.contains(word))
}

/// What the machine must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// How many GPUs one replica takes; 0 means that a machine without any will do.
    pub count: u32,
    /// Exactly these, by index, on own machines; empty means any.
    pub indices: Vec<u32>,
    /// Memory per GPU.
    pub min_vram: Vram,
    /// Lowest compute capability, as tenths: `8.6` is 86.
    pub min_compute_tenths: Option<u32>,
    /// The cap of every tier, for the whole machine.
    pub max_price: Option<UsdPerHour>,
    /// Cards in order of preference, each with its own cap.
    pub tiers: Vec<Tier>,
    /// After the tiers, any card that fits and is under the cap.
    pub other_names: bool,
}

/// Memory per GPU that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vram {
    /// From the model's size.
    Auto,
    /// So many bytes, with 7 % tolerance.
    Bytes(u64),
}

/// A card and what it may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// The card's name, with spaces.
    pub gpu: String,
    /// The most it may cost.
    pub max_price: UsdPerHour,
}

/// The cards that are tried where a profile names none, in this order, each with what it may cost.
#[must_use]
pub fn built_in_tiers() -> Vec<Tier> {
    const TIERS: [(&str, i64); 10] = [
        ("RTX 3090", 150_000),
        ("RTX 3090 Ti", 160_000),
        ("RTX 4090", 180_000),
        ("RTX 4080", 170_000),
        ("RTX A5000", 200_000),
        ("RTX A6000", 250_000),
        ("A40", 300_000),
        ("A100", 500_000),
        ("V100", 350_000),
        ("RTX 3080", 120_000),
    ];
    TIERS.iter().map(|(gpu, micros)| Tier { gpu: (*gpu).to_owned(), max_price: UsdPerHour(*micros) }).collect()
}

/// How long things may take, and how often they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// One search of the offers.
    pub search: Span,
    /// Searches without a fitting offer before giving up.
    pub search_retries: u32,
    /// No progress in provider status or engine log.
    pub stall: Span,
    /// From the rental to a running machine.
    pub boot: Span,
    /// From a running machine to a session on it.
    pub ssh: Span,
    /// From the engine's start to its first answer.
    pub load: Span,
    /// Engine starts that fail before the machine is given up.
    pub failed_restarts: u32,
    /// Machines tried.
    pub attempts: u32,
    /// For so long a new generation is watched before the old one is ended.
    pub bake: Span,
    /// For so long requests of an old generation may go on after the new one has taken over.
    pub drain: Span,
}

impl Limits {
    /// All of them, under their names in the file.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, String)> {
        let Self { search, search_retries, stall, boot, ssh, load, failed_restarts, attempts, bake, drain } = self;
        let spans = [
            ("search", search),
            ("stall", stall),
            ("boot", boot),
            ("ssh", ssh),
            ("load", load),
            ("bake", bake),
            ("drain", drain),
        ];
        let counts = [("search-retries", search_retries), ("failed-restarts", failed_restarts), ("attempts", attempts)];
        let spans = spans.into_iter().map(|(name, span)| (name, span.to_string()));
        spans.chain(counts.into_iter().map(|(name, count)| (name, count.to_string()))).collect()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            search: Span::s(30),
            search_retries: 3,
            stall: Span::min(10),
            boot: Span::min(30),
            ssh: Span::min(10),
            load: Span::min(30),
            failed_restarts: 3,
            attempts: 3,
            bake: Span::min(1),
            drain: Span::min(10),
        }
    }
}

/// A prompt whose answer must contain a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// What is asked.
    pub prompt: String,
    /// What the answer must contain.
    pub expect: String,
}

impl Profile {
    /// What the engine itself calls the model.
    #[must_use]
    pub fn own_name(&self) -> &str {
        if self.engine.kind == "ollama" { &self.model } else { &self.served_name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_looking_names_are_known_in_any_case() {
        for name in ["HF_TOKEN", "hugging_face_hub_token", "AWS_SECRET", "DB_PASSWORD", "API_KEY"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["VLLM_ATTENTION_BACKEND", "HF_HOME"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
