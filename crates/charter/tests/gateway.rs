//! The gateway: byte-exact, prompt, fair to its limits, and alive while the control plane is dead.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use support::{Place, Separate, chat, open, request, wait_until};

#[test]
fn streams_and_requests_live_through_a_kill_of_the_control_plane() {
    let mut place = Place::new("split");
    place.configure("      env: {STANDIN_TOKEN_MS: \"20\"}\n", "  small: {profile: small}\n");
    place.serve(&["--no-gateway"]);
    let alone = Separate::begin(&place);
    place.ok(&["up"]);
    let key = place.key();
    wait_until("the gateway has the route", || chat(alone.address, &key, "small", 1, false).is_ok_and(|a| a.status == 200));
    // Twenty streams of about two seconds are under way when the control plane dies.
    let streams: Vec<_> = (0..20)
        .map(|_| {
            let (address, key) = (alone.address, key.clone());
            std::thread::spawn(move || chat(address, &key, "small", 100, true))
        })
        .collect();
    let first = open(
        alone.address,
        "POST",
        "/v1/chat/completions",
        &key,
        br#"{"model":"small","stream":true,"max_tokens":50,"messages":[{"role":"user","content":"x "}]}"#,
    )
    .expect("stream");
    let mut first = BufReader::new(first);
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        first.read_line(&mut line).expect("an event");
    }
    place.kill_server();
    // New requests go on too, with the last routes.
    for _ in 0..20 {
        assert_eq!(chat(alone.address, &key, "small", 1, false).expect("an answer").status, 200);
    }
    let mut rest = String::new();
    first.read_to_string(&mut rest).expect("the rest of the stream");
    assert!(rest.contains("data: [DONE]"), "{rest}");
    for stream in streams {
        let answer = stream.join().expect("thread").expect("stream");
        assert!(
            answer.status == 200 && answer.body.contains("data: [DONE]") && answer.body.matches("data: {").count() == 102,
            "{answer:?}"
        );
    }
    place.serve(&["--no-gateway"]);
    assert_eq!(place.engines().len(), 1, "the engine was not touched");
    place.ok(&["down", "small"]);
    assert!(place.engines().is_empty());
}

/// A backend that records the requests that it gets, and answers them with `answer`. Whoever asks for its models is told them.
fn recorder(answer: &'static [u8], count: usize) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut left = count;
        while left > 0 {
            let Ok((mut socket, _)) = listener.accept() else { return };
            let mut bytes = vec![0; 64 * 1024];
            let mut got = vec![];
            loop {
                let n = socket.read(&mut bytes).unwrap_or(0);
                got.extend_from_slice(&bytes[..n]);
                let text = String::from_utf8_lossy(&got).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let length: usize = head
                    .lines()
                    .find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ").and_then(|v| v.parse().ok()))
                    .unwrap_or(0);
                if n == 0 || body.len() >= length {
                    break;
                }
            }
            let asks = got.starts_with(b"GET ");
            socket.write_all(if asks { MODELS } else { answer }).ok();
            if !asks {
                send.send(got).ok();
                left -= 1;
            }
        }
    });
    (address, receive)
}

const MODELS: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 56\r\nconnection: close\r\n\r\n{\"object\":\"list\",\"data\":[{\"id\":\"up-stream\",\"x\":\"yyyy\"}]}";

#[test]
fn a_registered_backend_gets_the_same_bytes_and_not_the_callers_key() {
    let mut place = Place::new("bytes");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    let (address, got) = recorder(MODELS, 1);
    place.ok(&["backend", "register", "other", &format!("http://{address}/v1")]);
    let (gateway, key) = (place.gateway(), place.key());
    let body = "{ \"model\" : \"up-stream\",\"unknown\":{\"x\":[1,2.50,1e3]}, \"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9 é\",\"extra\":null}] }";
    let answer = request(gateway, "POST", "/v1/chat/completions", &key, body.as_bytes()).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent = String::from_utf8(got.recv().expect("the request")).expect("text");
    let (head, sent_body) = sent.split_once("\r\n\r\n").expect("a body");
    assert_eq!(sent_body, body, "byte for byte");
    assert!(!sent.contains(&key) && !head.to_ascii_lowercase().contains("authorization"), "{head}");
    // Under a name of its own only the name is replaced.
    place.ok(&["backend", "remove", "other"]);
    let (address, got) = recorder(MODELS, 1);
    place.ok(&["backend", "register", "mine", &format!("http://{address}"), "--model", "up-stream"]);
    let renamed = body.replace("up-stream", "mine");
    assert_eq!(request(gateway, "POST", "/v1/completions", &key, renamed.as_bytes()).expect("an answer").status, 200);
    let sent = String::from_utf8(got.recv().expect("the request")).expect("text");
    assert!(sent.ends_with(body), "{sent}");
}

/// A backend that is asked whether it is well, and says so or not.
fn patient(well: &'static AtomicBool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let mut bytes = [0; 4096];
            // What it is asked does not matter.
            drop(socket.read(&mut bytes));
            let ill = b"HTTP/1.1 503 Ill\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            socket.write_all(if well.load(Ordering::SeqCst) { MODELS } else { ill }).ok();
        }
    });
    address
}

