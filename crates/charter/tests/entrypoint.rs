//! Engines that the image's own entrypoint runs: reached through a port of their host, without SSH.

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

/// A place whose marketplace runs images as they are.
fn place(name: &str, bed: &Bed, profile: &str) -> Place {
    let place = Place::bare(name);
    bed.configure(&place, profile, "  small: {profile: small}\n");
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("configuration");
    std::fs::write(&file, text.replace("kind: vast,", "kind: vast, launch: args,")).expect("configuration");
    place
}

/// The process that a container with this tag runs.
fn engine_of(tag: &str) -> u32 {
    let wanted = format!("CHARTER_TAG={tag}");
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let pids = processes.filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
    let has = |pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|v| v == wanted.as_bytes())
    };
    pids.into_iter().find(has).expect("its process")
}

#[test]
fn an_engine_is_reached_through_a_port_of_its_host_and_needs_its_key_there() {
    let bed = Bed::start("args", &["--rate-limits", "--speed", "20"]);
    let mut place = place("args", &bed, "    engine: {options: {max-model-len: 4096}, env: {STANDIN_START_MS: \"900\"}}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let answer = chat(place.gateway(), &place.key(), "small", 4, true).expect("an answer");
    assert!(answer.status == 200 && answer.body.contains("data: [DONE]"), "{answer:?}");
    let status: serde_json::Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
    let replica = &status["deployments"][0]["replicas"][0];
    assert!(replica["tunnel"].is_null() && replica["phase"] == "ready", "{status}");
    // Whoever else finds the port is turned away.
    let row =
        request(bed.address, "GET", &format!("/api/v0/instances/{}/", replica["instance"].as_str().expect("id")), &bed.key, b"");
    let row: serde_json::Value = serde_json::from_str(&row.expect("a row").body).expect("JSON");
    let row = &row["instances"];
    assert!(row["ssh_host"].is_null() && row["image_runtype"] == "args", "{row}");
    let port = row["ports"]["8000/tcp"][0]["HostPort"].as_str().and_then(|p| p.parse::<u16>().ok()).expect("a port");
    let engine = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(request(engine, "GET", "/v1/models", "guess", b"").expect("an answer").status, 401);
    // Its log comes from the marketplace; nobody can log in.
    let log = place.ok(&["logs", "small"]);
    assert!(log.contains("vLLM API server version") && log.contains("Application startup complete"), "{log}");
    let ssh = place.charter(&["ssh", "small", "--", "true"]);
    assert!(!ssh.status.success() && String::from_utf8_lossy(&ssh.stderr).contains("A0417"), "{ssh:?}");
    let forward = place.charter(&["forward", "small"]);
    assert!(!forward.status.success() && String::from_utf8_lossy(&forward.stderr).contains("A0417"), "{forward:?}");
    place.ok(&["down", "small"]);
    bed.must_be_empty();
    assert!(request(engine, "GET", "/v1/models", "guess", b"").is_err(), "the engine has ended with its container");
}

#[test]
fn what_goes_wrong_there_is_named_and_another_host_is_taken_or_none() {
    let bed = Bed::start("args-faults", &["--speed", "20"]);
    let limits = "    limits: {stall: 2s, boot: 20s, ssh: 2s, load: 10s, attempts: 4, failed-restarts: 1}\n";
    let mut place = place("args-faults", &bed, limits);
    place.serve(&[]);
    for (fault, says) in [
        ("no-ports", "failed (no_port)"),
        ("private-address", "failed (no_port)"),
        ("cdi", "failed (host_fault)"),
        ("wrong-cuda", "failed (driver_mismatch)"),
        ("first-prompt", "failed ("),
        ("cut-order", "looking for the machine by its tag"),
        ("label-lost", ""),
        ("cut-order*1,label-lost*1", "looking for the machine by its tag"),
    ] {
        let once = if fault.contains('*') { fault.to_owned() } else { format!("{fault}*1") };
        bed.set_faults(&once);
        let up = place.charter(&["up"]);
        let told = String::from_utf8_lossy(&up.stderr).into_owned();
        println!("--- {fault}\n{told}");
        assert!(up.status.success() && told.contains(says), "{fault}: {told}\n{}", bed.ledger());
        bed.set_faults("");
        place.ok(&["down", "small"]);
        bed.must_be_empty();
    }
    bed.set_faults("out-of-memory*1");
    let up = place.charter(&["up"]);
    let told = String::from_utf8_lossy(&up.stderr).into_owned();
    assert!(!up.status.success() && told.contains("did not start: cuda_oom"), "{told}");
    wait_until("the account is empty", || bed.ledger()["alive"].as_u64() == Some(0));
    assert!(place.ok(&["logs", "small"]).contains("CUDA out of memory"), "the log is kept");
}

#[test]
fn an_engine_that_ends_is_replaced_on_another_machine() {
    let bed = Bed::start("args-ended", &["--speed", "20"]);
    let mut place = place("args-ended", &bed, "");
    place.serve(&[]);
    place.ok(&["up"]);
    let ledger = bed.ledger();
    support::signal("KILL", engine_of(ledger["machines"][0]["label"].as_str().expect("a label")));
    let (gateway, key) = (place.gateway(), place.key());
    wait_until("another machine answers", || {
        let answers = chat(gateway, &key, "small", 1, false).is_ok_and(|a| a.status == 200);
        answers && bed.ledger()["created"].as_u64() == Some(2)
    });
    place.ok(&["down", "small"]);
    bed.must_be_empty();
}

#[test]
fn what_an_order_must_not_carry_is_refused_before_anything_is_rented() {
    let bed = Bed::start("args-secret", &[]);
    let mut place = place("args-secret", &bed, "    engine: {env: {HF_TOKEN: {env: MY_TOKEN}}}\n");
    place.serve_with(&[], &[("MY_TOKEN", "hf_secret_value")]);
    let up = place.charter(&["up"]);
    let told = String::from_utf8_lossy(&up.stderr).into_owned();
    assert!(!up.status.success() && told.contains("`HF_TOKEN` is a secret") && told.contains("launch: ssh"), "{told}");
    assert!(!told.contains("hf_secret_value"), "{told}");
    assert_eq!(bed.ledger()["created"].as_u64(), Some(0));
}
