//! `backend`: addresses that charter did not start.

use super::{Context, Done};
use crate::cli::Backend;
use crate::client::segment;
use crate::output::table;
use charter_api::backend as wire;
use charter_api::backend::{BackendWish, Registered};
use charter_api::list::List;
use hyper::Method;
use serde_json::json;
use std::process::ExitCode;

pub(crate) async fn backend(context: &Context<'_>, args: Backend) -> Done {
    let client = context.client()?;
    let printer = context.printer;
    match args {
        Backend::Register { name, url, model, max_concurrent } => {
            let body = BackendWish { name, base_url: url, model, max_concurrent };
            let answer: Registered = client.post("/api/v1/backends", &body).await?;
            if printer.json {
                printer.document(&answer);
            } else {
                printer.data(&format!("{} serves {}", answer.name, answer.served_names.join(", ")));
            }
        }
        Backend::List => {
            let answer: List<wire::Backend> = client.get("/api/v1/backends").await?;
            if printer.json {
                printer.document(&answer);
            } else {
                let row = |b: &wire::Backend| {
                    let health = match &b.problem {
                        None => "well".to_owned(),
                        Some(why) if b.healthy => format!("once: {why}"),
                        Some(why) => format!("no: {why}"),
                    };
                    vec![b.name.clone(), b.base_url.clone(), b.served_names.join(", "), b.max_concurrent.to_string(), health]
                };
                let rows: Vec<Vec<String>> = answer.items.iter().map(row).collect();
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
