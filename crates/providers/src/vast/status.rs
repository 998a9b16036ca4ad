//! What an instance's row says of it: on its way, running with addresses, or lost, and whose fault that is.

use super::row::{Row, price};
use crate::port::Observed;
use charter_domain::cause::{Action, Cause};
use charter_domain::instance::Address;
use charter_domain::money::UsdPerHour;
use serde_json::Value;
use std::net::IpAddr;

/// Words of the host's daemon for its own faults: the same machine fails again, another one does not.
const HOST_FAULTS: &[&str] = &[
    "cdi device",
    "failed to inject cdi",
    "unknown or invalid runtime name",
    "nvidia-container-cli",
    "uncorrectable ecc",
    "gpu error",
    "internal error",
    "storage-opt is supported only",
    "cannot connect to the docker daemon",
    "docker_build() error",
    "port networking issues",
    "no such host",
    "error pulling image configuration",
    "connection reset by peer",
    "no space left on device",
    "failed to start containers",
];

/// Words for what no other host cures.
const OUR_FAULTS: &[&str] =
    &["manifest for", "manifest unknown", "pull access denied", "unauthorized", "secrets fetch", "no such file or directory"];

/// Sign that a pull goes on although its text sounds like an error.
const PROGRESS: &[&str] =
    &["retrying", "downloading", "pull complete", "extracting", "verifying checksum", "pulling fs layer", "waiting"];

/// May a machine be reached at this address? Private and loopback ones lead somewhere else, unless the service itself is on
/// this computer.
fn is_public(ip: IpAddr) -> bool {
    let ip = match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    };
    match ip {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast() || shared)
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}

/// The host's port that leads to `inside`. The two entries per port carry the same number.
fn mapped(row: &Value, inside: &str) -> Option<u16> {
    let entries = row.get("ports")?.get(inside)?.as_array()?;
    let port = |entry: &Value| match entry.get("HostPort")? {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(n) => n.as_u64().and_then(|n| u16::try_from(n).ok()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    entries.iter().find_map(port).filter(|p| *p != 0)
}

/// The host's own address, if it can be one on the internet.
fn direct(row: &Row<'_>, loopback: bool) -> Option<IpAddr> {
    let ip = row.text("public_ipaddr")?.parse::<IpAddr>().ok()?;
    (is_public(ip) || (loopback && ip.is_loopback())).then_some(ip)
}

/// Where an engine that is reached without SSH answers.
fn engine_address(value: &Value, inside: u16, loopback: bool) -> Option<Address> {
    let ip = direct(&Row(value), loopback)?;
    let port = mapped(value, &format!("{inside}/tcp"))?;
    Some(Address { host: ip.to_string(), port, user: String::new() })
}

/// Where SSH may be reached: directly first, through the service's proxy second.
fn addresses(value: &Value, loopback: bool) -> Vec<Address> {
    let row = Row(value);
    let mut all = vec![];
    let direct = direct(&row, loopback);
    if let (Some(ip), Some(port)) = (direct, mapped(value, "22/tcp")) {
        all.push(Address { host: ip.to_string(), port, user: "root".to_owned() });
    }
    let name =
        row.text("ssh_host").filter(|h| !h.starts_with('-') && h.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c)));
    // A name that is no number must be the service's own proxy: anything else could lead back to this computer.
    let name = name.filter(|h| h.parse::<IpAddr>().is_ok() || h.ends_with(".vast.ai"));
    let private =
        name.and_then(|h| h.parse::<IpAddr>().ok()).is_some_and(|ip| !(is_public(ip) || (loopback && ip.is_loopback())));
    let port = row.whole("ssh_port").and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
    if let (Some(host), Some(port), false) = (name, port, private) {
        // An image that also runs a notebook has its SSH one port further.
        let jupyter = row.text("image_runtype").is_some_and(|t| t.contains("jupyter"));
        let port = port.saturating_add(u16::from(jupyter));
        all.push(Address { host: host.to_owned(), port, user: "root".to_owned() });
    }
    all
}

fn failed(class: &str, action: Action, evidence: &str, hint: &str) -> Observed {
    let evidence: String = evidence.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
    Observed::Failed(Cause::new(class, action, evidence, hint))
}

