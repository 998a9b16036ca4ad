//! `profiles:` and `deployments:`.

use crate::file::decode::{Decoder, bytes, duration_ms, usd_micros};
use crate::file::node::{Node, Value};
use std::collections::BTreeMap;

/// A profile as it stands in the file, with defaults filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Hub id or path.
    pub model: String,
    /// The name clients use.
    pub served_name: String,
    /// Providers by name.
    pub providers: Vec<String>,
    /// The engine.
    pub engine: Engine,
    /// The GPUs.
    pub gpu: Gpu,
    /// Disk in bytes.
    pub disk_bytes: u64,
    /// Reliability in thousandths.
    pub min_reliability_permille: u32,
    /// Requests at the same time.
    pub max_concurrent: u32,
    /// Idle time before the end: `None` when not said, `Some(None)` for never.
    pub keep_alive_ms: Option<Option<u64>>,
    /// Limits by name, in milliseconds or counts; only those that were said.
    pub limits: BTreeMap<&'static str, u64>,
    /// Prompts and what their answers must contain.
    pub canary: Vec<(String, String)>,
}

/// The engine of a profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Engine {
    /// Its kind.
    pub kind: String,
    /// The version as written.
    pub version: String,
    /// `image`, `venv` or `installed`; empty when not said.
    pub source: String,
    /// The program, for `installed`.
    pub command: Vec<String>,
    /// Structured options.
    pub options: BTreeMap<String, OptionValue>,
    /// Extra arguments.
    pub extra_args: Vec<String>,
    /// Adapters: name and path.
    pub lora: Vec<(String, String)>,
    /// Environment.
    pub env: BTreeMap<String, EnvValue>,
}

/// A structured option as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// A switch.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Anything else.
    Text(String),
}

/// A value of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvValue {
    /// As written.
    Plain(String),
    /// Read when it is needed.
    Secret(Secret),
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In a variable of the server's environment.
    Env(String),
    /// In a file.
    File(String),
    /// Printed by a program.
    Command(Vec<String>),
}

/// The GPUs of a profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gpu {
    /// How many.
    pub count: u32,
    /// Exactly these.
    pub indices: Vec<u32>,
    /// Memory per GPU in bytes; `None` for `auto`.
    pub min_vram_bytes: Option<u64>,
    /// Compute capability in tenths.
    pub min_compute_tenths: Option<u32>,
    /// Cap in micro-dollars per hour.
    pub max_usd_micros_per_hour: Option<i64>,
    /// Cards and their caps.
    pub tiers: Vec<(String, i64)>,
    /// Any other card after the tiers.
    pub other_names: bool,
}

/// A deployment as it stands in the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployment {
    /// Its profile.
    pub profile: String,
    /// How many copies; at first, where `scale` lets requests decide.
    pub replicas: u32,
    /// Between how many and how many.
    pub scale: Option<(u32, u32)>,
    /// Who asks.
    pub owner: String,
    /// Who pays.
    pub tenant: String,
    /// Another served name than the profile's.
    pub served_name: Option<String>,
    /// Exactly this offer.
    pub offer: Option<String>,
    /// A local port: address and port.
    pub forward: Option<(String, u16)>,
    /// Lease in milliseconds, if any.
    pub serve_for_ms: Option<u64>,
    /// How an upgrade is made.
    pub strategy: String,
    /// Go on searching where the market has nothing that fits.
    pub wait: bool,
}

const LIMITS: [(&str, bool); 10] = [
    ("bake", true),
    ("drain", true),
    ("search", true),
    ("search-retries", false),
    ("stall", true),
    ("boot", true),
    ("ssh", true),
    ("load", true),
    ("failed-restarts", false),
    ("attempts", false),
];

/// Reads one profile.
pub fn profile(d: &mut Decoder, node: &Node) -> Profile {
    let mut f = d.map(node, "a profile");
    let before = d.faults.len();
    let model = f.get("model").map(|n| d.text(n, "`model`")).unwrap_or_default();
    if model.is_empty() && d.faults.len() == before {
        d.fault(f.place, "`model` is missing", "name a model of the hub, or an absolute path on the machine");
    }
    let served_name = f.get("served-name").map(|n| d.text(n, "`served-name`")).unwrap_or_else(|| model.clone());
    let profile = Profile {
        served_name,
        providers: f.get("provider").map(|n| d.texts(n, "`provider`")).unwrap_or_default(),
        engine: f.get("engine").map_or_else(default_engine, |n| engine(d, n)),
        gpu: f.get("gpu").map_or_else(default_gpu, |n| gpu(d, n)),
        disk_bytes: f.get("disk").map_or(0, |n| d.parsed(n, "`disk`", bytes)),
        min_reliability_permille: f.get("min-reliability").map_or(950, |n| d.parsed(n, "`min-reliability`", permille)),
        max_concurrent: f.get("max-concurrent").map_or(16, |n| small(d, n, "`max-concurrent`", 1)),
        keep_alive_ms: f.get("keep-alive").map(|n| d.parsed(n, "`keep-alive`", duration_or_never)),
        limits: f.get("limits").map(|n| limits(d, n)).unwrap_or_default(),
        canary: f.get("canary").map(|n| pairs(d, n, "canary", "prompt", "expect")).unwrap_or_default(),
        model,
    };
    d.finish(&f);
    profile
}

