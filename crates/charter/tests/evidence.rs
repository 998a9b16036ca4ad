//! The test bed against answers of the real service, each with the mark of where it is known from: the test bed and our adapter
//! must not merely agree with each other.

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
use support::market::Bed;
use support::request;

/// A text with every number replaced: ids, thresholds and times are the test bed's own.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !out.ends_with('0') {
            out.push('0');
        }
    }
    out.replace("0.0", "0")
}

/// What of the real answer is missing, or of another type, in the test bed's. More may be there.
fn missing(real: &Value, ours: &Value, exact: bool, at: &str) -> Vec<String> {
    match (real, ours) {
        (Value::Object(real), Value::Object(ours)) => real
            .iter()
            .flat_map(|(key, value)| match ours.get(key) {
                Some(other) => missing(value, other, exact, &format!("{at}.{key}")),
                None => vec![format!("{at}.{key} is not there")],
            })
            .collect(),
        (Value::Array(real), Value::Array(ours)) => match (real.first(), ours.first()) {
            (Some(real), Some(ours)) => missing(real, ours, exact, &format!("{at}[0]")),
            (None, _) => vec![],
            (Some(_), None) => vec![format!("{at} is empty")],
        },
        // What may be null may be something too.
        (Value::Null, _) | (Value::Number(_), Value::Number(_)) => vec![],
        (Value::Bool(real), Value::Bool(ours)) if real == ours => vec![],
        (Value::String(real), Value::String(ours)) if !exact || plain(real) == plain(ours) => vec![],
        (real, ours) => vec![format!("{at}: {real} really, {ours} here")],
    }
}

fn evidence() -> Value {
    serde_json::from_str(include_str!("../../testbed/evidence/answers.json")).expect("JSON")
}

#[test]
fn the_test_bed_answers_in_the_words_of_the_real_service() {
    let bed = Bed::start("evidence", &["--speed", "20"]);
    let found = request(bed.address, "POST", "/api/v0/bundles/", &bed.key, br#"{"limit":1}"#).expect("offers");
    let found: Value = serde_json::from_str(&found.body).expect("JSON");
    let offer = found["offers"][0]["id"].to_string();
    let (mut mine, mut wrong) = (String::new(), vec![]);
    for case in evidence()["cases"].as_array().expect("cases") {
        let text = |key: &str| case[key].as_str().unwrap_or_default();
        assert!(["C", "D", "L"].contains(&text("mark")), "a mark: {case}");
        let path = text("path").replace("@offer", &offer).replace("@mine", &mine);
        let body = if case["body"].is_null() { String::new() } else { case["body"].to_string() };
        let key = if text("key").is_empty() { bed.key.clone() } else { text("key").to_owned() };
        let answer = request(bed.address, text("method"), &path, &key, body.as_bytes()).expect("an answer");
        let ours: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if u64::from(answer.status) != case["status"].as_u64().expect("a status") {
            wrong.push(format!("{}: status {} here, {} really", text("name"), answer.status, case["status"]));
        }
        // The words of an error are what clients read; those of a success are not.
        let exact = answer.status >= 400 && case["any_text"] != true;
        wrong.extend(missing(&case["answer"], &ours, exact, text("name")));
        if text("name") == "rented" {
            mine = ours["new_contract"].to_string();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn whoever_asks_too_often_hears_it_in_one_of_four_shapes() {
    let bed = Bed::start("evidence-rate", &["--speed", "20"]);
    bed.set_faults("rate-limit*60");
    let known = evidence()["too_often"].as_array().expect("shapes").clone();
    let mut met = vec![false; known.len()];
    for _ in 0..60 {
        let answer = request(bed.address, "GET", "/api/v0/users/current", &bed.key, b"").expect("an answer");
        assert_eq!(answer.status, 429, "{answer:?}");
        let ours: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let same = |shape: &Value| match (&shape["answer"], &ours) {
            (Value::Null, Value::Null) => true,
            (Value::Null, _) | (_, Value::Null) => false,
            (real, ours) => missing(real, ours, true, "").is_empty(),
        };
        let shape = known.iter().position(same);
        met[shape.unwrap_or_else(|| panic!("a shape that was never seen: {answer:?}"))] = true;
    }
    assert!(met.iter().all(|m| *m), "all four are met: {met:?}");
}
