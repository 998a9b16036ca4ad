//! The computer that a server runs on, as the dashboard asks of it: whether it is in order, and backups in the data directory.

use crate::commands::admin::back_up;
use crate::examination::{Programs, file, folder, records};
use crate::install::{data_problem, make_private_folder};
use crate::ports::now;
use crate::serve::Options;
use charter_api::backup::Backup;
use charter_api::doctor::Finding;
use charter_api::problem::Problem;
use charter_controller::Controller;
use charter_domain::time::Time;
use charter_store::database::Database;
use charter_web::{Premises, Soon, rfc3339};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// What a server knows of its own place.
pub(crate) struct Place {
    data_dir: PathBuf,
    file: Option<PathBuf>,
    store: Arc<Database>,
    controller: Controller,
    /// What was found last, and when.
    found: tokio::sync::Mutex<Option<(Time, Vec<Finding>)>>,
    /// Held while a backup is made.
    backing_up: Arc<tokio::sync::Mutex<()>>,
}

/// For how long what was found is told again.
const FRESH_MS: i64 = 30_000;
/// How the names of backups begin and end.
const BEGINS: &str = "charter-";
const ENDS: &str = ".db";

impl Place {
    /// Of a server that starts with these options.
    pub(crate) fn of(options: &Options, store: &Arc<Database>, controller: &Controller) -> Arc<Self> {
        let (data_dir, file) = (options.data_dir.clone(), options.config.clone());
        forget_parts(&data_dir.join("backups"));
        let (store, controller) = (Arc::clone(store), controller.clone());
        Arc::new(Self { data_dir, file, store, controller, found: tokio::sync::Mutex::default(), backing_up: Arc::default() })
    }

    fn folder(&self) -> PathBuf {
        self.data_dir.join("backups")
    }

    fn failed(&self, error: &std::io::Error) -> Problem {
        Problem { status: 500, ..data_problem(&self.data_dir, error) }
    }
}

/// A backup by its file; nothing where the file is something else.
fn backup(path: &Path) -> Option<Backup> {
    let name = path.file_name()?.to_str()?.to_owned();
    let meta = std::fs::metadata(path).ok().filter(|m| m.is_file() && is_name(&name))?;
    let at = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let made_at = rfc3339(Time(i64::try_from(at.as_millis()).ok()?));
    Some(Backup { name, file: path.display().to_string(), bytes: meta.len(), made_at })
}

/// A name that is not taken yet.
fn free(folder: &Path, stamp: &str) -> PathBuf {
    let names = std::iter::once(String::new()).chain((2..).map(|n| format!("-{n}")));
    let mut paths = names.map(|more| folder.join(format!("{BEGINS}{stamp}{more}{ENDS}")));
    paths.find(|path| !path.exists()).unwrap_or_else(|| folder.join(format!("{BEGINS}{stamp}{ENDS}")))
}

/// Removes what a server that was killed amid a backup has left.
fn forget_parts(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(".db.part") {
            // What cannot be removed is removed at the next one.
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

/// Is it the name of a backup, and not a way to somewhere else?
fn is_name(name: &str) -> bool {
    let middle = name.strip_prefix(BEGINS).and_then(|n| n.strip_suffix(ENDS));
    middle.is_some_and(|m| !m.is_empty() && m.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

impl Premises for Place {
    fn findings(&self) -> Soon<'_, Vec<Finding>> {
        Box::pin(async move {
            // An open page asks whenever something changes.
            let mut kept = self.found.lock().await;
            if let Some((at, all)) = kept.as_ref().filter(|(at, _)| (0..FRESH_MS).contains(&now().since(*at).0)) {
                tracing::trace!(at = at.0, "what was found a moment ago is told again");
                return all.clone();
            }
            let mut all = folder(&self.data_dir);
            all.push(file(self.file.as_deref()));
            let known: Vec<&str> = self.controller.providers().iter().map(|p| p.name()).collect();
            match records(&self.store, |name| known.contains(&name), Programs::LeaveAlone).await {
                Ok(found) => all.extend(found),
                Err(error) => all.push(Finding::bad("database", error.to_string(), "see `charter explain D0001`")),
            }
            *kept = Some((now(), all.clone()));
            all
        })
    }

    fn backups(&self) -> Result<Vec<Backup>, Problem> {
        let entries = match std::fs::read_dir(self.folder()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(self.failed(&error)),
        };
        let mut all: Vec<Backup> = entries.filter_map(|entry| backup(&entry.ok()?.path())).collect();
        all.sort_by(|a, b| b.name.cmp(&a.name));
        Ok(all)
    }

    fn back_up(&self) -> Soon<'_, Result<Backup, Problem>> {
        let (data_dir, folder, store) = (self.data_dir.clone(), self.folder(), Arc::clone(&self.store));
        let one = Arc::clone(&self.backing_up);
        // Whoever asked may leave: a backup that was begun is finished.
        let made = tokio::spawn(async move {
            let _one_at_a_time = one.lock().await;
            let failed = |e: &std::io::Error| Problem { status: 500, ..data_problem(&data_dir, e) };
            make_private_folder(&folder).map_err(|e| failed(&e))?;
            forget_parts(&folder);
            let path = free(&folder, &rfc3339(now()).replace([':', '-'], "").replace('T', "-"));
            back_up(&store, &data_dir, &path).await.map_err(|problem| Problem { status: 500, ..problem })?;
            backup(&path).ok_or_else(|| failed(&std::io::Error::from(std::io::ErrorKind::NotFound)))
        });
        Box::pin(async move {
            let ended = |_| Problem::new(500, "D0001", "the backup was broken off", "look at the server's log");
            made.await.map_err(ended)?
        })
    }

    fn remove_backup(&self, name: &str) -> Result<bool, Problem> {
        if !is_name(name) {
            return Ok(false);
        }
        match std::fs::remove_file(self.folder().join(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        assert!(is_name("charter-20261129-060708Z.db"));
        for odd in
            ["", "charter-.db", "charter-..db", "charter-/../x.db", "../charter-1.db", "charter-1.db.part", "installation.key"]
        {
            assert!(!is_name(odd), "{odd}");
        }
    }
}
