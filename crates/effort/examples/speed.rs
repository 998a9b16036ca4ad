//! Prints how long one verdict takes, over all prompts of the labelled set and over one of four kilobytes.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures time and prints it")]

use charter_effort::{Prompt, classify};
use std::hint::black_box;
use std::time::Instant;

const ROUNDS: u32 = 200;

fn main() {
    let texts: Vec<&str> = include_str!("../data/prompts.tsv").lines().filter_map(|l| l.splitn(4, '\t').nth(3)).collect();
    let long = texts.join("\n").chars().take(4096).collect::<String>();
    for (what, all) in [("the labelled set", &texts[..]), ("4 KB", &[long.as_str()][..])] {
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            for text in all {
                black_box(classify(&Prompt { last_user: text, ..Prompt::default() }));
            }
        }
        let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS) / all.len().max(1) as f64;
        println!("{what}: {each:.1} microseconds for each verdict");
    }
}
