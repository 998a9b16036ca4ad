//! Money: what may be rented, for how long, and who counts for which limit, on the marketplace of the test bed.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use serde_json::Value;
use std::net::SocketAddr;
use support::market::Bed;
use support::{Place, chat, request, wait_until};

/// A place whose server has these budgets.
fn place(name: &str, bed: &Bed, budgets: &str, profile: &str, deployments: &str) -> Place {
    let place = Place::bare(name);
    bed.configure(&place, profile, deployments);
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("configuration");
    std::fs::write(&file, text.replace("server:\n", &format!("server:\n  budgets: {budgets}\n"))).expect("configuration");
    place
}

fn told(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn control(place: &Place) -> SocketAddr {
    let text = std::fs::read_to_string(place.data().join("server.json")).expect("a server");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    json["url"].as_str().and_then(|u| u.strip_prefix("http://")?.parse().ok()).expect("an address")
}

#[test]
fn of_many_that_start_at_the_limit_never_one_too_many_is_rented() {
    const COUNT: usize = 40;
    let bed = Bed::start("crowd", &["--speed", "20", "--balance", "400"]);
    let deployments: String = (0..COUNT).map(|n| format!("  m{n}: {{profile: small, served-name: m{n}}}\n")).collect();
    let limits = "    limits: {search-retries: 0, attempts: 1}\n";
    let mut place = place("crowd", &bed, "{total: {hard-usd: \"1.00\"}}", limits, &deployments);
    place.serve(&[]);
    place.ok(&["up", "--detach"]);
    wait_until("all have rented, or were told that there is no money", || {
        let status: Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
        let all = status["deployments"].as_array().expect("deployments");
        all.len() == COUNT && all.iter().all(|d| ["running", "error"].contains(&d["status"].as_str().unwrap_or_default()))
    });
    let ledger = bed.ledger();
    let machines = ledger["machines"].as_array().expect("machines");
    let hourly: u64 = machines.iter().filter_map(|m| m["price_usd_micros_per_hour"].as_u64()).sum();
    let alive = ledger["alive"].as_u64().expect("alive");
    println!("{alive} of {COUNT} are rented, for {hourly} micro-dollars an hour");
    assert!(hourly <= 1_000_000 && alive >= 5, "an hour of each was set aside under the limit of one dollar: {ledger}");
    let budget: Value = serde_json::from_str(&place.ok(&["--json", "budget"])).expect("JSON");
    let committed = budget["limits"][0]["committed_usd_micros"].as_u64().expect("committed");
    assert!(committed <= 1_000_000 && committed >= hourly, "{budget}");
    let refused = place.charter(&["up", "m39", "m38", "m37", "m36", "m35", "m34", "m33", "m32", "m31", "m30"]);
    assert!(told(&refused).contains("budget `total`"), "{}", told(&refused));
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}

#[test]
fn each_limit_refuses_its_own_and_says_so_before_anything_is_rented() {
    let bed = Bed::start("scopes", &["--speed", "20"]);
    let deployments = "  a: {profile: small, served-name: a, tenant: lab}\n  b: {profile: small, served-name: b, tenant: lab}\n";
    for (budgets, first, second) in [
        ("{tenant: {hard-usd: \"0.20\"}}", true, false),
        ("{deployment: {hard-usd: \"0.20\"}}", true, true),
        ("{rental: {hard-usd: \"0.20\"}}", true, true),
        ("{rental: {hard-usd: \"0.05\"}}", false, false),
        ("{day: {hard-usd: \"0.20\"}}", true, false),
    ] {
        let name = budgets.split(['{', ':']).nth(1).expect("a name").to_owned() + if first { "" } else { "-small" };
        let mut place = place(&name, &bed, budgets, "", deployments);
        place.serve(&[]);
        for (deployment, fits) in [("a", first), ("b", second)] {
            let before = bed.ledger()["created"].as_u64();
            let up = place.charter(&["up", deployment]);
            assert_eq!(up.status.success(), fits, "{budgets} {deployment}: {}", told(&up));
            let scope = budgets.trim_start_matches('{').split(':').next().expect("a scope");
            assert!(fits || told(&up).contains(&format!("`{scope}`")), "{budgets} {deployment}: {}", told(&up));
            assert!(fits || bed.ledger()["created"].as_u64() == before, "{budgets} {deployment}: something was rented");
        }
        place.ok(&["down", "--all"]);
        bed.must_be_empty();
    }
}

#[test]
fn where_a_limit_leaves_too_little_for_the_first_card_a_cheaper_one_is_taken() {
    let bed = Bed::start("step-down", &["--speed", "20"]);
    let card = |name: &str, budgets: &str| {
        let mut place = place(name, &bed, budgets, "", "  small: {profile: small}\n");
        let file = place.folder.join("charter.yaml");
        let text = std::fs::read_to_string(&file).expect("configuration");
        let tiers = "gpu: {min-vram: 16GB, tiers: [{gpu: RTX 4090, max-usd-per-hour: 2}, {gpu: RTX 3090, max-usd-per-hour: 2}]}";
        std::fs::write(&file, text.replace("gpu: {min-vram: 16GB}", tiers)).expect("configuration");
        place.serve(&[]);
        place.ok(&["up"]);
        let status: Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
        place.ok(&["down", "--all"]);
        status["deployments"][0]["replicas"][0]["gpu"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(card("step-down-rich", "{total: {hard-usd: \"50\"}}"), "1x RTX 4090");
    assert_eq!(card("step-down-poor", "{rental: {hard-usd: \"0.14\"}}"), "1x RTX 3090");
    bed.must_be_empty();
}

#[test]
fn a_limit_that_has_passed_its_marks_says_so_once() {
    let bed = Bed::start("marks", &["--speed", "20"]);
    let budgets = "{total: {target-usd: \"0.01\", alert-usd: \"0.02\", hard-usd: \"50\"}}";
    let mut place = place("marks", &bed, budgets, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    wait_until("the alert is told", || place.server_log().contains("has passed its alert of $0.02"));
    let budget: Value = serde_json::from_str(&place.ok(&["--json", "budget"])).expect("JSON");
    assert_eq!(budget["limits"][0]["state"], "alert", "{budget}");
    assert_eq!(place.server_log().matches("has passed its alert").count(), 1);
    place.ok(&["down", "--all"]);
}

#[test]
fn more_time_is_given_where_there_is_money_for_it() {
    let bed = Bed::start("extend", &["--speed", "20"]);
    let deployments = "  small: {profile: small, serve-for: 30m}\n  idle: {profile: small, served-name: idle}\n";
    let mut place = place("extend", &bed, "{total: {hard-usd: \"1.00\"}}", "", deployments);
    place.serve(&[]);
    let early = place.charter(&["extend", "small", "--hours", "1"]);
    assert!(!early.status.success() && told(&early).contains("A0404"), "{}", told(&early));
    place.ok(&["up", "small"]);
    let expiry = || {
        let status: Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
        let small = status["deployments"].as_array().expect("all").iter().find(|d| d["name"] == "small").expect("small").clone();
        small["expires_at"].as_str().map(str::to_owned)
    };
    let first = expiry().expect("an end of its own");
    assert!(place.ok(&["extend", "small", "--hours", "1"]).contains("small runs until "));
    let second = expiry().expect("a later one");
    assert!(second > first, "{first} {second}");
    // A hundred hours cost more than the limit leaves; nothing has changed.
    let refused = place.charter(&["extend", "small", "--hours", "100"]);
    assert!(!refused.status.success() && told(&refused).contains("M0002"), "{}", told(&refused));
    assert_eq!(expiry().as_ref(), Some(&second));
    // What is set aside for the one is not there for others.
    let budget: Value = serde_json::from_str(&place.ok(&["--json", "budget"])).expect("JSON");
    assert!(budget["limits"][0]["committed_usd_micros"].as_u64() > Some(180_000), "{budget}");
    place.ok(&["extend", "small", "--infinite"]);
    assert_eq!(expiry(), None);
    place.ok(&["up", "idle"]);
    assert!(place.ok(&["extend", "idle", "--minutes", "15"]).contains("is not ended for being idle before "));
    for wrong in
        [vec!["extend", "idle"], vec!["extend", "idle", "--hours", "1", "--infinite"], vec!["extend", "idle", "--hours", "0"]]
    {
        assert_eq!(place.charter(&wrong).status.code(), Some(1), "{wrong:?}");
    }
    place.ok(&["down", "--all"]);
    let over = place.charter(&["extend", "small", "--hours", "1"]);
    assert!(!over.status.success() && told(&over).contains("A0418"), "{}", told(&over));
    bed.must_be_empty();
}

#[test]
fn what_was_wanted_for_a_time_ends_with_it() {
    let bed = Bed::start("lease", &["--speed", "20"]);
    let mut place = place("lease", &bed, "{total: {hard-usd: \"5\"}}", "", "  small: {profile: small, serve-for: 8s}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    wait_until("its time is over and nothing is left", || {
        let status: Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
        status["deployments"][0]["status"] == "stopped" && bed.ledger()["alive"].as_u64() == Some(0)
    });
    bed.must_be_empty();
}

#[test]
fn where_the_market_has_nothing_it_is_waited_for_under_a_ceiling() {
    let bed = Bed::start("wait", &["--speed", "20", "--faults", "no-stock"]);
    let limits = "    limits: {search-retries: 0}\n";
    let mut place = place("wait", &bed, "{total: {hard-usd: \"5\"}}", limits, "  small: {profile: small}\n");
    place.serve(&[]);
    let up = place.charter(&["up"]);
    assert!(!up.status.success() && told(&up).contains("no_offer"), "{}", told(&up));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| place.charter(&["up", "--wait", "--max-price", "0.125"]));
        wait_until("it says that it waits", || place.ok(&["status", "small"]).contains("no machine yet"));
        bed.set_faults("");
        let up = waiting.join().expect("a thread");
        assert!(up.status.success(), "{}", told(&up));
    });
    let ledger = bed.ledger();
    assert!(ledger["machines"][0]["price_usd_micros_per_hour"].as_u64() <= Some(125_000), "{ledger}");
    place.ok(&["down", "small"]);
    bed.must_be_empty();
}

