//! The routing table: everything that the gateway knows. It is pushed to the gateway, which never asks a database.

use crate::instance::Address;
use crate::money::{Usd, UsdPerHour};
use crate::time::{Span, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All routes and keys at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Rises with every change.
    pub version: u64,
    /// Where requests can go.
    pub backends: Vec<Backend>,
    /// Who may send them.
    pub keys: Vec<Key>,
    /// What people said of single names; every other name is served as [`Route::plain`] says.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Gateways that use this table: each of them allows its share of what a key may ask per minute.
    #[serde(default)]
    pub gateways: u32,
}

/// A public name, and how its requests are shared out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The name that clients use.
    pub name: String,
    /// How a backend is chosen.
    #[serde(default)]
    pub policy: Policy,
    /// Deployments and registered backends with their weights; empty means all that serve the name, each with weight one.
    #[serde(default)]
    pub backends: Vec<Weighted>,
    /// How long a request may take.
    #[serde(default)]
    pub patience: Patience,
    /// Answers to the very same request are given again for so long.
    #[serde(default)]
    pub cache: Option<Span>,
    /// What tokens cost; without it a request costs its share of the rent.
    #[serde(default)]
    pub price: Option<TokenPrice>,
    /// The names that answer for it, by tier of effort: `reflex`, `simple`, `moderate`, `complex`, `critical`. Empty means that
    /// the route is a model and not a choice.
    #[serde(default)]
    pub tiers: BTreeMap<String, String>,
    /// Names, and hosted providers, that answer where those before them cannot, in this order.
    #[serde(default)]
    pub fallback: Vec<String>,
}

/// How a backend is chosen among those that are ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The one with the least to do for its weight and size.
    #[default]
    LeastLoad,
    /// The one that has seen the beginning of this conversation, unless it has much more to do than the others.
    Prefix,
    /// The same one for the same session, unless it has much more to do than the others.
    Session,
    /// In turn, by weight alone.
    Weighted,
}

/// A member of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighted {
    /// A deployment, or a registered backend.
    pub backend: String,
    /// How much of the route's requests it takes, beside the other weights; none with 0.
    #[serde(default = "one")]
    pub weight: u32,
}

const fn one() -> u32 {
    1
}

/// How long the parts of an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// For a model that is being started.
    pub start: Span,
    /// For a place at a backend, where all are taken.
    pub queue: Span,
    /// Until the answer begins.
    pub first: Span,
    /// Between two parts of a stream.
    pub between: Span,
    /// Until the answer ends.
    pub whole: Span,
}

impl Default for Patience {
    fn default() -> Self {
        Self { start: Span::min(5), queue: Span::min(1), first: Span::min(10), between: Span::min(3), whole: Span::min(60) }
    }
}

/// What a million tokens cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPrice {
    /// Read.
    pub input: Usd,
    /// Read, and found in the engine's cache.
    pub cached: Usd,
    /// Written.
    pub output: Usd,
}

impl TokenPrice {
    /// What so many tokens cost, rounded up.
    #[must_use]
    pub fn cost(&self, input: u64, cached: u64, output: u64) -> Usd {
        let cached = cached.min(input);
        let micros = |tokens: u64, price: Usd| i128::from(tokens) * i128::from(price.0.max(0));
        let sum = micros(input - cached, self.input) + micros(cached, self.cached) + micros(output, self.output);
        Usd(i64::try_from((sum + 999_999) / 1_000_000).unwrap_or(i64::MAX))
    }
}

impl Route {
    /// How a name is served of which nobody said anything.
    #[must_use]
    pub fn plain(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            policy: Policy::default(),
            backends: vec![],
            patience: Patience::default(),
            cache: None,
            price: None,
            tiers: BTreeMap::new(),
            fallback: vec![],
        }
    }
}

