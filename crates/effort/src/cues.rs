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

    // The length of a word, which its bytes tell as well.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

static WORDS: LazyLock<HashMap<&'static [u8], Cue, BuildHasherDefault<Quick>>> = LazyLock::new(|| {
    let mut words = HashMap::default();
    for line in include_str!("../data/cues.tsv").lines() {
        let Some((kind, all)) = line.split_once('\t') else { continue };
        let Some((cue, _)) = Cue::ALL.iter().find(|(_, name)| *name == kind) else { continue };
        words.extend(all.split(' ').filter(|word| !word.is_empty()).map(|word| (word.as_bytes(), *cue)));
    }
    words
});

/// The lengths that words have, by what they begin with: most words of a text are none of these, and need not be looked up.
static LENGTHS: LazyLock<Box<[u32; BEGINNINGS]>> = LazyLock::new(|| {
    let mut lengths = Box::new([0; BEGINNINGS]);
    let lines = include_str!("../data/cues.tsv").lines().filter_map(|line| line.split_once('\t'));
    for word in lines.flat_map(|(_, all)| all.split(' ')).filter(|word| !word.is_empty()) {
        lengths[beginning(word.as_bytes())] |= of_length(word.len());
    }
    lengths
});

/// As many as there are places for beginnings.
const BEGINNINGS: usize = 1024;

/// A place for the first two bytes of a word.
fn beginning(word: &[u8]) -> usize {
    let byte = |at: usize| usize::from(word.get(at).copied().unwrap_or(0));
    (byte(0) * 37 + byte(1)) % BEGINNINGS
}

fn of_length(bytes: usize) -> u32 {
    1_u32.checked_shl(u32::try_from(bytes).unwrap_or(u32::MAX)).unwrap_or(0)
}

/// What a word tells, in lower case.
pub(crate) fn of(word: &[u8]) -> Option<Cue> {
    if LENGTHS[beginning(word)] & of_length(word.len()) == 0 {
        return None;
    }
    WORDS.get(word).copied()
}
