//! `backend`: addresses that charter did not start.

use super::{Context, Done};
use crate::cli::Backend;
use crate::client::segment;
use crate::output::table;
use hyper::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

pub(crate) async fn backend(context: &Context<'_>, args: Backend) -> Done {
    let client = context.client()?;
    let printer = context.printer;
    match args {
        Backend::Register { name, url, model, max_concurrent } => {
            let body = json!({"name": name, "base_url": url, "model": model, "max_concurrent": max_concurrent});
            let answer: Value = client.post("/api/v1/backends", &body).await?;
            if printer.json {
                printer.document(&answer);
            } else {
                let names = answer.get("served_names").and_then(Value::as_array).cloned().unwrap_or_default();
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                printer.data(&format!("{name} serves {}", names.join(", ")));
            }
        }
        Backend::List => {
            let answer: Value = client.get("/api/v1/backends").await?;
            if printer.json {
                printer.document(&answer);
            } else {
                let items = answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                let text = |item: &Value, key: &str| {
                    let names = |all: &Vec<Value>| all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
                    let other = |v: &Value| v.as_array().map_or_else(|| v.to_string(), names);
                    item.get(key).map(|v| v.as_str().map_or_else(|| other(v), str::to_owned)).unwrap_or_default()
                };
                let rows: Vec<Vec<String>> = items
                    .iter()
                    .map(|i| {
                        let mut row = ["name", "base_url", "served_names", "max_concurrent"].map(|k| text(i, k)).to_vec();
                        let problem = i.get("problem").and_then(Value::as_str);
                        let healthy = i.get("healthy").and_then(Value::as_bool).unwrap_or(true);
                        row.push(match problem {
                            None => "well".to_owned(),
                            Some(why) if healthy => format!("once: {why}"),
                            Some(why) => format!("no: {why}"),
                        });
                        row
                    })
                    .collect();
                table(&["NAME", "ADDRESS", "SERVES", "MAX", "HEALTH"], &rows).iter().for_each(|line| printer.data(line));
            }
        }
        Backend::Remove { name } => {
            client.act(Method::DELETE, &format!("/api/v1/backends/{}", segment(&name))).await?;
            if printer.json {
                printer.document(&json!({"removed": name}));
            } else {
                printer.data(&format!("{name} is removed"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
