//! Does the time that a look for a key takes tell anything about keys? Measured by hand, since it is a measurement:
//! `cargo test --release -p charter-gateway key_time -- --ignored --nocapture`.

#![allow(clippy::disallowed_methods, clippy::cast_precision_loss, reason = "a measurement of time, in floating point")]

use crate::table::Table;
use charter_domain::routing::{Key, KeyLimits, RouteTable};
use charter_domain::time::Time;
use ring::digest;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Pairs that are written at a time.
const BLOCK: usize = 1000;
const ROUNDS: usize = 1_000_000;

fn key(secret: &str) -> Key {
    let hash = digest::digest(&digest::SHA256, secret.as_bytes());
    let sha256 = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Key {
        sha256,
        routes: vec![],
        expires_at: None,
        id: "k".into(),
        tenant: "t".into(),
        operator: false,
        limits: KeyLimits::default(),
    }
}

/// Welch's t of two groups of times.
fn t(a: &[f64], b: &[f64]) -> f64 {
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    let spread = |all: &[f64], mean: f64| all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (all.len() - 1) as f64;
    let (m, n) = (mean(a), mean(b));
    (m - n) / (spread(a, m) / a.len() as f64 + spread(b, n) / b.len() as f64).sqrt()
}

#[test]
#[ignore = "a measurement, and no test of behaviour: it is run by hand"]
fn a_wrong_key_takes_as_long_however_much_of_it_is_right() {
    let real = "chk_0123456789012345678901234567890123456789";
    let keys: Vec<Key> = (0..1000).map(|n| key(&format!("chk_{n:040}"))).chain([key(real)]).collect();
    let source = RouteTable { version: 1, keys, ..RouteTable::default() };
    let table = Table::new(&Arc::new(source), &Table::default());
    let (mut near, mut far) = (vec![], vec![]);
    let mut shown = String::with_capacity(64);
    let mut chance: u64 = 0x9E37_79B9_7F4A_7C15;
    for block in 0..ROUNDS / BLOCK {
        // All but the end is right, or nothing is. Both are written in one way, long before they are looked at.
        let begins = [real.get(..36).unwrap_or_default(), "xyz_98765432109876543210987654321098"];
        let number = |n: usize| block * BLOCK + n;
        let secrets: Vec<[String; 2]> = (0..BLOCK).map(|n| begins.map(|begin| format!("{begin}{:08}", number(n)))).collect();
        for pair in &secrets {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            let first = usize::from(chance & 1 == 1);
            for which in [first, 1 - first] {
                // From one place in the memory, so that it does not matter where either lay, and settled there.
                shown.clear();
                shown.push_str(&pair[which]);
                black_box(table.key(black_box("chk_a-third-one-that-comes-before-each"), Time(0)).is_some());
                let begun = Instant::now();
                black_box(table.key(black_box(&shown), Time(0)).is_some());
                let took = begun.elapsed().as_nanos() as f64;
                if which == 0 { near.push(took) } else { far.push(took) }
            }
        }
    }
    // What was interrupted says nothing.
    let most = {
        let mut all: Vec<f64> = near.iter().chain(&far).copied().collect();
        all.sort_by(f64::total_cmp);
        all[all.len() * 95 / 100]
    };
    near.retain(|x| *x <= most);
    far.retain(|x| *x <= most);
    let t = t(&near, &far);
    println!("t = {t:.2} of {} and {} looks", near.len(), far.len());
    assert!(t.abs() < 4.5, "{t}");
}
