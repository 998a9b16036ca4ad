//! `route`: how public names are served.

use super::{Context, Done};
use crate::cli::{Route, Switch};
use crate::client::{Client, segment};
use crate::output::table;
use charter_api::file::decode::{duration_ms, usd_micros};
use charter_api::list::List;
use charter_api::problem::Problem;
use charter_api::route as wire;
use charter_api::route::{Explained, Member, Part, Policy, Price, Rented, RouteQuestion, RouteWish};
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

fn wrong(why: String, hint: &str) -> Problem {
    Problem::new(0, "C0001", why, hint)
}

/// `a=3,b` as members with weights.
fn members(said: &[String]) -> Result<Vec<Member>, Problem> {
    let member = |text: &String| {
        let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
        let weight = weight
            .trim()
            .parse()
            .map_err(|_| wrong(format!("`{text}` has no weight that is a number"), "write `--backends a=3,b=1`"))?;
        Ok(Member { backend: name.trim().to_owned(), weight })
    };
    said.iter().map(member).collect()
}

/// `complex=reasoning` as tiers.
fn by_tier(said: &[String]) -> Result<BTreeMap<String, String>, Problem> {
    let one = |text: &String| match text.split_once('=') {
        Some((tier, name)) if !name.trim().is_empty() => Ok((tier.trim().to_owned(), name.trim().to_owned())),
        _ => Err(wrong(format!("`{text}` names no model for a tier"), "write `--tier simple=chat --tier complex=reasoning`")),
    };
    said.iter().map(one).collect()
}

/// A time in whole seconds, upwards.
fn seconds(said: Option<&String>) -> Result<Option<i64>, Problem> {
    let Some(text) = said else { return Ok(None) };
    let ms = duration_ms(text).map_err(|why| wrong(why, "write a time such as `90s` or `10m`"))?;
    Ok(i64::try_from(ms.div_ceil(1000)).ok())
}

/// What was said of a route.
fn wish(args: &Route) -> Result<RouteWish, Problem> {
    let Route::Set { backends, policy, cache, price, start, first_token, between_tokens, whole, tiers, fallback, .. } = args
    else {
        return Ok(RouteWish::default());
    };
    let hint = "write dollars for a million tokens read and written, such as `--price 0.10,0.40`";
    let price = price.as_ref().map(|price| {
        let (read, written) = price.split_once(',').ok_or_else(|| wrong(format!("`{price}` is not two prices"), hint))?;
        let micros = |text: &str| usd_micros(text.trim()).map_err(|why| wrong(why, hint));
        Ok(Price { input_usd_micros: micros(read)?, cached_usd_micros: None, output_usd_micros: micros(written)? })
    });
    Ok(RouteWish {
        policy: Policy::parse(policy).unwrap_or_default(),
        backends: members(backends)?,
        start_seconds: seconds(start.as_ref())?,
        queue_seconds: None,
        first_token_seconds: seconds(first_token.as_ref())?,
        between_tokens_seconds: seconds(between_tokens.as_ref())?,
        whole_seconds: seconds(whole.as_ref())?,
        cache_seconds: seconds(cache.as_ref())?,
        price: price.transpose()?,
        tiers: by_tier(tiers)?,
        fallback: fallback.clone(),
    })
}

fn line(route: &wire::Route) -> Vec<String> {
    let members: Vec<String> = route.backends.iter().map(|m| format!("{}={}", m.backend, m.weight)).collect();
    let members = if members.is_empty() { "all that serve it".to_owned() } else { members.join(" ") };
    let tiers: Vec<String> = route.tiers.iter().map(|(tier, name)| format!("{tier}={name}")).collect();
    let members = if tiers.is_empty() { members } else { tiers.join(" ") };
    let members = if route.fallback.is_empty() { members } else { format!("{members}, then {}", route.fallback.join(", ")) };
    let cache = route.cache_seconds.map_or("-".to_owned(), |s| format!("{s} s"));
    vec![route.name.clone(), route.policy.as_str().to_owned(), cache, members]
}

