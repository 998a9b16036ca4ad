//! A deployment and a placement that worlds are made of.

use charter_domain::deployment::{Deployment, Wish};
use charter_domain::ids::DeploymentId;
use charter_domain::money::UsdPerHour;
use charter_domain::offer::Offer;
use charter_domain::placement::Placement;
use charter_domain::profile::{Engine, Gpu, Limits, Profile, Source, Vram};
use charter_domain::time::Time;
use std::collections::BTreeMap;

pub(crate) fn placement() -> Placement {
    let offer = Offer {
        provider: "sim".into(),
        id: "o".into(),
        host: "h".into(),
        gpus: vec![],
        no_gpu_allowed: true,
        disk_bytes: None,
        driver: None,
        price: UsdPerHour(100_000),
        market: None,
    };
    Placement { offer, gpus: vec![], order: None }
}

pub(crate) fn deployment(n: i64, replicas: u32) -> Deployment {
    let engine = Engine {
        kind: "vllm".into(),
        version: String::new(),
        source: Source::Venv,
        command: vec![],
        options: BTreeMap::new(),
        extra_args: vec![],
        lora: vec![],
        env: BTreeMap::new(),
    };
    let gpu = Gpu {
        count: 1,
        indices: vec![],
        min_vram: Vram::Auto,
        min_compute_tenths: None,
        max_price: None,
        tiers: vec![],
        other_names: true,
    };
    let profile = Profile {
        model: "m".into(),
        served_name: "m".into(),
        providers: vec![],
        engine,
        gpu,
        disk_bytes: 0,
        min_reliability_permille: 0,
        max_concurrent: 1,
        keep_alive: None,
        limits: Limits::default(),
        canary: vec![],
    };
    Deployment {
        id: DeploymentId::new(&format!("d{n}")),
        name: format!("d{n}"),
        tenant: "default".into(),
        owner: "sim".into(),
        profile_name: "p".into(),
        source_file: None,
        generation: 1,
        profile,
        offer: None,
        replicas,
        scale: None,
        forward: None,
        engine_version: "0".into(),
        wish: Wish::Run,
        wait: false,
        expires_at: None,
        keep_until: None,
        created_at: Time(n),
        history: vec![],
        upgrade: None,
        strategy: None,
    }
}
