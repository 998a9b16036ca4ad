//! What is set aside for a rental while it runs, by a clock that the test moves.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

use charter_controller::{Clock, Controller, DataPlane, Ids, Parts, Secrets, Settings};
use charter_domain::budget::{BUILT_IN, Budget, Scope};
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::ids::{ReplicaId, Tag};
use charter_domain::instance::Instance;
use charter_domain::intent::Process;
use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::offer::Offer;
use charter_domain::placement::Placement;
use charter_domain::profile::SecretRef;
use charter_domain::replica::{Phase, Replica};
use charter_domain::reservation::Reservation;
use charter_domain::time::{Span, Time};
use charter_remote::Links;
use charter_store::mem::Mem;
use charter_store::{Commit, ReplicaWrite, Store, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// 2026-11-21T00:00:00Z, the beginning of a day.
const MIDNIGHT: i64 = 1_795_219_200_000;
const MINUTE: i64 = 60_000;

struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Default)]
struct Numbers(AtomicU64);

impl Ids for Numbers {
    fn fresh(&self) -> String {
        format!("{:032}", self.0.fetch_add(1, Ordering::SeqCst))
    }
}

struct Nothing;

impl Secrets for Nothing {
    fn read(&self, _: &SecretRef) -> Result<String, String> {
        Err("there are none".into())
    }
}

impl DataPlane for Nothing {
    fn in_flight(&self, _: &str, _: u64) -> Result<u64, String> {
        Ok(1)
    }

    fn last_used(&self, _: &str) -> Option<Time> {
        None
    }
}

struct Stage {
    clock: Arc<Hand>,
    store: Arc<Mem>,
    controller: Controller,
}

fn deployment() -> Deployment {
    let row: serde_json::Value = serde_json::from_str(include_str!("../../store/golden/deployment-v1.json")).expect("a row");
    let state: Deployment = serde_json::from_value(row["state"].clone()).expect("a deployment");
    Deployment { wish: Wish::Run, ..state }
}

/// A rental that runs since the beginning, at so much per hour.
fn running(of: &Deployment, price: i64) -> Replica {
    let offer = Offer {
        provider: "gone".into(),
        id: "1".into(),
        host: "7".into(),
        gpus: vec![],
        no_gpu_allowed: true,
        disk_bytes: None,
        driver: None,
        price: UsdPerHour(price),
        market: None,
    };
    let mut replica = Replica::open(ReplicaId("rep_1".into()), of.id.clone(), of.generation, 0, Time(MIDNIGHT));
    let instance = Instance {
        id: "33".into(),
        tag: Tag::new("inst", &replica.id, 1),
        placement: Placement { offer, gpus: vec![], order: None },
        address: None,
        host_key: None,
        account: None,
        since: Time(MIDNIGHT),
    };
    replica.phase = Phase::Ready { instance, process: Process { pid: 1, port: 1 }, failures: 0 };
    replica
}

