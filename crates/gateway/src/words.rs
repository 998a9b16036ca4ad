//! The words of a request, as far as its effort is judged by them. The body is known to be JSON by now, so that nothing of it is
//! examined again: values are stepped over, and texts are copied only where they must be.

use crate::request::{Asked, WRITTEN_UNBOUND};
use std::borrow::Cow;

/// Its words.
#[derive(Debug, Default)]
pub(crate) struct Words<'a> {
    system: Cow<'a, str>,
    last: Cow<'a, str>,
    turns: u32,
    images: u32,
    tools: u32,
    bytes: usize,
}

impl Words<'_> {
    /// As it is judged.
    pub(crate) fn prompt(&self, asked: &Asked) -> charter_effort::Prompt<'_> {
        charter_effort::Prompt {
            system: &self.system,
            last_user: &self.last,
            turns: self.turns,
            total_bytes: self.bytes,
            tools: self.tools,
            images: self.images,
            max_tokens: Some(asked.written_max).filter(|most| *most < WRITTEN_UNBOUND),
        }
    }
}

/// A content: a text, or parts of which some are texts and some are pictures. Anything else says nothing.
#[derive(Default)]
struct Content<'a> {
    text: Cow<'a, str>,
    images: u32,
}

impl<'a> Content<'a> {
    fn add(&mut self, text: Cow<'a, str>) {
        if self.text.is_empty() {
            self.text = text;
        } else {
            self.text.to_mut().push_str(&text);
        }
    }
}

/// A place in a body. Where that is no JSON after all, nothing more is found.
struct Place<'a> {
    body: &'a [u8],
    at: usize,
}

/// What stands between two quotes.
struct Quoted<'a> {
    inside: &'a [u8],
    /// It has escapes in it.
    escaped: bool,
}

/// The first quote or backslash of eight bytes.
#[inline]
fn near(eight: u64) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The lowest byte that is marked is zero; above it some may be marked that are not.
    let zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes & (0x80 * ONES);
    let found = zero(eight ^ (b'"' as u64 * ONES)) | zero(eight ^ (b'\\' as u64 * ONES));
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
}

impl<'a> Quoted<'a> {
    /// The text. What is no character is told as it is written, or as a mark that stands for it.
    fn text(&self) -> Cow<'a, str> {
        let quoted = || [b"\"", self.inside, b"\""].concat();
        let read = self.escaped.then(|| serde_json::from_slice::<String>(&quoted()).ok()).flatten();
        read.map_or_else(|| String::from_utf8_lossy(self.inside), Cow::Owned)
    }

    /// Is it this name, which needs no escapes?
    fn is(&self, name: &str) -> bool {
        if self.escaped { *self.text() == *name } else { self.inside == name.as_bytes() }
    }
}

impl<'a> Place<'a> {
    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        loop {
            match self.body.get(self.at)? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Some(*byte),
            }
        }
    }

    /// Steps over this byte, if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.next() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn quoted(&mut self) -> Option<Quoted<'a>> {
        if !self.take(b'"') {
            return None;
        }
        let (from, mut escaped) = (self.at, false);
        loop {
            let rest = self.body.get(self.at..)?;
            // Most texts between quotes are names, and shorter than it takes to ask for a search.
            let near = rest.first_chunk::<8>().and_then(|eight| near(u64::from_le_bytes(*eight)));
            self.at += near.or_else(|| memchr::memchr2(b'"', b'\\', rest))?;
            if self.body[self.at] == b'"' {
                let inside = &self.body[from..self.at];
                self.at += 1;
                return Some(Quoted { inside, escaped });
            }
            escaped = true;
            self.at += 2;
        }
    }

    /// Steps over a value.
    fn skip(&mut self) -> Option<()> {
        match self.next()? {
            b'"' => {
                self.quoted()?;
            }
            b'{' | b'[' => self.skip_nested()?,
            _ => {
                let rest = self.body.get(self.at..)?;
                let end = rest.iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))?;
                // Nothing is no value, and whoever takes it for one stays where it is for ever.
                self.at += Some(end).filter(|bytes| *bytes > 0)?;
            }
        }
        Some(())
    }

    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.body.get(self.at)? {
                b'"' => {
                    self.quoted()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Each member of an object. `each` steps over its value.
    fn members(&mut self, mut each: impl FnMut(&mut Self, &Quoted<'a>) -> Option<()>) -> Option<()> {
        if !self.take(b'{') {
            return None;
        }
        while !self.take(b'}') {
            let name = self.quoted()?;
            self.take(b':');
            each(self, &name)?;
            self.take(b',');
        }
        Some(())
    }

    /// Each item of a list. `each` steps over it.
    fn items(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if !self.take(b'[') {
            return None;
        }
        while !self.take(b']') {
            each(self)?;
            self.take(b',');
        }
        Some(())
    }

    fn content(&mut self) -> Option<Content<'a>> {
        let mut all = Content::default();
        match self.next()? {
            b'"' => all.text = self.quoted()?.text(),
            b'[' => self.items(|place| place.part(&mut all))?,
            _ => self.skip()?,
        }
        Some(all)
    }

    /// A part of a content.
    fn part(&mut self, all: &mut Content<'a>) -> Option<()> {
        if self.next()? != b'{' {
            return self.skip();
        }
        let (mut text, mut image) = (None, false);
        self.members(|place, name| {
            let quoted = place.next()? == b'"';
            if quoted && name.is("text") {
                text = Some(place.quoted()?.text());
            } else if quoted && name.is("type") {
                image = place.quoted()?.text().contains("image");
            } else {
                place.skip()?;
            }
            Some(())
        })?;
        all.images += u32::from(image);
        if let Some(text) = text {
            let whole = all.text.to_mut();
            whole.push_str(&text);
            whole.push('\n');
        }
        Some(())
    }

    /// A prompt of the old kind: a text, or a list of texts. Lists of tokens say nothing.
    fn prompt(&mut self) -> Option<Cow<'a, str>> {
        if self.next()? != b'[' {
            return Some(self.content()?.text);
        }
        let mut all = Content::default();
        self.items(|place| {
            let next = place.content()?;
            all.add(next.text);
            Some(())
        })?;
        Some(all.text)
    }

    /// A message of a conversation.
    fn message(&mut self, words: &mut Words<'a>, system: &mut Content<'a>) -> Option<()> {
        if self.next()? != b'{' {
            return self.skip();
        }
        let (mut role, mut content) = (None, Content::default());
        self.members(|place, name| {
            if name.is("content") {
                content = place.content()?;
            } else if name.is("role") && place.next()? == b'"' {
                role = Some(place.quoted()?);
            } else {
                place.skip()?;
            }
            Some(())
        })?;
        words.images += content.images;
        let Some(role) = role else { return Some(()) };
        if role.is("user") {
            // Results of tools are no words of a person.
            if !content.text.is_empty() {
                words.turns += 1;
                words.last = content.text;
            }
        } else if role.is("system") || role.is("developer") {
            system.add(content.text);
        }
        Some(())
    }

    fn all(&mut self) -> Option<Words<'a>> {
        let mut words = Words { bytes: self.body.len(), ..Words::default() };
        let (mut system, mut prompt) = (Content::default(), None);
        self.members(|place, name| {
            if name.is("messages") && place.next()? == b'[' {
                place.items(|place| place.message(&mut words, &mut system))
            } else if name.is("system") {
                let whole = place.content()?;
                system.images += whole.images;
                // What stands beside the conversation is said before it, wherever it is written.
                let within = std::mem::replace(&mut system.text, whole.text);
                system.add(within);
                Some(())
            } else if name.is("prompt") && place.next()? != b'n' {
                prompt = Some(place.prompt()?);
                Some(())
            } else if name.is("tools") && place.next()? == b'[' {
                place.items(|place| {
                    words.tools = words.tools.saturating_add(1);
                    place.skip()
                })
            } else {
                place.skip()
            }
        })?;
        words.images += system.images;
        words.system = system.text;
        if let Some(prompt) = prompt {
            (words.last, words.turns) = (prompt, 1);
        }
        Some(words)
    }
}

