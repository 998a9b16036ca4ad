//! Keys at the gateway: what they may use, ask for and spend; and requests that no reader may take in two ways.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::string_slice,
    clippy::sliced_string_as_bytes,
    reason = "a test that cannot go on fails"
)]

mod support;

use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::routing::{Backend, Key, KeyLimits, RouteTable, TokenPrice};
use charter_domain::time::Span;
use charter_domain::usage::End;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::*;
use tokio::io::AsyncWriteExt;

fn with_key(backends: Vec<Backend>, limits: KeyLimits) -> RouteTable {
    RouteTable { keys: vec![key(limits)], ..table(backends) }
}

#[tokio::test]
async fn so_many_a_minute_and_so_many_at_once() {
    let (address, got) = always(json("{}")).await;
    let limits = KeyLimits { requests_per_minute: Some(5), ..KeyLimits::default() };
    let rig = Rig::new(with_key(vec![backend("b", address)], limits)).await;
    let mut refused = vec![];
    for _ in 0..8 {
        let answer = rig.ask(PLAIN).await;
        if answer.status != 200 {
            refused.push(answer);
        }
    }
    assert_eq!((got.posts(), refused.len()), (5, 3));
    assert!(refused.iter().all(|a| a.status == 429 && a.body.contains("rate_limit_exceeded")), "{refused:?}");
    let seconds: u32 = refused[0].header("retry-after").expect("a time").parse().expect("seconds");
    assert!((1..=12).contains(&seconds));
    // A key that loses its limit keeps what it has used, and may go on at once.
    rig.table(table(vec![backend("b", address)])).await;
    assert_eq!(rig.ask(PLAIN).await.status, 200);
    // And one that is taken away is refused at once.
    rig.table(RouteTable { keys: vec![], ..table(vec![backend("b", address)]) }).await;
    assert_eq!(rig.ask(PLAIN).await.status, 401);
}

