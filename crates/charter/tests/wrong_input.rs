//! What a wrong input gets for an answer. Each message is a snapshot: it says what, why, and what to do.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::process::Output;
use support::{Place, chat, request};

/// The exit status and what was printed, without what differs from run to run.
fn shown(place: &Place, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = format!("exit {}\n{}{}", output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr));
    let mut all = all.replace(&place.folder.display().to_string(), "[FOLDER]").replace(&format!(":{}", place.port), ":[PORT]");
    all = all.replace(&format!("{}@", support::user()), "[USER]@");
    let before = all.clone();
    for word in before.split(|c: char| c.is_whitespace() || "`\"".contains(c)) {
        if word.starts_with("SHA256:") && word.len() == 50 {
            all = all.replace(word, "[FINGERPRINT]");
        }
    }
    // Times and process numbers of the talk are of no interest.
    all.lines().filter(|l| !l.starts_with("  ") || l.contains('|') || l.contains("-->")).collect::<Vec<_>>().join("\n")
}

fn yaml(place: &Place, text: &str) -> String {
    std::fs::write(place.folder.join("wrong.yaml"), text).expect("file");
    shown(place, &place.charter(&["up", "-f", "wrong.yaml"]))
}

#[test]
fn every_fault_of_a_file_is_shown_with_its_line_and_a_caret() {
    let place = Place::new("yaml");
    let text = "version: 1\nprofiles:\n  small:\n    model: demo/small\n    replica: 3\n    max-concurrent: many\n    gpu: {count: -1, min-vram: 24}\n    \
                engine: {version: [1], options: {max_model_len: 5}, env: {HF_TOKEN: {env: A, file: B}}}\n    limits: {boot: soon}\n    model: again\n";
    insta::assert_snapshot!("duplicate_key", yaml(&place, text));
    insta::assert_snapshot!(
        "unknown_keys_and_wrong_types",
        yaml(&place, &text.replace("    model: again\n", "deployments:\n  x: {profile: smal, replica: 2}\n"))
    );
    insta::assert_snapshot!("no_yaml", yaml(&place, "version: 1\nprofiles: {a: [}\n"));
    let secret = "version: 1\nserver:\n  providers:\n    v: {kind: machines, api-key: sk-verysecret}\n";
    insta::assert_snapshot!("literal_secret", yaml(&place, secret));
}

#[test]
fn files_that_are_not_there_or_no_text() {
    let place = Place::new("files");
    insta::assert_snapshot!("no_file", shown(&place, &place.charter(&["up"])));
    insta::assert_snapshot!("named_file", shown(&place, &place.charter(&["up", "-f", "nowhere.yaml"])));
    std::fs::write(place.folder.join("binary.yaml"), [0xff, 0xfe, 0x00]).expect("file");
    insta::assert_snapshot!("binary_file", shown(&place, &place.charter(&["up", "-f", "binary.yaml"])));
    insta::assert_snapshot!("no_server", shown(&place, &place.charter(&["status"])));
    insta::assert_snapshot!("wrong_usage_json", shown(&place, &place.charter(&["--json", "up", "--no-such-flag"])));
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let mut place = Place::new("serve");
    place.configure("", "  small: {profile: small}\n");
    let busy = format!("127.0.0.1:{}", place.port);
    let wrong = |env: (&str, &str), args: &[&str]| place.command(args).env(env.0, env.1).output().expect("serve");
    insta::assert_snapshot!("busy_port", shown(&place, &wrong(("A", "b"), &["serve", "--listen", &busy])));
    let value = wrong(("VASTAI_BUDGET_LIMIT", "fifteen"), &["serve", "--listen", "127.0.0.1:0"]);
    insta::assert_snapshot!("unreadable_environment", shown(&place, &value));
    insta::assert_snapshot!("open_address", shown(&place, &wrong(("A", "b"), &["serve", "--listen", "0.0.0.0:0"])));
    place.serve(&[]);
    let second = shown(&place, &place.charter(&["serve", "--listen", "127.0.0.1:0"]));
    let second: Vec<&str> = second.lines().filter(|l| !l.starts_with("process ")).collect();
    insta::assert_snapshot!("second_server", second.join("\n"));
}