/// A routable endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Unique; shown to clients in `x-charter-backend`.
    pub id: String,
    /// Its deployment, or its own name: what routes and usage speak of.
    #[serde(default)]
    pub group: String,
    /// The names it answers to.
    pub served_names: Vec<ServedName>,
    /// The model's name at the backend, where it differs from the served name.
    pub upstream_model: Option<String>,
    /// The way there.
    pub reach: Reach,
    /// The key that the backend asks for. Never shown.
    pub bearer: Option<String>,
    /// Requests that it answers at the same time.
    pub max_concurrent: u32,
    /// It takes requests now; else its names are known and a client is told to come back.
    pub ready: bool,
    /// It is on its way to being ready.
    #[serde(default)]
    pub starting: bool,
    /// Nothing runs, and the first request starts it.
    #[serde(default)]
    pub asleep: bool,
    /// The control plane looks after it: where it falls silent, it comes back or is replaced.
    #[serde(default)]
    pub kept: bool,
    /// What an hour of its machine costs.
    #[serde(default)]
    pub rent: UsdPerHour,
    /// Requests that wait inside the engine, when it was asked last.
    #[serde(default)]
    pub queue: u32,
    /// What is understood there.
    #[serde(default)]
    pub speaks: Speaks,
    /// Its model can call tools, as far as is known.
    #[serde(default = "yes")]
    pub tools: bool,
    /// It is a hosted API: nothing is rented, and each token is paid.
    #[serde(default)]
    pub hosted: Option<Hosted>,
}

const fn yes() -> bool {
    true
}

/// The language of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speaks {
    /// OpenAI's paths, as engines offer them.
    #[default]
    Chat,
    /// These, and Anthropic's `/v1/messages`.
    Both,
    /// OpenAI's own API, with what it refuses.
    OpenAi,
    /// Anthropic's own API.
    Anthropic,
}

impl Speaks {
    /// It takes `/v1/messages` as it comes.
    #[must_use]
    pub const fn messages(self) -> bool {
        matches!(self, Self::Both | Self::Anthropic)
    }
}

/// A model of a hosted provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosted {
    /// The provider's name in the configuration.
    pub provider: String,
    /// What may be spent there in a day and in a month.
    pub limits: KeyLimits,
    /// What its tokens cost.
    pub price: TokenPrice,
}

/// A name that clients use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedName {
    /// The name.
    pub name: String,
    /// For an adapter, the model it belongs to.
    pub parent: Option<String>,
}

/// The way to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// HTTP to a base address such as `http://10.0.0.7:8000`, without the `/v1`.
    Http {
        /// The base address.
        base_url: String,
    },
    /// A stream inside an SSH session, to a port on the machine's loopback address.
    Ssh {
        /// The machine.
        address: Address,
        /// The only host key that is accepted.
        host_key: Option<String>,
        /// The private key in OpenSSH's format. Never shown.
        private_key: String,
        /// The engine's port.
        port: u16,
    },
}

/// An API key, as far as the gateway knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// SHA-256 of the key, in hex.
    pub sha256: String,
    /// The names it may use; empty means all.
    pub routes: Vec<String>,
    /// From when on it is refused.
    pub expires_at: Option<Time>,
    /// Its id, which usage is counted by.
    #[serde(default)]
    pub id: Arc<str>,
    /// Who pays.
    #[serde(default)]
    pub tenant: Arc<str>,
    /// It may read what the gateway counts.
    #[serde(default)]
    pub operator: bool,
    /// What it may ask for.
    #[serde(default)]
    pub limits: KeyLimits,
}

/// What a key may ask for; nothing said means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimits {
    /// Requests in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens in a minute, read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Requests at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// Money in a day, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Usd>,
    /// Money in a month, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<Usd>,
    /// Hard requests may be answered in several steps, the reasoning model being asked in between.
    #[serde(default, skip_serializing_if = "is_not")]
    pub agentic: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_not(said: &bool) -> bool {
    !*said
}

impl KeyLimits {
    /// Is there a limit on money?
    #[must_use]
    pub const fn costs(&self) -> bool {
        self.day.is_some() || self.month.is_some()
    }
}
