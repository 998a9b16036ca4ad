//! The marketplace's own client, unmodified, against the test bed: what it does everyday must work, and do what it says.

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
use std::path::PathBuf;
use std::process::{Command, Output};
use support::market::Bed;
use support::{Place, request, wait_until};

/// The client as `cargo xtask test` installs it, with folders of its own.
struct Client<'a> {
    bed: &'a Bed,
    home: PathBuf,
    program: PathBuf,
}

impl<'a> Client<'a> {
    fn new(bed: &'a Bed, place: &Place) -> Self {
        let program = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/clients/vastai-1.9.1/bin/vastai"));
        assert!(program.exists(), "the official client is missing: `cargo xtask test` installs it (PyPI package vastai 1.9.1)");
        let home = place.folder.join("home");
        for folder in ["config/vastai", "cache/vastai"] {
            std::fs::create_dir_all(home.join(folder)).expect("folder");
        }
        std::fs::write(home.join("config/vastai/vast_role"), "client").expect("role");
        std::fs::write(home.join("cache/vastai/gpu_names_cache.json"), r#"{"gpu_names":["RTX 3090","RTX 4090"]}"#)
            .expect("cache");
        Self { bed, home, program }
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(&self.program)
            .args(args)
            .args(["--url", &self.bed.url()])
            .env("VAST_API_KEY", &self.bed.key)
            .env("VASTAI_NO_UPDATE_CHECK", "1")
            .env("HOME", &self.home)
            .env("XDG_CONFIG_HOME", self.home.join("config"))
            .env("XDG_CACHE_HOME", self.home.join("cache"))
            .env("XDG_STATE_HOME", self.home.join("state"))
            .output()
            .expect("vastai")
    }

    fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
        assert!(
            output.status.success() && !err.contains("Traceback") && !err.contains("\"error\""),
            "vastai {args:?}: {out}\n{err}"
        );
        out
    }

    fn json(&self, args: &[&str]) -> Value {
        let mut all = args.to_vec();
        all.push("--raw");
        let text = self.text(&all);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("vastai {args:?}: {e}: {text}"))
    }
}

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBiHaFuaYB5uWbEFRyCzABZ8wrGcGEDwEZuLkBQbEAZk me@x";

#[test]
fn it_searches_in_all_forms() {
    let bed = Bed::start("client-search", &[]);
    let place = Place::bare("client-search");
    let client = Client::new(&bed, &place);
    let query = "gpu_name=RTX_3090 num_gpus=1 dph<0.2 reliability>0.93 inet_down>100 cuda_vers>=12.1";
    let found = client.json(&["search", "offers", query, "-o", "dph_total"]);
    let rows = found.as_array().expect("rows");
    assert!(
        !rows.is_empty() && rows.iter().all(|r| r["gpu_name"] == "RTX 3090" && r["dph_total"].as_f64() < Some(0.2)),
        "{found}"
    );
    assert!(rows.windows(2).all(|w| w[0]["dph_total"].as_f64() <= w[1]["dph_total"].as_f64()), "in order");
    let new = client.json(&["search", "offers", query, "--new", "--limit", "3"]);
    assert_eq!(new.as_array().map(Vec::len), Some(3), "{new}");
    assert!(client.text(&["search", "offers", query]).contains("RTX_3090"), "the table");
    let body = "%7B%22gpu_name%22%3A%7B%22eq%22%3A%22RTX%204090%22%7D%7D";
    let plain = request(bed.address, "GET", &format!("/api/v0/bundles/?q={body}"), &bed.key, b"").expect("an answer");
    assert!(plain.body.contains("RTX 4090") && !plain.body.contains("RTX 3090"), "{plain:?}");
    assert_eq!(client.json(&["search", "offers", "gpu_name=RTX_9999"]), serde_json::json!([]));
}

