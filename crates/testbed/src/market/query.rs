//! Searches: filters with their operators, orders and limits, as the service reads them. Numbers may come in quotes.

use serde_json::Value;
use std::cmp::Ordering;

/// Keys of a search that are no filters.
const SETTINGS: &[&str] = &["order", "type", "limit", "allocated_storage", "select_cols"];
/// Filters that choose a scope and are no field of a row.
const SCOPES: &[&str] = &["external", "datacenter"];
/// Rows that an answer carries at most, whatever is asked for.
const ROWS_MAX: usize = 64;

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(|t| t.parse().ok()))
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.partial_cmp(&b),
        _ => match (a, b) {
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        },
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    compare(a, b) == Some(Ordering::Equal) || (a.is_null() && b.is_null())
}

/// Does a row meet one filter?
///
/// # Errors
/// An unknown operator, or a filter that is no object, in the service's words.
pub(super) fn meets(name: &str, field: &Value, filter: &Value) -> Result<bool, String> {
    let Some(operators) = filter.as_object() else {
        return Err(format!("q.{name}: Input should be a valid dictionary"));
    };
    for (operator, wanted) in operators {
        let order = compare(field, wanted);
        let list = || wanted.as_array().is_some_and(|all| all.iter().any(|one| equal(field, one)));
        let holds = match operator.as_str() {
            "eq" => equal(field, wanted),
            "neq" => !equal(field, wanted),
            "gt" => order == Some(Ordering::Greater),
            "gte" => order.is_some_and(|o| o != Ordering::Less),
            "lt" => order == Some(Ordering::Less),
            "lte" => order.is_some_and(|o| o != Ordering::Greater),
            "in" => list(),
            "notin" => !list(),
            other => return Err(format!("q.{name}.{other}: Extra inputs are not permitted")),
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Applies a search to rows.
///
/// # Errors
/// What is wrong with it, in the service's words.
pub(super) fn search(query: &Value, rows: Vec<Value>) -> Result<Vec<Value>, String> {
    let filters = query.as_object().ok_or("q: Input should be a valid dictionary")?;
    let mut found = vec![];
    for row in rows {
        let mut fits = true;
        for (name, filter) in filters.iter().filter(|(n, _)| !SETTINGS.contains(&n.as_str()) && !SCOPES.contains(&n.as_str())) {
            // A filter on `id` matches nothing; the real name is another.
            let field = if name == "id" { &Value::Null } else { row.get(name).unwrap_or(&Value::Null) };
            fits = fits && meets(name, field, filter)?;
        }
        if fits {
            found.push(row);
        }
    }
    let empty = vec![];
    let orders = query.get("order").and_then(Value::as_array).unwrap_or(&empty);
    found.sort_by(|a, b| {
        let by = orders.iter().filter_map(|o| Some((o.get(0)?.as_str()?, o.get(1)?.as_str()? == "desc")));
        by.fold(Ordering::Equal, |so_far, (name, falling)| {
            let order = a.get(name).zip(b.get(name)).and_then(|(a, b)| compare(a, b)).unwrap_or(Ordering::Equal);
            so_far.then(if falling { order.reverse() } else { order })
        })
    });
    let limit = query.get("limit").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()).unwrap_or(ROWS_MAX);
    found.truncate(limit.min(ROWS_MAX));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_take_numbers_in_quotes_and_lists() {
        let rows = || {
            vec![
                json!({"gpu_name": "RTX 3090", "num_gpus": 1, "dph_total": 0.2}),
                json!({"gpu_name": "L4", "num_gpus": 1, "dph_total": 0.1}),
            ]
        };
        let found = |query: Value| {
            search(&query, rows())
                .map(|r| r.iter().map(|r| r["gpu_name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            found(json!({"num_gpus": {"eq": "1"}, "order": [["dph_total", "asc"]]})),
            Ok(vec!["L4".into(), "RTX 3090".into()])
        );
        assert_eq!(found(json!({"gpu_name": {"in": ["RTX 3090"]}, "dph_total": {"lte": "0.2"}})), Ok(vec!["RTX 3090".into()]));
        assert_eq!(found(json!({"gpu_name": {"eq": "RTX_3090"}})), Ok(vec![]));
        assert!(found(json!({"gpu_name": "L4"})).is_err());
    }
}
