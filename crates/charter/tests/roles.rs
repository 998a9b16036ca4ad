//! Every path asks for the role that its description names: whoever has a weaker one is refused, whatever is sent.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use serde_json::json;
use support::Place;
use support::doors::{address, bearer, filled, form_token, logged_in, made_key, send};

#[test]
fn every_path_refuses_each_role_that_is_too_weak_for_it() {
    let mut place = Place::bare("roles");
    place.serve(&[]);
    let (at, admin) = (address(&place), place.key());
    let viewer = made_key(at, &admin, &json!({"role": "viewer", "name": "weak"}));
    let operator = made_key(at, &admin, &json!({"role": "operator", "name": "middle"}));
    let document = send(at, "GET", "/api/v1/openapi.json", &[], "").json();
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, told) in methods.as_object().expect("methods") {
            let needs = told["description"].as_str().and_then(|d| d.split('`').nth(1)).unwrap_or("viewer");
            let weaker: &[&String] = match needs {
                "admin" => &[&viewer, &operator],
                "operator" => &[&viewer],
                _ => &[],
            };
            for key in weaker {
                let (weak, json) = (bearer(key), ("content-type", "application/json"));
                let answer = send(at, &method.to_uppercase(), &filled(path), &[json, ("authorization", &weak)], "{}");
                assert_eq!(answer.status, 403, "{method} {path} needs {needs}: {}", answer.body);
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "{tried}");
    let middle = logged_in(at, &operator);
    assert_eq!(send(at, "GET", "/keys", &[("cookie", &middle)], "").status, 403, "keys are an admin's");
    for path in ["/keys", "/keys/key_1/revoke", "/settings/stop", "/quarantine/end"] {
        let (form, kind) = (format!("form={}", form_token(at, &middle)), ("content-type", "application/x-www-form-urlencoded"));
        let answer = send(at, "POST", path, &[kind, ("cookie", &middle)], &form);
        // A form is answered with the way back and a note that says why.
        let note = answer.header("set-cookie").unwrap_or_default();
        assert!(answer.status == 403 || (answer.status == 303 && note.contains("A0003")), "{path}: {} {note}", answer.status);
    }
    place.stop_server();
}
