//! Money: integer micro-dollars, never a float. What we owe is rounded up.

use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An amount in millionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub i64);

/// A price in millionths of a US dollar per hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsdPerHour(pub i64);

impl Usd {
    /// Reads a decimal such as `12`, `0.25` or `0.000001`: at most six places, no sign, no exponent.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || (text.contains('.') && !digits(part)) {
            return Err(format!("`{text}` is not an amount in US dollars such as `0.25`"));
        }
        if part.len() > 6 {
            return Err(format!("`{text}` has more than six decimal places"));
        }
        let micros: i64 = format!("{part:0<6}").parse().map_err(|_| format!("`{text}` is not an amount"))?;
        whole
            .parse::<i64>()
            .ok()
            .and_then(|w| w.checked_mul(1_000_000))
            .and_then(|w| w.checked_add(micros))
            .map(Self)
            .ok_or_else(|| format!("`{text}` is too large an amount"))
    }

    /// The sum, at most the largest amount that can be written down.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl UsdPerHour {
    /// What `span` costs at this price, rounded up to the next micro-dollar.
    #[must_use]
    pub fn cost(self, span: Span) -> Usd {
        let micros = i128::from(self.0) * i128::from(span.0.max(0));
        let hour = 3_600_000_i128;
        Usd(i64::try_from((micros + hour - 1).div_euclid(hour)).unwrap_or(i64::MAX))
    }
}

fn decimal(micros: i64) -> String {
    let (sign, size) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let text = format!("{sign}${}.{:06}", size / 1_000_000, size % 1_000_000);
    let short = text.trim_end_matches('0');
    let places = short.split_once('.').map_or(0, |(_, p)| p.len());
    format!("{short}{}", "0".repeat(2_usize.saturating_sub(places)))
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(self.0))
    }
}

impl fmt::Display for UsdPerHour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/h", decimal(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly_or_refused() {
        let cases = [("0", Some(0)), ("0.25", Some(250_000)), ("12", Some(12_000_000)), ("0.000001", Some(1))];
        for (text, micros) in cases {
            assert_eq!(Usd::parse(text).ok().map(|u| u.0), micros, "{text}");
        }
        for text in ["", "-1", "1e3", "0.0000001", "1.", ".5", "NaN", "99999999999999999999"] {
            assert!(Usd::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cost_is_rounded_up() {
        assert_eq!(UsdPerHour(142_000).cost(Span::min(30)), Usd(71_000));
        assert_eq!(UsdPerHour(1).cost(Span::ms(1)), Usd(1));
        assert_eq!(UsdPerHour(0).cost(Span::min(30)), Usd(0));
    }

    #[test]
    fn amounts_print_with_at_least_two_places() {
        assert_eq!(Usd(142_000).to_string(), "$0.142");
        assert_eq!(UsdPerHour(0).to_string(), "$0.00/h");
        assert_eq!(Usd(2_000_000).to_string(), "$2.00");
    }
}
