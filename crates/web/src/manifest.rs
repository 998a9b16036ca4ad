//! Manifests: everything that makes a deployment what it is, on one page that can be kept, read and run again. The names of
//! environment variables stand in it and never their values.

use crate::auth::Caller;
use crate::deployments::{clash, declare, described, find};
use crate::problem::{Answer, Body, Path, failed};
use crate::router::App;
use crate::status::{self, rfc3339};
use axum::extract::{Json, State};
use axum::http::StatusCode;
use charter_api::deployment::Declare;
use charter_api::manifest::{Adapter, Arguments, Cards, Manifest, Order};
use charter_api::status as wire;
use charter_domain::deployment::Deployment;
use charter_domain::money::UsdPerHour;
use charter_domain::profile::{Limits, OptionValue, Profile, Source, Vram};
use charter_domain::replica::Replica;
use charter_domain::time::Span;
use serde_json::{Map, Value, json};

const SCHEMA: &str = "charter.manifest/1";

fn option(value: &OptionValue) -> Value {
    match value {
        OptionValue::Flag(flag) => (*flag).into(),
        OptionValue::Number(number) => (*number).into(),
        OptionValue::Text(text) => text.clone().into(),
    }
}

/// A size as files have it.
fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1_000_000) { format!("{}MB", bytes / 1_000_000) } else { format!("{}MiB", bytes >> 20) }
}

fn usd(price: UsdPerHour) -> String {
    format!("{}.{:06}", price.0 / 1_000_000, price.0 % 1_000_000)
}

/// A profile as a file has it, pinned to a version, without its environment.
fn file_of(profile: &Profile, version: &str) -> Value {
    let Profile { model, served_name, providers, engine, gpu, disk_bytes, .. } = profile;
    let source = match engine.source {
        Source::Image => "image",
        Source::Venv => "venv",
        Source::Installed => "installed",
    };
    // A program that is there already has the version that it has.
    let version = if engine.source == Source::Installed { "" } else { version };
    let options: Map<String, Value> = engine.options.iter().map(|(name, value)| (name.clone(), option(value))).collect();
    let lora: Vec<Value> = engine.lora.iter().map(|l| json!({"name": l.name, "path": l.path})).collect();
    let tiers: Vec<Value> = gpu.tiers.iter().map(|t| json!({"gpu": t.gpu, "max-usd-per-hour": usd(t.max_price)})).collect();
    let mut cards = json!({"other-names": gpu.other_names});
    if gpu.indices.is_empty() {
        cards["count"] = gpu.count.into();
    } else {
        cards["indices"] = gpu.indices.clone().into();
    }
    if let Vram::Bytes(bytes) = gpu.min_vram {
        cards["min-vram"] = size(bytes).into();
    }
    if let Some(tenths) = gpu.min_compute_tenths {
        cards["min-compute-capability"] = format!("{}.{}", tenths / 10, tenths % 10).into();
    }
    if let Some(price) = gpu.max_price {
        cards["max-usd-per-hour"] = usd(price).into();
    }
    if !tiers.is_empty() {
        cards["tiers"] = tiers.into();
    }
    let canary: Vec<Value> = profile.canary.iter().map(|c| json!({"prompt": c.prompt, "expect": c.expect})).collect();
    let mut made = json!({
        "model": model, "served-name": served_name, "provider": providers, "max-concurrent": profile.max_concurrent,
        "min-reliability": format!("0.{:03}", profile.min_reliability_permille.min(999)), "limits": limits_of(&profile.limits), "canary": canary,
        "engine": {"kind": engine.kind, "version": version, "source": source, "command": engine.command, "options": options,
            "extra-args": engine.extra_args, "lora": lora},
        "gpu": cards,
    });
    if profile.min_reliability_permille >= 1000 {
        made["min-reliability"] = "1".into();
    }
    if *disk_bytes > 0 {
        made["disk"] = size(*disk_bytes).into();
    }
    match profile.keep_alive {
        Some(span) if span.0 > i64::MAX / 2 => made["keep-alive"] = "never".into(),
        Some(span) => made["keep-alive"] = format!("{}ms", span.0).into(),
        None => {}
    }
    made
}

fn limits_of(limits: &Limits) -> Value {
    let Limits { search, search_retries, stall, boot, ssh, load, failed_restarts, attempts, bake, drain } = limits;
    let ms = |span: &Span| format!("{}ms", span.0);
    json!({
        "search": ms(search), "search-retries": search_retries, "stall": ms(stall), "boot": ms(boot), "ssh": ms(ssh),
        "load": ms(load), "failed-restarts": failed_restarts, "attempts": attempts, "bake": ms(bake), "drain": ms(drain),
    })
}

