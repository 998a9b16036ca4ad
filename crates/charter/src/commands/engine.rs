//! `engine explain-log`, and the engine stand-in of the demo.

use super::{Context, Done};
use crate::cli::Engine;
use crate::environment;
use crate::output::Tone;
use charter_api::problem::Problem;
use charter_engines::log::explain;
use charter_testbed::engine::{Behaviour, run};
use serde_json::{Map, Value, json};
use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

/// Most of a log that is read.
const LOG_MAX: u64 = 256 * 1024 * 1024;

pub(crate) fn engine(context: &Context<'_>, args: Engine) -> Done {
    let Engine::ExplainLog { file } = args;
    let mut bytes = vec![];
    let read = if file == "-" {
        std::io::stdin().take(LOG_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(&file).and_then(|f| f.take(LOG_MAX).read_to_end(&mut bytes))
    };
    read.map_err(|e| {
        Problem::new(0, "C0002", format!("`{file}` cannot be read"), "name a file, or `-` for standard input")
            .with_detail(e.to_string())
    })?;
    let found = explain(&String::from_utf8_lossy(&bytes));
    let suggest: Map<String, Value> = found.suggest.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let printer = context.printer;
    if printer.json {
        printer.document(&json!({
            "schema": "charter.explain-log/1", "class": found.class, "phase": found.phase.as_str(), "line": found.line,
            "evidence": found.evidence, "hint": found.hint, "action": found.action.as_str(), "suggest": suggest,
        }));
        return Ok(ExitCode::SUCCESS);
    }
    let tone = match found.class {
        "ok_ready" => Tone::Good,
        "starting" => Tone::Busy,
        _ => Tone::Bad,
    };
    printer.data(&format!("{} in phase {}", printer.tint(tone, found.class), found.phase.as_str()));
    if let Some(line) = found.line {
        printer.data(&format!("  line {line}: {}", found.evidence));
    }
    if !found.hint.is_empty() {
        printer.data(&format!("  hint: {}", found.hint));
    }
    printer.data(&format!("  action: {}", found.action.as_str()));
    Ok(ExitCode::SUCCESS)
}

/// Runs the stand-in. What beside its arguments steers it comes from its environment, as with the real engine.
pub(crate) async fn stand_in(args: Vec<String>) -> ExitCode {
    let ms =
        |name: &str, default: u64| Duration::from_millis(environment::var(name).and_then(|v| v.parse().ok()).unwrap_or(default));
    let tag = environment::var("CHARTER_TAG").unwrap_or_default();
    let launch = environment::var("CHARTER_LAUNCH").unwrap_or_default();
    let behaviour = Behaviour {
        key: environment::var("VLLM_API_KEY"),
        start: ms("STANDIN_START_MS", 0),
        first: ms("STANDIN_FIRST_MS", 0),
        token: ms("STANDIN_TOKEN_MS", 0),
        starts: environment::var("STANDIN_STARTS").map(Into::into),
        mark: format!("{tag} {launch}"),
        trouble: environment::var("STANDIN_TROUBLE").unwrap_or_default(),
    };
    ExitCode::from(run(&args, behaviour).await)
}
