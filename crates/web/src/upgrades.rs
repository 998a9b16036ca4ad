//! Upgrades by people's word: of one deployment, of several, of all; back to an earlier generation; to another provider. Each is a
//! fleet that is written down before anything is begun, and goes on after a restart.

use crate::afresh::{differences, lost, target};
use crate::auth::Caller;
use crate::plan::what_if;
use crate::problem::{Answer, Body, Failed, Path, Query, failed, unknown};
use crate::router::App;
use crate::status::{self, rfc3339};
use axum::extract::{Json, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use charter_api::list::List;
use charter_api::upgrade as wire;
use charter_api::upgrade::{Several, Single};
use charter_controller::DeclareError;
use charter_domain::change::{Effect, effect};
use charter_domain::deployment::{Deployment, Status, Wish};
use charter_domain::fleet::{Fleet, Item, State, Target, came_of, waves};
use charter_domain::generation::Fate;
use charter_domain::time::Span;
use charter_domain::upgrade::Strategy;
use charter_store::{Error, Role};

/// What fleets are stored under.
const PREFIX: &str = "upgrade:";
/// How often fleets are looked at.
const PERIOD: Span = Span::s(1);
/// Finished fleets that are remembered.
const KEPT: usize = 50;

impl From<DeclareError> for Failed {
    fn from(error: DeclareError) -> Self {
        match error {
            DeclareError::UnderWay(name) => {
                let message = format!("`{name}` is being changed on its machines, copy by copy, at this moment");
                failed(409, "A0421", message, format!("wait until that is over, or undo it: `charter rollback {name}`"))
            }
            DeclareError::Store(error) => error.into(),
        }
    }
}

fn strategy(word: Option<&str>) -> Answer<Option<Strategy>> {
    let known = Strategy::ALL.map(Strategy::as_str).join(", ");
    match word {
        None | Some("auto") => Ok(None),
        Some(word) => Strategy::parse(word)
            .map(Some)
            .ok_or_else(|| failed(422, "A0422", format!("there is no strategy `{word}`"), format!("one of auto, {known}"))),
    }
}

/// The deployments that are meant, in the order in which they were made.
pub(crate) async fn meant(app: &App, caller: &Caller, wanted: &Several) -> Answer<Vec<Deployment>> {
    let rows = app.controller.store().deployments().await?.into_iter().map(|row| row.state);
    let all: Vec<Deployment> = rows.filter(|d| caller.sees(&d.tenant)).collect();
    for name in &wanted.names {
        if !all.iter().any(|d| d.name == *name || d.id.0 == *name) {
            return Err(unknown("deployment", name));
        }
    }
    if !wanted.all && wanted.names.is_empty() {
        return Err(failed(422, "A0422", "it is not said which deployments are meant", "name them, or say `all`"));
    }
    let named = |d: &Deployment| wanted.names.iter().any(|n| *n == d.name || *n == d.id.0);
    let of = |d: &Deployment| wanted.profile.as_ref().is_none_or(|p| *p == d.profile_name);
    // What was stopped is no part of all that runs; what was named is told to be stopped.
    Ok(all.into_iter().filter(|d| of(d) && if wanted.all { d.wish == Wish::Run } else { named(d) }).collect())
}

fn item(state: &Deployment) -> Item {
    Item {
        name: state.name.clone(),
        deployment: state.id.0.clone(),
        // What is under way already is joined: it began with what serves.
        from: state.upgrade.as_ref().map_or(state.generation, |u| u.from),
        state: State::Waiting,
        began_at: None,
        ended_at: None,
    }
}

async fn save(app: &App, fleet: &Fleet) -> Result<(), Error> {
    let text = serde_json::to_string(fleet).map_err(|e| Error::Corrupt(e.to_string()))?;
    app.controller.store().put_meta(&format!("{PREFIX}{}", fleet.id), &text).await
}

/// All fleets, the oldest first.
pub(crate) async fn fleets(app: &App) -> Result<Vec<Fleet>, Error> {
    let stored = app.controller.store().metas(PREFIX).await?;
    let mut all: Vec<Fleet> = stored.iter().filter_map(|(_, text)| serde_json::from_str(text).ok()).collect();
    all.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(all)
}

/// One deployment, to what its file says.
pub(crate) async fn begin_one(app: &App, caller: &Caller, state: Deployment) -> Answer<Fleet> {
    target(app, caller, &state, &Target::File)?;
    begin(app, caller, &[state], Target::File, (None, vec![], false)).await
}

/// These deployments, one after the other, no further than the first failure.
pub(crate) async fn begin_all(app: &App, caller: &Caller, states: &[Deployment]) -> Answer<Fleet> {
    begin(app, caller, states, Target::File, (None, vec![], false)).await
}

/// Fleets of deployments that the caller may see.
pub(crate) async fn fleets_of(app: &App, caller: &Caller) -> Result<Vec<Fleet>, Error> {
    let rows = app.controller.store().deployments().await?.into_iter().map(|row| row.state);
    let others: Vec<String> = rows.filter(|d| !caller.sees(&d.tenant)).map(|d| d.id.0).collect();
    let all = fleets(app).await?.into_iter();
    Ok(all.filter(|f| !f.items.iter().any(|item| others.contains(&item.deployment))).collect())
}

/// The same of one.
pub(crate) async fn fleet_of(app: &App, caller: &Caller, id: &str) -> Answer<Fleet> {
    let found = fleets_of(app, caller).await?.into_iter().find(|f| f.id == id);
    found.ok_or_else(|| failed(404, "A0404", format!("there is no upgrade `{id}`"), "`GET /api/v1/upgrades` lists them"))
}

/// One fleet by its id.
pub(crate) async fn find_fleet(app: &App, id: &str) -> Answer<Fleet> {
    let found = fleets(app).await?.into_iter().find(|f| f.id == id);
    found.ok_or_else(|| failed(404, "A0404", format!("there is no upgrade `{id}`"), "`GET /api/v1/upgrades` lists them"))
}

async fn begin(
    app: &App,
    caller: &Caller,
    states: &[Deployment],
    to: Target,
    how: (Option<Strategy>, Vec<u32>, bool),
) -> Answer<Fleet> {
    let mut fleet = Fleet {
        id: format!("upg_{}", app.controller.fresh()),
        by: caller.name.clone(),
        at: app.controller.now(),
        target: to,
        strategy: how.0,
        waves: how.1,
        keep_going: how.2,
        items: states.iter().map(item).collect(),
    };
    save(app, &fleet).await?;
    // The first ones begin at once: whoever asked hears what came of that.
    turn(app, &mut fleet).await?;
    app.controller.tasks().wake("fleets");
    Ok(fleet)
}

/// Looks after all fleets, until the end.
pub fn spawn_fleets(app: &App) {
    let this = app.clone();
    app.controller.tasks().background(&app.stop, "fleets", PERIOD, move || {
        let app = this.clone();
        async move {
            let all = fleets(&app).await.map_err(|e| e.to_string())?;
            let over = all.iter().filter(|f| f.is_over()).count();
            for old in all.iter().filter(|f| f.is_over()).take(over.saturating_sub(KEPT)) {
                app.controller.store().remove_meta(&format!("{PREFIX}{}", old.id)).await.map_err(|e| e.to_string())?;
            }
            let mut under_way = 0;
            for mut fleet in all.into_iter().filter(|f| !f.is_over()).filter(|f| app.controller.looks_after(&f.id)) {
                under_way += 1;
                turn(&app, &mut fleet).await.map_err(|e| e.to_string())?;
            }
            Ok(format!("{under_way} under way"))
        }
    });
}

/// One look at a fleet: what is under way, and what may begin.
async fn turn(app: &App, fleet: &mut Fleet) -> Result<(), Error> {
    let before = fleet.clone();
    for at in 0..fleet.items.len() {
        if let State::Running { to } = fleet.items[at].state {
            match to {
                Some(to) => look(app, &mut fleet.items[at], to).await?,
                // It was begun by a process that ended before it could say which generation came of it.
                None => start(app, fleet, at).await?,
            }
        }
    }
    fleet.brake();
    for at in fleet.next() {
        fleet.items[at].state = State::Running { to: None };
        fleet.items[at].began_at = Some(app.controller.now());
        save(app, fleet).await?;
        start(app, fleet, at).await?;
        fleet.brake();
    }
    if *fleet != before {
        save(app, fleet).await?;
        app.controller.announce();
    }
    Ok(())
}

fn over(app: &App, item: &mut Item, state: State) {
    item.state = state;
    item.ended_at = Some(app.controller.now());
}

async fn look(app: &App, item: &mut Item, to: u32) -> Result<(), Error> {
    let Some(row) = app.controller.store().deployment(&item.deployment).await? else {
        over(app, item, State::Skipped { reason: "gone".to_owned() });
        return Ok(());
    };
    let seen = status::one(app, &row.state).await?;
    let (up, failed) = (seen.status == Status::Running.as_str(), seen.status == Status::Error.as_str());
    let why = seen.cause.as_ref().map_or("it does not run", |c| c.evidence.as_str());
    if let Some(state) = came_of(&row.state, to, up, failed.then_some(why)) {
        over(app, item, state);
    }
    Ok(())
}

/// Why there is nothing to upgrade to.
fn unchanged(app: &App, state: &Deployment, to: &Target) -> String {
    let gone = (*to == Target::File).then(|| lost(app, state)).flatten();
    gone.unwrap_or_else(|| "no-change".to_owned())
}

/// Asks for one deployment's new generation, if there is to be one.
async fn start(app: &App, fleet: &mut Fleet, at: usize) -> Result<(), Error> {
    let (by, to, how) = (Caller::named(&fleet.by), fleet.target.clone(), fleet.strategy);
    let item = &mut fleet.items[at];
    let Some(row) = app.controller.store().deployment(&item.deployment).await? else {
        over(app, item, State::Skipped { reason: "gone".to_owned() });
        return Ok(());
    };
    let state = row.state;
    if state.wish == Wish::Stop {
        over(app, item, State::Skipped { reason: "not-running".to_owned() });
        return Ok(());
    }
    let refused = |problem: &charter_api::problem::Problem| State::Failed {
        code: problem.code.clone(),
        message: if problem.detail.is_empty() {
            problem.message.clone()
        } else {
            format!("{}: {}", problem.message, problem.detail)
        },
        rolled_back: false,
    };
    let wanted = match target(app, &by, &state, &to) {
        Ok(wanted) => wanted,
        Err(Failed(problem)) => {
            over(app, item, refused(&problem));
            return Ok(());
        }
    };
    let needs = effect(&differences(&state, &wanted));
    if needs < Effect::EngineRestart {
        // What a process that ended had begun is found here.
        let begun = state.generation > item.from;
        let live = needs > Effect::None || state.replicas != wanted.replicas;
        if begun {
            item.state = State::Running { to: Some(state.generation) };
            return Ok(());
        }
        if !live {
            over(app, item, State::Skipped { reason: unchanged(app, &state, &to) });
            return Ok(());
        }
    }
    let wanted = charter_controller::Declared { strategy_now: how, ..wanted };
    match app.controller.declare(wanted).await {
        Ok(next) => {
            item.state = State::Running { to: Some(next.generation) };
            look(app, item, next.generation).await
        }
        Err(DeclareError::Store(error @ (Error::Database(_) | Error::Corrupt(_)))) => Err(error),
        Err(error) => {
            over(app, item, refused(&Failed::from(error).0));
            Ok(())
        }
    }
}

/// How a fleet is shown.
pub(crate) fn shown(fleet: &Fleet) -> wire::Upgrade {
    let name = |item: &Item, generation: u32| format!("{}.{generation}", item.deployment);
    let mut made = wire::Upgrade {
        schema: "charter.upgrade/1".to_owned(),
        id: fleet.id.clone(),
        by: fleet.by.clone(),
        at: rfc3339(fleet.at),
        over: fleet.is_over(),
        total: fleet.items.len(),
        ..wire::Upgrade::default()
    };
    for item in &fleet.items {
        let took = item.began_at.zip(item.ended_at).map_or(0.0, |(from, to)| seconds(to.since(from)));
        match &item.state {
            State::Waiting => made.waiting.push(item.name.clone()),
            State::Running { .. } => made.running.push(item.name.clone()),
            State::Upgraded { to } => {
                let (from, to) = (name(item, item.from), name(item, *to));
                made.upgraded.push(wire::Upgraded { name: item.name.clone(), from, to, seconds: took });
            }
            State::Failed { code, message, rolled_back } => {
                let error = wire::Error { code: code.clone(), message: message.clone() };
                made.failed.push(wire::Failed { name: item.name.clone(), error, rolled_back: *rolled_back });
            }
            State::Skipped { reason } => {
                made.skipped.push(wire::Skipped { name: item.name.clone(), reason: reason.clone() });
            }
        }
    }
    made
}

/// Seconds to a tenth.
fn seconds(span: Span) -> f64 {
    f64::from(i32::try_from(span.0 / 100).unwrap_or(i32::MAX)) / 10.0
}

/// Upgrades several, or says what that would do.
pub(crate) async fn start_all(Shared(app): Shared<App>, caller: Caller, Body(wanted): Body<Several>) -> Answer<Response> {
    caller.need(Role::Operator)?;
    let how = strategy(wanted.strategy.as_deref())?;
    let states = meant(&app, &caller, &wanted).await?;
    if wanted.what_if {
        return Ok(Json(what_if(&app, &caller, &states, &Target::File, how).await?).into_response());
    }
    // What cannot be meant of those that were named is told at once, and not in a summary.
    for state in states.iter().filter(|d| !wanted.all && d.wish == Wish::Run) {
        target(&app, &caller, state, &Target::File)?;
    }
    let read = wanted.waves.as_deref().map(|text| waves(text, states.len())).transpose();
    let read = read.map_err(|why| failed(422, "A0422", why, "such as `1,50%`: one first, then half, then the rest"))?;
    let fleet = begin(&app, &caller, &states, Target::File, (how, read.unwrap_or_default(), wanted.keep_going)).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&fleet))).into_response())
}

