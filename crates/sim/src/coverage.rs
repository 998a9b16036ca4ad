//! What a set of worlds must have reached (I13): every fault, and every known way to leak that lives at this level. A simulation
//! that never gets there proves nothing by finding nothing.

use std::collections::BTreeMap;

/// The way to leak or to lose money that it stands for, by the numbers of the collected ones, and what is counted.
pub const MUST: &[(&str, &str)] = &[
    ("L1", "a create was begun before and its end unknown"),
    ("L2", "an answer was lost"),
    ("L2", "a create took effect long after its answer was lost"),
    ("L2", "a create was refused"),
    ("L3", "a stray was ended"),
    ("L4", "a destroy was accepted and ignored"),
    ("L4", "a destroy was answered with an error"),
    ("L4", "the provider answered nothing for a long time"),
    ("L5", "what came back without its label was ended"),
    ("L6", "a stopped machine was looked for"),
    ("L7", "a machine without its label was found"),
    ("L9", "a stale fence was refused"),
    ("L9", "an executor slept longer than its lease"),
    ("L12", "a list failed"),
    ("L12", "a list came back empty"),
    ("L12", "a list was not whole"),
    ("L12", "a list was cut short"),
    ("L12", "a list hid what is there"),
    ("L12", "a list was not believed, and nothing new was rented"),
    ("L13", "the clock jumped between two processes"),
    ("M3", "a machine never came up"),
    ("M4", "a destroy took effect late"),
    ("M6", "an engine failed"),
    ("M7", "nothing could be had, or paid, for a long time"),
    ("U1", "a new generation took over"),
    ("U1", "a new generation did not pass"),
    ("U2", "a specification was changed in the middle of an upgrade"),
    ("U2", "a start of a generation that is not wanted any more was refused"),
    ("U3", "an upgrade came to its end"),
    ("U5", "what had taken over died soon after"),
    ("U5", "copies were brought back"),
    ("U5", "an operator undid an upgrade"),
    ("U8", "no second machine: an upgrade went on in place"),
];

/// The same for whole worlds, where money is short, prices rise, people turn knobs, and control planes and stores fail.
pub const WHOLE_MUST: &[(&str, &str)] = &[
    ("L2", "an answer was lost"),
    ("L2", "a create took effect long after its answer was lost"),
    ("L4", "a destroy was accepted and ignored"),
    ("L4", "the provider answered nothing for a long time"),
    ("L8", "the market refused the key"),
    ("L9", "a control plane slept longer than its lease"),
    ("L9", "a control plane was cut off from the market"),
    ("L9", "a control plane was cut off from the store"),
    ("L9", "the store refused: locked or full"),
    ("L9", "the store wrote, and its answer was lost"),
    ("L12", "a list came back empty"),
    ("L12", "a list was not whole"),
    ("M1", "a limit refused an order"),
    ("M2", "a price rose while a machine ran"),
    ("M2", "a price rose above what was agreed to"),
    ("M5", "a limit ended what ran"),
    ("M5", "the limit was lowered while machines ran"),
];

/// What so many whole worlds have never reached: each must come up in a hundred of them.
#[must_use]
pub fn missing_whole(reached: &BTreeMap<&'static str, u64>, worlds: u64) -> Vec<(&'static str, &'static str)> {
    let demanded = WHOLE_MUST.iter().filter(|_| worlds >= 100);
    demanded.filter(|(_, what)| reached.get(what).is_none_or(|n| *n < worlds / 100)).copied().collect()
}

/// Of 10,000 worlds so many reach each, at the least.
pub const LEAST: u64 = 100;

/// What was reached too seldom by so many worlds, with its count.
#[must_use]
pub fn missing(reached: &BTreeMap<&'static str, u64>, worlds: u64) -> Vec<(&'static str, &'static str, u64)> {
    let least = (worlds * LEAST / 10_000).max(1);
    let count = |what: &str| reached.get(what).copied().unwrap_or(0);
    MUST.iter().map(|(row, what)| (*row, *what, count(what))).filter(|(.., n)| *n < least).collect()
}