#[test]
fn the_replaced_systems_launch_status_extend_and_destroy() {
    let bed = Bed::start("admin", &["--speed", "20"]);
    let mut place = place("admin", &bed, "{total: {hard-usd: \"5\"}}", "", "  other: {profile: small, served-name: other}\n");
    place.serve(&[]);
    let (server, key) = (control(&place), place.key());
    let call = |method: &str, path: &str, body: &str| {
        let answer = request(server, method, &format!("/api/admin/vllm/{path}"), &key, body.as_bytes()).expect("an answer");
        (answer.status, serde_json::from_str::<Value>(&answer.body).unwrap_or_default())
    };
    assert_eq!(call("GET", "status", "").1["status"], "IDLE");
    assert_eq!(call("POST", "extend", r#"{"additional_minutes":15}"#).0, 409);
    assert_eq!(call("POST", "launch", r#"{"auto_switch":false}"#).0, 422);
    assert_eq!(call("POST", "launch", r#"{"profile":"nope"}"#).0, 404);
    let (status, launched) = call("POST", "launch", r#"{"keep_alive_minutes":45,"auto_switch":true}"#);
    assert_eq!((status, launched["status"].as_str()), (202, Some("LAUNCHING")), "{launched}");
    wait_until("it is ready", || call("GET", "status", "").1["status"] == "READY");
    wait_until("it answers", || chat(place.gateway(), &key, "small", 2, false).is_ok_and(|a| a.status == 200));
    let seen = call("GET", "status", "").1;
    assert_eq!((seen["provider"].as_str(), seen["health_failures"].as_u64()), (Some("vast"), Some(0)), "{seen}");
    assert!(seen["price_per_hour"].as_f64().is_some_and(|p| p > 0.05) && seen["estimated_cost"].is_number(), "{seen}");
    let before = seen["keep_alive_remaining_minutes"].as_i64().expect("minutes");
    let extended = call("POST", "extend", r#"{"additional_minutes":15}"#).1;
    assert!(extended["keep_alive_remaining_minutes"].as_i64() >= Some(before + 14), "{before} {extended}");
    assert_eq!(call("GET", "status?deployment=nope", "").0, 404);
    place.ok(&["up", "other"]);
    assert_eq!(call("GET", "status", "").0, 409, "two run, and none is named");
    assert_eq!(call("POST", "destroy?deployment=small", "").0, 202);
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}
