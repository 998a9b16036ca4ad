//! Rented routes close, and the chain goes on: because somebody says so, and because a day costs more than a day may.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use support::market::Bed;
use support::{Place, chat, wait_until};

/// A model of one's own that stands behind the rented one.
fn own() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            let mut part = [0; 65_536];
            let read = socket.read(&mut part).unwrap_or(0);
            let list = part[..read].starts_with(b"GET");
            let body = if list {
                r#"{"object":"list","data":[{"id":"own","object":"model"}]}"#
            } else {
                r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"of my own"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":3}}"#
            };
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            // Whoever has left needs nothing.
            socket.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).ok();
        }
    });
    address
}

fn rented(name: &str, bed: &Bed, more: &str) -> Place {
    let mut place = Place::bare(name);
    bed.configure(&place, "", "  small: {profile: small}\n");
    let file = place.folder.join("charter.yaml");
    let text = std::fs::read_to_string(&file).expect("configuration");
    let text = text.replace("server:\n", &format!("server:\n{more}"))
        + "routes:\n  m: {tiers: {simple: small, complex: small}, fallback: [own]}\n";
    std::fs::write(&file, text).expect("configuration");
    place.serve(&[]);
    place.ok(&["backend", "register", "own", &format!("http://{}", own())]);
    place.ok(&["up"]);
    place
}

fn answered(place: &Place) -> String {
    let answer = chat(place.gateway(), &place.key(), "m", 3, false).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    if answer.body.contains("of my own") { "own".to_owned() } else { "rented".to_owned() }
}

#[test]
fn rented_machines_that_are_switched_off_get_nothing_and_what_stands_behind_them_answers() {
    let bed = Bed::start("switch", &["--speed", "20"]);
    let place = rented("switch", &bed, "");
    assert_eq!(answered(&place), "rented");
    assert!(place.ok(&["rented", "off"]).contains("get no requests"));
    wait_until("the chain goes on", || answered(&place) == "own");
    let told: Value = serde_json::from_str(&place.ok(&["--json", "rented"])).expect("JSON");
    assert!(told["on"] == false && told["why"].as_str().is_some_and(|why| why.contains("switched them off")), "{told}");
    let doctor = place.charter(&["doctor"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("switched them off"));
    // It is a word that outlives a restart.
    drop(answered(&place));
    place.ok(&["rented", "on"]);
    wait_until("the rented one answers again", || answered(&place) == "rented");
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}

#[test]
fn a_day_that_costs_too_much_closes_what_is_rented() {
    let bed = Bed::start("runaway", &["--speed", "20"]);
    // A fraction of a cent is more than this day may cost: the first seconds of a machine are.
    let place = rented("runaway", &bed, "  runaway-usd-per-day: 0.000010\n");
    wait_until("the day has cost too much", || answered(&place) == "own");
    let told: Value = serde_json::from_str(&place.ok(&["--json", "rented"])).expect("JSON");
    assert!(told["why"].as_str().is_some_and(|why| why.contains("runaway-usd-per-day")), "{told}");
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}