/// What a daemon's text means; nothing where it only tells of progress.
fn told(message: &str) -> Option<Observed> {
    let low = message.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| low.contains(w));
    if has(PROGRESS) || low.starts_with("success") || low.is_empty() {
        return None;
    }
    if has(HOST_FAULTS) {
        return Some(failed(
            "host_fault",
            Action::OtherHost,
            message,
            "the host cannot start containers; only another one helps",
        ));
    }
    if has(OUR_FAULTS) {
        return Some(failed(
            "image_pull_failed",
            Action::ChangeProfile,
            message,
            "correct `engine.version`: no other host has this image either",
        ));
    }
    None
}

/// What it costs now, if that is more than was agreed to.
fn too_dear(row: &Row<'_>, disk_gb: u64, max: Option<UsdPerHour>) -> Option<Observed> {
    let (price, max) = (price(row, disk_gb)?, max?);
    let evidence = format!("it costs {price}, and {max} was set aside for it");
    (price > max)
        .then(|| failed("price_raised", Action::OtherHost, &evidence, "its host raised the price above what was agreed to"))
}

/// What an instance's row is held against.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The disk that was ordered.
    pub(super) disk_gb: u64,
    /// What was agreed to.
    pub(super) max: Option<UsdPerHour>,
    /// This computer is accepted as a machine.
    pub(super) loopback: bool,
    /// The port inside that leads to the engine, where there is no SSH.
    pub(super) mapped: Option<u16>,
}