pub(crate) async fn list(Shared(app): Shared<App>, caller: Caller) -> Answer<Json<List<wire::Upgrade>>> {
    Ok(Json(List::whole(fleets_of(&app, &caller).await?.iter().rev().map(shown).collect())))
}

/// One fleet; with `?after=` it is waited for a change.
pub(crate) async fn get(
    Shared(app): Shared<App>,
    caller: Caller,
    Path(id): Path<String>,
    Query(wait): Query<crate::deployments::Wait>,
) -> Answer<Json<wire::Upgrade>> {
    fleet_of(&app, &caller, &id).await?;
    let change = wait.until(&app).await;
    let fleet = find_fleet(&app, &id).await?;
    Ok(Json(wire::Upgrade { change: Some(change), ..shown(&fleet) }))
}

/// The very same that somebody has asked for a moment ago and that is not over: it is not done a second time.
/// What a file says may have changed meanwhile, and so is looked at anew.
async fn same_under_way(app: &App, state: &Deployment, to: &Target, how: Option<Strategy>) -> Answer<Option<Fleet>> {
    if *to == Target::File {
        return Ok(None);
    }
    let all = fleets(app).await?.into_iter();
    let same = |f: &Fleet| {
        f.target == *to && f.strategy == how && f.items.len() == 1 && f.items.iter().all(|i| i.deployment == state.id.0)
    };
    Ok(all.filter(|f| !f.is_over()).find(same))
}

