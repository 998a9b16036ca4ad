//! The gateway with everything behind it: keys with limits, usage in the database, copies that sleep and wake.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use support::{Place, chat, request, wait_until};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn what_requests_used_is_counted_by_key_and_deployment_and_survives_a_stop() {
    let mut place = Place::new("usage");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let made = json(&place.ok(&["--json", "key", "create", "--name", "ci", "--tenant", "lab", "--requests-per-minute", "30"]));
    let key = made["key"].as_str().expect("a key");
    assert_eq!((&made["tenant"], &made["limits"]["requests_per_minute"]), (&"lab".into(), &30.into()));
    for stream in [false, true, true] {
        assert_eq!(chat(place.gateway(), key, "small", 4, stream).expect("an answer").status, 200);
    }
    // Nothing is lost by an end in order, whatever was not written yet.
    place.stop_server();
    place.serve(&[]);
    let spent = json(&place.ok(&["--json", "spend"]));
    let mine = spent["items"].as_array().expect("items").iter().find(|i| i["key"] == "ci").expect("the key's sum").clone();
    assert_eq!((&mine["requests"], &mine["tenant"], &mine["deployment"]), (&3.into(), &"lab".into(), &"small".into()));
    let written = mine["completion_tokens"].as_u64().expect("tokens");
    assert_eq!(written, 12, "as the engine counted: {mine}");
    let status = json(&place.ok(&["--json", "status"]));
    let usage = &status["deployments"][0]["usage"];
    assert_eq!((&usage["requests"], usage["completion_tokens"].as_u64()), (&3.into(), Some(12)), "{usage}");
    let of = |args: &[&str]| json(&place.ok(args))["items"].as_array().map(Vec::len);
    assert_eq!(of(&["--json", "spend", "--key", "ci", "--deployment", "small"]), Some(1));
    assert_eq!(of(&["--json", "spend", "--key", "nobody"]), Some(0), "sums are filtered as single requests are");
    let table = place.ok(&["spend", "--requests"]);
    assert!(table.contains("ci") && table.contains("done") && table.lines().all(|l| l.chars().count() <= 80), "{table}");
    place.ok(&["down", "small"]);
}

#[test]
fn a_deployment_sleeps_when_nobody_asks_and_the_first_request_wakes_it() {
    let mut place = Place::new("sleeps");
    place.configure("    keep-alive: 2s\n", "  small: {profile: small, replicas: {min: 0, max: 2}}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let status = |place: &Place| json(&place.ok(&["--json", "status"]))["deployments"][0]["status"].clone();
    wait_until("it sleeps", || status(&place) == "asleep");
    wait_until("its engine is gone", || place.engines().is_empty());
    let (gateway, key) = (place.gateway(), place.key());
    assert!(request(gateway, "GET", "/v1/models", &key, b"").expect("a list").body.contains("\"small\""), "it would answer");
    let answer = chat(gateway, &key, "small", 3, false).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    wait_until("it is written that it was cold", || {
        let spent = json(&place.ok(&["--json", "spend", "--requests"]));
        spent["items"].as_array().is_some_and(|all| all.iter().any(|r| r["cold_start_ms"].as_u64() > Some(0)))
    });
    place.ok(&["down", "small"]);
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_would_be_right() {
    let mut place = Place::new("routes");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    for (args, says) in [
        (&["route", "set", "m", "--backends", "nobody=1"][..], "nobody"),
        (&["route", "set", "m", "--backends", "a=x"], "weight"),
        (&["route", "set", "m", "--price", "cheap"], "two prices"),
        (&["route", "set", "m", "--cache", "soon"], "soon"),
        (&["route", "remove", "m"], "no route"),
        (&["backend", "register", "x", "http://169.254.169.254"], "no backend can have"),
        (&["backend", "register", "x", "http://2852039166"], "no backend can have"),
        (&["key", "create", "--parallel", "0"], "zero"),
        (&["key", "create", "--usd-per-day", "much"], "much"),
        (&["spend", "--hours", "0"], "hours"),
    ] {
        let output = place.charter(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says) && said.contains("hint"), "{args:?}: {said}");
    }
    assert!(place.ok(&["route", "list"]).contains("nothing was said"));
    assert!(place.ok(&["spend"]).contains("no request"));
}
