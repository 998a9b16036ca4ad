//! What can be seen in a prompt: each feature as a number from 0 to 1, found in one pass over its words.

use crate::Prompt;
use crate::cues::{Cue, KINDS, LONGEST, beginning, of, words};

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
    /// Letters of scripts that put no space between words.
    unspaced: u32,
    symbols: u32,
    operators: u32,
    foreign: u32,
    questions: u32,
    fences: u32,
    items: u32,
    /// The first word asks for a chore: what follows is mostly what it is to be done to.
    opens_as_chore: bool,
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

/// What a byte of a text is.
const PLAIN: u8 = 0;
const LETTER: u8 = 1;
const SYMBOL: u8 = 2;
const OPERATOR: u8 = 3;
const QUESTION: u8 = 4;
const JOINER: u8 = 5;
const BEYOND: u8 = 6;
const LINE: u8 = 7;

/// The same for every byte.
static KINDS_OF_BYTES: [u8; 256] = kinds();

const fn kinds() -> [u8; 256] {
    let mut kinds = [PLAIN; 256];
    let mut at: usize = 0;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let byte = at as u8;
        kinds[at] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => LETTER,
            b'{' | b'}' | b';' | b'<' | b'>' | b'[' | b']' | b'(' | b')' | b'_' | b'#' => SYMBOL,
            b'=' | b'+' | b'^' | b'\\' | b'|' | b'*' | b'/' => OPERATOR,
            b'?' => QUESTION,
            b'-' | b'\'' => JOINER,
            b'\n' => LINE,
            128.. => BEYOND,
            _ => PLAIN,
        };
        at += 1;
    }
    kinds
}

fn read(text: &str, counts: &mut Counts) {
    let (bytes, words) = (text.as_bytes(), words());
    let mut at = 0;
    line(bytes, 0, counts);
    while at < bytes.len() {
        // Most of a text are short words with a space behind them.
        if let Some(short) = short_word(bytes, at) {
            counts.words += 1;
            tells(words.short(short.letters), counts);
            at += short.length + usize::from(short.next == b' ');
        } else {
            at = other(text, at, counts);
        }
    }
}

/// Reads what is no short word; where it ends.
fn other(text: &str, at: usize, counts: &mut Counts) -> usize {
    let bytes = text.as_bytes();
    match KINDS_OF_BYTES[usize::from(bytes[at])] {
        LETTER => return word(text, at, counts),
        BEYOND => return beyond(text, at, counts),
        SYMBOL => counts.symbols += 1,
        OPERATOR => counts.operators += 1,
        QUESTION => counts.questions += 1,
        LINE => line(bytes, at + 1, counts),
        _ => {}
    }
    at + 1
}

/// A line begins here.
fn line(bytes: &[u8], from: usize, counts: &mut Counts) {
    let rest = bytes.get(from..).unwrap_or_default();
    // To the next line and no further: a text of empty lines would be looked through again for each of them.
    let indent = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    mark(rest.get(indent..).unwrap_or_default(), counts);
}

