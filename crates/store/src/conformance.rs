//! What every store must do. Each behaviour is one function over the port; each store runs all of them.

use crate::port::{
    BackendRow, Begun, Close, Commit, Error, KeyRow, Lease, Logged, NewIntent, ReplicaWrite, Role, Store, Tombstone, Write,
};
use charter_domain::budget::{BUILT_IN, Budget, Scope};
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::fact::Fact;
use charter_domain::host_memory::{HostFailure, HostSpeed};
use charter_domain::ids::{BackendId, DeploymentId, IntentId, KeyId, ReplicaId, Tag};
use charter_domain::instance::Instance;
use charter_domain::intent::{Effect, Intent};
use charter_domain::money::{Usd, UsdPerHour};
use charter_domain::offer::Offer;
use charter_domain::placement::Placement;
use charter_domain::profile::{Engine, Gpu, Limits, Profile, Source, Vram};
use charter_domain::replica::{Phase, Replica};
use charter_domain::reservation::{Asked, Reservation, Spend, Whose};
use charter_domain::routing::KeyLimits;
use charter_domain::time::Time;
use std::sync::Arc;

fn profile() -> Profile {
    Profile {
        model: "org/model".into(),
        served_name: "model".into(),
        providers: vec!["lab".into()],
        engine: Engine {
            kind: "vllm".into(),
            version: String::new(),
            source: Source::Venv,
            command: vec![],
            options: std::collections::BTreeMap::new(),
            extra_args: vec![],
            lora: vec![],
            env: std::collections::BTreeMap::new(),
        },
        gpu: Gpu {
            count: 1,
            indices: vec![],
            min_vram: Vram::Auto,
            min_compute_tenths: None,
            max_price: None,
            tiers: vec![],
            other_names: true,
        },
        disk_bytes: 60_000_000_000,
        min_reliability_permille: 950,
        max_concurrent: 16,
        keep_alive: None,
        limits: Limits::default(),
        canary: vec![],
    }
}

fn deployment(name: &str) -> Deployment {
    Deployment {
        id: DeploymentId::new(name),
        name: name.into(),
        tenant: "default".into(),
        owner: "alice".into(),
        profile_name: "p".into(),
        source_file: None,
        generation: 1,
        profile: profile(),
        offer: None,
        replicas: 1,
        scale: None,
        forward: None,
        engine_version: "0.33.0".into(),
        wish: Wish::Run,
        wait: false,
        expires_at: None,
        keep_until: None,
        created_at: Time(5),
        history: vec![],
        upgrade: None,
        strategy: None,
    }
}

fn replica(name: &str) -> Replica {
    Replica::open(ReplicaId::new(name), DeploymentId::new("a"), 1, 0, Time(0))
}

fn instance(name: &str) -> Instance {
    let offer = Offer {
        provider: "lab".into(),
        id: "tower".into(),
        host: "tower".into(),
        gpus: vec![],
        no_gpu_allowed: true,
        disk_bytes: None,
        driver: None,
        price: UsdPerHour(0),
        market: None,
    };
    Instance {
        id: "tower/x".into(),
        tag: Tag::new("abcdefgh", &ReplicaId::new(name), 1),
        placement: Placement { offer, gpus: vec![], order: None },
        address: None,
        host_key: None,
        account: None,
        since: Time(1),
    }
}

pub(crate) fn intent(name: &str, replica: &str, due: i64) -> Intent {
    let effect = Effect::Destroy { instance: instance(replica) };
    Intent { id: IntentId::new(name), replica: ReplicaId::new(replica), effect, due_at: Time(due) }
}

pub(crate) fn opening() -> Commit {
    Commit {
        deployments: vec![Write { expected: 0, state: deployment("a") }],
        replicas: vec![ReplicaWrite { write: Write { expected: 0, state: replica("r") }, wake_at: Some(Time(7)) }],
        open: vec![NewIntent { intent: intent("i", "r", 10), claimed: None }],
        facts: vec![Fact { at: Time(1), deployment: DeploymentId::new("a"), replica: None, text: "made".into() }],
        ..Commit::default()
    }
}