impl Stage {
    async fn set(price: i64, budgets: Vec<Budget>) -> Self {
        let clock = Arc::new(Hand(AtomicI64::new(MIDNIGHT)));
        let store = Arc::new(Mem::default());
        let wanted = deployment();
        let replica = ReplicaWrite { write: Write { expected: 0, state: running(&wanted, price) }, wake_at: None };
        let deployments = vec![Write { expected: 0, state: wanted }];
        store.commit(Commit { deployments, replicas: vec![replica], ..Commit::default() }).await.expect("a stage");
        let settings = Settings {
            budgets,
            keep_on_error: false,
            logs: std::env::temp_dir(),
            log_limits: charter_controller::LogLimits::default(),
            keep_alive: Span::min(45),
            look: (Span::s(2), Span::s(60)),
            lease: charter_controller::LEASE,
            hosted: vec![],
            runaway: charter_domain::money::Usd(0),
        };
        let controller = Controller::new(Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            providers: vec![],
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ids: Arc::new(Numbers::default()),
            secrets: Arc::new(Nothing),
            data_plane: Arc::new(Nothing),
            links: Links::default(),
            machines: None,
            asker: None,
            named: vec![],
            place: "here".into(),
            installation: "inst".into(),
            secret: vec![7; 32],
            settings,
        });
        controller.start();
        Self { clock, store, controller }
    }

    /// Moves the clock to so many minutes after midnight, and lets the counting of money run once from then on.
    async fn at(&self, minutes: i64) {
        self.clock.0.store(MIDNIGHT + minutes * MINUTE, Ordering::SeqCst);
        let runs = || self.controller.tasks().activations().into_iter().find(|(n, _)| *n == "money").map_or(0, |(_, a)| a.count);
        let before = runs();
        // One run may have begun before the clock moved; the one after it has not.
        while runs() < before + 2 {
            self.controller.tasks().wake("money");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn held(&self) -> Option<Reservation> {
        self.store.reservations().await.expect("read").pop()
    }

    /// Until how many minutes after midnight money is set aside.
    async fn until(&self) -> i64 {
        (self.held().await.expect("a reservation").until.0 - MIDNIGHT) / MINUTE
    }

    async fn wish(&self) -> Wish {
        self.store.deployment("a").await.expect("read").expect("it is there").state.wish
    }
}

fn limit(scope: Scope, hard: i64) -> Budget {
    Budget { scope, hard: Usd(hard), ..BUILT_IN }
}

#[tokio::test]
async fn a_rental_runs_as_long_as_money_is_set_aside_and_is_ended_while_that_pays_for_its_end() {
    let stage = Stage::set(120_000, vec![limit(Scope::Total, 200_000)]).await;
    for (minute, until) in [(0, 60), (29, 60), (31, 91), (62, 100), (90, 100), (94, 100)] {
        stage.at(minute).await;
        assert_eq!((stage.until().await, stage.wish().await), (until, Wish::Run), "minute {minute}");
    }
    stage.at(95).await;
    assert_eq!(stage.wish().await, Wish::Stop, "an hour and forty minutes cost twenty cents: five minutes are left to end it");
    let facts = stage.store.facts(&deployment().id, 50).await.expect("read");
    assert!(facts.iter().any(|f| f.text.contains("budget `total` has no room left under its hard limit of $0.20")), "{facts:?}");
    assert_eq!(stage.controller.overshoot_bound().await.expect("read"), UsdPerHour(120_000).cost(Span(10 * MINUTE + 10_000)));
}

#[tokio::test]
async fn a_new_day_has_its_own_money_and_the_old_one_does_not_count() {
    let stage = Stage::set(120_000, vec![limit(Scope::Day, 2_640_000)]).await;
    for minute in (0..=22 * 60 - 6).step_by(29) {
        stage.at(minute).await;
    }
    assert_eq!(stage.until().await, 22 * 60, "twenty-two hours cost what the day allows");
    let stage = Stage::set(100_000, vec![limit(Scope::Day, 2_400_000)]).await;
    for minute in (0..30 * 60).step_by(29) {
        stage.at(minute).await;
        assert_eq!(stage.wish().await, Wish::Run, "minute {minute}");
    }
    assert!(stage.until().await > 29 * 60, "a whole day fits, and the next one begins anew");
}

#[tokio::test]
async fn what_nothing_was_set_aside_for_is_counted_from_its_beginning() {
    let stage = Stage::set(120_000, vec![limit(Scope::Rental, 100_000)]).await;
    stage.at(45).await;
    assert_eq!(stage.wish().await, Wish::Stop, "fifty minutes cost ten cents, and forty-five are over");
}

#[tokio::test]
async fn a_limit_that_was_lowered_and_a_price_that_rose_end_a_rental_before_its_reservation_does() {
    let stage = Stage::set(120_000, vec![limit(Scope::Total, 200_000)]).await;
    stage.at(0).await;
    assert_eq!(stage.until().await, 60);
    // Twice the price: twelve cents that were thought to last an hour are gone after half of it, and the limit after fifty minutes.
    let row = stage.store.replicas(None).await.expect("read").remove(0).0;
    let raised = ReplicaWrite { write: Write { expected: row.version, state: running(&deployment(), 240_000) }, wake_at: None };
    stage.store.commit(Commit { replicas: vec![raised], ..Commit::default() }).await.expect("a raise");
    stage.at(44).await;
    assert_eq!(stage.wish().await, Wish::Run);
    stage.at(45).await;
    assert_eq!(stage.wish().await, Wish::Stop, "fifty minutes cost what the limit allows, and five of them are for its end");
}
