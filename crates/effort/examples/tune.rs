//! Makes `data/weights.json` of the part of the labelled set that is for tuning: a ridge regression, stretched afterwards, the
//! same each time. How strong the ridge is, and how far the scores are stretched, is chosen by rows that the regression had not
//! seen.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "it prints what it makes, and nobody depends on it")]

use charter_effort::{NAMES, Prompt, found};

/// What is tried to keep weights small where the set tells little.
const RIDGES: [f64; 5] = [0.5, 1.0, 2.0, 4.0, 8.0];
/// Each row is left out of one of so many regressions.
const FOLDS: usize = 5;
/// A stretch turns about the middle of the scale.
const MIDDLE: f64 = 5.5;
/// What the set tells nothing of is set by hand.
const BY_HAND: [(&str, f64); 4] = [("tools", 0.8), ("images", 0.8), ("turns", 0.6), ("short answer", -0.8)];

/// A prompt: 1 and its features, and its label.
struct Row {
    seen: Vec<f64>,
    wanted: f64,
}

/// What is done to a score after the regression: it pulls all of them to the middle, and the hard ones would be missed.
#[derive(Clone, Copy)]
struct Stretch {
    by: f64,
    shift: f64,
}

impl Stretch {
    fn of(self, score: f64) -> f64 {
        MIDDLE + self.shift + (score - MIDDLE) * self.by
    }
}

fn main() {
    let rows = rows();
    let mut best = (f64::INFINITY, RIDGES[0], Stretch { by: 1.0, shift: 0.0 });
    for ridge in RIDGES {
        let unseen = unseen(&rows, ridge);
        for (by, shift) in (0..=12).flat_map(|by| (-10..=10).map(move |shift| (by, shift))) {
            let stretch = Stretch { by: 1.0 + f64::from(by) * 0.05, shift: f64::from(shift) * 0.1 };
            let cost = cost(&unseen, stretch);
            if cost < best.0 - 1e-9 {
                best = (cost, ridge, stretch);
            }
        }
    }
    let (_, ridge, stretch) = best;
    let solved = regression(rows.iter(), ridge);
    let weight = |(name, value): (&str, &f64)| {
        let by_hand = BY_HAND.iter().find(|(known, _)| *known == name);
        format!("    \"{name}\": {:.2}", by_hand.map_or(value * stretch.by, |(_, value)| *value))
    };
    let weights: Vec<String> = NAMES.iter().copied().zip(&solved[1..]).map(weight).collect();
    let bias = stretch.of(solved[0]);
    println!("{{\n  \"as_of\": \"2026-11-28\",\n  \"bias\": {bias:.2},\n  \"weights\": {{\n{}\n  }}\n}}", weights.join(",\n"));
    if std::env::args().any(|a| a == "--chosen") {
        println!("ridge {ridge}, stretched by {:.2}, shifted by {:.1}; cost {:.3}", stretch.by, stretch.shift, best.0);
    }
}

/// The part of the set that is for tuning.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for line in include_str!("../data/prompts.tsv").lines() {
        let [split, effort, _, text] = line.splitn(4, '\t').collect::<Vec<_>>()[..] else { continue };
        if split == "tune" {
            let text = text.replace("\\n", "\n").replace("\\t", "\t");
            let prompt = Prompt { last_user: &text, turns: 1, total_bytes: text.len(), ..Prompt::default() };
            let seen = std::iter::once(1.0).chain(found(&prompt).into_iter().map(f64::from)).collect();
            rows.push(Row { seen, wanted: effort.parse().expect("an effort") });
        }
    }
    rows
}

/// The label of each row, and the score that a regression gives which was made without that row.
fn unseen(rows: &[Row], ridge: f64) -> Vec<(f64, f64)> {
    let fold = |fold: usize| {
        let solved = regression(rows.iter().enumerate().filter(|(at, _)| at % FOLDS != fold).map(|(_, row)| row), ridge);
        let left = rows.iter().enumerate().filter(move |(at, _)| at % FOLDS == fold);
        left.map(move |(_, row)| (row.wanted, row.seen.iter().zip(&solved).map(|(seen, weight)| seen * weight).sum::<f64>()))
    };
    (0..FOLDS).flat_map(fold).collect()
}

/// How bad scores are: the mean error of effort, and the shares of the hard and of the easy that are on the wrong side of 7, so
/// that the hard ones weigh as much although they are fewer.
fn cost(scores: &[(f64, f64)], stretch: Stretch) -> f64 {
    let (mut off, mut wrong, mut all) = (0.0, [0.0, 0.0], [0.0, 0.0]);
    for (wanted, score) in scores {
        let effort = stretch.of(*score).round().clamp(1.0, 10.0);
        let side = usize::from(*wanted >= 7.0);
        off += (effort - wanted).abs() / scores.len().max(1) as f64;
        all[side] += 1.0;
        wrong[side] += f64::from(u8::from((effort >= 7.0) != (*wanted >= 7.0)));
    }
    off + wrong[0] / all[0] + wrong[1] / all[1]
}

/// Ridge regression; the bias, which comes first, is not held small.
fn regression<'a>(rows: impl Iterator<Item = &'a Row>, ridge: f64) -> Vec<f64> {
    let size = NAMES.len() + 1;
    let (mut left, mut right) = (vec![vec![0.0_f64; size]; size], vec![0.0_f64; size]);
    for row in rows {
        for (at, value) in row.seen.iter().enumerate() {
            right[at] += value * row.wanted;
            for (to, other) in row.seen.iter().enumerate() {
                left[at][to] += value * other;
            }
        }
    }
    (1..size).for_each(|at| left[at][at] += ridge);
    solve(left, right)
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
