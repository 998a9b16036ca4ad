//! How hard a prompt is, on a scale of effort from 1 to 10: from features that can be seen in the text itself, with weights that are
//! data. Every part of a verdict is shown. Nothing is asked of anybody, and nothing is learnt while it runs.

mod cues;
mod features;
mod tier;
mod weights;

pub use features::{NAMES, found};
pub use tier::Tier;
pub use weights::{Weights, weights};

/// What is looked at of a request. The texts borrow from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prompt<'a> {
    /// What the system says.
    pub system: &'a str,
    /// What the person said last.
    pub last_user: &'a str,
    /// How often the person has spoken.
    pub turns: u32,
    /// Bytes of the whole request.
    pub total_bytes: usize,
    /// Tools that are offered.
    pub tools: u32,
    /// Pictures.
    pub images: u32,
    /// The most that may be written, where that was said.
    pub max_tokens: Option<u64>,
}

/// One feature of a prompt, and what it weighs.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// How much of it there is, from 0 to 1.
    pub found: f32,
    /// What all of it would weigh.
    pub weight: f32,
    /// What it weighs here.
    pub points: f32,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// From 1 to 10.
    pub effort: u8,
    /// The same before it was rounded.
    pub score: f32,
    /// Every feature, those that were not found too.
    pub parts: Vec<Part>,
}

/// Judges a prompt.
#[must_use]
pub fn classify(prompt: &Prompt<'_>) -> Verdict {
    let table = weights();
    let found = found(prompt);
    let part = |(name, found): (&'static str, f32)| {
        let weight = table.of(name);
        Part { name, found, weight, points: found * weight }
    };
    let parts: Vec<Part> = NAMES.into_iter().zip(found).map(part).collect();
    let score = table.bias + parts.iter().map(|p| p.points).sum::<f32>();
    Verdict { effort: rounded(score), score, parts }
}

/// The same without its parts, for those who are in a hurry.
#[must_use]
pub fn effort_of(prompt: &Prompt<'_>) -> u8 {
    let table = weights();
    rounded(table.bias + found(prompt).iter().zip(table.in_order).map(|(found, weight)| found * weight).sum::<f32>())
}

/// A score as an effort.
fn rounded(score: f32) -> u8 {
    (1..=9_u8).find(|effort| score < f32::from(*effort) + 0.5).unwrap_or(10)
}
