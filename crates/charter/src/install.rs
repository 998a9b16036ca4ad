//! The data directory: made private, locked by one server, with the installation's secret and its first keys.

use crate::environment;
use crate::local::{ServerFile, server_file};
use crate::ports::{new_key, now, random};
use charter_api::problem::Problem;
use charter_domain::ids::KeyId;
use charter_domain::routing::KeyLimits;
use charter_store::database::Database;
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

/// The installation's secret. Control planes that share a database derive the same keys, so they must have the same one: the
/// database knows its hash.
pub(crate) async fn installation_secret(store: &dyn Store, data_dir: &Path) -> Result<String, Problem> {
    let path = data_dir.join("installation.key");
    let there = path.exists();
    let secret = secret_file(&path, || random::<32>().iter().map(|b| format!("{b:02x}")).collect());
    let secret = secret.map_err(|e| data_problem(data_dir, &e))?;
    let proof = hash(&format!("the secret of an installation: {secret}"));
    let known = store.meta("secret-sha256", &proof).await.map_err(|e| database_problem(&e))?;
    if known == proof {
        return Ok(secret);
    }
    if !there {
        // A file that fits nothing would be taken for the right one.
        std::fs::remove_file(&path).map_err(|e| data_problem(data_dir, &e))?;
    }
    let message = format!("`{}` is not the key of the installation whose database this is", path.display());
    let hint = "copy `installation.key` from the data directory of a control plane that uses the database already";
    Err(Problem::new(0, "D0005", message, hint))
}

/// The database of a data directory: the one that is named, or the one that was named last; else a file in it.
pub(crate) async fn open_database(data_dir: &Path, named: Option<&str>) -> Result<Database, Problem> {
    not_retired(open_any(data_dir, named).await?).await
}

/// The same, even if everything in it was moved elsewhere.
pub(crate) async fn open_any(data_dir: &Path, named: Option<&str>) -> Result<Database, Problem> {
    let kept = data_dir.join("database.url");
    let last = match std::fs::read_to_string(&kept) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(data_problem(data_dir, &error)),
    };
    let Some(url) = named.or(last.as_deref()) else {
        return Database::open(&data_dir.join("charter.db")).await.map_err(|e| database_problem(&e));
    };
    let store = connect(url).await?;
    if last.as_deref() != Some(url) {
        // `sweep` and `panic` must find it when nobody remembers it, and a server that is started without it must not begin anew.
        remember_database(data_dir, Some(url))?;
    }
    Ok(store)
}

/// Writes down which database belongs to a data directory; none means the file in it.
pub(crate) fn remember_database(data_dir: &Path, url: Option<&str>) -> Result<(), Problem> {
    let kept = data_dir.join("database.url");
    let written = match url {
        Some(url) => {
            // All or nothing: with half an address, or none, the next server would begin an empty database.
            let part = data_dir.join("database.part");
            let text = private_file(&part).and_then(|mut file| file.write_all(url.as_bytes()).and_then(|()| file.sync_all()));
            text.and_then(|()| std::fs::rename(&part, &kept))
        }
        None if kept.exists() => std::fs::remove_file(&kept),
        None => Ok(()),
    };
    written.map_err(|e| data_problem(data_dir, &e))
}

/// What was moved away is not worked on: two that believe in different databases would end each other's machines.
async fn not_retired(store: Database) -> Result<Database, Problem> {
    if store.is_retired().await.map_err(|e| database_problem(&e))? {
        let message = format!("everything in this {} database was moved to another one", store.kind());
        let hint = "name that one with `--database`; if the move was cut off, say `charter admin migrate --to` again";
        return Err(Problem::new(0, "D0013", message, hint));
    }
    Ok(store)
}

/// A PostgreSQL database by its address.
pub(crate) async fn connect(url: &str) -> Result<Database, Problem> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let hint = "`postgres://user:password@host:5432/name`, or leave `--database` out: SQLite in the data directory";
        return Err(Problem::new(0, "D0003", "`--database` is not the address of a PostgreSQL database", hint));
    }
    Database::connect(url).await.map_err(|error| {
        let charter_store::Error::Database(why) = error else { return database_problem(&error) };
        let hint = "check that PostgreSQL runs there, and the user, password and name in `--database`";
        Problem::new(0, "D0006", "the PostgreSQL database cannot be used", hint).with_detail(why)
    })
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

/// What begins the names of this data directory's processes, where several share a database.
pub(crate) fn place(data_dir: &Path) -> String {
    let local = std::fs::read_to_string(data_dir.join("local.key")).unwrap_or_default();
    hash(&format!("a place: {}", local.trim())).chars().take(12).collect()
}

/// A shorter key could be guessed.
const ADMIN_KEY_MIN: usize = 20;

/// Makes sure that the admin's and the local command line's keys are known. Returns a new admin key, to be shown once.
pub(crate) async fn keys(store: &Database, data_dir: &Path) -> Result<Option<String>, Problem> {
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
        tenant: "default".to_owned(),
        limits: KeyLimits::default(),
    };
    let known = store.keys().await.map_err(failed)?;
    let local = secret_file(&data_dir.join("local.key"), new_key).map_err(|e| data_problem(data_dir, &e))?;
    if !known.iter().any(|k| k.sha256 == hash(&local)) {
        // Where a database is shared, each data directory has a key of its own.
        let own =
            if store.shared() { format!("local-{}", hash(&local).get(..12).unwrap_or_default()) } else { "local".to_owned() };
        store.put_key(row(&own, "local", &local)).await.map_err(failed)?;
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
    if known.iter().any(|k| k.name != "local") || known.iter().any(|k| k.id.0.starts_with("key_local")) {
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
