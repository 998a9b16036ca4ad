//! Several control planes on one PostgreSQL, as real processes: they share the work, take over from one that dies or freezes,
//! and nothing is rented twice.

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
use std::time::{Duration, Instant};
use support::market::Bed;
use support::{PATIENCE, Place, field, request, signal, wait_until};

/// Two control planes with one database, one marketplace and one installation.
struct Pair {
    bed: Bed,
    first: Place,
    second: Place,
    database: Postgres,
}

const LIMITS: &str = "    limits: {stall: 3s, boot: 20s, ssh: 2s, load: 10s, attempts: 8, search-retries: 8}\n";

impl Pair {
    fn start(name: &str, bed: Bed) -> Self {
        let database = Postgres::start(name);
        let (first, second) = (Place::bare(&format!("{name}-first")), Place::bare(&format!("{name}-second")));
        let mut pair = Self { bed, first, second, database };
        pair.configure("  small: {profile: small}\n");
        pair.serve_first();
        std::fs::create_dir_all(pair.second.data()).expect("data");
        std::fs::copy(pair.first.data().join("installation.key"), pair.second.data().join("installation.key")).expect("copy");
        let url = pair.database.url();
        pair.second.serve_with(&[], &[("CHARTER_DATABASE", &url)]);
        pair
    }

    fn configure(&self, deployments: &str) {
        for place in [&self.first, &self.second] {
            self.bed.configure(place, LIMITS, deployments);
            let file = place.folder.join("charter.yaml");
            let text = std::fs::read_to_string(&file).expect("file").replacen("server:\n", "server:\n  lease: 5s\n", 1);
            std::fs::write(file, text).expect("file");
        }
    }

    fn serve_first(&mut self) {
        let url = self.database.url();
        self.first.serve_with(&[], &[("CHARTER_DATABASE", &url)]);
    }
}

fn phase(place: &Place) -> String {
    let status: serde_json::Value = serde_json::from_str(&place.ok(&["status", "--json"])).expect("JSON");
    status["deployments"][0]["status"].as_str().unwrap_or(&status.to_string()).to_owned()
}

/// One answer of a model through a control plane's own gateway.
fn answers(place: &Place) -> bool {
    let server = std::fs::read_to_string(place.data().join("server.json")).expect("server file");
    let gateway = field(&server, "gateway_url");
    let address = gateway.trim_start_matches("http://").trim_end_matches("/v1").parse().expect("an address");
    let key = std::fs::read_to_string(place.data().join("local.key")).expect("key");
    let body = br#"{"model":"small","messages":[{"role":"user","content":"hello"}]}"#;
    request(address, "POST", "/v1/chat/completions", key.trim(), body).is_ok_and(|a| a.status == 200)
}

#[test]
fn what_one_begins_the_other_sees_serves_and_ends() {
    let mut pair = Pair::start("share", Bed::start("share", &["--speed", "20"]));
    pair.first.ok(&["up"]);
    assert!(answers(&pair.first), "{}", pair.first.server_log());
    wait_until("the other one knows", || phase(&pair.second) == "running");
    wait_until("the other gateway answers", || answers(&pair.second));
    // A key that one revokes is refused by the other within moments.
    let made = pair.first.ok(&["key", "create", "--json"]);
    let (key, id) = (field(&made, "key"), field(&made, "id"));
    let asks = |place: &Place| {
        let server = std::fs::read_to_string(place.data().join("server.json")).expect("server file");
        let address =
            field(&server, "gateway_url").trim_start_matches("http://").trim_end_matches("/v1").parse().expect("address");
        request(address, "GET", "/v1/models", &key, b"").expect("answer").status
    };
    wait_until("the new key is known there", || asks(&pair.second) == 200);
    pair.first.ok(&["key", "revoke", &id]);
    wait_until("the old key is refused there", || asks(&pair.second) == 401);
    // One dies; the other goes on, and ends what it did not begin.
    pair.first.kill_server();
    assert!(answers(&pair.second));
    pair.second.ok(&["down", "--all"]);
    pair.bed.must_be_empty();
    assert_eq!(pair.bed.ledger()["created"].as_u64(), Some(1));
}

