//! A marketplace on this computer that speaks Vast.ai's API: the service's own client cannot tell the difference. What is
//! rented here boots through the real states, lets SSH in, runs an engine stand-in as a process of its own, and costs money
//! that nobody has to pay.

mod account;
mod chance;
mod container;
mod contract;
mod fault;
mod host;
mod query;
mod routes;
mod state;

pub use fault::{Fault, Faults};
pub use state::Settings;

use crate::machine::LocalMachine;
use charter_remote::server::Machine;
use container::Container;
use serde_json::Value;
use state::State;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long an attached key takes until it opens the door, in market milliseconds.
const KEY_MS: u64 = 12_000;

/// What runs on a host.
enum Powered {
    /// A container with an SSH server.
    Machine(Box<LocalMachine>),
    /// A container with its image's own entrypoint.
    Container(Container),
}

/// A running marketplace. Clones share it.
#[derive(Clone)]
pub struct Market(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    machines: Mutex<BTreeMap<u64, Powered>>,
    folder: PathBuf,
    /// The program whose `__engine` is the engine stand-in.
    program: PathBuf,
    key: String,
    url: Mutex<String>,
    ended: CancellationToken,
}

impl Market {
    /// A market that keeps its machines in `folder`. `program` is charter itself, whose hidden command is the engine.
    #[must_use]
    pub fn new(settings: Settings, folder: &Path, program: &Path) -> Self {
        let key = format!("tb_{:016x}{:016x}", chance::Chance::new(settings.seed).next(), settings.seed);
        Self(Arc::new(Inner {
            state: Mutex::new(State::new(settings, epoch_ms(), instant())),
            machines: Mutex::default(),
            folder: folder.to_owned(),
            program: program.to_owned(),
            key,
            url: Mutex::default(),
            ended: CancellationToken::new(),
        }))
    }

    /// The key of the account.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0.key
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key that a container has for itself: it may look at its own instance, and end it.
    pub(super) fn instance_key(&self, id: u64) -> String {
        format!("tbi_{id}_{:016x}", chance::Chance::new(self.state().settings.seed ^ id.rotate_left(17)).next())
    }

    /// What happened to the account.
    #[must_use]
    pub fn ledger(&self) -> Value {
        self.state().ledger()
    }

    /// From now on these faults happen.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Serves on `listener` until [`Market::end`].
    pub fn serve(&self, listener: TcpListener) {
        if let Ok(address) = listener.local_addr() {
            *self.0.url.lock().unwrap_or_else(PoisonError::into_inner) = format!("http://{address}");
        }
        let (this, ended) = (self.clone(), self.0.ended.clone());
        tokio::spawn(routes::serve(listener, this, ended));
    }

