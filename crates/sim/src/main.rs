//! `charter-sim [--seeds N] [--first-seed K] [--sweep N] [--mutations]`: runs worlds and says what did not hold; or brings known
//! bugs back and says how soon each was found.

use charter_sim::mutation::{MUTATIONS, Variant};
use charter_sim::sweep::{Total, seeds, sweep};
use charter_sim::world::{Setup, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let number = |flag: &str, default: u64| {
        let at = args.iter().position(|a| a == flag);
        at.and_then(|i| args.get(i + 1)).map_or(Some(default), |v| v.parse().ok())
    };
    let (Some(count), Some(first), Some(scenarios)) = (number("--seeds", 2000), number("--first-seed", 0), number("--sweep", 20))
    else {
        say("--seeds, --first-seed and --sweep take a number");
        return ExitCode::FAILURE;
    };
    if args.iter().any(|a| a == "--mutations") {
        return mutations(first, count);
    }
    if args.iter().any(|a| a == "--policies") {
        return policies(first, count);
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let share = count.div_ceil(threads);
    let workers: Vec<_> = (0..threads)
        .map(|n| std::thread::spawn(move || seeds(first + n * share, share.min(count.saturating_sub(n * share)), Variant::Right)))
        .collect();
    if args.iter().any(|a| a == "--trace") {
        let setup = Setup {
            seed: first,
            faults: true,
            crash_at: None,
            twice: None,
            variant: Variant::Right,
            logged: true,
            measured: false,
        };
        for line in run(setup).log {
            say(&line);
        }
    }
    let mut totals: Vec<(&str, Total)> = workers.into_iter().filter_map(|w| w.join().ok()).map(|t| ("seeds", t)).collect();
    totals.push(("sweep", sweep(first, scenarios, Variant::Right)));
    let mut failures = 0;
    let (mut worlds, mut effects, mut crashes) = (0, 0, 0);
    for (name, total) in &totals {
        worlds += total.worlds;
        effects += total.effects;
        crashes += total.crashes;
        failures += total.failed.len();
        for (setup, text) in total.failed.iter().take(5) {
            say(&format!(
                "{name}: {text}\n  repeat: cargo xtask storm --first-seed {} --seeds 1 --sweep 1  ({setup:?})",
                setup.seed
            ));
        }
    }
    say(&format!("{worlds} worlds, {effects} effects, {crashes} crashes, {failures} failures"));
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Brings each known bug back, and tells after how many worlds it was found. All but one must be.
fn mutations(first: u64, count: u64) -> ExitCode {
    let mut missed = 0;
    for mutation in MUTATIONS {
        let mut found = None;
        for seed in first..first + count.min(1000) {
            if let Some((_, text)) = seeds(seed, 1, mutation.variant).failed.first() {
                found = Some((seed - first + 1, text.clone()));
                break;
            }
        }
        match found {
            Some((worlds, text)) => say(&format!("{:>5} worlds  {}  ({text})", worlds, mutation.bug)),
            None => {
                missed += 1;
                say(&format!("NOT FOUND     {}", mutation.bug));
            }
        }
    }
    say(&format!("{} wrong variants, {missed} not found", MUTATIONS.len()));
    if missed <= 1 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same worlds under other policies: what machines that nobody ends cost, per thousand deployments.
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
            let setup = Setup { seed, faults: true, crash_at: None, twice: None, variant, logged: false, measured: true };
            let summary = run(setup);
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
