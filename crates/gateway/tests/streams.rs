//! Streams and answers: the same bytes, read in passing, and an honest end however the backend ends.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::string_slice,
    clippy::sliced_string_as_bytes,
    reason = "a test that cannot go on fails"
)]

mod support;

use charter_domain::money::UsdPerHour;
use charter_domain::routing::{Backend, Patience};
use charter_domain::time::Span;
use charter_domain::usage::End;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_request_arrives_byte_for_byte_but_for_what_is_ours() {
    let (address, got) = always(json("{}")).await;
    let rig = Rig::new(table(vec![backend("b", address)])).await;
    let body = "{ \"model\" : \"m\",\"unknown\":{\"x\":[1,2.50,1e3,-0]}, \"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9 é\",\"extra\":null}], \"top_k\" : 5}";
    let headers = "x-thing: 1\r\nx-api-key: secret\r\ncookie: a=b\r\nx-forwarded-for: 1.2.3.4\r\nx-charter-wait: 5\r\nconnection: x-hop\r\nx-hop: 1\r\nte: trailers\r\naccept-encoding: gzip\r\n";
    assert_eq!(ask(rig.address, CHAT, headers, body).await.status, 200);
    let sent = got.all().remove(0);
    let (head, sent_body) = sent.split_once("\r\n\r\n").expect("a body");
    assert_eq!(sent_body, body);
    let head = head.to_ascii_lowercase();
    assert!(head.contains("authorization: bearer engine-key") && head.contains("x-thing: 1"), "{head}");
    for gone in [SECRET, "x-api-key", "cookie", "x-forwarded-for", "x-charter", "x-hop", "te:", "accept-encoding"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
    // A stream is asked for its usage, in its own place, and nothing else changes.
    ask(rig.address, CHAT, "", STREAM).await;
    let sent = got.all().remove(1);
    assert!(sent.ends_with(r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#), "{sent}");
}

#[tokio::test]
async fn usage_is_counted_and_shown_to_those_who_asked() {
    let (address, _) = always(stream(&[HELLO, USAGE, DONE])).await;
    let rig = Rig::new(table(vec![backend("b", address)])).await;
    assert_eq!(rig.ask(STREAM).await.body, [HELLO, DONE].concat());
    let asked = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    assert_eq!(rig.ask(asked).await.body, [HELLO, USAGE, DONE].concat());
    for used in rig.used(2).await {
        assert_eq!((used.prompt_tokens, used.completion_tokens, used.estimated, used.end), (7, 3, false, End::Done));
        assert_eq!((&*used.model, &*used.group, &*used.key, &*used.tenant), ("m", "b", "k", "lab"));
    }
}

/// A backend that dies after each byte of its answer: the client has what came, an event that says so, and never the word that
/// it is done. Nothing is sent twice, and nothing stays counted.
#[tokio::test]
async fn a_backend_that_dies_at_any_byte_of_a_stream_makes_no_wrong_answer() {
    let whole = stream(&[HELLO, HELLO, USAGE, DONE]);
    for cut in 0..whole.len() {
        let part = whole[..cut].to_owned();
        let (address, got) = upstream(move |mut socket, _| {
            let part = part.clone();
            async move {
                socket.write_all(part.as_bytes()).await.ok();
                socket.shutdown().await.ok();
                None
            }
        })
        .await;
        let rig = Rig::new(table(vec![backend("b", address)])).await;
        let answer = rig.ask(STREAM).await;
        assert_eq!(got.posts(), 1, "sent once, cut at {cut}");
        let head = whole.find("\r\n\r\n").expect("a head") + 4;
        if cut < head {
            assert_eq!((answer.status, answer.body.contains("upstream_unreachable")), (502, true), "cut at {cut}: {answer:?}");
        } else {
            let events = answer.body.split("\n\n").filter(|e| e.starts_with("data: {\"choices\"")).count();
            let came = part_events(&whole[head..cut]);
            assert!(answer.status == 200 && events <= came, "cut at {cut}: {answer:?}");
            // Whoever was told that it is done has all of it.
            let done = whole[head..cut].contains("data: [DONE]\n\n");
            assert_eq!(answer.body.contains("\"error\""), !done, "cut at {cut}: {answer:?}");
            assert!(!answer.body.contains("[DONE]") || whole[..cut].contains("[DONE]"), "cut at {cut}");
        }
        until("nothing is counted any more", || rig.busy() == 0).await;
        rig.ended.cancel();
    }
}

fn part_events(text: &str) -> usize {
    text.matches("}\n\n").count()
}

#[tokio::test]
async fn each_part_of_an_answer_has_its_time() {
    // Says nothing; begins and stalls; goes on for ever.
    let (silent, _) = upstream(|socket, _| async move { std::future::pending::<Option<_>>().await.or(Some(socket)) }).await;
    let (stalls, _) = upstream(|mut socket, _| async move {
        let begun = stream(&[HELLO]);
        socket.write_all(begun[..begun.len() - 5].as_bytes()).await.ok()?;
        std::future::pending::<()>().await;
        Some(socket)
    })
    .await;
    let (endless, _) = upstream(|mut socket, _| async move {
        let begun = stream(&[HELLO]);
        socket.write_all(begun[..begun.len() - 5].as_bytes()).await.ok()?;
        let event = format!("{:x}\r\n{HELLO}\r\n", HELLO.len());
        while socket.write_all(event.as_bytes()).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        None
    })
    .await;
    let long = Patience::default();
    for (address, patience) in [
        (silent, Patience { first: Span::ms(100), ..long }),
        (stalls, Patience { between: Span::ms(100), ..long }),
        (endless, Patience { whole: Span::ms(200), ..long }),
    ] {
        let mut table = table(vec![backend("b", address)]);
        table.routes = vec![route(|r| r.patience = patience)];
        let rig = Rig::new(table).await;
        let answer = rig.ask(STREAM).await;
        assert!(answer.body.contains("upstream_timeout") && !answer.body.contains("[DONE]"), "{patience:?}: {answer:?}");
        until("it is let go", || rig.busy() == 0).await;
        assert_eq!(rig.used(1).await[0].end, End::Failed);
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_charged_for_what_it_got() {
    let (address, _) = upstream(|mut socket, _| async move {
        let begun = stream(&[HELLO, HELLO]);
        socket.write_all(begun[..begun.len() - 5].as_bytes()).await.ok()?;
        // The gateway lets go of its connection when the client has left.
        let mut rest = vec![];
        socket.read_to_end(&mut rest).await.ok();
        None
    })
    .await;
    let rig = Rig::new(table(vec![Backend { rent: UsdPerHour(3_600_000_000), ..backend("b", address) }])).await;
    let mut socket = tokio::net::TcpStream::connect(rig.address).await.expect("a connection");
    socket.write_all(request(CHAT, "", STREAM).as_bytes()).await.expect("sent");
    let mut seen = vec![];
    while seen.windows(5).filter(|w| w == b"hello").count() < 2 {
        socket.read_buf(&mut seen).await.expect("an event");
    }
    drop(socket);
    let used = rig.used(1).await.remove(0);
    assert_eq!((used.end, used.completion_tokens, used.estimated), (End::Left, 2, true));
    assert!(used.cost.0 > 0 && used.cost == used.rent, "its share of the rent: {used:?}");
    assert_eq!(rig.busy(), 0);
}

#[tokio::test]
async fn an_answer_that_is_no_stream_keeps_its_length_and_tells_its_usage() {
    let body = r#"{"id":"x","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}"#;
    let (address, _) = always(json(body)).await;
    let rig = Rig::new(table(vec![backend("b", address)])).await;
    let answer = rig.ask(PLAIN).await;
    assert_eq!((answer.body.as_str(), answer.header("content-length")), (body, Some(body.len().to_string().as_str())));
    assert_eq!(answer.header("x-charter-backend"), Some("b"));
    let used = rig.used(1).await.remove(0);
    assert_eq!((used.prompt_tokens, used.cached_tokens, used.completion_tokens, used.status), (11, 4, 5, 200));
}

#[tokio::test]
async fn a_gateway_that_ends_finishes_streams_refuses_new_ones_and_loses_no_usage() {
    let (begin, gate) = tokio::sync::watch::channel(false);
    let (address, _) = upstream(move |mut socket, _| {
        let mut gate = gate.clone();
        async move {
            let whole = stream(&[HELLO, USAGE, DONE]);
            let half = whole.find(USAGE).expect("usage") - 4;
            socket.write_all(whole[..half].as_bytes()).await.ok()?;
            gate.wait_for(|open| *open).await.ok()?;
            socket.write_all(whole[half..].as_bytes()).await.ok()?;
            Some(socket)
        }
    })
    .await;
    let rig = Rig::new(table(vec![backend("b", address)])).await;
    // The database is away for the first batches.
    rig.book.refusals.store(2, std::sync::atomic::Ordering::SeqCst);
    let at = rig.address;
    let streams: Vec<_> = (0..20).map(|_| tokio::spawn(async move { ask(at, CHAT, "", STREAM).await })).collect();
    until("all are under way", || rig.busy() == 20).await;
    rig.ended.cancel();
    until("new ones are refused", || std::net::TcpStream::connect(at).is_err()).await;
    begin.send_replace(true);
    for stream in streams {
        assert_eq!(stream.await.expect("a stream").body, [HELLO, DONE].concat());
    }
    rig.served.await.expect("an end");
    assert_eq!(rig.book.written.lock().expect("a lock").len(), 20, "nothing is lost");
}

/// A client that takes its answer slowly holds back its own backend and nobody else, and nothing is gathered for it.
#[tokio::test]
async fn a_client_that_reads_slowly_holds_up_its_own_stream_alone() {
    // Far more than what the kernel keeps for four sockets.
    const EVENTS: u64 = 2_000_000;
    let written = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = std::sync::Arc::clone(&written);
    let (endless, _) = upstream(move |mut socket, _| {
        let count = std::sync::Arc::clone(&count);
        async move {
            let begun = stream(&[HELLO]);
            socket.write_all(begun[..begun.len() - 5].as_bytes()).await.ok()?;
            let event = format!("{:x}\r\n{HELLO}\r\n", HELLO.len());
            for _ in 0..EVENTS {
                socket.write_all(event.as_bytes()).await.ok()?;
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
            None
        }
    })
    .await;
    let (quick, _) = always(stream(&[HELLO, USAGE, DONE])).await;
    let other = Backend {
        served_names: vec![charter_domain::routing::ServedName { name: "n".into(), parent: None }],
        ..backend("q", quick)
    };
    let rig = Rig::new(table(vec![backend("b", endless), other])).await;
    let mut slow = tokio::net::TcpStream::connect(rig.address).await.expect("a connection");
    slow.write_all(request(CHAT, "", STREAM).as_bytes()).await.expect("sent");
    // It reads nothing: the backend's own writing comes to a stand, long before its end.
    let count = || written.load(std::sync::atomic::Ordering::SeqCst);
    until("the stream has begun", || count() > 0).await;
    let mut before = 0;
    while count() != before {
        before = count();
        for _ in 0..20 {
            let answer = rig.ask(&STREAM.replace("\"m\"", "\"n\"")).await;
            assert_eq!(answer.body, [HELLO, DONE].concat(), "others are served meanwhile");
        }
    }
    assert!(before < EVENTS / 2, "{before} events are on their way: somebody gathers them");
    // A little at a time is enough to go on.
    let mut piece = [0; 65536];
    while count() == before {
        assert!(slow.read(&mut piece).await.expect("a piece") > 0, "its stream goes on");
    }
    drop(slow);
    until("nothing is counted any more", || rig.busy() == 0).await;
}
