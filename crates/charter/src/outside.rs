//! What the commands that need no server work with: the providers of the file, and the records of the data directory.

use crate::commands::Context;
use crate::install::{database_problem, open_database};
use crate::ports::now;
use crate::retired::retired;
use crate::{assemble, config};
use charter_api::problem::Problem;
use charter_domain::inventory::{Belongs, Held, belongs};
use charter_domain::replica::Replica;
use charter_providers::Provider;
use charter_remote::{KeyPair, Links};
use charter_store::Store;
use charter_store::database::Database;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a provider may take to tell what it holds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Providers and records.
pub(crate) struct Outside {
    pub(crate) providers: Vec<Arc<dyn Provider>>,
    pub(crate) store: Database,
    pub(crate) installation: String,
    pub(crate) data_dir: PathBuf,
}

/// Something that a provider holds.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) provider: String,
    pub(crate) held: Held,
    pub(crate) belongs: Belongs,
}

impl Found {
    /// The same thing at the same provider under the same tag, whatever state it is in by now.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (&self.provider, &self.held.id, &self.held.tag) == (&other.provider, &other.held.id, &other.held.tag)
    }
}

/// What was seen, and what could not be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) all: Vec<Found>,
    /// Why a provider's list is not whole.
    pub(crate) problems: Vec<String>,
}

impl Outside {
    /// Reads the file and opens the records, which must be there.
    pub(crate) async fn open(context: &Context<'_>) -> Result<Self, Problem> {
        let data_dir = config::data_dir(&context.global)?;
        let (database, secret) = (data_dir.join("charter.db"), data_dir.join("installation.key"));
        if !database.exists() && !data_dir.join("database.url").exists() {
            let message = format!("`{}` holds no records of an installation", data_dir.display());
            return Err(Problem::new(0, "D0004", message, "name the server's own folder with `--data-dir`"));
        }
        let secret = std::fs::read_to_string(&secret).unwrap_or_default();
        let secret = secret.trim();
        let file = config::find(&context.global, None).map(|path| config::read(&path)).transpose()?;
        let section = file.map(|f| f.server).unwrap_or_default();
        let own = KeyPair::derive(secret.as_bytes(), "installation");
        let links = Links::default();
        let made = section.providers.iter().map(|p| assemble::provider(p, &own, secret, &links, &data_dir, None));
        let mut providers = made.collect::<Result<Vec<_>, _>>()?;
        if providers.is_empty() {
            providers.extend(assemble::from_environment(secret, None).transpose()?);
        }
        let store = open_database(&data_dir, None).await?;
        let named: Vec<String> = providers.iter().map(|p| p.name().to_owned()).collect();
        providers.extend(retired(&store, secret, &named, now(), None).await?);
        if providers.is_empty() {
            let hint = "name the server's file with `--config`, or set `VASTAI_API_KEY`";
            return Err(Problem::new(0, "C0014", "no provider is known that could be asked", hint));
        }
        let installation = store.installation("none").await.map_err(|e| database_problem(&e))?;
        Ok(Self { providers, store, installation, data_dir })
    }

    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.providers.iter().find(|p| p.name() == name)
    }

    /// Asks every provider first and the records second: those can only be newer.
    pub(crate) async fn look(&self) -> Result<Seen, Problem> {
        let mut listed = vec![];
        let mut problems = vec![];
        for provider in &self.providers {
            let name = provider.name().to_owned();
            match tokio::time::timeout(PATIENCE, provider.inventory()).await {
                Ok(Ok((held, whole))) => {
                    if !whole {
                        problems.push(format!("`{name}` did not tell everything that it holds"));
                    }
                    listed.extend(held.into_iter().map(|h| (name.clone(), h)));
                }
                Ok(Err(error)) => problems.push(format!("`{name}`: {error}")),
                Err(_) => problems.push(format!("`{name}` does not answer within {} s", PATIENCE.as_secs())),
            }
        }
        let open = self.store.replicas(None).await.map_err(|e| database_problem(&e))?;
        let open: Vec<Replica> = open.into_iter().map(|(row, _)| row.state).collect();
        let found = |(provider, held): (String, Held)| {
            let belongs = belongs(&held, &self.installation, &open);
            Found { provider, held, belongs }
        };
        Ok(Seen { all: listed.into_iter().map(found).collect(), problems })
    }

    /// Between two lists that are to say the same: as long as a provider lets itself be asked, and two seconds at most.
    pub(crate) async fn pause(&self) {
        let longest = self.providers.iter().map(|p| p.descriptor().look_gap.std()).max().unwrap_or_default();
        tokio::time::sleep(longest.clamp(Duration::from_millis(100), Duration::from_secs(2))).await;
    }
}