fn permille(text: &str) -> Result<u32, String> {
    let micros = usd_micros(text).ok().filter(|m| *m <= 1_000_000).and_then(|m| u32::try_from(m / 1000).ok());
    micros.ok_or_else(|| format!("`{text}` is no share between 0 and 1"))
}

pub(crate) fn duration_or_never(text: &str) -> Result<Option<u64>, String> {
    if text == "never" { Ok(None) } else { duration_ms(text).map(Some) }
}

fn small(d: &mut Decoder, node: &Node, what: &str, least: u32) -> u32 {
    let before = d.faults.len();
    let number = d.number(node, what);
    match u32::try_from(number) {
        _ if d.faults.len() > before => least,
        Ok(n) if n >= least && n <= 100_000 => n,
        _ => {
            d.fault(node.place, format!("{what} must be between {least} and 100000"), "here");
            least
        }
    }
}

fn default_engine() -> Engine {
    Engine { kind: "vllm".into(), ..Engine::default() }
}

fn engine(d: &mut Decoder, node: &Node) -> Engine {
    let mut f = d.map(node, "`engine`");
    let one_of = |allowed: &'static [&'static str]| {
        move |text: &str| {
            let known = allowed.contains(&text);
            if known { Ok(text.to_owned()) } else { Err(format!("`{text}` is none of {}", allowed.join(", "))) }
        }
    };
    let engine = Engine {
        kind: f.get("kind").map_or_else(|| "vllm".into(), |n| d.parsed(n, "`kind`", one_of(&["vllm", "ollama"]))),
        version: f.get("version").map(|n| d.text(n, "`version`")).unwrap_or_default(),
        source: f.get("source").map(|n| d.parsed(n, "`source`", one_of(&["image", "venv", "installed"]))).unwrap_or_default(),
        command: f.get("command").map(|n| d.texts(n, "`command`")).unwrap_or_default(),
        options: f.get("options").map(|n| options(d, n)).unwrap_or_default(),
        extra_args: f.get("extra-args").map(|n| d.texts(n, "`extra-args`")).unwrap_or_default(),
        lora: f.get("lora").map(|n| pairs(d, n, "lora", "name", "path")).unwrap_or_default(),
        env: f.get("env").map(|n| env(d, n)).unwrap_or_default(),
    };
    if engine.source == "installed" && engine.command.is_empty() {
        d.fault(f.place, "`command` is missing", "`source: installed` needs the program, such as `[/opt/vllm/bin/vllm, serve]`");
    }
    d.finish(&f);
    engine
}

fn options(d: &mut Decoder, node: &Node) -> BTreeMap<String, OptionValue> {
    let mut options = BTreeMap::new();
    for (name, place, value) in d.map(node, "`options`").all() {
        let read = match &value.value {
            Value::Plain(word) if word == "true" || word == "false" => OptionValue::Flag(word == "true"),
            Value::Plain(word) => word.parse().map_or_else(|_| OptionValue::Text(word.clone()), OptionValue::Number),
            Value::Quoted(text) => OptionValue::Text(text.clone()),
            Value::Null | Value::List(_) | Value::Map(_) => {
                d.fault(value.place, format!("the option `{name}` must be one value"), "expected a word, a number or a switch");
                continue;
            }
        };
        if name.starts_with('-') || name.contains('_') || name.is_empty() {
            d.fault(
                *place,
                format!("the option `{name}` is not written like the engine's flag"),
                "write it as `max-model-len`, without dashes before it",
            );
            continue;
        }
        options.insert(name.clone(), read);
    }
    options
}