#[test]
fn machines_that_cannot_be_used_say_why() {
    let mut place = Place::new("machines");
    let f = place.folder.display().to_string();
    let (port, user, free) = (place.port, support::user(), support::free_port());
    std::fs::write(place.folder.join("stranger"), std::fs::read(place.folder.join("host")).expect("key")).expect("key");
    let machine = |rest: &str| format!("        - {{name: tower, allow-no-gpu: true, {rest}}}\n");
    let good = format!("address: \"127.0.0.1:{port}\", user: {user}, key-file: {f}/client");
    let cases = [
        ("unreachable_host", machine(&format!("address: \"127.0.0.1:{free}\", user: {user}, key-file: {f}/client")), "demo/x"),
        (
            "wrong_user",
            machine(&format!("address: \"127.0.0.1:{port}\", user: nobody-of-that-name, key-file: {f}/client")),
            "demo/x",
        ),
        ("wrong_key", machine(&format!("address: \"127.0.0.1:{port}\", user: {user}, key-file: {f}/stranger")), "demo/x"),
        ("wrong_host_key", machine(&format!("{good}, host-key: \"SHA256:{}\"", "A".repeat(43))), "demo/x"),
        ("no_gpu", format!("        - {{name: tower, {good}}}\n"), "demo/x"),
        ("does_not_fit", format!("        - {{name: tower, {good}}}\n"), "demo/model-70B"),
    ];
    // A machine with one card, as far as anybody can tell from `nvidia-smi`.
    let smi = "#!/bin/sh\necho '0, 24576, 10, 8.6, 535.104.05, NVIDIA GeForce RTX 3090'\n";
    for (name, machine, model) in cases {
        let bin = place.folder.join("home/.bin");
        std::fs::create_dir_all(&bin).expect("folder");
        if name == "does_not_fit" {
            std::fs::write(bin.join("nvidia-smi"), smi).expect("card");
            std::process::Command::new("chmod").arg("+x").arg(bin.join("nvidia-smi")).status().expect("chmod");
            place.path(&bin);
        }
        let text = format!(
            "version: 1\nserver:\n  providers:\n    lab:\n      kind: machines\n      machines:\n{machine}profiles:\n  p: {{model: {model}, limits: {{search-retries: 0}}, engine: {{source: installed, command: [x]}}}}\ndeployments:\n  {name}: {{profile: p}}\n"
        );
        std::fs::write(place.folder.join("charter.yaml"), text).expect("file");
        place.serve(&[]);
        let answer = shown(&place, &place.charter(&["up"])).replace(&format!(":{free}"), ":[FREE]");
        place.stop_server();
        insta::assert_snapshot!(name, answer);
    }
}

#[test]
fn requests_that_cannot_be_answered_say_why() {
    let mut place = Place::new("requests");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    let (gateway, key) = (place.gateway(), place.key());
    let unknown = chat(gateway, &key, "nobody", 1, false).expect("an answer");
    insta::assert_snapshot!("unknown_served_name", format!("{} {}", unknown.status, unknown.body));
    let big = request(gateway, "POST", "/v1/chat/completions", &key, &vec![b'x'; 50 * 1024 * 1024]).expect("an answer");
    insta::assert_snapshot!("body_of_50_mb", format!("{} {}", big.status, big.body));
    insta::assert_snapshot!("unknown_deployment", shown(&place, &place.charter(&["down", "nobody"])));
    insta::assert_snapshot!("deploy_without_provider", {
        let _ = place.ok(&["status"]);
        shown(&place, &place.charter(&["deploy", "demo/x", "--provider", "nowhere"]))
    });
    let wrong = place.command(&["status"]).env("CHARTER_KEY", "chk_wrong").output().expect("status");
    insta::assert_snapshot!("wrong_key_of_the_api", shown(&place, &wrong));
}

#[test]
fn a_market_that_gives_nothing_says_why() {
    let bed = support::market::Bed::start("wrong", &["--speed", "20"]);
    let poor = support::market::Bed::start("poor", &["--balance", "0"]);
    let quick = "    limits: {search-retries: 0, attempts: 1}\n";
    // Name, account, what the profile adds, the limit, and what the market does.
    let cases: Vec<(&str, &support::market::Bed, String, Option<&str>, &str)> = vec![
        ("wrong_provider_key", &bed, quick.to_owned(), None, ""),
        ("no_credit", &poor, quick.to_owned(), None, ""),
        ("no_offer", &bed, format!("{quick}    min-reliability: 1.0\n"), None, ""),
        ("budget_zero", &bed, quick.to_owned(), Some("0"), ""),
        ("offer_gone", &bed, quick.to_owned(), None, "offer-gone"),
    ];
    for (name, account, profile, limit, faults) in cases {
        let mut place = Place::bare(name);
        account.configure(&place, &profile, &format!("  {name}: {{profile: small}}\n"));
        if name == "wrong_provider_key" {
            std::fs::write(place.folder.join("vast.key"), "tb_wrong").expect("key");
        }
        account.set_faults(faults);
        let env: Vec<(&str, &str)> = limit.map(|l| ("VASTAI_BUDGET_LIMIT", l)).into_iter().collect();
        place.serve_with(&[], &env);
        let answer = shown(&place, &place.charter(&["up"]));
        assert_eq!(account.ledger()["created"].as_u64(), Some(0), "{name}: nothing was rented");
        insta::assert_snapshot!(name, answer);
    }
    let place = Place::bare("no-key");
    bed.configure(&place, "", "  small: {profile: small}\n");
    std::fs::remove_file(place.folder.join("vast.key")).expect("key");
    insta::assert_snapshot!("no_provider_key", shown(&place, &place.charter(&["-q", "serve", "--listen", "127.0.0.1:0"])));
}
