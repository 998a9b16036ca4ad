//! Both official Python clients on every path: plain, by effort, in steps, along a chain to hosted APIs, in both languages, streams
//! and not, with tools, images and errors. The hosted APIs are stand-ins that are strict about what they take.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod support;

use charter_testbed::hosted::{Fault, HostedThread};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use support::{Place, wait_until};

const OPENAI: &str = include_str!("support/with_openai.py");
const ANTHROPIC: &str = include_str!("support/with_anthropic.py");

/// One stream, which breaks or does not.
const BROKEN_OPENAI: &str = r#"
import os, openai
c = openai.OpenAI(base_url=os.environ["URL"] + "/v1", api_key=os.environ["KEY"], max_retries=0)
text, broke = "", False
try:
    for x in c.chat.completions.create(model=os.environ["MODEL"], stream=True, messages=[{"role": "user", "content": "one two three four"}]):
        text += "".join(choice.delta.content or "" for choice in x.choices)
except openai.APIError as e:
    broke = True
assert broke == bool(os.environ["BREAKS"]), (text, broke)
assert broke or "one two three four" in text, text
print("all is well")
"#;
const BROKEN_ANTHROPIC: &str = r#"
import os, anthropic
c = anthropic.Anthropic(base_url=os.environ["URL"], api_key=os.environ["KEY"], max_retries=0)
text, broke = "", False
try:
    with c.messages.stream(model=os.environ["MODEL"], max_tokens=64, messages=[{"role": "user", "content": "one two three four"}]) as stream:
        for part in stream.text_stream:
            text += part
except anthropic.APIError as e:
    broke = True
assert broke == bool(os.environ["BREAKS"]), (text, broke)
assert broke or "one two three four" in text, text
print("all is well")
"#;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A file with two engines, two hosted providers, and the routes between them.
fn configure(place: &Place, openai: &HostedThread, anthropic: &HostedThread) {
    place.configure("", "  small: {profile: small}\n");
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("the file");
    for (name, api) in [("openai", openai), ("anthropic", anthropic)] {
        std::fs::write(place.folder.join(format!("{name}.key")), api.key()).expect("written");
    }
    let f = place.folder.display();
    let provider = |kind: &str, api: &HostedThread, more: &str| {
        format!(
            "    {kind}:\n      kind: {kind}\n      base-url: {}\n      api-key: {{file: {f}/{kind}.key}}\n{more}",
            api.base_url()
        )
    };
    let hosted = provider("openai", openai, "      models: [gpt-4o-mini, gpt-6-luna]\n")
        + &provider("anthropic", anthropic, "      models: [claude-haiku-5-5, claude-haiku-4-5]\n      day-usd: 5\n");
    let text = text.replace("profiles:\n", &format!("{hosted}profiles:\n"));
    let routes = "routes:\n  auto: {tiers: {simple: small, complex: deep}, fallback: [anthropic]}\n  \
                  to-claude: {fallback: [nowhere, anthropic]}\n  to-old-claude: {fallback: [anthropic/claude-haiku-4-5]}\n  \
                  to-gpt: {fallback: [openai]}\n  to-new-gpt: {fallback: [openai/gpt-6-luna]}\n  both: {fallback: [openai, anthropic]}\n  \
                  both-2: {fallback: [anthropic, openai]}\n  hard: {tiers: {moderate: openai, complex: anthropic}}\n";
    std::fs::write(&file, text + routes).expect("written");
}

fn python(client: &str, script: &str, place: &Place, more: &[(&str, String)]) {
    let program = PathBuf::from(format!("{}/../../target/clients/{client}/bin/python", env!("CARGO_MANIFEST_DIR")));
    assert!(program.exists(), "the official client is missing: `cargo xtask test` installs it (PyPI package {client})");
    let output = Command::new(program)
        .args(["-c", script])
        .env("URL", format!("http://{}", place.gateway()))
        .env("KEY", place.key())
        .envs(more.iter().cloned())
        .output()
        .expect("python");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all is well"), "{said}\n{}", place.server_log());
}

