//! `admin`: backups, and moves from one database to another. They need no server; a restore and a move want none to run.

use super::{Context, Done};
use crate::cli::Admin;
use crate::config;
use crate::install::{
    connect, data_problem, database_problem, lock, make_private_folder, open_any, open_database, private_file, remember_database,
};
use crate::ports::now;
use charter_api::problem::Problem;
use charter_domain::deployment::Wish;
use charter_domain::time::Time;
use charter_store::copy::{Copied, Purpose, copy};
use charter_store::database::Database;
use charter_store::{Error, Store};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A database that is being written by a move.
const MOVING: &str = "moving";
/// Where a backup keeps what is no row: the time of its making, and the installation's secret.
const AT: &str = "backup.at";
const SECRET: &str = "backup.installation-key";

pub(crate) async fn admin(context: &Context<'_>, args: Admin) -> Done {
    let data_dir = config::data_dir(&context.global)?;
    match args {
        Admin::Backup { file } => backup(context, &data_dir, &file).await,
        Admin::Restore { file, replace } => restore(context, &data_dir, &file, replace).await,
        Admin::Migrate { to } => migrate(context, &data_dir, to.as_deref()).await,
    }
}

fn failed(error: &Error) -> Problem {
    database_problem(error)
}

fn there(data_dir: &Path) -> Result<(), Problem> {
    if let Err(error) = std::fs::read_dir(data_dir)
        && error.kind() == std::io::ErrorKind::PermissionDenied
    {
        return Err(data_problem(data_dir, &error));
    }
    if !data_dir.join("charter.db").exists() && !data_dir.join("database.url").exists() {
        let message = format!("`{}` holds no records of an installation", data_dir.display());
        return Err(Problem::new(0, "D0004", message, "name the server's own folder with `--data-dir`"));
    }
    Ok(())
}

async fn kept(database: &Database, prefix: &str) -> Result<Vec<(String, String)>, Problem> {
    database.metas(prefix).await.map_err(|e| failed(&e))
}

/// Removes a database file and what SQLite keeps beside it.
fn remove(file: &Path) {
    for end in ["", "-wal", "-shm"] {
        // What is not there need not be removed.
        std::fs::remove_file(format!("{}{end}", file.display())).ok();
    }
}

/// Writes everything that is known into a file of its own, which must not be there yet.
pub(crate) async fn back_up(from: &Database, data_dir: &Path, file: &Path) -> Result<Copied, Problem> {
    if file.exists() {
        let message = format!("`{}` is there already", file.display());
        return Err(Problem::new(0, "D0007", message, "name a file that is not there yet; a backup is never written over"));
    }
    let part = PathBuf::from(format!("{}.part", file.display()));
    remove(&part);
    private_file(&part).map_err(|e| {
        let message = format!("`{}` cannot be written", file.display());
        Problem::new(0, "D0014", message, "name a file in a folder that is there and yours").with_detail(e.to_string())
    })?;
    let written = async {
        let to = Database::open(&part).await?;
        // The time of the snapshot at the latest: what is younger is not in it.
        let at = now();
        let copied = copy(from, &to, Purpose::Move, &at.0.to_string()).await?;
        to.put_meta(AT, &at.0.to_string()).await?;
        let secret = std::fs::read_to_string(data_dir.join("installation.key")).map_err(|e| Error::Database(e.to_string()))?;
        to.put_meta(SECRET, secret.trim()).await?;
        to.close().await;
        Ok::<Copied, Error>(copied)
    };
    let copied = written.await.map_err(|e| {
        remove(&part);
        failed(&e)
    })?;
    std::fs::rename(&part, file).map_err(|e| data_problem(data_dir, &e))?;
    remove(&part);
    Ok(copied)
}

async fn backup(context: &Context<'_>, data_dir: &Path, file: &Path) -> Done {
    there(data_dir)?;
    let from = open_database(data_dir, None).await?;
    let copied = back_up(&from, data_dir, file).await?;
    if context.printer.json {
        let bytes = std::fs::metadata(file).map_or(0, |m| m.len());
        context.printer.document(&json!({"schema": "charter.backup/1", "file": file.display().to_string(), "bytes": bytes,
            "deployments": copied.deployments, "rows": copied.rows, "database": from.kind()}));
    } else {
        context.printer.data(&format!("{} deployments, {} rows: `{}`", copied.deployments, copied.rows, file.display()));
        context.printer.say("it holds the key of this installation: keep it where only you can read it");
    }
    Ok(ExitCode::SUCCESS)
}