#[test]
fn a_registered_backend_that_is_ill_gets_nothing_until_it_is_well_again() {
    static WELL: AtomicBool = AtomicBool::new(true);
    let mut place = Place::new("ill");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["backend", "register", "other", &format!("http://{}", patient(&WELL))]);
    let (gateway, key) = (place.gateway(), place.key());
    let listed = || request(gateway, "GET", "/v1/models", &key, b"").expect("a list").body.contains("up-stream");
    let shown = || place.ok(&["backend", "list"]);
    assert!(listed() && shown().contains("well"));
    WELL.store(false, Ordering::SeqCst);
    wait_until("nobody is sent there", || !listed());
    assert!(shown().contains("no: it answered 503"), "{}", shown());
    let answer = request(gateway, "POST", "/v1/chat/completions", &key, br#"{"model":"up-stream","messages":[]}"#);
    let answer = answer.expect("an answer");
    assert!(answer.status == 503 && answer.body.contains("no_backend"), "{answer:?}");
    WELL.store(true, Ordering::SeqCst);
    wait_until("it is there again", listed);
}

#[test]
fn a_backend_sends_nobody_elsewhere_and_speaks_of_no_key() {
    let mut place = Place::new("elsewhere");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    let (gateway, key) = (place.gateway(), place.key());
    for strange in [
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ] {
        let (address, got) = recorder(strange.as_bytes(), 1);
        place.ok(&["backend", "register", "odd", &format!("http://{address}")]);
        let body = r#"{"model":"up-stream","messages":[]}"#;
        let answer = request(gateway, "POST", "/v1/chat/completions", &key, body.as_bytes()).expect("an answer");
        got.recv().expect("the request");
        assert!(answer.status == 502 && answer.body.contains("upstream_unreachable"), "{strange:?}: {answer:?}");
        place.ok(&["backend", "remove", "odd"]);
    }
}

#[test]
fn every_refusal_has_the_shape_that_clients_know() {
    let mut place = Place::new("refusals");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    let (gateway, key) = (place.gateway(), place.key());
    let limited = place.ok(&["key", "create", "--routes", "other"]).trim().to_owned();
    let path = "/v1/chat/completions";
    let big = vec![b' '; 50 * 1024 * 1024];
    type Case<'a> = (&'a str, &'a str, &'a str, &'a [u8], u16, &'a str);
    let cases: Vec<Case<'_>> = vec![
        ("POST", path, "", b"{}", 401, "invalid_api_key"),
        ("POST", path, "chk_wrong", b"{}", 401, "invalid_api_key"),
        ("POST", path, &key, b"{nonsense", 400, "invalid_json"),
        ("POST", path, &key, b"{}", 400, "missing_model"),
        ("POST", path, &key, br#"{"model":"nobody"}"#, 404, "model_not_found"),
        ("POST", path, &limited, br#"{"model":"nobody"}"#, 403, "route_not_allowed"),
        ("POST", path, &key, &big, 413, "request_too_large"),
        ("GET", path, &key, b"", 405, "method_not_allowed"),
        ("GET", "/metrics", "", b"", 401, "invalid_api_key"),
        ("GET", "/metrics", &limited, b"", 404, "not_found"),
        ("GET", "/v1/models/nobody", &key, b"", 404, "model_not_found"),
    ];
    for (method, path, key, body, status, code) in cases {
        let answer = request(gateway, method, path, key, body).expect("an answer");
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert!(answer.body.contains(&format!("\"code\":\"{code}\"")), "{answer:?}");
    }
    assert_eq!(request(gateway, "GET", "/healthz", "", b"").expect("an answer").status, 200, "the one open path");
}

#[test]
fn a_client_that_leaves_cancels_its_request_and_frees_its_place() {
    let mut place = Place::new("cancel");
    place.configure("      env: {STANDIN_TOKEN_MS: \"10\"}\n    max-concurrent: 1\n", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let (gateway, key) = (place.gateway(), place.key());
    let body = br#"{"model":"small","stream":true,"max_tokens":100000,"messages":[{"role":"user","content":"x "}]}"#;
    let mut stream = BufReader::new(open(gateway, "POST", "/v1/chat/completions", &key, body).expect("stream"));
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        stream.read_line(&mut line).expect("an event");
    }
    // The only place is taken: this one waits, and gets it when the first client leaves.
    let waiting = { std::thread::spawn(move || chat(gateway, &key, "small", 1, false)) };
    drop(stream);
    assert_eq!(waiting.join().expect("thread").expect("an answer").status, 200);
    wait_until("the engine has noticed", || place.ok(&["logs", "small"]).contains("a stream was cancelled by its client"));
    place.ok(&["down", "small"]);
}

