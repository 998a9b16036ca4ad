//! `route`: how public names are served.

use super::{Context, Done};
use crate::cli::Route;
use crate::client::segment;
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

/// The body of a route, of what was said.
fn body(args: &Route) -> Result<Value, Problem> {
    let Route::Set { backends, policy, cache, price, start, first_token, between_tokens, whole, .. } = args else {
        return Ok(Value::Null);
    };
    let mut body = Map::new();
    body.insert("policy".into(), policy.as_str().into());
    body.insert("backends".into(), members(backends)?.into());
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
