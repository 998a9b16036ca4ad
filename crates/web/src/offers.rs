//! What could be had now: every offer that fits with its score in parts, and which filter removed how many of the others.

use crate::auth::Caller;
use crate::deployments::{Wanted, declare};
use crate::problem::{Answer, Body, Query};
use crate::router::App;
use axum::extract::{Json, State};
use charter_domain::filter::Filter;
use charter_domain::placement::{Ranked, explain, rank};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Offers that one answer shows at most.
const SHOWN_MAX: usize = 200;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    profile: Value,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// Only this card.
    #[serde(default)]
    pub(crate) gpu: Option<String>,
    /// In US dollars per hour, as a decimal.
    #[serde(default)]
    pub(crate) max_price: Option<String>,
}

fn row(ranked: &Ranked<'_>) -> Value {
    let (offer, score) = (ranked.offer, &ranked.score);
    let market = offer.market.as_ref();
    json!({
        "id": offer.id, "provider": offer.provider, "host": offer.host, "gpu": offer.label(),
        "vram_bytes": offer.gpus.first().map(|g| g.memory_bytes), "price_usd_micros_per_hour": offer.price.0, "tier": ranked.tier,
        "score": f64::from(score.total()) / 1000.0,
        "score_parts": {"price": score.price, "reliability": score.reliability, "network": score.network, "cuda": score.cuda, "disk": score.disk},
        "reliability_permille": market.map(|m| m.reliability_permille), "inet_down_mbps": market.map(|m| m.inet_down_mbps),
        "cuda_tenths": market.and_then(|m| m.cuda_tenths), "country": market.and_then(|m| m.country.clone()),
    })
}

async fn answer(app: &App, caller: &Caller, profile: Value) -> Answer<Json<Value>> {
    let wanted = Wanted::of_profile("offers", profile);
    let declared = declare(app, caller, wanted)?;
    let search = declared.profile.limits.search;
    let mut need = app.controller.requirement(&app.controller.as_deployment(&declared, None));
    need.reputations = app.controller.reputations().await;
    let (offers, problems) = app.controller.offers_within(&need, search).await;
    let ranking = rank(&need, &offers);
    let mut counts: BTreeMap<Filter, usize> = BTreeMap::new();
    for unmet in ranking.rejected.iter().flat_map(|r| &r.unmet) {
        *counts.entry(unmet.filter).or_default() += 1;
    }
    let filtered: Vec<Value> = counts.into_iter().map(|(filter, count)| json!({"count": count, "why": filter.says()})).collect();
    let mut reasons: Vec<String> = problems.into_iter().map(|(text, _)| text).collect();
    if ranking.fitting.is_empty() {
        reasons.extend(explain(&ranking.rejected));
    }
    let rows: Vec<Value> = ranking.fitting.iter().take(SHOWN_MAX).map(row).collect();
    Ok(Json(
        json!({"schema": "charter.offers/1", "seen": offers.len(), "fitting": ranking.fitting.len(), "offers": rows, "filtered": filtered, "reasons": reasons}),
    ))
}

/// For a profile.
pub(crate) async fn ask(State(app): State<App>, caller: Caller, Body(question): Body<Question>) -> Answer<Json<Value>> {
    answer(&app, &caller, question.profile).await
}

/// For a card and a price alone.
pub(crate) async fn list(State(app): State<App>, caller: Caller, Query(wish): Query<Wish>) -> Answer<Json<Value>> {
    let mut gpu = json!({});
    if let Some(price) = &wish.max_price {
        gpu["max-usd-per-hour"] = price.clone().into();
    }
    if let Some(card) = wish.gpu {
        gpu["tiers"] = json!([{"gpu": card, "max-usd-per-hour": wish.max_price.unwrap_or_else(|| "1000".to_owned())}]);
        gpu["other-names"] = false.into();
    }
    answer(&app, &caller, json!({"model": "any/model", "gpu": gpu})).await
}
