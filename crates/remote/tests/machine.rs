//! Sessions, streams and scripts against the SSH server of this crate, whose commands are real processes.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

use charter_remote::host::{Host, HostError};
use charter_remote::server::{Machine, Server};
use charter_remote::{Error, Forward, KeyPair, Link, State, Target};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Place {
    home: PathBuf,
    server: Server,
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.home).ok();
    }
}

async fn place(name: &str) -> Place {
    let home = std::env::temp_dir().join(format!("charter-remote-{name}-{}", std::process::id()));
    std::fs::remove_dir_all(&home).ok();
    std::fs::create_dir_all(&home).expect("home");
    let machine = Machine {
        home: home.clone(),
        path: vec![],
        authorized: KeyPair::derive(b"s", "ours").public_line(),
        host_key: KeyPair::derive(b"s", "host"),
    };
    Place { server: Server::start(machine).await.expect("server"), home }
}

fn target(place: &Place, key: &str, host_key: Option<&str>) -> Target {
    let address = place.server.address();
    Target {
        host: address.ip().to_string(),
        port: address.port(),
        user: "u".into(),
        key: KeyPair::derive(b"s", key),
        host_key: host_key.map(str::to_owned),
    }
}

fn host(place: &Place) -> Host {
    Host(Link::new(target(place, "ours", None)))
}

#[tokio::test]
async fn a_command_gets_its_input_and_gives_its_output_and_status() {
    let place = place("exec").await;
    let session = charter_remote::Session::connect(&target(&place, "ours", None)).await.expect("session");
    let output = session.exec("cat; echo err >&2; exit 3", b"in", 1000, Duration::from_secs(10)).await.expect("exec");
    assert_eq!((output.status, output.text().as_str(), output.stderr.as_slice()), (Some(3), "in", &b"err\n"[..]));
    let flood = session.exec("head -c 100000 /dev/zero", b"", 1000, Duration::from_secs(10)).await;
    assert!(matches!(flood, Err(Error::TooMuch { limit: 1000, .. })));
    let slow = session.exec("sleep 60", b"", 1000, Duration::from_millis(200)).await;
    assert!(matches!(slow, Err(Error::Timeout { .. })));
    // For a person the beginning is kept, whether there is too much of it or it takes too long.
    let (late, cut) = session.exec_some("echo begun; sleep 60", 1000, Duration::from_secs(1)).await.expect("the beginning");
    assert_eq!((late.text().as_str(), late.status, cut), ("begun\n", None, true));
    let (flood, cut) = session.exec_some("head -c 100000 /dev/zero", 1000, Duration::from_secs(10)).await.expect("the beginning");
    assert_eq!((flood.stdout.len(), cut), (1000, true));
    let (whole, cut) = session.exec_some("echo all; exit 4", 1000, Duration::from_secs(10)).await.expect("all of it");
    assert_eq!((whole.text().as_str(), whole.status, cut), ("all\n", Some(4), false));
}

#[tokio::test]
async fn a_wrong_key_and_a_changed_host_key_are_told_apart_and_final() {
    let place = place("keys").await;
    let refused = charter_remote::Session::connect(&target(&place, "somebody else's", None)).await.expect_err("refused");
    assert!(matches!(refused, Error::Refused { .. }) && refused.is_final(), "{refused:?}");
    let changed = charter_remote::Session::connect(&target(&place, "ours", Some("SHA256:other"))).await.expect_err("changed");
    let Error::HostKey { found, .. } = changed else { panic!("{changed:?}") };
    assert!(
        charter_remote::Session::connect(&target(&place, "ours", Some(&found))).await.is_ok(),
        "the shown key is the right one"
    );
}

