//! Collects the pages of `docs/errors` into one list.

use std::fmt::Write as _;
use std::{env, fs, path::Path};

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    names.sort();
    let mut out = String::from("[");
    for path in names.iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        write!(out, "({stem:?}, include_str!({:?})),", path.display().to_string()).ok();
    }
    out.push(']');
    let target = Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("pages.rs");
    if let Err(error) = fs::write(&target, out) {
        println!("cargo::error={}: {error}", target.display());
    }
}
