//! The market as a whole: hosts, contracts, money, and what goes wrong with them.

use super::chance::Chance;
use super::contract::{Contract, Wish};
use super::fault::{Fault, Faults};
use super::host::Host;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// So many times faster than on the real service may calls follow each other, at least.
const HASTE: u64 = 20;

/// How a market is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Prices, hosts and chance.
    pub seed: u64,
    /// How much faster its time runs.
    pub speed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Refuses what comes too often.
    pub rate_limits: bool,
    /// What the account holds at the beginning, in micro-dollars.
    pub balance_micros: u64,
    /// Number of machines.
    pub hosts: u64,
    /// How long a machine takes to boot, in market milliseconds, from and to.
    pub boot_ms: (u64, u64),
    /// How long an engine takes to start, in market milliseconds.
    pub engine_ms: u64,
    /// An OpenSSH server that is the machines' door, instead of one inside this process.
    pub sshd: Option<std::path::PathBuf>,
}

impl Settings {
    /// Times as they really are: hosts boot within two to five minutes, engines load in five to ten.
    #[must_use]
    pub fn realistic() -> Self {
        Self { boot_ms: (120_000, 300_000), engine_ms: 420_000, ..Self::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let balance_micros = 25_000_000;
        Self {
            seed: 1,
            speed: 1,
            faults: Faults::default(),
            rate_limits: false,
            balance_micros,
            hosts: 400,
            boot_ms: (400, 1500),
            engine_ms: 300,
            sshd: None,
        }
    }
}

/// An account's key.
#[derive(Clone, Debug)]
pub(super) struct AccountKey {
    /// Its number.
    pub(super) id: u64,
    /// Its line.
    pub(super) line: String,
}

/// Everything that the market knows.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) faults: Faults,
    pub(super) chance: Chance,
    pub(super) hosts: Vec<Host>,
    pub(super) contracts: BTreeMap<u64, Contract>,
    pub(super) keys: Vec<AccountKey>,
    pub(super) logs: BTreeMap<String, String>,
    begun: Instant,
    epoch_ms: u64,
    next_ask: u64,
    pub(super) next_contract: u64,
    pub(super) next_key: u64,
    calls: BTreeMap<&'static str, u64>,
}

/// A service's error: status and body.
pub(super) type Refusal = (u16, Value);

/// An error in the service's usual shape.
#[must_use]
pub(super) fn refusal(status: u16, error: &str, message: &str) -> Refusal {
    (status, json!({"success": false, "error": error, "msg": message}))
}

impl State {
    /// A market at its beginning. `epoch_ms` is the time of the day.
    #[must_use]
    pub(super) fn new(settings: Settings, epoch_ms: u64, begun: Instant) -> Self {
        Self {
            hosts: Host::all(settings.seed, settings.hosts),
            chance: Chance::new(settings.seed),
            faults: settings.faults.clone(),
            next_ask: 20_001 + settings.hosts,
            settings,
            contracts: BTreeMap::new(),
            keys: vec![],
            logs: BTreeMap::new(),
            begun,
            epoch_ms,
            next_contract: 33_400_001,
            next_key: 5,
            calls: BTreeMap::new(),
        }
    }

    /// The market's time in milliseconds since the epoch.
    #[must_use]
    pub(super) fn now_ms(&self) -> u64 {
        let real = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.epoch_ms + real.saturating_mul(self.settings.speed)
    }

