//! Orphans, strangers and the last resort: `sweep` and `panic`, with a server and without.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use serde_json::{Value, json};
use support::market::Bed;
use support::{Place, request, wait_until};

/// Rents something by hand, as another program or a person with the account's key would.
fn rent(bed: &Bed, label: &str) -> String {
    let query = json!({"limit": 5, "num_gpus": {"eq": 1}, "order": [["dph_total", "asc"]]}).to_string();
    let found = request(bed.address, "POST", "/api/v0/bundles/", &bed.key, query.as_bytes()).expect("offers");
    let found: Value = serde_json::from_str(&found.body).expect("JSON");
    let ask = found["offers"][0]["id"].as_u64().expect("an offer");
    let order =
        json!({"image": "x/y:z", "disk": 10, "label": label, "runtype": "ssh_direc ssh_proxy", "onstart": "true", "env": {}});
    let made =
        request(bed.address, "PUT", &format!("/api/v0/asks/{ask}/"), &bed.key, order.to_string().as_bytes()).expect("a contract");
    let made: Value = serde_json::from_str(&made.body).expect("JSON");
    made["new_contract"].as_u64().expect("an id").to_string()
}

fn alive(bed: &Bed) -> Vec<String> {
    let ledger = bed.ledger();
    let machines = ledger["machines"].as_array().expect("machines").clone();
    machines.iter().filter(|m| m["alive"] == true).map(|m| m["id"].to_string()).collect()
}

/// What belongs how, by id.
fn kinds(json: &str) -> Vec<(String, String)> {
    let json: Value = serde_json::from_str(json).expect("JSON");
    let text = |m: &Value, key: &str| m[key].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> =
        json["machines"].as_array().expect("machines").iter().map(|m| (text(m, "id"), text(m, "belongs"))).collect();
    all.sort();
    all
}

#[test]
fn a_sweep_tells_ours_from_others_and_ends_only_what_is_ours_and_held_by_nobody() {
    let bed = Bed::start("sweep", &["--speed", "20"]);
    let mut place = Place::bare("sweep");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let own = alive(&bed);
    let installation = {
        let ledger = bed.ledger();
        ledger["machines"][0]["label"].as_str().and_then(|l| l.split('.').nth(1)).expect("a tag").to_owned()
    };
    let (foreign, unclear) = (rent(&bed, "charter.zzzzzzzz.aa.1"), rent(&bed, "my own box"));
    let config = place.folder.join("charter.yaml").display().to_string();
    let sweep = |place: &Place, more: &[&str]| {
        let mut args = vec!["--config", config.as_str(), "--json", "sweep"];
        args.extend(more);
        let output = place.charter(&args);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = sweep(&place, &[]);
    assert_eq!(code, Some(0), "{said}");
    let expected = [(own[0].clone(), "in-use"), (foreign.clone(), "foreign"), (unclear.clone(), "unclear")];
    assert_eq!(kinds(&said), expected.clone().map(|(id, kind)| (id, kind.to_owned())));
    let stray = rent(&bed, &format!("charter.{installation}.lost.3"));
    place.kill_server();
    let (code, said) = sweep(&place, &[]);
    assert_eq!(code, Some(2), "there is something to do, and it is not done: {said}");
    assert!(kinds(&said).contains(&(stray.clone(), "stray".to_owned())) && alive(&bed).contains(&stray), "{said}");
    let (code, said) = sweep(&place, &["--execute"]);
    assert_eq!(code, Some(0), "{said}");
    let mut left = alive(&bed);
    left.sort();
    assert_eq!(left, [own[0].clone(), foreign, unclear], "nothing but the stray was ended");
    place.serve(&[]);
    place.ok(&["down", "small"]);
}

#[test]
fn panic_ends_everything_of_ours_and_nothing_else_with_a_server_and_without() {
    let bed = Bed::start("panic", &["--speed", "20"]);
    let mut place = Place::bare("panic");
    bed.configure(&place, "", "  a: {profile: small, served-name: a}\n  b: {profile: small, served-name: b}\n");
    let config = place.folder.join("charter.yaml").display().to_string();
    place.serve(&[]);
    place.ok(&["up"]);
    let others = [rent(&bed, "charter.zzzzzzzz.aa.1"), rent(&bed, "my own box")];
    let receipt: Value = serde_json::from_str(&place.ok(&["--config", &config, "--json", "panic"])).expect("JSON");
    // The server may have been quicker with one of them.
    assert!(receipt["server_told"] == true && receipt["left"] == json!([]), "{receipt}");
    assert_eq!(alive(&bed), others, "{receipt}");
    let file = receipt["receipt"].as_str().expect("a file");
    assert!(std::fs::read_to_string(file).expect("the receipt").contains("charter.panic/1"));
    wait_until("the server has seen it too", || {
        let status: Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
        status["deployments"].as_array().is_some_and(|all| all.iter().all(|d| d["status"] == "stopped"))
    });
    place.ok(&["up"]);
    place.kill_server();
    let receipt: Value = serde_json::from_str(&place.ok(&["--config", &config, "--json", "panic"])).expect("JSON");
    assert_eq!(
        (receipt["ended"].as_array().map(Vec::len), receipt["server_told"].as_bool()),
        (Some(2), Some(false)),
        "{receipt}"
    );
    assert_eq!(alive(&bed), others);
    let created = bed.ledger()["created"].clone();
    place.serve(&[]);
    wait_until("the next server gives up what is gone", || {
        let status: Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
        status["deployments"].as_array().is_some_and(|all| all.iter().all(|d| d["status"] == "stopped"))
    });
    assert_eq!((bed.ledger()["created"].clone(), alive(&bed)), (created, others.to_vec()), "nothing was rented anew");
}

#[test]
fn without_records_nothing_is_asked() {
    let place = Place::bare("records");
    for command in ["sweep", "panic"] {
        let output = place.charter(&[command]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && told.contains("D0004"), "{told}");
    }
}
