//! The contract suite of providers: in memory, on the test bed, and the adapter on answers from a script.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

use charter_domain::ids::Tag;
use charter_domain::time::Time;
use charter_providers::contract::{Driver, run};
use charter_providers::simulated::{Plan, Simulated};
use charter_providers::vast::Vast;
use charter_providers::{Kind, Provider};
use charter_remote::KeyPair;
use charter_testbed::market::{Faults, Market, Settings};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

struct InMemory(Simulated);

impl Driver for InMemory {
    fn lose_next_answer(&self) {
        self.0.plan(Plan { lose_answer: true, ..Plan::default() });
    }
    fn refuse_next(&self) {
        self.0.plan(Plan { refuse: true, ..Plan::default() });
    }
    fn shorten_lists(&self, short: bool) {
        self.0.plan(Plan { short_lists: short, ..Plan::default() });
    }
}

#[tokio::test]
async fn the_provider_in_memory_keeps_the_contract() {
    let simulated = Simulated::default();
    run(&simulated, &InMemory(simulated.clone())).await.expect("the contract");
}

struct OnTestBed(Market);

impl OnTestBed {
    fn faults(&self, list: &str) {
        self.0.set_faults(Faults::parse(list).expect("faults"));
    }
}

impl Driver for OnTestBed {
    fn lose_next_answer(&self) {
        self.faults("cut-order*1");
    }
    fn refuse_next(&self) {
        self.faults("offer-gone*1");
    }
    fn shorten_lists(&self, short: bool) {
        self.faults(if short { "short-list" } else { "" });
    }
}

fn vast(base: &str, key: &str) -> Vast {
    let keys = Arc::new(|tag: &Tag| KeyPair::derive(b"contract", &tag.to_string()));
    rustls::crypto::ring::default_provider().install_default().ok();
    Vast::new("vast", base, key, keys, Arc::new(|| Time(0))).expect("a provider")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_adapter_keeps_the_contract_on_the_test_bed() {
    let folder = std::env::temp_dir().join(format!("charter-contract-{}", std::process::id()));
    let market = Market::new(Settings::default(), &folder, std::path::Path::new(env!("CARGO_BIN_EXE_charter")));
    market.start("127.0.0.1:0".parse().expect("address")).await.expect("market");
    let provider = vast(&market.url(), market.key());
    run(&provider, &OnTestBed(market.clone())).await.expect("the contract");
    assert_eq!(market.ledger()["alive"], 0);
    market.end().await;
    std::fs::remove_dir_all(&folder).ok();
}

/// A server that gives one answer to everything.
fn scripted(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut bytes = [0; 16 * 1024];
            let got = socket.read(&mut bytes);
            assert!(got.is_ok(), "a request");
            socket.write_all(answer.as_bytes()).ok();
        }
    });
    url
}

/// An answer as it comes over the wire, its length left to the end of the connection.
macro_rules! http {
    ($status:literal, $kind:literal, $body:literal) => {
        concat!("HTTP/1.1 ", $status, " X\r\ncontent-type: ", $kind, "\r\nconnection: close\r\n\r\n", $body)
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_a_script_has_its_kind_and_proves_no_absence() {
    let cases: Vec<(&str, Option<Kind>)> = vec![
        (
            http!("404", "application/json", r#"{"success":false,"error":"auth_error","msg":"Invalid user key"}"#),
            Some(Kind::Auth),
        ),
        (
            http!("401", "application/json", r#"{"success":false,"error":"auth_error","msg":"Authorization Error."}"#),
            Some(Kind::Auth),
        ),
        (
            http!("410", "application/json", r#"{"success":false,"error":"deprecated_endpoint","msg":"use v1"}"#),
            Some(Kind::Invalid),
        ),
        (http!("429", "text/html", "<html>slow</html>"), None),
        (http!("502", "text/html", "<html>bad gateway</html>"), Some(Kind::Transient)),
        (http!("200", "application/json", ""), Some(Kind::Transient)),
        (http!("200", "application/json", r#"{"instances":"#), Some(Kind::Transient)),
        (http!("200", "application/json", r#"{"success":true}"#), Some(Kind::Transient)),
        (http!("308", "text/plain", ""), Some(Kind::Invalid)),
    ];
    let tag = Tag::parse("charter.contract.x.1").expect("tag");
    for (answer, kind) in cases {
        let provider = vast(&scripted(answer), "key");
        let listing = provider.list("charter.contract.").await;
        assert!(!listing.complete && listing.tags.is_empty(), "no list is whole after {answer}");
        let page = provider.offers(&charter_domain::placement::Requirement::default()).await;
        assert!(page.offers.is_empty() && !page.problems.is_empty(), "{answer}");
        let failed = provider.destroy_stray(Some(&tag), "1").await.expect_err(answer);
        match kind {
            Some(kind) => assert_eq!(failed.kind, kind, "{answer}"),
            None => assert!(matches!(failed.kind, Kind::RateLimited(_)), "{answer}"),
        }
        assert!(!failed.message.contains("key ") || !failed.message.contains("Bearer"), "no secret is told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_sent_once_whatever_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let orders = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&orders);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut bytes = [0; 16 * 1024];
            let n = socket.read(&mut bytes).unwrap_or(0);
            let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
            if text.starts_with("PUT /api/v0/asks/") {
                *counted.lock().expect("lock") += 1;
                continue; // The connection is cut without an answer.
            }
            let offer = r#"{"offers":[{"id":7,"ask_contract_id":7,"machine_id":12,"num_gpus":1,"gpu_name":"RTX 3090","gpu_ram":24576,"dph_base":0.1,"storage_cost":0.1,"disk_space":500,"rentable":true,"rented":false}]}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{offer}");
            socket.write_all(answer.as_bytes()).ok();
        }
    });
    let provider = vast(&url, "key");
    let need = charter_domain::placement::Requirement { gpu_count: 1, other_names: true, ..Default::default() };
    let page = provider.offers(&need).await;
    let order = charter_domain::order::Order {
        image: "x:y".into(),
        disk_bytes: 1,
        max_price: None,
        way: charter_domain::order::Way::Ssh,
    };
    let placement = charter_domain::placement::choose(&need, &page.offers).expect("an offer");
    let tag = Tag::parse("charter.contract.x.1").expect("tag");
    let bid = charter_domain::instance::Bid {
        tag,
        placement: charter_domain::placement::Placement { order: Some(order), ..placement },
    };
    let lost = provider.create(&bid, Time(0)).await;
    assert!(matches!(lost, Err(charter_providers::CreateError::Unknown(_))), "{lost:?}");
    assert_eq!(*orders.lock().expect("lock"), 1, "never twice");
}
