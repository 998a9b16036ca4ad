//! From the file's shapes to the domain's, and nothing else.

use charter_api::file::profile as wire;
use charter_controller::Declared;
use charter_domain::deployment::Forward;
use charter_domain::money::UsdPerHour;
use charter_domain::profile::{Canary, Engine, EnvValue, Gpu, Limits, Lora, OptionValue, Profile, SecretRef, Source, Tier, Vram};
use charter_domain::scale::Scale;
use charter_domain::time::Span;
use charter_domain::upgrade::Strategy;

fn span(ms: u64) -> Span {
    Span::ms(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// Where a secret is.
pub fn secret(from: wire::Secret) -> SecretRef {
    match from {
        wire::Secret::Env(name) => SecretRef::Env(name),
        wire::Secret::File(path) => SecretRef::File(path),
        wire::Secret::Command(argv) => SecretRef::Command(argv),
    }
}

fn option(from: wire::OptionValue) -> OptionValue {
    match from {
        wire::OptionValue::Flag(flag) => OptionValue::Flag(flag),
        wire::OptionValue::Number(number) => OptionValue::Number(number),
        wire::OptionValue::Text(text) => OptionValue::Text(text),
    }
}

fn engine(from: wire::Engine) -> Engine {
    let env = |value| match value {
        wire::EnvValue::Plain(text) => EnvValue::Plain(text),
        wire::EnvValue::Secret(s) => EnvValue::Secret(secret(s)),
    };
    let source = match from.source.as_str() {
        "installed" => Source::Installed,
        // A machine without a container runtime of ours runs an environment of its own.
        "venv" | "" => Source::Venv,
        _ => Source::Image,
    };
    Engine {
        kind: from.kind,
        version: from.version,
        source,
        command: from.command,
        options: from.options.into_iter().map(|(n, v)| (n, option(v))).collect(),
        extra_args: from.extra_args,
        lora: from.lora.into_iter().map(|(name, path)| Lora { name, path }).collect(),
        env: from.env.into_iter().map(|(n, v)| (n, env(v))).collect(),
    }
}

fn limits(from: &std::collections::BTreeMap<&'static str, u64>, defaults: Limits) -> Limits {
    let time = |name: &str, default: Span| from.get(name).map_or(default, |ms| span(*ms));
    let count = |name: &str, default: u32| from.get(name).map_or(default, |n| u32::try_from(*n).unwrap_or(u32::MAX));
    Limits {
        search: time("search", defaults.search),
        search_retries: count("search-retries", defaults.search_retries),
        stall: time("stall", defaults.stall),
        boot: time("boot", defaults.boot),
        ssh: time("ssh", defaults.ssh),
        load: time("load", defaults.load),
        failed_restarts: count("failed-restarts", defaults.failed_restarts),
        attempts: count("attempts", defaults.attempts),
        bake: time("bake", defaults.bake),
        drain: time("drain", defaults.drain),
    }
}

/// The profile that the file describes. `defaults` are the limits that the server's environment sets.
pub(crate) fn profile(from: wire::Profile, defaults: Limits) -> Profile {
    let gpu = Gpu {
        count: from.gpu.count,
        indices: from.gpu.indices,
        min_vram: from.gpu.min_vram_bytes.map_or(Vram::Auto, Vram::Bytes),
        min_compute_tenths: from.gpu.min_compute_tenths,
        max_price: from.gpu.max_usd_micros_per_hour.map(UsdPerHour),
        tiers: from.gpu.tiers.into_iter().map(|(gpu, price)| Tier { gpu, max_price: UsdPerHour(price) }).collect(),
        other_names: from.gpu.other_names,
    };
    Profile {
        model: from.model,
        served_name: from.served_name,
        providers: from.providers,
        engine: engine(from.engine),
        gpu,
        disk_bytes: from.disk_bytes,
        min_reliability_permille: from.min_reliability_permille,
        max_concurrent: from.max_concurrent,
        // Never is so long that nobody lives to see it; nothing said leaves it to the server.
        keep_alive: from.keep_alive_ms.map(|said| said.map_or(Span(i64::MAX), span)),
        limits: limits(&from.limits, defaults),
        canary: from.canary.into_iter().map(|(prompt, expect)| Canary { prompt, expect }).collect(),
    }
}

/// What a caller wants, complete but for the engine's resolved version.
pub(crate) fn declared(
    name: String,
    owner: &str,
    source_file: Option<String>,
    profile: Profile,
    from: wire::Deployment,
) -> Declared {
    let served_name = from.served_name.unwrap_or_else(|| profile.served_name.clone());
    Declared {
        name,
        tenant: from.tenant,
        owner: if from.owner.is_empty() { owner.to_owned() } else { from.owner },
        profile_name: from.profile,
        source_file,
        profile: Profile { served_name, ..profile },
        offer: from.offer,
        replicas: from.replicas,
        scale: from.scale.map(|(min, max)| Scale { min, max }),
        forward: from.forward.map(|(bind, port)| Forward { bind, port }),
        engine_version: String::new(),
        wait: from.wait,
        serve_for: from.serve_for_ms.map(|ms| Span::ms(i64::try_from(ms).unwrap_or(i64::MAX))),
        strategy: Strategy::parse(&from.strategy),
        strategy_now: None,
        by: owner.to_owned(),
    }
}