/// A backup as it is read: from a copy, because an older one is brought to this version's schema first.
async fn open_backup(data_dir: &Path, file: &Path) -> Result<(Database, PathBuf), Problem> {
    let wrong = |why: String| {
        let message = format!("`{}` is no backup of charter", file.display());
        Problem::new(0, "D0008", message, "name a file that `charter admin backup` has written").with_detail(why)
    };
    let copy = data_dir.join("restore.part");
    remove(&copy);
    let mut magic = [0_u8; 16];
    let read = std::fs::File::open(file).and_then(|mut f| std::io::Read::read_exact(&mut f, &mut magic));
    read.map_err(|e| wrong(e.to_string()))?;
    if &magic != b"SQLite format 3\0" {
        return Err(wrong("it is no SQLite file".to_owned()));
    }
    private_file(&copy).and_then(|_| std::fs::copy(file, &copy)).map_err(|e| data_problem(data_dir, &e))?;
    match Database::open(&copy).await {
        Ok(database) => Ok((database, copy)),
        Err(error @ Error::TooNew { .. }) => Err(failed(&error)),
        Err(error) => {
            remove(&copy);
            Err(wrong(error.to_string()))
        }
    }
}

async fn restore(context: &Context<'_>, data_dir: &Path, file: &Path, replace: bool) -> Done {
    make_private_folder(data_dir).map_err(|e| data_problem(data_dir, &e))?;
    let _lock = lock(data_dir)?;
    let (backup, part) = open_backup(data_dir, file).await?;
    let done = restore_from(context, data_dir, file, &backup, replace).await;
    backup.close().await;
    remove(&part);
    done
}

async fn restore_from(context: &Context<'_>, data_dir: &Path, file: &Path, backup: &Database, replace: bool) -> Done {
    let metas = backup.metas("backup.").await.map_err(|e| failed(&e))?;
    let meta = |name: &str| metas.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let (Some(at), Some(secret)) = (meta(AT).and_then(|at| at.parse().ok()).map(Time), meta(SECRET)) else {
        let message = format!("`{}` is no backup of charter", file.display());
        return Err(Problem::new(0, "D0008", message, "name a file that `charter admin backup` has written"));
    };
    let to = open_database(data_dir, None).await?;
    nobody_works_on(&to).await?;
    let there = to.deployments().await.map_err(|e| failed(&e))?.len();
    let open = to.replicas(None).await.map_err(|e| failed(&e))?.len();
    let (ours, theirs) = (kept(&to, "installation").await?, kept(backup, "installation").await?);
    if open > 0 && !ours.is_empty() && ours != theirs {
        let message = format!("the backup is one of another installation, and {open} copies of this one hold machines");
        let hint =
            "nobody would end them afterwards: end them first (`charter down --all`), or restore into another `--data-dir`";
        return Err(Problem::new(0, "D0012", message, hint));
    }
    if there > 0 && !replace {
        let message = format!("the data directory knows {there} deployments, and a restore would forget them");
        let hint = "back it up first (`charter admin backup FILE`), and then say `--replace`";
        return Err(Problem::new(0, "D0009", message, hint));
    }
    let copied =
        copy(backup, &to, Purpose::Restore { backup_at: at, now: now() }, &now().0.to_string()).await.map_err(|e| failed(&e))?;
    // The key comes last, and at once: with another one the database would be refused, and the restore could be made again.
    let key = data_dir.join("installation.key");
    let part = data_dir.join("installation.part");
    let written = private_file(&part).and_then(|mut f| f.write_all(secret.as_bytes()).and_then(|()| f.sync_all()));
    written.and_then(|()| std::fs::rename(&part, &key)).map_err(|e| data_problem(data_dir, &e))?;
    for (name, _) in &metas {
        to.remove_meta(name).await.map_err(|e| failed(&e))?;
    }
    let rows = to.deployments().await.map_err(|e| failed(&e))?;
    let wanted: Vec<String> = rows.into_iter().filter(|d| d.state.wish == Wish::Run).map(|d| d.state.name).collect();
    to.close().await;
    let made = charter_web::rfc3339(at);
    if context.printer.json {
        context.printer.document(&json!({"schema": "charter.restore/1", "backup_at": made, "deployments": copied.deployments,
            "rows": copied.rows, "wanted": wanted}));
        return Ok(ExitCode::SUCCESS);
    }
    context.printer.data(&format!("{} deployments as they were at {made}", copied.deployments));
    if !wanted.is_empty() {
        context.printer.say(&format!("the next server makes these run again: {}", wanted.join(", ")));
    }
    context.printer.say("what was rented since then is in no record: `charter sweep` shows it, and only");
    context.printer.say("`charter sweep --execute` ends it");
    Ok(ExitCode::SUCCESS)
}

