//! Views of deployments for people and programs.

use crate::auth::Caller;
use crate::router::App;
use charter_api::status as wire;
use charter_controller::Controller;
use charter_domain::deployment::{Deployment, Status, Wish};
use charter_domain::replica::{Phase, Replica};
use charter_domain::time::{Span, Time};
use charter_domain::upgrade::{Stage, Upgrade};
use charter_store::Error;
use charter_store::usage::Total;
use std::collections::{BTreeMap, BTreeSet};

/// A time as RFC 3339 in UTC, to the second.
#[must_use]
pub fn rfc3339(time: Time) -> String {
    let stamp = jiff::Timestamp::from_millisecond(time.0).unwrap_or_default();
    stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What requests have used, by deployment: added up once for many.
struct Sums(BTreeMap<String, Total>);

impl Sums {
    async fn read(app: &App) -> Result<Self, Error> {
        let mut sums: BTreeMap<String, Total> = BTreeMap::new();
        for (of, total) in app.controller.store().totals(Time(0)).await? {
            let sum = sums.entry(of.group).or_default();
            *sum = sum.and(total);
        }
        Ok(Self(sums))
    }
}

/// A part of all deployments.
pub(crate) struct Window {
    /// These.
    pub(crate) shown: Vec<wire::Deployment>,
    /// Their models.
    pub(crate) models: Vec<String>,
    /// How many there are that fit.
    pub(crate) total: usize,
    /// What all machines that the caller may see cost.
    pub(crate) price_usd_micros_per_hour: i64,
}

/// What a caller may see, read once.
pub(crate) struct Seen {
    mine: Vec<Deployment>,
    sums: Sums,
    /// What all machines that the caller may see cost.
    pub(crate) price_usd_micros_per_hour: i64,
}

impl Seen {
    pub(crate) async fn read(app: &App, caller: &Caller) -> Result<Self, Error> {
        let rows = app.controller.store().deployments().await?.into_iter().map(|row| row.state);
        let mine: Vec<Deployment> = rows.filter(|d| caller.sees(&d.tenant)).collect();
        let ids: BTreeSet<&str> = mine.iter().map(|d| d.id.as_str()).collect();
        let open = app.controller.store().replicas(None).await?;
        let held = open.iter().filter(|(row, _)| caller.is_house() || ids.contains(row.state.deployment.as_str()));
        let price = held.filter_map(|(row, _)| row.state.instance()).map(|i| i.placement.offer.price.0).sum();
        Ok(Self { sums: Sums::read(app).await?, price_usd_micros_per_hour: price, mine })
    }

    /// So many deployments that fit, from a place on.
    pub(crate) async fn window(
        &self,
        app: &App,
        (from, limit): (usize, usize),
        mut fits: impl FnMut(&Deployment) -> bool,
    ) -> Result<Window, Error> {
        let fitting: Vec<&Deployment> = self.mine.iter().filter(|d| fits(d)).collect();
        let (mut shown, mut models) = (vec![], vec![]);
        for state in fitting.iter().skip(from).take(limit) {
            shown.push(view(app, state, &self.sums).await?);
            models.push(state.profile.model.clone());
        }
        let price = self.price_usd_micros_per_hour;
        Ok(Window { shown, models, total: fitting.len(), price_usd_micros_per_hour: price })
    }
}

/// So many deployments that fit, from a place on, of those that the caller may see.
pub(crate) async fn some(
    app: &App,
    caller: &Caller,
    part: (usize, usize),
    fits: impl FnMut(&Deployment) -> bool,
) -> Result<Window, Error> {
    Seen::read(app, caller).await?.window(app, part, fits).await
}

/// Everything that `charter status` shows.
pub(crate) async fn all(app: &App, caller: &Caller) -> Result<wire::Status, Error> {
    let seen = some(app, caller, (0, usize::MAX), |_| true).await?;
    let (deployments, price) = (seen.shown, seen.price_usd_micros_per_hour);
    let (committed, spent) = if caller.is_house() {
        (app.controller.reserved().await?.0, app.controller.spent(None, Time(0)).await?.0)
    } else {
        (0, deployments.iter().map(|d| d.spent_usd_micros).sum())
    };
    Ok(wire::Status {
        schema: "charter.status/1".into(),
        server: wire::Server { url: app.url.clone(), gateway_url: app.gateway_url.clone(), version: app.version.clone() },
        deployments,
        totals: wire::Totals { price_usd_micros_per_hour: price, spent_usd_micros: spent, committed_usd_micros: committed },
    })
}

/// One deployment.
pub(crate) async fn one(app: &App, state: &Deployment) -> Result<wire::Deployment, Error> {
    view(app, state, &Sums::read(app).await?).await
}

async fn view(app: &App, state: &Deployment, sums: &Sums) -> Result<wire::Deployment, Error> {
    let controller = &app.controller;
    let all = controller.replicas_of(&state.id).await?;
    let status = state.status(&all);
    // Where rented machines are to get no requests, that is told for all of them, and each runs as it did.
    let unrouted = controller.rented_closed().is_none()
        && status == Status::Running
        && !all.iter().any(|r| matches!(r.phase, Phase::Ready { .. }) && controller.is_routed(r));
    let status = if unrouted { Status::Loading } else { status };
    let failed = |r: &&Replica| state.is_given_up(r, &all);
    let shown = all.iter().filter(|r| !r.phase.is_closed() || failed(r));
    let cause = state.cause(&all).filter(|_| status == Status::Error || all.iter().any(|r| failed(&r))).map(|c| wire::Cause {
        class: c.class.clone(),
        evidence: c.evidence.clone(),
        hint: c.hint.clone(),
        action: c.action.as_str().to_owned(),
    });
    let mut served_names = vec![state.profile.served_name.clone()];
    served_names.extend(state.profile.engine.lora.iter().map(|l| l.name.clone()));
    let (drift, drift_problem) = if state.wish == Wish::Run { crate::afresh::drift(app, state) } else { (vec![], None) };
    Ok(wire::Deployment {
        id: state.id.0.clone(),
        name: state.name.clone(),
        tenant: state.tenant.clone(),
        owner: state.owner.clone(),
        profile: state.profile_name.clone(),
        generation: state.generation,
        status: status.as_str().to_owned(),
        served_names,
        drift,
        drift_problem,
        expires_at: state.expires_at.map(rfc3339),
        // A time that nobody lives to see is none.
        idle_destroy_at: controller.idle_end(state, &all).filter(|at| at.0 < i64::MAX / 2).map(rfc3339),
        engine: wire::Engine {
            kind: state.profile.engine.kind.clone(),
            version: state.engine_version.clone(),
            image_digest: None,
        },
        cause,
        upgrade: state.upgrade.as_ref().map(upgrading),
        wanted: state.replicas,
        replicas: shown.map(|r| replica(controller, r)).collect(),
        usage: usage(sums.0.get(&state.name).copied().unwrap_or_default()),
        spent_usd_micros: controller.spent(Some(&state.id), Time(0)).await?.0,
    })
}

fn upgrading(of: &Upgrade) -> wire::Upgrading {
    let stage = match of.stage {
        Stage::Raise => "raise",
        Stage::Bake { .. } => "bake",
        Stage::Back { .. } => "back",
    };
    wire::Upgrading {
        from: of.from,
        to: of.to,
        strategy: of.strategy.as_str().to_owned(),
        stage: stage.to_owned(),
        by: of.by.clone(),
        began_at: rfc3339(of.began_at),
    }
}

/// What a deployment's requests have used, all of them together.
fn usage(sum: Total) -> wire::Usage {
    wire::Usage {
        requests: sum.requests,
        prompt_tokens: sum.prompt_tokens,
        completion_tokens: sum.completion_tokens,
        tokens_per_second: (sum.completion_tokens * 1000).checked_div(sum.busy_ms).unwrap_or(0),
        cost_usd_micros: sum.cost.0,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all phases but one hold their instance in the same way")]
fn replica(controller: &Controller, state: &Replica) -> wire::Replica {
    let bid = match &state.phase {
        Phase::Acquiring(acquisition) => Some(&acquisition.bid().placement),
        _ => state.instance().map(|i| &i.placement),
    };
    let view = controller.engine(&state.id).filter(|v| v.number == state.launches && state.process().is_some());
    let progress = view.as_ref().and_then(|v| v.progress()).filter(|_| matches!(state.phase, Phase::Loading { .. }));
    let progress = progress.map(|p| wire::Progress { phase: p.phase.to_owned(), text: p.text, percent: p.percent });
    let waiting = controller.waits_for(&state.id).map(|text| wire::Progress { phase: "waiting".into(), text, percent: None });
    let tunnel = state.process().and_then(|_| controller.link_of(state)).map(|l| l.state().as_str().to_owned());
    wire::Replica {
        id: state.id.0.clone(),
        generation: state.generation,
        // An answer counts once clients can get it: until its route is in use a replica is still on its way.
        phase: if matches!(state.phase, Phase::Ready { .. }) && !controller.is_routed(state) {
            "loading"
        } else {
            state.phase.name()
        }
        .to_owned(),
        since_at: rfc3339(state.since),
        provider: bid.map(|b| b.offer.provider.clone()),
        instance: state.instance().map(|i| i.id.clone()),
        gpu: bid.map(charter_domain::placement::Placement::label),
        price_usd_micros_per_hour: bid.map_or(0, |b| b.offer.price.0),
        tunnel,
        forward: controller.forward_of(&state.id).map(|a| a.to_string()),
        progress: progress.or(waiting),
        health: view.as_ref().and_then(|v| v.health),
        capacity_tokens: view.as_ref().and_then(|v| v.capacity_tokens),
        symptom: view.filter(|v| !v.symptom.is_empty()).map(|v| {
            let ago = controller.now().since(v.seen_at);
            // What was seen a while ago says so.
            if ago >= Span::s(5) { format!("{} ago: {}", Span::s(ago.0 / 1000), v.symptom) } else { v.symptom }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(rfc3339(Time(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Time(1_795_259_775_000)), "2026-11-21T11:16:15Z");
        assert_eq!(rfc3339(Time(951_782_400_000)), "2000-02-29T00:00:00Z");
    }
}
