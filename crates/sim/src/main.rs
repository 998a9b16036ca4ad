//! `charter-sim [--seeds N] [--first-seed K] [--long] [--sweep N] [--json] [--mutations | --policies]`: runs worlds and says what
//! did not hold; or brings known bugs back and says how soon each was found; or lets other policies live in the same worlds.

use charter_sim::coverage::{MUST, missing, missing_whole};
use charter_sim::mutation::{MUTATIONS, Variant};
use charter_sim::sweep::{Total, long_seeds, seeds, setup, sweep};
use charter_sim::whole::{self, Bug, Kind, Whole};
use charter_sim::world::{Setup, run};
use std::process::ExitCode;

/// What was asked for.
struct Asked {
    seeds: u64,
    first: u64,
    sweep: u64,
    long: bool,
    json: bool,
}

fn asked(args: &[String]) -> Result<Asked, String> {
    let number = |flag: &str, default: u64| {
        let Some(at) = args.iter().position(|a| a == flag) else { return Ok(default) };
        let value = args.get(at + 1).ok_or_else(|| format!("`{flag}` takes a number"))?;
        value.parse().map_err(|_| format!("`{flag}` takes a number, and not `{value}`"))
    };
    let known =
        ["--seeds", "--first-seed", "--sweep", "--long", "--json", "--mutations", "--policies", "--trace", "--whole", "--sqlite"];
    if let Some(odd) = args.iter().skip(1).find(|a| a.starts_with('-') && !known.contains(&a.as_str())) {
        return Err(format!("there is no `{odd}`; known: {}", known.join(", ")));
    }
    let has = |flag: &str| args.iter().any(|a| a == flag);
    let long = has("--long");
    Ok(Asked {
        seeds: number("--seeds", if long { 20 } else { 2000 })?,
        first: number("--first-seed", 0)?,
        sweep: number("--sweep", if long { 0 } else { 20 })?,
        long,
        json: has("--json"),
    })
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let asked = match asked(&args) {
        Ok(asked) => asked,
        Err(why) => {
            say(&why);
            return ExitCode::FAILURE;
        }
    };
    let has = |flag: &str| args.iter().any(|a| a == flag);
    if has("--mutations") {
        return mutations(asked.first, asked.seeds, asked.json);
    }
    if has("--policies") {
        return policies(asked.first, asked.seeds);
    }
    if has("--whole") {
        return whole(&asked, has("--sqlite"));
    }
    if has("--trace") {
        let world = Setup { faults: true, logged: true, long: asked.long, ..setup(asked.first, Variant::Right) };
        run(world).log.iter().for_each(|line| say(line));
    }
    storm(&asked)
}

/// Whole worlds: the real controller, on all cores.
fn whole(asked: &Asked, sqlite: bool) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let (first, count) = (asked.first, asked.seeds);
    let share = move |n: u64| {
        let worlds = (first..first + count).filter(move |seed| seed % threads == n);
        worlds.map(|seed| (seed, one_whole(seed, sqlite))).collect::<Vec<_>>()
    };
    let workers: Vec<_> = (0..threads).map(|n| std::thread::spawn(move || share(n))).collect();
    let all: Vec<_> = workers.into_iter().filter_map(|w| w.join().ok()).flatten().collect();
    let (mut reached, mut crashes, mut calls) = (std::collections::BTreeMap::<&str, u64>::new(), 0, 0);
    for (_, seen) in &all {
        seen.reached.iter().for_each(|(what, n)| *reached.entry(what).or_default() += n);
        (crashes, calls) = (crashes + seen.crashes, calls + seen.calls);
    }
    let failed: Vec<_> = all.iter().filter_map(|(seed, seen)| Some((seed, seen.violations.first()?))).collect();
    for (seed, violation) in failed.iter().take(10) {
        let flag = if sqlite { " --sqlite" } else { "" };
        say(&format!("{:?}: {}", violation.id, violation.text));
        say(&format!("  repeat: cargo xtask storm --whole{flag} --first-seed {seed} --seeds 1"));
    }
    reached.iter().for_each(|(what, n)| say(&format!("{n:>8}  {what}")));
    let lost = count.saturating_sub(u64::try_from(all.len()).unwrap_or(0));
    // On SQLite a few are run for the database's sake.
    let unreached = if sqlite { vec![] } else { missing_whole(&reached, count) };
    unreached.iter().for_each(|(row, what)| say(&format!("Covered: {row}, `{what}` was reached too seldom in {count} worlds")));
    let failures = u64::try_from(failed.len() + unreached.len()).unwrap_or(0) + lost;
    say(&format!("{} whole worlds, {calls} calls to the market, {crashes} control planes died, {failures} failures", all.len()));
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one_whole(seed: u64, sqlite: bool) -> Whole {
    if !sqlite {
        return whole::run(seed, &Kind::Memory, Bug::Right);
    }
    // Where it can be had the file lies in memory: what is tried is the database, and not the disk.
    let shm = std::path::Path::new("/dev/shm");
    let folder = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let file = folder.join(format!("charter-storm-{}-{seed}.db", std::process::id()));
    let seen = whole::run(seed, &Kind::Sqlite(file.clone()), Bug::Right);
    for end in ["", "-wal", "-shm"] {
        // What is not there need not be removed.
        std::fs::remove_file(format!("{}{end}", file.display())).ok();
    }
    seen
}