    /// Market milliseconds as real time.
    #[must_use]
    pub(super) fn real(&self, ms: u64) -> Duration {
        Duration::from_millis(ms / self.settings.speed.max(1))
    }

    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        self.faults.strikes(fault, &mut self.chance)
    }

    /// A 429 in one of the four shapes that were seen.
    pub(super) fn too_often(&mut self, threshold: &str) -> (u16, String, &'static str) {
        let json = "application/json";
        match self.chance.between(0, 3) {
            0 => {
                let message = format!(
                    "The action could not be performed because there were too many requests by the client.\n\nAPI requests too frequent: endpoint threshold={threshold}*1.0\n\n"
                );
                (429, json!({"message": message, "code": "429 Too Many Requests"}).to_string(), json)
            }
            1 => (429, json!({"detail": format!("API requests too frequent endpoint threshold={threshold}")}).to_string(), json),
            2 => {
                let message = format!("API requests too frequent endpoint threshold={threshold}");
                (
                    429,
                    json!({"success": false, "error": "rate_limit_exceeded", "msg": message, "retry_after": 1}).to_string(),
                    json,
                )
            }
            _ => (429, "<html><head><title>429 Too Many Requests</title></head></html>".to_owned(), "text/html"),
        }
    }

    /// Refuses a call that comes sooner after the last than the endpoint allows.
    pub(super) fn is_too_soon(&mut self, endpoint: &'static str, pause_ms: u64) -> bool {
        let now = self.now_ms();
        let last = self.calls.insert(endpoint, now);
        // Whoever talks to a service on this computer hurries twenty times: the pauses are measured in time that runs as fast.
        let scale = self.settings.speed.max(1);
        let passed = last.map(|last| now.saturating_sub(last) * HASTE.max(scale) / scale);
        self.settings.rate_limits && passed.is_some_and(|passed| passed * 10 < pause_ms * 9)
    }

    /// What the account has spent.
    #[must_use]
    pub(super) fn spent_micros(&self) -> u64 {
        let now = self.now_ms();
        self.contracts.values().map(|c| c.cost_micros(now)).sum()
    }

    /// What the account can still spend; nothing below zero.
    #[must_use]
    pub(super) fn credit_micros(&self) -> u64 {
        self.settings.balance_micros.saturating_sub(self.spent_micros())
    }

    /// Rents an offer.
    ///
    /// # Errors
    /// As the service says it.
    pub(super) fn rent(&mut self, ask: u64, wish: Wish) -> Result<u64, Refusal> {
        let gone = |ask: u64| {
            let message = format!("error 404/3603: no_such_ask  Instance type by id {ask} is not available.");
            let (status, mut body) = refusal(400, "invalid_args", &message);
            body["ask_id"] = ask.into();
            (status, body)
        };
        let taken = self.strikes(Fault::OfferGone);
        let fresh = self.fresh_ask();
        let now = self.now_ms();
        let Some(host) = self.hosts.iter_mut().find(|h| h.ask == ask) else { return Err(gone(ask)) };
        if taken || host.rented {
            // The same machine comes back under another number.
            host.ask = fresh;
            return Err(gone(ask));
        }
        let host = host.clone();
        if self.credit_micros() == 0 {
            return Err(refusal(400, "insufficient_credit", "Insufficient credits to rent this machine."));
        }
        if wish.disk_gb < 8 {
            return Err(refusal(400, "invalid_args", "error 400/3467: Invalid args: disk must be at least 8"));
        }
        let id = self.next_contract;
        self.next_contract += 1;
        let faults = self.contract_faults();
        let listed = if faults.contains(&Fault::LateList) { self.settings.boot_ms.1 } else { 0 };
        let raised = faults.contains(&Fault::PriceRaised);
        let gpu = wish.bid_micros.unwrap_or_else(|| host.price_micros(0));
        let boot_ms = self.chance.between(self.settings.boot_ms.0, self.settings.boot_ms.1);
        let label = wish.label.clone().filter(|_| !faults.contains(&Fault::LabelLost));
        let contract = Contract {
            id,
            gpu_micros: if raised { gpu * 5 } else { gpu },
            host,
            wish: Wish { label, ..wish },
            created_ms: now,
            boot_ms,
            listed_ms: now + listed,
            faults,
            stopped_ms: None,
            destroyed_ms: None,
            door: None,
            ended: false,
            keys: vec![],
            billed_from_ms: None,
            billed_ms: 0,
        };
        self.contracts.insert(id, contract);
        if let Some(host) = self.hosts.iter_mut().find(|h| h.ask == ask) {
            (host.rented, host.ask) = (true, fresh);
        }
        Ok(id)
    }

    fn contract_faults(&mut self) -> BTreeSet<Fault> {
        use Fault::{
            Cdi, FirstPrompt, LabelLost, LateList, NoPorts, Offline, OutOfMemory, Outbid, PriceRaised, PrivateAddress,
            RaisedLater, SshRefused, StuckLoading, WrongCuda,
        };
        let each = [
            Cdi,
            StuckLoading,
            NoPorts,
            PrivateAddress,
            SshRefused,
            WrongCuda,
            FirstPrompt,
            OutOfMemory,
            Offline,
            Outbid,
            PriceRaised,
            RaisedLater,
            LabelLost,
            LateList,
        ];
        each.into_iter().filter(|fault| self.strikes(*fault)).collect()
    }

    const fn fresh_ask(&mut self) -> u64 {
        self.next_ask += 1;
        self.next_ask
    }

    /// A contract that has not been ended.
    pub(super) fn alive(&mut self, id: u64) -> Option<&mut Contract> {
        self.contracts.get_mut(&id).filter(|c| c.destroyed_ms.is_none())
    }

    /// Ends a contract; false when there is none.
    pub(super) fn destroy(&mut self, id: u64) -> bool {
        let (now, fresh) = (self.now_ms(), self.fresh_ask());
        let Some(contract) = self.alive(id) else { return false };
        contract.destroyed_ms = Some(now);
        contract.stop_meter(now);
        contract.door = None;
        let machine = contract.host.machine;
        if let Some(host) = self.hosts.iter_mut().find(|h| h.machine == machine) {
            (host.rented, host.ask) = (false, fresh);
        }
        true
    }

    /// What happened to the account, for proofs.
    #[must_use]
    pub(super) fn ledger(&self) -> Value {
        let now = self.now_ms();
        let mut labels: BTreeMap<&str, u64> = BTreeMap::new();
        for label in self.contracts.values().filter_map(|c| c.wish.label.as_deref()) {
            *labels.entry(label).or_default() += 1;
        }
        let machines: Vec<Value> = self
            .contracts
            .values()
            .map(|c| {
                let end = c.destroyed_ms.unwrap_or(now);
                json!({"id": c.id, "label": c.wish.label, "machine_id": c.host.machine, "gpu": c.host.card().0, "alive": c.destroyed_ms.is_none(), "boot_ms": c.boot_ms,
                    "seconds": end.saturating_sub(c.created_ms) / 1000, "cost_usd_micros": c.cost_micros(now), "price_usd_micros_per_hour": c.price_micros(),
                    "faults": c.faults.iter().map(|f| f.name()).collect::<Vec<_>>()})
            })
            .collect();
        json!({"schema": "charter.ledger/1", "created": self.contracts.len(), "alive": self.contracts.values().filter(|c| c.destroyed_ms.is_none()).count(),
            "twice": labels.values().filter(|n| **n > 1).count(), "spent_usd_micros": self.spent_micros(), "credit_usd_micros": self.credit_micros(), "machines": machines})
    }
}
