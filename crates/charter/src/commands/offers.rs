//! `offers`: what could be had now, and why the rest could not.

use super::{Context, Done};
use crate::cli::Offers;
use crate::config;
use crate::output::{Tone, table};
use charter_api::market as wire;
use charter_api::market::{OffersQuestion, RankedOffer};
use charter_api::problem::Problem;
use charter_domain::money::UsdPerHour;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Rows that people are shown.
const ROWS_MAX: usize = 20;

pub(crate) async fn offers(context: &Context<'_>, args: Offers) -> Done {
    let client = context.client()?;
    let mut profile = profile(context, &args)?;
    if !profile["gpu"].is_object() {
        profile["gpu"] = json!({});
    }
    if let Some(price) = &args.max_price {
        profile["gpu"]["max-usd-per-hour"] = price.clone().into();
    }
    if let Some(card) = &args.gpu {
        profile["gpu"]["tiers"] = json!([{"gpu": card, "max-usd-per-hour": args.max_price.as_deref().unwrap_or("1000")}]);
        profile["gpu"]["other-names"] = false.into();
    }
    let answer: wire::Offers = client.post("/api/v1/offers", &OffersQuestion { profile }).await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&answer);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = answer.offers.iter().take(ROWS_MAX).map(row).collect();
    if !rows.is_empty() {
        let head = ["OFFER", "FROM", "GPU", "PRICE", "SCORE", "P  R  N  C  D", "CUDA", "WHERE"];
        table(&head, &rows).iter().for_each(|line| printer.data(line));
        printer.data(&printer.tint(Tone::Faint, "score of 100 in parts: price 40, reliability 30, network 15, CUDA 10, disk 5"));
    }
    printer.data(&format!("{} of {} offers fit", answer.fitting, answer.seen));
    // Where nothing fits, the reasons say the same and more.
    for one in answer.filtered.iter().filter(|_| answer.fitting > 0) {
        printer.wrapped("  ", &format!("{} {}", one.count, one.why));
    }
    for reason in &answer.reasons {
        printer.wrapped("  ", reason);
    }
    Ok(ExitCode::SUCCESS)
}

/// The profile of the file that is meant: the one that was named, or the only one; without a file any model will do.
fn profile(context: &Context<'_>, args: &Offers) -> Result<Value, Problem> {
    let found = config::find(&context.global, args.file.as_ref());
    let Some(path) = found.filter(|_| args.profile.is_some() || args.gpu.is_none()) else {
        return Ok(json!({"model": "any/model"}));
    };
    let file = config::read(&path)?;
    let known: Vec<&str> = file.profiles.iter().map(|(name, ..)| name.as_str()).collect();
    let wanted = match (&args.profile, known.as_slice()) {
        (Some(name), _) => name.as_str(),
        (None, [only]) => only,
        (None, _) => return Ok(json!({"model": "any/model"})),
    };
    let profile = file.profiles.iter().find(|(name, ..)| name == wanted).map(|(_, _, raw)| raw.clone());
    profile.ok_or_else(|| {
        let message = format!("`{}` has no profile `{wanted}`", path.display());
        Problem::new(0, "C0004", message, format!("it has: {}", known.join(", ")))
    })
}

fn row(offer: &RankedOffer) -> Vec<String> {
    let of = &offer.score_parts;
    let parts = [of.price, of.reliability, of.network, of.cuda, of.disk].map(|part| format!("{:<2}", (part + 5) / 10));
    let score = offer.score * 100.0;
    vec![
        offer.id.clone(),
        offer.provider.clone(),
        offer.gpu.clone(),
        UsdPerHour(offer.price_usd_micros_per_hour / 100 * 100).to_string(),
        format!("{score:.0}"),
        parts.join(" "),
        offer.cuda_tenths.map_or_else(|| "-".to_owned(), |c| format!("{}.{}", c / 10, c % 10)),
        offer.country.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
