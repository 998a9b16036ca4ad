//! The words of a request, as far as its effort is judged by them: read in one pass, and copied only where they must be.

use crate::request::{Asked, WRITTEN_UNBOUND};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;

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

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or parts")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Content<'de>, E> {
        Ok(Content { text: Cow::Borrowed(text), images: 0 })
    }

    fn visit_str<E>(self, text: &str) -> Result<Content<'de>, E> {
        Ok(Content { text: Cow::Owned(text.to_owned()), images: 0 })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content<'de>, A::Error> {
        let mut all = Content::default();
        while let Some(part) = parts.next_element::<Part<'de>>()? {
            all.images += u32::from(part.kind.contains("image"));
            if let Some(text) = part.text {
                let next = all.text.to_mut();
                next.push_str(&text);
                next.push('\n');
            }
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Content<'de>, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Content::default())
    }

    fn visit_unit<E>(self) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

/// A prompt of the old kind: a text, or a list of texts. Lists of tokens say nothing.
struct Prompt<'a>(Content<'a>);

struct PromptReader;

impl<'de> Visitor<'de> for PromptReader {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or texts")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Content<'de>, E> {
        Ok(Content { text: Cow::Borrowed(text), images: 0 })
    }

    fn visit_str<E>(self, text: &str) -> Result<Content<'de>, E> {
        Ok(Content { text: Cow::Owned(text.to_owned()), images: 0 })
    }

    fn visit_unit<E>(self) -> Result<Content<'de>, E> {
        Ok(Content::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Content<'de>, A::Error> {
        let mut all = Content::default();
        while let Some(next) = texts.next_element::<Content<'de>>()? {
            all.add(next.text);
        }
        Ok(all)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Prompt<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PromptReader).map(Self)
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Content<'a>,
}

#[derive(Deserialize)]
struct Talk<'a> {
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
    #[serde(borrow, default)]
    system: Content<'a>,
    #[serde(borrow, default)]
    prompt: Option<Prompt<'a>>,
    #[serde(default)]
    tools: Option<Vec<IgnoredAny>>,
}

/// Reads the words of a body: of a conversation in OpenAI's or Anthropic's language, or of a plain prompt.
pub(crate) fn words(body: &[u8]) -> Words<'_> {
    let Ok(talk) = serde_json::from_slice::<Talk<'_>>(body) else { return Words::default() };
    let mut words = Words { bytes: body.len(), ..Words::default() };
    words.tools = talk.tools.map_or(0, |tools| u32::try_from(tools.len()).unwrap_or(u32::MAX));
    let mut system = talk.system;
    for message in talk.messages {
        words.images += message.content.images;
        match &*message.role {
            "system" | "developer" => system.add(message.content.text),
            // Results of tools are no words of a person.
            "user" if !message.content.text.is_empty() => {
                words.turns += 1;
                words.last = message.content.text;
            }
            _ => {}
        }
    }
    words.images += system.images;
    words.system = system.text;
    if let Some(Prompt(prompt)) = talk.prompt {
        words.last = prompt.text;
        words.turns = 1;
    }
    words
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
}
