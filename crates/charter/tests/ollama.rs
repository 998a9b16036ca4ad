//! Ollama as an engine, on recorded shapes: its model is fetched, loaded and served under another name, beside a vLLM on the same
//! machine; and what can go wrong is told.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use support::{Place, request, wait_until};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A profile for the stand-in beside the one of the other engine.
fn configure(place: &Place, model: &str, trouble: &str, deployments: &str) {
    place.configure("", deployments);
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("the file");
    let script = format!("{}/tests/support/ollama.py", env!("CARGO_MANIFEST_DIR"));
    let profile = format!(
        "  local:\n    model: {model}\n    served-name: talk\n    engine:\n      kind: ollama\n      source: installed\n      \
         command: [python3, {script}, serve]\n      options: {{max-model-len: 4096}}\n      env: {{STANDIN_TROUBLE: \"{trouble}\"}}\n    \
         limits: {{attempts: 1, failed-restarts: 1}}\ndeployments:\n"
    );
    std::fs::write(&file, text.replace("deployments:\n", &profile)).expect("written");
}

#[test]
fn a_model_of_ollama_is_fetched_loaded_and_served_beside_another_engine_on_one_machine() {
    let mut place = Place::new("ollama");
    let both = "  small: {profile: small, forward: {bind: 127.0.0.1, port: 0}}\n  talk: {profile: local, forward: {bind: 127.0.0.1, port: 0}}\n";
    configure(&place, "qwen3:8b", "", both);
    place.serve(&[]);
    let said = place.charter(&["up"]);
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success() && told.contains("download"), "{told}");
    let body = br#"{"model":"talk","messages":[{"role":"user","content":"hi"}]}"#;
    let answer = request(place.gateway(), "POST", "/v1/chat/completions", &place.key(), body).expect("an answer");
    assert!(answer.status == 200 && answer.body.contains("\"model\": \"qwen3:8b\""), "{answer:?}");
    let status = json(&place.ok(&["--json", "status"]));
    let of = |name: &str| status["deployments"].as_array().and_then(|all| all.iter().find(|d| d["name"] == name)).cloned();
    let (talk, small) = (of("talk").expect("talk"), of("small").expect("small"));
    assert_eq!(
        (&talk["engine"]["kind"], &talk["status"], &small["status"]),
        (&"ollama".into(), &"running".into(), &"running".into())
    );
    // Both engines of one machine have a port of their own here.
    for one in [&talk, &small] {
        let forward = one["replicas"][0]["forward"].as_str().expect("a port");
        let answer = request(forward.parse().expect("an address"), "GET", "/v1/models", "", b"").expect("an answer");
        assert!(answer.status == 200 || answer.status == 401, "{answer:?}");
    }
    place.ok(&["down", "--all"]);
    wait_until("nothing runs", || place.engines().is_empty());
}

#[test]
fn what_keeps_a_model_of_ollama_from_answering_is_told() {
    for (model, trouble, class) in
        [("qwen3:8b", "unknown", "model_not_found"), ("qwen3:8b", "full", "disk_full"), ("qwen3:8b", "load", "load_failed")]
    {
        let mut place = Place::new(&format!("ollama-{trouble}"));
        configure(&place, model, trouble, "  talk: {profile: local}\n");
        place.serve(&[]);
        let output = place.charter(&["up"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(class), "{trouble}: {said}");
        place.ok(&["down", "talk"]);
    }
    let mut place = Place::new("ollama-names");
    configure(&place, "evil.example/a/b", "", "  talk: {profile: local}\n");
    place.serve(&[]);
    let output = place.charter(&["up"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("no host that models are fetched from"), "{said}");
}