#[test]
fn the_official_clients_are_served_on_every_path() {
    let (openai, anthropic) = (HostedThread::start().expect("an API"), HostedThread::start().expect("an API"));
    let mut place = Place::new("hosted");
    configure(&place, &openai, &anthropic);
    place.serve(&[]);
    place.ok(&["up"]);
    let agentic = place.ok(&["key", "create", "--agentic", "--tenant", "lab"]).trim().to_owned();
    let more = [("AGENTIC", agentic)];
    python("openai-3.54.0", OPENAI, &place, &more);
    python("anthropic-2.14.0", ANTHROPIC, &place, &more);
    // What breaks before content costs the client nothing; what breaks after it is told.
    for (client, script) in [("openai-3.54.0", BROKEN_OPENAI), ("anthropic-2.14.0", BROKEN_ANTHROPIC)] {
        openai.script(vec![Fault::ErrorInFirstEvent("server_error")]);
        anthropic.script(vec![]);
        python(client, script, &place, &[("MODEL", "both".to_owned()), ("BREAKS", String::new())]);
        openai.script(vec![]);
        anthropic.script(vec![Fault::ErrorMidStream("overloaded_error")]);
        python(client, script, &place, &[("MODEL", "both-2".to_owned()), ("BREAKS", "1".to_owned())]);
        anthropic.script(vec![]);
    }
    // No request of a client carries its key to anybody else, and none arrives twice.
    let key = place.key();
    for post in openai.posts().iter().chain(&anthropic.posts()) {
        assert!(!format!("{post:?}").contains(&key), "{post:?}");
    }
    wait_until("what they cost is written", || {
        let spent = json(&place.ok(&["--json", "spend"]));
        let of = |name: &str| {
            spent["items"]
                .as_array()
                .is_some_and(|all| all.iter().any(|i| i["deployment"] == name && i["cost_usd_micros"].as_i64() > Some(0)))
        };
        of("openai/gpt-4o-mini") && of("anthropic/claude-haiku-5-5")
    });
    let explained = place.folder.join("hard.json");
    let hard = r#"{"model":"auto","messages":[{"role":"user","content":"Prove that the square root of two is irrational, step by step."}]}"#;
    std::fs::write(&explained, hard).expect("written");
    let told = place.ok(&["route", "explain", &explained.display().to_string()]);
    assert!(told.contains("effort") && told.contains("because") && told.contains("paid by the token"), "{told}");
    let forced = json(&place.ok(&["--json", "route", "explain", "--effort", "2", &explained.display().to_string()]));
    assert_eq!((&forced["tier"], &forced["model"]), (&"reflex".into(), &"small".into()), "{forced}");
    assert!(place.server_log().contains("[PLAN] Applied ExecutionPlan: tier="), "{}", place.server_log());
    place.ok(&["down", "--all"]);
}

#[test]
fn a_hosted_provider_is_refused_where_its_key_or_its_address_would_not_do() {
    let place = Place::new("hosted-wrong");
    for (said, wrong) in [
        ("kind: openai, api-key: {env: NOBODY_SET_THIS}", "C0013"),
        ("kind: openai, api-key: sk-secret", "must not stand in the file"),
        ("kind: openai, base-url: \"http://api.example.com\", api-key: {file: /etc/hostname}", "not encrypted"),
        ("kind: anthropic, api-key: {file: /etc/hostname}, day-usd: much", "day-usd"),
        ("kind: machines, models: [a]", "paid by the token"),
    ] {
        let text = format!("version: 1\nserver:\n  providers:\n    out: {{{said}}}\n");
        let file = place.folder.join("wrong.yaml");
        std::fs::write(&file, text).expect("written");
        let output = place.charter(&["--config", &file.display().to_string(), "serve", "--listen", "127.0.0.1:0"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(wrong) && !told.contains("sk-secret"), "{said}: {told}");
    }
}
