//! `routes:`: which model answers how hard a request, and who answers where nobody of them can.

use crate::file::decode::Decoder;
use crate::file::node::Node;

/// The tiers of effort, from the easiest on.
pub const TIERS: [&str; 5] = ["reflex", "simple", "moderate", "complex", "critical"];

/// What is said of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Served names by tier.
    pub tiers: Vec<(String, String)>,
    /// Served names and hosted providers, in their order.
    pub fallback: Vec<String>,
}

/// Reads one route.
pub fn route(d: &mut Decoder, node: &Node) -> Route {
    let mut f = d.map(node, "a route");
    let mut route = Route::default();
    if let Some(n) = f.get("tiers") {
        for (tier, place, value) in d.map(n, "`tiers`").all() {
            if TIERS.contains(&tier.as_str()) {
                route.tiers.push((tier.clone(), d.text(value, "a served name")));
            } else {
                d.fault(*place, format!("`{tier}` is no tier"), format!("known: {}", TIERS.join(", ")));
            }
        }
    }
    if let Some(n) = f.get("fallback") {
        route.fallback = d.list(n, "`fallback`").iter().map(|item| d.text(item, "a served name or a provider")).collect();
    }
    if route.tiers.is_empty() && route.fallback.is_empty() {
        d.fault(f.place, "the route says nothing", "give it `tiers`, `fallback` or both");
    }
    d.finish(&f);
    route
}
