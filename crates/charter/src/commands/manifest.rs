//! `manifest` and `saved`: what a deployment is, on one page, kept and run again.

use super::up::Watch;
use super::{Context, Done};
use crate::cli::{Again, Manifest, Saved};
use crate::client::{Client, segment};
use crate::output::table;
use charter_api::list::List;
use charter_api::manifest as wire;
use charter_api::manifest::Variable;
use charter_api::problem::Problem;
use charter_api::status::Deployment;
use hyper::Method;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Values that a manifest does not hold come from the environment of this command, never from its arguments.
fn variables(names: &[String]) -> Result<Vec<Variable>, Problem> {
    let one = |name: &String| {
        let value = crate::environment::var(name).ok_or_else(|| {
            Problem::new(0, "C0011", format!("there is no `{name}` in the environment"), "set it, and say it again")
        })?;
        Ok(Variable { key: name.clone(), value })
    };
    names.iter().map(one).collect()
}

/// What is given beside a manifest.
fn beside(again: &Again) -> Result<wire::Again, Problem> {
    let (name, node_id, port) = (again.under.clone(), again.node.clone(), again.port);
    Ok(wire::Again { name, node_id, port, env_vars: variables(&again.env)? })
}

async fn watch(context: &Context<'_>, client: &Client, made: Deployment, detach: bool) -> Done {
    if !detach {
        Watch { client, printer: context.printer, name: &made.name }.until_ready().await?;
    }
    if context.printer.json {
        context.printer.document(&made);
    } else {
        let served = made.served_names.first().cloned().unwrap_or_default();
        let says = if detach { "is asked for" } else { "answers" };
        context.printer.data(&format!("{} {says} as `{served}`", made.name));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn manifest(context: &Context<'_>, args: Manifest) -> Done {
    let client = context.client()?;
    match args {
        Manifest::Export { name } => {
            // A manifest is JSON, whoever reads it, and is handed on with all that a newer server may have written into it.
            let made: Value = client.get(&format!("/api/v1/deployments/{}/manifest", segment(&name))).await?;
            let text = serde_json::to_string_pretty(&made).unwrap_or_default();
            if context.printer.json {
                context.printer.document(&made)
            } else {
                context.printer.data(&text)
            }
            Ok(ExitCode::SUCCESS)
        }
        Manifest::Apply { file, again } => {
            let text = std::fs::read_to_string(&file).map_err(|e| {
                let message = format!("`{}` cannot be read", file.display());
                Problem::new(0, "C0002", message, "name a file that `charter manifest export` has written")
                    .with_detail(e.to_string())
            })?;
            let manifest: Value = serde_json::from_str(&text).map_err(|e| {
                let message = format!("`{}` is no manifest", file.display());
                Problem::new(0, "C0003", message, "a manifest is what `charter manifest export` prints")
                    .with_detail(e.to_string())
            })?;
            let wire::Again { name, node_id, port, env_vars } = beside(&again)?;
            let body = wire::Order { manifest, name, node_id, port, env_vars };
            let made = client.post("/api/deployments/from-manifest", &body).await?;
            watch(context, &client, made, again.detach).await
        }
    }
}

pub(crate) async fn saved(context: &Context<'_>, args: Saved) -> Done {
    let (client, printer) = (context.client()?, context.printer);
    match args {
        Saved::Save { name, from } => {
            let wish = wire::Save { name, deployment: Some(from.clone()), manifest: None };
            let made: wire::Saved = client.post("/api/v1/saved-configs", &wish).await?;
            if printer.json { printer.document(&made) } else { printer.data(&format!("{from} is saved as {}", made.name)) }
        }
        Saved::List => {
            let answer: List<wire::Saved> = client.get("/api/v1/saved-configs").await?;
            if printer.json {
                printer.document(&answer);
                return Ok(ExitCode::SUCCESS);
            }
            let row = |s: &wire::Saved| {
                let of = |key: &str| s.manifest.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
                let all = [s.name.clone(), of("model"), of("engine_version"), s.saved_at.clone(), s.by.clone()];
                all.map(|text| crate::output::cut(&text, 28)).to_vec()
            };
            let rows: Vec<Vec<String>> = answer.items.iter().map(row).collect();
            table(&["NAME", "MODEL", "VERSION", "SAVED AT", "BY"], &rows).iter().for_each(|line| printer.data(line));
        }
        Saved::Show { name } => {
            let made: wire::Saved = client.get(&format!("/api/v1/saved-configs/{}", segment(&name))).await?;
            if printer.json {
                printer.document(&made)
            } else {
                printer.data(&serde_json::to_string_pretty(&made).unwrap_or_default())
            }
        }
        Saved::Remove { name } => {
            client.act(Method::DELETE, &format!("/api/v1/saved-configs/{}", segment(&name))).await?;
            if printer.json { printer.document(&json!({"removed": name})) } else { printer.data(&format!("{name} is removed")) }
        }
        Saved::Deploy { name, again } => {
            let made = client.post(&format!("/api/v1/saved-configs/{}/deploy", segment(&name)), &beside(&again)?).await?;
            return watch(context, &client, made, again.detach).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}
