//! The environment, read here and nowhere else. What is set and cannot be read is an error, never ignored.

use charter_api::problem::Problem;
use charter_domain::profile::Limits;
use charter_domain::time::Span;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once, where nothing that the user has set for real work may count.
static IGNORED: AtomicBool = AtomicBool::new(false);

/// From now on variables that steer charter count as not set.
pub(crate) fn ignore() {
    IGNORED.store(true, Ordering::Relaxed);
}

/// A variable that is set to something.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub(crate) fn var(name: &str) -> Option<String> {
    let ours = ["VASTAI_", "VAST_", "CHARTER_", "MAX_FAILED_", "START_TIMEOUT_", "LOG_MAX_", "LOG_RETENTION_"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    if ours && IGNORED.load(Ordering::Relaxed) {
        return None;
    }
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// A folder of the user, after the XDG rules.
pub(crate) fn folder(variable: &str, below_home: &str) -> Option<std::path::PathBuf> {
    let base = var(variable).map(std::path::PathBuf::from).filter(|p| p.is_absolute());
    let base = base.or_else(|| var("HOME").map(|home| std::path::Path::new(&home).join(below_home)))?;
    Some(base.join("charter"))
}

fn unreadable(name: &str, value: &str, expected: &str) -> Problem {
    let problem = Problem::new(
        0,
        "C0007",
        format!("the environment variable `{name}` cannot be read"),
        format!("unset it, or set it to {expected}"),
    );
    problem.with_detail(format!("`{value}` is not {expected}"))
}

fn number(name: &str) -> Result<Option<i64>, Problem> {
    let Some(text) = var(name) else { return Ok(None) };
    match text.parse() {
        Ok(number) if (0..=10_000_000).contains(&number) => Ok(Some(number)),
        _ => Err(unreadable(name, &text, "a whole number")),
    }
}

/// A switch.
pub(crate) fn flag(name: &str) -> Result<Option<bool>, Problem> {
    match var(name).as_deref() {
        None => Ok(None),
        Some("true" | "1" | "yes") => Ok(Some(true)),
        Some("false" | "0" | "no") => Ok(Some(false)),
        Some(text) => Err(unreadable(name, text, "`true` or `false`")),
    }
}

/// An amount in US dollars, in micro-dollars.
pub(crate) fn usd(name: &str) -> Result<Option<i64>, Problem> {
    let Some(text) = var(name) else { return Ok(None) };
    charter_api::file::decode::usd_micros(&text)
        .map(Some)
        .map_err(|_| unreadable(name, &text, "an amount in US dollars such as `15.0`"))
}

/// Limits where a profile says nothing.
pub(crate) fn limits() -> Result<Limits, Problem> {
    let mut limits = Limits::default();
    if let Some(minutes) = number("VASTAI_MAX_STARTUP_TIME_MINUTES")? {
        limits.boot = Span::min(minutes);
        limits.load = Span::min(minutes);
    }
    if let Some(seconds) = number("START_TIMEOUT_SECONDS")? {
        limits.load = Span::s(seconds);
    }
    if let Some(seconds) = number("VASTAI_SEARCH_TIMEOUT_SECONDS")? {
        limits.search = Span::s(seconds);
    }
    if let Some(count) = number("VASTAI_MAX_SEARCH_RETRIES")? {
        limits.search_retries = u32::try_from(count).unwrap_or(u32::MAX);
    }
    if let Some(count) = number("MAX_FAILED_RESTARTS")? {
        limits.failed_restarts = u32::try_from(count).unwrap_or(u32::MAX);
    }
    Ok(limits)
}

/// How long what is rented may answer nobody, where its profile says nothing.
pub(crate) fn keep_alive() -> Result<Span, Problem> {
    let minutes = number("VASTAI_DEFAULT_KEEP_ALIVE_MINUTES")?;
    Ok(minutes.map_or(Span::min(45), Span::min))
}

/// Seconds between looks at something that runs.
pub(crate) fn ready_interval() -> Result<Option<Span>, Problem> {
    let name = "VASTAI_HEALTH_CHECK_INTERVAL_SECONDS";
    match number(name)? {
        Some(0) => Err(unreadable(name, "0", "a whole number from 1")),
        seconds => Ok(seconds.map(Span::s)),
    }
}

/// How much of the engines' logs is kept.
pub(crate) fn log_limits() -> Result<charter_controller::LogLimits, Problem> {
    let usual = charter_controller::LogLimits::default();
    let file_mb = number("LOG_MAX_MB")?.map_or(usual.file_mb, |mb| u64::try_from(mb).unwrap_or(usual.file_mb).max(1));
    Ok(charter_controller::LogLimits { file_mb, days: number("LOG_RETENTION_DAYS")?.unwrap_or(usual.days).max(1) })
}
