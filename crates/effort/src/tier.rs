//! Tiers of effort: what a route names models for.

/// A tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// 1 and 2.
    Reflex,
    /// 3 and 4.
    Simple,
    /// 5 and 6.
    Moderate,
    /// 7 and 8.
    Complex,
    /// 9 and 10.
    Critical,
}

impl Tier {
    /// All of them, from the easiest on.
    pub const ALL: [Self; 5] = [Self::Reflex, Self::Simple, Self::Moderate, Self::Complex, Self::Critical];

    /// The tier of an effort.
    #[must_use]
    pub const fn of(effort: u8) -> Self {
        match effort {
            0..=2 => Self::Reflex,
            3..=4 => Self::Simple,
            5..=6 => Self::Moderate,
            7..=8 => Self::Complex,
            9.. => Self::Critical,
        }
    }

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reflex => "reflex",
            Self::Simple => "simple",
            Self::Moderate => "moderate",
            Self::Complex => "complex",
            Self::Critical => "critical",
        }
    }
}
