//! Which engine version is the newest: from the published list, else the last one seen, else the one built in.

use crate::http;
use charter_domain::profile::{Profile, Source};
use charter_engines::vllm::version::{BUILT_IN, RELEASES_URL, Version, newest};
use charter_web::Versions;
use hyper::Method;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The newest version that is known.
pub(crate) struct Releases {
    file: PathBuf,
    newest: Mutex<String>,
}

/// Between two looks at the list.
const REFRESH: Duration = Duration::from_secs(6 * 3600);

impl Releases {
    pub(crate) fn open(file: PathBuf) -> Arc<Self> {
        let known = std::fs::read_to_string(&file).ok().map(|t| t.trim().to_owned());
        let known = known.filter(|v| Version::resolve(v, BUILT_IN).is_ok() && !v.is_empty());
        Arc::new(Self { file, newest: Mutex::new(known.unwrap_or_else(|| BUILT_IN.to_owned())) })
    }

    /// Looks at the list now and then. No request ever waits for it.
    pub(crate) async fn refresh(self: Arc<Self>) {
        loop {
            match http::send(Method::GET, RELEASES_URL, None, None, Duration::from_secs(10)).await {
                Ok(answer) if answer.status == 200 => {
                    if let Some(version) = newest(&String::from_utf8_lossy(&answer.body)) {
                        if let Err(error) = std::fs::write(&self.file, &version) {
                            tracing::warn!(%error, "the newest engine version could not be written down");
                        }
                        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = version;
                    }
                }
                Ok(answer) => tracing::info!(
                    status = answer.status,
                    "the engine's release list is not to be had; the last known version stays"
                ),
                Err(why) => tracing::info!(why, "the engine's release list cannot be reached; the last known version stays"),
            }
            tokio::time::sleep(REFRESH).await;
        }
    }
}

impl Versions for Releases {
    fn newest(&self) -> String {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn resolve(&self, profile: &Profile) -> String {
        let wanted = &profile.engine.version;
        if profile.engine.source == Source::Installed && wanted.is_empty() {
            return "installed".to_owned();
        }
        if charter_engines::ollama::runs(profile) {
            return if wanted.is_empty() { "latest".to_owned() } else { wanted.clone() };
        }
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Version::resolve(wanted, &newest).map_or_else(|_| wanted.clone(), |v| v.text())
    }
}
