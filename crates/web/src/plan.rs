//! What would happen: the file against what is there, touching nothing.

use crate::afresh::{differences, target};
use crate::auth::Caller;
use crate::deployments::{clash, declare};
use crate::problem::{Answer, Body};
use crate::router::App;
use axum::extract::{Json, State};
use charter_api::deployment::PlanQuestion;
use charter_api::status::{Change, Offer, Plan, PlanEntry, Report};
use charter_controller::Declared;
use charter_domain::change::{Effect, Value, effect};
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::fleet::Target;
use charter_domain::placement::{Requirement, choose, explain};
use charter_domain::replica::Replica;
use charter_domain::upgrade::{self, Strategy};

pub(crate) async fn plan(State(app): State<App>, caller: Caller, Body(question): Body<PlanQuestion>) -> Answer<Json<Plan>> {
    let mut deployments = vec![];
    for wanted in question.deployments {
        let declared = declare(&app, &caller, wanted)?;
        deployments.push(entry(&app, &caller, declared, None).await?);
    }
    Ok(Json(whole(deployments)))
}

fn whole(deployments: Vec<PlanEntry>) -> Plan {
    let pending = deployments.iter().any(|d| d.action != "none");
    Plan { schema: "charter.plan/1".into(), pending, deployments }
}

/// What an upgrade of these deployments would do.
pub(crate) async fn what_if(
    app: &App,
    caller: &Caller,
    states: &[Deployment],
    to: &Target,
    strategy: Option<Strategy>,
) -> Answer<Plan> {
    let mut deployments = vec![];
    for state in states {
        deployments.push(entry(app, caller, target(app, caller, state, to)?, strategy).await?);
    }
    Ok(whole(deployments))
}

async fn entry(app: &App, caller: &Caller, wanted: Declared, strategy: Option<Strategy>) -> Answer<PlanEntry> {
    let old = app.controller.store().deployment(&wanted.name).await?.map(|row| row.state);
    if old.as_ref().is_some_and(|old| !caller.sees(&old.tenant)) {
        let message = format!("another tenant has a deployment `{}`", wanted.name);
        return Err(crate::problem::failed(409, "A0410", message, "choose another name"));
    }
    let replicas = match &old {
        Some(old) => app.controller.replicas_of(&old.id).await?,
        None => vec![],
    };
    let running = old.as_ref().filter(|o| o.wish == Wish::Run);
    let differ = running.map(|o| differences(o, &wanted)).unwrap_or_default();
    let needs = effect(&differ);
    let said = if differ.is_empty() { None } else { reported(app, running, &replicas).await };
    let mut changes: Vec<Change> = differ
        .into_iter()
        .map(|change| Change {
            profile: json(&change.to),
            started_with: json(&change.from),
            engine_reports: said.as_ref().and_then(|all| all.get(&change.field)).cloned().unwrap_or_default(),
            effect: change.effect.as_str().to_owned(),
            field: change.field,
        })
        .collect();
    if let Some(old) = running.filter(|o| o.replicas != wanted.replicas && o.scale.is_none()) {
        let (before, after) = (old.replicas.into(), wanted.replicas.into());
        let effect = Effect::Live.as_str().to_owned();
        let reports = serde_json::Value::Null;
        changes.push(Change { field: "replicas".into(), profile: after, started_with: before, engine_reports: reports, effect });
    }
    let decided = decide(running, &replicas, &wanted, (&changes, needs));
    let mut made = PlanEntry {
        name: wanted.name.clone(),
        action: decided.0.to_owned(),
        strategy: decided.1.as_str().to_owned(),
        why: decided.2,
        changes,
        price_before_usd_micros_per_hour: price(&replicas),
        price_after_usd_micros_per_hour: price(&replicas),
        extra_usd_micros: 0,
        committed_usd_micros: 0,
        gap_ms: Some(0),
        offers: vec![],
        reports: vec![],
    };
    for replica in &replicas {
        if let Some(waits) = app.controller.waits_for(&replica.id) {
            made.reports.push(Report { code: "P0104".into(), text: format!("copy {}: {waits}", replica.slot) });
        }
    }
    if let Some(taken) = clash(app, &wanted).await? {
        let text = format!("`up` would be refused: `{taken}` is served by another deployment already");
        made.reports.push(Report { code: "G0003".into(), text });
    }
    let asked = strategy.or(wanted.strategy);
    match (made.action.as_str(), running) {
        ("create", _) => drop(look_for_offers(app, &wanted, old.clone(), &[], &mut made).await),
        ("upgrade", Some(state)) if needs >= Effect::EngineRestart => {
            shape(app, &wanted, (state, &replicas), (asked, needs), &mut made).await;
        }
        _ => {}
    }
    Ok(made)
}

