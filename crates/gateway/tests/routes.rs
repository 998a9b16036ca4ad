//! Who gets a request, and who does not: routes, breakers, retries, and requests that wait.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::string_slice,
    clippy::sliced_string_as_bytes,
    reason = "a test that cannot go on fails"
)]

mod support;

use charter_domain::routing::{Backend, KeyLimits, Patience, Policy, RouteTable, Weighted};
use charter_domain::time::Span;
use charter_gateway::Notice;
use std::time::Duration;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_backend_that_cannot_be_reached_costs_no_request() {
    let (good, got) = always(json("{}")).await;
    // Nobody listens there any more.
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let mut rig = Rig::new(table(vec![backend("dead", dead), backend("good", good)])).await;
    for _ in 0..40 {
        assert_eq!(rig.ask(PLAIN).await.status, 200);
    }
    assert_eq!(got.posts(), 40, "each was sent once");
    assert_eq!(rig.notices.recv().await, Some(Notice::Failing("dead".into())));
    assert_eq!(rig.used(40).await.iter().filter(|u| &*u.backend == "good").count(), 40);
}

#[tokio::test]
async fn what_was_sent_is_never_sent_again() {
    let (closes, got) = upstream(|socket, _| async move {
        drop(socket);
        None
    })
    .await;
    let (good, others) = always(json("{}")).await;
    let rig = Rig::new(table(vec![backend("closes", closes), backend("good", good)])).await;
    let mut lost = 0;
    for _ in 0..20 {
        lost += usize::from(rig.ask(PLAIN).await.status == 502);
    }
    assert!(lost >= 1 && got.posts() == lost && got.posts() + others.posts() == 20, "{lost} {} {}", got.posts(), others.posts());
}

#[tokio::test]
async fn connections_that_ended_while_nobody_used_them_cost_no_request() {
    let (closes, got) = upstream(|mut socket, _| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // It says nothing of it, and ends the connection all the same.
        socket.write_all(json("{}").as_bytes()).await.ok()?;
        None
    })
    .await;
    let rig = Rig::new(table(vec![Backend { max_concurrent: 400, ..backend("b", closes) }])).await;
    let at = rig.address;
    // More at a time than the runtime lets one task look at.
    let asking: Vec<_> = (0..300).map(|_| tokio::spawn(async move { ask(at, CHAT, "", PLAIN).await.status })).collect();
    for one in asking {
        assert_eq!(one.await.expect("a task"), 200);
    }
    for _ in 0..5 {
        assert_eq!(rig.ask(PLAIN).await.status, 200);
    }
    assert_eq!(got.posts(), 305);
}

#[tokio::test]
async fn an_error_without_a_body_is_an_error() {
    let (empty, _) = always("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let rig = Rig::new(table(vec![backend("b", empty)])).await;
    for _ in 0..5 {
        let answer = rig.ask(PLAIN).await;
        assert_eq!((answer.status, answer.body.as_str()), (503, ""));
    }
    let used = rig.used(5).await;
    assert!(used.iter().all(|u| u.end == charter_domain::usage::End::Failed && u.status == 503), "{used:?}");
    let answer = rig.ask(PLAIN).await;
    assert!(answer.body.contains("no_backend"), "its breaker is open: {answer:?}");
}

#[tokio::test]
async fn what_speaks_no_http_is_told_at_once() {
    let (other, _) = upstream(|mut socket, _| async move {
        socket.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.ok()?;
        Some(socket)
    })
    .await;
    let rig = Rig::new(table(vec![backend("b", other)])).await;
    let answer = rig.ask(PLAIN).await;
    assert_eq!(answer.status, 502, "{answer:?}");
}

#[tokio::test]
async fn one_that_fails_fast_does_not_win() {
    let (bad, failing) = always(status(500, "{}")).await;
    let (good, fine) = upstream(|mut socket, _| async move {
        // It works for its answers, and so is always the busier one.
        tokio::time::sleep(Duration::from_millis(20)).await;
        socket.write_all(json("{}").as_bytes()).await.ok()?;
        Some(socket)
    })
    .await;
    let rig = Rig::new(table(vec![backend("bad", bad), backend("good", good)])).await;
    let at = rig.address;
    let asking: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..25 {
                    ask(at, CHAT, "", PLAIN).await;
                }
            })
        })
        .collect();
    for one in asking {
        one.await.expect("a task");
    }
    assert!(failing.posts() <= 15 && fine.posts() >= 185, "{} failed, {} were answered", failing.posts(), fine.posts());
}