#[test]
fn a_revoked_key_is_refused_at_once_and_an_engine_that_died_is_waited_for() {
    let mut place = Place::new("revoke");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&[]);
    place.ok(&["up"]);
    let gateway = place.gateway();
    let created: serde_json::Value =
        serde_json::from_str(&place.ok(&["--json", "key", "create", "--name", "ci", "--expires", "1h"])).expect("JSON");
    let key = created["key"].as_str().expect("key").to_owned();
    assert_eq!(chat(gateway, &key, "small", 1, false).expect("an answer").status, 200);
    assert!(!place.ok(&["--json", "key", "list"]).contains(&key), "a key is shown once");
    place.ok(&["key", "revoke", created["id"].as_str().expect("id")]);
    wait_until("the key is refused", || chat(gateway, &key, "small", 1, false).is_ok_and(|a| a.status == 401));
    let own = place.key();
    let old = place.engines()[0];
    support::signal("KILL", old);
    // The next one is started by itself. Who asks meanwhile waits; only what the old one had been given is lost.
    let mut lost = 0;
    wait_until("another engine answers", || {
        let status = chat(gateway, &own, "small", 1, false).map_or(0, |a| a.status);
        assert!(matches!(status, 200 | 502), "{status}");
        lost += u32::from(status == 502);
        status == 200 && place.engines().first().is_some_and(|pid| *pid != old)
    });
    assert!(lost <= 1, "{lost}");
}

#[test]
fn only_the_methods_of_the_api_are_answered_and_known_names_are_not_unknown() {
    let mut place = Place::new("methods");
    place.configure("      options: {max-model-len: 99999}\n", "  small: {profile: small}\n");
    place.serve(&[]);
    let (gateway, key) = (place.gateway(), place.key());
    assert!(!place.charter(&["up"]).status.success());
    let body = br#"{"model":"small","messages":[]}"#;
    for method in ["DELETE", "PUT", "PATCH"] {
        assert_eq!(request(gateway, method, "/v1/chat/completions", &key, body).expect("an answer").status, 405, "{method}");
    }
    wait_until("the failed deployment is known to have no backend", || {
        request(gateway, "POST", "/v1/chat/completions", &key, body)
            .is_ok_and(|a| a.status == 503 && a.body.contains("no_backend"))
    });
}

/// A stream of some two seconds, read up to its first event.
fn begun(address: SocketAddr, key: &str) -> BufReader<std::net::TcpStream> {
    let body = br#"{"model":"small","stream":true,"max_tokens":100,"messages":[{"role":"user","content":"x "}]}"#;
    let mut stream = BufReader::new(open(address, "POST", "/v1/chat/completions", key, body).expect("stream"));
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        stream.read_line(&mut line).expect("an event");
    }
    stream
}

#[test]
fn a_restarted_control_plane_waits_for_the_streams_of_a_gateway_that_it_has_not_heard_yet() {
    let mut place = Place::new("restart");
    place.configure("      env: {STANDIN_TOKEN_MS: \"20\"}\n", "  small: {profile: small}\n");
    place.serve(&["--no-gateway"]);
    let mut alone = Separate::begin(&place);
    place.ok(&["up"]);
    let key = place.key();
    let mut stream = begun(alone.address, &key);
    place.kill_server();
    place.serve(&["--no-gateway"]);
    place.ok(&["down", "small"]);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the rest of the stream");
    assert!(rest.contains("data: [DONE]"), "{rest}");
    // One that ends in order says so, and nobody waits for it.
    support::signal("TERM", alone.child.id());
    assert!(alone.child.wait().expect("gateway").success());
    place.ok(&["up"]);
    place.ok(&["down", "small"]);
}

#[test]
fn a_gateway_finds_a_control_plane_that_came_back_at_another_address() {
    let mut place = Place::new("moved");
    place.configure("", "  small: {profile: small}\n");
    place.serve(&["--no-gateway"]);
    let control = support::field(&std::fs::read_to_string(place.data().join("server.json")).expect("file"), "url");
    let wrong = place.command(&["gateway", "--control", &control]).env("CHARTER_KEY", "chk_wrong").output().expect("gateway");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("error[A0002]"), "{wrong:?}");
    let alone = Separate::begin(&place);
    place.ok(&["up"]);
    let key = place.key();
    place.kill_server();
    place.serve(&["--no-gateway"]);
    let later = place.ok(&["key", "create"]).trim().to_owned();
    wait_until("the gateway knows what came after the move", || {
        chat(alone.address, &later, "small", 1, false).is_ok_and(|a| a.status == 200)
    });
    assert_eq!(chat(alone.address, &key, "small", 1, false).expect("an answer").status, 200);
    place.ok(&["down", "small"]);
}

#[test]
fn a_dead_engine_is_seen_by_the_first_request_that_meets_it() {
    let mut place = Place::new("suspect");
    place.configure("", "  small: {profile: small}\n");
    // The usual look would come after an hour.
    place.serve_with(&[], &[("VASTAI_HEALTH_CHECK_INTERVAL_SECONDS", "3600")]);
    place.ok(&["up"]);
    let (gateway, key) = (place.gateway(), place.key());
    support::signal("KILL", place.engines()[0]);
    wait_until("it answers again", || chat(gateway, &key, "small", 1, false).is_ok_and(|a| a.status == 200));
    place.ok(&["down", "small"]);
}