/// What the engine itself tells of fields.
async fn reported(app: &App, running: Option<&Deployment>, replicas: &[Replica]) -> Option<serde_json::Value> {
    let state = running?;
    let serving = replicas.iter().find(|r| state.serves(r) && r.process().is_some())?;
    let said = app.controller.reported(serving, &state.profile.served_name).await?;
    Some(serde_json::json!({
        "engine.options.max-model-len": said.max_model_len, "engine.version": said.version, "model": said.root,
    }))
}

fn json(value: &Value) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn price(replicas: &[Replica]) -> i64 {
    replicas.iter().filter_map(Replica::instance).map(|i| i.placement.offer.price.0).sum()
}

fn decide(
    running: Option<&Deployment>,
    replicas: &[Replica],
    wanted: &Declared,
    (changes, needs): (&[Change], Effect),
) -> (&'static str, Strategy, String) {
    let Some(old) = running else { return ("create", Strategy::Recreate, "nothing of it runs".to_owned()) };
    if old.status(replicas).as_str() == "error" {
        return ("create", Strategy::Recreate, "the last try ended in an error and is made again".to_owned());
    }
    if needs >= Effect::EngineRestart {
        return ("upgrade", upgrade::choose(old.replicas), String::new());
    }
    if old.replicas != wanted.replicas && old.scale.is_none() {
        return ("scale", Strategy::Rolling, format!("{} copies become {}", old.replicas, wanted.replicas));
    }
    if changes.is_empty() {
        let on_its_way = replicas.iter().filter(|r| !r.phase.is_closed() && r.phase.name() != "ready");
        let phases: Vec<&str> = on_its_way.map(|r| r.phase.name()).collect();
        let why = match phases.as_slice() {
            [] => "it runs as the file says".to_owned(),
            some => format!("what the file says is on its way ({}); nothing else has to be begun", some.join(", ")),
        };
        return ("none", Strategy::InPlace, why);
    }
    ("upgrade", Strategy::InPlace, "nothing has to be started again".to_owned())
}

/// How an upgrade would go: what could be had beside what runs, what both cost together, and for how long nothing answers.
async fn shape(
    app: &App,
    wanted: &Declared,
    (state, replicas): (&Deployment, &[Replica]),
    (asked, needs): (Option<Strategy>, Effect),
    made: &mut PlanEntry,
) {
    let usual = app.controller.usual_start(state).await;
    let beside = upgrade::choose(state.replicas);
    let strategy = asked.unwrap_or(beside);
    // Only what is ended first, or is used again, frees a machine of ours for what comes after it.
    let freed: &[Replica] = if strategy == Strategy::Recreate { replicas } else { &[] };
    let enough = look_for_offers(app, wanted, Some(state.clone()), freed, made).await;
    let bake = state.profile.limits.bake;
    let both = i64::try_from(i128::from(made.price_after_usd_micros_per_hour) * i128::from(usual.0 + bake.0) / 3_600_000);
    let minutes = (usual.0 + bake.0 + 59_999) / 60_000;
    let machine = made.price_before_usd_micros_per_hour;
    let in_place = |made: &mut PlanEntry, why: String| {
        made.strategy = Strategy::InPlace.as_str().to_owned();
        (made.why, made.gap_ms, made.extra_usd_micros, made.committed_usd_micros) = (why, Some(usual.0), 0, 0);
        made.price_after_usd_micros_per_hour = machine;
        made.offers.clear();
    };
    let held = "requests wait while the engine starts anew on the machine that is there; weights stay on its disk";
    match strategy {
        Strategy::InPlace => in_place(made, format!("as asked for: {held}")),
        Strategy::Recreate => {
            made.strategy = strategy.as_str().to_owned();
            made.why = "as asked for: what runs is ended first, and nothing answers in between".to_owned();
            made.gap_ms = Some(usual.0);
        }
        Strategy::SideBySide | Strategy::Rolling if !enough && asked.is_none() && needs <= Effect::EngineRestart => {
            in_place(made, format!("no second machine can be had or paid now: {held}"));
        }
        Strategy::SideBySide | Strategy::Rolling => {
            made.strategy = strategy.as_str().to_owned();
            made.extra_usd_micros = both.unwrap_or(i64::MAX);
            let how = if strategy == Strategy::Rolling { "one copy after the other, " } else { "" };
            made.why = match (enough, asked.is_some()) {
                (true, false) => format!("{how}machines can be had, and the limits allow both for some {minutes} min"),
                (true, true) => format!("as asked for; {how}both run for some {minutes} min"),
                (false, _) => format!("{how}no machine can be had or paid now: what runs stays until one can"),
            };
        }
    }
}

