//! The program as one file that asks nothing of the system it is copied to: linked statically, C library included.

use crate::{root, run, say};
use std::path::Path;
use std::process::Command;

/// Entry of a program header that names a loader; a static program has none.
const PT_INTERP: usize = 3;

pub(crate) fn dist() -> Result<(), String> {
    // Built for a named target, so that build scripts and macros stay as they are.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    say(&format!("$ RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile dist --package charter --target {target}"));
    let status = Command::new("cargo")
        .args(["build", "--profile", "dist", "--package", "charter", "--target", &target])
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .current_dir(root())
        .status()
        .map_err(|e| e.to_string())?;
    if !status.success() {
        return Err("the static build failed; it needs the C library's static form (package `libc6-dev`)".to_owned());
    }
    let file = root().join("target").join(&target).join("dist/charter");
    let bytes = std::fs::read(&file).map_err(|e| e.to_string())?;
    if has_loader(&bytes)? {
        return Err(format!("`{}` asks for a loader of the system: it is not static", file.display()));
    }
    run(&file.display().to_string(), &["--version"])?;
    alone(&file)?;
    say(&format!("{}: {} MB, static", file.display(), bytes.len() / 1_000_000));
    Ok(())
}

/// Does the program name a loader? The file is a 64-bit ELF of this machine's byte order.
fn has_loader(bytes: &[u8]) -> Result<bool, String> {
    let short = || "the program is no ELF file of 64 bits".to_owned();
    let number = |at: usize, len: usize| -> Result<usize, String> {
        let part = bytes.get(at..at + len).ok_or_else(short)?;
        Ok(part.iter().rev().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte)))
    };
    if bytes.get(..5) != Some(b"\x7fELF\x02") {
        return Err(short());
    }
    let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for n in 0..count {
        if number(first + n * size, 4)? == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Runs it where nothing else is: an empty root folder, if this user may change to one.
fn alone(file: &Path) -> Result<(), String> {
    let folder = root().join("target/dist-root");
    std::fs::create_dir_all(folder.join("tmp")).map_err(|e| e.to_string())?;
    std::fs::copy(file, folder.join("charter")).map_err(|e| e.to_string())?;
    let shown = folder.display().to_string();
    let output = Command::new("chroot").args([shown.as_str(), "/charter", "--version"]).output();
    match output {
        Ok(output) if output.status.success() => {
            say("in an empty root folder it runs too");
            Ok(())
        }
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("Operation not permitted") => {
            say("not tried in an empty root folder: that needs root");
            Ok(())
        }
        Ok(output) => Err(format!("in an empty root folder it fails: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => {
            say(&format!("not tried in an empty root folder: {error}"));
            Ok(())
        }
    }
}
