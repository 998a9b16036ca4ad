//! The pages of the error codes, compiled in.

/// All pages, each beginning with its code.
const PAGES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The page of a code, in any case of letters.
pub(crate) fn page(code: &str) -> Option<&'static str> {
    PAGES.iter().find(|(name, _)| name.eq_ignore_ascii_case(code)).map(|(_, text)| *text)
}

/// All codes.
pub(crate) fn codes() -> Vec<&'static str> {
    PAGES.iter().map(|(name, _)| *name).collect()
}
