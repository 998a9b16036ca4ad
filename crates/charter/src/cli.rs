//! The command line: names, flags and help.

pub(crate) use crate::cli_gateway::{Key, Route, Spend, Switch};
pub(crate) use crate::cli_upgrade::{Again, Manifest, Migrate, Rollback, Saved, Upgrade};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Turns a file into a running model, on machines that you own or rent.
#[derive(Debug, Parser)]
#[command(name = "charter", version, max_term_width = 80, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Print exactly one JSON document on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Address of the server
    #[arg(long, global = true, env = "CHARTER_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// File that holds the API key; else CHARTER_KEY, else the local server's own
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Where database, keys and logs are
    #[arg(long, global = true, env = "CHARTER_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The configuration; else ./charter.yaml, else the one in the user's configuration folder
    #[arg(long, global = true, env = "CHARTER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Say less
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Colours on standard error and output
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server: control plane and gateway
    Serve(Serve),
    /// Run a gateway in a process of its own
    Gateway(Gateway),
    /// End the local server; what it rents stays
    Stop,
    /// Show what `up` would do, touching nothing
    Plan(Names),
    /// Make the deployments of the file run, and return when they are ready
    Up(Up),
    /// Run one model without a file
    Deploy(Deploy),
    /// Show what could be rented now, with its score, and why the rest does not fit
    Offers(Offers),
    /// Show what runs
    Status {
        /// One deployment
        name: Option<String>,
    },
    /// Show an engine's log
    Logs {
        name: String,
        /// Go on until it ends
        #[arg(short, long)]
        follow: bool,
        /// Only so many lines of what is there
        #[arg(long, value_name = "N", default_value_t = 200)]
        tail: usize,
    },
    /// Open a shell on a deployment's machine, or run a command there
    Ssh {
        name: String,
        /// Print the OpenSSH command instead
        #[arg(long)]
        print: bool,
        #[arg(last = true, value_name = "CMD")]
        command: Vec<String>,
    },
    /// Open a local port that leads to a deployment's engine
    Forward(Forward),
    /// End deployments, and return when what they held is proven gone
    Down {
        /// Which; or `--all`
        #[arg(required_unless_present = "all", value_name = "NAME")]
        names: Vec<String>,
        /// Every deployment of the server
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// Return at once
        #[arg(long)]
        no_wait: bool,
    },
    /// Take running deployments to what the file says now, without losing a request
    Upgrade(Upgrade),
    /// Undo an upgrade that is under way, or go back to an earlier generation
    Rollback(Rollback),
    /// Move a deployment to another provider, without a gap
    Migrate(Migrate),
    /// What a deployment is, on one page: print it, or run it again
    #[command(subcommand)]
    Manifest(Manifest),
    /// Configurations that are kept, to be run again
    #[command(subcommand)]
    Saved(Saved),
    /// Show every generation of a deployment: who, when, what, and what became of it
    Generations { name: String },
    /// Backends that charter did not start
    #[command(subcommand)]
    Backend(Backend),
    /// API keys
    #[command(subcommand)]
    Key(Key),
    /// How public names are served
    #[command(subcommand)]
    Route(Route),
    /// Show what requests used and cost
    Spend(Spend),
    /// Show or say whether rented machines get requests; where they do not, what stands behind them answers
    Rented {
        #[arg(value_enum)]
        to: Option<Switch>,
    },
    /// Show the limits on money, and what counts against them
    Budget,
    /// Show which hosts failed, and which are left out for it
    Hosts,
    /// Give a deployment more time
    Extend(Extend),
    /// Show what stands at the providers and to whom it belongs; without a server too
    Sweep {
        /// End what is ours and nobody holds
        #[arg(long)]
        execute: bool,
    },
    /// End everything of ours now, and write a receipt; without a server too
    Panic,
    /// Look whether everything is in order, and say what to do; without a server too
    Doctor,
    /// Back up, restore and move what charter knows; without a server
    #[command(subcommand)]
    Admin(Admin),
    /// Questions about engines
    #[command(subcommand)]
    Engine(Engine),
    /// Explain an error code
    Explain { code: String },
    /// Print the completions of a shell
    Completions { shell: clap_complete::Shell },
    /// A marketplace on this computer, to rehearse on without money
    #[command(subcommand)]
    Testbed(Testbed),
    /// Go through everything once on this computer: search, rent, boot, deploy, ask, upgrade, destroy
    Demo {
        /// Do it, tell how it went, and clean up
        #[arg(long)]
        once: bool,
    },
    #[command(name = "__engine", hide = true, disable_help_flag = true)]
    StandIn {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Serve {
    /// Address of the control plane; port 0 takes a free one
    #[arg(long, env = "CHARTER_LISTEN", default_value = "127.0.0.1:8470", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Address of the gateway; else the same host and the next port
    #[arg(long, value_name = "ADDR")]
    pub(crate) gateway_listen: Option<SocketAddr>,
    /// Leave the gateway to other processes
    #[arg(long)]
    pub(crate) no_gateway: bool,
    /// PostgreSQL that several control planes share; else SQLite in the data directory
    #[arg(long, env = "CHARTER_DATABASE", value_name = "URL", hide_env_values = true)]
    pub(crate) database: Option<String>,
    /// Listen on other addresses than loopback without TLS
    #[arg(long)]
    pub(crate) insecure_listen: bool,
    /// Speak TLS: the certificate with those behind it, in PEM
    #[arg(long, env = "CHARTER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, env = "CHARTER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Gateway {
    /// Address of the control plane; else the server of the data directory, wherever it is started next
    #[arg(long, value_name = "URL")]
    pub(crate) control: Option<String>,
    /// Address to serve on
    #[arg(long, default_value = "127.0.0.1:8471", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Listen on other addresses than loopback without TLS
    #[arg(long)]
    pub(crate) insecure_listen: bool,
    /// Speak TLS: the certificate with those behind it, in PEM
    #[arg(long, env = "CHARTER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, env = "CHARTER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Offers {
    /// The file; else the configuration
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// For this profile of the file
    #[arg(long, value_name = "P")]
    pub(crate) profile: Option<String>,
    /// Only this card, such as "RTX 3090"
    #[arg(long, value_name = "G")]
    pub(crate) gpu: Option<String>,
    /// The most that it may cost per hour
    #[arg(long, value_name = "USD")]
    pub(crate) max_price: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Forward {
    /// The deployment
    pub(crate) name: String,
    #[arg(long, value_name = "A", default_value = "127.0.0.1")]
    pub(crate) bind: String,
    /// 0 takes a free one
    #[arg(long, value_name = "P", default_value_t = 0)]
    pub(crate) port: u16,
    /// Listen on other addresses than loopback without TLS
    #[arg(long)]
    pub(crate) insecure_listen: bool,
    /// Close the port
    #[arg(long, conflicts_with_all = ["bind", "port", "insecure_listen"])]
    pub(crate) close: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Names {
    /// The file; else the configuration
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Only these deployments
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) names: Names,
    /// Where the market has nothing that fits, go on searching until it has; `--max-price` says how much it may cost
    #[arg(long)]
    pub(crate) wait: bool,
    /// Highest price per hour, in US dollars
    #[arg(long, value_name = "USD")]
    pub(crate) max_price: Option<String>,
    /// Exactly this offer
    #[arg(long, value_name = "ID")]
    pub(crate) offer: Option<String>,
    /// Return at once
    #[arg(long)]
    pub(crate) detach: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Deploy {
    /// Hub id, or absolute path on the machine
    pub(crate) model: String,
    /// Only this provider
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// The deployment's name; else from the model's
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only this card
    #[arg(long)]
    pub(crate) gpu: Option<String>,
    /// Highest price per hour, in US dollars
    #[arg(long, value_name = "USD")]
    pub(crate) max_price: Option<String>,
    /// The inference server
    #[arg(long, default_value = "vllm")]
    pub(crate) engine: String,
    /// Return at once
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("time").required(true).multiple(true))]
pub(crate) struct Extend {
    pub(crate) name: String,
    /// By so many hours
    #[arg(long, value_name = "N", group = "time", conflicts_with = "infinite")]
    pub(crate) hours: Option<u32>,
    /// By so many minutes
    #[arg(long, value_name = "N", group = "time", conflicts_with = "infinite")]
    pub(crate) minutes: Option<u32>,
    /// Without an end of its own
    #[arg(long, group = "time")]
    pub(crate) infinite: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Backend {
    /// Route requests to an OpenAI-compatible address
    Register {
        /// What it is called here
        name: String,
        /// Its address, such as http://127.0.0.1:8000; charter asks it what it serves
        url: String,
        /// Its model, served under NAME; else all that it lists, under their own names
        #[arg(long)]
        model: Option<String>,
        /// Requests that it answers at the same time; more wait
        #[arg(long, value_name = "N")]
        max_concurrent: Option<u32>,
    },
    /// List them
    List,
    /// Route nothing there any more
    Remove { name: String },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Testbed {
    /// Serve it until it is told to end
    Serve(TestbedServe),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TestbedServe {
    /// Address to serve on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8480", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// How many times faster its time runs
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) speed: u64,
    /// What goes wrong: `realistic`, or names such as `cdi,offer-gone=20` (per cent) or `cut-order*1` (once)
    #[arg(long, default_value = "", value_name = "LIST")]
    pub(crate) faults: String,
    /// Refuse calls that come too often, as the service does
    #[arg(long)]
    pub(crate) rate_limits: bool,
    /// Prices, hosts and chance depend on it alone
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// What the account holds
    #[arg(long, default_value = "25", value_name = "USD")]
    pub(crate) balance: String,
    /// Let an OpenSSH server, such as `/usr/sbin/sshd`, be the machines' door; run as root, whose name machines are entered by
    #[arg(long, value_name = "PATH")]
    pub(crate) sshd: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Write everything into a file, also while a server runs. It holds the installation's key: keep it safe
    Backup {
        /// A file that is not there yet
        file: PathBuf,
    },
    /// Go back to a backup
    Restore {
        file: PathBuf,
        /// Give up what the data directory knows now
        #[arg(long)]
        replace: bool,
    },
    /// Bring the database to this version's schema, or move everything to another database
    Migrate {
        /// An empty PostgreSQL database, `postgres://...`, or `sqlite` for the file in the data directory
        #[arg(long, value_name = "URL")]
        to: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Engine {
    /// Say what an engine's log means
    ExplainLog {
        /// A file, or - for standard input
        file: String,
    },
}