#[test]
fn one_that_freezes_with_intents_in_its_hands_is_replaced_and_does_no_harm_when_it_wakes() {
    // The order is answered so late that the process can be stopped in the middle of it.
    let pair = Pair::start("freeze", Bed::start("freeze", &["--speed", "20", "--faults", "slow-order"]));
    let server = field(&std::fs::read_to_string(pair.first.data().join("server.json")).expect("file"), "url");
    let mut up = pair.first.command(&["--server", &server, "up"]).spawn().expect("up");
    wait_until("the order has taken effect", || pair.bed.ledger()["created"].as_u64() == Some(1));
    let frozen = pair.first.server_pid();
    signal("STOP", frozen);
    let begun = Instant::now();
    wait_until("the other one has taken over", || phase(&pair.second) == "running");
    let took = begun.elapsed();
    assert!(answers(&pair.second), "{}", pair.second.server_log());
    // It stays frozen for longer than its lease, and than the silence after which others look after its share.
    while begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(50));
    }
    signal("CONT", frozen);
    assert!(begun.elapsed() < PATIENCE * 2);
    wait_until("it is awake", || phase(&pair.first) == "running");
    up.wait().expect("up");
    assert!(answers(&pair.first), "{}", pair.first.server_log());
    let ledger = pair.bed.ledger();
    assert_eq!((ledger["alive"].as_u64(), ledger["twice"].as_u64()), (Some(1), Some(0)), "{ledger}");
    pair.second.ok(&["down", "--all"]);
    pair.bed.must_be_empty();
    println!("frozen with an order in its hands: ready through the other control plane after {:.1} s", took.as_secs_f64());
}

#[test]
fn a_data_directory_with_another_key_is_refused_and_a_server_without_the_address_finds_its_database() {
    let mut pair = Pair::start("refuse", Bed::start("refuse", &["--speed", "20"]));
    let stranger = Place::bare("refuse-stranger");
    let url = pair.database.url();
    let refused = stranger.command(&["serve", "--listen", "127.0.0.1:0"]).env("CHARTER_DATABASE", &url).output().expect("serve");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("D0005") && text.contains("installation.key"), "{text}");
    assert!(!stranger.data().join("installation.key").exists());
    pair.first.ok(&["up"]);
    pair.first.stop_server();
    pair.first.serve(&[]);
    wait_until("it has found its deployment", || phase(&pair.first) == "running");
    let wrong = stranger.command(&["serve", "--listen", "127.0.0.1:0", "--database", "/tmp/x.db"]).output().expect("serve");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("D0003"));
    let nobody = "postgres://u:hidden@127.0.0.1:1/x";
    let away = stranger.command(&["serve", "--listen", "127.0.0.1:0"]).env("CHARTER_DATABASE", nobody).output().expect("serve");
    let text = String::from_utf8_lossy(&away.stderr).into_owned();
    assert!(text.contains("D0006") && !text.contains("hidden"), "{text}");
    pair.second.ok(&["panic"]);
    pair.bed.must_be_empty();
}

#[test]
fn one_that_slept_through_a_move_writes_nothing_any_more() {
    let mut pair = Pair::start("moved", Bed::start("moved", &["--speed", "20"]));
    pair.first.ok(&["up"]);
    let frozen = pair.second.server_pid();
    signal("STOP", frozen);
    pair.first.stop_server();
    let begun = Instant::now();
    wait_until("nobody was heard for long enough", || {
        assert!(begun.elapsed() < PATIENCE);
        pair.first.charter(&["admin", "migrate", "--to", "sqlite"]).status.success()
    });
    signal("CONT", frozen);
    pair.first.serve(&[]);
    let ended = pair.second.charter(&["down", "small", "--no-wait"]);
    assert!(String::from_utf8_lossy(&ended.stderr).contains("restored or moved"), "{ended:?}");
    pair.second.kill_server();
    let url = pair.database.url();
    let again = pair.second.command(&["serve", "--listen", "127.0.0.1:0"]).env("CHARTER_DATABASE", &url).output().expect("serve");
    assert!(String::from_utf8_lossy(&again.stderr).contains("D0013"), "{again:?}");
    assert_eq!(pair.bed.ledger()["alive"].as_u64(), Some(1));
    pair.first.ok(&["down", "--all"]);
    pair.bed.must_be_empty();
}

#[test]
fn one_whose_file_knows_fewer_providers_leaves_the_work_to_the_other() {
    let mut pair = Pair::start("fewer", Bed::start("fewer", &["--speed", "20"]));
    pair.second.stop_server();
    std::fs::write(pair.second.folder.join("charter.yaml"), "version: 1\n").expect("file");
    pair.second.serve(&[]);
    let names: String = (0..4).map(|n| format!("  m{n}: {{profile: small, served-name: m{n}}}\n")).collect();
    pair.bed.configure(&pair.first, LIMITS, &names);
    pair.first.ok(&["up"]);
    assert_eq!(pair.bed.ledger()["alive"].as_u64(), Some(4), "{}", pair.second.server_log());
    pair.first.ok(&["down", "--all"]);
    pair.bed.must_be_empty();
}