#[tokio::test]
async fn the_gateways_own_overload_trips_no_breaker() {
    let (slow, got) = upstream(|mut socket, _| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        socket.write_all(json("{}").as_bytes()).await.ok()?;
        Some(socket)
    })
    .await;
    let mut table = table(vec![Backend { max_concurrent: 1, ..backend("b", slow) }]);
    table.routes = vec![route(|r| r.patience = Patience { queue: Span::ms(120), ..Patience::default() })];
    let rig = Rig::new(table).await;
    let at = rig.address;
    let asking: Vec<_> = (0..30).map(|_| tokio::spawn(async move { ask(at, CHAT, "", PLAIN).await })).collect();
    let mut refused = 0;
    for one in asking {
        let answer = one.await.expect("a task");
        assert!(answer.status == 200 || (answer.status == 429 && answer.body.contains("queue_full")), "{answer:?}");
        assert!(answer.status == 200 || answer.header("retry-after").is_some());
        refused += usize::from(answer.status == 429);
    }
    assert!(refused > 0 && got.posts() == 30 - refused, "one at a time, and none that was refused was sent");
    assert_eq!(rig.ask(PLAIN).await.status, 200);
}

#[tokio::test]
async fn a_route_shares_out_by_weight_and_calls_each_by_its_own_name() {
    let (one, first) = always(json("{}")).await;
    let (two, second) = always(json("{}")).await;
    let named = |id: &str, at| Backend { upstream_model: Some(format!("{id}-model")), ..backend(id, at) };
    let mut backends = vec![named("one", one), named("two", two)];
    backends[0].served_names[0].name = "first".into();
    backends[1].served_names[0].name = "second".into();
    let weights = |a, b| [("one", a), ("two", b)].map(|(backend, weight)| Weighted { backend: backend.into(), weight }).to_vec();
    let auto = charter_domain::routing::Route {
        policy: Policy::Weighted,
        backends: weights(3, 1),
        ..charter_domain::routing::Route::plain("auto")
    };
    let rig = Rig::new(RouteTable { routes: vec![auto.clone()], ..table(backends.clone()) }).await;
    for _ in 0..40 {
        assert_eq!(rig.ask(r#"{"model":"auto","messages":[]}"#).await.status, 200);
    }
    assert!((28..=32).contains(&first.posts()), "{} {}", first.posts(), second.posts());
    assert!(first.all()[0].contains(r#"{"model":"one-model""#) && second.all()[0].contains(r#"{"model":"two-model""#));
    // The whole route moves without a request lost.
    let moved = charter_domain::routing::Route { backends: weights(0, 1), ..auto };
    rig.table(RouteTable { routes: vec![moved], ..table(backends) }).await;
    let before = second.posts();
    for _ in 0..10 {
        assert_eq!(rig.ask(r#"{"model":"auto","messages":[]}"#).await.status, 200);
    }
    assert_eq!(second.posts(), before + 10);
}

#[tokio::test]
async fn conversations_and_sessions_stay_where_they_are() {
    let (one, first) = always(json("{}")).await;
    let (two, second) = always(json("{}")).await;
    let mut of = table(vec![backend("one", one), backend("two", two)]);
    of.routes = vec![route(|r| r.policy = Policy::Prefix)];
    let rig = Rig::new(of.clone()).await;
    let mut body = r#"{"model":"m","messages":[{"role":"system","content":"S1"}"#.to_owned();
    for turn in 0..8 {
        body.push_str(&format!(r#",{{"role":"user","content":"{turn}"}}"#));
        rig.ask(&format!("{body}]}}")).await;
    }
    assert_eq!([first.posts(), second.posts()].iter().max(), Some(&8), "one conversation, one backend");
    of.routes = vec![route(|r| r.policy = Policy::Session)];
    rig.table(of).await;
    let before = [first.posts(), second.posts()];
    for _ in 0..8 {
        ask(rig.address, CHAT, "x-charter-session: s1\r\n", PLAIN).await;
    }
    let after = [first.posts() - before[0], second.posts() - before[1]];
    assert!(after == [8, 0] || after == [0, 8], "{after:?}");
}

#[tokio::test]
async fn a_stream_waits_for_a_start_and_hears_of_it() {
    let (address, got) = always(stream(&[HELLO, USAGE, DONE])).await;
    let starting = Backend { ready: false, starting: true, ..backend("b", address) };
    let rig = Rig::new(table(vec![starting])).await;
    let impatient = ask(rig.address, CHAT, "x-charter-wait: 0\r\n", STREAM).await;
    assert_eq!((impatient.status, impatient.header("retry-after")), (503, Some("10")), "{impatient:?}");
    let mut socket = tokio::net::TcpStream::connect(rig.address).await.expect("a connection");
    socket.write_all(request(CHAT, "", STREAM).as_bytes()).await.expect("sent");
    let at = rig.address;
    let plain = tokio::spawn(async move { ask(at, CHAT, "", PLAIN).await });
    let mut seen = vec![];
    while !String::from_utf8_lossy(&seen).contains(": the model is being started") {
        assert!(socket.read_buf(&mut seen).await.expect("a comment") > 0);
    }
    assert_eq!(got.posts(), 0);
    rig.table(table(vec![backend("b", address)])).await;
    socket.read_to_end(&mut seen).await.expect("the rest");
    let answer = parse(&seen);
    assert!(answer.status == 200 && answer.body.ends_with(&[HELLO, DONE].concat()), "{answer:?}");
    assert_eq!((plain.await.expect("a task").status, got.posts()), (200, 2));
    assert!(rig.used(3).await.iter().any(|u| u.cold_ms >= 2000 && u.status == 200));
}

#[tokio::test]
async fn what_falls_silent_and_is_looked_after_is_waited_for() {
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let kept = |address| Backend { kept: true, ..backend("b", address) };
    let mut rig = Rig::new(table(vec![kept(dead)])).await;
    let at = rig.address;
    let asking: Vec<_> = (0..20).map(|_| tokio::spawn(async move { ask(at, CHAT, "", PLAIN).await })).collect();
    assert_eq!(rig.notices.recv().await, Some(Notice::Failing("b".into())));
    until("all wait", || rig.gateway.stats().waiting == [("b".to_owned(), 20)]).await;
    rig.table(table(vec![Backend { ready: false, starting: true, ..kept(dead) }])).await;
    let (address, got) = always(json("{}")).await;
    rig.table(table(vec![kept(address)])).await;
    for one in asking {
        assert_eq!(one.await.expect("a task").status, 200);
    }
    assert_eq!(got.posts(), 20, "each was sent once");
    // Where nothing comes of it, it is told.
    let short = route(|r| r.patience.start = Span::ms(200));
    rig.table(RouteTable { routes: vec![short], ..table(vec![kept(dead)]) }).await;
    let answer = rig.ask(PLAIN).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")), "{answer:?}");
}

#[tokio::test]
async fn the_first_request_wakes_what_sleeps_and_a_start_that_fails_is_told_in_the_stream() {
    let (address, _) = always(json("{}")).await;
    let asleep = Backend { ready: false, asleep: true, group: "small".into(), ..backend("b", address) };
    let mut rig = Rig::new(table(vec![asleep])).await;
    let listed = raw(
        rig.address,
        &format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\nconnection: close\r\n\r\n"),
    )
    .await;
    assert!(listed.body.contains(r#""id":"m""#), "it would be answered: {listed:?}");
    let at = rig.address;
    let waiting = tokio::spawn(async move { ask(at, CHAT, "", STREAM).await });
    assert_eq!(rig.notices.recv().await, Some(Notice::Wanted("small".into())));
    let wait = rig.gateway.stats().waiting;
    assert_eq!(wait, [("small".to_owned(), 1)]);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    // It could not be started, and is not there any more.
    rig.table(table(vec![Backend { ready: false, ..backend("b", address) }])).await;
    let answer = waiting.await.expect("a task");
    assert!(
        answer.status == 200 && answer.body.contains(r#""code":"no_backend""#) && !answer.body.contains("[DONE]"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn those_who_wait_take_turns_by_key() {
    let (begin, gate) = tokio::sync::watch::channel(false);
    let (address, got) = upstream(move |mut socket, _| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.ok()?;
            socket.write_all(json("{}").as_bytes()).await.ok()?;
            Some(socket)
        }
    })
    .await;
    let mut of = table(vec![Backend { max_concurrent: 1, ..backend("b", address) }]);
    of.keys.push(named_key("other", "chk_other", "shop", KeyLimits::default()));
    let rig = Rig::new(of).await;
    let at = rig.address;
    let waiting = |rig: &Rig| rig.gateway.stats().waiting.iter().map(|(_, n)| *n).sum::<u64>();
    let mut asking = vec![];
    for n in 0..7 {
        let text = if n == 6 { request(CHAT, "", PLAIN).replace(SECRET, "chk_other") } else { request(CHAT, "", PLAIN) };
        let text = text.replace("\"messages\":[]", &format!("\"n\":{n},\"mm\":[]"));
        asking.push(tokio::spawn(async move { raw(at, &text).await }));
        let expected = u64::try_from(n).expect("a number");
        until("it waits", || got.posts() == 1 && waiting(&rig) == expected).await;
    }
    begin.send_replace(true);
    for one in asking {
        assert_eq!(one.await.expect("a task").status, 200);
    }
    let order: Vec<usize> = got.all().iter().map(|r| (0..7).find(|n| r.contains(&format!("\"n\":{n},"))).expect("one")).collect();
    let place = order.iter().position(|n| *n == 6).expect("the other key");
    assert!(place <= 2, "the other key came last, and is served after one of the first: {order:?}");
}

/// What waits inside an engine counts as its work, as soon as it is known, and nobody who waits loses a place over it.
#[tokio::test]
async fn what_waits_inside_an_engine_counts() {
    let ((one, of_one), (other, of_other)) = (always(json("{}")).await, always(json("{}")).await);
    let all = |queue| table(vec![Backend { queue, ..backend("one", one) }, backend("other", other)]);
    let rig = Rig::new(all(0)).await;
    for (queue, expected) in [(0, (10, 10)), (5, (10, 30)), (0, (20, 40))] {
        rig.table(all(queue)).await;
        for _ in 0..20 {
            assert_eq!(rig.ask(PLAIN).await.status, 200);
        }
        assert_eq!((of_one.posts(), of_other.posts()), expected, "with {queue} that wait in the first one");
    }
}

/// Tables that change while many wait change nothing in their order.
#[tokio::test]
async fn who_waits_keeps_its_place_whatever_changes() {
    let (begin, gate) = tokio::sync::watch::channel(false);
    let (address, got) = upstream(move |mut socket, _| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|open| *open).await.ok()?;
            socket.write_all(json("{}").as_bytes()).await.ok()?;
            Some(socket)
        }
    })
    .await;
    let of = |max_concurrent| table(vec![Backend { max_concurrent, ..backend("b", address) }]);
    let rig = Rig::new(of(1)).await;
    let (at, waiting) = (rig.address, |rig: &Rig| rig.gateway.stats().waiting.iter().map(|(_, n)| *n).sum::<u64>());
    let mut asking = vec![];
    for n in 0..12 {
        let text = request(CHAT, "", &PLAIN.replace("[]", &format!("[],\"n\":{n}")));
        asking.push(tokio::spawn(async move { raw(at, &text).await }));
        until("it waits", || got.posts() == 1 && waiting(&rig) == n).await;
    }
    for room in [1, 3, 1] {
        let mut changed = of(room);
        changed.routes = vec![route(|r| r.policy = Policy::LeastLoad)];
        rig.table(changed).await;
        until("as many are served as there is room for", || got.posts() >= usize::try_from(room).expect("a number")).await;
    }
    begin.send_replace(true);
    for one in asking {
        assert_eq!(one.await.expect("a task").status, 200);
    }
    let number =
        |r: &String| r.rsplit("\"n\":").next().and_then(|n| n.trim_end_matches('}').parse::<u64>().ok()).expect("a number");
    let order: Vec<u64> = got.all().iter().map(number).collect();
    // Two that are served at the same moment may arrive in either order.
    assert!(order.iter().enumerate().all(|(at, n)| n.abs_diff(at as u64) <= 1), "{order:?}");
}

/// Nothing was sent to the one that is dead, so the request waits for the one that is busy.
#[tokio::test]
async fn what_was_not_sent_waits_for_who_is_busy() {
    let (slow, got) = upstream(|mut socket, _| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        socket.write_all(json("{}").as_bytes()).await.ok()?;
        Some(socket)
    })
    .await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let rig = Rig::new(table(vec![Backend { max_concurrent: 1, ..backend("busy", slow) }, backend("dead", dead)])).await;
    let at = rig.address;
    let asking: Vec<_> = (0..8).map(|_| tokio::spawn(async move { ask(at, CHAT, "", PLAIN).await })).collect();
    for one in asking {
        assert_eq!(one.await.expect("a task").status, 200);
    }
    assert_eq!(got.posts(), 8);
}