/// Reads the words of a body: of a conversation in OpenAI's or Anthropic's language, or of a plain prompt.
pub(crate) fn words(body: &[u8]) -> Words<'_> {
    Place { body, at: 0 }.all().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_every_shape_of_a_request() {
        let cases: [(&str, &str, &str, u32, u32, u32); 8] = [
            (
                r#"{"messages":[{"role":"system","content":"S"},{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c\n"}]}"#,
                "S",
                "c\n",
                2,
                0,
                0,
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"x"}}]}],"tools":[{},{}]}"#,
                "",
                "a\n",
                1,
                1,
                2,
            ),
            (r#"{"system":[{"type":"text","text":"S"}],"messages":[{"role":"user","content":"a"}]}"#, "S\n", "a", 1, 0, 0),
            (
                r#"{"system":"S","messages":[{"role":"developer","content":"T"},{"role":"user","content":null},{"role":"user"}]}"#,
                "ST",
                "",
                0,
                0,
                0,
            ),
            (r#"{"prompt":"plain"}"#, "", "plain", 1, 0, 0),
            (r#"{"prompt":["a","b"]}"#, "", "ab", 1, 0, 0),
            (r#"{"prompt":[1,2]}"#, "", "", 1, 0, 0),
            (r#"{"messages":[{"role":"user","content":7},{"role":"tool","content":{"x":[1]}}]}"#, "", "", 0, 0, 0),
        ];
        for (body, system, last, turns, images, tools) in cases {
            let found = words(body.as_bytes());
            assert_eq!(
                (&*found.system, &*found.last, found.turns, found.images, found.tools),
                (system, last, turns, images, tools),
                "{body}"
            );
        }
        assert_eq!(words(b"not json").turns, 0);
    }

    #[test]
    fn what_is_escaped_or_stands_in_another_order_is_read_too() {
        let body = r#" { "t\u006fols" : [ [1, "]"] , {"a":"\\"} ] , "messages":[7, "x", {"content":"say \"hi\"\n","name":"]}","role":"us\u0065r"},
            {"role":"system","content":[{"text":"T","type":"text"}, 5, "loose"]}], "x" : -1.5e3, "system" : "S" , "y":{}, "z":[]}"#;
        let found = words(body.as_bytes());
        assert_eq!((&*found.system, &*found.last, found.turns, found.tools), ("ST\n", "say \"hi\"\n", 1, 2));
        // Half a character is no reason to take a whole prompt for an empty one.
        let found = words(br#"{"messages":[{"role":"user","content":"prove it \ud800"}]}"#);
        assert_eq!(&*found.last, r"prove it \ud800");
    }

    /// What is asked of it is JSON, but nothing else may happen where it is not.
    #[test]
    fn what_is_cut_or_changed_anywhere_is_no_more_than_not_understood() {
        let body = r#"{"messages":[{"role":"user","content":[{"type":"image_url","text":"\u00e9\""}]}],"tools":[{"a":[1]}],"prompt":["a",[2]],"n":7}"#;
        for at in 0..=body.len() {
            words(&body.as_bytes()[..at]);
            for other in *b"\"\\{}[],:x\xff " {
                let mut changed = body.as_bytes().to_vec();
                changed.insert(at, other);
                words(&changed);
                if at < body.len() {
                    changed.remove(at + 1);
                    words(&changed);
                }
            }
        }
    }
}