async fn a_commit_is_read_back_whole(store: &dyn Store) {
    store.commit(opening()).await.expect("first commit");
    let found = store.deployment("a").await.expect("read").expect("is there");
    assert_eq!((found.version, found.state), (1, deployment("a")));
    let open = store.replicas(None).await.expect("read");
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].0.version, &open[0].0.state, open[0].1), (1, &replica("r"), Some(Time(7))));
    assert_eq!(store.facts(&DeploymentId::new("a"), 10).await.expect("read")[0].text, "made");
    let first = store.logged_after(0, 10).await.expect("read");
    assert_eq!((first.len(), first[0].fact.text.as_str()), (1, "made"));
    for text in ["two", "three", "four"] {
        let facts = vec![Fact { at: Time(1), deployment: DeploymentId(String::new()), replica: None, text: text.into() }];
        store.commit(Commit { facts, ..Commit::default() }).await.expect("a line of no deployment");
    }
    let texts = |all: &[Logged]| all.iter().map(|l| l.fact.text.clone()).collect::<Vec<_>>();
    let next = store.logged_after(first[0].seq, 2).await.expect("read");
    assert_eq!(texts(&next), ["two", "three"]);
    assert!(next[0].seq > first[0].seq && next[1].seq > next[0].seq);
    assert_eq!(texts(&store.logged_before(None, 2).await.expect("read")), ["four", "three"]);
    assert_eq!(texts(&store.logged_before(Some(next[1].seq), 9).await.expect("read")), ["two", "made"]);
}

async fn a_stale_version_changes_nothing_at_all(store: &dyn Store) {
    let mut stale = opening();
    stale.deployments = vec![];
    stale.open = vec![NewIntent { intent: intent("j", "r", 10), claimed: None }];
    stale.replicas[0].write.expected = 9;
    assert!(matches!(store.commit(stale).await, Err(Error::Conflict)));
    assert_eq!(store.intents().await.expect("read").len(), 1, "the intent of the refused commit is not there");
}

async fn a_name_is_taken_once(store: &dyn Store) {
    let mut twin = deployment("a");
    twin.id = DeploymentId::new("twin");
    let commit = Commit { deployments: vec![Write { expected: 0, state: twin }], ..Commit::default() };
    assert!(matches!(store.commit(commit).await, Err(Error::NameTaken)));
}

async fn an_intent_is_claimed_by_one_and_again_after_its_lease(store: &dyn Store) {
    assert!(store.claim("a", Time(9), Time(50), 5).await.expect("claim").is_empty(), "not due yet");
    let first = store.claim("a", Time(10), Time(50), 5).await.expect("claim");
    assert_eq!((first.len(), first[0].fence, first[0].begun_before), (1, 1, false));
    assert!(store.claim("b", Time(49), Time(99), 5).await.expect("claim").is_empty(), "leased");
    let second = store.claim("b", Time(50), Time(99), 5).await.expect("claim");
    assert_eq!((second.len(), second[0].fence), (1, 2));
    assert_eq!(store.begin(&IntentId::new("i"), 1, Time(51)).await.expect("begin"), Begun::No, "an old fence begins nothing");
    assert_eq!(store.begin(&IntentId::new("i"), 2, Time(51)).await.expect("begin"), Begun::Yes);
    assert_eq!(store.begin(&IntentId::new("i"), 2, Time(52)).await.expect("begin"), Begun::No, "once is once");
    let third = store.claim("c", Time(99), Time(200), 5).await.expect("claim");
    assert_eq!((third[0].fence, third[0].begun_before), (3, true));
}

async fn only_the_present_fence_closes(store: &dyn Store) {
    let close = |fence| Commit { close: Some(Close { intent: IntentId::new("i"), fence }), ..Commit::default() };
    assert!(matches!(store.commit(close(2)).await, Err(Error::Conflict)));
    store.commit(close(3)).await.expect("present fence");
    assert!(matches!(store.commit(close(3)).await, Err(Error::Conflict)), "closing twice");
    assert!(store.intents().await.expect("read").is_empty());
}

async fn an_intent_can_be_born_claimed(store: &dyn Store) {
    let claimed = Some(Lease { owner: "a".into(), since: Time(10), until: Time(60) });
    let open = vec![NewIntent { intent: intent("k", "r", 10), claimed }];
    store.commit(Commit { open, ..Commit::default() }).await.expect("commit");
    assert!(store.claim("b", Time(20), Time(99), 5).await.expect("claim").is_empty());
    store.abandon_leases("b").await.expect("a new process elsewhere");
    assert!(store.claim("b", Time(20), Time(99), 5).await.expect("claim").is_empty());
    store.abandon_leases("a").await.expect("a new process");
    assert_eq!(
        store.claim("b", Time(20), Time(99), 5).await.expect("claim")[0].fence,
        2,
        "a new process need not wait for a lease"
    );
    let close = Some(Close { intent: IntentId::new("k"), fence: 2 });
    store.commit(Commit { close, ..Commit::default() }).await.expect("close");
}

