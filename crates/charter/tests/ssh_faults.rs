//! The way to a machine, and everything that a real OpenSSH server can do to it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::io::{BufRead, BufReader, Read};
use support::{Place, chat, open, wait_until};

const QUICK: &[(&str, &str)] = &[("VASTAI_HEALTH_CHECK_INTERVAL_SECONDS", "1")];

fn ready(name: &str) -> Place {
    let mut place = Place::new(name);
    place.configure("      env: {STANDIN_TOKEN_MS: \"20\"}\n", "  small: {profile: small}\n");
    place.serve_with(&[], QUICK);
    place.ok(&["up"]);
    place
}

fn answers(place: &Place) -> bool {
    chat(place.gateway(), &place.key(), "small", 1, false).is_ok_and(|a| a.status == 200)
}

fn phase(place: &Place) -> (String, String) {
    let status: serde_json::Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
    let replica = &status["deployments"][0]["replicas"][0];
    (replica["phase"].as_str().unwrap_or_default().to_owned(), replica["tunnel"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_server_that_dies_and_comes_back_is_reached_again_and_its_engine_lives_on() {
    let mut place = ready("dies-ssh");
    let engines = place.engines();
    place.stop_sshd();
    wait_until("requests are refused as unreachable", || {
        chat(place.gateway(), &place.key(), "small", 1, false).is_ok_and(|a| a.status == 502 || a.status == 503)
    });
    wait_until("people see that it is away", || phase(&place).1 == "down");
    place.start_sshd();
    wait_until("it answers again", || answers(&place));
    assert_eq!(place.engines(), engines, "the engine was never touched");
    place.ok(&["down", "small"]);
}

#[test]
fn a_stream_that_is_cut_ends_and_the_next_one_goes_through() {
    let place = ready("cut");
    let body = br#"{"model":"small","stream":true,"max_tokens":100000,"messages":[{"role":"user","content":"x "}]}"#;
    let mut stream = BufReader::new(open(place.gateway(), "POST", "/v1/chat/completions", &place.key(), body).expect("stream"));
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        stream.read_line(&mut line).expect("an event");
    }
    place.end_sessions();
    let mut rest = vec![];
    // A cut stream ends with one event that says so, and never with the word that it is done.
    stream.read_to_end(&mut rest).ok();
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(!rest.contains("[DONE]"));
    assert_eq!(rest.matches("data: {\"error\":").count(), 1, "{}", rest.chars().rev().take(400).collect::<String>());
    wait_until("the next one goes through", || answers(&place));
    place.ok(&["down", "small"]);
}

#[test]
fn a_changed_host_key_is_refused_and_told() {
    let mut place = ready("host-key");
    place.stop_sshd();
    place.new_host_key();
    place.start_sshd();
    wait_until("it counts as away", || phase(&place).1 == "down");
    assert!(!answers(&place), "nothing is sent to a machine that may be another one");
    // A new deployment there is refused with the code and the remedy.
    place.configure("", "  small: {profile: small}\n  other: {profile: small, served-name: other}\n");
    let up = place.charter(&["--json", "up", "other"]);
    let answer: serde_json::Value = serde_json::from_slice(&up.stdout).expect("one document");
    let detail = answer["error"]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("[R0003]") && detail.contains("is pinned"), "{answer}");
}

#[test]
fn a_server_that_hangs_is_noticed_and_used_again_when_it_wakes() {
    let place = ready("hangs");
    place.freeze("STOP");
    wait_until("it counts as away", || phase(&place).0 != "ready" || phase(&place).1 == "down");
    place.freeze("CONT");
    wait_until("it answers again", || answers(&place));
    place.ok(&["down", "small"]);
}
