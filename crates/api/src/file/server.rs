//! `server:`: providers, budgets, and what a server does on errors and at its end.

use crate::file::decode::{Decoder, duration_ms, usd_micros};
use crate::file::node::Node;
use crate::file::profile::{Secret, duration_or_never, secret};

/// The server's section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// Providers in the order of the file.
    pub providers: Vec<Provider>,
    /// Budgets by scope: target, alert, hard, in micro-dollars.
    pub budgets: Vec<(String, [i64; 3])>,
    /// Leave failed machines as they are.
    pub keep_on_error: bool,
    /// Give everything back at the end.
    pub destroy_on_shutdown: bool,
    /// Rented machines end themselves after so many milliseconds without us: nothing said, `never`, or a time.
    pub dead_man_switch_ms: Option<Option<u64>>,
    /// What rented machines may cost in a day before they get no more requests, in micro-dollars.
    pub runaway_micros: Option<i64>,
    /// Names under which browsers may open the dashboard, beside those of this computer.
    pub hosts: Vec<String>,
    /// How long a control plane may work on something before another one takes it over, in milliseconds.
    pub lease_ms: Option<u64>,
}

/// One provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its name, which is free.
    pub name: String,
    /// Its kind, which is not.
    pub kind: String,
    /// Where its API is.
    pub base_url: Option<String>,
    /// Its key.
    pub api_key: Option<Secret>,
    /// The image's own entrypoint runs the engine, instead of us over SSH.
    pub entrypoint: bool,
    /// Its machines, for `machines`.
    pub machines: Vec<Machine>,
    /// The models that a hosted provider may answer with, the usual one first; charter's choice where nothing is said.
    pub models: Vec<String>,
    /// What may be spent there in a day and in a month, in micro-dollars.
    pub limits: [Option<i64>; 2],
}

impl Provider {
    /// Is it an API that is paid by the token, and rents nothing?
    #[must_use]
    pub fn is_hosted(&self) -> bool {
        HOSTED.contains(&self.kind.as_str())
    }
}

/// A machine that is reached by SSH.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Host name or number.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Private key; the installation's own when not said.
    pub key_file: Option<String>,
    /// Pinned fingerprint.
    pub host_key: Option<String>,
    /// May be used without a GPU.
    pub allow_no_gpu: bool,
}

/// The shortest lease.
const LEASE_MIN_MS: u64 = 5000;
/// Kinds that this version knows.
const KINDS: &[&str] = &["vast", "vastai", "machines", "openai", "anthropic"];
/// Of these, the ones that rent nothing.
const HOSTED: &[&str] = &["openai", "anthropic"];

/// Reads the section.
pub fn server(d: &mut Decoder, node: &Node) -> Server {
    let mut f = d.map(node, "`server`");
    let mut server = Server::default();
    if let Some(n) = f.get("providers") {
        for (name, _, value) in d.map(n, "`providers`").all() {
            server.providers.push(provider(d, name, value));
        }
    }
    if let Some(n) = f.get("budgets") {
        server.budgets = budgets(d, n);
    }
    let choice = |d: &mut Decoder, n: &Node, what: &str| {
        d.parsed(n, what, |word| match word {
            "destroy" => Ok(true),
            "keep" => Ok(false),
            _ => Err(format!("`{word}` is neither `destroy` nor `keep`")),
        })
    };
    if let Some(n) = f.get("on-error") {
        server.keep_on_error = !choice(d, n, "`on-error`");
    }
    if let Some(n) = f.get("on-shutdown") {
        server.destroy_on_shutdown = choice(d, n, "`on-shutdown`");
    }
    server.runaway_micros = f.get("runaway-usd-per-day").map(|n| d.parsed(n, "`runaway-usd-per-day`", usd_micros));
    server.dead_man_switch_ms = f.get("dead-man-switch").map(|n| d.parsed(n, "`dead-man-switch`", duration_or_never));
    server.hosts = f.get("hosts").map(|n| d.texts(n, "`hosts`")).unwrap_or_default();
    server.lease_ms = f.get("lease").map(|n| d.parsed(n, "`lease`", duration_ms));
    if let (Some(ms), Some(n)) = (server.lease_ms, f.get("lease"))
        && ms < LEASE_MIN_MS
    {
        d.fault(n.place, "a `lease` shorter than 5s would be over before an order is answered", "say 5s or more");
    }
    d.finish(&f);
    server
}

