//! The demo, as a new user runs it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

use std::process::Command;

#[test]
fn the_demo_goes_through_every_step_and_leaves_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_charter")).args(["--json", "demo", "--once"]).output().expect("demo");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    assert!(output.status.success(), "{report}");
    assert_eq!(
        (report["ok"].as_bool(), report["leaked"].as_u64(), report["failed_requests"].as_u64()),
        (Some(true), Some(0), Some(0))
    );
    let names: Vec<&str> = report["steps"].as_array().expect("steps").iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(names, ["search", "rent", "boot", "deploy", "ask", "destroy", "verify-empty"]);
    assert!(report["requests"].as_u64().is_some_and(|n| n > 0));
}
