//! Whole launches on a market as it really is, with its time compressed: single attempts often fail, launches do not.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::sync::Mutex;
use std::time::Instant;
use support::Place;
use support::market::Bed;

#[test]
fn launches_succeed_although_attempts_fail_and_nothing_is_left() {
    let number = |name: &str, default: usize| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (count, at_once) = (number("LAUNCHES", 16), number("LAUNCHES_AT_ONCE", 4));
    // Two to five minutes of boot and seven of loading become a second or two.
    let bed = Bed::start("launches", &["--faults", "realistic", "--speed", "400", "--seed", "11", "--balance", "4000"]);
    let mut place = Place::bare("launches");
    let profile = "    limits: {stall: 5s, boot: 30s, ssh: 4s, load: 30s, attempts: 5, search-retries: 6, failed-restarts: 1}\n";
    let deployments: String = (0..count).map(|n| format!("  m{n}: {{profile: small, served-name: m{n}}}\n")).collect();
    bed.configure(&place, profile, &deployments);
    place.serve_with(&[], &[("VASTAI_BUDGET_LIMIT", "4000")]);
    let begun = Instant::now();
    let (next, failed) = (Mutex::new(0..count), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(n) = { next.lock().expect("lock").next() } {
                    let name = format!("m{n}");
                    let up = place.charter(&["up", &name]);
                    if !up.status.success() {
                        failed.lock().expect("lock").push(format!("{name}: {}", String::from_utf8_lossy(&up.stderr)));
                    }
                    place.ok(&["down", &name]);
                }
            });
        }
    });
    support::wait_until("the account is empty", || bed.ledger()["alive"].as_u64() == Some(0));
    let ledger = bed.ledger();
    let failed = failed.into_inner().expect("lock");
    let machines = ledger["machines"].as_array().expect("machines");
    let wasted: u64 = machines
        .iter()
        .filter(|m| m["faults"].as_array().is_some_and(|f| !f.is_empty()))
        .filter_map(|m| m["cost_usd_micros"].as_u64())
        .sum();
    println!(
        "{count} launches in {:.0} s: {} failed; {} machines rented, {} left, {} rented twice; {} of {} micro-dollars went to machines with a fault",
        begun.elapsed().as_secs_f64(),
        failed.len(),
        machines.len(),
        ledger["alive"],
        ledger["twice"],
        wasted,
        ledger["spent_usd_micros"]
    );
    failed.iter().for_each(|why| println!("{why}"));
    assert!(failed.len() * 100 <= count, "{} of {count} failed:\n{}", failed.len(), failed.join("\n"));
    bed.must_be_empty();
}