async fn money_is_set_aside_with_the_commit_or_nothing_is_written(store: &dyn Store) {
    let budget = Budget { scope: Scope::Total, hard: Usd(100), ..BUILT_IN };
    let reserve = |amount, fact: &str| Commit {
        reserve: vec![Asked { budgets: vec![budget], reservation: reservation("a", "lab", "r", amount), now: Time(0) }],
        facts: vec![Fact { at: Time(2), deployment: DeploymentId::new("a"), replica: None, text: fact.into() }],
        ..Commit::default()
    };
    store.commit(reserve(60, "60")).await.expect("fits");
    store.commit(reserve(100, "100")).await.expect("the same replica's reservation is replaced, not added");
    assert!(matches!(store.commit(reserve(101, "101")).await, Err(Error::OverBudget(_))));
    assert_eq!(store.reservations().await.expect("read"), [reservation("a", "lab", "r", 100)]);
    let facts = store.facts(&DeploymentId::new("a"), 2).await.expect("read");
    assert_eq!(facts.iter().map(|f| f.text.as_str()).collect::<Vec<_>>(), ["60", "100"]);
    store.commit(Commit { unreserve: vec![ReplicaId::new("r")], ..Commit::default() }).await.expect("release");
    assert_eq!(store.reservations().await.expect("read"), []);
}

/// One hour at a price, from the beginning of time.
fn reservation(deployment: &str, tenant: &str, replica: &str, price: i64) -> Reservation {
    Reservation {
        deployment: DeploymentId::new(deployment),
        tenant: tenant.into(),
        replica: ReplicaId::new(replica),
        price: UsdPerHour(price),
        from: Time(0),
        until: Time(3_600_000),
    }
}

async fn each_limit_counts_what_is_its_own(store: &dyn Store) {
    let ask = |scope, hard, wish: Reservation| Commit {
        reserve: vec![Asked { budgets: vec![Budget { scope, hard: Usd(hard), ..BUILT_IN }], reservation: wish, now: Time(0) }],
        ..Commit::default()
    };
    let spent = |tenant: &str, from, until, amount| Spend {
        deployment: DeploymentId::new("old"),
        tenant: tenant.into(),
        replica: ReplicaId::new("gone"),
        provider: format!("market of {tenant}"),
        instance: "1".into(),
        from: Time(from),
        until: Time(until),
        amount: Usd(amount),
    };
    let spend = vec![spent("lab", 0, 100, 40), spent("shop", 50, 150, 60)];
    store.commit(Commit { spend: spend.clone(), ..Commit::default() }).await.expect("ended rentals");
    assert_eq!(store.rentals(Time(0)).await.expect("read"), spend);
    assert_eq!(store.rentals(Time(120)).await.expect("read"), spend[1..], "what had ended by then counts no more");
    for (of, since, micros) in [
        (Whose::All, 0, 100),
        (Whose::Tenant("lab".into()), 0, 40),
        (Whose::Deployment(DeploymentId::new("old")), 0, 100),
        (Whose::Deployment(DeploymentId::new("other")), 0, 0),
        (Whose::All, 75, 55),
        (Whose::All, 120, 18),
        (Whose::All, 150, 0),
    ] {
        assert_eq!(store.spent(&of, Time(since)).await.expect("read"), Usd(micros), "{of:?} since {since}");
    }
    store.commit(ask(Scope::Total, 1000, reservation("x", "lab", "m1", 100))).await.expect("the first");
    for (scope, tenant, hard, fits) in [
        (Scope::Total, "shop", 300, true),
        (Scope::Total, "shop", 299, false),
        (Scope::Tenant, "shop", 160, true),
        (Scope::Tenant, "shop", 159, false),
        (Scope::Tenant, "lab", 240, true),
        (Scope::Tenant, "lab", 239, false),
        (Scope::Deployment, "lab", 100, true),
        (Scope::Rental, "lab", 100, true),
        (Scope::Rental, "lab", 99, false),
    ] {
        let asked = store.commit(ask(scope, hard, reservation("y", tenant, "m2", 100))).await;
        assert_eq!(asked.is_ok(), fits, "{scope:?} of {tenant} at {hard}: {asked:?}");
        store.commit(Commit { unreserve: vec![ReplicaId::new("m2")], ..Commit::default() }).await.expect("release");
    }
    store.commit(Commit { unreserve: vec![ReplicaId::new("m1")], ..Commit::default() }).await.expect("release");
}

