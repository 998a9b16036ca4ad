//! What an admin does by hand through the API: ways to a machine, a command there, backups, a look around, and the end of everything.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use serde_json::{Value, json};
use std::net::SocketAddr;
use support::doors::{Answer, address, bearer, send};
use support::market::Bed;
use support::{Place, wait_until};

struct Hand {
    at: SocketAddr,
    key: String,
}

impl Hand {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let headers = [("authorization", self.key.as_str()), ("content-type", "application/json")];
        send(self.at, method, path, &headers, &body.to_string())
    }

    fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.ask(method, path, body);
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.body);
        if answer.status == 204 || answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    fn code(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let answer = self.ask(method, path, body);
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}

#[test]
fn an_admin_looks_after_everything_through_the_api() {
    let bed = Bed::start("by-hand", &[]);
    let mut place = Place::bare("by-hand");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up", "-y"]);
    let hand = Hand { at: address(&place), key: bearer(&place.key()) };
    ports(&hand);
    commands(&hand);
    backups(&hand, &place);
    findings(&hand);
    let machines = hand.ok("GET", "/api/v1/machines", &Value::Null);
    assert_eq!(machines["items"][0]["deployment"], "small", "{machines}");
    assert_eq!(hand.ask("POST", "/api/v1/sweep", &json!({})).status, 202);
    let ending = hand.ok("POST", "/api/v1/panic", &json!({}));
    assert_eq!(ending["deployments"], json!(["small"]));
    assert!(ending["price_usd_micros_per_hour"].as_i64().is_some_and(|price| price > 0), "{ending}");
    wait_until("nothing is held", || hand.ok("GET", "/api/v1/machines", &Value::Null)["items"] == json!([]));
    let facts = hand.ok("GET", "/api/v1/deployments/small/facts", &Value::Null).to_string();
    assert!(
        facts.contains("said to end everything")
            && facts.contains("said to run `printf`")
            && facts.contains("ended with status 7"),
        "{facts}"
    );
    bed.must_be_empty();
}

/// A port that is open is the answer as often as it is asked for; another one closes it, and says so.
fn ports(hand: &Hand) {
    let path = "/api/v1/deployments/small/forward";
    let first = hand.ok("POST", path, &json!({}));
    let again = hand.ok("POST", path, &json!({}));
    assert_eq!((&first["address"], &first["key"]), (&again["address"], &again["key"]));
    let port = support::free_port();
    let other = hand.ok("POST", path, &json!({"port": port}));
    assert_eq!(other["address"], format!("127.0.0.1:{port}"));
    assert_eq!(other["closed"], first["address"]);
    assert_eq!(hand.ok("POST", path, &json!({"port": port}))["closed"], Value::Null);
    assert_eq!(hand.ok("POST", path, &json!({"close": true}))["closed"], other["address"]);
}

fn commands(hand: &Hand) {
    let path = "/api/v1/deployments/small/ssh";
    let way = hand.ok("GET", path, &Value::Null);
    assert!(way["port"].as_u64().is_some_and(|port| port > 0), "{way}");
    let done = hand.ok("POST", path, &json!({"command": "printf '\\033[31mred\\n'; echo no >&2; exit 7"}));
    assert_eq!(done, json!({"status": 7, "stdout": "red\n", "stderr": "no\n", "cut": false}));
    assert_eq!(hand.code("POST", path, &json!({"command": " "})), (422, "A0422".to_owned()));
    let much = hand.ok("POST", path, &json!({"command": "yes"}));
    assert!(much["cut"] == true && much["stdout"].as_str().is_some_and(|text| text.len() == 256 * 1024), "it is cut off");
}

fn backups(hand: &Hand, place: &Place) {
    let made = hand.ok("POST", "/api/v1/backups", &json!({}));
    let (name, file) = (made["name"].as_str().expect("a name"), made["file"].as_str().expect("a file"));
    assert_eq!(hand.ok("GET", "/api/v1/backups", &Value::Null)["items"], json!([made]));
    let mode = {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(file).expect("the file").permissions().mode() & 0o777
    };
    assert_eq!(mode, 0o600, "it holds the installation's key");
    let elsewhere = place.folder.join("elsewhere");
    let both: Vec<_> = (0..2)
        .map(|_| {
            let hand = Hand { at: hand.at, key: hand.key.clone() };
            std::thread::spawn(move || hand.ok("POST", "/api/v1/backups", &json!({}))["name"].to_string())
        })
        .collect();
    let both: Vec<String> = both.into_iter().map(|one| one.join().expect("a thread")).collect();
    assert_ne!(both[0], both[1], "two at once are two");
    for name in &both {
        hand.ok("DELETE", &format!("/api/v1/backups/{}", name.trim_matches('"')), &Value::Null);
    }
    let restored = place.ok(&["admin", "restore", file, "--data-dir", &elsewhere.display().to_string(), "--json"]);
    let restored: Value = serde_json::from_str(&restored).expect("JSON");
    assert_eq!((&restored["deployments"], &restored["wanted"]), (&json!(1), &json!(["small"])));
    for odd in ["..%2Fcharter.db", "installation.key", "charter-..db"] {
        assert_eq!(hand.code("DELETE", &format!("/api/v1/backups/{odd}"), &Value::Null).0, 404, "{odd}");
    }
    hand.ok("DELETE", &format!("/api/v1/backups/{name}"), &Value::Null);
    assert_eq!(hand.ok("GET", "/api/v1/backups", &Value::Null)["items"], json!([]));
}

fn findings(hand: &Hand) {
    let told = hand.ok("GET", "/api/v1/doctor", &Value::Null);
    let whats: Vec<&str> = told["findings"].as_array().expect("findings").iter().filter_map(|f| f["what"].as_str()).collect();
    for what in ["data", "disk", "file", "database", "server", "provider"] {
        assert!(whats.contains(&what), "{what}: {told}");
    }
    let viewer = support::doors::made_key(hand.at, hand.key.trim_start_matches("Bearer "), &json!({"role": "viewer"}));
    let weaker = Hand { at: hand.at, key: bearer(&viewer) };
    assert_eq!(weaker.ok("GET", "/api/v1/doctor", &Value::Null)["findings"], json!([]), "paths of the server are no viewer's");
}
