//! Upgrades of the whole program, on a real OpenSSH server, with clients that notice nothing: four ways, the verdict, the way back,
//! fleets, and a control plane that is killed in the middle.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::string_slice,
    reason = "a test that cannot go on fails"
)]

mod support;

use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{Place, chat, request, wait_until};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Clients that ask all the time, half of them for streams, and look at every answer to its end.
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    asked: Arc<AtomicU64>,
    wrong: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Clients {
    fn begin(gateway: SocketAddr, key: &str, model: &str) -> Self {
        let (stop, asked): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let wrong = Arc::<std::sync::Mutex<Vec<String>>>::default();
        let threads = (0..4)
            .map(|n| {
                let (stop, asked, wrong) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&wrong));
                let (key, model, stream) = (key.to_owned(), model.to_owned(), n % 2 == 0);
                std::thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let answer = chat(gateway, &key, &model, 12, stream);
                        asked.fetch_add(1, Ordering::SeqCst);
                        let whole = answer.as_ref().is_ok_and(|a| {
                            a.status == 200
                                && if stream { a.body.contains("[DONE]") } else { a.body.contains("completion_tokens") }
                        });
                        if !whole {
                            wrong.lock().expect("a lock").push(format!("{answer:?}"));
                        }
                    }
                })
            })
            .collect();
        Self { stop, threads, asked, wrong }
    }

    /// How many were asked; all of them were answered whole.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("a client");
        }
        let wrong = self.wrong.lock().expect("a lock");
        assert!(wrong.is_empty(), "{} of {} failed, the first: {}", wrong.len(), self.asked.load(Ordering::SeqCst), wrong[0]);
        self.asked.load(Ordering::SeqCst)
    }
}

const SMALL: &str = "  small: {profile: small}\n";

/// One profile with a context of this length, whose new generations are watched for a second.
fn configure(place: &Place, length: u32, extra: &str, deployments: &str) {
    let profile = format!(
        "      options: {{max-model-len: {length}}}\n      env: {{STANDIN_START_MS: \"300\", STANDIN_TOKEN_MS: \"10\"}}\n    limits: {{bake: 1s}}\n{extra}"
    );
    place.configure(&profile, deployments);
}

fn status(place: &Place) -> Value {
    json(&place.ok(&["--json", "status"]))["deployments"][0].clone()
}

fn fates(place: &Place) -> Vec<(u64, String)> {
    let all = json(&place.ok(&["--json", "generations", "small"]));
    let items = all["items"].as_array().expect("items").clone();
    items.iter().map(|g| (g["number"].as_u64().expect("a number"), g["fate"].as_str().expect("a fate").to_owned())).collect()
}

fn fate(number: u64, fate: &str) -> (u64, String) {
    (number, fate.to_owned())
}