/// Upgrades one deployment to what its file says, back to a generation, or to another provider.
async fn one(app: &App, caller: &Caller, state: Deployment, to: Target, wanted: &Single) -> Answer<Response> {
    let how = strategy(wanted.strategy.as_deref())?;
    if wanted.what_if {
        return Ok(Json(what_if(app, caller, &[state], &to, how).await?).into_response());
    }
    // What cannot be meant is told at once, and not in a summary.
    target(app, caller, &state, &to)?;
    let _begun_by_one = app.beginning.lock().await;
    if let Some(fleet) = same_under_way(app, &state, &to, how).await? {
        return Ok((StatusCode::ACCEPTED, Json(shown(&fleet))).into_response());
    }
    let fleet = begin(app, caller, &[state], to, (how, vec![], false)).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&fleet))).into_response())
}

pub(crate) async fn upgrade(
    Shared(app): Shared<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(wanted): Body<Single>,
) -> Answer<Response> {
    let state = crate::deployments::find(&app, &caller, &name).await?;
    one(&app, &caller, state, Target::File, &wanted).await
}

/// Back: an upgrade that is under way is undone; else an earlier generation becomes the next one.
pub(crate) async fn rollback(
    Shared(app): Shared<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(wanted): Body<Single>,
) -> Answer<Response> {
    let state = crate::deployments::find(&app, &caller, &name).await?;
    if state.wish == Wish::Stop {
        return Err(failed(409, "A0418", format!("`{name}` does not run"), "start it with `charter up`"));
    }
    let under_way = state.upgrade.as_ref().filter(|u| wanted.to.is_none_or(|to| to == u.from));
    if let Some(upgrade) = under_way.filter(|_| !wanted.what_if) {
        let why = format!("`{}` said to go back", caller.name);
        if app.controller.abort_upgrade(&state.id.0, &why).await? {
            let now = crate::deployments::find(&app, &caller, &name).await?;
            let answer = wire::Undone {
                schema: "charter.upgrade/1".to_owned(),
                aborted: format!("{}.{}", state.id, upgrade.to),
                serves: format!("{}.{}", state.id, now.generation),
            };
            return Ok((StatusCode::ACCEPTED, Json(answer)).into_response());
        }
    }
    let before = |g: &&charter_domain::generation::Generation| g.number < state.generation && !g.fate.is_lost();
    let Some(to) = wanted.to.or_else(|| state.history.iter().rev().find(before).map(|g| g.number)) else {
        let hint = "`charter generations NAME` lists what it had";
        return Err(failed(409, "A0423", format!("`{name}` has no earlier generation to go back to"), hint));
    };
    one(&app, &caller, state, Target::Generation(to), &wanted).await
}

