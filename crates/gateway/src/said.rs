//! What a request says of its effort itself. Two of these fields are charter's own: they are taken out of the body, and every other
//! byte stays.

use crate::errors::Refusal;
use http::{HeaderMap, HeaderName};
use serde_json::value::RawValue;
use std::ops::Range;

/// How hard the client says that its request is.
const EFFORT: HeaderName = HeaderName::from_static("x-charter-effort");

/// What was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// The field `effort`.
    pub(crate) effort: Option<u8>,
    /// The field `min_effort`.
    pub(crate) min: Option<u8>,
    /// The field `reasoning_effort`, on the scale of the others.
    pub(crate) reasoning: Option<u8>,
    /// Where charter's own fields stand, with what separates them from others.
    pub(crate) own: Vec<Range<usize>>,
}

impl Said {
    /// Reads the fields of a body.
    pub(crate) fn read(
        body: &[u8],
        effort: Option<&RawValue>,
        min: Option<&RawValue>,
        reasoning: Option<&RawValue>,
    ) -> Result<Self, Refusal> {
        if effort.is_none() && min.is_none() && reasoning.is_none() {
            return Ok(Self::default());
        }
        let mut places: Vec<Range<usize>> = [effort, min].into_iter().flatten().filter_map(|raw| member(body, raw)).collect();
        places.sort_by_key(|place| place.start);
        Ok(Self {
            effort: number("effort", effort)?,
            min: number("min_effort", min)?,
            reasoning: reasoning.and_then(|raw| of_word(raw.get())),
            own: without_commas(body, &places),
        })
    }
}

/// The header, if it is there.
pub(crate) fn of_header(headers: &HeaderMap) -> Result<Option<u8>, Refusal> {
    let Some(value) = headers.get(EFFORT) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|n| (1..=10).contains(n));
    number.map(Some).ok_or_else(|| wrong("x-charter-effort"))
}

fn wrong(name: &'static str) -> Refusal {
    Refusal::Wrong { param: name, message: format!("`{name}` is a whole number from 1 to 10") }
}

fn number(name: &'static str, raw: Option<&RawValue>) -> Result<Option<u8>, Refusal> {
    let Some(text) = raw.map(RawValue::get).filter(|text| *text != "null") else { return Ok(None) };
    text.parse().ok().filter(|n| (1..=10).contains(n)).map(Some).ok_or_else(|| wrong(name))
}

/// OpenAI's words. Others are the engine's to refuse.
fn of_word(text: &str) -> Option<u8> {
    Some(match text {
        "\"none\"" | "\"minimal\"" => 1,
        "\"low\"" => 3,
        "\"medium\"" => 5,
        "\"high\"" => 8,
        "\"xhigh\"" | "\"max\"" => 10,
        _ => return None,
    })
}

/// Where a member of the outermost object stands, its name included.
fn member(body: &[u8], raw: &RawValue) -> Option<Range<usize>> {
    let value = raw.get().as_ptr().addr() - body.as_ptr().addr();
    let before = |end: usize| body.get(..end)?.iter().rposition(|b| !b.is_ascii_whitespace());
    let colon = before(value).filter(|at| body[*at] == b':')?;
    // No quote stands inside of these names, however they are written.
    let closing = before(colon).filter(|at| body[*at] == b'"')?;
    let opening = memchr::memrchr(b'"', &body[..closing])?;
    Some(opening..value + raw.get().len())
}

/// Members with the commas that go with them: neighbours go together.
fn without_commas(body: &[u8], places: &[Range<usize>]) -> Vec<Range<usize>> {
    let after = |from: usize| (from..body.len()).find(|at| !body[*at].is_ascii_whitespace());
    let mut runs: Vec<(Range<usize>, bool)> = vec![];
    for place in places {
        let comma = after(place.end).filter(|at| body[*at] == b',');
        let end = comma.map_or(place.end, |at| at + 1);
        match runs.last_mut() {
            Some((run, open)) if *open && after(run.end) == Some(place.start) => (run.end, *open) = (end, comma.is_some()),
            _ => runs.push((place.start..end, comma.is_some())),
        }
    }
    let mut all = vec![];
    for (run, open) in runs {
        let before = body[..run.start].iter().rposition(|b| !b.is_ascii_whitespace()).filter(|at| body[*at] == b',');
        // The last members of an object take the comma before them along.
        let start = before.filter(|_| !open).unwrap_or(run.start);
        all.push(start..run.end);
    }
    all
}
