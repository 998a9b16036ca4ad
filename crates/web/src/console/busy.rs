//! How busy a deployment's engines were in the last hour, by their own figures.

use super::chart::{Column, columns};
use crate::router::App;
use charter_domain::replica::Replica;
use charter_domain::time::Time;
use maud::{Markup, html};
use std::collections::BTreeMap;

const MINUTE_MS: i64 = 60_000;
const MINUTES: i64 = 60;

/// What all copies said in one minute: added up, and the fullest cache of them.
#[derive(Clone, Copy, Default)]
struct Minute {
    running: u64,
    waiting: u64,
    kv_permille: u32,
}

/// Two charts, or nothing where no engine has said anything.
pub(crate) fn shown(app: &App, replicas: &[Replica], now: Time) -> Markup {
    let (last, mut all): (i64, BTreeMap<i64, Minute>) = (now.0.div_euclid(MINUTE_MS), BTreeMap::new());
    for replica in replicas.iter().filter(|r| !r.phase.is_closed()) {
        // The last one of each minute.
        let samples = app.controller.samples_of(&replica.id).into_iter().map(|s| (s.at.0.div_euclid(MINUTE_MS), s));
        for (at, sample) in samples.collect::<BTreeMap<_, _>>() {
            let minute = all.entry(at).or_default();
            minute.running += sample.running;
            minute.waiting += sample.waiting;
            minute.kv_permille = minute.kv_permille.max(sample.kv_permille);
        }
    }
    if all.is_empty() {
        return html! {};
    }
    if all.values().all(|m| m.running + m.waiting + u64::from(m.kv_permille) == 0) {
        let said = "Whenever the engine was asked in the last hour, nothing ran or waited inside it, and its cache was empty.";
        return html! { p.small.soft { (said) } };
    }
    let name =
        |minute: i64| jiff::Timestamp::from_millisecond(minute * MINUTE_MS).unwrap_or_default().strftime("%H:%M").to_string();
    #[expect(clippy::cast_precision_loss, reason = "charts show a few digits")]
    let figure = |n: u64| n as f64;
    let of = |column: &dyn Fn(&str, Minute) -> Column| -> Vec<Column> {
        let unknown = |name: String| Column { parts: [0.0, 0.0], said: format!("{name} UTC: not known"), name };
        let one = |at: i64| all.get(&at).map_or_else(|| unknown(name(at)), |minute| column(&name(at), *minute));
        (last - MINUTES + 1..=last).map(one).collect()
    };
    let busy = of(&|name, m| Column {
        name: name.to_owned(),
        parts: [figure(m.running), figure(m.waiting)],
        said: format!("{name} UTC: {} answered, {} waiting", m.running, m.waiting),
    });
    let cache = of(&|name, m| Column {
        name: name.to_owned(),
        parts: [f64::from(m.kv_permille) / 10.0, 0.0],
        said: format!("{name} UTC: {}.{} % of the key-value cache", m.kv_permille / 10, m.kv_permille % 10),
    });
    html! {
        h3 { "Requests inside the engine, minute by minute" }
        (columns("Requests inside the engine in the last hour", &busy, &["answered", "waiting"], |v| format!("{v:.0}")))
        h3 { "Its key-value cache, how full" }
        (columns("How full the key-value cache was in the last hour", &cache, &[], |v| format!("{v:.0} %")))
    }
}
