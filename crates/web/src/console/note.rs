//! What an action said, carried to the page that is shown next: in a cookie, once.

use super::figures::marked;
use charter_api::problem::Problem;
use maud::{Markup, html};

/// What the cookie is called.
pub(crate) const COOKIE: &str = "charter_note";
/// A cookie holds no more.
const LONGEST: usize = 1200;

/// A sentence, and whether it tells of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    bad: bool,
    text: String,
    more: String,
}

impl Note {
    /// It was done.
    pub(crate) fn done(text: impl Into<String>) -> Self {
        Self { bad: false, text: text.into(), more: String::new() }
    }

    /// It was not, and what helps.
    pub(crate) fn of(problem: &Problem) -> Self {
        let more = [problem.detail.as_str(), problem.hint.as_str()];
        let more: Vec<&str> = more.into_iter().filter(|text| !text.is_empty()).collect();
        Self { bad: true, text: format!("{} ({})", problem.message, problem.code), more: more.join("\n") }
    }

    /// The header that carries it.
    pub(crate) fn cookie(&self) -> String {
        let cut = |text: &str| text.chars().take(LONGEST / 2).collect::<String>();
        let said = format!("{}\u{1f}{}\u{1f}{}", u8::from(self.bad), cut(&self.text), cut(&self.more));
        format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age=30", super::layout::encoded(&said))
    }

    /// Out of the cookie.
    pub(crate) fn read(value: &str) -> Option<Self> {
        let said = percent_encoding::percent_decode_str(value).decode_utf8().ok()?;
        let mut parts = said.split('\u{1f}');
        let (bad, text, more) = (parts.next()? == "1", parts.next()?.to_owned(), parts.next()?.to_owned());
        (!text.is_empty()).then_some(Self { bad, text, more })
    }

    /// As it is shown.
    pub(crate) fn shown(&self) -> Markup {
        html! {
            div.said.bad[self.bad] role=(if self.bad { "alert" } else { "status" }) {
                p { strong { (marked(&self.text)) } }
                @for line in self.more.lines() { p { small { (marked(line)) } } }
            }
        }
    }
}

/// The header that forgets it.
pub(crate) fn forget() -> String {
    format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_comes_out_as_it_went_in() {
        let problem = Problem::new(409, "M0002", "no money; \"none\" <b>at all</b>", "raise it\nor wait");
        let note = Note::of(&problem);
        let line = note.cookie();
        let value = super::super::session::cookie(&line, COOKIE).expect("a value");
        assert!(value.bytes().all(|b| b.is_ascii_graphic() && !b";,\"\\".contains(&b)), "{value}");
        assert_eq!(Note::read(value), Some(note.clone()));
        assert!(note.shown().into_string().contains("&lt;b&gt;at all"));
        assert_eq!(Note::read("garbage"), None);
    }
}
