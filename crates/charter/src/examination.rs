//! What `doctor` and the server itself look at on this computer: the folder, the file, the records, and what they need that is not
//! there. Nothing is changed.

use crate::config;
use crate::ports::RealSecrets;
use charter_api::doctor::Finding;
use charter_api::problem::Problem;
use charter_controller::Secrets;
use charter_domain::deployment::{Deployment, Wish};
use charter_domain::invariants::{World, check};
use charter_domain::profile::{EnvValue, SecretRef};
use charter_domain::replica::Replica;
use charter_store::database::Database;
use charter_store::{Error, Store};
use std::path::Path;
use std::time::Duration;

/// Less free space than this is told, in bytes.
const DISK_MIN: u64 = 500_000_000;

/// Between two looks at records that seem to break a rule.
const AGAIN: Duration = Duration::from_secs(1);
/// How long all secrets together may take.
const SECRETS_PATIENCE: Duration = Duration::from_secs(10);

/// Whether programs that tell secrets are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Programs {
    /// Somebody asked once.
    Run,
    /// A page may ask again and again.
    LeaveAlone,
}

/// The data directory, and the disk that it is on.
pub(crate) fn folder(data_dir: &Path) -> Vec<Finding> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(meta) = std::fs::metadata(data_dir) else {
        return vec![Finding::good("data", format!("`{}` is not there yet; the first server makes it", data_dir.display()))];
    };
    let mut all = vec![];
    if meta.permissions().mode() & 0o077 == 0 {
        all.push(Finding::good("data", format!("`{}`", data_dir.display())));
    } else {
        let said = format!("others can read `{}`, and keys are in it", data_dir.display());
        all.push(Finding::bad("data", said, "`chmod 700` it"));
    }
    if let Ok(disk) = nix::sys::statvfs::statvfs(data_dir) {
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let said = format!("{} MB are free for database and logs", free / 1_000_000);
        all.push(if free < DISK_MIN {
            Finding::bad("disk", said, "free some space, or choose another `--data-dir`")
        } else {
            Finding::good("disk", said)
        });
    }
    all
}

/// The file, as it stands there now.
pub(crate) fn file(path: Option<&Path>) -> Finding {
    match path.map(|path| (path, config::read(path))) {
        None => Finding::good("file", "none is here; `charter deploy MODEL` needs none"),
        Some((path, Ok(_))) => Finding::good("file", format!("`{}`", path.display())),
        Some((_, Err(Problem { message, .. }))) => Finding::bad("file", message, "correct it: `charter plan` shows the place"),
    }
}

/// What the records say, and what they need that is not there.
pub(crate) async fn records(
    store: &Database,
    has_provider: impl Fn(&str) -> bool,
    programs: Programs,
) -> Result<Vec<Finding>, Error> {
    let open = open(store).await?;
    let deployments = store.deployments().await?;
    let counts = format!("{}, {} open", many(deployments.len(), "deployment", "deployments"), many(open.len(), "copy", "copies"));
    let mut all = vec![Finding::good("database", format!("{}, schema {}, {counts}", store.kind(), store.schema()))];
    let mut broken = broken_rules(store).await?;
    if !broken.is_empty() {
        // Records are read one after the other: what a server changed between two of them is looked at once more.
        tokio::time::sleep(AGAIN).await;
        let still = broken_rules(store).await?;
        broken.retain(|said| still.contains(said));
    }
    let tell = "a running server mends what it can by itself; tell us if it stays";
    all.extend(broken.into_iter().map(|said| Finding::bad("records", said, tell)));
    for (replica, _) in &open {
        let Some(name) = replica.instance().map(|i| &i.placement.offer.provider) else { continue };
        if !has_provider(name) {
            let said = format!("`{name}` holds a machine of ours and is not in the file");
            all.push(Finding::bad("provider", said, "put it back into `server.providers`, so that it can be ended"));
        }
    }
    let running = deployments.into_iter().map(|row| row.state).filter(|state| state.wish == Wish::Run);
    all.extend(secrets(running.collect(), programs).await);
    Ok(all)
}

fn many(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// Open copies, and whether a look at each is planned.
async fn open(store: &Database) -> Result<Vec<(Replica, bool)>, Error> {
    Ok(store.replicas(None).await?.into_iter().map(|(row, at)| (row.state, at.is_some())).collect())
}

/// Rules of the life cycle that the records break.
async fn broken_rules(store: &Database) -> Result<Vec<String>, Error> {
    let (open, intents) = (open(store).await?, store.intents().await?);
    let mut world = World { replicas: open.iter().map(|(r, at)| (r, *at)).collect(), ..World::default() };
    for stored in &intents {
        world.intents.entry(stored.intent.replica.0.clone()).or_default().push(&stored.intent.effect);
    }
    Ok(check(&world).into_iter().map(|v| format!("{:?}: {}", v.id, v.text)).collect())
}

/// Secrets that cannot be read. A file may be one that never answers, and so may a program: neither holds up anybody else.
async fn secrets(running: Vec<Deployment>, programs: Programs) -> Vec<Finding> {
    let reading = tokio::task::spawn_blocking(move || {
        let todo = "set it where the server is started; the next start of the engine needs it";
        let mut all = vec![];
        for state in &running {
            for (name, value) in &state.profile.engine.env {
                let EnvValue::Secret(secret) = value else { continue };
                if matches!(secret, SecretRef::Command(_)) && programs == Programs::LeaveAlone {
                    continue;
                }
                if let Err(why) = RealSecrets.read(secret) {
                    all.push(Finding::bad("secret", format!("`{}` needs `{name}`: {why}", state.name), todo));
                }
            }
        }
        all
    });
    match tokio::time::timeout(SECRETS_PATIENCE, reading).await {
        Ok(Ok(all)) => all,
        Ok(Err(_)) | Err(_) => {
            let said = format!("what is read for deployments does not answer within {} s", SECRETS_PATIENCE.as_secs());
            vec![Finding::bad("secret", said, "look at the files and programs that the profiles name")]
        }
    }
}