/// What a line begins with: a number, a mark of a list, a fence.
fn mark(line: &[u8], counts: &mut Counts) {
    let digits = line.iter().take_while(|b| b.is_ascii_digit()).count();
    let numbered = (1..3).contains(&digits) && matches!(line.get(digits), Some(b'.' | b')'));
    counts.items += u32::from(numbered || line.starts_with(b"- ") || line.starts_with(b"* "));
    counts.fences += u32::from(line.starts_with(b"```"));
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x80 * ONES;

/// Of eight bytes, in their top bits: which are letters or digits of ASCII, and which join words.
const fn marks(eight: u64) -> (u64, u64) {
    let low = eight & !TOPS;
    let small = low | (0x20 * ONES);
    let letters = from(b'a', small) & !from(b'z' + 1, small);
    let digits = from(b'0', low) & !from(b'9' + 1, low);
    let plain = TOPS & !eight;
    ((letters | digits) & plain, (is(b'-', low) | is(b'\'', low)) & plain)
}

/// Marks the bytes of eight, in their top bits, that belong to a word.
const fn of_word(eight: u64) -> u64 {
    let (letters, joiners) = marks(eight);
    letters | joiners
}

/// A word of less than eight letters of ASCII.
struct Short {
    length: usize,
    /// The first one is the lowest byte; zeros follow them.
    letters: u64,
    /// The byte after it, of ASCII too.
    next: u8,
}

/// The short word that begins here, if one does, and ends with a letter.
#[inline]
fn short_word(bytes: &[u8], at: usize) -> Option<Short> {
    let eight = u64::from_le_bytes(*bytes.get(at..)?.first_chunk::<8>()?);
    let (letters, joiners) = marks(eight);
    let others = !(letters | joiners) & TOPS;
    if others == 0 || letters & 0x80 == 0 {
        return None;
    }
    // The top bit of the first byte that is none of it, and so eight times the word's length and seven more.
    let bits = others.trailing_zeros() - 7;
    let next = (eight >> bits).to_le_bytes()[0];
    let ends_well = next < 128 && (joiners >> (bits - 1)) & 1 == 0;
    ends_well.then(|| Short { length: (bits / 8) as usize, letters: eight & ((1 << bits) - 1), next })
}

/// Marks those of eight bytes below 128 that are not below `byte`.
const fn from(byte: u8, eight: u64) -> u64 {
    eight + (0x80 - byte as u64) * ONES
}

/// Marks those of eight bytes below 128 that are `byte`.
const fn is(byte: u8, eight: u64) -> u64 {
    !((eight ^ (byte as u64 * ONES)) + (TOPS - ONES))
}

/// Where a word ends: eight bytes are looked at in one go.
fn end_of_word(bytes: &[u8], mut at: usize) -> usize {
    while let Some(eight) = bytes.get(at..at + 8).and_then(|part| <[u8; 8]>::try_from(part).ok()) {
        let others = !of_word(u64::from_le_bytes(eight)) & TOPS;
        if others != 0 {
            return at + (others.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| !matches!(KINDS_OF_BYTES[usize::from(*byte)], LETTER | JOINER)).unwrap_or(rest.len())
}

/// Reads a word that begins with a letter of ASCII; where it ends.
fn word(text: &str, from: usize, counts: &mut Counts) -> usize {
    let bytes = text.as_bytes();
    let at = end_of_word(bytes, from);
    if bytes.get(at).is_some_and(|byte| *byte >= 128) {
        // It has other letters in it.
        return foreign_word(text, from, counts);
    }
    counts.words += 1;
    let mut end = at;
    while end > from && matches!(bytes.get(end - 1), Some(b'-' | b'\'')) {
        end -= 1;
    }
    tells(beginning(bytes.get(from..).unwrap_or_default(), end - from), counts);
    at
}

fn count(word: &[u8], counts: &mut Counts) {
    tells(of(word), counts);
}

fn tells(cue: Option<Cue>, counts: &mut Counts) {
    if let Some(cue) = cue {
        counts.cues[cue.at()] += 1;
        counts.opens_as_chore |= counts.words == 1 && counts.unspaced == 0 && cue == Cue::Chore;
    }
}

/// Reads what begins with a character beyond ASCII: a word, or a sign.
fn beyond(text: &str, at: usize, counts: &mut Counts) -> usize {
    let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) else { return at + 1 };
    if is_unspaced(c) {
        return unspaced(text, at, counts);
    }
    if c.is_alphanumeric() {
        return foreign_word(text, at, counts);
    }
    counts.questions += u32::from(matches!(c, '？' | '؟'));
    counts.operators += u32::from(matches!(c, '∫' | '∑' | '√' | '≤' | '≥' | '≡' | '∀' | '∃'));
    at + c.len_utf8()
}

/// Whether a letter belongs to a script that puts no space between words: Thai, Lao, Khmer, Chinese, Japanese.
const fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{0e00}'..='\u{0eff}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

/// Reads letters of such a script. Nothing tells where a word begins, so each two of them are looked up.
fn unspaced(text: &str, from: usize, counts: &mut Counts) -> usize {
    let (mut before, mut at) = (from, from);
    for c in text.get(from..).unwrap_or_default().chars().take_while(|c| is_unspaced(*c)) {
        let end = at + c.len_utf8();
        counts.unspaced += 1;
        counts.foreign += 1;
        count(text.get(before..end).unwrap_or_default().as_bytes(), counts);
        (before, at) = (at, end);
    }
    at
}

fn foreign_word(text: &str, from: usize, counts: &mut Counts) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    let inside = |c: char| (c.is_alphanumeric() && !is_unspaced(c)) || c == '-' || c == '\'';
    let end = rest.find(|c: char| !inside(c)).unwrap_or(rest.len());
    let word = rest.get(..end).unwrap_or_default();
    counts.words += 1;
    counts.foreign += u32::try_from(word.chars().filter(|c| !c.is_ascii()).count()).unwrap_or(u32::MAX);
    if word.len() <= LONGEST {
        count(word.to_lowercase().trim_end_matches(['-', '\'']).as_bytes(), counts);
    }
    from + end.max(1)
}

/// A share of something that is full from `most` on.
fn of_most(count: u32, most: f32) -> f32 {
    (f32::from(u16::try_from(count).unwrap_or(u16::MAX)) / most).min(1.0)
}

fn features(prompt: &Prompt<'_>, counts: &Counts) -> [f32; COUNT] {
    let cue = |cue: Cue, most: f32| of_most(counts.cues[cue.at()], most);
    // Two letters of a script without spaces say about as much as a word.
    let words = counts.words.saturating_add(counts.unspaced / 2);
    let words = f32::from(u16::try_from(words).unwrap_or(u16::MAX)).max(1.0);
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
        (share(Cue::Chore) * 0.5 + if counts.opens_as_chore { 0.5 } else { 0.0 }).min(1.0),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_are_told_as_one_is() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                for around in [b'a', b' ', 0, 255, b'Z', b'9', b'-', b'/', b':', b'@', b'[', b'`', b'{'] {
                    let mut eight = [around; 8];
                    eight[place] = byte;
                    let marked = of_word(u64::from_le_bytes(eight)).to_le_bytes();
                    let alone = eight.map(|b| if matches!(KINDS_OF_BYTES[usize::from(b)], LETTER | JOINER) { 0x80 } else { 0 });
                    assert_eq!(marked, alone, "{eight:?}");
                }
            }
        }
        let words =
            ["prove", "PROVE", "a", "integral", "whatever", "hi-", "step-by-step", "don't", "it'", "caf\u{e9}", "proves\u{e9}"];
        for around in [0, 1, 3, 9] {
            for one in words {
                // Whatever follows it, a word says the same.
                let mut counts = Counts::default();
                let text = format!("{one}{}", " xxxxxxxxx".get(..around).unwrap_or_default());
                let mut alone = Counts::default();
                read(&text, &mut counts);
                assert_eq!(word(one, 0, &mut alone), one.len(), "{text:?}");
                assert_eq!(
                    (counts.cues, counts.words, counts.foreign),
                    (alone.cues, alone.words + u32::from(around > 1), alone.foreign),
                    "{text:?}"
                );
                let looked_up = of(one.to_lowercase().trim_end_matches(['-', '\'']).as_bytes());
                assert_eq!(looked_up.map_or(0, |cue| counts.cues[cue.at()]), u32::from(looked_up.is_some()), "{text:?}");
            }
        }
        let mut counts = Counts::default();
        read("\n\n\n  - one\n\n2. two\n\n```\n", &mut counts);
        assert_eq!((counts.items, counts.fences), (2, 1), "empty lines have no marks of the next one");
        assert_eq!(end_of_word(b"well-known words", 0), 10);
        assert_eq!(end_of_word(b"abcdefghijklmno", 3), 15);
        assert_eq!(end_of_word("caf\u{e9} noir".as_bytes(), 0), 3);
    }
}
