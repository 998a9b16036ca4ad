//! `charter-sim [--seeds N] [--first-seed K] [--sweep N]`: runs worlds and says what did not hold.

use charter_sim::sweep::{Total, seeds, sweep};
use charter_sim::world::{Setup, Variant, run};
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
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let share = count.div_ceil(threads);
    let workers: Vec<_> = (0..threads)
        .map(|n| std::thread::spawn(move || seeds(first + n * share, share.min(count.saturating_sub(n * share)), Variant::Right)))
        .collect();
    if args.iter().any(|a| a == "--trace") {
        let setup = Setup { seed: first, faults: true, crash_at: None, twice: None, variant: Variant::Right, logged: true };
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

#[expect(clippy::print_stdout, reason = "this program exists to print its result")]
fn say(text: &str) {
    println!("{text}");
}
