//! The dashboard in a real browser: everything that a person does there, on the test bed.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod support;

use std::path::PathBuf;
use std::process::Command;
use support::market::Bed;
use support::{Place, request};

const FLOWS: &str = include_str!("support/browser.py");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root")
}

fn configure(place: &Place, bed: &Bed) {
    bed.configure(
        place,
        "  demo:\n    model: demo/other-7B\n    served-name: demo\n    gpu: {min-vram: 24GB, max-usd-per-hour: 0.30}\n    disk: 40GB\n    limits: {bake: 2s}\n    engine: {options: {max-model-len: 8192}, env: {STANDIN_START_MS: \"900\"}}\n",
        "  small: {profile: small}\n",
    );
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("the file");
    let limited = text.replacen("server:\n", "server:\n  budgets: {month: {target-usd: 0.2, alert-usd: 0.9, hard-usd: 1}}\n", 1);
    std::fs::write(file, limited).expect("written");
}

/// Somebody rents an instance by hand: it carries a label, and no tag of ours.
fn stray(bed: &Bed) -> String {
    let order = br#"{"client_id":"me","image":"vllm/vllm-openai:latest","disk":20,"label":"<img src=x onerror=alert(2)>","runtype":"ssh"}"#;
    let search =
        request(bed.address, "PUT", "/api/v0/search/asks/", &bed.key, br#"{"q":{"rentable":{"eq":true}}}"#).expect("offers");
    let offers: serde_json::Value = serde_json::from_str(&search.body).expect("JSON");
    let offer = offers["offers"][0]["id"].as_i64().unwrap_or_else(|| panic!("an offer: {offers}"));
    let made = request(bed.address, "PUT", &format!("/api/v0/asks/{offer}/"), &bed.key, order).expect("an order");
    let made: serde_json::Value = serde_json::from_str(&made.body).expect("JSON");
    made["new_contract"].as_i64().unwrap_or_else(|| panic!("an instance: {made}")).to_string()
}

#[test]
fn what_a_person_does_in_the_dashboard_is_done_and_seen_live() {
    let bed = Bed::start("browser", &[]);
    let stray = stray(&bed);
    let mut place = Place::bare("browser");
    configure(&place, &bed);
    place.serve(&[]);
    let shots = root().join("target/screens");
    std::fs::create_dir_all(&shots).expect("a folder for pictures");
    let script = place.folder.join("browser.py");
    std::fs::write(&script, FLOWS).expect("written");
    let python = root().join("target/clients/playwright-1.65.2/bin/python");
    let axe = root().join("target/clients/axe-core-4.14.1/package/axe.min.js");
    assert!(python.exists() && axe.exists(), "`cargo xtask test` installs what this test needs");
    let chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let chromium = chromium.into_iter().find(|p| PathBuf::from(p).exists()).expect("a Chromium (Debian package chromium)");
    let done = Command::new(python)
        .arg(script)
        .env("URL", format!("http://127.0.0.1:{}", place.port_of_server()))
        .env("KEY", place.key())
        .env("BED", bed.url())
        .env("BED_KEY", &bed.key)
        .env("FILE", place.folder.join("charter.yaml"))
        .env("SHOTS", &shots)
        .env("AXE", axe)
        .env("STRAY", stray)
        .env("CHROMIUM", chromium)
        .output()
        .expect("python");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && out.contains("all is well"), "{out}\n{err}\n{}", place.server_log());
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}