/// A control plane that was heard a moment ago would go on with what it has in its memory.
async fn nobody_works_on(database: &Database) -> Result<(), Problem> {
    if !database.shared() {
        return Ok(());
    }
    let me = format!("admin.{}", std::process::id());
    let all = database.report(&me, now(), "{}").await.map_err(|e| failed(&e))?;
    database.forget_control_plane(&me).await.map_err(|e| failed(&e))?;
    let heard = all.iter().filter(|c| c.id != me && now().since(c.seen_at).0 < 20_000).count();
    if heard == 0 {
        return Ok(());
    }
    let message = format!("{heard} control planes work on this database");
    Err(Problem::new(0, "D0010", message, "end them with `charter stop`, and try again after 20 seconds"))
}

async fn migrate(context: &Context<'_>, data_dir: &Path, to: Option<&str>) -> Done {
    there(data_dir)?;
    // One that was retired by a move that was cut off is moved again.
    let from = open_any(data_dir, None).await?;
    let Some(to) = to else {
        let (kind, schema) = (from.kind(), from.schema());
        if context.printer.json {
            context.printer.document(&json!({"schema": "charter.migrate/1", "database": kind, "version": schema}));
        } else {
            context.printer.data(&format!("{kind}, schema {schema}: up to date"));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let _lock = lock(data_dir)?;
    nobody_works_on(&from).await?;
    let own = data_dir.join("charter.db");
    let target = if to == "sqlite" { Database::open(&own).await.map_err(|e| failed(&e))? } else { connect(to).await? };
    let taken = !target.deployments().await.map_err(|e| failed(&e))?.is_empty();
    // What was left behind by a move, or by one that was cut off, may be written over.
    let left_behind = target.is_retired().await.map_err(|e| failed(&e))? || !kept(&target, MOVING).await?.is_empty();
    if from.kind() == target.kind() || (taken && !left_behind) {
        let message = "the database to move to is not an empty one of the other kind";
        return Err(Problem::new(0, "D0011", message, "name an empty PostgreSQL database, or `sqlite` to come back from one"));
    }
    from.put_meta(MOVING, to).await.map_err(|e| failed(&e))?;
    // From here on nobody writes to the old one, whoever sleeps with it open.
    from.retire().await.map_err(|e| failed(&e))?;
    let copied = match copy(&from, &target, Purpose::Move, &now().0.to_string()).await {
        Ok(copied) => copied,
        Err(error) => {
            from.reinstate().await.map_err(|e| failed(&e))?;
            from.remove_meta(MOVING).await.map_err(|e| failed(&e))?;
            return Err(failed(&error));
        }
    };
    target.remove_meta(MOVING).await.map_err(|e| failed(&e))?;
    remember_database(data_dir, (to != "sqlite").then_some(to))?;
    let kind = target.kind();
    from.close().await;
    target.close().await;
    if to != "sqlite" {
        // It is not the data any more, and nobody shall take it for that.
        let kept = data_dir.join(format!("charter-moved-{}.db", now().0));
        std::fs::rename(&own, kept).map_err(|e| data_problem(data_dir, &e))?;
        remove(&own);
    }
    if context.printer.json {
        context.printer.document(&json!({"schema": "charter.migrate/1", "database": kind, "deployments": copied.deployments,
            "rows": copied.rows}));
    } else {
        context.printer.data(&format!("{} deployments, {} rows are in {kind} now", copied.deployments, copied.rows));
        context.printer.say("the next `charter serve` with this data directory uses it");
    }
    Ok(ExitCode::SUCCESS)
}