fn budgets(d: &mut Decoder, node: &Node) -> Vec<(String, [i64; 3])> {
    let mut all = vec![];
    let mut f = d.map(node, "`budgets`");
    for scope in ["total", "day", "month", "tenant", "deployment", "rental"] {
        let Some(n) = f.get(scope) else { continue };
        let mut marks = d.map(n, scope);
        let hard = marks.get("hard-usd").map(|n| d.parsed(n, "`hard-usd`", usd_micros));
        let alert = marks.get("alert-usd").map(|n| d.parsed(n, "`alert-usd`", usd_micros));
        let target = marks.get("target-usd").map(|n| d.parsed(n, "`target-usd`", usd_micros));
        d.finish(&marks);
        match hard {
            Some(hard) => all.push((scope.to_owned(), [target.unwrap_or(hard), alert.unwrap_or(hard), hard])),
            None => d.fault(n.place, format!("the budget `{scope}` has no `hard-usd`"), "here"),
        }
    }
    d.finish(&f);
    all
}

fn provider(d: &mut Decoder, name: &str, node: &Node) -> Provider {
    let mut f = d.map(node, "a provider");
    let kind = f.get("kind").map(|n| {
        let kind = d.text(n, "`kind`");
        if !KINDS.contains(&kind.as_str()) {
            d.fault(n.place, format!("`{kind}` is no kind of provider"), format!("known: {}", KINDS.join(", ")));
        }
        kind
    });
    if kind.is_none() {
        d.fault(f.place, format!("the provider `{name}` has no `kind`"), "such as `kind: machines`");
    }
    let provider = Provider {
        name: name.to_owned(),
        kind: kind.map_or_else(String::new, |k| if k == "vastai" { "vast".to_owned() } else { k }),
        base_url: f.get("base-url").map(|n| d.text(n, "`base-url`")),
        api_key: f.get("api-key").and_then(|n| secret(d, n, "`api-key`")),
        entrypoint: f.get("launch").is_some_and(|n| {
            d.parsed(n, "`launch`", |word| match word {
                "args" => Ok(true),
                "ssh" => Ok(false),
                _ => Err(format!("`{word}` is neither `ssh` nor `args`")),
            })
        }),
        machines: f.get("machines").map(|n| machines(d, n)).unwrap_or_default(),
        models: f.get("models").map(|n| d.list(n, "`models`").iter().map(|m| d.text(m, "a model")).collect()).unwrap_or_default(),
        limits: ["day-usd", "month-usd"].map(|name| f.get(name).map(|n| d.parsed(n, name, usd_micros))),
    };
    if !provider.is_hosted() {
        for name in ["models", "day-usd", "month-usd"] {
            if let Some(n) = f.get(name) {
                d.fault(n.place, format!("`{name}` belongs to providers that are paid by the token"), "leave it out");
            }
        }
    }
    d.finish(&f);
    provider
}

fn machines(d: &mut Decoder, node: &Node) -> Vec<Machine> {
    let mut all: Vec<Machine> = vec![];
    for item in d.list(node, "`machines`") {
        let mut f = d.map(item, "a machine");
        let name = f.get("name").map(|n| d.text(n, "`name`")).unwrap_or_default();
        let address = f.get("address").map(|n| d.parsed(n, "`address`", address)).unwrap_or_default();
        let user = f.get("user").map(|n| d.text(n, "`user`")).unwrap_or_default();
        for (what, missing) in [("name", name.is_empty()), ("address", address.0.is_empty()), ("user", user.is_empty())] {
            if missing
                && f.get(match what {
                    "name" => "name",
                    "address" => "address",
                    _ => "user",
                })
                .is_none()
            {
                d.fault(item.place, format!("a machine needs `{what}`"), "here");
            }
        }
        if all.iter().any(|m| m.name == name) {
            d.fault(item.place, format!("two machines are called `{name}`"), "here");
        }
        let host_key = f.get("host-key").map(|n| d.parsed(n, "`host-key`", fingerprint));
        let machine = Machine {
            name,
            host: address.0,
            port: address.1,
            user,
            key_file: f.get("key-file").map(|n| d.text(n, "`key-file`")),
            host_key,
            allow_no_gpu: f.get("allow-no-gpu").is_some_and(|n| d.flag(n, "`allow-no-gpu`")),
        };
        d.finish(&f);
        all.push(machine);
    }
    all
}

fn fingerprint(text: &str) -> Result<String, String> {
    let known = text.strip_prefix("SHA256:").is_some_and(|rest| rest.len() == 43);
    if known {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no fingerprint: `ssh-keyscan HOST | ssh-keygen -lf -` prints it"))
    }
}

/// `host`, `host:port`, `[v6]:port`.
fn address(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("`{text}` is no address such as `192.168.1.20:22`");
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(22), |p| p.parse().map_err(|_| wrong()))?;
    let plain = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    if plain { Ok((host.to_owned(), port)) } else { Err(wrong()) }
}
