//! `route`: how public names are served.

use super::{Context, Done};
use crate::cli::{Route, Switch};
use crate::client::{Client, segment};
use crate::output::table;
use charter_api::file::decode::{duration_ms, usd_micros};
use charter_api::problem::Problem;
use hyper::Method;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

fn wrong(why: String, hint: &str) -> Problem {
    Problem::new(0, "C0001", why, hint)
}

/// `a=3,b` as members with weights.
fn members(said: &[String]) -> Result<Vec<Value>, Problem> {
    let member = |text: &String| {
        let (name, weight) = text.split_once('=').unwrap_or((text, "1"));
        let weight: u32 = weight
            .trim()
            .parse()
            .map_err(|_| wrong(format!("`{text}` has no weight that is a number"), "write `--backends a=3,b=1`"))?;
        Ok(json!({"backend": name.trim(), "weight": weight}))
    };
    said.iter().map(member).collect()
}

/// `complex=reasoning` as tiers.
fn by_tier(said: &[String]) -> Result<Map<String, Value>, Problem> {
    let one = |text: &String| match text.split_once('=') {
        Some((tier, name)) if !name.trim().is_empty() => Ok((tier.trim().to_owned(), name.trim().into())),
        _ => Err(wrong(format!("`{text}` names no model for a tier"), "write `--tier simple=chat --tier complex=reasoning`")),
    };
    said.iter().map(one).collect()
}

/// The body of a route, of what was said.
fn body(args: &Route) -> Result<Value, Problem> {
    let Route::Set { backends, policy, cache, price, start, first_token, between_tokens, whole, tiers, fallback, .. } = args
    else {
        return Ok(Value::Null);
    };
    let mut body = Map::new();
    body.insert("policy".into(), policy.as_str().into());
    body.insert("backends".into(), members(backends)?.into());
    body.insert("tiers".into(), Value::Object(by_tier(tiers)?));
    body.insert("fallback".into(), fallback.clone().into());
    let times = [
        ("cache_seconds", cache),
        ("start_seconds", start),
        ("first_token_seconds", first_token),
        ("between_tokens_seconds", between_tokens),
        ("whole_seconds", whole),
    ];
    for (name, said) in times {
        let Some(text) = said else { continue };
        let ms = duration_ms(text).map_err(|why| wrong(why, "write a time such as `90s` or `10m`"))?;
        body.insert(name.into(), ms.div_ceil(1000).into());
    }
    if let Some(price) = price {
        let hint = "write dollars for a million tokens read and written, such as `--price 0.10,0.40`";
        let (read, written) = price.split_once(',').ok_or_else(|| wrong(format!("`{price}` is not two prices"), hint))?;
        let micros = |text: &str| usd_micros(text.trim()).map_err(|why| wrong(why, hint));
        body.insert("price".into(), json!({"input_usd_micros": micros(read)?, "output_usd_micros": micros(written)?}));
    }
    Ok(Value::Object(body))
}

fn line(route: &Value) -> Vec<String> {
    let text = |key: &str| route.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let members = route.get("backends").and_then(Value::as_array).cloned().unwrap_or_default();
    let weight = |m: &Value| m.get("weight").and_then(Value::as_u64).unwrap_or(0);
    let member = |m: &Value| format!("{}={}", m.get("backend").and_then(Value::as_str).unwrap_or_default(), weight(m));
    let members: Vec<String> = members.iter().map(member).collect();
    let members = if members.is_empty() { "all that serve it".to_owned() } else { members.join(" ") };
    let of = |list: &Value| list.as_str().unwrap_or_default().to_owned();
    let tiers = route.get("tiers").and_then(Value::as_object).cloned().unwrap_or_default();
    let tiers: Vec<String> = tiers.iter().map(|(tier, name)| format!("{tier}={}", of(name))).collect();
    let behind: Vec<String> = route.get("fallback").and_then(Value::as_array).into_iter().flatten().map(of).collect();
    let members = if tiers.is_empty() { members } else { tiers.join(" ") };
    let members = if behind.is_empty() { members } else { format!("{members}, then {}", behind.join(", ")) };
    let cache = route.get("cache_seconds").and_then(Value::as_u64).map_or("-".to_owned(), |s| format!("{s} s"));
    vec![text("name"), text("policy"), cache, members]
}

pub(crate) async fn route(context: &Context<'_>, args: Route) -> Done {
    let printer = context.printer;
    let body = body(&args)?;
    let client = context.client()?;
    match args {
        Route::Set { name, .. } => {
            let answer: Value = client.put(&format!("/api/v1/routes/{}", segment(&name)), &body).await?;
            if printer.json {
                printer.document(&answer);
            } else {
                table(&["NAME", "POLICY", "CACHE", "BACKENDS"], &[line(&answer)]).iter().for_each(|l| printer.data(l));
            }
        }
        Route::Explain { file, effort } => return explain(context, &client, &file, effort).await,
        Route::List => {
            let answer: Value = client.get("/api/v1/routes").await?;
            let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            if printer.json {
                printer.document(&answer);
            } else if items.is_empty() {
                printer.data("nothing was said of any name: each goes to whoever serves it and has the least to do");
            } else {
                let rows: Vec<Vec<String>> = items.iter().map(line).collect();
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
    let told: Value = client.post("/api/v1/routes/explain", &json!({"request": request, "effort": effort})).await?;
    let printer = context.printer;
    if printer.json {
        printer.document(&told);
        return Ok(ExitCode::SUCCESS);
    }
    let text = |key: &str| told.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    if told.get("tier").is_some_and(Value::is_string) {
        let effort = told.get("effort").and_then(Value::as_u64).unwrap_or(0);
        printer.data(&format!("effort {effort} ({}), answered by {}", text("tier"), text("model")));
        printer.data(&format!("  because {}", text("why")));
    } else {
        printer.data(&format!("answered by {}: the request names its model", text("model")));
    }
    let parts = told.get("parts").and_then(Value::as_array).cloned().unwrap_or_default();
    let number = |part: &Value, key: &str| part.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let row = |p: &Value| {
        let name = p.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        vec![
            name,
            format!("{:.2}", number(p, "found")),
            format!("{:+.2}", number(p, "weight")),
            format!("{:+.2}", number(p, "points")),
        ]
    };
    if !parts.is_empty() {
        let rows: Vec<Vec<String>> = parts.iter().map(row).collect();
        table(&["FEATURE", "FOUND", "WEIGHT", "POINTS"], &rows).iter().for_each(|l| printer.data(l));
    }
    let chain: Vec<String> = told.get("chain").and_then(Value::as_array).into_iter().flatten().map(step).collect();
    printer.data("chain:");
    chain.iter().enumerate().for_each(|(at, line)| printer.data(&format!("  {}. {line}", at + 1)));
    Ok(ExitCode::SUCCESS)
}

fn step(of: &Value) -> String {
    let text = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{} ({})", text("name"), text("state"))
}

/// `rented`: whether machines that cost something get requests.
pub(crate) async fn rented(context: &Context<'_>, to: Option<Switch>) -> Done {
    let client = context.client()?;
    let answer: Value = match to {
        None => client.get("/api/v1/rented").await?,
        Some(to) => client.put("/api/v1/rented", &json!({"on": matches!(to, Switch::On)})).await?,
    };
    let printer = context.printer;
    if printer.json {
        printer.document(&answer);
    } else {
        match answer.get("why").and_then(Value::as_str) {
            None => printer.data("rented machines get requests"),
            Some(why) => printer.data(&format!("rented machines get no requests: {why}")),
        }
    }
    Ok(ExitCode::SUCCESS)
}
