//! The project's own chores: `tidy`, `test`, `ci`, `storm`, `dist`, `real-engine`.

#![allow(clippy::disallowed_methods, reason = "chores time themselves and ask who runs them")]

mod bench;
mod bench_dashboard;
mod bench_gateway;
mod bench_market;
mod bench_upgrade;
mod by_effort;
mod dist;
mod parts;
mod real_engine;
mod real_upgrade;
mod tidy;
mod two_engines;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some("tidy") => tidy::tidy(),
        Some("test") => test(),
        Some("ci") => ci(),
        Some("storm") => storm(rest),
        Some("real-engine") if rest.iter().any(|a| a == "--effort") => by_effort::by_effort(rest.iter().any(|a| a == "--keep")),
        Some("real-engine") if rest.iter().any(|a| a == "--two") => two_engines::two_engines(rest.iter().any(|a| a == "--keep")),
        Some("real-engine") => real_engine::real_engine(rest.iter().any(|a| a == "--keep")),
        Some("openapi") => openapi(),
        Some("dist") => dist::dist(),
        Some("bench") => bench::bench(),
        Some("bench-dashboard") => bench_dashboard::bench_dashboard(rest),
        Some("bench-gateway") => bench_gateway::bench_gateway(rest),
        Some("bench-market") => bench_market::bench_market(),
        Some("bench-upgrade") => bench_upgrade::bench_upgrade(rest),
        Some("__child") => bench::child(rest),
        Some("kill-rounds") => kill_rounds(rest),
        _ => Err("usage: cargo xtask tidy | test | ci | openapi | storm [--seeds N] [--first-seed K] [--long | --whole [--sqlite]] [--sweep N] [--json] [--mutations|--policies] | kill-rounds N | bench | bench-dashboard [--built] | bench-gateway [--quick] [--built] | bench-market | bench-upgrade [--quick] | dist | real-engine [--two] [--keep]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("xtask: {why}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "this program talks to the developer")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}

/// Runs a command in the root and fails with it.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    say(&format!("$ {program} {}", args.join(" ")));
    let status =
        Command::new(program).args(args).current_dir(root()).status().map_err(|e| format!("`{program}` cannot be run: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{program} {}` ended with {status}", args.join(" "))) }
}

/// Everything that must hold: the parts are there, the house is tidy, the tests pass.
fn test() -> Result<(), String> {
    parts::check()?;
    tidy::tidy()?;
    // The tests run the program itself, so it is built first.
    run("cargo", &["build", "--package", "charter"])?;
    let nextest = Command::new("cargo").args(["nextest", "--version"]).output().is_ok_and(|o| o.status.success());
    if nextest {
        run("cargo", &["nextest", "run", "--workspace", "--no-fail-fast"])?;
    } else {
        run("cargo", &["test", "--workspace", "--no-fail-fast"])?;
    }
    // 2,000 seeds, a sweep of ten scenarios, ten days, and whole worlds, in the profile of the tests: nothing is built twice.
    for storm in [
        &["--seeds", "2000", "--sweep", "10"][..],
        &["--long", "--seeds", "10"],
        &["--whole", "--seeds", "200"],
        &["--whole", "--sqlite", "--seeds", "4"],
    ] {
        run("cargo", &[&["run", "--quiet", "--package", "charter-sim", "--"], storm].concat())?;
    }
    Ok(())
}

/// What continuous integration runs: the format and the lints first, then the tests.
fn ci() -> Result<(), String> {
    run("cargo", &["fmt", "--all", "--check"])?;
    run("cargo", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    test()
}

/// Writes the description of the API anew.
fn openapi() -> Result<(), String> {
    let args = ["run", "--quiet", "--package", "charter-web", "--example", "openapi"];
    let made = Command::new("cargo").args(args).current_dir(root()).output().map_err(|e| e.to_string())?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into_owned());
    }
    std::fs::write(root().join("openapi/charter.json"), made.stdout).map_err(|e| e.to_string())
}

/// The simulation, built for speed.
fn storm(args: &[String]) -> Result<(), String> {
    let mut all = vec!["run", "--release", "--quiet", "--package", "charter-sim", "--"];
    all.extend(args.iter().map(String::as_str));
    run("cargo", &all)
}

/// The real server killed at random moments of `up` and `down`, so many rounds.
fn kill_rounds(args: &[String]) -> Result<(), String> {
    let rounds = args.first().ok_or("how many rounds?")?;
    parts::check()?;
    run("cargo", &["build", "--package", "charter"])?;
    say(&format!("$ KILL_ROUNDS={rounds} cargo test --package charter --test kill -- --nocapture"));
    let status = Command::new("cargo")
        .args(["test", "--package", "charter", "--test", "kill", "--", "--nocapture"])
        .env("KILL_ROUNDS", rounds)
        .current_dir(root())
        .status()
        .map_err(|e| e.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("the rounds ended with {status}")) }
}
