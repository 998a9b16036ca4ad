//! Upgrades as tables: who serves, who is wanted, what follows from what is seen.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use charter_domain::cause::{Action, Cause};
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::generation::Fate;
use charter_domain::ids::{DeploymentId, ReplicaId, Tag};
use charter_domain::instance::Instance;
use charter_domain::intent::Process;
use charter_domain::money::UsdPerHour;
use charter_domain::offer::Offer;
use charter_domain::placement::Placement;
use charter_domain::plan::{Command, plan};
use charter_domain::profile::{Engine, Gpu, Limits, OptionValue, Profile, Source, Vram};
use charter_domain::replica::{Phase, Replica};
use charter_domain::succession::{Asked, next, told};
use charter_domain::time::{Span, Time};
use charter_domain::upgrade::{Seen, Strategy, step};
use charter_domain::verdict::Numbers;
use std::collections::BTreeMap;

fn profile(length: i64) -> Profile {
    let engine = Engine {
        kind: "vllm".into(),
        version: String::new(),
        source: Source::Image,
        command: vec![],
        options: BTreeMap::from([("max-model-len".to_owned(), OptionValue::Number(length))]),
        extra_args: vec![],
        lora: vec![],
        env: BTreeMap::new(),
    };
    let gpu = Gpu {
        count: 1,
        indices: vec![],
        min_vram: Vram::Auto,
        min_compute_tenths: None,
        max_price: None,
        tiers: vec![],
        other_names: true,
    };
    Profile {
        model: "m".into(),
        served_name: "m".into(),
        providers: vec![],
        engine,
        gpu,
        disk_bytes: 0,
        min_reliability_permille: 0,
        max_concurrent: 8,
        keep_alive: None,
        limits: Limits::default(),
        canary: vec![],
    }
}

fn deployment(length: i64, replicas: u32) -> Deployment {
    let mut made = Deployment {
        id: DeploymentId("dep_1".into()),
        name: "m".into(),
        tenant: "default".into(),
        owner: "alice".into(),
        profile_name: "p".into(),
        source_file: None,
        generation: 1,
        profile: profile(length),
        offer: None,
        replicas,
        scale: None,
        forward: None,
        engine_version: "0.30.0".into(),
        wish: Wish::Run,
        wait: false,
        expires_at: Some(Time(99)),
        keep_until: None,
        created_at: Time(0),
        history: vec![],
        upgrade: None,
        strategy: None,
    };
    made.remember(Time(0), "alice", Fate::Serving);
    made
}

fn instance(replica: &ReplicaId) -> Instance {
    let offer = Offer {
        provider: "sim".into(),
        id: "o".into(),
        host: "h".into(),
        gpus: vec![],
        no_gpu_allowed: true,
        disk_bytes: None,
        driver: None,
        price: UsdPerHour(1),
        market: None,
    };
    Instance {
        id: "i".into(),
        tag: Tag::new("testtest", replica, 1),
        placement: Placement { offer, gpus: vec![], order: None },
        address: None,
        host_key: None,
        account: None,
        since: Time(0),
    }
}

fn copy(generation: u32, slot: u32) -> Replica {
    let id = ReplicaId(format!("rep_{generation}_{slot}"));
    let phase = Phase::Ready { instance: instance(&id), process: Process { pid: 1, port: 1 }, failures: 0 };
    Replica { phase, ..Replica::open(id, DeploymentId("dep_1".into()), generation, slot, Time(0)) }
}

fn failed(generation: u32, slot: u32, class: &str) -> Replica {
    let cause = Some(Cause::new(class, Action::AskUser, "it says no", "do something"));
    Replica { phase: Phase::Closed, cause, ..copy(generation, slot) }
}

fn asked(strategy: Option<Strategy>) -> Asked<'static> {
    Asked { by: "bob", now: Time(1000), strategy }
}

/// A deployment whose file has changed while its copies answer.
fn changed(replicas: u32, strategy: Option<Strategy>) -> Deployment {
    let old = deployment(4096, replicas);
    let copies: Vec<Replica> = (0..replicas).map(|slot| copy(1, slot)).collect();
    next(&old, deployment(8192, replicas), &copies, asked(strategy)).expect("a change")
}

fn passed(copies: &[&Replica]) -> Seen {
    Seen { exams: copies.iter().map(|r| (r.id.clone(), Ok("answers".to_owned()))).collect(), ..Seen::default() }
}

fn opened(deployment: &Deployment, copies: &[Replica]) -> Vec<(u32, u32)> {
    let commands = plan(deployment, copies).commands;
    let open = |c: &Command| if let Command::Open { slot, generation } = c { Some((*generation, *slot)) } else { None };
    commands.iter().filter_map(open).collect()
}

