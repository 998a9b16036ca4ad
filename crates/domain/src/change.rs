//! What differs between two specifications, field by field, and what it takes to make it true of what runs.

use crate::generation::Spec;
use crate::profile::{Engine, EnvValue, Gpu, OptionValue, Profile, Source, Tier, Vram, is_secret_name};
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// What a change needs, from nothing to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing that runs is touched: it counts for the next machine.
    None,
    /// The gateway takes it over at once.
    Route,
    /// The control plane takes it over at once.
    Live,
    /// The engine has to be started anew.
    EngineRestart,
    /// Another machine is needed.
    NewMachine,
}

impl Effect {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Route => "route",
            Self::Live => "live",
            Self::EngineRestart => "engine-restart",
            Self::NewMachine => "new-machine",
        }
    }
}

/// A value as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Nothing is said.
    Nothing,
    /// A switch.
    Flag(bool),
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<String>),
    /// A secret, of which only this is told.
    Secret {
        /// Does it differ?
        changed: bool,
    },
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its path, as the file has it.
    pub field: String,
    /// What it was.
    pub from: Value,
    /// What it is to be.
    pub to: Value,
    /// What that needs.
    pub effect: Effect,
}

/// The most that any of the changes needs.
#[must_use]
pub fn effect(changes: &[Change]) -> Effect {
    changes.iter().map(|c| c.effect).max().unwrap_or(Effect::None)
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<String>> for Value {
    fn from(list: Vec<String>) -> Self {
        Self::List(list)
    }
}

impl From<Span> for Value {
    fn from(span: Span) -> Self {
        Self::Text(span.to_string())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

#[derive(Default)]
struct Diff(Vec<Change>);

impl Diff {
    fn add(&mut self, field: &str, from: impl Into<Value>, to: impl Into<Value>, effect: Effect) {
        let (from, to) = (from.into(), to.into());
        if from != to {
            self.0.push(Change { field: field.to_owned(), from, to, effect });
        }
    }
}

/// Every field that differs. Both sides are taken apart whole, so that no field can be forgotten.
#[must_use]
pub fn changes(from: &Spec, to: &Spec) -> Vec<Change> {
    let mut diff = Diff::default();
    let Spec { profile_name: _, profile, offer, engine_version } = to;
    let Profile {
        model,
        served_name,
        providers,
        engine,
        gpu,
        disk_bytes,
        min_reliability_permille,
        max_concurrent,
        keep_alive,
        limits,
        canary,
    } = profile;
    let old = &from.profile;
    diff.add("model", old.model.as_str(), model.as_str(), Effect::EngineRestart);
    diff.add("served-name", old.served_name.as_str(), served_name.as_str(), Effect::EngineRestart);
    diff.add("provider", old.providers.clone(), providers.clone(), Effect::NewMachine);
    diff.add("offer", from.offer.as_deref(), offer.as_deref(), Effect::NewMachine);
    // A program that is there already has the version that it has; a container has the one of its image.
    let version = match engine.source {
        Source::Installed => Effect::None,
        Source::Venv => Effect::EngineRestart,
        Source::Image => Effect::NewMachine,
    };
    diff.add("engine.version", from.engine_version.as_str(), engine_version.as_str(), version);
    of_engine(&mut diff, &old.engine, engine);
    of_gpu(&mut diff, &old.gpu, gpu);
    diff.add("disk", old.disk_bytes, *disk_bytes, Effect::NewMachine);
    let permille = (old.min_reliability_permille, *min_reliability_permille);
    diff.add("min-reliability", permille.0, permille.1, Effect::None);
    diff.add("max-concurrent", old.max_concurrent, *max_concurrent, Effect::Route);
    diff.add("keep-alive", old.keep_alive, *keep_alive, Effect::Live);
    let list = |l: &crate::profile::Limits| l.named().into_iter().map(|(n, v)| format!("{n}: {v}")).collect::<Vec<_>>();
    diff.add("limits", list(&old.limits), list(limits), Effect::Live);
    let prompts =
        |all: &[crate::profile::Canary]| all.iter().map(|c| format!("{} => {}", c.prompt, c.expect)).collect::<Vec<_>>();
    diff.add("canary", prompts(&old.canary), prompts(canary), Effect::Live);
    diff.0
}

fn of_engine(diff: &mut Diff, old: &Engine, new: &Engine) {
    // What a wanted version means was resolved already.
    let Engine { kind, version: _, source, command, options, extra_args, lora, env } = new;
    diff.add("engine.kind", old.kind.as_str(), kind.as_str(), Effect::NewMachine);
    diff.add("engine.source", source_name(old.source), source_name(*source), Effect::NewMachine);
    diff.add("engine.command", old.command.clone(), command.clone(), Effect::EngineRestart);
    for name in both(old.options.keys(), options.keys()) {
        let value = |v: Option<&OptionValue>| {
            v.map_or(Value::Nothing, |v| match v {
                OptionValue::Flag(flag) => Value::Flag(*flag),
                OptionValue::Number(number) => Value::Number(*number),
                OptionValue::Text(text) => Value::Text(text.clone()),
            })
        };
        let (before, after) = (value(old.options.get(name)), value(options.get(name)));
        diff.add(&format!("engine.options.{name}"), before, after, Effect::EngineRestart);
    }
    diff.add("engine.extra-args", old.extra_args.clone(), extra_args.clone(), Effect::EngineRestart);
    let adapters = |all: &[crate::profile::Lora]| all.iter().map(|l| format!("{}={}", l.name, l.path)).collect::<Vec<_>>();
    diff.add("engine.lora", adapters(&old.lora), adapters(lora), Effect::EngineRestart);
    for name in both(old.env.keys(), env.keys()) {
        let (before, after) = (old.env.get(name), env.get(name));
        if before == after {
            continue;
        }
        let shown = |v: Option<&EnvValue>| match v {
            None => Value::Nothing,
            Some(EnvValue::Plain(text)) if !is_secret_name(name) => Value::Text(text.clone()),
            Some(EnvValue::Plain(_) | EnvValue::Secret(_)) => Value::Secret { changed: true },
        };
        let change =
            Change { field: format!("engine.env.{name}"), from: shown(before), to: shown(after), effect: Effect::EngineRestart };
        diff.0.push(change);
    }
}

fn of_gpu(diff: &mut Diff, old: &Gpu, new: &Gpu) {
    let Gpu { count, indices, min_vram, min_compute_tenths, max_price, tiers, other_names } = new;
    let numbers = |all: &[u32]| all.iter().map(u32::to_string).collect::<Vec<_>>();
    diff.add("gpu.count", old.count, *count, Effect::NewMachine);
    diff.add("gpu.indices", numbers(&old.indices), numbers(indices), Effect::NewMachine);
    let vram = |v: Vram| match v {
        Vram::Auto => Value::Text("auto".to_owned()),
        Vram::Bytes(bytes) => bytes.into(),
    };
    diff.add("gpu.min-vram", vram(old.min_vram), vram(*min_vram), Effect::NewMachine);
    let compute = |tenths: Option<u32>| tenths.map(|t| format!("{}.{}", t / 10, t % 10));
    let compute = |tenths| Value::from(compute(tenths).as_deref());
    diff.add("gpu.min-compute-capability", compute(old.min_compute_tenths), compute(*min_compute_tenths), Effect::NewMachine);
    // What the next machine may cost, and be, says nothing of the one that runs.
    let price = |p: Option<crate::money::UsdPerHour>| Value::from(p.map(|p| p.to_string()).as_deref());
    diff.add("gpu.max-usd-per-hour", price(old.max_price), price(*max_price), Effect::None);
    let cards = |all: &[Tier]| all.iter().map(|t| format!("{} {}", t.gpu, t.max_price)).collect::<Vec<_>>();
    diff.add("gpu.tiers", cards(&old.tiers), cards(tiers), Effect::None);
    diff.add("gpu.other-names", old.other_names, *other_names, Effect::None);
}

const fn source_name(source: Source) -> &'static str {
    match source {
        Source::Image => "image",
        Source::Venv => "venv",
        Source::Installed => "installed",
    }
}

fn both<'a>(a: impl Iterator<Item = &'a String>, b: impl Iterator<Item = &'a String>) -> std::collections::BTreeSet<&'a String> {
    a.chain(b).collect()
}