/// Looks for machines for all copies; false where not all of them have one.
async fn look_for_offers(app: &App, wanted: &Declared, old: Option<Deployment>, freed: &[Replica], made: &mut PlanEntry) -> bool {
    let probe = app.controller.as_deployment(wanted, old);
    // As the search for a machine does it.
    let reputations = app.controller.reputations().await;
    let need = Requirement { reputations, ..app.controller.requirement(&probe) };
    let exhausted = app.controller.exhausted(&probe).await;
    let mut fits = !matches!(exhausted, Ok(Some(_)));
    if let Ok(Some(text)) = exhausted {
        made.reports.push(Report { code: "M0001".into(), text });
    }
    let (mut offers, problems) = app.controller.offers_within(&need, probe.profile.limits.search).await;
    app.controller.slow_down(&mut offers).await;
    let listed = !offers.is_empty();
    if let Ok(Some((most, why))) = app.controller.affordable(&probe).await {
        let before = offers.len();
        offers.retain(|o| o.price <= most);
        if offers.is_empty() && before > 0 {
            made.reports.push(Report { code: "M0001".into(), text: why });
        }
    }
    if !listed && problems.is_empty() {
        let text = match &need.offer {
            Some(id) => format!("the offer `{id}` is not there; `charter offers` shows what is"),
            None => "nothing is offered at this moment".to_owned(),
        };
        made.reports.push(Report { code: "P0001".into(), text });
    }
    let mut free = offers;
    // The machine that is given back first is free for what comes after it.
    for placement in freed.iter().filter_map(Replica::instance).map(|i| &i.placement) {
        let same = free.iter_mut().filter(|o| o.id == placement.offer.id && o.provider == placement.offer.provider);
        same.flat_map(|o| &mut o.gpus).filter(|g| placement.gpus.contains(&g.index)).for_each(|g| g.free = true);
    }
    made.price_after_usd_micros_per_hour = 0;
    for copy in 0..probe.replicas {
        match choose(&need, &free) {
            Ok(placement) => {
                made.price_after_usd_micros_per_hour += placement.offer.price.0;
                made.committed_usd_micros += app.controller.commits(&probe, placement.offer.price).0;
                made.offers.push(Offer {
                    id: placement.offer.id.clone(),
                    provider: placement.offer.provider.clone(),
                    gpu: placement.label(),
                    price_usd_micros_per_hour: placement.offer.price.0,
                    score: None,
                });
                // The next copy cannot have the same cards.
                let taken = free.iter_mut().filter(|o| o.id == placement.offer.id && o.provider == placement.offer.provider);
                let cards = taken.flat_map(|o| &mut o.gpus).filter(|g| placement.gpus.contains(&g.index));
                cards.for_each(|g| g.free = false);
            }
            Err(rejections) => {
                fits = false;
                let lines = explain(&rejections).into_iter().map(|line| format!("copy {copy}: {line}"));
                made.reports.extend(lines.map(|text| Report { code: "P0001".into(), text }));
            }
        }
    }
    made.reports.extend(problems.into_iter().map(|(text, _)| Report { code: "P0002".into(), text }));
    fits
}
