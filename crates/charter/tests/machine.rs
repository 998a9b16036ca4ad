//! The main job on a machine behind a real OpenSSH server, with the engine stand-in: from a file to an answer and back.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use support::{Place, chat, request, wait_until};

const PROFILE: &str = "      options: {max-model-len: 4096, enforce-eager: true, dtype: half, seed: 7}\n      extra-args: [\"--max-num-seqs\", \"8\"]\n      lora: [{name: sql, path: org/sql}]\n      env: {STANDIN_START_MS: \"300\", MY_API_TOKEN: verysecretvalue, PLAIN: seen}\n    max-concurrent: 2\n";

#[test]
fn from_a_file_to_a_streamed_answer_and_to_nothing_left() {
    let mut place = Place::new("machine");
    place.configure(PROFILE, "  small: {profile: small, forward: {bind: 127.0.0.1, port: 0}}\n");
    place.serve(&[]);
    let (gateway, key) = (place.gateway(), place.key());
    let plan = place.charter(&["plan"]);
    assert_eq!(plan.status.code(), Some(2), "there is something to do");
    let said = place.charter(&["up"]);
    let talk = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{talk}");
    for part in ["chose `tower` of `lab`: no GPU", "holds `tower/", "engine started as process", "answers requests after"] {
        assert!(talk.contains(part), "{part}: {talk}");
    }
    assert_eq!(place.charter(&["plan"]).status.code(), Some(0), "nothing is left to do");
    let answer = chat(gateway, &key, "small", 3, true).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("x-charter-backend: rep_") && answer.head.contains("x-request-id: req_"), "{}", answer.head);
    assert_eq!(answer.body.matches("data: {").count(), 5, "{}", answer.body);
    assert!(answer.body.contains("data: [DONE]"));
    assert_eq!(chat(gateway, &key, "sql", 1, false).expect("an adapter").status, 200, "an adapter routes like a model");
    let models = request(gateway, "GET", "/v1/models", &key, b"").expect("models").body;
    assert!(models.contains(r#""id":"sql""#) && models.contains(r#""parent":"small""#), "{models}");
    let status: serde_json::Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
    let replica = &status["deployments"][0]["replicas"][0];
    assert_eq!((replica["phase"].as_str(), replica["tunnel"].as_str()), (Some("ready"), Some("up")), "{status}");
    wait_until("capacity and health are read", || {
        let status: serde_json::Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
        let replica = &status["deployments"][0]["replicas"][0];
        replica["capacity_tokens"] == 65536 && replica["health"] == 200
    });
    // The local port leads to the engine itself, which asks for a key that nobody but charter has.
    let forward = replica["forward"].as_str().expect("a local port").parse().expect("an address");
    assert_eq!(request(forward, "GET", "/v1/models", &key, b"").expect("the engine").status, 401);
    assert_eq!(request(forward, "GET", "/health", "", b"").expect("the engine").status, 200);
    let log = place.ok(&["logs", "small"]);
    assert!(log.contains("Application startup complete.") && log.contains("charter: starting the engine"), "{log}");
    assert_eq!(place.ok(&["ssh", "small", "--", "echo", "there"]), "there\n");
    assert!(place.ok(&["ssh", "small", "--print"]).starts_with("ssh -i "));
    secrets_stay_where_they_belong(&place);
    place.ok(&["down", "small"]);
    place.ok(&["down", "small"]);
    assert!(place.engines().is_empty(), "no engine process is left");
    assert!(!place.folder.join("home/.charter").exists(), "nothing is left on the machine");
    assert_eq!(chat(gateway, &key, "small", 1, false).expect("an answer").status, 404);
}

/// Neither the environment's secrets nor the engine's key stand in a process list, on the machine's disk, in our
/// database, in our log, or in what the log shows.
fn secrets_stay_where_they_belong(place: &Place) {
    let secret = b"verysecretvalue";
    for pid in place.engines() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!line.windows(secret.len()).any(|w| w == secret), "in the process list");
    }
    let mut folders = vec![place.folder.join("home/.charter")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                assert!(!bytes.windows(secret.len()).any(|w| w == secret), "on the machine: {}", entry.path().display());
            }
        }
    }
    assert!(!place.server_log().contains("verysecretvalue"), "in the server's log");
    assert!(!place.ok(&["--json", "status"]).contains("verysecretvalue"), "in the status");
}