pub(crate) async fn route(context: &Context<'_>, args: Route) -> Done {
    let printer = context.printer;
    let body = wish(&args)?;
    let client = context.client()?;
    match args {
        Route::Set { name, .. } => {
            let answer: wire::Route = client.put(&format!("/api/v1/routes/{}", segment(&name)), &body).await?;
            if printer.json {
                printer.document(&answer);
            } else {
                table(&["NAME", "POLICY", "CACHE", "BACKENDS"], &[line(&answer)]).iter().for_each(|l| printer.data(l));
            }
        }
        Route::Explain { file, effort } => return explain(context, &client, &file, effort).await,
        Route::List => {
            let answer: List<wire::Route> = client.get("/api/v1/routes").await?;
            if printer.json {
                printer.document(&answer);
            } else if answer.items.is_empty() {
                printer.data("nothing was said of any name: each goes to whoever serves it and has the least to do");
            } else {
                let rows: Vec<Vec<String>> = answer.items.iter().map(line).collect();
                table(&["NAME", "POLICY", "CACHE", "BACKENDS"], &rows).iter().for_each(|l| printer.data(l));
            }
        }
        Route::Remove { name } => {
            client.act(Method::DELETE, &format!("/api/v1/routes/{}", segment(&name))).await?;
            if printer.json {
                printer.document(&json!({"removed": name}));
            } else {
                printer.data(&format!("{name} is served as usual again"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what a gateway would do with a request.
async fn explain(context: &Context<'_>, client: &Client, file: &str, effort: Option<u8>) -> Done {
    let unread = |why: String| {
        Problem::new(0, "C0001", format!("`{file}` cannot be read"), "name a request's body in JSON").with_detail(why)
    };
    let text = match file {
        "-" => std::io::read_to_string(std::io::stdin()),
        path => std::fs::read_to_string(path),
    };
    let request: Value = serde_json::from_str(&text.map_err(|e| unread(e.to_string()))?).map_err(|e| unread(e.to_string()))?;
    let told: Explained = client.post("/api/v1/routes/explain", &RouteQuestion { request, effort }).await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&told);
        return Ok(ExitCode::SUCCESS);
    }
    match (told.effort, &told.tier) {
        (Some(effort), Some(tier)) => {
            printer.data(&format!("effort {effort} ({tier}), answered by {}", told.model));
            printer.data(&format!("  because {}", told.why));
        }
        _ => printer.data(&format!("answered by {}: the request names its model", told.model)),
    }
    let row =
        |p: &Part| vec![p.name.clone(), format!("{:.2}", p.found), format!("{:+.2}", p.weight), format!("{:+.2}", p.points)];
    if !told.parts.is_empty() {
        let rows: Vec<Vec<String>> = told.parts.iter().map(row).collect();
        table(&["FEATURE", "FOUND", "WEIGHT", "POINTS"], &rows).iter().for_each(|l| printer.data(l));
    }
    printer.data("chain:");
    for (at, step) in told.chain.iter().enumerate() {
        printer.data(&format!("  {}. {} ({})", at + 1, step.name, step.state));
    }
    Ok(ExitCode::SUCCESS)
}

/// `rented`: whether machines that cost something get requests.
pub(crate) async fn rented(context: &Context<'_>, to: Option<Switch>) -> Done {
    let client = context.client()?;
    let answer: Rented = match to {
        None => client.get("/api/v1/rented").await?,
        Some(to) => client.put("/api/v1/rented", &wire::Switch { on: matches!(to, Switch::On) }).await?,
    };
    let printer = context.printer;
    if printer.json {
        printer.document(&answer);
    } else {
        match answer.why {
            None => printer.data("rented machines get requests"),
            Some(why) => printer.data(&format!("rented machines get no requests: {why}")),
        }
    }
    Ok(ExitCode::SUCCESS)
}