    /// Listens on a free port and serves.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn start(&self, address: SocketAddr) -> std::io::Result<()> {
        self.serve(TcpListener::bind(address).await?);
        Ok(())
    }

    /// Ends every machine, and the market.
    pub async fn end(&self) {
        self.0.ended.cancel();
        let ids: Vec<u64> = self.0.machines.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        for id in ids {
            self.power_off(id).await;
        }
    }

    /// What follows an order: the machine boots, and things go wrong with it.
    fn booting(&self, id: u64) {
        let this = self.clone();
        tokio::spawn(async move {
            let wait = {
                let state = this.state();
                let boots = state.contracts.get(&id).map_or(0, |c| c.boot_ms);
                state.real(boots)
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = this.0.ended.cancelled() => return,
            }
            this.boot(id).await;
        });
    }

    async fn boot(&self, id: u64) {
        let Some(contract) = self.state().alive(id).cloned() else { return };
        if [Fault::Cdi, Fault::StuckLoading].iter().any(|f| contract.faults.contains(f)) || contract.stopped_ms.is_some() {
            return;
        }
        let home = self.0.folder.join(id.to_string());
        let begun = if contract.wish.has_ssh() {
            self.machine(&home, &contract).await.map(|machine| (machine.address().port(), Powered::Machine(Box::new(machine))))
        } else {
            self.container(&home, &contract).await.map(|container| (container.port, Powered::Container(container)))
        };
        let (port, powered) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                tracing::warn!(%error, id, "a machine could not boot");
                return;
            }
        };
        self.0.machines.lock().unwrap_or_else(PoisonError::into_inner).insert(id, powered);
        let (gone, outbid, dearer) = {
            let mut state = self.state();
            let now = state.now_ms();
            let gone = match state.alive(id) {
                Some(contract) => {
                    contract.door = Some(port);
                    contract.billed_from_ms = Some(now);
                    false
                }
                None => true,
            };
            let later = |fault, times| contract.faults.contains(&fault).then(|| state.real(contract.boot_ms * times));
            (gone, later(Fault::Outbid, 2), later(Fault::RaisedLater, 4))
        };
        if let Some(wait) = dearer {
            let this = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                if let Some(contract) = this.state().alive(id) {
                    contract.gpu_micros *= 5;
                }
            });
        }
        if gone {
            self.power_off(id).await;
        }
        if let Some(wait) = outbid {
            let this = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                this.stop(id).await;
            });
        }
    }

    /// Writes the programs that a host has.
    async fn tools(&self, home: &Path, contract: &contract::Contract) -> std::io::Result<PathBuf> {
        let tools = home.join("tools");
        tokio::fs::create_dir_all(&tools).await?;
        let (card, memory, compute) = contract.host.card();
        let has = |fault| contract.faults.contains(&fault);
        let engine_ms = {
            let state = self.state();
            state.real(state.settings.engine_ms).as_millis()
        };
        let trouble = [(Fault::WrongCuda, "driver"), (Fault::OutOfMemory, "oom"), (Fault::FirstPrompt, "first-prompt")];
        let trouble = trouble.iter().find(|(fault, _)| has(*fault)).map_or("", |(_, name)| name);
        let vllm = format!(
            "#!/bin/sh\n: \"${{STANDIN_START_MS:={engine_ms}}}\"\nexport STANDIN_START_MS STANDIN_TROUBLE={trouble}\nexec '{}' __engine \"$@\"\n",
            self.0.program.display()
        );
        let rows: Vec<String> = (0..contract.host.gpus())
            .map(|n| format!("{n}, {memory}, 1, {}.{}, 580.82.07, NVIDIA {card}", compute / 100, compute % 100 / 10))
            .collect();
        let smi = format!("#!/bin/sh\ncat <<'E'\n{}\nE\n", rows.join("\n"));
        for (name, text) in [("vllm", vllm), ("nvidia-smi", smi)] {
            let file = tools.join(name);
            tokio::fs::write(&file, text).await?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            tokio::fs::set_permissions(&file, mode).await?;
        }
        Ok(tools)
    }

    /// Runs the image's own entrypoint.
    async fn container(&self, home: &Path, contract: &contract::Contract) -> std::io::Result<Container> {
        let program = self.tools(home, contract).await?.join("vllm");
        let (this, id) = (self.clone(), contract.id);
        let ended = move || {
            let mut state = this.state();
            if let Some(contract) = state.alive(id) {
                contract.ended = true;
            }
        };
        Container::start(home, &program, &contract.wish.args, &contract.wish.env, ended).await
    }

    /// Sets a machine up: its programs, its keys, its SSH server.
    async fn machine(&self, home: &Path, contract: &contract::Contract) -> std::io::Result<LocalMachine> {
        let tools = self.tools(home, contract).await?;
        if !contract.faults.contains(&Fault::SshRefused) && !contract.wish.onstart.is_empty() {
            let mut script = tokio::process::Command::new("/bin/sh");
            script
                .args(["-c", &contract.wish.onstart])
                .current_dir(home)
                .env_clear()
                .env("HOME", home)
                .env("CONTAINER_ID", contract.id.to_string())
                .env("CONTAINER_API_KEY", self.instance_key(contract.id))
                .env("PATH", "/usr/bin:/bin");
            let ran = tokio::time::timeout(Duration::from_secs(5), script.output()).await;
            tracing::debug!(ok = ran.is_ok(), "the start script ran");
        }
        let sshd = self.state().settings.sshd.clone();
        if let Some(program) = sshd {
            return LocalMachine::with_sshd(home, &program, &tools).await;
        }
        LocalMachine::boot(
            home,
            Machine {
                home: home.to_owned(),
                path: vec![tools],
                authorized: String::new(),
                host_key: crate::machine::host_key(home),
            },
        )
        .await
    }

    /// Stops a contract as an outbid or the renter does: its container ends, its disk stays and is paid for.
    async fn stop(&self, id: u64) {
        {
            let mut state = self.state();
            let now = state.now_ms();
            let Some(contract) = state.alive(id) else { return };
            contract.stopped_ms = Some(now);
            contract.stop_meter(now);
            contract.door = None;
        }
        self.power_off(id).await;
    }

    /// An account without credit has all its machines stopped; their disks go on costing.
    async fn out_of_credit(&self) {
        let running: Vec<u64> = {
            let state = self.state();
            let broke = state.credit_micros() == 0;
            let alive = state.contracts.values().filter(|c| broke && c.destroyed_ms.is_none() && c.stopped_ms.is_none());
            alive.map(|c| c.id).collect()
        };
        for id in running {
            self.stop(id).await;
        }
    }

    /// Lets a key in, after the time that it takes to get there.
    fn attach(&self, id: u64, line: String) {
        let wait = self.state().real(KEY_MS);
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let refuses = this.state().contracts.get(&id).is_none_or(|c| c.faults.contains(&Fault::SshRefused));
            if !refuses {
                crate::machine::authorize(&this.0.folder.join(id.to_string()), &line);
            }
        });
    }

    async fn power_off(&self, id: u64) {
        let machine = self.0.machines.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        match machine {
            Some(Powered::Machine(machine)) => machine.power_off().await,
            Some(Powered::Container(container)) => container.power_off().await,
            None => {}
        }
        tokio::fs::remove_dir_all(self.0.folder.join(id.to_string())).await.ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "the market's time runs with the real one")]
fn epoch_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
