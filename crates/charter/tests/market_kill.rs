//! Kill -9 of the server at random moments while it rents, on a market in which things go wrong: the account holds exactly what
//! was asked for, and nothing was rented twice.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

#[path = "../../store/tests/support/postgres.rs"]
mod postgres;
mod support;

use postgres::Postgres;
use std::time::Instant;
use support::market::Bed;
use support::{Place, chance};

/// What goes wrong, in per cent.
const FAULTS: &str = "offer-gone=10,rate-limit=4,server-error=4,html=3,cut-order=15,lost-order=10,late-list=25,short-list=10,cdi=10,ssh-refused=4,wrong-cuda=5,first-prompt=4,price-raised=4";

#[test]
fn whatever_the_moment_the_account_holds_what_was_asked_for() {
    kill_rounds("sqlite", None);
}

#[test]
fn whatever_the_moment_it_does_so_on_postgresql_too() {
    let database = Postgres::start("market-kill");
    kill_rounds("postgresql", Some(&database.url()));
}

/// `KILL_ROUNDS` rounds, for instance `KILL_ROUNDS=1000`; ten where nothing is said. `KILL_SEED` moves the moments and the
/// faults, so that several runs beside each other are not the same.
fn kill_rounds(store: &str, database: Option<&str>) {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (rounds, seed) = (number("KILL_ROUNDS", 10), number("KILL_SEED", 7));
    let bed = Bed::start("kill", &["--speed", "20", "--seed", &seed.to_string(), "--faults", FAULTS, "--balance", "500"]);
    let mut place = Place::bare(&format!("market-kill-{store}"));
    let profile = "    limits: {stall: 3s, boot: 20s, ssh: 2s, load: 10s, attempts: 8, failed-restarts: 1, search-retries: 8}\n";
    let begun = Instant::now();
    for round in 0..rounds {
        let name = format!("small{round}");
        bed.configure(&place, profile, &format!("  {name}: {{profile: small}}\n"));
        // The data directory remembers its database: the later starts need not name it.
        place.serve_with(&[], &database.map(|url| ("CHARTER_DATABASE", url)).into_iter().collect::<Vec<_>>());
        place.killed_during(&["up"], chance(77 + seed * 10_000 + round * 2, 1500));
        place.ok(&["up"]);
        let ledger = bed.ledger();
        assert_eq!((ledger["alive"].as_u64(), ledger["twice"].as_u64()), (Some(1), Some(0)), "round {round}: {ledger}");
        place.killed_during(&["down", &name], chance(78 + seed * 10_000 + round * 2, 1200));
        place.ok(&["down", &name]);
        bed.must_be_empty();
        place.stop_server();
    }
    let ledger = bed.ledger();
    println!(
        "{store}: {rounds} rounds in {:.1} s: {} machines rented, 0 left, 0 rented twice, {} micro-dollars spent",
        begun.elapsed().as_secs_f64(),
        ledger["created"],
        ledger["spent_usd_micros"]
    );
}