#[test]
fn a_changed_file_becomes_a_running_instance_with_one_command() {
    let mut place = Place::new("change");
    let watched = "    limits: {bake: 1s}\n";
    place.configure(&format!("      options: {{max-model-len: 2048}}\n{watched}"), "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let before = place.engines();
    assert_eq!((before.len(), place.ok(&["up"]).is_empty()), (1, false));
    assert_eq!(place.engines(), before, "the same file changes nothing");
    place.configure(&format!("      options: {{max-model-len: 4096}}\n{watched}"), "  small: {profile: small}\n");
    let plan = String::from_utf8_lossy(&place.charter(&["plan"]).stdout).into_owned();
    assert!(plan.contains("engine.options.max-model-len: 2048 -> 4096 (engine-restart)"), "{plan}");
    place.ok(&["up"]);
    let log = place.ok(&["logs", "small"]);
    assert!(log.contains("Using max model len 4096"), "{log}");
    wait_until("the old one is gone", || place.engines().len() == 1);
    place.ok(&["down", "--all"]);
}

#[test]
fn a_failed_start_says_its_class_and_its_hint_and_leaves_nothing() {
    let mut place = Place::new("failed");
    place.configure("      options: {max-model-len: 99999}\n", "  small: {profile: small}\n");
    place.serve(&[]);
    let up = place.charter(&["--json", "up"]);
    let answer: serde_json::Value = serde_json::from_slice(&up.stdout).expect("one document");
    assert_eq!(up.status.code(), Some(1));
    assert_eq!(answer["error"]["code"], "E0002", "{answer}");
    assert_eq!(answer["error"]["message"], "`small` did not start: max_len_exceeds_model");
    assert!(answer["error"]["hint"].as_str().is_some_and(|h| h.starts_with("set `max-model-len: 32768`")), "{answer}");
    wait_until("the machine is given back", || !place.folder.join("home/.charter").exists());
    assert!(place.ok(&["logs", "small"]).contains("User-specified max_model_len"), "the log of a failed start is kept");
    let status: serde_json::Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
    let cause = &status["deployments"][0]["cause"];
    assert_eq!((cause["class"].as_str(), cause["action"].as_str()), (Some("max_len_exceeds_model"), Some("change-profile")));
}

#[test]
fn an_engine_that_dies_is_started_again() {
    let mut place = Place::new("dies");
    place.configure("", "  small: {profile: small}\n");
    place.serve_with(&[], &[("VASTAI_HEALTH_CHECK_INTERVAL_SECONDS", "1")]);
    place.ok(&["up"]);
    let first = place.engines();
    support::signal("KILL", first[0]);
    let (gateway, key) = (place.gateway(), place.key());
    wait_until("another engine answers", || {
        let now = place.engines();
        now.len() == 1 && now != first && chat(gateway, &key, "small", 1, false).is_ok_and(|a| a.status == 200)
    });
    place.ok(&["down", "small"]);
    assert!(place.engines().is_empty());
}

#[test]
fn up_starts_a_server_when_none_answers_and_stop_ends_it() {
    let place = Place::new("starts");
    place.configure("", "  small: {profile: small}\n");
    let none = place.charter(&["--json", "status"]);
    let answer: serde_json::Value = serde_json::from_slice(&none.stdout).expect("one document");
    assert_eq!((none.status.code(), answer["error"]["code"].as_str()), (Some(1), Some("A0001")));
    // The default ports may be somebody else's here.
    let port = support::free_port();
    let up = place.command(&["up"]).env("CHARTER_LISTEN", format!("127.0.0.1:{port}")).output().expect("up");
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert!(!place.server_log().contains("chk_"), "no key stands in the log");
    let stopped = place.ok(&["stop"]);
    assert!(stopped.contains("what it runs stays, for $0.00/h: small"), "{stopped}");
    assert_eq!(place.engines().len(), 1, "a stopping server keeps what it runs");
    let again = place.command(&["up"]).env("CHARTER_LISTEN", format!("127.0.0.1:{port}")).output().expect("up");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(place.engines().len(), 1, "the next one goes on with it");
    place.ok(&["down", "small"]);
    place.ok(&["stop"]);
}

#[test]
fn a_secret_that_is_missing_is_told_before_a_running_engine_is_touched() {
    let mut place = Place::new("secret");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let before = place.engines();
    place.configure("      env: {HF_TOKEN: {env: NOT_SET_ANYWHERE}}\n", "  small: {profile: small}\n");
    let up = place.charter(&["--json", "up"]);
    let answer: serde_json::Value = serde_json::from_slice(&up.stdout).expect("one document");
    assert_eq!(answer["error"]["code"], "C0010", "{answer}");
    assert!(answer["error"]["detail"].as_str().is_some_and(|d| d.contains("`NOT_SET_ANYWHERE`")), "{answer}");
    assert_eq!(place.engines(), before);
    place.ok(&["down", "small"]);
}

#[test]
fn a_missing_program_is_named_in_the_error() {
    let mut place = Place::new("program");
    place.configure("", "  small: {profile: small}\n");
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("file").replace(env!("CARGO_BIN_EXE_charter"), "/opt/no-such-program");
    std::fs::write(&file, text).expect("file");
    place.serve(&[]);
    let up = place.charter(&["--json", "up"]);
    let answer: serde_json::Value = serde_json::from_slice(&up.stdout).expect("one document");
    assert_eq!(answer["error"]["message"], "`small` did not start: env_broken", "{answer}");
    assert!(answer["error"]["detail"].as_str().is_some_and(|d| d.contains("/opt/no-such-program: not found")), "{answer}");
}
