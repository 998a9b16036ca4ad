//! What could be had now: every offer that fits with its score in parts, and which filter removed how many of the others.

use crate::auth::Caller;
use crate::deployments::{declare, of_profile};
use crate::problem::{Answer, Body, Query};
use crate::router::App;
use axum::extract::{Json, State};
use charter_api::market::{Filtered, Offers, OffersQuestion, RankedOffer, ScoreParts};
use charter_domain::filter::Filter;
use charter_domain::placement::{Ranked, explain, rank};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Offers that one answer shows at most.
const SHOWN_MAX: usize = 200;

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

fn row(ranked: &Ranked<'_>) -> RankedOffer {
    let (offer, score) = (ranked.offer, &ranked.score);
    let market = offer.market.as_ref();
    RankedOffer {
        id: offer.id.clone(),
        provider: offer.provider.clone(),
        host: offer.host.clone(),
        gpu: offer.label(),
        vram_bytes: offer.gpus.first().map(|g| g.memory_bytes),
        price_usd_micros_per_hour: offer.price.0,
        tier: ranked.tier,
        score: f64::from(score.total()) / 1000.0,
        score_parts: ScoreParts {
            price: score.price,
            reliability: score.reliability,
            network: score.network,
            cuda: score.cuda,
            disk: score.disk,
        },
        reliability_permille: market.map(|m| m.reliability_permille),
        inet_down_mbps: market.map(|m| m.inet_down_mbps),
        cuda_tenths: market.and_then(|m| m.cuda_tenths),
        country: market.and_then(|m| m.country.clone()),
    }
}

async fn answer(app: &App, caller: &Caller, profile: Value) -> Answer<Json<Offers>> {
    let declared = declare(app, caller, of_profile("offers", profile))?;
    let search = declared.profile.limits.search;
    let mut need = app.controller.requirement(&app.controller.as_deployment(&declared, None));
    need.reputations = app.controller.reputations().await;
    let (offers, problems) = app.controller.offers_within(&need, search).await;
    let ranking = rank(&need, &offers);
    let mut counts: BTreeMap<Filter, usize> = BTreeMap::new();
    for unmet in ranking.rejected.iter().flat_map(|r| &r.unmet) {
        *counts.entry(unmet.filter).or_default() += 1;
    }
    let filtered = counts.into_iter().map(|(filter, count)| Filtered { count, why: filter.says().to_owned() }).collect();
    let mut reasons: Vec<String> = problems.into_iter().map(|(text, _)| text).collect();
    if ranking.fitting.is_empty() {
        reasons.extend(explain(&ranking.rejected));
    }
    let (seen, fitting) = (offers.len(), ranking.fitting.len());
    let rows = ranking.fitting.iter().take(SHOWN_MAX).map(row).collect();
    Ok(Json(Offers { schema: "charter.offers/1".to_owned(), seen, fitting, offers: rows, filtered, reasons }))
}

/// For a profile.
pub(crate) async fn ask(State(app): State<App>, caller: Caller, Body(question): Body<OffersQuestion>) -> Answer<Json<Offers>> {
    answer(&app, &caller, question.profile).await
}

/// For a card and a price alone.
pub(crate) async fn list(State(app): State<App>, caller: Caller, Query(wish): Query<Wish>) -> Answer<Json<Offers>> {
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