#[tokio::test]
async fn a_key_sees_and_uses_its_own_names_alone() {
    let (address, _) = always(json("{}")).await;
    let mut other = backend("other", address);
    other.served_names[0].name = "hidden".into();
    let mut sick = backend("sick", address);
    sick.served_names[0].name = "sick".into();
    sick.ready = false;
    let mut of = table(vec![backend("b", address), other, sick]);
    of.keys = vec![Key { routes: vec!["m".into(), "sick".into()], operator: false, ..key(KeyLimits::default()) }];
    let rig = Rig::new(of).await;
    let get =
        |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\nconnection: close\r\n\r\n");
    let listed = raw(rig.address, &get("/v1/models")).await.body;
    assert!(listed.contains(r#""id":"m""#) && !listed.contains("hidden") && !listed.contains("sick"), "{listed}");
    assert_eq!(raw(rig.address, &get("/v1/models/hidden")).await.status, 404);
    assert_eq!(rig.ask(r#"{"model":"hidden"}"#).await.status, 403);
    // Engines have paths that nobody guards: none of them is reached, however it is written.
    for path in [
        "/metrics",
        "/v1/completions/",
        "/tokenize",
        "/v1/../metrics",
        "/v1/load_lora_adapter",
        "//v1/models",
        "/v1%2fmodels",
        "/v1/chat/completions;x",
    ] {
        assert_eq!(raw(rig.address, &get(path)).await.status, 404, "{path}");
    }
}

/// The limit is reached by many at once, through two gateways that share a bank: it is never passed.
#[tokio::test]
async fn a_limit_on_money_holds_for_many_at_once_and_two_gateways() {
    let body = r#"{"usage":{"prompt_tokens":10,"completion_tokens":20}}"#;
    let (address, _) = upstream(move |mut socket, _| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        socket.write_all(json(body).as_bytes()).await.ok()?;
        Some(socket)
    })
    .await;
    let limits = KeyLimits { day: Some(Usd(1000)), ..KeyLimits::default() };
    let mut of = with_key(vec![backend("b", address)], limits);
    // A dollar for each token: ten read and twenty written cost thirty micro-dollars.
    let price = TokenPrice { input: Usd(1_000_000), cached: Usd(1_000_000), output: Usd(1_000_000) };
    of.routes = vec![route(|r| r.price = Some(price))];
    let vault = Arc::new(Vault::default());
    vault.0.store(1000, Ordering::SeqCst);
    let rigs = [Rig::with(of.clone(), Arc::clone(&vault)).await, Rig::with(of, Arc::clone(&vault)).await];
    let asking: Vec<_> = (0..100)
        .map(|n| {
            let at = rigs[n % 2].address;
            tokio::spawn(async move { ask(at, CHAT, "", r#"{"model":"m","max_tokens":20,"messages":[]}"#).await })
        })
        .collect();
    let (mut good, mut refused) = (0, 0);
    for one in asking {
        let answer = one.await.expect("a task");
        match answer.status {
            200 => good += 1,
            429 => {
                refused += 1;
                assert!(answer.body.contains("insufficient_quota"), "{answer:?}");
                assert_eq!(answer.header("x-should-retry"), Some("false"));
            }
            _ => panic!("{answer:?}"),
        }
    }
    let mut spent = 0;
    for rig in &rigs {
        until("all is written", || rig.busy() == 0).await;
    }
    until("all is written", || rigs.iter().map(|r| r.book.written.lock().expect("a lock").len()).sum::<usize>() == good).await;
    for rig in &rigs {
        spent += rig.book.written.lock().expect("a lock").iter().map(|u| u.cost.0).sum::<i64>();
    }
    assert_eq!((spent, good + refused), (i64::try_from(good).expect("a count") * 30, 100));
    assert!((300..=1000).contains(&spent), "{spent}");
    for rig in rigs {
        rig.ended.cancel();
        rig.served.await.expect("an end");
    }
    assert_eq!(vault.0.load(Ordering::SeqCst), 1000 - spent, "what was drawn and not spent is put back at the end");
}

#[tokio::test]
async fn a_stream_that_has_used_up_its_money_is_cut_and_says_why() {
    let (address, _) = upstream(|mut socket, _| async move {
        let begun = stream(&[HELLO]);
        socket.write_all(begun[..begun.len() - 5].as_bytes()).await.ok()?;
        let event = format!("{:x}\r\n{HELLO}\r\n", HELLO.len());
        while socket.write_all(event.as_bytes()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        None
    })
    .await;
    let mut of = with_key(vec![backend("b", address)], KeyLimits { day: Some(Usd(2000)), ..KeyLimits::default() });
    let price = TokenPrice { input: Usd(0), cached: Usd(0), output: Usd(1_000_000) };
    of.routes = vec![route(|r| r.price = Some(price))];
    let vault = Arc::new(Vault::default());
    vault.0.store(2000, Ordering::SeqCst);
    let rig = Rig::with(of, vault).await;
    let answer = rig.ask(r#"{"model":"m","max_tokens":10,"stream":true,"messages":[]}"#).await;
    assert!(
        answer.status == 200 && answer.body.contains("insufficient_quota") && !answer.body.contains("[DONE]"),
        "{}",
        answer.body.len()
    );
    let used = rig.used(1).await.remove(0);
    assert_eq!(used.end, End::Cut);
    assert!((1500..=2000).contains(&used.cost.0), "{used:?}");
}

#[tokio::test]
async fn the_rent_is_shared_among_those_who_are_answered_at_the_same_time() {
    let (address, _) = upstream(|mut socket, _| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        socket.write_all(json("{}").as_bytes()).await.ok()?;
        Some(socket)
    })
    .await;
    // A dollar a second.
    let rig = Rig::new(table(vec![Backend { rent: UsdPerHour(3_600_000_000), ..backend("b", address) }])).await;
    let at = rig.address;
    let begun = std::time::Instant::now();
    let asking: Vec<_> = (0..10).map(|_| tokio::spawn(async move { ask(at, CHAT, "", PLAIN).await })).collect();
    for one in asking {
        assert_eq!(one.await.expect("a task").status, 200);
    }
    let took = begun.elapsed().as_micros();
    let all: i64 = rig.used(10).await.iter().map(|u| u.rent.0).sum();
    assert!(all >= 290_000 && u128::try_from(all).expect("a sum") <= took, "{all} micro-dollars in {took} us");
}

#[tokio::test]
async fn the_very_same_request_of_the_same_tenant_is_answered_from_before() {
    let body = r#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":20}}"#;
    let (address, got) = always(json(body)).await;
    let mut of = table(vec![backend("b", address)]);
    of.keys.push(named_key("friend", "chk_friend", "lab", KeyLimits::default()));
    of.keys.push(named_key("stranger", "chk_stranger", "shop", KeyLimits::default()));
    let price = TokenPrice { input: Usd(1_000_000), cached: Usd(0), output: Usd(1_000_000) };
    of.routes = vec![route(|r| (r.cache, r.price) = (Some(Span::min(5)), Some(price)))];
    let rig = Rig::new(of).await;
    let with = |secret: &str, body: &str| request(CHAT, "", body).replace(SECRET, secret);
    let first = raw(rig.address, &with(SECRET, PLAIN)).await;
    rig.used(1).await;
    for (secret, asked, posts, hit) in [
        (SECRET, PLAIN, 1, true),
        ("chk_friend", PLAIN, 1, true),
        ("chk_stranger", PLAIN, 2, false),
        (SECRET, r#"{"model":"m", "messages":[]}"#, 3, false),
    ] {
        let answer = raw(rig.address, &with(secret, asked)).await;
        assert_eq!((answer.body.as_str(), got.posts()), (first.body.as_str(), posts), "{secret} {asked}");
        assert_eq!(answer.header("x-charter-cache"), hit.then_some("hit"));
    }
    let used = rig.used(5).await;
    let kept: Vec<_> = used.iter().filter(|u| u.end == End::Cached).collect();
    assert_eq!((kept.len(), kept[0].cost, kept[0].saved), (2, Usd(0), Usd(30)));
    let get = format!("GET /metrics HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\nconnection: close\r\n\r\n");
    let metrics = raw(rig.address, &get).await.body;
    for line in [
        r#"charter_gateway_cache_hits_total{model="m"} 2"#,
        r#"charter_gateway_cache_saved_usd_micros_total{model="m"} 60"#,
        r#"charter_gateway_requests_total{model="m"} 5"#,
        r#"charter_gateway_answers_total{backend="b",group="b",status="2xx"} 3"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn what_two_readers_could_take_in_two_ways_reaches_nobody() {
    let (address, got) = always(json("{}")).await;
    let rig = Rig::new(table(vec![backend("b", address)])).await;
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\n");
    let length = PLAIN.len();
    let chunked = format!("{length:x}\r\n{PLAIN}\r\n0\r\n\r\n");
    let cases = [
        format!("{head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"),
        format!("{head}content-length: {length}\r\ncontent-length: {length}\r\n\r\n{PLAIN}"),
        format!("{head}x: a\r\n b\r\ncontent-length: {length}\r\n\r\n{PLAIN}"),
        format!("{head}x: a\ncontent-length: {length}\r\n\r\n{PLAIN}"),
        format!("{head}content-length: +{length}\r\n\r\n{PLAIN}"),
        format!("{head}transfer-encoding: chunked, identity\r\n\r\n{chunked}"),
        format!("{head}x: a\0b\r\ncontent-length: {length}\r\n\r\n{PLAIN}"),
    ];
    for text in cases {
        let answer = raw(rig.address, &text).await;
        assert!(matches!(answer.status, 0 | 400), "{text:?}: {answer:?}");
    }
    let large = format!("{head}x: {}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{PLAIN}", "y".repeat(40_000));
    assert_eq!(raw(rig.address, &large).await.status, 431);
    assert_eq!(got.posts(), 0);
    // A body in chunks is fine, and goes on with its length.
    let fine = format!("{head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunked}");
    assert_eq!(raw(rig.address, &fine).await.status, 200);
    let sent = got.all().remove(0).to_ascii_lowercase();
    assert!(sent.contains(&format!("content-length: {length}")) && !sent.contains("transfer-encoding"), "{sent}");
}

#[tokio::test]
async fn what_a_backend_says_of_itself_ends_at_the_gateway() {
    let answer = "HTTP/1.1 200 OK\r\nserver: secret/1\r\nset-cookie: a=b\r\nalt-svc: h3\r\nx-thing: 1\r\nconnection: x-hop\r\nx-hop: 1\r\ncontent-length: 2\r\n\r\n{}";
    let (address, _) = always(answer).await;
    let rig = Rig::new(table(vec![backend("b", address)])).await;
    let head = rig.ask(PLAIN).await.head.to_ascii_lowercase();
    assert!(head.contains("x-thing: 1") && head.contains("x-request-id: req_"), "{head}");
    for gone in ["secret/1", "set-cookie", "alt-svc", "x-hop"] {
        assert!(!head.contains(gone), "{gone}: {head}");
    }
}

/// Addresses of a cloud's keepers are connected to by nobody, however they are written; the answer says nothing of them.
#[tokio::test]
async fn no_backend_is_where_a_clouds_keepers_are() {
    for host in [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "0.0.0.0",
        "[64:ff9b::a9fe:a9fe]",
    ] {
        let mut keeper = backend("b", "127.0.0.1:1".parse().expect("an address"));
        keeper.reach = charter_domain::routing::Reach::Http { base_url: format!("http://{host}:80") };
        let rig = Rig::new(table(vec![keeper])).await;
        let begun = std::time::Instant::now();
        let answer = rig.ask(PLAIN).await;
        assert!(answer.status == 502 && !answer.body.contains("169.254"), "{host}: {answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{host} was tried");
    }
}

/// What tried it found: a kept stream showed the usage that nobody had asked for, and an error was kept as an answer.
#[tokio::test]
async fn a_kept_stream_is_what_was_shown_and_errors_are_not_kept() {
    let (address, got) = always(stream(&[HELLO, USAGE, DONE])).await;
    let (sick, failing) = always(stream(&["data: {\"error\":{\"message\":\"x\"}}\n\n", DONE])).await;
    let mut of = table(vec![backend("b", address)]);
    of.routes = vec![route(|r| r.cache = Some(Span::min(5)))];
    let rig = Rig::new(of.clone()).await;
    for _ in 0..3 {
        assert_eq!(rig.ask(STREAM).await.body, [HELLO, DONE].concat());
        rig.used(1).await;
    }
    assert_eq!(got.posts(), 1);
    let rig = Rig::new(RouteTable { backends: vec![backend("sick", sick)], ..of }).await;
    for count in 1..=2 {
        assert!(rig.ask(STREAM).await.body.contains("error"));
        rig.used(count).await;
    }
    assert_eq!(failing.posts(), 2);
}

/// A stream that was paid for in advance is not cut for the events that carry nothing; a request that is too dear takes nothing away
/// from smaller ones.
#[tokio::test]
async fn what_is_paid_for_is_given_and_what_is_too_dear_takes_nothing() {
    let (address, _) = always(stream(&[HELLO, HELLO, HELLO, HELLO, HELLO, USAGE, DONE])).await;
    let mut of = with_key(vec![backend("b", address)], KeyLimits { day: Some(Usd(100)), ..KeyLimits::default() });
    let price = TokenPrice { input: Usd(0), cached: Usd(0), output: Usd(10_000_000) };
    of.routes = vec![route(|r| r.price = Some(price))];
    let vault = Arc::new(Vault::default());
    vault.0.store(100, Ordering::SeqCst);
    let rig = Rig::with(of, Arc::clone(&vault)).await;
    let dear = rig.ask(r#"{"model":"m","max_tokens":1000000000,"stream":true,"messages":[]}"#).await;
    assert_eq!((dear.status, vault.0.load(Ordering::SeqCst)), (429, 100));
    let answer = rig.ask(r#"{"model":"m","max_tokens":5,"stream":true,"messages":[]}"#).await;
    assert!(answer.body.ends_with(DONE), "{answer:?}");
}
