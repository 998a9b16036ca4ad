//! Chains: whatever the first one does before its answer has begun, the client sees one good answer, and what it used is booked
//! where it was used.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails"
)]

mod support;

use charter_domain::routing::{Backend, KeyLimits, Patience, Route, RouteTable};
use charter_domain::time::Span;
use charter_domain::usage::End;
use std::net::SocketAddr;

use support::{
    CHAT, DONE, HELLO, ROLE, Rig, USAGE, always, ask, backend, good, json, named, request, status, stream, table, upstream,
};
use tokio::io::AsyncWriteExt;

/// `m` is served by `first`, and `second` stands behind it.
fn pair(first: SocketAddr, second: SocketAddr) -> RouteTable {
    let patience = Patience { first: Span::ms(400), between: Span::ms(400), ..Patience::default() };
    let route = Route { fallback: vec!["second".into()], patience, ..Route::plain("m") };
    RouteTable { routes: vec![route], ..table(vec![backend("first", first), named("second", second)]) }
}

const PLAIN: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
const STREAM: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;

#[tokio::test]
async fn whatever_the_first_one_does_before_it_begins_the_client_sees_one_good_answer() {
    let money = |code: &str| format!(r#"{{"error":{{"message":"no money","type":"insufficient_quota","code":"{code}"}}}}"#);
    let said = |kind: &str| format!(r#"{{"error":{{"message":"no","type":"{kind}","code":"{kind}"}}}}"#);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":\"overloaded\"}}\n\n";
    let ways: Vec<(&str, String)> = vec![
        ("500", status(500, &said("server_error"))),
        ("502", status(502, "")),
        ("503 overloaded", status(503, &said("overloaded"))),
        ("504", status(504, &said("timeout"))),
        ("529", status(529, &said("overloaded_error"))),
        ("401", status(401, &said("invalid_api_key"))),
        ("402", status(402, &said("billing_error"))),
        ("403", status(403, &said("permission"))),
        ("404", status(404, &said("model_not_found"))),
        ("408", status(408, &said("timeout"))),
        ("429 rate", status(429, &said("rate_limit_exceeded"))),
        ("429 money", status(429, &money("insufficient_quota"))),
        ("429 credit", status(429, &money("credit_balance_exhausted"))),
        ("400 context", status(400, &said("context_length_exceeded"))),
        ("200 and an error", json(r#"{"error":{"message":"overloaded","type":"server_error","code":null}}"#)),
        ("garbage", "this is no HTTP at all\r\n\r\n".to_owned()),
        ("nothing", String::new()),
        ("an empty stream", format!("{head}0\r\n\r\n")),
        ("a role and the end", stream(&[ROLE])),
        ("an error first", stream(&[error])),
        ("a role, then an error", stream(&[ROLE, error])),
        ("a head and the end of the connection", head.to_owned()),
    ];
    for (what, first) in ways {
        let (at, first_got) = upstream(move |mut socket, _| {
            let first = first.clone();
            async move {
                socket.write_all(first.as_bytes()).await.ok()?;
                // What it says is all that it says.
                None
            }
        })
        .await;
        let (other, second_got) = good().await;
        let rig = Rig::new(pair(at, other)).await;
        let of_streams =
            what.contains("stream") || what.contains("role") || what.contains("error first") || what.contains("head");
        let asked: &[&str] = if of_streams { &[STREAM] } else { &[PLAIN, STREAM] };
        for (count, body) in asked.iter().enumerate() {
            let answer = rig.ask(body).await;
            assert_eq!(answer.status, 200, "{what}: {answer:?}");
            let good = answer.body.contains("from the second") || (answer.body.contains("hello") && answer.body.ends_with(DONE));
            assert!(good && !answer.body.contains("error"), "{what}: {answer:?}");
            assert_eq!(answer.header("x-charter-backend"), Some("second"), "{what}");
            assert!(answer.header("x-charter-attempts").is_some_and(|text| text.starts_with("m: ")), "{what}: {answer:?}");
            assert_eq!(second_got.posts(), count + 1, "{what}");
        }
        assert!(first_got.posts() >= 1, "{what}");
        let used = rig.used(asked.len()).await;
        let done: Vec<_> = used.iter().filter(|u| u.end == End::Done).collect();
        assert!(done.iter().all(|u| &*u.model == "second" && &*u.instead_of == "m"), "{what}: {used:?}");
        assert!(
            done.len() == asked.len() && done.iter().all(|u| &*u.backend == "second" && u.completion_tokens > 0),
            "{what}: {used:?}"
        );
        assert!(
            used.iter().filter(|u| &*u.backend == "first").all(|u| u.end == End::Failed && u.cost.0 == 0),
            "{what}: {used:?}"
        );
        assert_eq!(rig.busy(), 0, "{what}");
    }
}

#[tokio::test]
async fn who_says_nothing_in_time_is_left_for_the_next_one() {
    for begins in
        [String::new(), "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()]
    {
        let (at, _) = upstream(move |mut socket, _| {
            let begins = begins.clone();
            async move {
                socket.write_all(begins.as_bytes()).await.ok()?;
                std::future::pending::<()>().await;
                None
            }
        })
        .await;
        let (other, _) = good().await;
        let rig = Rig::new(pair(at, other)).await;
        let answer = rig.ask(STREAM).await;
        assert!(answer.status == 200 && answer.body.contains("hello"), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_request_itself_is_told_and_nobody_else_is_asked() {
    let refusal = r#"{"error":{"message":"bad","type":"invalid_request_error","param":"x","code":"bad"}}"#;
    for code in [400, 413, 422] {
        let (at, _) = always(status(code, refusal)).await;
        let (other, second) = good().await;
        let rig = Rig::new(pair(at, other)).await;
        for body in [PLAIN, STREAM] {
            let answer = rig.ask(body).await;
            assert_eq!((answer.status, answer.body.as_str()), (code, refusal), "{answer:?}");
        }
        assert_eq!(second.posts(), 0);
    }
}

#[tokio::test]
async fn after_the_first_content_there_is_no_silent_switch() {
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":null}}\n\n";
    for events in [vec![ROLE, HELLO], vec![ROLE, HELLO, error]] {
        let (at, _) = always(stream(&events)).await;
        let (other, second) = good().await;
        let rig = Rig::new(pair(at, other)).await;
        let answer = rig.ask(STREAM).await;
        let told = answer.body.contains("hello") && answer.body.contains("\"error\"") && !answer.body.contains("[DONE]");
        assert!(answer.status == 200 && told, "{answer:?}");
        assert_eq!(second.posts(), 0);
    }
}

#[tokio::test]
async fn a_whole_chain_that_fails_tells_what_was_said_last() {
    let (at, _) = always(status(503, r#"{"error":{"message":"one","type":"server_error","code":"overloaded"}}"#)).await;
    let (other, _) =
        always(status(429, r#"{"error":{"message":"two","type":"rate_limit_error","code":"rate_limit_exceeded"}}"#)).await;
    let rig = Rig::new(pair(at, other)).await;
    let answer = rig.ask(PLAIN).await;
    assert!(answer.status == 429 && answer.body.contains("two"), "{answer:?}");
}

#[tokio::test]
async fn a_name_that_is_only_being_started_is_waited_for_when_nobody_else_can() {
    let (dead, _) = always(status(503, "{}")).await;
    let (other, got) = good().await;
    let starting = |ready| Backend { ready, starting: !ready, ..backend("first", other) };
    let of = |ready| RouteTable { backends: vec![starting(ready), named("second", dead)], ..pair(dead, dead) };
    let rig = Rig::new(of(false)).await;
    let address = rig.address;
    let asked = tokio::spawn(async move { ask(address, CHAT, "", PLAIN).await });
    let waits = || rig.gateway.stats().waiting.iter().any(|(_, n)| *n == 1);
    support::until("it waits", waits).await;
    rig.table(of(true)).await;
    let answer = asked.await.expect("an answer");
    assert!(answer.status == 200 && got.posts() == 1, "{answer:?}");
}

fn tiers(small: SocketAddr, large: SocketAddr) -> RouteTable {
    let tiers = [("simple", "small"), ("complex", "large")].map(|(tier, name)| (tier.to_owned(), name.to_owned()));
    let route = Route { tiers: tiers.into(), ..Route::plain("auto") };
    RouteTable { routes: vec![route], ..table(vec![named("small", small), named("large", large)]) }
}

#[tokio::test]
async fn each_way_to_say_how_hard_it_is_leads_to_the_model_of_its_tier() {
    let (small, _) = good().await;
    let (large, large_got) = good().await;
    let rig = Rig::new(tiers(small, large)).await;
    let hello = r#""messages":[{"role":"user","content":"Hi!"}]"#;
    let hard = r#""messages":[{"role":"user","content":"Prove that there are infinitely many primes congruent to 3 modulo 4, then derive a lower bound step by step and analyse the complexity of an algorithm that enumerates them."}]"#;
    // header, fields, words, the backend, what is told of the plan
    let cases = [
        (Some("8"), "", hello, "large", "tier=complex; model=large; effort=8"),
        (Some("2"), r#","effort":9"#, hard, "small", "tier=reflex; model=small; effort=2"),
        (None, r#","effort":9"#, hello, "large", "tier=critical; model=large; effort=9"),
        (None, r#","effort":3,"reasoning_effort":"high""#, hello, "small", "tier=simple; model=small; effort=3"),
        (None, r#","reasoning_effort":"high""#, hello, "large", "tier=complex; model=large; effort=8"),
        (None, r#","reasoning_effort":"medium""#, hello, "small", "tier=moderate; model=small; effort=5"),
        (None, r#","effort":2,"min_effort":7"#, hello, "large", "tier=complex; model=large; effort=7"),
        (None, r#","min_effort":10"#, hello, "large", "tier=critical; model=large; effort=10"),
        (Some("6"), r#","min_effort":7"#, hello, "large", "tier=complex; model=large; effort=7"),
        (None, "", hello, "small", ""),
        (None, "", hard, "large", ""),
    ];
    for (header, fields, words, backend, plan) in cases {
        for streams in ["", r#","stream":true"#] {
            let body = format!(r#"{{"model":"auto",{words}{fields}{streams}}}"#);
            let header = header.map_or(String::new(), |effort| format!("x-charter-effort: {effort}\r\n"));
            let answer = ask(rig.address, CHAT, &header, &body).await;
            assert_eq!((answer.status, answer.header("x-charter-backend")), (200, Some(backend)), "{body}: {answer:?}");
            let told = answer.header("x-charter-plan").expect("a plan");
            assert!(told.starts_with("tier=") && (plan.is_empty() || told == plan), "{body}: {told}");
        }
    }
    for got in large_got.all() {
        assert!(got.contains("\"model\":\"large\"") && !got.contains("\"effort\"") && !got.contains("min_effort"), "{got}");
        assert!(!got.contains("x-charter"), "{got}");
    }
    for (header, fields) in [
        ("x-charter-effort: 11\r\n", ""),
        ("x-charter-effort: hard\r\n", ""),
        ("", r#","effort":0"#),
        ("", r#","min_effort":1.5"#),
    ] {
        let answer = ask(rig.address, CHAT, header, &format!(r#"{{"model":"auto",{hello}{fields}}}"#)).await;
        assert!(answer.status == 400 && answer.body.contains("from 1 to 10"), "{header}{fields}: {answer:?}");
    }
}

#[tokio::test]
async fn a_model_that_is_named_comes_before_any_plan_and_charters_own_fields_never_go_upstream() {
    let (small, got) = good().await;
    let (large, large_got) = good().await;
    let rig = Rig::new(tiers(small, large)).await;
    for (header, fields) in [("x-charter-effort: 9\r\n", ""), ("", r#","effort":9"#), ("", r#","min_effort":9"#)] {
        let body = format!(r#"{{"model":"small","messages":[]{fields}}}"#);
        let answer = ask(rig.address, CHAT, header, &body).await;
        assert_eq!((answer.status, answer.header("x-charter-backend")), (200, Some("small")), "{answer:?}");
    }
    assert!(got.all().iter().all(|text| text.ends_with(r#"{"model":"small","messages":[]}"#)), "{:?}", got.all());
    assert_eq!(large_got.posts(), 0);
}

#[tokio::test]
async fn a_model_that_cannot_call_tools_never_gets_a_tool_request() {
    let (small, small_got) = good().await;
    let (large, large_got) = good().await;
    let mut of = tiers(small, large);
    of.backends[1].tools = false;
    let rig = Rig::new(of.clone()).await;
    let tools = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
    let asked = format!(r#"{{"model":"auto","effort":9,"messages":[],{tools}}}"#);
    let answer = rig.ask(&asked).await;
    assert_eq!((answer.status, answer.header("x-charter-backend")), (200, Some("small")), "{answer:?}");
    let direct = rig.ask(&format!(r#"{{"model":"large","messages":[],{tools}}}"#)).await;
    assert!(direct.status == 400 && direct.body.contains("tools_not_supported"), "{direct:?}");
    of.backends[0].tools = false;
    rig.table(of).await;
    let answer = rig.ask(&asked).await;
    assert!(answer.status == 400 && answer.body.contains("tools_not_supported"), "{answer:?}");
    assert_eq!((small_got.posts(), large_got.posts()), (1, 0));
}

#[tokio::test]
async fn a_caller_without_the_right_gets_the_plain_path() {
    let (small, small_got) = good().await;
    let (large, _) = good().await;
    let rig = Rig::new(tiers(small, large)).await;
    let answer = rig.ask(r#"{"model":"auto","effort":10,"messages":[{"role":"user","content":"x"}]}"#).await;
    assert_eq!((answer.status, answer.header("x-charter-backend")), (200, Some("large")), "{answer:?}");
    assert_eq!(small_got.posts(), 0);
}

/// A first model that calls the gateway's tool so often before it answers.
async fn orchestrator(consults: usize) -> (SocketAddr, support::Got) {
    upstream(move |mut socket, text| async move {
        let asked = text.matches("\"role\":\"tool\"").count();
        let call = r#"data: {"id":"o","model":"small","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"consult_reasoner","arguments":""}}]},"finish_reason":null}]}"#;
        let more = r#"data: {"id":"o","model":"small","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"question\":\"why?\"}"}}]},"finish_reason":null}]}"#;
        let end = r#"data: {"id":"o","model":"small","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#;
        let theirs = call.replace("consult_reasoner", "weather");
        let hello = "data: {\"id\":\"o\",\"model\":\"small\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"so it is\"},\"finish_reason\":null}]}\n\n";
        let stop = "data: {\"id\":\"o\",\"model\":\"small\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let answer = if text.contains("call mine") {
            stream(&[ROLE, &format!("{theirs}\n\n"), &format!("{end}\n\n"), USAGE, DONE])
        } else if asked < consults && text.contains("self-contained") {
            stream(&[ROLE, &format!("{call}\n\n"), &format!("{more}\n\n"), &format!("{end}\n\n"), USAGE, DONE])
        } else {
            stream(&[ROLE, hello, stop, USAGE, DONE])
        };
        socket.write_all(answer.as_bytes()).await.ok()?;
        Some(socket)
    })
    .await
}

#[tokio::test]
async fn hard_requests_are_answered_in_several_steps_for_those_who_may() {
    let (small, small_got) = orchestrator(1).await;
    let (large, large_got) = good().await;
    let mut of = tiers(small, large);
    of.keys = vec![support::key(KeyLimits { agentic: true, ..KeyLimits::default() })];
    let rig = Rig::new(of).await;
    let hard = r#""effort":9,"messages":[{"role":"user","content":"hard"}]"#;
    let plain = rig.ask(&format!(r#"{{"model":"auto",{hard}}}"#)).await;
    assert!(plain.status == 200 && plain.body.contains("so it is") && !plain.body.contains("consult_reasoner"), "{plain:?}");
    assert_eq!((small_got.posts(), large_got.posts()), (2, 1));
    assert!(large_got.all()[0].contains("why?") && !large_got.all()[0].contains("tools"), "{:?}", large_got.all());
    assert!(
        small_got.all()[1].contains("from the second") && small_got.all()[1].contains("\"tool_call_id\":\"t1\""),
        "{:?}",
        small_got.all()
    );
    let streamed = rig.ask(&format!(r#"{{"model":"auto","stream":true,{hard}}}"#)).await;
    assert!(
        streamed.body.contains("so it is") && streamed.body.ends_with(DONE) && !streamed.body.contains("consult"),
        "{streamed:?}"
    );
    assert!(streamed.header("x-charter-plan").is_some_and(|plan| plan.contains("effort=9")), "{streamed:?}");
    // The client's own tools are the client's.
    let tools = r#""tools":[{"type":"function","function":{"name":"weather"}}]"#;
    let body = format!(r#"{{"model":"auto","effort":9,{tools},"messages":[{{"role":"user","content":"call mine"}}]}}"#);
    let handed = rig.ask(&body).await;
    assert!(handed.body.contains("\"weather\"") && handed.body.contains("\"finish_reason\":\"tool_calls\""), "{handed:?}");
    // Whoever does not want it says so.
    let off = ask(rig.address, CHAT, "x-charter-agentic: off\r\n", &format!(r#"{{"model":"auto",{hard}}}"#)).await;
    assert_eq!(off.header("x-charter-backend"), Some("large"), "{off:?}");
    let used = rig.used(8).await;
    assert!(used.iter().all(|u| u.end == End::Done && &*u.key == "k"), "{used:?}");
    assert_eq!(rig.busy(), 0);
}

#[tokio::test]
async fn steps_have_an_end_and_the_last_one_is_an_answer() {
    let (small, small_got) = orchestrator(100).await;
    let (large, large_got) = good().await;
    let mut of = tiers(small, large);
    of.keys = vec![support::key(KeyLimits { agentic: true, ..KeyLimits::default() })];
    let rig = Rig::new(of).await;
    let answer = rig.ask(r#"{"model":"auto","effort":9,"messages":[{"role":"user","content":"hard"}]}"#).await;
    assert!(answer.status == 200 && answer.body.contains("so it is"), "{answer:?}");
    assert!(small_got.posts() <= 4 && large_got.posts() <= 3, "{} {}", small_got.posts(), large_got.posts());
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_steps_ends_what_is_under_way() {
    let (small, _) = orchestrator(1).await;
    let (large, large_got) = upstream(|socket, _| async move {
        std::future::pending::<()>().await;
        Some(socket)
    })
    .await;
    let mut of = tiers(small, large);
    of.keys = vec![support::key(KeyLimits { agentic: true, ..KeyLimits::default() })];
    let rig = Rig::new(of).await;
    let body = r#"{"model":"auto","effort":9,"stream":true,"messages":[{"role":"user","content":"hard"}]}"#;
    let mut socket = tokio::net::TcpStream::connect(rig.address).await.expect("a connection");
    socket.write_all(request(CHAT, "", body).as_bytes()).await.expect("sent");
    support::until("the reasoning model is asked", || large_got.posts() == 1).await;
    assert_eq!(rig.busy(), 1);
    drop(socket);
    support::until("nothing is under way", || rig.busy() == 0).await;
}

#[tokio::test]
async fn a_stream_without_its_end_is_told_to_be_none() {
    let (at, _) = always(stream(&[ROLE, HELLO])).await;
    let rig = Rig::new(table(vec![backend("b", at)])).await;
    let answer = rig.ask(support::STREAM).await;
    assert!(
        answer.body.contains("hello") && answer.body.contains("upstream_unreachable") && !answer.body.contains("[DONE]"),
        "{answer:?}"
    );
    let used = rig.used(1).await;
    assert_eq!(used[0].end, End::Failed);
    // Some engines say why they write no more, and not that they are done.
    let reason = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let (at, _) = always(stream(&[ROLE, HELLO, reason])).await;
    rig.table(table(vec![backend("b", at)])).await;
    let answer = rig.ask(support::STREAM).await;
    assert!(!answer.body.contains("error"), "{answer:?}");
}

#[tokio::test]
async fn of_several_members_only_those_that_call_tools_get_tools_and_steps_give_one_answer() {
    let (small, small_got) = good().await;
    let (large, large_got) = good().await;
    let mut of = table(vec![backend("one", small), Backend { tools: false, ..backend("two", large) }]);
    of.keys = vec![support::key(KeyLimits { agentic: true, ..KeyLimits::default() })];
    let rig = Rig::new(of).await;
    for _ in 0..6 {
        let tools = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
        assert_eq!(rig.ask(&format!(r#"{{"model":"m","messages":[],{tools}}}"#)).await.status, 200);
    }
    assert_eq!((small_got.posts(), large_got.posts()), (6, 0));
    let (caller, _) = orchestrator(1).await;
    let mut of = tiers(caller, large);
    of.keys = vec![support::key(KeyLimits { agentic: true, ..KeyLimits::default() })];
    rig.table(of).await;
    let several = rig.ask(r#"{"model":"auto","effort":9,"n":2,"messages":[{"role":"user","content":"hard"}]}"#).await;
    assert_eq!(several.header("x-charter-backend"), Some("large"), "two answers are no work for steps: {several:?}");
}

#[tokio::test]
async fn what_a_client_writes_switches_no_backend_off() {
    let echo = r#"{"error":{"message":"role: 'spend limit' is not one of user, assistant","type":"BadRequestError","code":400}}"#;
    let (at, got) = always(status(400, echo)).await;
    let (other, _) = good().await;
    let rig = Rig::new(pair(at, other)).await;
    for count in 1..=2 {
        let answer = rig.ask(PLAIN).await;
        assert_eq!((answer.status, got.posts()), (400, count), "{answer:?}");
    }
}