pub(crate) async fn migrate(
    Shared(app): Shared<App>,
    caller: Caller,
    Path(name): Path<String>,
    Body(wanted): Body<Single>,
) -> Answer<Response> {
    let state = crate::deployments::find(&app, &caller, &name).await?;
    let Some(provider) = wanted.provider.clone() else {
        return Err(failed(422, "A0422", "it is not said where to", "name a `provider` of the server's configuration"));
    };
    one(&app, &caller, state, Target::Provider(provider), &wanted).await
}

/// Every generation that is remembered: who, when, what, and what became of it.
pub(crate) async fn generations(
    Shared(app): Shared<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer<Json<List<wire::Generation>>> {
    let state = crate::deployments::find(&app, &caller, &name).await?;
    let upgrade = state.upgrade.as_ref();
    let items = state
        .history
        .iter()
        .map(|g| wire::Generation {
            number: g.number,
            session_id: format!("{}.{}", state.id, g.number),
            at: rfc3339(g.at),
            by: g.by.clone(),
            fate: if g.fate == Fate::Serving && state.wish == Wish::Stop {
                "stopped"
            } else if upgrade.is_some_and(|u| u.from == g.number) {
                "serving"
            } else {
                g.fate.as_str()
            }
            .to_owned(),
            verdict: g.verdict.clone(),
            changes: serde_json::to_value(state.changed_by(g.number)).unwrap_or_default(),
        })
        .collect();
    Ok(Json(List::whole(items)))
}
