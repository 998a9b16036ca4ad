//! From the file's server section to providers and budgets.

use crate::environment;
use crate::ports::{RealSecrets, now};
use charter_api::file::server::{Provider as ProviderFile, Server as ServerSection};
use charter_api::problem::Problem;
use charter_controller::{Secrets, engine_key};
use charter_domain::budget::{BUILT_IN, Budget, Scope};
use charter_domain::ids::Tag;
use charter_domain::instance::Address;
use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::profile::SecretRef;
use charter_domain::routing::{Backend, Hosted, KeyLimits, Reach, ServedName, Speaks, TokenPrice};
use charter_domain::time::Span;
use charter_engines::vllm::launch::KEY_VARIABLE;
use charter_providers::Provider;
use charter_providers::machines::{Machine, Machines};
use charter_providers::vast::Vast;
use charter_remote::{KeyPair, Links};
use charter_translate::models;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A path that may begin with the user's home.
pub(crate) fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), environment::var("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

pub(crate) fn machine(from: &charter_api::file::server::Machine, installation: &KeyPair) -> Result<Machine, Problem> {
    let key = match &from.key_file {
        None => installation.clone(),
        Some(path) => {
            let failed = |why: String| {
                let message = format!("the key of machine `{}` cannot be used", from.name);
                Problem::new(0, "R0005", message, "name a private key in OpenSSH format without a passphrase in `key-file`")
                    .with_detail(why)
            };
            let text = std::fs::read_to_string(expand(path)).map_err(|e| failed(format!("`{path}`: {e}")))?;
            KeyPair::from_openssh(&text).map_err(|e| failed(format!("`{path}`: {e}")))?
        }
    };
    let address = Address { host: from.host.clone(), port: from.port, user: from.user.clone() };
    let key_file = from.key_file.as_deref().map(|path| expand(path).display().to_string());
    Ok(Machine {
        name: from.name.clone(),
        address,
        key,
        key_file,
        host_key: from.host_key.clone(),
        allow_no_gpu: from.allow_no_gpu,
    })
}

pub(crate) fn provider(
    from: &ProviderFile,
    installation: &KeyPair,
    installation_secret: &str,
    links: &Links,
    data_dir: &Path,
    switch: Option<Span>,
) -> Result<Arc<dyn Provider>, Problem> {
    if from.kind == "vast" {
        let secret = from.api_key.clone().map(charter_web::secret);
        return vast(&from.name, from.base_url.as_deref(), secret, installation_secret, from.entrypoint, switch);
    }
    let machines = from.machines.iter().map(|m| machine(m, installation)).collect::<Result<Vec<_>, _>>()?;
    let pins = data_dir.join(format!("host-keys-{}.json", from.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")));
    Ok(Arc::new(Machines::new(&from.name, machines, links.clone(), pins)))
}

/// A rented machine ends itself after so long a silence, where the file says nothing else.
const SILENCE: Span = Span::min(30);
/// It must bear so many missed looks at the least.
const LOOKS_MISSED: i64 = 3;

/// How long a rented machine waits for us before it ends itself; `look` is the time between two looks at what runs.
pub(crate) fn dead_man_switch(section: &ServerSection, look: Span) -> Result<Option<Span>, Problem> {
    let Some(said) = section.dead_man_switch_ms else { return Ok(Some(SILENCE)) };
    let Some(ms) = said else { return Ok(None) };
    let silence = Span::ms(i64::try_from(ms).unwrap_or(i64::MAX));
    let least = Span(look.0.saturating_mul(LOOKS_MISSED));
    if silence < least {
        let message = format!("`dead-man-switch: {silence}` would end machines that are looked after every {look}");
        return Err(Problem::new(0, "C0015", message, format!("set it to {least} or more, or to `never`")));
    }
    Ok(Some(silence))
}

/// The marketplace that a server has when its file names no provider at all and its environment holds the key.
pub(crate) fn from_environment(installation_secret: &str, switch: Option<Span>) -> Option<Result<Arc<dyn Provider>, Problem>> {
    api_key_of_environment().map(|_| vast("vast", None, None, installation_secret, false, switch))
}

fn api_key_of_environment() -> Option<String> {
    environment::var("VASTAI_API_KEY").or_else(|| environment::var("VAST_API_KEY"))
}

fn unusable(name: &str, why: String) -> Problem {
    let hint = "set `VASTAI_API_KEY` where the server is started, or name the key's place in `api-key`";
    Problem::new(0, "C0013", format!("the provider `{name}` cannot be used"), hint).with_detail(why)
}

fn vast(
    name: &str,
    base_url: Option<&str>,
    secret: Option<SecretRef>,
    installation_secret: &str,
    entrypoint: bool,
    switch: Option<Span>,
) -> Result<Arc<dyn Provider>, Problem> {
    let failed = |why: String| unusable(name, why);
    let key = match secret {
        Some(secret) => RealSecrets.read(&secret).map_err(failed)?,
        None => api_key_of_environment().ok_or_else(|| failed("it has no API key".to_owned()))?,
    };
    with_key(name, base_url, &key, installation_secret, entrypoint, switch)
}

/// The key of a marketplace of the file, if it can be read.
pub(crate) fn api_key(from: &ProviderFile) -> Option<String> {
    if from.kind != "vast" {
        return None;
    }
    match from.api_key.clone().map(charter_web::secret) {
        Some(secret) => RealSecrets.read(&secret).ok(),
        None => api_key_of_environment(),
    }
}

/// A marketplace whose key is known.
pub(crate) fn with_key(
    name: &str,
    base_url: Option<&str>,
    key: &str,
    installation_secret: &str,
    entrypoint: bool,
    switch: Option<Span>,
) -> Result<Arc<dyn Provider>, Problem> {
    let failed = |why: String| unusable(name, why);
    let base = environment::var("CHARTER_VAST_BASE_URL").or_else(|| base_url.map(str::to_owned));
    let base = base.unwrap_or_else(|| charter_providers::vast::BASE_URL.to_owned());
    let secret = installation_secret.to_owned();
    let keys = Arc::new(move |tag: &Tag| KeyPair::derive(secret.as_bytes(), &tag.to_string()));
    let made = Vast::new(name, &base, key.trim(), keys, Arc::new(now)).map_err(failed)?.with_switch(switch);
    if !entrypoint {
        return Ok(Arc::new(made));
    }
    let secret = installation_secret.to_owned();
    let engine_keys = move |tag: &Tag| (KEY_VARIABLE.to_owned(), engine_key(secret.as_bytes(), tag));
    Ok(Arc::new(made.with_entrypoint(Arc::new(engine_keys))))
}

pub(crate) fn budgets(section: &ServerSection) -> Result<Vec<Budget>, Problem> {
    let scope = |name: &str| match name {
        "total" => Scope::Total,
        "day" => Scope::Day,
        "tenant" => Scope::Tenant,
        "deployment" => Scope::Deployment,
        "rental" => Scope::Rental,
        _ => Scope::Month,
    };
    let mut all: Vec<Budget> = section
        .budgets
        .iter()
        .map(|(name, [target, alert, hard])| Budget {
            scope: scope(name),
            target: Usd(*target),
            alert: Usd(*alert),
            hard: Usd(*hard),
        })
        .collect();
    for (name, scope) in [("VASTAI_BUDGET_LIMIT", Scope::Total), ("VASTAI_SESSION_BUDGET_LIMIT", Scope::Rental)] {
        if let Some(micros) = environment::usd(name)? {
            all.retain(|b| b.scope != scope);
            all.push(Budget { scope, target: Usd(micros), alert: Usd(micros), hard: Usd(micros) });
        }
    }
    Ok(if all.is_empty() { vec![BUILT_IN] } else { all })
}

/// What may be spent at a hosted provider where the file says nothing: in a day, and in a month.
const HOSTED_DAY: Usd = Usd(10_000_000);
const HOSTED_MONTH: Usd = Usd(50_000_000);
/// Requests that one of its models answers at the same time.
const HOSTED_CONCURRENT: u32 = 256;

/// The models of the hosted providers of a file, as routes know them.
pub(crate) fn hosted(section: &ServerSection) -> Result<Vec<Backend>, Problem> {
    let mut all = vec![];
    for provider in section.providers.iter().filter(|p| p.is_hosted()) {
        let failed = |why: String, hint: &str| {
            Problem::new(0, "C0013", format!("the provider `{}` cannot be used", provider.name), hint).with_detail(why)
        };
        let (variable, base, speaks) = match provider.kind.as_str() {
            "anthropic" => ("ANTHROPIC_API_KEY", "https://api.anthropic.com", Speaks::Anthropic),
            _ => ("OPENAI_API_KEY", "https://api.openai.com", Speaks::OpenAi),
        };
        let hint = format!("set `{variable}` where the server is started, or name the key's place in `api-key`");
        let key = match provider.api_key.clone().map(charter_web::secret) {
            Some(secret) => RealSecrets.read(&secret).map_err(|why| failed(why, &hint))?,
            None => environment::var(variable).ok_or_else(|| failed("it has no API key".to_owned(), &hint))?,
        };
        let base = provider.base_url.clone().unwrap_or_else(|| base.to_owned());
        let host = base
            .strip_prefix("http://")
            .and_then(|rest| rest.parse::<hyper::http::uri::Authority>().ok().or_else(|| rest.split('/').next()?.parse().ok()));
        let local = host.is_some_and(|a| {
            let name = a.host().trim_matches(['[', ']']);
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        });
        if !base.starts_with("https://") && !local {
            let hint = "write `https://`: the key and every prompt would be read on the way";
            return Err(failed(format!("`{base}` is not encrypted"), hint));
        }
        let usual = vec![models::default_model(&provider.kind).to_owned()];
        let named = if provider.models.is_empty() { usual } else { provider.models.clone() };
        let [day, month] = provider.limits;
        let limits = KeyLimits {
            day: Some(day.map_or(HOSTED_DAY, Usd)),
            month: Some(month.map_or(HOSTED_MONTH, Usd)),
            ..KeyLimits::default()
        };
        for (at, model) in named.iter().enumerate() {
            let known = models::find(&provider.kind, model);
            let price = TokenPrice {
                input: Usd(known.input_usd_micros_per_mtok),
                cached: Usd(known.cached_usd_micros_per_mtok),
                output: Usd(known.output_usd_micros_per_mtok),
            };
            let id = format!("{}/{model}", provider.name);
            let mut names = vec![id.clone()];
            names.extend((at == 0).then(|| provider.name.clone()));
            all.push(Backend {
                group: id.clone(),
                id,
                served_names: names.into_iter().map(|name| ServedName { name, parent: None }).collect(),
                upstream_model: Some(model.clone()),
                reach: Reach::Http { base_url: base.trim_end_matches('/').trim_end_matches("/v1").to_owned() },
                bearer: Some(key.trim().to_owned()),
                max_concurrent: HOSTED_CONCURRENT,
                ready: true,
                starting: false,
                asleep: false,
                kept: false,
                rent: UsdPerHour(0),
                queue: 0,
                speaks,
                tools: true,
                hosted: Some(Hosted { provider: provider.name.clone(), limits, price }),
            });
        }
    }
    Ok(all)
}