fn stopped(deployment: &Deployment, copies: &[Replica]) -> Vec<String> {
    let commands = plan(deployment, copies).commands;
    let stop = |c: &Command| if let Command::Stop { replica, .. } = c { Some(replica.0.clone()) } else { None };
    commands.iter().filter_map(stop).collect()
}

#[test]
fn identity_and_lease_survive_and_a_change_says_what_it_needs() {
    let (old, new) = (deployment(4096, 1), changed(1, None));
    assert_eq!((new.generation, &new.id, &new.owner, new.expires_at), (2, &old.id, &old.owner, old.expires_at));
    assert!(told(&old, &new).contains("generation 2 was asked for by `bob`, side-by-side: engine.options.max-model-len"));
    let quiet = next(
        &old,
        Deployment { profile: Profile { max_concurrent: 9, ..profile(4096) }, ..deployment(4096, 1) },
        &[copy(1, 0)],
        asked(None),
    );
    let quiet = quiet.expect("a change");
    assert_eq!(
        (quiet.generation, quiet.upgrade.is_none(), told(&old, &quiet).as_str()),
        (1, true, "changed without a restart: max-concurrent")
    );
    let nothing_runs = next(&old, deployment(8192, 1), &[], asked(None)).expect("a change");
    assert_eq!((nothing_runs.generation, nothing_runs.upgrade.is_none()), (2, true), "there is nothing to keep");
}

#[test]
fn side_by_side_all_go_over_at_once_and_the_old_ones_stand_by_until_the_verdict() {
    let state = changed(2, Some(Strategy::SideBySide));
    let old = [copy(1, 0), copy(1, 1)];
    assert_eq!((opened(&state, &old), stopped(&state, &old).len()), (vec![(2, 0), (2, 1)], 0));
    let half = [copy(1, 0), copy(1, 1), copy(2, 0)];
    assert!(step(&state, &half, &passed(&[&half[2]]), Time(2000)).is_none(), "one of two is not enough");
    let all = [copy(1, 0), copy(1, 1), copy(2, 0), copy(2, 1)];
    assert!(step(&state, &all, &Seen::default(), Time(2000)).is_none(), "nobody has examined them");
    assert!(all[..2].iter().all(|r| state.serves(r)) && !all[2..].iter().any(|r| state.serves(r)));
    let over = step(&state, &all, &passed(&[&all[2], &all[3]]), Time(2000)).expect("a step").next;
    assert!(!all[..2].iter().any(|r| over.serves(r)) && all[2..].iter().all(|r| over.serves(r)));
    assert!(stopped(&over, &all).is_empty(), "the old ones stand by");
    assert!(step(&over, &all, &Seen::default(), Time(2000 + 59_000)).is_none());
    let done = step(&over, &all, &Seen::default(), Time(2000 + 60_000)).expect("a step").next;
    assert_eq!((done.upgrade.is_none(), done.generation(2).map(|g| g.fate)), (true, Some(Fate::Serving)));
    assert_eq!(stopped(&done, &all), ["rep_1_0", "rep_1_1"]);
}

#[test]
fn what_does_not_pass_goes_back_with_its_numbers() {
    let state = changed(1, None);
    let both = [copy(1, 0), copy(2, 0)];
    let wrong = Seen { exams: BTreeMap::from([(both[1].id.clone(), Err("2+2= is 5".to_owned()))]), ..Seen::default() };
    let over = step(&state, &both, &passed(&[&both[1]]), Time(2000)).expect("a step").next;
    let bad = Numbers { requests: 100, failed: 40, ..Numbers::default() };
    let worse = Seen { new: bad, old: Numbers { requests: 1000, ..Numbers::default() }, ..Seen::default() };
    let gone = [copy(1, 0), failed(2, 0, "engine_crash_other")];
    for (from, copies, seen, says) in [
        (&state, &both[..], wrong, "2+2= is 5"),
        (&state, &[copy(1, 0), failed(2, 0, "bad_args")][..], Seen::default(), "bad_args: it says no"),
        (&over, &both[..], worse, "40 failed"),
        (&over, &gone[..], Seen::default(), "after it had taken over"),
    ] {
        let back = step(from, copies, &seen, Time(3000)).expect("a step").next;
        let verdict = back.generation(2).and_then(|g| g.verdict.clone()).unwrap_or_default();
        assert_eq!((back.generation, back.upgrade.is_none(), back.generation(2).map(|g| g.fate)), (1, true, Some(Fate::Failed)));
        assert!(verdict.contains(says), "{verdict}");
        assert_eq!(back.profile, profile(4096));
        assert!(back.serves(&copies[0]));
        let again = next(&back, deployment(8192, 1), copies, asked(None)).expect("a change");
        assert_eq!(again.generation, 3, "no number is used twice");
    }
}

