//! Kill -9 of the real server at random moments of `up` and `down`, against a real sshd. After each round everything is
//! where the user asked for, no engine was started twice for one replica, and none is left.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::collections::BTreeMap;
use std::time::Instant;
use support::{Place, chance};

#[test]
fn whatever_the_moment_nothing_is_started_twice_and_nothing_is_left() {
    let rounds: u64 = std::env::var("KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let mut place = Place::new("kill");
    let starts = place.folder.join("starts");
    let env = format!("      env: {{STANDIN_START_MS: \"100\", STANDIN_STARTS: \"{}\"}}\n", starts.display());
    let begun = Instant::now();
    for round in 0..rounds {
        std::fs::remove_file(&starts).ok();
        place.configure(&env, &format!("  small{round}: {{profile: small}}\n"));
        let name = format!("small{round}");
        place.serve(&[]);
        place.killed_during(&["up"], chance(round * 2, 900));
        place.ok(&["up"]);
        assert_eq!(place.engines().len(), 1, "round {round}: one engine runs");
        started_once(&starts, round);
        place.killed_during(&["down", &name], chance(round * 2 + 1, 700));
        place.ok(&["down", &name]);
        assert!(place.engines().is_empty(), "round {round}: an engine is left");
        assert!(!place.folder.join("home/.charter").exists(), "round {round}: something is left on the machine");
        place.stop_server();
    }
    println!("{rounds} rounds in {:.1} s: 0 engines left, 0 started twice", begun.elapsed().as_secs_f64());
}

/// Each start is written down by the engine itself, with its tag and its number.
fn started_once(starts: &std::path::Path, round: u64) {
    let text = std::fs::read_to_string(starts).expect("starts");
    let mut counted: BTreeMap<&str, u32> = BTreeMap::new();
    for line in text.lines() {
        *counted.entry(line).or_default() += 1;
    }
    assert!(counted.values().all(|n| *n == 1), "round {round}: a start happened twice: {counted:?}");
    let replicas: std::collections::BTreeSet<_> = counted.keys().filter_map(|l| l.rsplit_once('.').map(|(tag, _)| tag)).collect();
    assert_eq!((replicas.len(), counted.len()), (1, 1), "round {round}: {counted:?}");
}
