//! A contract: one rented container, from its order to its end, with what it costs.

use super::fault::Fault;
use super::host::{Host, micros_usd};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What an order asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// The image.
    pub(super) image: String,
    /// How it is begun, as the wire calls it.
    pub(super) runtype: String,
    /// The script that runs at the start.
    pub(super) onstart: String,
    /// Disk in gigabytes.
    pub(super) disk_gb: u64,
    /// The owner's own text.
    pub(super) label: Option<String>,
    /// A bid, in micro-dollars per hour.
    pub(super) bid_micros: Option<u64>,
    /// Environment and ports.
    pub(super) env: Vec<(String, String)>,
    /// Arguments of the image.
    pub(super) args: Vec<String>,
}

impl Wish {
    /// Does an SSH server take the entrypoint's place?
    #[must_use]
    pub(super) fn has_ssh(&self) -> bool {
        self.runtype != "args"
    }

    /// The ports inside that its host maps.
    fn mapped(&self) -> Vec<&str> {
        let pairs = self.env.iter().filter_map(|(name, _)| name.strip_prefix("-p "));
        pairs.filter_map(|pair| pair.rsplit(':').next()).collect()
    }
}

/// A rented container.
#[derive(Clone, Debug)]
pub(super) struct Contract {
    /// Its number.
    pub(super) id: u64,
    /// The host.
    pub(super) host: Host,
    /// What was asked for.
    pub(super) wish: Wish,
    /// When it was made, in market milliseconds.
    pub(super) created_ms: u64,
    /// How long it takes until it runs.
    pub(super) boot_ms: u64,
    /// From when on lists show it.
    pub(super) listed_ms: u64,
    /// What goes wrong with it.
    pub(super) faults: BTreeSet<Fault>,
    /// The renter, or the market, has stopped it.
    pub(super) stopped_ms: Option<u64>,
    /// When it was ended.
    pub(super) destroyed_ms: Option<u64>,
    /// What its GPU costs, in micro-dollars per hour.
    pub(super) gpu_micros: u64,
    /// Where its SSH server, or the engine in it, listens on this computer, once it runs.
    pub(super) door: Option<u16>,
    /// What its entrypoint ran has ended by itself.
    pub(super) ended: bool,
    /// Keys that were attached, with their numbers.
    pub(super) keys: Vec<(u64, String)>,
    /// Since when its GPU is paid for, and what was paid before.
    pub(super) billed_from_ms: Option<u64>,
    /// Milliseconds of GPU that are paid for already.
    pub(super) billed_ms: u64,
}

impl Contract {
    /// What happens to it at a time: status, its text, and whether the contract says `stopped`.
    #[must_use]
    pub(super) fn status(&self, now_ms: u64) -> (Option<&'static str>, String, bool) {
        let age = now_ms.saturating_sub(self.created_ms);
        let has = |fault| self.faults.contains(&fault);
        if self.stopped_ms.is_some() {
            return (Some("exited"), String::new(), true);
        }
        if age * 10 < self.boot_ms * 2 {
            return (None, String::new(), false);
        }
        if has(Fault::Cdi) && age * 10 >= self.boot_ms * 6 {
            let text = "Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create failed: could not apply required modification to OCI specification: error modifying OCI spec: failed to inject CDI devices: unresolvable CDI devices D.0e5751c026e543b2e8ab2eb06099daa1/gpu=0: unknown\nError: failed to start containers: C.1";
            return (Some("created"), text.to_owned(), true);
        }
        if has(Fault::StuckLoading) && age * 10 >= self.boot_ms * 5 {
            return (Some("loading"), "80ee424dc764: Downloading".to_owned(), false);
        }
        if self.ended {
            return (Some("exited"), String::new(), false);
        }
        if age < self.boot_ms || self.door.is_none() && !has(Fault::NoPorts) {
            let layers = [
                "0d30c18b26f8: Downloading",
                "80ee424dc764: Downloading",
                "80ee424dc764: Pull complete",
                "1f0d1c8ff0e6: Extracting",
            ];
            let step = usize::try_from(age * 8 / self.boot_ms.max(1)).unwrap_or(0) % layers.len();
            return (Some("loading"), layers[step].to_owned(), false);
        }
        let up = age - self.boot_ms;
        // Offline for a while after some time, and back again.
        if has(Fault::Offline) && (self.boot_ms..self.boot_ms * 3).contains(&up) {
            return (Some("offline"), String::new(), false);
        }
        (Some("running"), format!("success, running {}/ssh", self.wish.image.replace(':', "_")), false)
    }

