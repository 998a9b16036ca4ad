//! Every row of the table of errors, by stand-ins of the hosted APIs: the first one fails so, and the client sees one good answer of
//! the other, or the refusal that is its own; what it used is booked on the one that answered.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

#[path = "../../gateway/tests/support/mod.rs"]
mod support;

use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::routing::{Backend, Hosted, KeyLimits, Patience, Reach, Route, RouteTable, ServedName, Speaks, TokenPrice};
use charter_domain::time::Span;
use charter_domain::usage::End;
use charter_testbed::hosted::{Fault, Hosted as Api, faults};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use support::{CHAT, Rig, Vault, ask, table};

fn hosted(name: &str, api: &Api, speaks: Speaks, model: &str) -> Backend {
    let price = TokenPrice { input: Usd(1_000_000), cached: Usd(100_000), output: Usd(5_000_000) };
    let limits = KeyLimits { day: Some(Usd(100_000_000)), ..KeyLimits::default() };
    let address = "127.0.0.1:1".parse().expect("an address");
    Backend {
        served_names: vec![ServedName { name: name.into(), parent: None }],
        upstream_model: Some(model.into()),
        reach: Reach::Http { base_url: api.base_url() },
        bearer: Some(api.key().to_owned()),
        speaks,
        hosted: Some(Hosted { provider: name.into(), limits, price }),
        rent: UsdPerHour(0),
        ..support::backend(name, address)
    }
}

/// Rows that are the request's own fault: everybody would say so.
const FINAL: [&str; 5] = ["400 invalid", "400 unsupported", "413", "422", "invalid_prompt"];

#[tokio::test]
async fn whatever_a_hosted_api_fails_with_the_other_one_answers_or_the_client_is_told_its_own_fault() {
    for (name, fault) in faults() {
        let of_openai = name.starts_with("openai");
        let (openai, anthropic) = (Api::start().await.expect("an API"), Api::start().await.expect("an API"));
        let order = if of_openai { ["openai", "anthropic"] } else { ["anthropic", "openai"] };
        let patience = Patience { first: Span::ms(1500), between: Span::ms(1500), ..Patience::default() };
        let route = Route { fallback: order.map(str::to_owned).to_vec(), patience, ..Route::plain("m") };
        let backends = vec![
            hosted("openai", &openai, Speaks::OpenAi, "gpt-4o-mini"),
            hosted("anthropic", &anthropic, Speaks::Anthropic, "claude-haiku-5-5"),
        ];
        let rig =
            Rig::with(RouteTable { routes: vec![route], ..table(backends) }, Arc::new(Vault(AtomicI64::new(i64::MAX / 4)))).await;
        let (first, second) = if of_openai { (&openai, &anthropic) } else { (&anthropic, &openai) };
        // What may help is tried twice, and fails twice.
        first.script(vec![fault.clone(), fault.clone()]);
        let stream = matches!(fault, Fault::ErrorInFirstEvent(_) | Fault::ErrorMidStream(_)) || name.contains("stream");
        let body = format!(r#"{{"model":"m","stream":{stream},"messages":[{{"role":"user","content":"one two three four"}}]}}"#);
        let answer = ask(rig.address, CHAT, "", &body).await;
        let mid = name.contains("mid-stream");
        let own = FINAL.iter().any(|word| name.contains(word)) && !name.contains("context");
        if mid {
            let told = answer.status == 200 && answer.body.contains("\"error\"") && !answer.body.contains("[DONE]");
            assert!(told && second.posts().is_empty(), "{name}: after content there is no switch: {answer:?}");
        } else if own {
            assert!(answer.status >= 400 && second.posts().is_empty(), "{name}: {answer:?}");
            assert!(answer.body.contains("\"message\"") && !answer.body.contains("request_id"), "{name}: {answer:?}");
        } else {
            assert!(answer.status == 200 && answer.body.contains("three"), "{name}: {answer:?}");
            assert_eq!(second.posts().len(), 1, "{name}");
            let told = answer.header("x-charter-attempts").unwrap_or_default();
            assert!(told.starts_with(order[0]), "{name}: {told}");
            let used = rig.used(2).await;
            let done: Vec<_> = used.iter().filter(|u| u.end == End::Done).collect();
            assert!(done.len() == 1 && &*done[0].backend == order[1] && done[0].cost.0 > 0, "{name}: {used:?}");
            assert!(used.iter().filter(|u| &*u.backend == order[0]).all(|u| u.cost.0 == 0), "{name}: {used:?}");
            // What its account is the matter with gets nothing more for a while.
            if ["401", "402", "quota", "credit", "spend", "429"].iter().any(|word| name.contains(word)) {
                let before = first.posts().len();
                let again = ask(rig.address, CHAT, "", &body).await;
                assert!(again.status == 200 && first.posts().len() == before, "{name}: {again:?}");
            }
        }
        assert_eq!(rig.busy(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_anywhere_before_content_costs_the_client_nothing() {
    for fault in [
        Fault::DropBeforeHead,
        Fault::DropAfterHead,
        Fault::StallAfterHead,
        Fault::EmptyStream,
        Fault::Garbage,
        Fault::RoleThenError,
    ] {
        for of_openai in [true, false] {
            let (openai, anthropic) = (Api::start().await.expect("an API"), Api::start().await.expect("an API"));
            let order = if of_openai { ["openai", "anthropic"] } else { ["anthropic", "openai"] };
            let patience = Patience { first: Span::ms(700), between: Span::ms(700), ..Patience::default() };
            let route = Route { fallback: order.map(str::to_owned).to_vec(), patience, ..Route::plain("m") };
            let backends = vec![
                hosted("openai", &openai, Speaks::OpenAi, "gpt-6-luna"),
                hosted("anthropic", &anthropic, Speaks::Anthropic, "claude-haiku-4-5"),
            ];
            let rig =
                Rig::with(RouteTable { routes: vec![route], ..table(backends) }, Arc::new(Vault(AtomicI64::new(i64::MAX / 4))))
                    .await;
            let first = if of_openai { &openai } else { &anthropic };
            first.script(vec![fault.clone(), fault.clone()]);
            let body = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"one two three four"}]}"#;
            let answer = ask(rig.address, CHAT, "", body).await;
            assert!(
                answer.status == 200 && answer.body.contains("three") && answer.body.ends_with("data: [DONE]\n\n"),
                "{fault:?}: {answer:?}"
            );
            assert!(!answer.body.contains("\"error\""), "{fault:?}: {answer:?}");
        }
    }
}
