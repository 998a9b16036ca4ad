//! YAML as a tree that remembers where everything stood. JSON from the wire becomes the same tree, without places.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// A place in a file: line and column from 1, and how many characters it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1; 0 means that there is no file.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Characters.
    pub width: usize,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, or `null`.
    Null,
    /// A word without quotes: its meaning depends on what is wanted.
    Plain(String),
    /// A text in quotes.
    Quoted(String),
    /// A list.
    List(Vec<Node>),
    /// Names and values, in order.
    Map(Vec<(String, Place, Node)>),
}

/// Something wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
    /// What would be right, said beside the caret.
    pub label: String,
}

impl Fault {
    pub(crate) fn new(place: Place, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { place, message: message.into(), label: label.into() }
    }
}

/// Deepest nesting.
const DEPTH_MAX: usize = 32;
/// Largest file.
pub const BYTES_MAX: usize = 1024 * 1024;

/// Parses YAML. An alias, a second document and anything that is no YAML end it.
///
/// Duplicate keys come back beside the tree, so that they are told together with what else is wrong.
///
/// # Errors
/// The one place where the text stops being YAML.
pub fn parse(text: &str) -> Result<(Node, Vec<Fault>), Vec<Fault>> {
    if text.len() > BYTES_MAX {
        return Err(vec![Fault::new(Place::default(), "the file is larger than 1 MiB", "")]);
    }
    let mut builder = Builder { stack: vec![], root: None, faults: vec![] };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let at = error.marker();
                // The parser stops behind a tab that it does not allow.
                let behind =
                    text.lines().nth(at.line().saturating_sub(1)).and_then(|l| l.chars().nth(at.col().saturating_sub(1)));
                let column = if behind == Some('\t') { at.col().max(1) } else { at.col() + 1 };
                let place = Place { line: at.line(), column, width: 1 };
                return Err(vec![Fault::new(place, format!("this is no YAML: {}", error.info()), "here")]);
            }
        }
    }
    let empty = Node { place: Place { line: 1, column: 1, width: 0 }, value: Value::Null };
    Ok((builder.root.unwrap_or(empty), builder.faults))
}

enum Open {
    List(Place, Vec<Node>),
    Map(Place, Vec<(String, Place, Node)>, Option<(String, Place)>),
}

struct Builder {
    stack: Vec<Open>,
    root: Option<Node>,
    faults: Vec<Fault>,
}

fn place(span: Span) -> Place {
    let same_line = span.start.line() == span.end.line();
    let width = if same_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
    Place { line: span.start.line(), column: span.start.col() + 1, width: width.max(1) }
}

impl Builder {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other events and styles of the parser mean nothing here")]
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Vec<Fault>> {
        let at = place(span);
        match event {
            Event::Scalar(text, style, _, _) => {
                let value = match style {
                    ScalarStyle::Plain if matches!(text.as_ref(), "" | "null" | "~") => Value::Null,
                    ScalarStyle::Plain => Value::Plain(text.into_owned()),
                    _ => Value::Quoted(text.into_owned()),
                };
                self.put(Node { place: at, value });
            }
            Event::SequenceStart(..) => self.open(Open::List(at, vec![]), at)?,
            Event::MappingStart(..) => self.open(Open::Map(at, vec![], None), at)?,
            Event::SequenceEnd | Event::MappingEnd => {
                let node = match self.stack.pop() {
                    Some(Open::List(place, items)) => Node { place, value: Value::List(items) },
                    Some(Open::Map(place, entries, _)) => Node { place, value: Value::Map(entries) },
                    None => return Ok(()),
                };
                self.put(node);
            }
            Event::Alias(_) => return Err(vec![Fault::new(at, "aliases are not read", "write the value out")]),
            Event::DocumentStart(_) if self.root.is_some() => {
                return Err(vec![Fault::new(at, "a second document begins", "one file holds one document")]);
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, open: Open, at: Place) -> Result<(), Vec<Fault>> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(vec![Fault::new(at, "this is nested too deeply", "here")]);
        }
        self.stack.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, entries, key)) => match key.take() {
                Some((name, at)) => {
                    if let Some((_, first, _)) = entries.iter().find(|(n, ..)| *n == name) {
                        let label = format!("the first one is on line {}", first.line);
                        self.faults.push(Fault::new(at, format!("the key `{name}` stands here twice"), label));
                    }
                    entries.push((name, at, node));
                }
                None => match node.value {
                    Value::Plain(name) | Value::Quoted(name) => *key = Some((name, node.place)),
                    Value::Null | Value::List(_) | Value::Map(_) => {
                        self.faults.push(Fault::new(node.place, "a key must be a word", "here"));
                        *key = Some((String::new(), node.place));
                    }
                },
            },
        }
    }
}

impl Node {
    /// A tree from JSON, as it comes over the wire.
    #[must_use]
    pub fn from_json(json: &serde_json::Value) -> Self {
        let value = match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(b) => Value::Plain(b.to_string()),
            serde_json::Value::Number(n) => Value::Plain(n.to_string()),
            serde_json::Value::String(s) => Value::Quoted(s.clone()),
            serde_json::Value::Array(items) => Value::List(items.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(map) => {
                Value::Map(map.iter().map(|(k, v)| (k.clone(), Place::default(), Self::from_json(v))).collect())
            }
        };
        Self { place: Place::default(), value }
    }

    /// The tree as JSON. A plain word becomes what JSON has for it.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Plain(word) => match word.as_str() {
                "true" => true.into(),
                "false" => false.into(),
                _ => word.parse::<i64>().map_or_else(|_| word.clone().into(), Into::into),
            },
            Value::Quoted(text) => text.clone().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => {
                entries.iter().map(|(k, _, v)| (k.clone(), v.to_json())).collect::<serde_json::Map<_, _>>().into()
            }
        }
    }
}
