//! A large body without the inside of its long texts: all that is needed to find the values that matter, and a small part of the
//! work. Places found in it are carried over to the body itself.

use std::ops::Range;

/// Bodies below this size are read as they are.
const LARGE: usize = 4096;
/// Texts above this size are left out.
const LONG: usize = 256;

/// A body that was shortened.
#[derive(Debug)]
pub(crate) struct Compact {
    pub(crate) bytes: Vec<u8>,
    /// Where something was left out, and how much up to there, itself included.
    cuts: Vec<(usize, usize)>,
}

impl Compact {
    /// Shortens a large body. Nothing comes of it where a text is not what JSON allows, or does not end: whoever reads the whole
    /// body says what is wrong with it.
    pub(crate) fn of(body: &[u8]) -> Option<Self> {
        if body.len() < LARGE {
            return None;
        }
        let mut made = Self { bytes: Vec::with_capacity(LARGE), cuts: vec![] };
        let (mut at, mut gone) = (0, 0);
        while let Some(quote) = memchr::memchr(b'"', &body[at..]) {
            let inside = at + quote + 1;
            made.bytes.extend_from_slice(&body[at..inside]);
            let end = end_of_text(body, inside)?;
            let text = &body[inside..end];
            if text.len() > LONG {
                gone += text.len();
                made.cuts.push((made.bytes.len(), gone));
            } else {
                made.bytes.extend_from_slice(text);
            }
            made.bytes.push(b'"');
            at = end + 1;
        }
        made.bytes.extend_from_slice(&body[at..]);
        Some(made)
    }

    /// Was something left out in this place?
    pub(crate) fn is_cut(&self, place: &Range<usize>) -> bool {
        self.cuts.iter().any(|(at, _)| place.contains(at))
    }

    /// The same place in the whole body.
    pub(crate) fn whole(&self, place: &Range<usize>) -> Range<usize> {
        let gone = |at: usize| self.cuts.iter().rev().find(|(cut, _)| *cut <= at).map_or(0, |(_, gone)| *gone);
        place.start + gone(place.start)..place.end + gone(place.end)
    }
}

/// Where the text ends that begins here: at the next quote that no backslash stands before. Characters that must
/// not stand in a text as they are do not end it for anybody: they are the engine's to refuse.
fn end_of_text(body: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[at] == b'"' {
            return Some(at);
        }
        let escape = body.get(at + 1)?;
        match escape {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => at += 2,
            b'u' if body.get(at + 2..at + 6)?.iter().all(u8::is_ascii_hexdigit) => at += 6,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(prompt: &str) -> String {
        format!(r#"{{"a":"{prompt}","model":"m","b":["{prompt}","x"],"stream":true,"c":"{prompt}"}}"#)
    }

    #[test]
    fn places_are_the_same_in_both() {
        for prompt in ["y".repeat(3000), r#"\"\\\n\u00e9{}[]:,"#.repeat(200), "é".repeat(2000)] {
            let whole = body(&prompt);
            let short = Compact::of(whole.as_bytes()).expect("a large body");
            assert!(short.bytes.len() < 200, "{}", short.bytes.len());
            for wanted in [r#""m""#, "true", r#""stream""#, r#""x""#] {
                let at = String::from_utf8_lossy(&short.bytes).find(wanted).expect("a place");
                let place = short.whole(&(at..at + wanted.len()));
                assert_eq!(&whole.as_bytes()[place.clone()], wanted.as_bytes());
                assert!(!short.is_cut(&(at..at + wanted.len())));
            }
            assert!(short.is_cut(&(4..9)), "{}", String::from_utf8_lossy(&short.bytes));
        }
    }

    #[test]
    fn what_is_small_or_odd_is_left_to_whoever_reads_all() {
        assert!(Compact::of(body("short").as_bytes()).is_none());
        let long = "y".repeat(3000);
        for odd in ["\\x", "\\u12", "\\u00zz"] {
            assert!(Compact::of(body(&format!("{long}{odd}")).as_bytes()).is_none(), "{odd:?}");
        }
        assert!(Compact::of(format!(r#"{{"a":"{long}{long}"#).as_bytes()).is_none(), "it does not end");
        assert!(Compact::of(format!(r#"{{"a":"{long}{long}\"#).as_bytes()).is_none());
    }
}
