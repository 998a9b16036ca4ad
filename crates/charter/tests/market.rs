//! Renting: from a search to an answer and back to an empty account, on the marketplace of the test bed.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use support::market::Bed;
use support::{Place, chat, request, wait_until};

#[test]
fn a_model_is_rented_answers_and_leaves_an_empty_account() {
    let bed = Bed::start("rent", &["--rate-limits", "--speed", "20"]);
    let mut place = Place::bare("rent");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let answer = chat(place.gateway(), &place.key(), "small", 4, true).expect("an answer");
    assert!(answer.status == 200 && answer.body.contains("data: [DONE]"), "{answer:?}");
    let status: serde_json::Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
    let replica = &status["deployments"][0]["replicas"][0];
    assert_eq!((replica["provider"].as_str(), replica["gpu"].as_str()), (Some("vast"), Some("1x RTX 3090")), "{status}");
    assert!(replica["price_usd_micros_per_hour"].as_i64().is_some_and(|p| (1..=150_000).contains(&p)), "{status}");
    let ledger = bed.ledger();
    assert_eq!((ledger["created"].as_u64(), ledger["alive"].as_u64()), (Some(1), Some(1)), "{ledger}");
    place.ok(&["down", "small"]);
    bed.must_be_empty();
    assert!(!place.server_log().contains("testbed-secret") && !place.server_log().contains(&bed.key), "secrets of the provider");
}