/// Reads an instance's row.
pub(super) fn observe(value: &Value, seen: &Seen) -> Observed {
    let Seen { disk_gb, max, loopback, mapped: inside } = *seen;
    let row = Row(value);
    if let Some(dear) = too_dear(&row, disk_gb, max) {
        return dear;
    }
    let actual = row.text("actual_status").unwrap_or_default();
    let wants = |name: &str, what: &str| row.text(name) == Some(what);
    let message = row.text("status_msg").unwrap_or_default();
    let stopping = wants("intended_status", "stopped") || wants("cur_state", "stopped") || wants("next_state", "stopped");
    let ending = wants("next_state", "destroyed") || wants("cur_state", "destroying") || wants("intended_status", "deleted");
    if ending {
        return failed(
            "instance_gone",
            Action::OtherHost,
            "the provider is ending it",
            "somebody else, or the provider, ended it",
        );
    }
    match actual {
        "running" if !stopping => {
            let addresses = match inside {
                Some(port) => engine_address(value, port, loopback).into_iter().collect(),
                None => addresses(value, loopback),
            };
            Observed::Running { addresses, price: price(&row, disk_gb) }
        }
        // Nothing but the engine runs in such a container.
        "exited" if !stopping && inside.is_some() => Observed::Ended(format!("its container has ended {message}")),
        // One missing heartbeat is no end: it may come back, and the patience of the limits decides.
        "offline" | "unknown" | "rebooting" if !stopping => Observed::Pending(format!("its host is {actual}")),
        "exited" | "stopped" | "frozen" | "running" | "offline" | "unknown" if stopping => told(message).unwrap_or_else(|| {
            failed(
                "stopped_by_provider",
                Action::OtherHost,
                &format!("it was stopped ({actual}) {message}"),
                "outbid, out of credit, or stopped by hand",
            )
        }),
        "exited" | "frozen" | "stopped" => Observed::Pending(format!("its host calls it {actual}")),
        // While an image is pulled both `running` and `stopped` have been seen as the contract's state: the text decides.
        _ => told(message).unwrap_or_else(|| {
            let stage = if actual.is_empty() { "accepted" } else { actual };
            let last = message.lines().last().unwrap_or_default().trim();
            Observed::Pending(if last.is_empty() { stage.to_owned() } else { format!("{stage}: {last}") })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(observed: &Observed) -> String {
        match observed {
            Observed::Failed(cause) => format!("{} {}", cause.class, cause.action.as_str()),
            Observed::Pending(text) => format!("pending {text}"),
            Observed::Running { addresses, .. } => {
                format!("running {}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            }
            Observed::Ended(text) => format!("ended {text}"),
            Observed::Absent => "absent".to_owned(),
        }
    }

    #[test]
    fn rows_as_they_were_seen_are_understood() {
        let ports = json!({"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "40022"}, {"HostIp": "::", "HostPort": "40022"}]});
        let cases = [
            (json!({"id": 1}), "pending accepted"),
            (json!({"actual_status": null, "intended_status": "running"}), "pending accepted"),
            (
                json!({"actual_status": "loading", "cur_state": "stopped", "status_msg": "80ee424dc764: Downloading\n"}),
                "pending loading: 80ee424dc764: Downloading",
            ),
            (
                json!({"actual_status": "loading", "status_msg": "0d30c18b26f8: Retrying in 5 seconds"}),
                "pending loading: 0d30c18b26f8: Retrying in 5 seconds",
            ),
            (
                json!({"actual_status": "created", "cur_state": "stopped", "status_msg": "Error response from daemon: failed to inject CDI devices: unresolvable CDI devices D.abc/gpu=0: unknown\nError: failed to start containers: C.1"}),
                "host_fault other-host",
            ),
            (
                json!({"actual_status": "loading", "status_msg": "manifest for x/y:z not found"}),
                "image_pull_failed change-profile",
            ),
            (
                json!({"actual_status": "running", "public_ipaddr": "203.0.113.9\n", "ports": ports, "ssh_host": "ssh5.vast.ai", "ssh_port": 10001}),
                "running root@203.0.113.9:40022 root@ssh5.vast.ai:10001",
            ),
            (
                json!({"actual_status": "running", "public_ipaddr": "192.168.1.7", "ports": ports, "ssh_host": "ssh5.vast.ai", "ssh_port": 10001}),
                "running root@ssh5.vast.ai:10001",
            ),
            (
                json!({"actual_status": "running", "public_ipaddr": "203.0.113.9", "ports": null, "ssh_host": "ssh5.vast.ai", "ssh_port": 10001, "image_runtype": "jupyter ssh"}),
                "running root@ssh5.vast.ai:10002",
            ),
            (json!({"actual_status": "running", "public_ipaddr": "203.0.113.9", "ports": {}}), "running "),
            (
                json!({"actual_status": "running", "public_ipaddr": "127.0.0.1", "ports": ports, "ssh_host": "-oProxyCommand=x", "ssh_port": 1}),
                "running ",
            ),
            (
                json!({"actual_status": "exited", "intended_status": "stopped", "cur_state": "stopped", "next_state": "stopped"}),
                "stopped_by_provider other-host",
            ),
            (json!({"actual_status": "offline", "intended_status": "running"}), "pending its host is offline"),
            (json!({"actual_status": "running", "next_state": "destroyed"}), "instance_gone other-host"),
        ];
        for (row, expected) in cases {
            assert_eq!(class(&observe(&row, &Seen { disk_gb: 40, ..Seen::default() })), expected, "{row}");
        }
    }

    #[test]
    fn without_ssh_the_mapped_port_is_the_way_in_and_an_ended_container_an_ended_engine() {
        let ports = json!({"8000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "37708"}, {"HostIp": "::", "HostPort": "37708"}]});
        let seen = Seen { mapped: Some(8000), ..Seen::default() };
        for (row, expected) in [
            (
                json!({"actual_status": "running", "public_ipaddr": "203.0.113.9", "ports": ports, "ssh_host": null}),
                "running @203.0.113.9:37708",
            ),
            (
                json!({"actual_status": "running", "public_ipaddr": "203.0.113.9", "ports": {}, "ssh_host": "ssh5.vast.ai", "ssh_port": 1}),
                "running ",
            ),
            (json!({"actual_status": "running", "public_ipaddr": "10.1.2.3", "ports": ports}), "running "),
            (json!({"actual_status": "exited", "intended_status": "running"}), "ended its container has ended "),
            (json!({"actual_status": "exited", "intended_status": "stopped"}), "stopped_by_provider other-host"),
        ] {
            assert_eq!(class(&observe(&row, &seen)), expected, "{row}");
        }
    }

    #[test]
    fn this_computer_is_a_machine_only_where_the_service_is_on_it_too() {
        let row = json!({"actual_status": "running", "public_ipaddr": "127.0.0.1", "ports": {"22/tcp": [{"HostIp": "", "HostPort": 2222}]}});
        assert_eq!(class(&observe(&row, &Seen { loopback: true, ..Seen::default() })), "running root@127.0.0.1:2222");
        assert_eq!(class(&observe(&row, &Seen::default())), "running ");
    }
}
