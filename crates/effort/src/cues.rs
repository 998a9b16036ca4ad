//! Words that tell something, in four languages, as data: one line for each feature and language.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
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

/// Words are known in advance, so that nobody can choose some that fall together: a quick hash is good enough.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut eight = [0; 8];
            eight[..part.len()].copy_from_slice(part);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(eight)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }

    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

static WORDS: LazyLock<HashMap<&'static str, Cue, BuildHasherDefault<Quick>>> = LazyLock::new(|| {
    let mut words = HashMap::default();
    for line in include_str!("../data/cues.tsv").lines() {
        let Some((kind, all)) = line.split_once('\t') else { continue };
        let Some((cue, _)) = Cue::ALL.iter().find(|(_, name)| *name == kind) else { continue };
        words.extend(all.split(' ').filter(|word| !word.is_empty()).map(|word| (word, *cue)));
    }
    words
});

/// The lengths that words have, by their first byte: most words of a text are none of these, and need not be looked up.
static LENGTHS: LazyLock<[u32; 256]> = LazyLock::new(|| {
    let mut lengths = [0; 256];
    let lines = include_str!("../data/cues.tsv").lines().filter_map(|line| line.split_once('\t'));
    for word in lines.flat_map(|(_, all)| all.split(' ')) {
        if let Some(first) = word.bytes().next() {
            lengths[usize::from(first)] |= 1_u32.checked_shl(u32::try_from(word.len()).unwrap_or(u32::MAX)).unwrap_or(0);
        }
    }
    lengths
});

/// What a word tells, in lower case.
pub(crate) fn of(word: &str) -> Option<Cue> {
    let lengths = LENGTHS[usize::from(*word.as_bytes().first()?)];
    let any = 1_u32.checked_shl(u32::try_from(word.len()).unwrap_or(u32::MAX)).unwrap_or(0);
    if lengths & any == 0 {
        return None;
    }
    WORDS.get(word).copied()
}