#[test]
fn a_rented_machine_behind_a_real_openssh_server_is_used_and_ended_like_any_other() {
    assert_eq!(support::user(), "root", "rented machines are entered as root, and OpenSSH lets in nobody else here: run as root");
    let sshd = support::sshd().display().to_string();
    let bed = Bed::start("openssh", &["--speed", "20", "--sshd", &sshd]);
    let mut place = Place::bare("openssh");
    bed.configure(&place, "    limits: {ssh: 2s}\n", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    assert_eq!(chat(place.gateway(), &place.key(), "small", 3, true).expect("an answer").status, 200);
    assert!(place.ok(&["ssh", "small", "--", "nvidia-smi"]).contains("RTX 3090"));
    assert!(place.ok(&["logs", "small"]).contains("vLLM API server version"));
    bed.set_faults("ssh-refused*1");
    place.ok(&["down", "small"]);
    place.ok(&["up"]);
    place.ok(&["down", "small"]);
    bed.must_be_empty();
}

/// Faults that cost at most one attempt, with what the time line says of them.
const FAULTS: &[(&str, &str)] = &[
    ("offer-gone", "refused: the offer is gone"),
    ("no-stock", ""),
    ("rate-limit*3", ""),
    ("server-error*2", ""),
    ("html*2", ""),
    ("cut-order", "looking for the machine by its tag"),
    ("lost-order", "looking for the machine by its tag"),
    ("late-list", ""),
    ("short-list", ""),
    ("cdi", "failed (host_fault)"),
    ("no-ports", "failed (ssh_timeout)"),
    ("private-address", "failed (ssh_timeout)"),
    ("ssh-refused", "failed (ssh_timeout)"),
    ("stuck-loading", "failed (boot_stalled)"),
    ("wrong-cuda", "failed (driver_mismatch)"),
    ("first-prompt", "failed ("),
    ("price-raised", "failed (price_raised)"),
    ("offline", ""),
    ("label-lost", ""),
    ("cut-order*1,late-list*1", "looking for the machine by its tag"),
    ("cut-order*1,empty-list*1", "looking for the machine by its tag"),
    ("lost-order*1,short-list*2", "looking for the machine by its tag"),
    ("cut-order*1,label-lost*1", "looking for the machine by its tag"),
];

#[test]
fn whatever_the_market_does_the_model_answers_and_the_account_is_empty_afterwards() {
    let bed = Bed::start("faults", &["--speed", "20"]);
    let mut place = Place::bare("faults");
    bed.configure(
        &place,
        "    limits: {stall: 2s, boot: 20s, ssh: 2s, load: 10s, attempts: 4, failed-restarts: 1}\n",
        "  small: {profile: small}\n",
    );
    place.serve(&[]);
    for (fault, says) in FAULTS {
        let once = if fault.contains('*') { (*fault).to_owned() } else { format!("{fault}*1") };
        bed.set_faults(&once);
        let up = place.charter(&["up"]);
        let told = String::from_utf8_lossy(&up.stderr).into_owned();
        println!("--- {fault}\n{told}");
        assert!(up.status.success(), "{fault}: {told}\n{}", bed.ledger());
        assert!(told.contains(says), "{fault}: {told}");
        assert_eq!(chat(place.gateway(), &place.key(), "small", 2, false).expect("an answer").status, 200, "{fault}");
        bed.set_faults("");
        place.ok(&["down", "small"]);
        bed.must_be_empty();
    }
    // What no other host cures ends at once, with its class, and pays for nothing any more.
    bed.set_faults("out-of-memory*1");
    let up = place.charter(&["up"]);
    let told = String::from_utf8_lossy(&up.stderr).into_owned();
    assert!(!up.status.success() && told.contains("did not start: cuda_oom"), "{told}");
    wait_until("the account is empty", || bed.ledger()["alive"].as_u64() == Some(0));
}

#[test]
fn waiting_waits_for_what_was_asked_and_a_made_up_name_takes_nobodys_place() {
    let bed = Bed::start("sync", &["--speed", "20"]);
    let mut place = Place::bare("sync");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let server = std::fs::read_to_string(place.data().join("server.json")).expect("a server");
    let server: serde_json::Value = serde_json::from_str(&server).expect("JSON");
    let control = server["url"].as_str().and_then(|u| u.strip_prefix("http://")?.parse().ok()).expect("an address");
    let key = place.key();
    let sync = |body: &str| request(control, "POST", "/deploy/cloud-model/sync", &key, body.as_bytes()).expect("an answer");
    // The same name with another served name: what runs under it is not ended for that.
    let refused = sync(r#"{"profile":"small","served_name":"other"}"#);
    assert!(refused.status == 409 && refused.body.contains("A0420"), "{refused:?}");
    assert_eq!(chat(place.gateway(), &key, "small", 1, false).expect("an answer").status, 200, "it runs on");
    // A changed generation is waited for, and the old one's answer is not taken for it.
    let answer = sync(r#"{"profile":"small","backend_name":"small","served_name":"small2"}"#);
    assert!(answer.status == 200 && answer.body.contains("small2"), "{answer:?}");
    assert_eq!(chat(place.gateway(), &key, "small2", 1, false).expect("an answer").status, 200, "said ready, and is");
    let first = place.charter(&["deploy", "orga/llama-7B", "--detach"]);
    assert!(first.status.success(), "{first:?}");
    let second = place.charter(&["deploy", "orgb/llama-7B", "--detach"]);
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && told.contains("A0420") && told.contains("--name"), "{told}");
    place.ok(&["deploy", "orgb/llama-7B", "--name", "another", "--detach"]);
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}

#[test]
fn two_that_share_a_served_name_are_found_before_one_of_them_is_rented() {
    let bed = Bed::start("shared-name", &["--speed", "20"]);
    let mut place = Place::bare("shared-name");
    bed.configure(&place, "", "  a: {profile: small}\n  b: {profile: small}\n");
    place.serve(&[]);
    for command in ["up", "plan"] {
        let output = place.charter(&[command]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains("G0003") && told.contains("`a` and `b`"), "{told}");
    }
    assert_eq!(bed.ledger()["created"].as_u64(), Some(0));
    place.ok(&["up", "a"]);
    place.ok(&["down", "a"]);
    bed.must_be_empty();
}

#[test]
fn a_machine_that_is_taken_away_is_replaced() {
    let bed = Bed::start("outbid", &["--speed", "20", "--faults", "outbid*1"]);
    let mut place = Place::bare("outbid");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let (gateway, key) = (place.gateway(), place.key());
    wait_until("another machine answers", || {
        let answers = chat(gateway, &key, "small", 1, false).is_ok_and(|a| a.status == 200);
        answers && bed.ledger()["created"].as_u64() == Some(2)
    });
    let ledger = bed.ledger();
    assert_eq!(
        (ledger["alive"].as_u64(), ledger["twice"].as_u64()),
        (Some(1), Some(0)),
        "the lost one is given back, disk and all: {ledger}"
    );
    place.ok(&["down", "small"]);
    bed.must_be_empty();
}

#[test]
fn the_paths_of_the_replaced_system_take_the_same_fields_waiting_or_not() {
    let bed = Bed::start("alias", &["--speed", "20"]);
    let mut place = Place::bare("alias");
    bed.configure(&place, "", "  other: {profile: small}\n");
    place.serve(&[]);
    let key = place.key();
    let control = support::field(&std::fs::read_to_string(place.data().join("server.json")).expect("file"), "url");
    let control = control.trim_start_matches("http://").parse().expect("address");
    let post = |path: &str, body: &str| request(control, "POST", path, &key, body.as_bytes()).expect("an answer");
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let offers = json(&place.ok(&["--json", "offers"]));
    let rows = offers["offers"].as_array().expect("offers");
    // The exact offer, and not the best one, both ways.
    for (path, row, name) in [("/deploy/cloud-model/sync", &rows[3], "one"), ("/deploy/cloud-model", &rows[5], "two")] {
        let body = format!(
            r#"{{"profile":"small","offer_id":{},"backend_name":"{name}","served_name":"{name}","max_price":0.3}}"#,
            row["id"]
        );
        let answer = post(path, &body);
        let expected = if path.ends_with("sync") { 200 } else { 202 };
        assert_eq!(answer.status, expected, "{answer:?}");
        assert!(
            json(&answer.body)["session_id"].as_str().is_some_and(|s| s.starts_with("dep_") && s.ends_with(".1")),
            "{answer:?}"
        );
        wait_until("it answers", || chat(place.gateway(), &key, name, 1, false).is_ok_and(|a| a.status == 200));
        let machines = bed.ledger()["machines"].as_array().expect("machines").clone();
        assert_eq!(machines.last().expect("one")["machine_id"].to_string(), row["host"].as_str().expect("host"), "{path}");
    }
    let running = json(&request(control, "GET", "/deploy/cloud-model/running", &key, b"").expect("an answer").body);
    assert_eq!(running["sessions"].as_array().map(Vec::len), Some(2), "{running}");
    assert!(running["sessions"][0]["price_per_hour"].as_f64().is_some_and(|p| p > 0.0), "{running}");
    for (body, status) in [("{}", 422), (r#"{"profile":"nobody"}"#, 404), (r#"{"model":"a/b-7B","ofer_id":1}"#, 422), ("[", 400)]
    {
        let answer = post("/deploy/cloud-model", body);
        assert!(answer.status == status && answer.head.contains("application/problem+json"), "{body}: {answer:?}");
    }
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}

#[test]
fn a_second_instance_of_a_tag_is_ended_with_the_first() {
    let bed = Bed::start("twin", &["--speed", "20"]);
    let mut place = Place::bare("twin");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    // Somebody repeats the order: a client that tries again, or an edge.
    let label = bed.ledger()["machines"][0]["label"].as_str().expect("label").to_owned();
    let offers: serde_json::Value = serde_json::from_str(&place.ok(&["--json", "offers"])).expect("JSON");
    let path = format!("/api/v0/asks/{}/", offers["offers"][4]["id"].as_str().expect("an offer"));
    let order = format!(r#"{{"client_id":"me","image":"x","disk":20,"label":"{label}","runtype":"ssh_proxy"}}"#);
    assert_eq!(request(bed.address, "PUT", &path, &bed.key, order.as_bytes()).expect("an answer").status, 200);
    assert_eq!((bed.ledger()["alive"].as_u64(), bed.ledger()["twice"].as_u64()), (Some(2), Some(1)));
    place.ok(&["down", "small"]);
    assert_eq!(bed.ledger()["alive"].as_u64(), Some(0), "{}", bed.ledger());
}

#[test]
fn the_key_of_another_account_proves_nothing() {
    let (bed, other) = (Bed::start("account", &["--speed", "20"]), Bed::start("other", &["--speed", "20", "--seed", "2"]));
    let mut place = Place::bare("account");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    place.kill_server();
    other.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    let down = place.charter(&["down", "small"]);
    let said = String::from_utf8_lossy(&down.stderr).into_owned();
    assert!(said.contains("error[A0415]") && said.contains("was rented by account"), "{said}");
    assert_eq!(bed.ledger()["alive"].as_u64(), Some(1), "it is not gone because another account does not know it");
    place.stop_server();
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["down", "small"]);
    bed.must_be_empty();
}

#[test]
fn a_host_that_failed_is_remembered_and_not_taken_first_again() {
    let bed = Bed::start("memory", &["--speed", "20"]);
    let mut place = Place::bare("memory");
    bed.configure(&place, "", "  a: {profile: small, served-name: a}\n  b: {profile: small, served-name: b}\n");
    place.serve(&[]);
    assert_eq!(place.ok(&["hosts"]), "no host has failed or was measured so far\n");
    bed.set_faults("cdi*1");
    place.ok(&["up", "a"]);
    place.ok(&["down", "a"]);
    place.kill_server();
    place.serve(&[]);
    place.ok(&["up", "b"]);
    let ledger = bed.ledger();
    let hosts: Vec<u64> =
        ledger["machines"].as_array().expect("machines").iter().filter_map(|m| m["machine_id"].as_u64()).collect();
    assert!(hosts.len() == 3 && hosts[0] != hosts[1] && hosts[0] != hosts[2], "the first one failed: {hosts:?}");
    // 14 GB of weights in the 14 seconds that the engine's log tells.
    wait_until("a host's speed is remembered", || place.ok(&["hosts"]).contains("8000 Mb/s"));
    let told = place.ok(&["hosts"]);
    assert!(told.contains(&hosts[0].to_string()) && told.contains("host_fault x1") && told.contains("taken last"), "{told}");
    place.ok(&["down", "b"]);
    bed.must_be_empty();
}

#[test]
fn a_price_that_is_raised_after_the_order_is_not_paid() {
    let bed = Bed::start("raised", &["--speed", "20", "--faults", "price-raised*1"]);
    let mut place = Place::bare("raised");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    let offers: serde_json::Value = serde_json::from_str(&place.ok(&["--json", "offers"])).expect("JSON");
    let up = place.charter(&["up", "--offer", offers["offers"][0]["id"].as_str().expect("an offer")]);
    let said = String::from_utf8_lossy(&up.stderr).into_owned();
    assert!(!up.status.success() && said.contains("price_raised"), "{said}");
    wait_until("the account is empty", || bed.ledger()["alive"].as_u64() == Some(0));
}

#[test]
fn a_price_that_is_raised_while_it_runs_is_seen_and_another_machine_is_taken() {
    let bed = Bed::start("dearer", &["--speed", "20", "--faults", "raised-later*1"]);
    let mut place = Place::bare("dearer");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve_with(&[], &[("VASTAI_HEALTH_CHECK_INTERVAL_SECONDS", "1")]);
    place.ok(&["up"]);
    wait_until("another machine answers", || {
        let ledger = bed.ledger();
        (ledger["created"].as_u64(), ledger["alive"].as_u64()) == (Some(2), Some(1))
            && chat(place.gateway(), &place.key(), "small", 1, false).is_ok_and(|a| a.status == 200)
    });
    place.ok(&["down", "small"]);
    bed.must_be_empty();
}

#[test]
fn a_machine_whose_control_plane_never_comes_back_ends_itself_and_one_that_is_looked_after_stays() {
    let bed = Bed::start("silence", &["--speed", "20"]);
    let mut place = Place::bare("silence");
    bed.configure(&place, "", "  small: {profile: small}\n");
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("configuration");
    std::fs::write(&file, text.replace("server:\n", "server:\n  dead-man-switch: 5s\n")).expect("configuration");
    let wrong = place.charter(&["--config", "charter.yaml", "serve", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("C0015"), "a minute between two looks, and five seconds to live: {said}");
    place.serve_with(&[], &[("VASTAI_HEALTH_CHECK_INTERVAL_SECONDS", "1")]);
    place.ok(&["up"]);
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(12) {
        assert_eq!(bed.ledger()["alive"].as_u64(), Some(1), "it is looked after");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    place.kill_server();
    wait_until("nobody comes back, and it ends itself", || bed.ledger()["alive"].as_u64() == Some(0));
    bed.must_be_empty();
}

#[test]
fn a_server_that_is_told_to_leaves_nothing_when_it_stops() {
    let bed = Bed::start("shutdown", &["--speed", "20"]);
    let mut place = Place::bare("shutdown");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve_with(&[], &[("VASTAI_AUTO_DESTROY_ON_SHUTDOWN", "true")]);
    place.ok(&["up"]);
    place.stop_server();
    bed.must_be_empty();
}

#[test]
fn what_nobody_asks_anything_is_ended_and_what_is_asked_stays() {
    let bed = Bed::start("idle", &["--speed", "20"]);
    let mut place = Place::bare("idle");
    bed.configure(&place, "    keep-alive: 3s\n", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let (gateway, key) = (place.gateway(), place.key());
    let status = |place: &Place| serde_json::from_str::<serde_json::Value>(&place.ok(&["--json", "status"])).expect("JSON");
    assert!(status(&place)["deployments"][0]["idle_destroy_at"].is_string(), "{}", status(&place));
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(7) {
        assert_eq!(chat(gateway, &key, "small", 1, false).expect("an answer").status, 200, "it is in use");
        // The pace of the requests is the input of this test, not a wait for something.
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    wait_until("the account is empty", || bed.ledger()["alive"].as_u64() == Some(0));
    wait_until("it is seen to be gone", || status(&place)["deployments"][0]["status"] == "stopped");
    bed.must_be_empty();
}
