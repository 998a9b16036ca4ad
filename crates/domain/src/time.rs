//! Points in time and lengths of time, both in milliseconds. The caller supplies every `now`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Sub};

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub i64);

impl Span {
    /// A span of whole milliseconds.
    #[must_use]
    pub const fn ms(ms: i64) -> Self {
        Self(ms)
    }

    /// A span of whole seconds.
    #[must_use]
    pub const fn s(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// A span of whole minutes.
    #[must_use]
    pub const fn min(minutes: i64) -> Self {
        Self::s(minutes.saturating_mul(60))
    }

    /// The span as the standard library counts it; negative spans become zero.
    #[must_use]
    pub fn std(self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }

    /// Doubles `self` once per `step` after the first, never beyond `max`: the pause before attempt number `step`.
    #[must_use]
    pub fn backoff(self, step: u32, max: Self) -> Self {
        let shift = step.saturating_sub(1).min(20);
        Self(self.0.saturating_mul(1_i64 << shift).min(max.0))
    }
}

impl Time {
    /// The span from `earlier` to `self`; zero when `earlier` lies ahead, as after a clock jump.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }
}

impl Add<Span> for Time {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        if ms < 1000 {
            return write!(f, "{ms} ms");
        }
        let seconds = ms / 1000;
        if seconds < 60 {
            return write!(f, "{seconds}.{} s", ms % 1000 / 100);
        }
        let (minutes, rest) = (seconds / 60, seconds % 60);
        if minutes < 60 {
            return write!(f, "{minutes} min {rest} s");
        }
        write!(f, "{} h {} min", minutes / 60, minutes % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_say_them() {
        let cases =
            [(Span::ms(20), "20 ms"), (Span::ms(1250), "1.2 s"), (Span::s(125), "2 min 5 s"), (Span::min(61), "1 h 1 min")];
        for (span, text) in cases {
            assert_eq!(span.to_string(), text);
        }
    }

    #[test]
    fn backoff_doubles_and_stays_below_its_limit() {
        let pauses: Vec<i64> = (1..=5).map(|n| Span::s(1).backoff(n, Span::s(5)).0).collect();
        assert_eq!(pauses, [1000, 2000, 4000, 5000, 5000]);
    }
}