#[test]
fn it_goes_through_the_life_of_an_instance() {
    let bed = Bed::start("client-life", &["--speed", "20"]);
    let place = Place::bare("client-life");
    let client = Client::new(&bed, &place);
    let offers = client.json(&["search", "offers", "gpu_name=RTX_3090 num_gpus=1"]);
    let ask = offers[0]["id"].to_string();
    let made = client.json(&[
        "create",
        "instance",
        &ask,
        "--image",
        "vllm/vllm-openai:v0.33.0",
        "--env",
        "-p 8000:8000 -e A=b",
        "--disk",
        "40",
        "--ssh",
        "--direct",
        "--label",
        "foo",
    ]);
    assert_eq!(made["success"], true, "{made}");
    let id = made["new_contract"].to_string();
    let status = || client.json(&["show", "instance", &id])["actual_status"].as_str().map(str::to_owned);
    wait_until("it runs", || status().as_deref() == Some("running"));
    let shown = client.json(&["show", "instance", &id]);
    assert!(
        shown["ports"]["22/tcp"][0]["HostPort"].is_string() && shown["label"] == "foo" && shown["extra_env"]["A"] == "b",
        "{shown}"
    );
    assert!(client.text(&["show", "instances"]).contains("foo"));
    assert_eq!(client.json(&["show", "instances", "--label", "foo"]).as_array().map(Vec::len), Some(1));
    assert_eq!(client.json(&["show", "instances", "--label", "bar"]).as_array().map(Vec::len), Some(0));
    assert!(client.text(&["label", "instance", &id, "bar"]).contains("set to bar"));
    assert_eq!(client.json(&["show", "instances", "--label", "bar"]).as_array().map(Vec::len), Some(1));
    assert!(client.text(&["logs", &id, "--tail", "50"]).contains("the container runs"));
    assert!(client.text(&["attach", "ssh", &id, KEY]).contains("True"));
    assert!(client.text(&["create", "ssh-key", KEY, "-y"]).contains("ssh-key created"));
    assert!(client.text(&["show", "ssh-keys", "--raw"]).contains("ssh-ed25519"));
    assert!(client.text(&["ssh-url", &id]).starts_with("ssh://root@127.0.0.1:"));
    assert!(client.text(&["change", "bid", &id, "--price", "0.2"]).contains("changed"));
    assert!(client.text(&["reboot", "instance", &id]).contains("Rebooting"));
    assert!(client.text(&["stop", "instance", &id]).contains("stopping"));
    assert_eq!(status().as_deref(), Some("exited"));
    assert!(client.text(&["start", "instance", &id]).contains("starting"));
    wait_until("it runs again", || status().as_deref() == Some("running"));
    let user = client.json(&["show", "user"]);
    assert!(user["credit"].as_f64().is_some_and(|c| c < 25.0), "it costs money: {user}");
    assert!(client.json(&["show", "invoices-v1", "--charges"]).to_string().contains(&format!("instance-{id}")));
    assert!(client.text(&["show", "invoices-v1", "--invoices", "--raw"]).contains("stripe"));
    assert!(client.text(&["show", "invoices", "--raw"]).contains("charge"));
    assert!(client.text(&["destroy", "instance", &id, "-y"]).contains("destroying"));
    assert_eq!(client.json(&["show", "instances"]).as_array().map(Vec::len), Some(0));
    bed.must_be_empty();
    let again = client.run(&["destroy", "instance", &id, "-y"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("404"), "{again:?}");
    let gone = client.run(&["create", "instance", &ask, "--image", "img"]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no_such_ask"), "an offer is good once: {gone:?}");
}

#[test]
fn it_rents_and_ends_several_and_meets_the_limits() {
    let bed = Bed::start("client-bulk", &[]);
    let place = Place::bare("client-bulk");
    let client = Client::new(&bed, &place);
    let offers = client.json(&["search", "offers", "num_gpus=1"]);
    let (a, b) = (offers[0]["id"].to_string(), offers[1]["id"].to_string());
    assert!(client.text(&["create", "instances", &a, &b, "--image", "img", "--ssh", "--disk", "20"]).contains("new_contracts"));
    let ids: Vec<String> =
        client.json(&["show", "instances"]).as_array().expect("rows").iter().map(|r| r["id"].to_string()).collect();
    assert_eq!(ids.len(), 2);
    assert!(client.text(&["destroy", "instances", &ids[0], &ids[1], "-y"]).contains("destroying"));
    bed.must_be_empty();
    bed.set_faults("rate-limit*9");
    let limited = client.run(&["show", "instances", "--raw"]);
    assert!(String::from_utf8_lossy(&limited.stderr).contains("429"), "{limited:?}");
    bed.set_faults("");
    let mut other = Bed::start("client-other", &[]);
    other.key = "tb_wrong".into();
    let stranger = Client::new(&other, &place);
    let refused = stranger.run(&["show", "instances", "--raw"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Invalid user key"), "{refused:?}");
}