fn env(d: &mut Decoder, node: &Node) -> BTreeMap<String, EnvValue> {
    let mut env = BTreeMap::new();
    for (name, place, value) in d.map(node, "`env`").all() {
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            d.fault(*place, format!("`{name}` is no name of a variable"), "letters, digits and `_`");
            continue;
        }
        let read = match &value.value {
            Value::Map(_) => secret(d, value, &format!("`{name}`")).map(EnvValue::Secret),
            Value::Null | Value::Plain(_) | Value::Quoted(_) | Value::List(_) => {
                Some(EnvValue::Plain(d.text(value, &format!("`{name}`"))))
            }
        };
        if let Some(read) = read {
            env.insert(name.clone(), read);
        }
    }
    env
}

/// Reads `{env: NAME}`, `{file: PATH}` or `{command: [...]}`. A literal is a fault that does not repeat it.
pub fn secret(d: &mut Decoder, node: &Node, what: &str) -> Option<Secret> {
    let Value::Map(entries) = &node.value else {
        d.fault(
            node.place,
            format!("{what} is a secret and must not stand in the file"),
            "write `{env: NAME}`, `{file: PATH}` or `{command: [...]}`",
        );
        return None;
    };
    let mut f = d.map(node, what);
    let (env, file, command) = (f.get("env"), f.get("file"), f.get("command"));
    let read = match (env, file, command) {
        (Some(n), None, None) => Some(Secret::Env(d.text(n, what))),
        (None, Some(n), None) => Some(Secret::File(d.text(n, what))),
        (None, None, Some(n)) => Some(Secret::Command(d.texts(n, what))),
        _ if entries.len() == 1 => None,
        _ => {
            d.fault(
                node.place,
                format!("{what} needs exactly one source"),
                "write `{env: NAME}`, `{file: PATH}` or `{command: [...]}`",
            );
            None
        }
    };
    d.finish(&f);
    read
}

fn pairs(d: &mut Decoder, node: &Node, what: &str, first: &'static str, second: &'static str) -> Vec<(String, String)> {
    let mut all = vec![];
    for item in d.list(node, &format!("`{what}`")) {
        let mut f = d.map(item, &format!("an entry of `{what}`"));
        let (a, b) = (f.get(first), f.get(second));
        match (a, b) {
            (Some(a), Some(b)) => all.push((d.text(a, first), d.text(b, second))),
            _ => d.fault(item.place, format!("an entry of `{what}` needs `{first}` and `{second}`"), "here"),
        }
        d.finish(&f);
    }
    all
}

const fn default_gpu() -> Gpu {
    Gpu {
        count: 1,
        indices: vec![],
        min_vram_bytes: None,
        min_compute_tenths: None,
        max_usd_micros_per_hour: None,
        tiers: vec![],
        other_names: true,
    }
}

fn gpu(d: &mut Decoder, node: &Node) -> Gpu {
    let mut f = d.map(node, "`gpu`");
    let indices: Vec<u32> = match f.get("indices") {
        Some(n) => d.list(n, "`indices`").iter().map(|i| u32::try_from(d.number(i, "an index")).unwrap_or(u32::MAX)).collect(),
        None => vec![],
    };
    let count = f.get("count").map(|n| small(d, n, "`count`", 0));
    let named = u32::try_from(indices.len()).unwrap_or(u32::MAX);
    if !indices.is_empty() && count.is_some_and(|c| c != named) {
        d.fault(f.place, "`count` and `indices` disagree", "leave `count` out, or make both the same");
    }
    let tenths = |text: &str| {
        let read = text.split_once('.').and_then(|(a, b)| Some(a.parse::<u32>().ok()? * 10 + b.parse::<u32>().ok()?));
        read.map(Some).ok_or_else(|| format!("`{text}` is no compute capability such as \"8.6\""))
    };
    let gpu = Gpu {
        count: if indices.is_empty() { count.unwrap_or(1) } else { named },
        indices,
        min_vram_bytes: f
            .get("min-vram")
            .and_then(|n| d.parsed(n, "`min-vram`", |text| if text == "auto" { Ok(None) } else { bytes(text).map(Some) })),
        min_compute_tenths: f.get("min-compute-capability").and_then(|n| d.parsed(n, "`min-compute-capability`", tenths)),
        max_usd_micros_per_hour: f.get("max-usd-per-hour").map(|n| d.parsed(n, "`max-usd-per-hour`", usd_micros)),
        tiers: f.get("tiers").map(|n| tiers(d, n)).unwrap_or_default(),
        other_names: f.get("other-names").is_none_or(|n| d.flag(n, "`other-names`")),
    };
    d.finish(&f);
    gpu
}

