//! The life cycle under simulation: no seed and no crash point breaks an invariant, and the wrong variants are found.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

use charter_sim::coverage::missing;
use charter_sim::mutation::{MUTATIONS, Variant};
use charter_sim::sweep::{Total, seeds, sweep};
use charter_sim::world::{Setup, run};

fn none_failed(total: &Total) {
    let first = total.failed.first();
    assert!(first.is_none(), "{} of {} worlds failed, the first: {first:?}", total.failed.len(), total.worlds);
}

#[test]
fn no_seed_breaks_an_invariant() {
    let total = seeds(0, 1000, Variant::Right);
    none_failed(&total);
    assert_eq!(missing(&total.reached, total.worlds), []);
}

#[test]
fn dying_at_any_point_or_hearing_twice_changes_nothing() {
    let total = sweep(0, 6, Variant::Right);
    none_failed(&total);
    assert!(total.reached.contains_key("an outcome was delivered twice"));
}

#[test]
fn the_simulation_finds_the_bugs_that_made_other_systems_leak() {
    for mutation in MUTATIONS {
        let found = (0..1000).any(|seed| !seeds(seed, 1, mutation.variant).failed.is_empty());
        assert!(found, "{:?} was not found: {}", mutation.variant, mutation.bug);
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let setup = Setup {
        seed: 7,
        faults: true,
        crash_at: None,
        twice: None,
        variant: Variant::Right,
        logged: false,
        measured: false,
        long: false,
    };
    let (first, second) = (run(setup), run(setup));
    assert_eq!(first.trace, second.trace);
    assert_ne!(first.trace, run(Setup { seed: 8, ..setup }).trace);
}