/// The manifest of a deployment.
pub(crate) fn of(state: &Deployment, replicas: &[Replica]) -> Manifest {
    let (profile, engine) = (&state.profile, &state.profile.engine);
    let serving = replicas.iter().find(|r| state.serves(r) && r.instance().is_some()).and_then(Replica::instance);
    let offer = serving.map(|i| &i.placement.offer);
    let chosen = |i: &u32| offer.and_then(|o| o.gpus.iter().find(|g| g.index == *i)).map(|g| g.name.clone());
    let indices = serving.map(|i| i.placement.gpus.clone()).unwrap_or_default();
    let names: Vec<String> = indices.iter().filter_map(chosen).collect();
    let said = |name: &str| engine.options.get(name).map(option).unwrap_or_default();
    let digest = match engine.source {
        Source::Image => "the provider starts the image by its tag and does not tell its digest",
        Source::Venv | Source::Installed => "no image is used",
    };
    Manifest {
        schema: SCHEMA.to_owned(),
        name: state.name.clone(),
        tenant: state.tenant.clone(),
        owner: state.owner.clone(),
        generation: state.generation,
        model: profile.model.clone(),
        served_name: profile.served_name.clone(),
        revision: said("revision"),
        seed: said("seed"),
        engine_version: state.engine_version.clone(),
        image_digest: None,
        image_digest_reason: digest.to_owned(),
        packages: None,
        packages_reason: "the engine's own package brings what it needs; charter pins its version alone".to_owned(),
        arguments: Arguments {
            options: engine.options.iter().map(|(n, v)| (n.clone(), option(v))).collect(),
            extra_args: engine.extra_args.clone(),
        },
        lora: engine.lora.iter().map(|l| Adapter { name: l.name.clone(), path: l.path.clone() }).collect(),
        gpu: Cards {
            indices,
            names,
            memory_fraction: said("gpu-memory-utilization"),
            tensor_parallel_size: said("tensor-parallel-size"),
        },
        host: offer.map(|o| o.host.clone()),
        provider: offer.map(|o| o.provider.clone()),
        env_keys: engine.env.keys().cloned().collect(),
        created_at: rfc3339(state.created_at),
        profile: file_of(profile, &state.engine_version),
        deployment: json!({"profile": state.profile_name, "replicas": state.replicas, "owner": state.owner, "tenant": state.tenant}),
    }
}

pub(crate) async fn export(State(app): State<App>, caller: Caller, Path(name): Path<String>) -> Answer<Json<Manifest>> {
    let state = find(&app, &caller, &name).await?;
    let replicas = app.controller.replicas_of(&state.id).await?;
    Ok(Json(of(&state, &replicas)))
}

/// Is it a manifest?
pub(crate) fn check(manifest: &Value) -> Answer<()> {
    let wrong = |message: String| failed(422, "A0422", message, "send what `charter manifest export` printed, as it is");
    if manifest.get("schema").and_then(Value::as_str) != Some(SCHEMA) {
        return Err(wrong(format!("this is no manifest: its `schema` is not `{SCHEMA}`")));
    }
    let (Some(profile), Some(deployment)) = (manifest.get("profile"), manifest.get("deployment")) else {
        return Err(wrong("the manifest lacks `profile` or `deployment`".to_owned()));
    };
    if !profile["engine"].is_object() || !deployment.is_object() {
        return Err(wrong("the manifest's `profile` or `deployment` is no object".to_owned()));
    }
    Ok(())
}

/// What a manifest asks for.
pub(crate) fn wanted(order: Order) -> Answer<Declare> {
    let manifest = order.manifest;
    check(&manifest)?;
    let own = manifest.get("name").and_then(Value::as_str).unwrap_or_default();
    let name = order.name.unwrap_or_else(|| own.to_owned());
    let (mut profile, mut deployment) = (manifest["profile"].clone(), manifest["deployment"].clone());
    let keys: Vec<&str> =
        manifest.get("env_keys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let missing: Vec<&str> = keys.iter().copied().filter(|k| !order.env_vars.iter().any(|v| v.key == *k)).collect();
    if !missing.is_empty() {
        let hint = "values never stand in a manifest: give them with `--env NAME`, or in `env_vars`";
        return Err(failed(422, "A0424", format!("values are missing for: {}", missing.join(", ")), hint));
    }
    let env: Map<String, Value> = order.env_vars.into_iter().map(|v| (v.key, v.value.into())).collect();
    profile["engine"]["env"] = env.into();
    if let Some(node) = order.node_id {
        deployment["offer"] = node.into();
    }
    if let Some(port) = order.port {
        deployment["forward"] = json!({"port": port});
    }
    Ok(described(&name, profile, deployment, None))
}

/// Runs what a manifest says.
pub(crate) async fn apply(
    State(app): State<App>,
    caller: Caller,
    Body(order): Body<Order>,
) -> Answer<(StatusCode, Json<wire::Deployment>)> {
    run(&app, &caller, wanted(order)?).await
}

pub(crate) async fn run(app: &App, caller: &Caller, wanted: Declare) -> Answer<(StatusCode, Json<wire::Deployment>)> {
    let declared = declare(app, caller, wanted)?;
    if let Some(taken) = clash(app, &declared).await? {
        let hint = "end the other deployment, or apply it under a name and a `served-name` of its own";
        return Err(failed(409, "G0003", format!("`{taken}` is served by another deployment already"), hint));
    }
    let state = app.controller.declare(declared).await?;
    Ok((StatusCode::ACCEPTED, Json(status::one(app, &state).await?)))
}