fn tiers(d: &mut Decoder, node: &Node) -> Vec<(String, i64)> {
    let mut all = vec![];
    for item in d.list(node, "`tiers`") {
        let mut f = d.map(item, "a tier");
        match (f.get("gpu"), f.get("max-usd-per-hour")) {
            (Some(gpu), Some(price)) => {
                all.push((d.text(gpu, "`gpu`").replace('_', " "), d.parsed(price, "`max-usd-per-hour`", usd_micros)));
            }
            _ => d.fault(item.place, "a tier needs `gpu` and `max-usd-per-hour`", "here"),
        }
        d.finish(&f);
    }
    all
}

fn limits(d: &mut Decoder, node: &Node) -> BTreeMap<&'static str, u64> {
    let mut f = d.map(node, "`limits`");
    let mut limits = BTreeMap::new();
    for (name, is_duration) in LIMITS {
        if let Some(n) = f.get(name) {
            let what = format!("`{name}`");
            let value = if is_duration { d.parsed(n, &what, duration_ms) } else { u64::from(small(d, n, &what, 0)) };
            limits.insert(name, value);
        }
    }
    d.finish(&f);
    limits
}

/// Reads one deployment.
pub fn deployment(d: &mut Decoder, node: &Node) -> Deployment {
    let mut f = d.map(node, "a deployment");
    let before = d.faults.len();
    let profile = f.get("profile").map(|n| d.text(n, "`profile`")).unwrap_or_default();
    if profile.is_empty() && d.faults.len() == before {
        d.fault(f.place, "`profile` is missing", "name one of `profiles`");
    }
    let text =
        |d: &mut Decoder, n: Option<&Node>, what: &str, default: &str| n.map_or_else(|| default.to_owned(), |n| d.text(n, what));
    let (replicas, scale) = f.get("replicas").map_or((1, None), |n| copies(d, n));
    let deployment = Deployment {
        profile,
        replicas,
        scale,
        owner: text(d, f.get("owner"), "`owner`", ""),
        tenant: text(d, f.get("tenant"), "`tenant`", "default"),
        served_name: f.get("served-name").map(|n| d.text(n, "`served-name`")),
        offer: f.get("offer").map(|n| d.text(n, "`offer`")),
        forward: f.get("forward").map(|n| forward(d, n)),
        serve_for_ms: f.get("serve-for").and_then(|n| d.parsed(n, "`serve-for`", duration_or_never)),
        strategy: f.get("strategy").map_or_else(|| "auto".to_owned(), |n| strategy(d, n)),
        wait: f.get("wait").is_some_and(|n| d.flag(n, "`wait`")),
    };
    d.finish(&f);
    deployment
}

const STRATEGIES: [&str; 5] = ["auto", "side-by-side", "rolling", "in-place", "recreate"];

fn strategy(d: &mut Decoder, node: &Node) -> String {
    let word = d.text(node, "`strategy`");
    if !STRATEGIES.contains(&word.as_str()) {
        d.fault(node.place, "there is no such `strategy`", format!("one of {}", STRATEGIES.join(", ")));
    }
    word
}

/// A number, or `{min: 0, max: 3}`.
fn copies(d: &mut Decoder, node: &Node) -> (u32, Option<(u32, u32)>) {
    if !matches!(node.value, Value::Map(_)) {
        let count = small(d, node, "`replicas`", 1);
        if count == 0 {
            let label = "leave the deployment out, end it with `charter down`, or write `{min: 0, max: 1}`";
            d.fault(node.place, "`replicas: 0` runs nothing", label);
        }
        return (count, None);
    }
    let mut f = d.map(node, "`replicas`");
    let min = f.get("min").map_or(0, |n| small(d, n, "`min`", 0));
    let max = f.get("max").map_or(min.max(1), |n| small(d, n, "`max`", 1));
    if max < min.max(1) {
        d.fault(f.place, "`max` is below `min`, or 0", "such as `{min: 0, max: 3}`");
    }
    d.finish(&f);
    (min.max(1), Some((min, max.max(min).max(1))))
}

fn forward(d: &mut Decoder, node: &Node) -> (String, u16) {
    let mut f = d.map(node, "`forward`");
    let bind = f.get("bind").map_or_else(|| "127.0.0.1".into(), |n| d.text(n, "`bind`"));
    let port = f.get("port").map_or(0, |n| {
        u16::try_from(d.number(n, "`port`")).unwrap_or_else(|_| {
            d.fault(n.place, "`port` must be between 0 and 65535", "here");
            0
        })
    });
    d.finish(&f);
    (bind, port)
}
