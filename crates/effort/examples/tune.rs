//! Makes `data/weights.json` of the part of the labelled set that is for tuning: a ridge regression, the same each time.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "it prints what it makes, and nobody depends on it")]

use charter_effort::{NAMES, Prompt, found};

/// Keeps weights small where the set tells little.
const RIDGE: f64 = 1.0;

fn main() {
    let size = NAMES.len() + 1;
    let (mut left, mut right) = (vec![vec![0.0_f64; size]; size], vec![0.0_f64; size]);
    for line in include_str!("../data/prompts.tsv").lines() {
        let [split, effort, _, text] = line.splitn(4, '\t').collect::<Vec<_>>()[..] else { continue };
        if split != "tune" {
            continue;
        }
        let text = text.replace("\\n", "\n").replace("\\t", "\t");
        let prompt = Prompt { last_user: &text, turns: 1, total_bytes: text.len(), ..Prompt::default() };
        let row: Vec<f64> = std::iter::once(1.0).chain(found(&prompt).into_iter().map(f64::from)).collect();
        let wanted: f64 = effort.parse().expect("an effort");
        for (at, value) in row.iter().enumerate() {
            right[at] += value * wanted;
            for (to, other) in row.iter().enumerate() {
                left[at][to] += value * other;
            }
        }
    }
    (1..size).for_each(|at| left[at][at] += RIDGE);
    let solved = solve(left, right);
    // What the set tells nothing of is set by hand.
    let by_hand = [("tools", 0.8), ("images", 0.8), ("turns", 0.6), ("short answer", -0.8)];
    let weight = |(name, value): (&str, &f64)| {
        let said = by_hand.iter().find(|(known, _)| *known == name).map_or(*value, |(_, value)| *value);
        format!("    \"{name}\": {said:.2}")
    };
    let rows: Vec<String> = NAMES.iter().copied().zip(&solved[1..]).map(weight).collect();
    println!(
        "{{\n  \"as_of\": \"2026-11-28\",\n  \"bias\": {:.2},\n  \"weights\": {{\n{}\n  }}\n}}",
        solved[0],
        rows.join(",\n")
    );
}

/// Gauss with pivots.
fn solve(mut left: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for at in 0..size {
        let best = (at..size).max_by(|a, b| left[*a][at].abs().total_cmp(&left[*b][at].abs())).unwrap_or(at);
        left.swap(at, best);
        right.swap(at, best);
        for row in at + 1..size {
            let times = left[row][at] / left[at][at];
            let above = left[at].clone();
            left[row].iter_mut().zip(above).skip(at).for_each(|(value, known)| *value -= times * known);
            right[row] -= times * right[at];
        }
    }
    let mut solved = vec![0.0; size];
    for at in (0..size).rev() {
        let known: f64 = (at + 1..size).map(|column| left[at][column] * solved[column]).sum();
        solved[at] = (right[at] - known) / left[at][at];
    }
    solved
}
