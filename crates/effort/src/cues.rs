//! Words that tell something, in four languages, as data: one line for each feature and language.

use std::sync::LazyLock;

/// What a word may tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cue {
    Code,
    Mathematics,
    Proof,
    Reason,
    Plan,
    Chore,
    Talk,
    Step,
    Structure,
    Field,
    Creative,
    Bound,
}

/// How many there are.
pub(crate) const KINDS: usize = 12;

impl Cue {
    const ALL: [(Self, &'static str); KINDS] = [
        (Self::Code, "code"),
        (Self::Mathematics, "mathematics"),
        (Self::Proof, "proof"),
        (Self::Reason, "reason"),
        (Self::Plan, "plan"),
        (Self::Chore, "chore"),
        (Self::Talk, "talk"),
        (Self::Step, "step"),
        (Self::Structure, "structure"),
        (Self::Field, "field"),
        (Self::Creative, "creative"),
        (Self::Bound, "bound"),
    ];

    /// Its place in a list of counts.
    pub(crate) const fn at(self) -> usize {
        self as usize
    }
}

/// The longest word that is looked for.
pub(crate) const LONGEST: usize = 20;

/// Places of the table, a power of two and several times as many as there are words.
const PLACES: usize = 8192;

/// Mixes eight letters into what stands for a word so far. Words are known in advance, so that nobody can choose some that fall
/// together: a quick mixture of 64 bits is good enough to tell one from all others.
const fn mixed(so_far: u64, eight: u64) -> u64 {
    (so_far.rotate_left(5) ^ eight).wrapping_mul(0x517c_c1b7_2722_0a95)
}

/// What stands for the word that begins a text and is so long, whatever the case of its letters of ASCII. What follows it in the
/// text is read along where it is there, and does not count.
fn print(text: &[u8], length: usize) -> u64 {
    let (mut so_far, mut rest, mut left) = (0, text, length);
    loop {
        let eight = match rest.first_chunk::<8>() {
            Some(eight) => u64::from_le_bytes(*eight),
            None => {
                let mut last = [0; 8];
                last.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
                u64::from_le_bytes(last)
            }
        };
        let counts = if left >= 8 { u64::MAX } else { (1 << (left * 8)) - 1 };
        so_far = mixed(so_far, small(eight & counts));
        if left <= 8 {
            return so_far;
        }
        left -= 8;
        rest = rest.get(8..).unwrap_or_default();
    }
}

/// Capital letters of ASCII as small ones; other bytes as they are.
const fn small(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = eight & (0x7f * ONES);
    let from = low + (0x80 - b'A' as u64) * ONES;
    let beyond = low + (0x80 - (b'Z' + 1) as u64) * ONES;
    let capital = from & !beyond & !eight & (0x80 * ONES);
    eight | (capital >> 2)
}

/// Bits that tell of most words that they are none of these: few enough to be at hand all the time, and two for each place.
const BITS: usize = 2 * PLACES;

/// All words, by what stands for them.
pub(crate) struct Words {
    /// A word that is here has its bit.
    bits: [u64; BITS / 64],
    /// A place is empty where what stands for a word is zero.
    places: [(u64, Cue); PLACES],
}

static WORDS: LazyLock<Box<Words>> = LazyLock::new(|| {
    let mut words = Box::new(Words { bits: [0; BITS / 64], places: [(0, Cue::Code); PLACES] });
    for line in include_str!("../data/cues.tsv").lines() {
        let Some((kind, all)) = line.split_once('\t') else { continue };
        let Some((cue, _)) = Cue::ALL.iter().find(|(_, name)| *name == kind) else { continue };
        for word in all.split(' ').filter(|word| !word.is_empty()) {
            let print = print(word.as_bytes(), word.len());
            let mut at = place(print);
            // The last line that has a word says what it tells.
            while words.places[at].0 != 0 && words.places[at].0 != print {
                at = (at + 1) % PLACES;
            }
            words.places[at] = (print, *cue);
            let (which, bit) = bit(print);
            words.bits[which] |= bit;
        }
    }
    words
});

/// Where a word's bit is.
fn bit(print: u64) -> (usize, u64) {
    let bit = usize::try_from(print >> 50).unwrap_or(0) % BITS;
    (bit / 64, 1 << (bit % 64))
}

fn place(print: u64) -> usize {
    // The high bits are mixed best.
    usize::try_from(print >> 51).unwrap_or(0) % PLACES
}

/// What a word tells, in any case of its letters.
pub(crate) fn of(word: &[u8]) -> Option<Cue> {
    beginning(word, word.len())
}

/// The same of the word that begins a text and is so long.
pub(crate) fn beginning(text: &[u8], length: usize) -> Option<Cue> {
    if length > LONGEST || length == 0 {
        return None;
    }
    told(print(text, length))
}

fn told(print: u64) -> Option<Cue> {
    words().told(print)
}

/// All words.
pub(crate) fn words() -> &'static Words {
    &WORDS
}

impl Words {
    /// What a word of less than eight letters tells: the first one is the lowest byte, and zeros follow them.
    #[inline]
    pub(crate) fn short(&self, letters: u64) -> Option<Cue> {
        self.told(mixed(0, small(letters)))
    }

    #[inline]
    fn told(&self, print: u64) -> Option<Cue> {
        let (which, bit) = bit(print);
        if self.bits[which] & bit == 0 {
            return None;
        }
        self.at_place(print)
    }

    fn at_place(&self, print: u64) -> Option<Cue> {
        let mut at = place(print);
        loop {
            match self.places[at] {
                (0, _) => return None,
                (known, cue) if known == print => return Some(cue),
                _ => at = (at + 1) % PLACES,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_word_is_found_and_no_two_are_taken_for_one() {
        let mut all: BTreeMap<&str, &str> = BTreeMap::new();
        for (kind, words) in include_str!("../data/cues.tsv").lines().filter_map(|line| line.split_once('\t')) {
            all.extend(words.split(' ').filter(|w| !w.is_empty()).map(|w| (w, kind)));
        }
        let prints: std::collections::BTreeSet<u64> = all.keys().map(|w| print(w.as_bytes(), w.len())).collect();
        assert_eq!(prints.len(), all.len());
        assert!(all.len() * 3 < PLACES && !prints.contains(&0));
        for (word, kind) in &all {
            let found = of(word.as_bytes()).map(Cue::at);
            assert_eq!(found, Cue::ALL.iter().position(|(_, name)| name == kind), "{word}");
            assert_eq!(of(word.to_ascii_uppercase().as_bytes()).map(Cue::at), found, "{word} in capitals");
            let followed = format!("{word} and more, much more");
            assert_eq!(beginning(followed.as_bytes(), word.len()).map(Cue::at), found, "{word} with what follows it");
        }
        for word in ["lantern", "harbour", "qwertz", "", "a-very-long-word-that-is-none"] {
            assert_eq!(of(word.as_bytes()), None, "{word}");
        }
    }
}