#[tokio::test]
async fn a_process_is_started_once_per_number_and_ends_with_its_children() {
    let place = place("launch").await;
    let (host, tag) = (host(&place), "charter.test.r1.1");
    host.claim(tag, &[0]).await.expect("claim");
    host.claim(tag, &[0]).await.expect("claim again");
    assert!(matches!(host.claim("charter.test.r2.1", &[0]).await, Err(HostError::Said(why)) if why.contains("GPU 0 is held")));
    let env = [("SECRET_TOKEN".to_owned(), "a'b\\c\nd".to_owned())];
    // A grandchild in the same session that has lost its environment must end too.
    let script = "printf '%s|%s' \"$SECRET_TOKEN\" \"$CHARTER_PORT\"; env -i sleep 300 & sleep 300";
    let first = host.launch(tag, 1, 21000, &env, script).await.expect("launch");
    let again = host.launch(tag, 1, 21000, &env, script).await.expect("launch again");
    assert_eq!(first, again, "the same number starts nothing");
    let seen = host.observe(tag, 1, 0, 1000).await.expect("observe");
    assert!(seen.alive && !seen.listening && seen.exit.is_none());
    assert_eq!(seen.log.as_deref(), Some(format!("a'b\\c\nd|{}", first.port).as_str()));
    let unchanged = host.observe(tag, 1, seen.log_bytes, 1000).await.expect("observe");
    assert_eq!(unchanged.log, None);
    let second = host.launch(tag, 2, 21000, &env, "echo two; echo 7 > exit").await.expect("launch 2");
    assert_ne!(first.pid, second.pid);
    assert!(!alive(first.pid), "the older start has ended");
    assert!(matches!(host.launch(tag, 1, 21000, &env, script).await, Err(HostError::Said(why)) if why.contains("stale")));
    host.end(tag).await.expect("end");
    host.end(tag).await.expect("end again");
    assert!(!host.is_present(tag).await.expect("look"));
    assert!(!place.home.join(".charter").exists(), "nothing is left behind");
    assert!(matches!(host.launch(tag, 3, 21000, &env, script).await, Err(HostError::Said(why)) if why.contains("gone")));
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}

#[tokio::test]
async fn streams_and_forwards_lead_to_a_port_there_and_close_with_their_user() {
    let place = place("stream").await;
    let engine = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = engine.local_addr().expect("address").port();
    let link = Link::new(target(&place, "ours", None));
    let mut stream = link.open_stream(port).await.expect("stream");
    let (mut there, _) = engine.accept().await.expect("accept");
    stream.write_all(b"ping").await.expect("write");
    let mut buffer = [0; 4];
    there.read_exact(&mut buffer).await.expect("read");
    assert_eq!(&buffer, b"ping");
    assert_eq!(link.state(), State::Up);
    drop(stream);
    assert_eq!(there.read(&mut buffer).await.expect("end"), 0, "dropping our end closes theirs");
    let forward = Forward::open(link.clone(), "127.0.0.1", 0, port).await.expect("forward");
    let mut here = tokio::net::TcpStream::connect(forward.address()).await.expect("connect");
    here.write_all(b"ping").await.expect("write");
    let (mut there, _) = engine.accept().await.expect("accept");
    there.read_exact(&mut buffer).await.expect("read");
    drop(engine);
    let closed = link.open_stream(1).await;
    assert!(matches!(closed, Err(Error::Port { port: 1, .. })));
    let taken = Forward::open(link, "127.0.0.1", forward.address().port(), port).await;
    assert!(matches!(taken, Err(Error::Bind { .. })));
}

#[tokio::test]
async fn a_file_is_put_whole_or_not_at_all() {
    let place = place("file").await;
    let session = charter_remote::Session::connect(&target(&place, "ours", None)).await.expect("session");
    let path = place.home.join("it's a file");
    session.put_file(&path.display().to_string(), b"bytes").await.expect("put");
    assert_eq!(std::fs::read(&path).expect("read"), b"bytes");
    assert!(session.put_file("/nonexistent/folder/file", b"x").await.is_err());
}

#[tokio::test]
async fn hostile_names_reach_no_shell() {
    let place = place("names").await;
    let host = host(&place);
    for tag in ["a/b", "../x", "a b", "$(touch x)", "", "."] {
        assert!(matches!(host.claim(tag, &[]).await, Err(HostError::Said(why)) if why == "bad name"), "{tag}");
    }
    assert!(!place.home.join("x").exists());
}