#[test]
fn what_the_file_says_is_shown_run_and_undone_while_clients_notice_nothing() {
    let mut place = Place::new("upgrade");
    configure(&place, 4096, "", SMALL);
    place.serve(&[]);
    place.ok(&["up"]);
    let (gateway, key) = (place.gateway(), place.key());
    let same = place.charter(&["--json", "upgrade", "small", "--what-if"]);
    assert_eq!((same.status.code(), json(&String::from_utf8_lossy(&same.stdout))["pending"].clone()), (Some(0), false.into()));
    let clients = Clients::begin(gateway, &key, "small");
    // Side by side.
    configure(&place, 8192, "", SMALL);
    let plan = place.charter(&["--json", "upgrade", "small", "--what-if"]);
    let entry = json(&String::from_utf8_lossy(&plan.stdout))["deployments"][0].clone();
    let change = &entry["changes"][0];
    assert_eq!(plan.status.code(), Some(2));
    assert_eq!((&entry["action"], &entry["strategy"], &entry["gap_ms"]), (&"upgrade".into(), &"side-by-side".into(), &0.into()));
    assert_eq!((&change["field"], &change["effect"]), (&"engine.options.max-model-len".into(), &"engine-restart".into()));
    assert_eq!(
        (&change["profile"], &change["started_with"], &change["engine_reports"]),
        (&8192.into(), &4096.into(), &4096.into())
    );
    assert_eq!(status(&place)["drift"], serde_json::json!(["engine.options.max-model-len"]));
    let before = status(&place);
    let done = json(&place.ok(&["--json", "upgrade", "small"]));
    assert_eq!((&done["upgraded"][0]["name"], &done["total"]), (&"small".into(), &1.into()), "{done}");
    let after = status(&place);
    assert_eq!((&after["generation"], &after["id"], &after["owner"]), (&2.into(), &before["id"], &before["owner"]));
    assert_eq!((after["drift"].clone(), after["upgrade"].clone()), (serde_json::json!([]), Value::Null));
    wait_until("the old one is gone", || place.engines().len() == 1);
    // In place: the same machine, and requests wait.
    configure(&place, 6000, "", SMALL);
    wait_until("one copy is left", || status(&place)["replicas"].as_array().is_some_and(|r| r.len() == 1));
    let instance = status(&place)["replicas"][0]["instance"].clone();
    place.ok(&["upgrade", "small", "--strategy", "in-place"]);
    assert_eq!(status(&place)["replicas"][0]["instance"], instance, "it is the same machine");
    // A bad one undoes itself, side by side and in place.
    configure(&place, 99_999, "", SMALL);
    for how in ["side-by-side", "in-place"] {
        let output = place.charter(&["--json", "upgrade", "small", "--strategy", how]);
        let said = json(&String::from_utf8_lossy(&output.stdout));
        assert_eq!(output.status.code(), Some(1));
        let failed = &said["failed"][0];
        assert_eq!((&failed["rolled_back"], &failed["error"]["code"]), (&true.into(), &"E0003".into()), "{how}: {said}");
        assert!(failed["error"]["message"].as_str().is_some_and(|m| m.contains("max_len_exceeds_model")), "{said}");
    }
    assert_eq!(status(&place)["generation"], 3);
    // Back to what ran first.
    place.ok(&["rollback", "small", "--to", "1"]);
    let asked = clients.end();
    assert!(asked > 100, "{asked}");
    let expected =
        [fate(1, "replaced"), fate(2, "replaced"), fate(3, "replaced"), fate(4, "failed"), fate(5, "failed"), fate(6, "serving")];
    assert_eq!(fates(&place), expected);
    let table = place.ok(&["generations", "small"]);
    // Verdicts are wrapped where somebody reads them.
    assert!(table.lines().filter(|l| !l.starts_with("  ")).all(|l| l.chars().count() <= 80), "{table}");
    place.ok(&["down", "small"]);
    assert!(place.engines().is_empty());
}

#[test]
fn several_copies_go_one_by_one_and_a_wrong_answer_brings_them_back() {
    let mut place = Place::new("rolling");
    let three = "  small: {profile: small, replicas: 3}\n";
    configure(&place, 4096, "", three);
    place.serve(&[]);
    place.ok(&["up"]);
    let clients = Clients::begin(place.gateway(), &place.key(), "small");
    configure(&place, 8192, "", three);
    place.ok(&["upgrade", "small"]);
    // The stand-in says what it was asked; it never says this.
    configure(&place, 4096, "    canary: [{prompt: \"2+2=\", expect: \"no such answer\"}]\n", three);
    let output = place.charter(&["--json", "upgrade", "small"]);
    let said = json(&String::from_utf8_lossy(&output.stdout));
    assert!(said["failed"][0]["error"]["message"].as_str().is_some_and(|m| m.contains("2+2=")), "{said}");
    clients.end();
    assert_eq!(fates(&place), [fate(1, "replaced"), fate(2, "serving"), fate(3, "failed")]);
    wait_until("three run, and no more", || place.engines().len() == 3);
    wait_until("all are of the generation before", || {
        status(&place)["replicas"].as_array().is_some_and(|r| r.len() == 3 && r.iter().all(|r| r["generation"] == 2))
    });
    place.ok(&["down", "small"]);
}

