//! The control plane's doors: every path with no, wrong and too weak credentials; tenants; names and origins; sessions; changes that
//! are sent twice; events that are taken up again; and the API fuzzed against its own description.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use support::doors::*;
use support::market::Bed;
use support::{Place, wait_until};

#[test]
fn every_path_is_closed_to_those_without_a_key_with_a_wrong_one_and_with_too_weak_a_one() {
    let mut place = Place::bare("closed");
    place.serve(&[]);
    let (at, admin) = (address(&place), place.key());
    let viewer = made_key(at, &admin, &json!({"role": "viewer", "name": "weak"}));
    let over = made_key(at, &admin, &json!({"role": "admin", "name": "over", "expires_in_seconds": 1}));
    let cookie = logged_in(at, &viewer);
    let forged = cookie.replace("key_", "kex_");
    for (method, path, is_page) in endpoints(at) {
        let to = filled(&path);
        if OPEN.contains(&path.as_str()) {
            continue;
        }
        let json = ("content-type", if is_page { "application/x-www-form-urlencoded" } else { "application/json" });
        let body = if is_page { "form=wrong" } else { "{}" };
        let wrong = bearer("chk_wrong");
        for headers in [vec![json], vec![json, ("authorization", &wrong)], vec![json, ("cookie", &forged)]] {
            let answer = send(at, &method, &to, &headers, body);
            assert_eq!(answer.status, 401, "{method} {path} with {headers:?}: {}", answer.body);
            assert_eq!(answer.json()["code"], "A0002", "{method} {path}");
        }
        // A viewer changes nothing, by key or by form; and a form without its token is nobody's.
        if method != "GET" {
            let weak = bearer(&viewer);
            // What only asks is everybody's who may look.
            let allowed =
                ["/logout", "/theme", "/gateway/explain", "/playground", "/api/v1/routes/explain"].contains(&path.as_str());
            let headers =
                if is_page { vec![json, ("cookie", cookie.as_str())] } else { vec![json, ("authorization", weak.as_str())] };
            let answer = send(at, &method, &to, &headers, body);
            let usual = if allowed && !is_page { 422 } else { 403 };
            assert_eq!(answer.status, usual, "{method} {path} of a viewer: {}", answer.body);
            if is_page && !allowed {
                let token = format!("form={}", form_token(at, &cookie));
                assert_eq!(send(at, &method, &to, &headers, &token).status, 403, "{method} {path} of a viewer with its token");
            }
        }
        // Nobody acts with a cookie where a key is asked for.
        if method != "GET" && !is_page {
            assert_eq!(send(at, &method, &to, &[json, ("cookie", &cookie)], body).status, 401, "{method} {path} with a cookie");
        }
    }
    for path in ["/keys", "/spend", "/deploy"] {
        assert_eq!(send(at, "GET", path, &[("cookie", &cookie)], "").status, 403, "{path} of a viewer");
    }
    wait_until("the short key is over", || {
        send(at, "GET", "/api/v1/status", &[("authorization", &bearer(&over))], "").status == 401
    });
    let late = send(at, "POST", "/login", &[], &format!("key={over}"));
    assert_eq!(late.status, 401);
    place.stop_server();
}

