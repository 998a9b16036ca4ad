//! Whole worlds: the real controller by hand, one control plane or several, on a store that fails, in a market that lies.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

use charter_domain::invariants::InvariantId;
use charter_sim::whole::{Bug, Kind, run};
use std::collections::BTreeMap;

#[test]
fn no_whole_world_breaks_an_invariant_and_each_fault_is_met() {
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..12 {
        let seen = run(seed, &Kind::Memory, Bug::Right);
        assert_eq!(seen.violations, [], "seed {seed}");
        seen.reached.iter().for_each(|(what, n)| *reached.entry(what).or_default() += n);
    }
    for what in [
        "a control plane slept longer than its lease",
        "a control plane was cut off from the market",
        "a control plane was cut off from the store",
        "the store refused: locked or full",
        "the store wrote, and its answer was lost",
        "a limit ended what ran",
        "a limit refused an order",
        "an engine answered",
    ] {
        assert!(reached.get(what).copied().unwrap_or(0) > 0, "never reached: {what}; {reached:?}");
    }
}

/// A machine that was found late is paid for since it was ordered. These seeds showed that it was counted since it was found.
#[test]
fn a_machine_that_was_found_late_is_counted_from_its_order_on() {
    for seed in [180, 386] {
        assert_eq!(run(seed, &Kind::Memory, Bug::Right).violations, [], "seed {seed}");
    }
}

/// Somebody lowers the limit while machines run that were let through under the old one: they may not run until the end of what
/// was set aside for them. This seed showed that they did.
#[test]
fn a_limit_that_is_lowered_ends_what_it_leaves_no_room_for() {
    let seen = run(132, &Kind::Memory, Bug::Right);
    assert_eq!(seen.violations, []);
    assert!(seen.reached.contains_key("the limit was lowered while machines ran"), "{:?}", seen.reached);
}

#[test]
fn a_limit_that_is_looked_at_too_late_or_never_again_is_found() {
    for bug in [Bug::LimitUnknown, Bug::NeverRenews] {
        let found = (0..60).find_map(|seed| run(seed, &Kind::Memory, bug).violations.into_iter().next());
        assert_eq!(found.map(|v| v.id), Some(InvariantId::WithinBudget), "{bug:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let (first, second) = (run(5, &Kind::Memory, Bug::Right), run(5, &Kind::Memory, Bug::Right));
    assert_eq!((first.trace, first.calls), (second.trace, second.calls));
    assert_ne!(first.trace, run(6, &Kind::Memory, Bug::Right).trace);
}