#[test]
fn a_control_plane_that_is_killed_in_the_middle_goes_on_with_the_upgrade() {
    let mut place = Place::new("killed");
    configure(&place, 4096, "", SMALL);
    place.serve(&["--no-gateway"]);
    let gateway = support::Separate::begin(&place);
    place.ok(&["up"]);
    let clients = Clients::begin(gateway.address, &place.key(), "small");
    for (round, length) in [8192, 4096, 8192, 4096].into_iter().enumerate() {
        configure(&place, length, "", SMALL);
        place.killed_and_served(&["upgrade", "small"], support::chance(round as u64, 2000), &["--no-gateway"]);
        // Where it had not been written down before the end, it is asked for again.
        let said = place.charter(&["--json", "upgrade", "small"]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
        let mut now = Value::Null;
        let begun = std::time::Instant::now();
        while !(now["drift"] == serde_json::json!([]) && now["upgrade"].is_null() && now["status"] == "running") {
            assert!(begun.elapsed() < support::PATIENCE, "it does not run as the file says: {now}");
            now = status(&place);
        }
    }
    assert!(clients.end() > 50);
    wait_until("nothing is left of older ones", || place.engines().len() == 1);
    place.ok(&["down", "small"]);
}

#[test]
fn a_fleet_goes_one_after_the_other_and_no_further_than_the_first_failure() {
    let mut place = Place::new("fleet");
    let three =
        "  a: {profile: small, served-name: a}\n  b: {profile: small, served-name: b}\n  c: {profile: small, served-name: c}\n";
    configure(&place, 4096, "", three);
    place.serve(&[]);
    place.ok(&["up"]);
    configure(&place, 8192, "", three);
    let done = json(&place.ok(&["--json", "upgrade", "--all", "--waves", "1,50%"]));
    assert_eq!((done["upgraded"].as_array().map(Vec::len), &done["total"]), (Some(3), &3.into()), "{done}");
    let again = json(&place.ok(&["--json", "upgrade", "--all"]));
    assert!(again["skipped"].as_array().is_some_and(|s| s.len() == 3 && s.iter().all(|s| s["reason"] == "no-change")), "{again}");
    // The aliases of the system before: another word for the same.
    let (control, key) = (SocketAddr::from(([127, 0, 0, 1], place.port_of_server())), place.key());
    configure(&place, 99_999, "", three);
    let answer = request(control, "POST", "/deploy/cloud-model/upgrade-all", &key, br#"{"profile":null}"#).expect("an answer");
    assert_eq!(answer.status, 202, "{answer:?}");
    let begun = json(&answer.body);
    let stream = begun["stream_url"].as_str().expect("a stream");
    let heard = request(control, "GET", stream, &key, b"").expect("a stream").body;
    assert!(heard.matches("data: {").count() >= 2, "{heard}");
    let status_url = begun["status_url"].as_str().expect("an address");
    let over = json(&request(control, "GET", status_url, &key, b"").expect("a status").body);
    assert_eq!((over["failed"].as_array().map(Vec::len), over["skipped"].as_array().map(Vec::len)), (Some(1), Some(2)), "{over}");
    assert_eq!(over["failed"][0]["rolled_back"], true);
    let session = over["failed"][0]["name"].as_str().expect("a name");
    configure(&place, 6000, "", three);
    let path = format!("/deploy/cloud-model/upgrade/{session}");
    let one = request(control, "POST", &path, &key, br#"{"wait":true}"#).expect("an answer");
    let said = json(&one.body);
    assert!(one.status == 200 && said["session_id"] != said["replaces"], "{one:?}");
    let old = said["replaces"].as_str().expect("a session");
    let outdated = request(control, "POST", &format!("/deploy/cloud-model/upgrade/{old}"), &key, b"{}").expect("an answer");
    assert_eq!(outdated.status, 409, "{outdated:?}");
    std::fs::rename(place.folder.join("charter.yaml"), place.folder.join("away.yaml")).expect("renamed");
    let lost = json(&place.ok(&["--json", "upgrade", "a"]));
    let why = lost["skipped"][0]["reason"].as_str().unwrap_or_default();
    assert!(why.contains("is not there any more"), "{lost}");
    std::fs::rename(place.folder.join("away.yaml"), place.folder.join("charter.yaml")).expect("renamed");
    let other = json(&place.ok(&["--json", "key", "create", "--role", "operator", "--tenant", "elsewhere"]));
    let foreign = request(control, "POST", &path, other["key"].as_str().expect("a key"), b"{}").expect("an answer");
    assert_eq!(foreign.status, 404, "another tenant's: {foreign:?}");
    place.ok(&["down", "--all"]);
}

#[test]
fn what_needs_no_restart_needs_none_and_what_cannot_be_meant_is_told() {
    let mut place = Place::new("live");
    configure(&place, 4096, "", SMALL);
    place.serve(&[]);
    place.ok(&["up"]);
    let engine = place.engines();
    configure(&place, 4096, "    max-concurrent: 3\n", SMALL);
    place.ok(&["upgrade", "small"]);
    assert_eq!((place.engines(), status(&place)["generation"].clone()), (engine, 1.into()), "nothing was started");
    for (args, says) in [
        (&["upgrade", "nobody"][..], "there is no deployment"),
        (&["upgrade", "small", "--strategy", "sideways"], "there is no strategy"),
        (&["upgrade", "--all", "--waves", "none"], "is no wave"),
        (&["rollback", "small", "--to", "77"], "no generation 77"),
        (&["rollback", "small"], "no earlier generation"),
        (&["migrate", "small", "--provider", "moon"], "no provider `moon`"),
    ] {
        let output = place.charter(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says) && said.contains("hint"), "{args:?}: {said}");
    }
    // A file that is broken breaks nothing that runs.
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, text.replace("served-name", "served-nmae")).expect("written");
    let output = place.charter(&["upgrade", "small"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("served-nmae") && said.contains("^^^"), "{said}");
    assert_eq!(status(&place)["status"], "running");
    place.ok(&["down", "small"]);
}

#[test]
fn a_manifest_holds_everything_but_values_and_runs_again() {
    let mut place = Place::new("manifest");
    let env = "      options: {max-model-len: 4096, seed: 7, revision: abc}\n      env: {HF_TOKEN: hf_secret_value, STANDIN_TOKEN_MS: \"1\"}\n";
    place.configure(env, SMALL);
    place.serve(&[]);
    place.ok(&["up"]);
    let text = place.ok(&["manifest", "export", "small"]);
    let made = json(&text);
    assert!(!text.contains("hf_secret_value"), "{text}");
    assert_eq!((&made["seed"], &made["revision"], &made["host"]), (&7.into(), &"abc".into(), &"tower".into()), "{text}");
    assert_eq!(made["env_keys"], serde_json::json!(["HF_TOKEN", "STANDIN_TOKEN_MS"]));
    assert!(made["image_digest"].is_null() && made["image_digest_reason"].is_string());
    place.ok(&["saved", "save", "good", "--from", "small"]);
    place.ok(&["down", "small"]);
    let file = place.folder.join("manifest.json");
    std::fs::write(&file, &text).expect("written");
    let path = file.display().to_string();
    let output = place.charter(&["manifest", "apply", &path]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("A0424") && said.contains("HF_TOKEN, STANDIN_TOKEN_MS"), "{said}");
    let run = |args: &[&str]| {
        let output = place.command(args).env("HF_TOKEN", "other").env("STANDIN_TOKEN_MS", "1").output().expect("charter");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["manifest", "apply", &path, "--env", "HF_TOKEN", "--env", "STANDIN_TOKEN_MS"]);
    let again = json(&place.ok(&["manifest", "export", "small"]));
    for same in ["model", "seed", "revision", "engine_version", "arguments", "served_name", "profile"] {
        assert_eq!(again[same], made[same], "{same}");
    }
    place.ok(&["down", "small"]);
    assert!(place.ok(&["saved", "list"]).contains("good"));
    run(&["saved", "deploy", "good", "--env", "HF_TOKEN", "--env", "STANDIN_TOKEN_MS"]);
    assert_eq!(status(&place)["status"], "running");
    place.ok(&["saved", "remove", "good"]);
    assert!(place.charter(&["saved", "show", "good"]).status.code() == Some(1));
    place.ok(&["down", "small"]);
}

#[test]
fn a_move_to_another_provider_has_no_gap() {
    let mut place = Place::new("move");
    configure(&place, 4096, "    provider: [lab]\n", SMALL);
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("the file");
    // Another provider, whose machine is reached by the same server.
    let lab = text.find("    lab:\n").expect("a provider");
    let end = text.find("profiles:\n").expect("profiles");
    let attic = text[lab..end].replace("lab:", "attic:").replace("name: tower", "name: shed");
    std::fs::write(&file, format!("{}{attic}{}", &text[..end], &text[end..])).expect("written");
    place.serve(&[]);
    place.ok(&["up"]);
    let clients = Clients::begin(place.gateway(), &place.key(), "small");
    let plan = place.charter(&["--json", "migrate", "small", "--provider", "attic", "--what-if"]);
    let entry = json(&String::from_utf8_lossy(&plan.stdout))["deployments"][0].clone();
    assert_eq!((plan.status.code(), &entry["changes"][0]["field"]), (Some(2), &"provider".into()), "{entry}");
    place.ok(&["migrate", "small", "--provider", "attic"]);
    clients.end();
    wait_until("one copy is left", || status(&place)["replicas"].as_array().is_some_and(|r| r.len() == 1));
    assert_eq!(status(&place)["replicas"][0]["provider"], "attic");
    place.ok(&["down", "small"]);
}

/// What a first trial of all this by somebody else has found.
#[test]
fn who_asks_twice_is_told_the_same_and_who_tears_down_first_keeps_clients_waiting() {
    let mut place = Place::new("trial");
    configure(&place, 4096, "", SMALL);
    place.serve(&[]);
    place.ok(&["up"]);
    let clients = Clients::begin(place.gateway(), &place.key(), "small");
    configure(&place, 8192, "", SMALL);
    place.ok(&["upgrade", "small", "--strategy", "recreate"]);
    clients.end();
    // Whoever asks for the very same at the same moment gets the very same.
    let (server, key) = (SocketAddr::from(([127, 0, 0, 1], place.port_of_server())), place.key());
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let key = key.clone();
            std::thread::spawn(move || request(server, "POST", "/api/v1/deployments/small/rollback", &key, br#"{"to":1}"#))
        })
        .collect();
    let told = asking.into_iter().map(|asked| json(&asked.join().expect("a thread").expect("an answer").body)["id"].clone());
    let told: std::collections::BTreeSet<String> = told.map(|id| id.to_string()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    wait_until("it is back", || status(&place)["generation"] == 3 && status(&place)["upgrade"].is_null());
    // A bad version that is asked for twice fails twice, whoever began it.
    configure(&place, 99_999, "", SMALL);
    place.ok(&["upgrade", "small", "--detach"]);
    let again = place.charter(&["--json", "upgrade", "small"]);
    let said = json(&String::from_utf8_lossy(&again.stdout));
    assert_eq!((again.status.code(), said["failed"][0]["rolled_back"].clone()), (Some(1), true.into()), "{said}");
    let up = place.charter(&["up"]);
    assert!(String::from_utf8_lossy(&up.stderr).contains("did not pass"), "{up:?}");
    // What ends in the middle of an upgrade is over.
    configure(&place, 4096, "", SMALL);
    place.ok(&["upgrade", "small", "--detach"]);
    place.ok(&["down", "small"]);
    assert!(status(&place)["upgrade"].is_null());
    let back = place.charter(&["rollback", "small"]);
    assert!(String::from_utf8_lossy(&back.stderr).contains("does not run"), "{back:?}");
    // A file that is named must be there.
    let gone = place.charter(&["upgrade", "small", "--config", "/nowhere.yaml"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("C0002"), "{gone:?}");
}
