//! The control plane's doors: requests with any header, keys, logins, and every path that there is.

use super::Place;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub const PAGES: &str = include_str!("../../../web/src/console/mod.rs");
/// Paths that answer everybody, and why: they tell nothing of this server but that it lives.
pub const OPEN: [&str; 6] = ["/healthz", "/readyz", "/api/v1/openapi.json", "/login", "/assets/{file}", "/errors/{code}"];

/// An answer with its headers.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|l| l.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

pub fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    let host = headers.iter().find(|(n, _)| *n == "host").map_or_else(|| address.to_string(), |(_, v)| (*v).to_owned());
    let more: String = headers.iter().filter(|(n, _)| *n != "host").map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(text.as_bytes()).expect("sent");
    let mut answer = vec![];
    socket.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

pub fn made_key(address: SocketAddr, admin: &str, wanted: &Value) -> String {
    let headers = [("authorization", bearer(admin)), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let made = send(address, "POST", "/api/v1/keys", &headers, &wanted.to_string());
    assert_eq!(made.status, 201, "{}", made.body);
    made.json()["key"].as_str().expect("a key").to_owned()
}

pub fn address(place: &Place) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], place.port_of_server()))
}

/// A cookie of one who has logged in.
pub fn logged_in(at: SocketAddr, key: &str) -> String {
    let entered =
        send(at, "POST", "/login", &[("content-type", "application/x-www-form-urlencoded")], &format!("key={key}&next=/"));
    assert_eq!(entered.status, 303, "{}", entered.body);
    let cookie = entered.header("set-cookie").expect("a cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    cookie.split(';').next().expect("a value").to_owned()
}

/// The token that the forms of a session carry.
pub fn form_token(at: SocketAddr, cookie: &str) -> String {
    let page = send(at, "GET", "/", &[("cookie", cookie)], "").body;
    let rest = page.split_once("name=\"form\" value=\"").expect("a form").1;
    rest.split_once('"').expect("its end").0.to_owned()
}

pub fn filled(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').map(|p| if p.starts_with('{') { "nothing" } else { p }).collect();
    parts.join("/")
}

/// Every path and method: those of the description, and those of the pages.
pub fn endpoints(at: SocketAddr) -> Vec<(String, String, bool)> {
    let document = send(at, "GET", "/api/v1/openapi.json", &[], "").json();
    let mut all = vec![];
    for (path, methods) in document["paths"].as_object().expect("paths") {
        all.extend(methods.as_object().expect("methods").keys().map(|m| (m.to_uppercase(), path.clone(), false)));
    }
    assert!(all.len() > 60, "{}", all.len());
    for line in PAGES.lines().filter_map(|l| l.trim().strip_prefix(".route(\"")) {
        let (path, rest) = line.split_once('"').expect("a path");
        all.extend(
            ["get(", "post("]
                .iter()
                .filter(|m| rest.contains(*m))
                .map(|m| (m.trim_end_matches('(').to_uppercase(), path.to_owned(), true)),
        );
    }
    assert!(all.iter().filter(|(.., page)| *page).count() > 35);
    all
}
