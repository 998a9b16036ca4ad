//! The data directory: made private, locked by one server, with the installation's secret and its first keys.

use crate::environment;
use crate::local::{ServerFile, server_file};
use crate::ports::{new_key, now};
use charter_api::problem::Problem;
use charter_domain::ids::KeyId;
use charter_store::sqlite::SqliteStore;
use charter_store::{KeyRow, Role, Store};
use charter_web::{hash, prefix_of};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

pub(crate) fn make_private_folder(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A new file that only its owner can read.
pub(crate) fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

pub(crate) fn data_problem(data_dir: &Path, error: &dyn std::fmt::Display) -> Problem {
    let message = format!("the data directory `{}` cannot be used", data_dir.display());
    Problem::new(0, "A0005", message, "check that it is yours, and that the disk is not full").with_detail(error.to_string())
}

/// Reads a secret of the installation, or makes it.
pub(crate) fn secret_file(path: &Path, make: impl FnOnce() -> String) -> std::io::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = make();
            let part = path.with_extension("part");
            let mut file = private_file(&part)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&part, path)?;
            Ok(text)
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn lock(data_dir: &Path) -> Result<std::fs::File, Problem> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(data_dir.join("lock"))
        .map_err(|e| data_problem(data_dir, &e))?;
    if file.try_lock().is_err() {
        let who = std::fs::read_to_string(server_file(data_dir)).ok().and_then(|t| serde_json::from_str::<ServerFile>(&t).ok());
        let detail = who.map_or(String::new(), |f| format!("process {} serves it at {}", f.pid, f.url));
        let message = format!("another server uses the data directory `{}`", data_dir.display());
        return Err(
            Problem::new(0, "A0006", message, "end it with `charter stop`, or choose another `--data-dir`").with_detail(detail)
        );
    }
    Ok(file)
}

/// A shorter key could be guessed.
const ADMIN_KEY_MIN: usize = 20;

/// Makes sure that the admin's and the local command line's keys are known. Returns a new admin key, to be shown once.
pub(crate) async fn keys(store: &SqliteStore, data_dir: &Path) -> Result<Option<String>, Problem> {
    let failed = |e: charter_store::Error| database_problem(&e);
    let row = |id: &str, name: &str, key: &str| KeyRow {
        id: KeyId::new(id),
        name: name.to_owned(),
        sha256: hash(key),
        prefix: prefix_of(key),
        role: Role::Admin,
        routes: vec![],
        created_at: now(),
        expires_at: None,
    };
    let known = store.keys().await.map_err(failed)?;
    let local = secret_file(&data_dir.join("local.key"), new_key).map_err(|e| data_problem(data_dir, &e))?;
    if !known.iter().any(|k| k.sha256 == hash(&local)) {
        store.put_key(row("local", "local", &local)).await.map_err(failed)?;
    }
    if let Some(preset) = environment::var("CHARTER_ADMIN_KEY") {
        let odd = preset.chars().any(|c| !c.is_ascii_graphic());
        if preset.len() < ADMIN_KEY_MIN || odd {
            let message = "`CHARTER_ADMIN_KEY` is no safe key";
            let hint = "at least 20 visible ASCII characters without spaces, such as `openssl rand -hex 20` makes";
            return Err(Problem::new(0, "C0012", message, hint));
        }
        if !known.iter().any(|k| k.sha256 == hash(&preset)) {
            store.put_key(row("admin", "admin", &preset)).await.map_err(failed)?;
        }
        return Ok(None);
    }
    if known.iter().any(|k| k.name != "local") || known.iter().any(|k| k.id.0 == "key_local") {
        return Ok(None);
    }
    let key = new_key();
    store.put_key(row("admin", "admin", &key)).await.map_err(failed)?;
    Ok(Some(key))
}

pub(crate) fn database_problem(error: &charter_store::Error) -> Problem {
    let (code, hint) = match error {
        charter_store::Error::TooNew { .. } => ("D0002", "take the newer charter, or restore a backup of the older one"),
        charter_store::Error::Conflict
        | charter_store::Error::NameTaken
        | charter_store::Error::OverBudget(_)
        | charter_store::Error::Corrupt(_)
        | charter_store::Error::Database(_) => {
            ("D0001", "check that the disk is not full, and that the file is a database of charter")
        }
    };
    Problem::new(500, code, "the database cannot be opened", hint).with_detail(error.to_string())
}