    /// Its row as a single read shows it. In its first moments only its number is known.
    #[must_use]
    pub(super) fn row(&self, now_ms: u64) -> Value {
        let age = now_ms.saturating_sub(self.created_ms);
        if age * 20 < self.boot_ms && self.stopped_ms.is_none() {
            return json!({"id": self.id});
        }
        let (actual, message, stopped) = self.status(now_ms);
        let state = if stopped { "stopped" } else { "running" };
        let intended = if self.stopped_ms.is_some() { "stopped" } else { "running" };
        let running = actual == Some("running");
        let mut row = self.host.row(self.wish.disk_gb);
        let private = self.faults.contains(&Fault::PrivateAddress);
        let inside = if self.wish.has_ssh() { vec!["22"] } else { self.wish.mapped() };
        let mut ports = serde_json::Map::new();
        if let Some(port) = self.door.filter(|_| running && !self.faults.contains(&Fault::NoPorts)) {
            let port = port.to_string();
            let both = json!([{"HostIp": "0.0.0.0", "HostPort": port}, {"HostIp": "::", "HostPort": port}]);
            ports.extend(inside.iter().map(|inside| (format!("{inside}/tcp"), both.clone())));
        }
        let proxy = self.door.filter(|_| self.wish.has_ssh() && !self.faults.contains(&Fault::NoPorts));
        let proxy_host = if private { "10.0.0.7" } else { "127.0.0.1" };
        let seconds = |ms: u64| {
            micros_usd(ms % 1_000_000_000 * 1000) + f64::from(u32::try_from(ms / 1_000_000_000).unwrap_or(0)) * 1_000_000.0
        };
        for (name, value) in [
            ("id", json!(self.id)),
            ("label", json!(self.wish.label)),
            ("actual_status", json!(actual)),
            ("cur_state", json!(state)),
            ("next_state", json!(state)),
            ("intended_status", json!(intended)),
            ("status_msg", json!(message)),
            ("public_ipaddr", json!(if private { "192.168.1.77" } else { "127.0.0.1" })),
            ("ports", Value::Object(ports)),
            ("ssh_host", json!(self.wish.has_ssh().then_some(proxy_host))),
            ("ssh_port", json!(proxy)),
            ("machine_dir_ssh_port", json!(60_022)),
            ("direct_port_start", json!(-1)),
            ("direct_port_end", json!(-1)),
            ("image_uuid", json!(self.wish.image)),
            (
                "image_runtype",
                json!(if self.wish.has_ssh() { format!("ssh {}", self.wish.runtype) } else { self.wish.runtype.clone() }),
            ),
            ("image_args", json!(self.wish.args)),
            ("extra_env", json!(self.wish.env.iter().map(|(k, v)| json!([k, v])).collect::<Vec<_>>())),
            ("onstart", json!(self.wish.onstart)),
            ("start_date", json!(seconds(self.created_ms))),
            ("end_date", Value::Null),
            ("duration", json!(1000 * 3600)),
            ("dph_base", json!(micros_usd(self.gpu_micros))),
            ("dph_total", json!(micros_usd(self.price_micros()))),
            ("is_bid", json!(self.wish.bid_micros.is_some())),
            ("disk_space", json!(self.wish.disk_gb)),
            ("disk_usage", json!(-1.0)),
            ("disk_util", json!(-1.0)),
            ("gpu_util", json!(0.0)),
            ("gpu_temp", json!(40.0)),
            ("gpu_totalram", json!(self.host.card().1)),
            ("uptime_mins", json!(age / 60_000)),
            ("jupyter_token", json!("testbed-secret")),
            ("template_id", Value::Null),
            ("volume_info", json!([])),
            ("local_ipaddrs", json!("192.168.1.77 \n")),
        ] {
            row[name] = value;
        }
        row
    }

    /// What it costs per hour while it runs.
    #[must_use]
    pub(super) const fn price_micros(&self) -> u64 {
        self.gpu_micros + self.host.disk_micros(self.wish.disk_gb)
    }

    /// What it has cost so far: the GPU while it ran, the disk from its order to its end.
    #[must_use]
    pub(super) fn cost_micros(&self, now_ms: u64) -> u64 {
        let end = self.destroyed_ms.unwrap_or(now_ms);
        let running = self.billed_ms + self.billed_from_ms.map_or(0, |from| end.saturating_sub(from));
        let per_hour =
            |micros: u64, ms: u64| u64::try_from((u128::from(micros) * u128::from(ms)).div_ceil(3_600_000)).unwrap_or(u64::MAX);
        per_hour(self.gpu_micros, running)
            + per_hour(self.host.disk_micros(self.wish.disk_gb), end.saturating_sub(self.created_ms))
    }

    /// Its GPU is not paid for from now on.
    pub(super) fn stop_meter(&mut self, now_ms: u64) {
        if let Some(from) = self.billed_from_ms.take() {
            self.billed_ms += now_ms.saturating_sub(from);
        }
    }
}