#[test]
fn a_login_ends_with_its_key_and_guessing_is_made_slow() {
    let mut place = Place::bare("login");
    place.serve(&[]);
    let (at, admin) = (address(&place), place.key());
    let key = made_key(at, &admin, &json!({"role": "operator", "name": "mine"}));
    let cookie = logged_in(at, &key);
    assert_eq!(send(at, "GET", "/", &[("cookie", &cookie)], "").status, 200);
    let all = send(at, "GET", "/api/v1/keys", &[("authorization", &bearer(&admin))], "").json();
    let id = all["items"].as_array().expect("keys").iter().find(|k| k["name"] == "mine").expect("it")["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(send(at, "DELETE", &format!("/api/v1/keys/{id}"), &[("authorization", &bearer(&admin))], "").status, 204);
    assert_eq!(send(at, "GET", "/", &[("cookie", &cookie), ("accept", "text/html")], "").status, 303, "its key is revoked");
    let other = made_key(at, &admin, &json!({"role": "operator", "name": "leaves"}));
    let cookie = logged_in(at, &other);
    let (kind, form) = (("content-type", "application/x-www-form-urlencoded"), format!("form={}", form_token(at, &cookie)));
    assert_eq!(send(at, "POST", "/logout", &[kind, ("cookie", &cookie)], &form).status, 303);
    assert_eq!(send(at, "GET", "/", &[("cookie", &cookie)], "").status, 401, "a cookie that was copied is no login any more");
    let json_kind = ("content-type", "application/json");
    let auth = bearer(&admin);
    for (method, path, body) in [
        ("PUT", "/api/v1/defaults", "[]"),
        ("POST", "/api/v1/keys", r#"["x"]"#),
        ("POST", "/api/v1/keys", r#"{"name":"\u202e"}"#),
    ] {
        assert_eq!(send(at, method, path, &[json_kind, ("authorization", &auth)], body).status, 422, "{method} {path} {body}");
    }
    let guess = || send(at, "POST", "/login", &[], "key=chk_guess").status;
    let told: Vec<u16> = (0..7).map(|_| guess()).collect();
    assert_eq!(told, [401, 401, 401, 401, 401, 429, 429]);
    place.stop_server();
}

#[test]
fn pages_are_answered_under_names_of_the_server_alone_and_forms_come_from_its_own_pages() {
    let mut place = Place::bare("names");
    place.serve(&[]);
    let (at, admin) = (address(&place), place.key());
    let cookie = logged_in(at, &admin);
    for host in ["evil.example", "evil.example:80", "localhost.evil.example", ""] {
        let answer = send(at, "GET", "/", &[("cookie", &cookie), ("host", host)], "");
        assert!(matches!(answer.status, 421 | 400), "{host}: {}", answer.status);
    }
    let twice = send(at, "GET", "/", &[("cookie", &cookie), ("Host", "evil.example")], "");
    assert_eq!(twice.status, 400, "two names are none: {}", twice.head);
    let port = at.port();
    assert_eq!(send(at, "GET", "/", &[("cookie", &cookie), ("host", &format!("me@127.0.0.1:{port}"))], "").status, 400);
    assert_eq!(send(at, "GET", &format!("http://evil.example:{port}/"), &[("cookie", &cookie)], "").status, 400);
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
        assert_eq!(send(at, "GET", "/", &[("cookie", &cookie), ("host", &host)], "").status, 200, "{host}");
    }
    // Who shows a key was not led here by a page of somebody else.
    assert_eq!(
        send(at, "GET", "/api/v1/status", &[("authorization", &bearer(&admin)), ("host", "proxy.example")], "").status,
        200
    );
    let body = format!("form={}&theme=dark", form_token(at, &cookie));
    let kind = ("content-type", "application/x-www-form-urlencoded");
    for (name, value) in
        [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")]
    {
        assert_eq!(send(at, "POST", "/theme", &[kind, ("cookie", &cookie), (name, value)], &body).status, 403, "{name}: {value}");
    }
    assert_eq!(send(at, "POST", "/theme", &[kind, ("cookie", &cookie), ("origin", &format!("http://{at}"))], &body).status, 303);
    let page = send(at, "GET", "/", &[("cookie", &cookie)], "");
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(
        !page.body.contains("<script>") && !page.body.contains(" style=") && !page.body.contains(" onclick="),
        "nothing stands inline"
    );
    place.stop_server();
}

/// Sends the head of a request and waits for what is said to it.
fn said_to_the_head(at: std::net::SocketAddr, head: &str) -> String {
    use std::io::{Read, Write};
    let mut socket = std::net::TcpStream::connect(at).expect("a connection");
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a limit");
    socket.write_all(head.as_bytes()).expect("sent");
    let mut first = [0; 12];
    socket.read_exact(&mut first).expect("an answer");
    String::from_utf8_lossy(&first).into_owned()
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_sent_and_refusals_are_pages_for_people() {
    let mut place = Place::bare("bodies");
    place.serve(&[]);
    let (at, admin) = (address(&place), place.key());
    let head = |path: &str, kind: &str, who: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {at}\r\n{who}\r\ncontent-type: {kind}\r\nexpect: 100-continue\r\ncontent-length: 999999999\r\n\r\n"
        )
    };
    let key = format!("authorization: {}", bearer(&admin));
    for path in ["/api/v1/keys", "/api/v1/gateway/usage", "/deploy/cloud-model"] {
        assert_eq!(said_to_the_head(at, &head(path, "application/json", &key)), "HTTP/1.1 413", "{path}");
    }
    let cookie = logged_in(at, &admin);
    let form = head("/keys", "application/x-www-form-urlencoded", &format!("cookie: {cookie}"));
    assert_eq!(said_to_the_head(at, &form), "HTTP/1.1 413");
    let html = ("accept", "text/html,application/xhtml+xml");
    let page = send(at, "GET", "/nowhere", &[("cookie", &cookie), html], "");
    assert!(page.status == 404 && page.body.contains("<h1>There is nothing at this path</h1>"), "{}", page.body);
    let page =
        send(at, "POST", "/theme", &[("cookie", &cookie), html, ("content-type", "application/x-www-form-urlencoded")], "form=x");
    assert!(page.status == 403 && page.body.contains("A0012") && page.body.contains("<h1>"), "{}", page.body);
    // Programs read what programs read, whatever they accept.
    for (path, more) in [("/api/v1/nowhere", html), ("/nowhere", ("accept", "*/*"))] {
        let told = send(at, "GET", path, &[("authorization", &bearer(&admin)), more], "");
        assert_eq!((told.status, told.json()["code"].as_str()), (404, Some("A0405")), "{path}");
    }
    let odd = send(at, "GET", "/api/v1/deployments?limitt=1", &[("authorization", &bearer(&admin))], "");
    assert!(odd.status == 422 && odd.body.contains("limitt"), "{}", odd.body);
    place.stop_server();
}

#[test]
fn a_tenant_sees_and_changes_its_own_alone() {
    let bed = Bed::start("tenants", &[]);
    let mut place = Place::bare("tenants");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    let (at, admin) = (address(&place), place.key());
    let lab = made_key(at, &admin, &json!({"role": "operator", "name": "lab", "tenant": "lab"}));
    let lab = bearer(&lab);
    place.ok(&["up", "--detach", "-y"]);
    let kind = ("content-type", "application/json");
    let as_lab = [kind, ("authorization", lab.as_str())];
    assert_eq!(send(at, "GET", "/api/v1/deployments", &as_lab, "").json()["items"], json!([]));
    for (method, path, body) in [
        ("GET", "/api/v1/deployments/small", ""),
        ("GET", "/api/v1/deployments/small/facts", ""),
        ("GET", "/api/v1/deployments/small/logs", ""),
        ("GET", "/api/v1/deployments/small/manifest", ""),
        ("GET", "/api/v1/deployments/small/generations", ""),
        ("DELETE", "/api/v1/deployments/small", ""),
        ("POST", "/api/v1/deployments/small/extend", r#"{"hours":1}"#),
        ("POST", "/api/v1/deployments/small/upgrade", "{}"),
        ("POST", "/api/v1/deployments/small/rollback", "{}"),
        ("POST", "/api/v1/deployments/small/migrate", r#"{"provider":"vast"}"#),
        ("POST", "/api/v1/saved-configs", r#"{"name":"x","deployment":"small"}"#),
        ("POST", "/api/v1/upgrades", r#"{"names":["small"]}"#),
    ] {
        let answer = send(at, method, path, &as_lab, body);
        assert_eq!(answer.status, 404, "{method} {path}: {}", answer.body);
    }
    // What it makes is its own, whatever it says; another tenant is an admin's to name.
    let wanted = |tenant: &str| json!({"name": "mine", "profile": {"model": "demo/other-7B", "gpu": {"min-vram": "16GB"}, "disk": "40GB"}, "deployment": {"profile": "mine", "tenant": tenant}});
    assert_eq!(send(at, "POST", "/api/v1/deployments", &as_lab, &wanted("other").to_string()).status, 403);
    let made = send(at, "POST", "/api/v1/deployments", &as_lab, &wanted("default").to_string());
    assert_eq!((made.status, made.json()["tenant"].as_str()), (202, Some("lab")), "{}", made.body);
    let names = |headers: &[(&str, &str)]| {
        let all = send(at, "GET", "/api/v1/deployments", headers, "").json();
        all["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|d| d["name"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&as_lab), ["mine"]);
    assert_eq!(names(&[("authorization", &bearer(&admin))]), ["small", "mine"]);
    place.ok(&["down", "--all"]);
    bed.must_be_empty();
}

#[test]
fn a_change_that_is_sent_twice_is_made_once_across_a_restart_too() {
    let mut place = Place::bare("once");
    place.serve(&[]);
    let admin = bearer(&place.key());
    let headers = [("authorization", admin.as_str()), ("content-type", "application/json"), ("idempotency-key", "one")];
    let body = r#"{"name":"made once"}"#;
    let count = |place: &Place| {
        let all = send(address(place), "GET", "/api/v1/keys", &[("authorization", &admin)], "").json();
        all["items"].as_array().expect("keys").iter().filter(|k| k["name"] == "made once").count()
    };
    let first = send(address(&place), "POST", "/api/v1/keys", &headers, body);
    assert_eq!(first.status, 201, "{}", first.body);
    let again = send(address(&place), "POST", "/api/v1/keys", &headers, body);
    assert_eq!((again.status, again.header("idempotent-replay")), (201, Some("true")));
    assert_eq!(again.json()["id"], first.json()["id"]);
    assert_eq!(again.json()["key"], Value::Null, "a key is shown once, and written down nowhere");
    place.kill_server();
    place.serve(&[]);
    assert_eq!(send(address(&place), "POST", "/api/v1/keys", &headers, body).json()["id"], first.json()["id"]);
    assert_eq!(count(&place), 1);
    let other = send(address(&place), "POST", "/api/v1/keys", &headers, r#"{"name":"another"}"#);
    assert_eq!((other.status, other.json()["code"].as_str()), (422, Some("A0425")), "{}", other.body);
    place.stop_server();
}

/// Reads events to so many facts; the last id, and the texts.
fn facts(at: SocketAddr, key: &str, after: &str, count: usize) -> (String, Vec<(u64, String)>) {
    let mut socket = TcpStream::connect(at).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    let resume = if after.is_empty() { String::new() } else { format!("last-event-id: {after}\r\n") };
    write!(socket, "GET /api/v1/events?after=0 HTTP/1.1\r\nhost: {at}\r\nauthorization: Bearer {key}\r\n{resume}\r\n")
        .expect("sent");
    let (mut last, mut all) = (after.to_owned(), vec![]);
    for line in BufReader::new(socket).lines() {
        let line = line.expect("a line");
        if let Some(id) = line.strip_prefix("id: ") {
            last = id.to_owned();
        }
        if let Some(data) = line.strip_prefix("data: ") {
            let event: Value = serde_json::from_str(data).expect("JSON");
            all.push((event["id"].as_u64().expect("an id"), event["text"].as_str().expect("a text").to_owned()));
            if all.len() == count {
                break;
            }
        }
    }
    (last, all)
}

#[test]
fn events_are_taken_up_again_without_a_gap_and_without_one_twice() {
    let mut place = Place::bare("events");
    place.serve(&[]);
    let admin = place.key();
    let change = |place: &Place, n: usize| made_key(address(place), &admin, &json!({"name": format!("key {n}")}));
    (0..4).for_each(|n| drop(change(&place, n)));
    let (last, mut all) = facts(address(&place), &admin, "", 2);
    (4..8).for_each(|n| drop(change(&place, n)));
    place.kill_server();
    place.serve(&[]);
    let (last, more) = facts(address(&place), &admin, &last, 3);
    all.extend(more);
    (8..10).for_each(|n| drop(change(&place, n)));
    all.extend(facts(address(&place), &admin, &last, 5).1);
    let made: Vec<String> =
        all.iter().filter_map(|(_, t)| t.split_once("made the key `")?.1.split_once('`').map(|(n, _)| n.to_owned())).collect();
    assert_eq!(made, (0..10).map(|n| format!("key {n}")).collect::<Vec<_>>());
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "{all:?}");
    let wrong = send(address(&place), "GET", "/api/v1/events", &[("authorization", &bearer(&admin)), ("last-event-id", "x")], "");
    assert_eq!(wrong.status, 422, "{}", wrong.body);
    place.stop_server();
}

#[test]
fn what_streams_or_waits_answers_within_a_second() {
    let bed = Bed::start("streams", &[]);
    let mut place = Place::bare("streams");
    bed.configure(&place, "", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up", "-y"]);
    let (at, admin) = (address(&place), place.key());
    let begun: serde_json::Value = serde_json::from_str(&place.ok(&["--json", "upgrade", "small", "--detach"])).expect("JSON");
    let upgrade = format!("/api/v1/upgrades/{}/stream", begun["id"].as_str().expect("an id"));
    for path in ["/api/v1/events", "/api/v1/deployments/small/logs/stream", &upgrade] {
        let mut socket = TcpStream::connect(at).expect("a connection");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
        write!(socket, "GET {path} HTTP/1.1\r\nhost: {at}\r\nauthorization: Bearer {admin}\r\n\r\n").expect("sent");
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).expect("a head within a second");
        assert!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
    }
    // A gateway that has the newest table waits for the next one, and not for long.
    let (auth, kind) = (bearer(&admin), ("content-type", "application/json"));
    let ask = |known: &str| {
        let begun = std::time::Instant::now();
        let answer = send(at, "POST", "/api/v1/gateway/table", &[kind, ("authorization", &auth)], known);
        assert!(answer.status == 200 && begun.elapsed() < Duration::from_secs(1), "{}: {:?}", answer.status, begun.elapsed());
        answer.json()
    };
    let first = ask(r#"{"id":"g","version":0}"#);
    ask(&json!({"id": "g", "version": first["table"]["version"], "epoch": first["epoch"]}).to_string());
    ask(r#"{"id":"g","version":0,"over":true}"#);
    place.ok(&["down", "--all"]);
}

#[test]
fn the_api_answers_as_it_is_described_whatever_it_is_sent() {
    let mut place = Place::bare("fuzzed");
    place.serve(&[]);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root");
    let program = root.join("target/clients/schemathesis-4.32.5/bin/schemathesis");
    assert!(program.exists(), "`cargo xtask test` installs what this test needs");
    let at = address(&place);
    // Documented failures of those whom the server asks are no faults of its own.
    let settings = "[checks.not_a_server_error]\nexpected-statuses = [\"2xx\", \"4xx\", 502, 503, 504]\n";
    let file = place.folder.join("schemathesis.toml");
    std::fs::write(&file, settings).expect("written");
    // What streams or waits has a test of its own, and a server that ends answers nothing more.
    let left_out = "(stream$|/events$|/sync$|/gateway/table$|/server/stop$)";
    let done = Command::new(program)
        .args(["--config-file", &file.display().to_string(), "run", &format!("http://{at}/api/v1/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {}", place.key()), "--exclude-path-regex", left_out])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "10",
            "--seed",
            "1",
            "--request-timeout",
            "40",
            "--workers",
            "1",
            "--no-color",
        ])
        .current_dir(&place.folder)
        .output()
        .expect("schemathesis");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}\n{err}");
    // It has really been at work: thousands of cases, and not one path left out.
    let (generated, passed) = out
        .split_once("Test cases:")
        .and_then(|(_, rest)| {
            let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u32>().ok());
            Some((numbers.next()?, numbers.next()?))
        })
        .expect("a summary");
    assert!(generated > 1000 && generated == passed, "{out}");
    place.stop_server();
}

const OVER_TLS: &str = r#"
import os, ssl, socket, urllib.request
context = ssl.create_default_context(cafile=os.environ["CERT"])
def get(url, key=None):
    asked = urllib.request.Request(url, headers={"authorization": "Bearer " + key} if key else {})
    return urllib.request.urlopen(asked, context=context, timeout=20)
assert get(os.environ["URL"] + "/healthz").status == 200
assert get(os.environ["URL"] + "/api/v1/status", os.environ["KEY"]).status == 200
assert get(os.environ["GATEWAY"] + "/models", os.environ["KEY"]).status == 200
# Whoever speaks no TLS hears nothing that could be read along.
s = socket.create_connection(("127.0.0.1", int(os.environ["URL"].rsplit(":", 1)[1])))
s.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
assert not s.recv(100).startswith(b"HTTP"), "plain HTTP was answered"
print("all is well")
"#;

#[test]
fn both_doors_speak_tls_where_they_are_given_a_certificate() {
    let mut place = Place::bare("tls");
    let (cert, key) = (place.folder.join("cert.pem"), place.folder.join("key.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
            &key.display().to_string(),
            "-out",
            &cert.display().to_string(),
        ])
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
    let (cert_name, key_name) = (cert.display().to_string(), key.display().to_string());
    // Two that do not belong together, and a file that holds none, are told at the start.
    for wrong in [[&key_name, &key_name], [&cert_name, &cert_name]] {
        let refused = place.charter(&["serve", "--listen", "127.0.0.1:0", "--tls-cert", wrong[0], "--tls-key", wrong[1]]);
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("A0014"), "{refused:?}");
    }
    place.serve(&["--tls-cert", &cert_name, "--tls-key", &key_name]);
    // The command line of this computer needs no certificate.
    let status: Value = serde_json::from_str(&place.ok(&["--json", "status"])).expect("JSON");
    let (url, gateway) =
        (status["server"]["url"].as_str().expect("a URL"), status["server"]["gateway_url"].as_str().expect("a URL"));
    assert!(url.starts_with("https://127.0.0.1:") && gateway.starts_with("https://127.0.0.1:"), "{status}");
    let python = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/clients/playwright-1.65.2/bin/python");
    let done = Command::new(python)
        .args(["-c", OVER_TLS])
        .env("CERT", &cert)
        .env("URL", url)
        .env("GATEWAY", gateway)
        .env("KEY", place.key())
        .output()
        .expect("python");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    place.stop_server();
}
