//! One command on a deployment's machine, by a person's word.

use crate::controller::Controller;
use charter_domain::replica::Replica;
use charter_engines::log::clean::strip_codes;
use std::time::Duration;

/// Most that a command may print, and how long it may take.
const PRINTED_MAX: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// Its exit status; none where a signal ended it.
    pub status: Option<u32>,
    /// What it printed, without codes for terminals; untrusted all the same.
    pub stdout: String,
    /// What it complained of, in the same way.
    pub stderr: String,
}

/// Why it was not run, or not to its end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct NotRun {
    /// The code of its page.
    pub code: &'static str,
    /// What happened.
    pub text: String,
    /// What to do.
    pub hint: &'static str,
}

impl Controller {
    /// Runs a command in the login shell of the machine of a replica, for a minute at most.
    ///
    /// # Errors
    /// There is no way there, it prints too much, or it takes too long.
    pub async fn run_there(&self, replica: &Replica, command: &str) -> Result<Ran, NotRun> {
        let failed = |e: charter_remote::Error| NotRun { code: e.code(), text: e.to_string(), hint: e.hint() };
        let nothing = || NotRun { code: "A0411", text: "no machine is held".to_owned(), hint: "start it with `charter up`" };
        let session = self.link_of(replica).ok_or_else(nothing)?.session().await.map_err(failed)?;
        let output = session.exec(command, b"", PRINTED_MAX, PATIENCE).await.map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).split('\n').map(strip_codes).collect::<Vec<_>>().join("\n");
        Ok(Ran { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }
}
