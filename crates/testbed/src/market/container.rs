//! A container whose image's own entrypoint runs: the engine as a process of its own, no SSH, and ports that its host maps.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A running container.
#[derive(Debug)]
pub(super) struct Container {
    /// The port of this computer that leads to the engine.
    pub(super) port: u16,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Container {
    /// Runs `program` with `args` in `home`, as the entrypoint would be run; `when_ended` follows if it ends by itself.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) async fn start(
        home: &Path,
        program: &Path,
        args: &[String],
        env: &[(String, String)],
        when_ended: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<Self> {
        let log = log_file(home);
        if let Some(folder) = log.parent() {
            tokio::fs::create_dir_all(folder).await?;
        }
        let out = std::fs::File::create(&log)?;
        // Inside, the engine has the port that it was told; here it takes the one that its host would map to that.
        let port = TcpListener::bind(("127.0.0.1", 0)).await?.local_addr()?.port();
        let plain = env.iter().filter(|(name, _)| !name.starts_with("-p "));
        let mut child = tokio::process::Command::new(program)
            .args(args)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .env_clear()
            .envs(plain.map(|(name, value)| (name, value)))
            .env("HOME", home)
            .env("PATH", "/usr/bin:/bin")
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()?;
        let stop = CancellationToken::new();
        let told = stop.clone();
        let ended = tokio::spawn(async move {
            tokio::select! {
                status = child.wait() => {
                    tracing::debug!(?status, "a container has ended by itself");
                    when_ended();
                }
                () = told.cancelled() => {
                    let killed = child.kill().await;
                    tracing::debug!(?killed, "a container was ended");
                }
            }
        });
        Ok(Self { port, stop, ended })
    }

    /// Ends it.
    pub(super) async fn power_off(self) {
        self.stop.cancel();
        if self.ended.await.is_err() {
            tracing::warn!("a container's watcher failed");
        }
    }
}

/// Where its output is written.
fn log_file(home: &Path) -> PathBuf {
    home.join(".charter/container.log")
}
