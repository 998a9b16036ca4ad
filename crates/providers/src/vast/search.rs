//! Searching for offers: what is asked for, and what a row becomes. The service applies filters now and then not at all and
//! gives 64 rows at most, so everything is checked again by whoever ranks them.

use super::row::{Row, price};
use charter_domain::card::{is_named, with_spaces};
use charter_domain::money::Usd;
use charter_domain::offer::{Accelerator, Market, Offer};
use charter_domain::placement::Requirement;
use charter_domain::time::Time;
use serde_json::{Map, Value, json};

/// Rows that one answer brings at most.
pub(super) const ROWS_MAX: u64 = 64;

/// Cards by the exact names that a search has to use.
const CATALOGUE: &[&str] = &[
    "RTX 3060",
    "RTX 3070",
    "RTX 3080",
    "RTX 3080 Ti",
    "RTX 3090",
    "RTX 3090 Ti",
    "RTX 4060 Ti",
    "RTX 4070",
    "RTX 4070 Ti",
    "RTX 4080",
    "RTX 4080S",
    "RTX 4090",
    "RTX 4090 D",
    "RTX 5070 Ti",
    "RTX 5080",
    "RTX 5090",
    "RTX A4000",
    "RTX A5000",
    "RTX A6000",
    "RTX 4000Ada",
    "RTX 6000Ada",
    "Q RTX 8000",
    "A10",
    "A40",
    "A100 PCIE",
    "A100 SXM4",
    "H100 PCIE",
    "H100 SXM",
    "H100 NVL",
    "H200",
    "H200 NVL",
    "B200",
    "L4",
    "L40",
    "L40S",
    "Tesla T4",
    "Tesla V100",
    "RTX PRO 6000 WS",
    "RTX PRO 6000 S",
];

/// Gigabytes of disk, rounded up; less than eight cannot be had.
pub(super) fn disk_gb(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000_000).max(8)
}

/// The bodies of the searches for a need, the most wanted first. `wide` leaves out what only explains why nothing fits.
pub(super) fn bodies(need: &Requirement, wide: bool) -> Vec<Value> {
    if let Some(id) = need.offer.as_ref().and_then(|id| id.parse::<u64>().ok()) {
        let mut only = Map::new();
        // A filter on `id` matches nothing.
        only.insert("ask_contract_id".into(), json!({"eq": id}));
        return vec![whole(only, need)];
    }
    let mut filters = Map::new();
    for (name, value) in [("verified", true), ("rentable", true), ("rented", false)] {
        filters.insert(name.into(), json!({"eq": value}));
    }
    filters.insert("num_gpus".into(), json!({"eq": need.gpu_count.max(1)}));
    if wide {
        return vec![whole(filters, need)];
    }
    // A card is a little smaller than its label says, and the service counts in mebibytes.
    filters.insert("gpu_ram".into(), json!({"gte": need.vram_bytes / 100 * 93 / 1_048_576}));
    filters.insert("disk_space".into(), json!({"gte": disk_gb(need.disk_bytes)}));
    filters.insert("inet_down".into(), json!({"gte": need.inet_down_mbps}));
    filters.insert("reliability".into(), json!({"gte": f64::from(need.min_reliability_permille) / 1000.0}));
    if let Some(cuda) = need.cuda_tenths {
        filters.insert("cuda_max_good".into(), json!({"gte": f64::from(cuda) / 10.0}));
    }
    if let Some(compute) = need.compute_tenths {
        filters.insert("compute_cap".into(), json!({"gte": compute * 10}));
    }
    let mut all = vec![];
    let names: Vec<String> = need.tiers.iter().flat_map(|t| names(&t.gpu)).collect();
    if !names.is_empty() {
        let mut named = filters.clone();
        named.insert("gpu_name".into(), json!({"in": names}));
        all.push(whole(named, need));
    }
    if need.other_names || all.is_empty() {
        all.push(whole(filters, need));
    }
    all
}

/// The exact names that a tier's name means.
fn names(tier: &str) -> Vec<String> {
    let known: Vec<String> = CATALOGUE.iter().filter(|card| is_named(tier, card)).map(|c| (*c).to_owned()).collect();
    if known.is_empty() { vec![with_spaces(tier)] } else { known }
}

fn whole(mut filters: Map<String, Value>, need: &Requirement) -> Value {
    filters.insert("order".into(), json!([["dph_total", "asc"]]));
    filters.insert("type".into(), json!("on-demand"));
    filters.insert("limit".into(), json!(ROWS_MAX));
    filters.insert("allocated_storage".into(), json!(disk_gb(need.disk_bytes)));
    Value::Object(filters)
}

