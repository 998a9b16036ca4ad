//! stub
pub struct Prompt<'a> {
    pub system: &'a str,
    pub last_user: &'a str,
    pub turns: u32,
    pub total_bytes: usize,
    pub tools: u32,
    pub images: u32,
    pub max_tokens: Option<u64>,
}
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub name: &'static str,
    pub found: f32,
    pub weight: f32,
    pub points: f32,
}
pub struct Verdict {
    pub effort: u8,
    pub score: f32,
    pub parts: Vec<Part>,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Reflex,
    Simple,
    Moderate,
    Complex,
    Critical,
}
impl Tier {
    pub fn of(e: u8) -> Self {
        match e {
            0..=2 => Self::Reflex,
            3..=4 => Self::Simple,
            5..=6 => Self::Moderate,
            7..=8 => Self::Complex,
            _ => Self::Critical,
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reflex => "reflex",
            Self::Simple => "simple",
            Self::Moderate => "moderate",
            Self::Complex => "complex",
            Self::Critical => "critical",
        }
    }
}
pub fn classify(_: &Prompt<'_>) -> Verdict {
    Verdict { effort: 1, score: 0.0, parts: vec![] }
}
