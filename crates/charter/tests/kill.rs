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
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::Place;

/// A small generator, so that a round can be told apart by its number.
fn chance(round: u64, most_ms: u64) -> Duration {
    let mut z = round.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    Duration::from_millis((z ^ (z >> 31)) % most_ms)
}

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
        killed_during(&mut place, &["up"], chance(round * 2, 900));
        place.ok(&["up"]);
        assert_eq!(place.engines().len(), 1, "round {round}: one engine runs");
        started_once(&starts, round);
        killed_during(&mut place, &["down", &name], chance(round * 2 + 1, 700));
        place.ok(&["down", &name]);
        assert!(place.engines().is_empty(), "round {round}: an engine is left");
        assert!(!place.folder.join("home/.charter").exists(), "round {round}: something is left on the machine");
        place.stop_server();
    }
    println!("{rounds} rounds in {:.1} s: 0 engines left, 0 started twice", begun.elapsed().as_secs_f64());
}

/// Begins a command, kills the server after `pause`, and starts another one.
fn killed_during(place: &mut Place, args: &[&str], pause: Duration) {
    // Named, so that a command that comes after the kill does not start a server of its own beside the next one.
    let url = support::field(&std::fs::read_to_string(place.data().join("server.json")).expect("server file"), "url");
    let args: Vec<&str> = ["--server", &url].into_iter().chain(args.iter().copied()).collect();
    let mut command = place.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("command");
    // The moment of the kill is the input of this test, not a wait for something.
    std::thread::sleep(pause);
    place.kill_server();
    command.wait().expect("command");
    place.serve(&[]);
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
