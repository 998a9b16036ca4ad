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
    pub(crate) store: Arc<Database>,
    pub(crate) installation: String,
    pub(crate) data_dir: PathBuf,
    /// What of the file could not be used.
    pub(crate) problems: Vec<String>,
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
        let mut problems = vec![];
        // What cannot be used must not keep the rest from being asked: this is the last resort.
        let file = config::find(&context.global, None).map(|path| config::read(&path)).transpose();
        let section = file.unwrap_or_else(|problem| {
            problems.push(format!("the file cannot be used: {}", problem.message));
            None
        });
        let section = section.map(|f| f.server).unwrap_or_default();
        let own = KeyPair::derive(secret.as_bytes(), "installation");
        let links = Links::default();
        let mut providers = vec![];
        for one in &section.providers {
            match assemble::provider(one, &own, secret, &links, &data_dir, None) {
                Ok(made) => providers.push(made),
                Err(problem) => problems.push(format!("{}: the key of last time is taken, if there is one", problem.message)),
            }
        }
        if providers.is_empty() && section.providers.is_empty() {
            providers.extend(assemble::from_environment(secret, None).transpose()?);
        }
        let store = open_database(&data_dir, None).await?;
        let named: Vec<String> = providers.iter().map(|p| p.name().to_owned()).collect();
        providers.extend(retired(&store, secret, &named, now(), None).await?);
        if providers.is_empty() {
            let hint = "name the server's file with `--config`, or set `VASTAI_API_KEY`";
            return Err(Problem::new(0, "C0014", "no provider is known that could be asked", hint));
        }
        let known = store.metas("installation").await.map_err(|e| database_problem(&e))?;
        let Some((_, installation)) = known.into_iter().next() else {
            let message = format!("`{}` holds no records of an installation", data_dir.display());
            return Err(Problem::new(0, "D0004", message, "name the server's own folder with `--data-dir`"));
        };
        Ok(Self { providers, store: Arc::new(store), installation, data_dir, problems })
    }

    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.providers.iter().find(|p| p.name() == name)
    }

    /// Asks every provider first, all at the same time, and the records second: those can only be newer.
    pub(crate) async fn look(&self) -> Result<Seen, Problem> {
        let mut asking = tokio::task::JoinSet::new();
        for (at, provider) in self.providers.iter().cloned().enumerate() {
            asking.spawn(async move { (at, provider.name().to_owned(), ask(&provider, PATIENCE).await) });
        }
        let mut answers = asking.join_all().await;
        answers.sort_by_key(|(at, ..)| *at);
        let (mut listed, mut problems) = (vec![], self.problems.clone());
        for (_, name, answer) in answers {
            let (held, problem) = answer;
            problems.extend(problem);
            listed.extend(held.into_iter().map(|h| (name.clone(), h)));
        }
        Ok(Seen { all: self.belonging(listed).await?, problems })
    }

    /// Whose each thing is, by the records of this moment.
    pub(crate) async fn belonging(&self, listed: Vec<(String, Held)>) -> Result<Vec<Found>, Problem> {
        let open = self.store.replicas(None).await.map_err(|e| database_problem(&e))?;
        let open: Vec<Replica> = open.into_iter().map(|(row, _)| row.state).collect();
        let found = |(provider, held): (String, Held)| {
            let belongs = belongs(&held, &self.installation, &open);
            Found { provider, held, belongs }
        };
        Ok(listed.into_iter().map(found).collect())
    }

    /// Between two lists that are to say the same: as long as a provider lets itself be asked, and two seconds at most.
    pub(crate) async fn pause(&self) {
        let longest = self.providers.iter().map(|p| p.descriptor().look_gap.std()).max().unwrap_or_default();
        tokio::time::sleep(longest.clamp(Duration::from_millis(100), Duration::from_secs(2))).await;
    }
}

/// What a provider holds, and why that is not all.
pub(crate) async fn ask(provider: &Arc<dyn Provider>, patience: Duration) -> (Vec<Held>, Option<String>) {
    let name = provider.name();
    match tokio::time::timeout(patience, provider.inventory()).await {
        Ok(Ok((held, true))) => (held, None),
        Ok(Ok((held, false))) => (held, Some(format!("`{name}` did not tell everything that it holds"))),
        Ok(Err(error)) => (vec![], Some(format!("`{name}`: {error}"))),
        Err(_) => (vec![], Some(format!("`{name}` does not answer within {} s", patience.as_secs()))),
    }
}
