//! Rows of offers and instances. Any field may be missing, null, a number in quotes, or of another type than documented: what
//! cannot be read is absent, and whoever needs it decides.

use charter_domain::money::{Usd, UsdPerHour};
use serde_json::Value;

/// A JSON object read field by field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a>(pub(crate) &'a Value);

impl<'a> Row<'a> {
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty())
    }

    pub(crate) fn decimal(&self, name: &str) -> Option<f64> {
        number(self.0.get(name)?)
    }

    pub(crate) fn whole(&self, name: &str) -> Option<u64> {
        whole(self.decimal(name)?)
    }

    pub(crate) fn small(&self, name: &str) -> Option<u32> {
        self.whole(name).and_then(|n| u32::try_from(n).ok())
    }

    /// An amount of dollars, to the nearest micro-dollar.
    pub(crate) fn usd_micros(&self, name: &str) -> Option<i64> {
        let value = self.decimal(name)?;
        (value >= 0.0).then(|| Usd::parse(&format!("{value:.6}")).ok()).flatten().map(|u| u.0)
    }

    /// A field scaled, as a whole number: a share in thousandths, a version in tenths.
    pub(crate) fn scaled(&self, name: &str, by: f64) -> Option<u32> {
        whole((self.decimal(name)? * by).round()).and_then(|n| u32::try_from(n).ok())
    }
}

fn number(value: &Value) -> Option<f64> {
    let read = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    read.filter(|n: &f64| n.is_finite())
}

fn whole(value: f64) -> Option<u64> {
    if value < 0.0 { None } else { format!("{:.0}", value.floor()).parse().ok() }
}

/// What a disk costs per hour: the price is per gigabyte and month of 720 hours.
pub(crate) fn disk_price(row: &Row<'_>, disk_gb: u64) -> i64 {
    let month = row.usd_micros("storage_cost").unwrap_or(0);
    let gb = i64::try_from(disk_gb).unwrap_or(i64::MAX);
    month.saturating_mul(gb).saturating_add(719) / 720
}

/// The whole price with a disk of that size: computed by us, and never less than what the row itself calls the total.
pub(crate) fn price(row: &Row<'_>, disk_gb: u64) -> Option<UsdPerHour> {
    let total = row.usd_micros("dph_total");
    let computed = row.usd_micros("dph_base").map(|base| base.saturating_add(disk_price(row, disk_gb)));
    match (computed, total) {
        (Some(a), Some(b)) => Some(UsdPerHour(a.max(b))),
        (a, b) => a.or(b).map(UsdPerHour),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_come_in_quotes_as_null_and_with_fractions() {
        let row = json!({"a": "0.1420", "b": null, "c": 24564.0, "d": -1, "e": "x", "f": 12.4, "g": 0.9971});
        let row = Row(&row);
        assert_eq!(row.usd_micros("a"), Some(142_000));
        assert_eq!((row.whole("b"), row.whole("c"), row.whole("d"), row.whole("e")), (None, Some(24564), None, None));
        assert_eq!((row.scaled("f", 10.0), row.scaled("g", 1000.0)), (Some(124), Some(997)));
    }

    #[test]
    fn the_disk_is_part_of_the_price_whatever_the_row_says() {
        let row = json!({"dph_base": 0.12, "dph_total": 0.1211, "storage_cost": 0.2});
        assert_eq!(price(&Row(&row), 60), Some(UsdPerHour(120_000 + 16_667)));
        let contract = json!({"dph_base": 0.12, "dph_total": 0.15, "storage_cost": 0.2});
        assert_eq!(price(&Row(&contract), 60), Some(UsdPerHour(150_000)), "the worse of both counts");
    }
}
