//! `charter.yaml`: strict, all errors at once, each with its line, its column and a caret.

pub mod decode;
pub mod node;
pub mod profile;
pub mod route;
pub mod server;

use decode::Decoder;
use node::{Fault, Node};
use profile::{Deployment, Profile};
use route::Route;
use server::Server;
use std::fmt::Write as _;

/// The file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// The server's section.
    pub server: Server,
    /// Profiles by name, in order, each with the tree that it was read from.
    pub profiles: Vec<(String, Profile, serde_json::Value)>,
    /// Deployments by name, in order, likewise.
    pub deployments: Vec<(String, Deployment, serde_json::Value)>,
    /// Routes by name.
    pub routes: Vec<(String, Route)>,
}

/// Why a file was not taken: every fault, drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The faults.
    pub faults: Vec<Fault>,
    /// All of them as text, with their lines.
    pub text: String,
}

/// Reads a file. `name` is what errors call it.
///
/// # Errors
/// All faults at once.
pub fn read(name: &str, text: &str) -> Result<File, FileError> {
    let error = |faults: Vec<Fault>| {
        let drawn = faults.iter().map(|f| draw(name, text, f)).collect::<Vec<_>>().join("\n");
        FileError { faults, text: drawn }
    };
    let (root, faults) = node::parse(text).map_err(error)?;
    let mut d = Decoder { faults };
    let file = root_of(&mut d, &root);
    d.faults.sort_by_key(|f| (f.place.line, f.place.column));
    if d.faults.is_empty() { Ok(file) } else { Err(error(d.faults)) }
}

fn root_of(d: &mut Decoder, root: &Node) -> File {
    let mut f = d.map(root, "the file");
    match f.get("version") {
        Some(n) if d.number(n, "`version`") != 1 => d.fault(n.place, "this charter reads version 1", "write `version: 1`"),
        Some(_) => {}
        None => d.fault(f.place, "`version` is missing", "begin with `version: 1`"),
    }
    let mut file = File { server: f.get("server").map(|n| server::server(d, n)).unwrap_or_default(), ..File::default() };
    if let Some(n) = f.get("profiles") {
        for (name, _, value) in d.map(n, "`profiles`").all() {
            let read = profile::profile(d, value);
            file.profiles.push((name.clone(), read, value.to_json()));
        }
    }
    if let Some(n) = f.get("deployments") {
        for (name, place, value) in d.map(n, "`deployments`").all() {
            if !is_name(name) {
                d.fault(*place, format!("`{name}` is no name for a deployment"), "letters, digits, `.`, `_` and `-`, at most 63");
            }
            let read = profile::deployment(d, value);
            if !read.profile.is_empty() && !file.profiles.iter().any(|(n, ..)| *n == read.profile) {
                let known: Vec<&str> = file.profiles.iter().map(|(n, ..)| n.as_str()).collect();
                let named = match &value.value {
                    node::Value::Map(entries) => entries.iter().find(|(key, ..)| key == "profile").map(|(_, _, n)| n.place),
                    node::Value::Null | node::Value::Plain(_) | node::Value::Quoted(_) | node::Value::List(_) => None,
                };
                d.fault(
                    named.unwrap_or(value.place),
                    format!("there is no profile `{}`", read.profile),
                    format!("known: {}", known.join(", ")),
                );
            }
            file.deployments.push((name.clone(), read, value.to_json()));
        }
    }
    if let Some(n) = f.get("routes") {
        for (name, _, value) in d.map(n, "`routes`").all() {
            file.routes.push((name.clone(), route::route(d, value)));
        }
    }
    d.finish(&f);
    file
}

/// Is this a name that a deployment may have?
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    plain && name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Reads the body of `POST deployments`: `{"name", "profile_name", "profile": {...}, "deployment": {...}}`.
///
/// # Errors
/// All faults, as sentences.
pub fn from_wire(profile: &serde_json::Value, deployment: &serde_json::Value) -> Result<(Profile, Deployment), Vec<String>> {
    let mut d = Decoder::default();
    let read = profile::profile(&mut d, &Node::from_json(profile));
    let of = profile::deployment(&mut d, &Node::from_json(deployment));
    if d.faults.is_empty() {
        Ok((read, of))
    } else {
        Err(d.faults.into_iter().map(|f| format!("{} ({})", f.message, f.label)).collect())
    }
}

/// Draws a fault as compilers do.
fn draw(name: &str, text: &str, fault: &Fault) -> String {
    let place = fault.place;
    let mut out = fault.message.clone();
    let Some(line) = place.line.checked_sub(1).and_then(|n| text.lines().nth(n)) else {
        return format!("{out}\n  --> {name}");
    };
    let number = place.line.to_string();
    let pad = " ".repeat(number.len());
    let inside = |at: usize| at + 1 >= place.column && at + 1 < place.column + place.width;
    // What should not stand in the file is not repeated on a terminal, or in a log, either.
    let hidden = fault.message.contains("is a secret");
    let show = |(at, c): (usize, char)| match c {
        _ if hidden && inside(at) => '*',
        c if c.is_control() => ' ',
        c => c,
    };
    let shown: String = line.chars().take(160).enumerate().map(show).collect();
    let caret = "^".repeat(place.width.clamp(1, 80));
    let before = " ".repeat(place.column.saturating_sub(1));
    // Writing to a String cannot fail.
    write!(
        out,
        "\n{pad}--> {name}:{}:{}\n{pad} |\n{number} | {shown}\n{pad} | {before}{caret} {}",
        place.line, place.column, fault.label
    )
    .ok();
    out
}