#[test]
fn without_a_second_machine_the_one_that_is_there_is_used_unless_somebody_said_otherwise() {
    let none = [copy(1, 0), failed(2, 0, "no_offer")];
    let place = step(&changed(1, None), &none, &Seen::default(), Time(2000)).expect("a step").next;
    assert_eq!(place.upgrade.as_ref().map(|u| u.strategy), Some(Strategy::InPlace));
    let switch = Command::Switch { replica: none[0].id.clone(), generation: 2 };
    assert_eq!(plan(&place, &none).commands, [switch]);
    let told = step(&changed(1, Some(Strategy::SideBySide)), &none, &Seen::default(), Time(2000)).expect("a step").next;
    assert_eq!((told.generation, told.upgrade.is_none()), (1, true), "what runs stays");
}

#[test]
fn rolling_replaces_one_copy_at_a_time() {
    let mut state = changed(3, None);
    let mut copies = vec![copy(1, 0), copy(1, 1), copy(1, 2)];
    let mut now = Time(2000);
    for slot in 0..3 {
        assert_eq!(opened(&state, &copies), [(2, slot)], "one more than wanted, and no more");
        copies.push(copy(2, slot));
        let seen = passed(&copies.iter().filter(|r| r.generation == 2).collect::<Vec<_>>());
        state = step(&state, &copies, &seen, now).expect("it takes over").next;
        let serving = copies.iter().filter(|r| state.serves(r)).count();
        assert_eq!((serving, stopped(&state, &copies).len()), (3, 0), "the old one stands by");
        now = now + Span::min(2);
        state = step(&state, &copies, &Seen::default(), now).expect("it passes").next;
        assert_eq!(stopped(&state, &copies), [format!("rep_1_{slot}")]);
        copies.retain(|r| r.generation == 2 || r.slot != slot);
    }
    assert!(state.upgrade.is_none() && plan(&state, &copies).commands.is_empty());
}

#[test]
fn copies_that_change_one_by_one_do_so_to_the_end() {
    let rolling = changed(3, None);
    let copies: Vec<Replica> = (0..3).map(|slot| copy(1, slot)).collect();
    assert!(next(&rolling, deployment(16_384, 3), &copies, asked(None)).is_none());
    let beside = changed(1, None);
    let third = next(&beside, deployment(16_384, 1), &[copy(1, 0)], asked(None)).expect("a change");
    assert_eq!(third.upgrade.as_ref().map(|u| (u.from, u.to)), Some((1, 3)));
    let same = next(&beside, deployment(4096, 1), &[copy(1, 0)], asked(None)).expect("a change");
    assert_eq!((same.generation, same.upgrade.is_none()), (1, true), "the file says again what it said before");
}

#[test]
fn a_bake_that_began_under_another_clock_begins_anew_and_what_failed_stays_failed() {
    let both = [copy(1, 0), copy(2, 0)];
    let over = step(&changed(1, None), &both, &passed(&[&both[1]]), Time(2000)).expect("a step").next;
    let since = |d: &Deployment| d.upgrade.as_ref().map(|u| format!("{:?}", u.stage)).unwrap_or_default();
    let anew = step(&over, &both, &Seen::default(), Time(500)).expect("a step").next;
    assert!(since(&over).contains("2000") && since(&anew).contains("500"), "{} {}", since(&over), since(&anew));
    let mut told = over;
    told.decide(2, Fate::Failed, None);
    told.decide(2, Fate::Replaced, None);
    assert_eq!(told.generation(2).map(|g| g.fate), Some(Fate::Failed));
}

#[test]
fn a_copy_that_comes_back_in_place_is_not_lost_because_one_before_it_was() {
    let copies = [failed(1, 0, "engine_crash_other"), copy(2, 0)];
    let wrong = Seen { exams: BTreeMap::from([(copies[1].id.clone(), Err("2+2= is 5".to_owned()))]), ..Seen::default() };
    let back = step(&changed(1, Some(Strategy::InPlace)), &copies, &wrong, Time(2000)).expect("a step").next;
    assert!(back.upgrade.is_some(), "it is on its way back");
    let later = step(&back, &copies, &Seen::default(), Time(3000));
    assert!(later.is_none_or(|s| s.next.upgrade.is_some()), "it waits until the copy is there again");
}

#[test]
fn one_generation_serves_however_the_next_one_came() {
    let mut stopped = changed(1, None);
    stopped.forget_upgrade("it was told to end");
    stopped.wish = Wish::Stop;
    let again = next(&stopped, deployment(4000, 1), &[], asked(None)).expect("a change");
    let fates: Vec<(u32, Fate)> = again.history.iter().map(|g| (g.number, g.fate)).collect();
    assert_eq!(fates, [(1, Fate::Replaced), (2, Fate::Undone), (3, Fate::Serving)]);
}
