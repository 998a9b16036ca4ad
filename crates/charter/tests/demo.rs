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
    assert_eq!(names, ["search", "rent", "boot", "deploy", "ask", "change", "what-if", "upgrade", "destroy", "verify-empty"]);
    assert!(report["requests"].as_u64().is_some_and(|n| n > 200));
}

#[test]
fn a_demo_that_is_told_to_end_leaves_no_process_and_no_folder() {
    let folder = std::env::temp_dir().join(format!("charter-demo-told-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_charter"))
        .args(["--json", "demo", "--once"])
        .env("TMPDIR", &folder)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("demo");
    // Its machine has booted once its engine's folder is there.
    let booted = || {
        let demos = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        demos.flat_map(|d| std::fs::read_dir(d.path().join("market")).into_iter().flatten().flatten()).next().is_some()
    };
    let begun = std::time::Instant::now();
    while !booted() && begun.elapsed().as_secs() < 20 && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Command::new("kill").arg(child.id().to_string()).status().expect("kill");
    let status = child.wait().expect("an end");
    assert_eq!(status.code(), Some(1), "it cleans up, and says that it was told to end");
    assert_eq!(std::fs::read_dir(&folder).expect("the folder").count(), 0, "nothing is left in it");
    let home = folder.display().to_string();
    let left = std::fs::read_dir("/proc").expect("processes").flatten().filter(|p| {
        std::fs::read(p.path().join("environ")).is_ok_and(|e| String::from_utf8_lossy(&e).contains(&format!("HOME={home}")))
    });
    assert_eq!(left.count(), 0, "no engine is left");
    std::fs::remove_dir_all(&folder).expect("clean up");
}

#[test]
fn a_demo_that_is_looked_at_shows_a_live_page_and_ends_well_when_it_is_told_to() {
    use std::io::{BufRead, BufReader, Read, Write};
    let mut child = Command::new(env!("CARGO_BIN_EXE_charter"))
        .arg("demo")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("demo");
    let mut lines = BufReader::new(child.stdout.take().expect("output")).lines().map_while(Result::ok);
    let mut field = |name: &str| lines.find_map(|l| l.strip_prefix(name).map(|v| v.trim().to_owned())).expect("a line");
    let (dashboard, key) = (field("dashboard:"), field("key:"));
    // Everything has been shown, and it only runs on.
    field("gateway:");
    let address = dashboard.trim_start_matches("http://").to_owned();
    let ask = |request: &str| {
        let mut socket = std::net::TcpStream::connect(&address).expect("a connection");
        socket.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let body = format!("key={key}");
    let entered = ask(&format!(
        "POST /login HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    let cookie = entered.split_once("charter_session=").expect("a cookie").1.split(';').next().expect("its value").to_owned();
    let page =
        ask(&format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncookie: charter_session={cookie}\r\n\r\n"));
    assert!(page.contains("demo/stand-in-7B") && page.contains("running"), "{page}");
    Command::new("kill").arg(child.id().to_string()).status().expect("kill");
    let last = lines.last().expect("a last line");
    assert!(child.wait().expect("an end").success(), "{last}");
    assert!(last.contains("0 failed, 0 machines left behind"), "{last}");
}
