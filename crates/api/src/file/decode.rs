//! Strict reading of a tree: every key must be known and every value of its type; all faults are collected.

use crate::file::node::{Fault, Node, Place, Value};

/// Collects faults while a tree is read.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What was wrong so far.
    pub faults: Vec<Fault>,
}

/// A map that is being read. Keys that nobody asked for are faults at the end.
pub struct Fields<'a> {
    entries: &'a [(String, Place, Node)],
    known: Vec<&'static str>,
    /// Where the map begins.
    pub place: Place,
}

impl Decoder {
    /// Notes a fault.
    pub fn fault(&mut self, place: Place, message: impl Into<String>, label: impl Into<String>) {
        self.faults.push(Fault::new(place, message, label));
    }

    /// Reads a map; anything else is a fault and an empty map.
    pub fn map<'a>(&mut self, node: &'a Node, what: &str) -> Fields<'a> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            Value::Plain(_) | Value::Quoted(_) | Value::List(_) => {
                self.fault(node.place, format!("{what} must be names with values"), "expected `name: value` lines");
                &[]
            }
        };
        Fields { entries, known: vec![], place: node.place }
    }

    /// Reads a text. A plain word counts as it is written.
    pub fn text(&mut self, node: &Node, what: &str) -> String {
        match &node.value {
            Value::Plain(text) | Value::Quoted(text) => text.clone(),
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.fault(node.place, format!("{what} must be a text"), "expected a text");
                String::new()
            }
        }
    }

    /// Reads a whole number that is not negative.
    pub fn number(&mut self, node: &Node, what: &str) -> u64 {
        if let Value::Plain(text) = &node.value
            && let Ok(number) = text.parse()
        {
            return number;
        }
        self.fault(node.place, format!("{what} must be a whole number"), "expected a number such as `2`");
        0
    }

    /// Reads a switch.
    #[expect(clippy::wildcard_enum_match_arm, reason = "everything but the two words is a fault")]
    pub fn flag(&mut self, node: &Node, what: &str) -> bool {
        match &node.value {
            Value::Plain(word) if word == "true" => true,
            Value::Plain(word) if word == "false" => false,
            _ => {
                self.fault(node.place, format!("{what} must be `true` or `false`"), "expected `true` or `false`");
                false
            }
        }
    }

    /// Reads a list; anything else is a fault and an empty list.
    pub fn list<'a>(&mut self, node: &'a Node, what: &str) -> &'a [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Null => &[],
            Value::Plain(_) | Value::Quoted(_) | Value::Map(_) => {
                self.fault(node.place, format!("{what} must be a list"), "expected `[a, b]`");
                &[]
            }
        }
    }

    /// Reads a list of texts.
    pub fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        self.list(node, what).iter().map(|item| self.text(item, what)).collect()
    }

    /// Reads a text with `parse`, whose error becomes the fault.
    pub fn parsed<T: Default>(&mut self, node: &Node, what: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        let before = self.faults.len();
        let text = self.text(node, what);
        if self.faults.len() > before {
            return T::default();
        }
        parse(&text).unwrap_or_else(|why| {
            self.fault(node.place, format!("{what}: {why}"), "here");
            T::default()
        })
    }

    /// Ends a map: whatever nobody asked for is a fault.
    pub fn finish(&mut self, fields: &Fields<'_>) {
        for (name, place, _) in fields.entries {
            if !fields.known.contains(&name.as_str()) {
                let near =
                    fields.known.iter().min_by_key(|k| distance(k, name)).filter(|k| distance(k, name) <= 3.max(name.len() / 3));
                let label = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: {}", fields.known.join(", ")),
                };
                self.fault(*place, format!("unknown key `{name}`"), label);
            }
        }
    }
}

impl<'a> Fields<'a> {
    /// The value of a key that may be missing.
    pub fn get(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        self.entries.iter().find(|(name, ..)| name == key).map(|(_, _, node)| node)
    }

    /// All names and values, for maps whose names are free.
    #[must_use]
    pub const fn all(&self) -> &'a [(String, Place, Node)] {
        self.entries
    }
}

/// How many letters differ, for finding what was meant.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = before + usize::from(x != *y);
            before = row[j + 1];
            row[j + 1] = cost.min(before + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// `45m`, `30s`, `250ms`, `2h`, `1d`: milliseconds.
///
/// # Errors
/// What would be right.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let found = units.iter().find_map(|(unit, ms)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, *ms)));
    let ms = found.and_then(|(n, ms)| n.checked_mul(ms)).filter(|ms| *ms < 1 << 50);
    ms.ok_or_else(|| format!("`{text}` is no duration such as `30s`, `45m` or `2h`"))
}

/// `40GB`, `24GiB`, `512MB`: bytes.
///
/// # Errors
/// What would be right.
pub fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
    ];
    let found = units.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?.trim().parse::<u64>().ok()?, *size)));
    found.and_then(|(n, size)| n.checked_mul(size)).ok_or_else(|| format!("`{text}` is no size such as `40GB` or `24GiB`"))
}

/// A decimal amount of dollars as micro-dollars.
///
/// # Errors
/// What would be right.
pub fn usd_micros(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no amount in US dollars such as `0.25`");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 6 {
        return Err(wrong());
    }
    let micros: i64 = format!("{part:0<6}").parse().map_err(|_| wrong())?;
    whole.parse::<i64>().ok().and_then(|w| w.checked_mul(1_000_000)?.checked_add(micros)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_exactly_or_refused() {
        assert_eq!((duration_ms("45m"), duration_ms("250ms"), duration_ms("2h")), (Ok(2_700_000), Ok(250), Ok(7_200_000)));
        assert_eq!((bytes("40GB"), bytes("24GiB")), (Ok(40_000_000_000), Ok(25_769_803_776)));
        assert_eq!((usd_micros("0.25"), usd_micros("3")), (Ok(250_000), Ok(3_000_000)));
        for wrong in ["", "45", "m", "-1s", "1.5h", "99999999999999999999s"] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "40", "GB", "1e3GB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "-1", "0.0000001", "1,5", "NaN"] {
            assert!(usd_micros(wrong).is_err(), "{wrong}");
        }
    }
}
