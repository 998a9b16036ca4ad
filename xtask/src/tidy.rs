//! The rules of the house that a machine can check: who may depend on whom, how long files and functions may be, which
//! words may stand where, and that every error code has its page.

use crate::{root, say};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Allowed edges between our crates.
const EDGES: &[(&str, &[&str])] = &[
    ("charter-domain", &[]),
    ("charter-api", &[]),
    ("charter-engines", &["charter-domain"]),
    ("charter-store", &["charter-domain"]),
    ("charter-translate", &[]),
    ("charter-effort", &[]),
    ("charter-remote", &[]),
    ("charter-providers", &["charter-domain", "charter-remote"]),
    ("charter-testbed", &["charter-domain", "charter-api", "charter-engines", "charter-remote"]),
    ("charter-controller", &["charter-domain", "charter-engines", "charter-store", "charter-providers", "charter-remote"]),
    ("charter-gateway", &["charter-domain", "charter-effort", "charter-remote", "charter-translate"]),
    ("charter-bench", &[]),
    ("charter-web", &["charter-domain", "charter-api", "charter-store", "charter-controller"]),
    (
        "charter-sim",
        &[
            "charter-domain",
            "charter-engines",
            "charter-store",
            "charter-providers",
            "charter-controller",
            "charter-gateway",
            "charter-remote",
        ],
    ),
];

/// Lines that a file and a function may have.
const FILE_MAX: usize = 500;
const FUNCTION_MAX: usize = 70;
/// Folders that are not ours to judge.
const SKIPPED: &[&str] = &["target", ".git"];
/// Module names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];
/// Crates in which no provider's name may stand.
const NO_PROVIDERS: &[&str] = &["domain", "store", "controller", "gateway", "engines"];
/// Names of providers.
const PROVIDERS: &[&str] = &["vast", "tensordock", "runpod", "modal", "lambda", "verda"];
/// Beginnings of statements.
const SQL: &[&str] = &["SELECT ", "INSERT INTO", "DELETE FROM", "CREATE TABLE"];

/// Checks everything and reports all that is wrong.
pub(crate) fn tidy() -> Result<(), String> {
    let mut faults = vec![];
    edges(&mut faults)?;
    let files = rust_files(&root());
    for path in &files {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let name = path.strip_prefix(root()).unwrap_or(path).display().to_string();
        lengths(&name, &text, &mut faults);
        words(&name, &text, &mut faults);
    }
    codes(&files, &mut faults)?;
    features(&mut faults)?;
    recipes(&mut faults)?;
    if faults.is_empty() {
        say(&format!("tidy: {} files, no fault", files.len()));
        return Ok(());
    }
    faults.iter().for_each(|f| say(f));
    Err(format!("tidy: {} faults", faults.len()))
}

fn edges(faults: &mut Vec<String>) -> Result<(), String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root())
        .output()
        .map_err(|e| e.to_string())?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(may) = allowed.get(name) else { continue };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            if on.starts_with("charter-") && !may.contains(&on) {
                faults.push(format!("edges: `{name}` may not depend on `{on}`"));
            }
        }
    }
    Ok(())
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && !SKIPPED.contains(&name.as_str()) {
            all.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            all.push(path);
        }
    }
    all.sort();
    all
}

fn lengths(name: &str, text: &str, faults: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > FILE_MAX {
        faults.push(format!("{name}: {} lines, {FILE_MAX} are allowed", lines.len()));
    }
    let mut begin: Option<(usize, usize)> = None;
    for (number, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let head = line.trim_start();
        let is_fn = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "pub(crate) async fn ",
            "const fn ",
            "pub const fn ",
        ]
        .iter()
        .any(|p| head.starts_with(p));
        match begin {
            None if is_fn && !head.ends_with(';') => begin = Some((number, indent)),
            Some((from, at)) if indent == at && head.starts_with('}') => {
                if number - from + 1 > FUNCTION_MAX {
                    faults.push(format!(
                        "{name}:{}: a function of {} lines, {FUNCTION_MAX} are allowed",
                        from + 1,
                        number - from + 1
                    ));
                }
                begin = None;
            }
            _ => {}
        }
    }
}

