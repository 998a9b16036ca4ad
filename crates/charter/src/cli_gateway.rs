//! Flags of the commands that concern requests: keys, routes, and what was spent.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub(crate) enum Route {
    /// Say how a public name is served
    Set {
        name: String,
        /// Deployments and registered backends with their weights; else all that serve the name
        #[arg(long, value_delimiter = ',', value_name = "A=3,B=1")]
        backends: Vec<String>,
        #[arg(long, value_parser = ["least-load", "prefix", "session", "weighted"], default_value = "least-load")]
        policy: String,
        /// Give the answer to the very same request again for so long, such as 10m
        #[arg(long, value_name = "TIME")]
        cache: Option<String>,
        /// Dollars for a million tokens read, and written; else a request costs its share of the rent
        #[arg(long, value_name = "IN,OUT")]
        price: Option<String>,
        /// How long a request waits for a start
        #[arg(long, value_name = "TIME")]
        start: Option<String>,
        /// Until the answer begins
        #[arg(long, value_name = "TIME")]
        first_token: Option<String>,
        /// Between two parts of a stream
        #[arg(long, value_name = "TIME")]
        between_tokens: Option<String>,
        /// Until the answer ends
        #[arg(long, value_name = "TIME")]
        whole: Option<String>,
        /// The served name that answers a tier of effort: reflex, simple, moderate, complex, critical
        #[arg(long = "tier", value_delimiter = ',', value_name = "TIER=NAME")]
        tiers: Vec<String>,
        /// Who answers where nobody before can: served names and hosted providers, in their order
        #[arg(long, value_delimiter = ',', value_name = "A,B")]
        fallback: Vec<String>,
    },
    /// Show what a gateway would do with a request, without sending it
    Explain {
        /// The request's body; `-` reads standard input
        file: String,
        /// As if its header said so, from 1 to 10
        #[arg(long, value_name = "N")]
        effort: Option<u8>,
    },
    /// List what was said of names
    List,
    /// Serve a name as usual again
    Remove { name: String },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct Spend {
    /// The last so many hours
    #[arg(long, default_value = "24", value_name = "N")]
    pub(crate) hours: u32,
    /// Single requests, the newest first
    #[arg(long)]
    pub(crate) requests: bool,
    /// So many of them
    #[arg(long, default_value = "20", value_name = "N")]
    pub(crate) limit: u32,
    /// Of this key alone, by id or name
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Of this deployment or registered backend alone
    #[arg(long)]
    pub(crate) deployment: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key; it is shown once
    Create {
        #[arg(long, default_value = "viewer", value_parser = ["viewer", "operator", "admin"])]
        role: String,
        /// Served names it may use, separated by commas; else all
        #[arg(long, value_delimiter = ',', value_name = "A,B")]
        routes: Vec<String>,
        /// Such as 1h or 30d; else never
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// What people call it
        #[arg(long)]
        name: Option<String>,
        /// Who pays for its requests; else `default`
        #[arg(long)]
        tenant: Option<String>,
        #[arg(long, value_name = "N")]
        requests_per_minute: Option<u32>,
        /// Read and written together
        #[arg(long, value_name = "N")]
        tokens_per_minute: Option<u64>,
        /// Requests at the same time
        #[arg(long, value_name = "N")]
        parallel: Option<u32>,
        /// What its requests may cost in a day, UTC
        #[arg(long, value_name = "USD")]
        usd_per_day: Option<String>,
        /// What its requests may cost in a month, UTC
        #[arg(long, value_name = "USD")]
        usd_per_month: Option<String>,
        /// Its hard requests may be answered in several steps, the reasoning model being asked in between
        #[arg(long)]
        agentic: bool,
    },
    /// List them
    List,
    /// Refuse a key from now on
    Revoke { key: String },
}
