//! What can be seen in a prompt: each feature as a number from 0 to 1, found in one pass over its words.

use crate::Prompt;
use crate::cues::{Cue, KINDS, LONGEST, of};

/// How many features there are.
pub(crate) const COUNT: usize = 20;

/// Their names, in the order of their numbers.
pub const NAMES: [&str; COUNT] = [
    "code",
    "mathematics",
    "proof",
    "reasoning",
    "planning",
    "chore",
    "small talk",
    "multi-step",
    "structure",
    "field",
    "creative",
    "constraints",
    "length",
    "questions",
    "tools",
    "images",
    "language",
    "turns",
    "short answer",
    "depth",
];

/// Bytes that are read of a text: its beginning, and its end.
const HEAD: usize = 12 * 1024;
const TAIL: usize = 4 * 1024;

/// What was counted.
#[derive(Default)]
struct Counts {
    cues: [u32; KINDS],
    words: u32,
    symbols: u32,
    operators: u32,
    foreign: u32,
    bytes: u32,
    questions: u32,
    fences: u32,
    items: u32,
}

/// Finds all of them.
#[must_use]
pub fn found(prompt: &Prompt<'_>) -> [f32; COUNT] {
    let mut counts = Counts::default();
    let text = prompt.last_user;
    if text.len() <= HEAD + TAIL {
        read(text, &mut counts);
    } else {
        read(part(text, 0, HEAD), &mut counts);
        read(part(text, text.len() - TAIL, text.len()), &mut counts);
    }
    features(prompt, &counts)
}

/// A piece of a text, cut where characters begin.
fn part(text: &str, mut from: usize, mut to: usize) -> &str {
    while !text.is_char_boundary(from) {
        from += 1;
    }
    while !text.is_char_boundary(to) {
        to -= 1;
    }
    text.get(from..to).unwrap_or_default()
}

fn read(text: &str, counts: &mut Counts) {
    let mut word = String::with_capacity(LONGEST);
    let mut long = false;
    for line in text.split('\n') {
        let start = line.trim_start();
        let numbered = start
            .split_once(['.', ')'])
            .is_some_and(|(n, _)| !n.is_empty() && n.len() < 3 && n.bytes().all(|b| b.is_ascii_digit()));
        counts.items += u32::from(numbered || start.starts_with("- ") || start.starts_with("* "));
        counts.fences += u32::from(start.starts_with("```"));
        for c in line.chars().chain(std::iter::once(' ')) {
            if c.is_alphanumeric() || (!word.is_empty() && (c == '-' || c == '\'')) {
                // A word that is too long for any cue is only counted.
                long |= word.len() >= LONGEST;
                if !long && c.is_ascii() {
                    word.push(c.to_ascii_lowercase());
                } else if !long {
                    word.extend(c.to_lowercase());
                }
                counts.foreign += u32::from(!c.is_ascii());
                continue;
            }
            if !word.is_empty() {
                counts.words += 1;
                if !long && let Some(cue) = of(word.trim_end_matches(['-', '\''])) {
                    counts.cues[cue.at()] += 1;
                }
                word.clear();
                long = false;
            }
            match c {
                '{' | '}' | ';' | '<' | '>' | '[' | ']' | '(' | ')' | '_' | '#' => counts.symbols += 1,
                '=' | '+' | '^' | '\\' | '∫' | '∑' | '√' | '≤' | '≥' | '≡' | '∀' | '∃' | '|' | '*' | '/' => {
                    counts.operators += 1
                }
                '?' => counts.questions += 1,
                _ => {}
            }
        }
    }
    counts.bytes += u32::try_from(text.len()).unwrap_or(u32::MAX);
}

/// A share of something that is full from `most` on.
fn of_most(count: u32, most: f32) -> f32 {
    (f32::from(u16::try_from(count).unwrap_or(u16::MAX)) / most).min(1.0)
}

fn features(prompt: &Prompt<'_>, counts: &Counts) -> [f32; COUNT] {
    let cue = |cue: Cue, most: f32| of_most(counts.cues[cue.at()], most);
    let words = f32::from(u16::try_from(counts.words).unwrap_or(u16::MAX)).max(1.0);
    let symbols = f32::from(u16::try_from(counts.symbols).unwrap_or(u16::MAX)) / words;
    let code = (cue(Cue::Code, 4.0) + of_most(counts.fences, 2.0) * 0.5 + (symbols / 0.6).min(1.0) * 0.5).min(1.0);
    let mathematics = (cue(Cue::Mathematics, 4.0) + of_most(counts.operators, 8.0) * 0.4).min(1.0);
    let (proof, reasoning, planning) = (cue(Cue::Proof, 2.0), cue(Cue::Reason, 3.0), cue(Cue::Plan, 3.0));
    // Few words in which much is said of easy things are easy; the same share of a long text is not.
    let share = |kind: Cue| (f32::from(u16::try_from(counts.cues[kind.at()]).unwrap_or(u16::MAX)) / words * 4.0).min(1.0);
    let steps = (cue(Cue::Step, 4.0) * 0.6 + of_most(counts.items, 5.0) * 0.6).min(1.0);
    // From a line to a few pages, evenly by doublings.
    let length = ((words + 1.0).log2() / 10.0).clamp(0.0, 1.0);
    let foreign = f32::from(u16::try_from(counts.foreign).unwrap_or(u16::MAX)) / words;
    let short = prompt.max_tokens.filter(|most| *most <= 64).map_or(0.0, |_| 1.0);
    // Several hard things at once are harder than their sum.
    let hard = [mathematics, proof, reasoning, planning, code, cue(Cue::Field, 3.0)];
    let several = hard.iter().filter(|part| **part >= 0.3).count();
    [
        code,
        mathematics,
        proof,
        reasoning,
        planning,
        share(Cue::Chore),
        share(Cue::Talk),
        steps,
        cue(Cue::Structure, 3.0),
        cue(Cue::Field, 3.0),
        cue(Cue::Creative, 2.0),
        cue(Cue::Bound, 4.0),
        length,
        of_most(counts.questions, 4.0),
        of_most(prompt.tools, 8.0),
        of_most(prompt.images, 2.0),
        (foreign * 2.0).min(1.0),
        of_most(prompt.turns.saturating_sub(1), 8.0),
        short,
        of_most(u32::try_from(several).unwrap_or(0), 3.0),
    ]
}
