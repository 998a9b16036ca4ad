//! Routes: what people say of a public name, and what a gateway would do with a request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// How a backend is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The one with the least to do.
    #[default]
    LeastLoad,
    /// The one that knows the prompt's beginning.
    Prefix,
    /// The same for a session.
    Session,
    /// By weight.
    Weighted,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::LeastLoad, Self::Prefix, Self::Session, Self::Weighted];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoad => "least-load",
            Self::Prefix => "prefix",
            Self::Session => "session",
            Self::Weighted => "weighted",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name)
    }
}

/// A member of a route.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// A deployment, or a registered backend.
    pub backend: String,
    /// How much of the requests it takes, beside the others; 1 without a word, none with 0.
    #[serde(default = "one")]
    pub weight: u32,
}

const fn one() -> u32 {
    1
}

/// Micro-dollars for a million tokens.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Tokens in.
    pub input_usd_micros: i64,
    /// Tokens in that a cache had; as the others without a word.
    #[serde(default)]
    pub cached_usd_micros: Option<i64>,
    /// Tokens out.
    pub output_usd_micros: i64,
}

/// What is said of a name. What is left out is as usual.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteWish {
    /// How one is chosen.
    pub policy: Policy,
    /// Who may answer; empty means everybody who serves the name.
    pub backends: Vec<Member>,
    /// How long a request waits for something that has to be started.
    pub start_seconds: Option<i64>,
    /// How long it waits for a place.
    pub queue_seconds: Option<i64>,
    /// How long for the first token.
    pub first_token_seconds: Option<i64>,
    /// How long between two tokens.
    pub between_tokens_seconds: Option<i64>,
    /// How long an answer may take.
    pub whole_seconds: Option<i64>,
    /// How long answers are kept.
    pub cache_seconds: Option<i64>,
    /// What tokens cost; by the rent without a word.
    pub price: Option<Price>,
    /// Models by effort.
    pub tiers: BTreeMap<String, String>,
    /// Who is asked where the ones before cannot answer, in this order.
    pub fallback: Vec<String>,
}

/// A name, and what was said of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// What clients ask for.
    pub name: String,
    /// How one is chosen.
    pub policy: Policy,
    /// Who may answer; empty means everybody who serves the name.
    pub backends: Vec<Member>,
    /// How long a request waits for something that has to be started.
    pub start_seconds: i64,
    /// How long it waits for a place.
    pub queue_seconds: i64,
    /// How long for the first token.
    pub first_token_seconds: i64,
    /// How long between two tokens.
    pub between_tokens_seconds: i64,
    /// How long an answer may take.
    pub whole_seconds: i64,
    /// How long answers are kept; not at all without a word.
    pub cache_seconds: Option<i64>,
    /// What tokens cost.
    pub price: Option<Price>,
    /// Models by effort.
    pub tiers: BTreeMap<String, String>,
    /// Who is asked where the ones before cannot answer.
    pub fallback: Vec<String>,
}

impl From<Route> for RouteWish {
    fn from(route: Route) -> Self {
        Self {
            policy: route.policy,
            backends: route.backends,
            start_seconds: Some(route.start_seconds),
            queue_seconds: Some(route.queue_seconds),
            first_token_seconds: Some(route.first_token_seconds),
            between_tokens_seconds: Some(route.between_tokens_seconds),
            whole_seconds: Some(route.whole_seconds),
            cache_seconds: route.cache_seconds,
            price: route.price,
            tiers: route.tiers,
            fallback: route.fallback,
        }
    }
}

/// What is to be explained.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteQuestion {
    /// The body of a request, as a client would send it.
    pub request: Value,
    /// The effort that its header would force, from 1 to 10.
    #[serde(default)]
    pub effort: Option<u8>,
}

/// `charter.route-explain/1`: what a gateway would do with a request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// `charter.route-explain/1`.
    pub schema: String,
    /// The name that the request asks for.
    pub name: String,
    /// The tier of its effort; none where the request names its model.
    pub tier: Option<String>,
    /// Its effort, from 1 to 10.
    pub effort: Option<u8>,
    /// Who is asked first.
    pub model: String,
    /// Why.
    pub why: String,
    /// What was found in the prompt.
    pub parts: Vec<Part>,
    /// Who is asked, in this order.
    pub chain: Vec<Step>,
}

/// Something that was found in a prompt.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// What.
    pub name: String,
    /// How much of it.
    pub found: f64,
    /// What that weighs.
    pub weight: f64,
    /// What it adds.
    pub points: f64,
}

/// One who is asked.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Could it answer now?
    pub state: String,
    /// Does it call tools?
    pub tools: Option<bool>,
}

/// Whether rented machines get requests.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rented {
    /// They do.
    pub on: bool,
    /// Why not.
    pub why: Option<String>,
}

/// Says so.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// They shall.
    pub on: bool,
}