/// The seeds on all cores, then the sweep.
fn storm(asked: &Asked) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let (first, count, long) = (asked.first, asked.seeds, asked.long);
    // One thread takes every second world and the other the rest: long worlds differ much.
    let share = move |n: u64| {
        let mut total = Total::default();
        for seed in (first..first + count).skip(usize::try_from(n).unwrap_or(0)).step_by(usize::try_from(threads).unwrap_or(1)) {
            total.merge(if long { long_seeds(seed, 1, Variant::Right) } else { seeds(seed, 1, Variant::Right) });
        }
        total
    };
    let workers: Vec<_> = (0..threads).map(|n| std::thread::spawn(move || share(n))).collect();
    let mut total = Total::default();
    workers.into_iter().filter_map(|w| w.join().ok()).for_each(|t| total.merge(t));
    let reached = total.reached.clone();
    total.merge(sweep(first, asked.sweep, Variant::Right));
    for (setup, text) in total.failed.iter().take(10) {
        let flag = if long { " --long" } else { "" };
        let seed = setup.seed;
        say(&format!("{text}\n  repeat: cargo xtask storm --first-seed {seed} --seeds 1 --sweep 1{flag}  ({setup:?})"));
    }
    // Rare paths need many worlds; a few prove nothing of them.
    let unreached = if count >= 1000 && !long { missing(&reached, count) } else { vec![] };
    for (row, what, n) in &unreached {
        say(&format!("Covered: {row}, `{what}` was reached {n} times in {count} worlds"));
    }
    if asked.json {
        let rows: Vec<_> = MUST.iter().map(|(row, what)| (row, what, reached.get(what).copied().unwrap_or(0))).collect();
        let rows: Vec<_> =
            rows.iter().map(|(row, what, n)| format!(r#"{{"row":"{row}","what":"{what}","count":{n}}}"#)).collect();
        say(&format!(
            r#"{{"schema":"charter.storm/1","worlds":{},"effects":{},"crashes":{},"failures":{},"simulated_hours":{},"reached":[{}]}}"#,
            total.worlds,
            total.effects,
            total.crashes,
            total.failed.len() + unreached.len(),
            total.simulated_ms / 3_600_000,
            rows.join(",")
        ));
    } else {
        if count >= 1000 {
            MUST.iter().for_each(|(row, what)| say(&format!("{:>8}  {row:<4} {what}", reached.get(what).copied().unwrap_or(0))));
        }
        say(&format!(
            "{} worlds, {} simulated hours, {} effects, {} crashes, {} failures",
            total.worlds,
            total.simulated_ms / 3_600_000,
            total.effects,
            total.crashes,
            total.failed.len() + unreached.len()
        ));
    }
    if total.failed.is_empty() && unreached.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Brings each known bug back, and tells after how many worlds it was found. All but one must be.
fn mutations(first: u64, count: u64, json: bool) -> ExitCode {
    let mut missed = 0;
    for mutation in MUTATIONS {
        let found = (first..first + count.min(1000))
            .find_map(|seed| seeds(seed, 1, mutation.variant).failed.first().map(|(_, text)| (seed - first + 1, text.clone())));
        let (bug, worlds) = (mutation.bug, found.as_ref().map(|(n, _)| *n));
        missed += usize::from(worlds.is_none());
        match (json, found) {
            (true, _) => {
                say(&format!(r#"{{"bug":"{bug}","found_after":{}}}"#, worlds.map_or("null".to_owned(), |n| n.to_string())))
            }
            (false, Some((worlds, text))) => say(&format!("{worlds:>5} worlds  {bug}  ({text})")),
            (false, None) => say(&format!("NOT FOUND     {bug}")),
        }
    }
    if !json {
        say(&format!("{} wrong variants, {missed} not found", MUTATIONS.len()));
    }
    if missed <= 1 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same worlds under other policies: what machines that nobody ended cost, per thousand deployments.
fn policies(first: u64, count: u64) -> ExitCode {
    let all = [
        (Variant::Right, "ours"),
        (Variant::GiveUpDestroy, "a destroy is tried for 15 minutes and then given up"),
        (Variant::CreateAgain, "after a lost answer another machine is made"),
    ];
    let mut ours = 0;
    for (variant, what) in all {
        let (mut leaked, mut deployments) = (0_i64, 0_i64);
        for seed in first..first + count {
            let summary = run(Setup { faults: true, measured: true, ..setup(seed, variant) });
            leaked += summary.leaked_micros;
            deployments += i64::try_from(summary.deployments).unwrap_or(0);
        }
        let per_thousand = leaked * 1000 / deployments.max(1);
        if variant == Variant::Right {
            ours = leaked;
        }
        say(&format!("${}.{:02} per 1,000 deployments  {what}", per_thousand / 1_000_000, per_thousand % 1_000_000 / 10_000));
    }
    if ours == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "this program exists to print its result")]
fn say(text: &str) {
    println!("{text}");
}