/// The search for what can be had now of one machine: offers are short-lived, machines are not.
pub(super) fn of_machine(machine: &str, gpus: usize, disk_bytes: u64) -> Option<Value> {
    let machine: u64 = machine.parse().ok()?;
    let filters = json!({"machine_id": {"eq": machine}, "num_gpus": {"eq": gpus}, "rentable": {"eq": true}, "rented": {"eq": false},
        "order": [["dph_total", "asc"]], "type": "on-demand", "limit": ROWS_MAX, "allocated_storage": disk_gb(disk_bytes)});
    Some(filters)
}

/// A row as an offer; nothing for one without id, machine or price.
pub(super) fn offer(provider: &str, value: &Value, disk_bytes: u64, now: Time) -> Option<Offer> {
    let row = Row(value);
    let id = row.whole("ask_contract_id").or_else(|| row.whole("id"))?;
    let machine = row.whole("machine_id")?;
    let gb = disk_gb(disk_bytes);
    // A price that is not there, or none, is no price.
    let price = price(&row, gb).filter(|p| p.0 > 0)?;
    let name: String = with_spaces(row.text("gpu_name").unwrap_or_default())
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || " .+-()/".contains(*c))
        .take(40)
        .collect();
    let memory_bytes = row.whole("gpu_ram").unwrap_or(0).saturating_mul(1_048_576);
    let compute_tenths = row.small("compute_cap").map(|c| c / 10).filter(|c| *c > 0);
    let free = value.get("rentable").and_then(Value::as_bool).unwrap_or(true)
        && value.get("rented").and_then(Value::as_bool) != Some(true);
    let gpus = (0..row.small("num_gpus").unwrap_or(0).min(64)).map(|index| Accelerator {
        index,
        name: name.clone(),
        memory_bytes,
        compute_tenths,
        free,
    });
    let country = row
        .text("geolocation")
        .and_then(|g| g.rsplit([',', ' ']).next())
        .filter(|c| c.len() == 2 && c.bytes().all(|b| b.is_ascii_alphabetic()))
        .map(str::to_owned);
    let left = row.decimal("duration").filter(|d| *d >= 0.0).and_then(|d| format!("{:.0}", d * 1000.0).parse::<i64>().ok());
    Some(Offer {
        provider: provider.to_owned(),
        id: id.to_string(),
        host: machine.to_string(),
        gpus: gpus.collect(),
        no_gpu_allowed: false,
        disk_bytes: row.whole("disk_space").map(|gb| gb.saturating_mul(1_000_000_000)),
        driver: row.text("driver_version").map(str::to_owned),
        price,
        market: Some(Market {
            cuda_tenths: row.scaled("cuda_max_good", 10.0).filter(|c| *c > 0),
            reliability_permille: row.scaled("reliability2", 1000.0).or_else(|| row.scaled("reliability", 1000.0)).unwrap_or(0),
            inet_down_mbps: row.small("inet_down").unwrap_or(0),
            down_per_gb: Usd(row.usd_micros("inet_down_cost").unwrap_or(0)),
            inet_up_mbps: row.small("inet_up").unwrap_or(0),
            direct_ports: row.small("direct_port_count").unwrap_or(0),
            country,
            listed_until: left.map(|ms| Time(now.0.saturating_add(ms))),
        }),
    })
}

/// Of the offers of one machine the one that replaces `wanted`: as many of the same cards, no worse, and no dearer than what was
/// set aside.
pub(super) fn replacement<'a>(offers: &'a [Offer], wanted: &Offer, max: Option<i64>) -> Option<&'a Offer> {
    let limit = max.unwrap_or(wanted.price.0);
    let cuda = |o: &Offer| o.market.as_ref().and_then(|m| m.cuda_tenths);
    let cards = |o: &Offer| {
        let pairs = o.gpus.iter().zip(&wanted.gpus);
        o.gpus.len() == wanted.gpus.len()
            && pairs.into_iter().all(|(a, b)| a.name == b.name && a.memory_bytes >= b.memory_bytes && a.free)
    };
    let same = offers.iter().filter(|o| o.host == wanted.host && o.price.0 <= limit && cards(o) && cuda(o) >= cuda(wanted));
    same.min_by_key(|o| (o.id != wanted.id, o.price, o.id.clone()))
}
