//! What `doctor` and the server itself look at on this computer: the folder, the file, the records, and what they need that is not
//! there. Nothing is changed.

use crate::config;
use crate::ports::RealSecrets;
use charter_api::doctor::Finding;
use charter_api::problem::Problem;
use charter_controller::Secrets;
use charter_domain::deployment::Wish;
use charter_domain::invariants::{World, check};
use charter_domain::profile::EnvValue;
use charter_domain::replica::Replica;
use charter_store::database::Database;
use charter_store::{Error, Store};
use std::path::Path;

/// Less free space than this is told, in bytes.
const DISK_MIN: u64 = 500_000_000;

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
pub(crate) async fn records(store: &Database, has_provider: impl Fn(&str) -> bool) -> Result<Vec<Finding>, Error> {
    let open: Vec<(Replica, bool)> = store.replicas(None).await?.into_iter().map(|(row, at)| (row.state, at.is_some())).collect();
    let intents = store.intents().await?;
    let mut world = World { replicas: open.iter().map(|(r, at)| (r, *at)).collect(), ..World::default() };
    for stored in &intents {
        world.intents.entry(stored.intent.replica.0.clone()).or_default().push(&stored.intent.effect);
    }
    let deployments = store.deployments().await?;
    let counts = format!("{} deployments, {} copies open", deployments.len(), open.len());
    let mut all = vec![Finding::good("database", format!("{}, schema {}, {counts}", store.kind(), store.schema()))];
    let start = "start the server, and tell us";
    all.extend(check(&world).into_iter().map(|v| Finding::bad("records", format!("{:?}: {}", v.id, v.text), start)));
    for (replica, _) in &open {
        let Some(name) = replica.instance().map(|i| &i.placement.offer.provider) else { continue };
        if !has_provider(name) {
            let said = format!("`{name}` holds a machine of ours and is not in the file");
            all.push(Finding::bad("provider", said, "put it back into `server.providers`, so that it can be ended"));
        }
    }
    for row in deployments.iter().filter(|row| row.state.wish == Wish::Run) {
        for (name, value) in &row.state.profile.engine.env {
            if let EnvValue::Secret(secret) = value
                && let Err(why) = RealSecrets.read(secret)
            {
                let said = format!("`{}` needs `{name}`: {why}", row.state.name);
                let todo = "set it where the server is started; the next start of the engine needs it";
                all.push(Finding::bad("secret", said, todo));
            }
        }
    }
    Ok(all)
}