async fn of_many_at_the_limit_never_one_too_many(store: &Arc<dyn Store>) {
    let budget = Budget { scope: Scope::Deployment, hard: Usd(1000), ..BUILT_IN };
    let mut all = tokio::task::JoinSet::new();
    for n in 0..100 {
        let store = Arc::clone(store);
        all.spawn(async move {
            let wish = reservation("crowd", "lab", &format!("c{n}"), 100);
            store
                .commit(Commit {
                    reserve: vec![Asked { budgets: vec![budget], reservation: wish, now: Time(0) }],
                    ..Commit::default()
                })
                .await
        });
    }
    let mut fitted = 0;
    while let Some(done) = all.join_next().await {
        match done.expect("a task") {
            Ok(()) => fitted += 1,
            Err(Error::OverBudget(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(fitted, 10, "ten hundreds make a thousand");
    let unreserve = (0..100).map(|n| ReplicaId::new(&format!("c{n}"))).collect();
    store.commit(Commit { unreserve, ..Commit::default() }).await.expect("release");
}

async fn hosts_that_failed_are_remembered_by_class(store: &dyn Store) {
    let failed = |host: &str, class: &str, at| HostFailure {
        provider: "market".into(),
        host: host.into(),
        class: class.into(),
        at: Time(at),
    };
    let host_failures = vec![failed("7", "host_fault", 5), failed("7", "host_fault", 5), failed("8", "ssh_timeout", 6)];
    store.commit(Commit { host_failures, ..Commit::default() }).await.expect("commit");
    store.commit(Commit { host_failures: vec![failed("7", "ssh_timeout", 9)], ..Commit::default() }).await.expect("commit");
    let all = store.hosts().await.expect("read");
    let seen: Vec<_> = all.iter().map(|r| (r.host.as_str(), r.class.as_str(), r.count, r.weight, r.last_at.0)).collect();
    assert_eq!(seen, [("7", "host_fault", 2, 2000, 5), ("7", "ssh_timeout", 1, 1000, 9), ("8", "ssh_timeout", 1, 1000, 6)]);
}

async fn closed_replicas_are_listed_with_their_deployment_only(store: &dyn Store) {
    let mut closed = replica("r");
    closed.phase = Phase::Closed;
    let write = ReplicaWrite { write: Write { expected: 1, state: closed }, wake_at: None };
    store.commit(Commit { replicas: vec![write], ..Commit::default() }).await.expect("close");
    assert!(store.replicas(None).await.expect("read").is_empty());
    assert_eq!(store.replicas(Some(&DeploymentId::new("a"))).await.expect("read").len(), 1);
}

async fn keys_and_backends_come_and_go(store: &dyn Store) {
    let mut key = KeyRow {
        id: KeyId::new("1"),
        name: "ci".into(),
        sha256: "00".into(),
        prefix: "chk_ab".into(),
        role: Role::Viewer,
        routes: vec!["a".into()],
        created_at: Time(1),
        expires_at: Some(Time(9)),
        tenant: "lab".into(),
        limits: KeyLimits { day: Some(Usd(5)), parallel: Some(2), ..KeyLimits::default() },
    };
    store.put_key(key.clone()).await.expect("add");
    key.role = Role::Admin;
    store.put_key(key.clone()).await.expect("replace");
    assert_eq!(store.keys().await.expect("read"), [key.clone()]);
    assert!(store.remove_key(&key.id).await.expect("remove"));
    assert!(!store.remove_key(&key.id).await.expect("remove again"));
    let backend = BackendRow {
        id: BackendId::new("1"),
        name: "local".into(),
        base_url: "http://127.0.0.1:1".into(),
        upstream_model: None,
        served_names: vec!["m".into()],
        max_concurrent: 4,
        created_at: Time(1),
    };
    store.add_backend(backend.clone()).await.expect("add");
    assert!(matches!(store.add_backend(backend.clone()).await, Err(Error::NameTaken)));
    assert_eq!(store.backends().await.expect("read"), [backend]);
    assert!(store.remove_backend("local").await.expect("remove"));
}

async fn an_installation_keeps_its_first_name(store: &dyn Store) {
    assert_eq!(store.installation("aaaaaaaa").await.expect("first"), "aaaaaaaa");
    assert_eq!(store.installation("bbbbbbbb").await.expect("second"), "aaaaaaaa");
}

async fn after_a_clock_has_jumped_back_nothing_waits_for_it(store: &dyn Store) {
    const DAY: i64 = 86_400_000;
    let claimed = Some(Lease { owner: "a".into(), since: Time(DAY), until: Time(DAY + 60) });
    let open = vec![NewIntent { intent: intent("ahead", "r", DAY), claimed }];
    store.commit(Commit { open, ..Commit::default() }).await.expect("commit");
    let claimed = store.claim("b", Time(20), Time(99), 50).await.expect("claim");
    assert!(claimed.iter().any(|c| c.intent.id == IntentId::new("ahead")));
}

async fn the_last_measured_speed_of_a_host_counts(store: &dyn Store) {
    let speed = |mbps, at| HostSpeed { provider: "lab".into(), host: "h".into(), mbps, at: Time(at) };
    for one in [speed(100, 1), speed(800, 2)] {
        store.commit(Commit { host_speeds: vec![one], ..Commit::default() }).await.expect("commit");
    }
    assert_eq!(store.host_speeds().await.expect("read"), [speed(800, 2)]);
}

async fn tombstones_are_kept_by_id_and_tag(store: &dyn Store) {
    let stone =
        |instance: &str, at| Tombstone { provider: "lab".into(), instance: instance.into(), tag: "t".into(), gone_at: Time(at) };
    let commit = Commit { tombstones: vec![stone("1", 5), stone("2", 9)], ..Commit::default() };
    store.commit(commit).await.expect("commit");
    store.commit(Commit { tombstones: vec![stone("1", 7)], ..Commit::default() }).await.expect("seen gone again");
    assert_eq!(store.tombstones(Time(7)).await.expect("read"), [stone("1", 7), stone("2", 9)]);
    assert_eq!(store.tombstones(Time(8)).await.expect("read"), [stone("2", 9)]);
}

async fn control_planes_know_of_each_other(store: &dyn Store) {
    store.report("one", Time(10), "a").await.expect("report");
    let all = store.report("two", Time(20), "b").await.expect("report");
    let told: Vec<_> = all.iter().map(|c| (c.id.as_str(), c.seen_at, c.report.as_str())).collect();
    assert_eq!(told, [("one", Time(10), "a"), ("two", Time(20), "b")]);
    store.forget_control_plane("one").await.expect("forget");
    assert_eq!(store.report("two", Time(30), "c").await.expect("report").len(), 1);
}

async fn what_stands_for_the_installation_is_kept(store: &dyn Store) {
    assert_eq!(store.meta("x", "first").await.expect("write"), "first");
    assert_eq!(store.meta("x", "second").await.expect("read"), "first");
    store.put_meta("x", "third").await.expect("write");
    store.put_meta("xy", "other").await.expect("write");
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(store.metas("x").await.expect("read"), [pair("x", "third"), pair("xy", "other")]);
    store.remove_meta("x").await.expect("forget");
    assert_eq!(store.metas("x").await.expect("read"), [pair("xy", "other")]);
}

async fn where_others_may_write_a_change_is_seen(store: &dyn Store) {
    if !store.shared() {
        return;
    }
    let before = store.pulse().await.expect("read");
    store.commit(Commit::default()).await.expect("commit");
    assert_ne!(store.pulse().await.expect("read"), before);
}

pub(crate) async fn run(shared: Arc<dyn Store>) {
    let store = &*shared;
    crate::conformance_usage::usage_conforms(Arc::clone(&shared)).await;
    a_commit_is_read_back_whole(store).await;
    a_stale_version_changes_nothing_at_all(store).await;
    a_name_is_taken_once(store).await;
    an_intent_is_claimed_by_one_and_again_after_its_lease(store).await;
    only_the_present_fence_closes(store).await;
    an_intent_can_be_born_claimed(store).await;
    money_is_set_aside_with_the_commit_or_nothing_is_written(store).await;
    each_limit_counts_what_is_its_own(store).await;
    of_many_at_the_limit_never_one_too_many(&shared).await;
    hosts_that_failed_are_remembered_by_class(store).await;
    closed_replicas_are_listed_with_their_deployment_only(store).await;
    keys_and_backends_come_and_go(store).await;
    an_installation_keeps_its_first_name(store).await;
    what_stands_for_the_installation_is_kept(store).await;
    the_last_measured_speed_of_a_host_counts(store).await;
    tombstones_are_kept_by_id_and_tag(store).await;
    after_a_clock_has_jumped_back_nothing_waits_for_it(store).await;
    control_planes_know_of_each_other(store).await;
    where_others_may_write_a_change_is_seen(store).await;
}

/// Writes the golden files of the present version; run it once for a new version and never for an old one.
#[test]
#[ignore = "writes files; for a new version of the stored form only"]
fn write_golden_files() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
    let write = |name: &str, text: String| std::fs::write(format!("{dir}/{name}"), text).expect("golden file");
    write("deployment-v1.json", crate::persist::write(&deployment("a")).expect("write"));
    let mut held = replica("r");
    held.phase = Phase::Booting { instance: instance("r"), deadline: Time(9) };
    write("replica-v1.json", crate::persist::write(&held).expect("write"));
    write("effect-v1.json", crate::persist::write(&Effect::Launch { instance: instance("r"), number: 1 }).expect("write"));
}
