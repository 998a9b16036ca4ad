//! `key`: API keys. A key is shown once.

use super::{Context, Done};
use crate::cli::Key;
use crate::client::segment;
use crate::output::table;
use charter_api::file::decode::{duration_ms, usd_micros};
use charter_api::key as wire;
use charter_api::key::{KeyWish, NewKey};
use charter_api::list::List;
use charter_api::problem::Problem;
use hyper::Method;
use serde_json::json;
use std::process::ExitCode;

/// An amount in dollars, in micro-dollars.
fn money(said: Option<&str>) -> Result<Option<i64>, Problem> {
    let read = said.map(usd_micros).transpose();
    read.map_err(|why| Problem::new(0, "C0001", why, "write dollars, such as `--usd-per-day 2.50`"))
}

pub(crate) async fn key(context: &Context<'_>, args: Key) -> Done {
    let client = context.client()?;
    let printer = context.printer;
    match args {
        Key::Create {
            role,
            routes,
            expires,
            name,
            tenant,
            requests_per_minute,
            tokens_per_minute,
            parallel,
            usd_per_day,
            usd_per_month,
            agentic,
        } => {
            let expires = match expires.as_deref().map(duration_ms) {
                Some(Err(why)) => return Err(Problem::new(0, "C0001", why, "write it as `--expires 1h`")),
                Some(Ok(ms)) => i64::try_from(ms / 1000).ok(),
                None => None,
            };
            let (day, month) = (money(usd_per_day.as_deref())?, money(usd_per_month.as_deref())?);
            let body = KeyWish {
                name,
                role: Some(role.to_string()),
                routes,
                expires_in_seconds: expires,
                tenant,
                requests_per_minute,
                tokens_per_minute,
                parallel,
                day_usd_micros: day,
                month_usd_micros: month,
                agentic,
            };
            let answer: NewKey = client.post("/api/v1/keys", &body).await?;
            if printer.json {
                printer.document(&answer);
            } else {
                printer.data(&answer.key);
                printer.say("this key is shown once; it is not stored");
            }
        }
        Key::List => {
            let answer: List<wire::Key> = client.get("/api/v1/keys").await?;
            if printer.json {
                printer.document(&answer);
            } else {
                let row = |k: &wire::Key| {
                    let ends = k.expires_at.clone().unwrap_or_else(|| "-".to_owned());
                    vec![k.id.clone(), k.prefix.clone(), k.role.clone(), k.tenant.clone(), k.name.clone(), ends]
                };
                let rows: Vec<Vec<String>> = answer.items.iter().map(row).collect();
                table(&["ID", "BEGINS", "ROLE", "TENANT", "NAME", "EXPIRES"], &rows).iter().for_each(|line| printer.data(line));
            }
        }
        Key::Revoke { key } => {
            client.act(Method::DELETE, &format!("/api/v1/keys/{}", segment(&key))).await?;
            if printer.json {
                printer.document(&json!({"revoked": key}));
            } else {
                printer.data(&format!("{key} is refused from now on"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
