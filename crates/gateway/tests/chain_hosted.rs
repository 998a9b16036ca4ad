//! Hosted models in a chain: what they are told, and what they may cost.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod support;

use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::routing::{Backend, Hosted, KeyLimits, Route, RouteTable, Speaks, TokenPrice};
use charter_domain::time::Span;
use charter_domain::usage::End;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use support::{CHAT, Rig, always, ask, backend, good, named, request, status, table, upstream};
use tokio::io::AsyncWriteExt;

/// A model of a hosted provider, at a dollar for each token that it writes.
fn hosted(name: &str, address: SocketAddr, speaks: Speaks) -> Backend {
    let price = TokenPrice { input: Usd(0), cached: Usd(0), output: Usd(1_000_000_000_000) };
    let limits = KeyLimits { day: Some(Usd(10_000_000)), ..KeyLimits::default() };
    let hosted = Some(Hosted { provider: "out".into(), limits, price });
    Backend { speaks, hosted, upstream_model: Some("gpt-4o-mini".into()), rent: UsdPerHour(0), ..named(name, address) }
}

#[tokio::test]
async fn a_hosted_providers_money_is_never_overspent_however_many_come_at_once() {
    let (dead, _) = always(status(503, "{}")).await;
    let (out, got) = good().await;
    let route = Route { fallback: vec!["out".into()], ..Route::plain("m") };
    let of = RouteTable { routes: vec![route], ..table(vec![backend("first", dead), hosted("out", out, Speaks::OpenAi)]) };
    let vault = Arc::new(support::Vault(AtomicI64::new(10_000_000)));
    let rig = Rig::with(of, Arc::clone(&vault)).await;
    let body = r#"{"model":"m","max_tokens":4,"messages":[{"role":"user","content":"hi"}]}"#;
    let asked: Vec<_> = (0..30).map(|_| tokio::spawn(ask(rig.address, CHAT, "", body))).collect();
    let mut good = 0;
    for one in asked {
        let answer = one.await.expect("an answer");
        match answer.status {
            200 => good += 1,
            429 => assert!(answer.body.contains("insufficient_quota") && answer.body.contains("`out`"), "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    assert!((1..=5).contains(&good) && got.posts() == good, "{good} at two dollars each, of ten");
    let used = rig.used(good).await;
    let cost: i64 = used.iter().filter(|u| &*u.backend == "out").map(|u| u.cost.0).sum();
    assert_eq!(cost, 2_000_000 * i64::try_from(good).expect("a number"), "booked on the one that answered");
    // What is nobody's to ask for by name is not listed either.
    let direct = ask(rig.address, CHAT, "", &body.replace("\"m\"", "\"out\"")).await;
    assert_eq!(direct.status, 404, "{direct:?}");
}

#[tokio::test]
async fn a_hosted_api_is_told_nothing_of_the_client_and_gets_a_bound() {
    let (out, got) = good().await;
    let route = Route { fallback: vec!["out".into()], ..Route::plain("m") };
    let of = RouteTable { routes: vec![route], ..table(vec![hosted("out", out, Speaks::OpenAi)]) };
    let vault = Arc::new(support::Vault(AtomicI64::new(i64::MAX / 4)));
    let rig = Rig::with(of, vault).await;
    let secret = "cookie: a=b\r\nx-company: us\r\nopenai-organization: org\r\nuser-agent: mine\r\n";
    let answer = ask(rig.address, CHAT, secret, r#"{"model":"m","effort":3,"messages":[{"role":"user","content":"hi"}]}"#).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let sent = got.all().remove(0);
    let head = sent.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
    for hidden in ["cookie", "x-company", "openai-organization", "mine", "chk_test", "x-charter"] {
        assert!(!head.contains(hidden), "{head}");
    }
    assert!(head.contains("authorization: bearer engine-key") && sent.contains("16384") && !sent.contains("effort"), "{sent}");
    assert!(sent.contains("\"model\":\"gpt-4o-mini\""), "{sent}");
}

#[tokio::test]
async fn whoever_leaves_a_hosted_api_before_it_has_told_its_usage_has_spent_what_was_set_aside() {
    let (out, got) = upstream(|socket, _| async move {
        std::future::pending::<()>().await;
        Some(socket)
    })
    .await;
    let route = Route { fallback: vec!["out".into()], ..Route::plain("m") };
    // Whatever people say of how long it may take, its price and its limits stay.
    let odd = Route { cache: Some(Span::s(60)), price: None, ..Route::plain("out") };
    let of = RouteTable { routes: vec![route, odd], ..table(vec![hosted("out", out, Speaks::OpenAi)]) };
    let rig = Rig::with(of, Arc::new(support::Vault(AtomicI64::new(100_000_000)))).await;
    let body = r#"{"model":"m","max_tokens":4,"messages":[{"role":"user","content":"hi"}]}"#;
    let mut socket = tokio::net::TcpStream::connect(rig.address).await.expect("a connection");
    socket.write_all(request(CHAT, "", body).as_bytes()).await.expect("sent");
    support::until("it is asked", || got.posts() == 1).await;
    drop(socket);
    let used = rig.used(1).await;
    assert_eq!((used[0].end, used[0].cost.0), (End::Left, 4_000_000), "{used:?}");
    let unbound = r#"{"model":"m","max_tokens":null,"messages":[{"role":"user","content":"hi"}]}"#;
    let mut socket = tokio::net::TcpStream::connect(rig.address).await.expect("a connection");
    socket.write_all(request(CHAT, "", unbound).as_bytes()).await.expect("sent");
    let answer = ask(rig.address, CHAT, "", unbound).await;
    assert_eq!(answer.status, 429, "no bound is the largest there is, and so much is not left: {answer:?}");
}