fn words(name: &str, text: &str, faults: &mut Vec<String>) {
    let stem = Path::new(name).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    if EMPTY_NAMES.contains(&stem.as_str()) {
        faults.push(format!("{name}: a module called `{stem}` says nothing"));
    }
    let part = name.strip_prefix("crates/").and_then(|r| r.split('/').next()).unwrap_or_default();
    let lower = text.to_ascii_lowercase();
    if NO_PROVIDERS.contains(&part) {
        let is_word =
            |word: &str| lower.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| w == word || w == format!("{word}ai"));
        for provider in PROVIDERS.iter().filter(|p| is_word(p)) {
            faults.push(format!("{name}: the name of a provider, `{provider}`"));
        }
    }
    if !part.is_empty() && part != "store" && SQL.iter().any(|s| text.contains(s)) {
        faults.push(format!("{name}: SQL outside of `store`"));
    }
    if part == "domain" {
        for word in ["async fn", "Instant::now", "SystemTime::now", "HashMap", "std::fs", "std::net", "tracing::", "println!"] {
            if text.contains(word) {
                faults.push(format!("{name}: `{word}` in the core"));
            }
        }
    }
}

/// Every code in the source has a page, and every page a code.
fn codes(files: &[PathBuf], faults: &mut Vec<String>) -> Result<(), String> {
    let mut used = BTreeSet::new();
    for path in files.iter().filter(|p| !p.components().any(|c| c.as_os_str() == "xtask")) {
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
        for quoted in text.split('"').skip(1).step_by(1) {
            let bytes = quoted.as_bytes();
            if bytes.len() == 5 && b"CAPMREGD".contains(&bytes[0]) && bytes[1..].iter().all(u8::is_ascii_digit) {
                used.insert(quoted.to_owned());
            }
        }
    }
    let folder = root().join("docs/errors");
    let pages: BTreeSet<String> = std::fs::read_dir(&folder)
        .map_err(|e| format!("docs/errors: {e}"))?
        .flatten()
        .filter_map(|e| e.path().file_stem().map(|s| s.to_string_lossy().into_owned()))
        .collect();
    faults.extend(used.difference(&pages).map(|c| format!("docs/errors: `{c}` has no page")));
    faults.extend(pages.difference(&used).map(|c| format!("docs/errors: nothing uses `{c}`")));
    Ok(())
}

/// All rows of the product, each with one of the four states.
fn features(faults: &mut Vec<String>) -> Result<(), String> {
    let text = std::fs::read_to_string(root().join("docs/features.md")).map_err(|e| format!("docs/features.md: {e}"))?;
    let rows: Vec<Vec<&str>> =
        text.lines().filter(|l| l.starts_with("| ")).map(|l| l.split('|').map(str::trim).collect()).collect();
    for (family, count) in [("S0", 39), ("S1", 70), ("S2", 90), ("S3", 43), ("S4", 48), ("B", 23)] {
        for number in 1..=count {
            let id = format!("{family}-{number:02}");
            let Some(row) = rows.iter().find(|r| r.get(1) == Some(&id.as_str())) else {
                faults.push(format!("docs/features.md: `{id}` is missing"));
                continue;
            };
            let state = row.get(3).copied().unwrap_or_default();
            let proof = row.get(4).copied().unwrap_or_default();
            if !["done", "rehearsed", "partial", "open"].contains(&state) {
                faults.push(format!("docs/features.md: `{id}` has the state `{state}`"));
            } else if state != "open" && proof.is_empty() {
                faults.push(format!("docs/features.md: `{id}` is {state} without a proof"));
            }
        }
    }
    Ok(())
}

/// Paths that recipes name are there.
fn recipes(faults: &mut Vec<String>) -> Result<(), String> {
    for entry in std::fs::read_dir(root().join("docs/recipes")).map_err(|e| format!("docs/recipes: {e}"))?.flatten() {
        let text = std::fs::read_to_string(entry.path()).map_err(|e| e.to_string())?;
        for path in text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|p| p.starts_with("crates/") || p.starts_with("docs/") || p.starts_with("xtask/"))
        {
            if !path.contains('<') && !root().join(path).exists() {
                faults.push(format!("{}: `{path}` is not there", entry.path().display()));
            }
        }
    }
    Ok(())
}
