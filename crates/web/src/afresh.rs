//! What a deployment's file says now: read afresh each time, never from memory.

use crate::auth::Caller;
use crate::deployments::{check, described, read};
use crate::problem::{Answer, Failed};
use crate::router::App;
use charter_controller::Declared;
use charter_domain::change::{Change, Effect, changes};
use charter_domain::deployment::Deployment;
use charter_domain::fleet::Target;
use serde_json::{Value, json};

/// Profiles and deployments of a file, by name, as they are written there.
#[derive(Clone, Debug, Default)]
pub struct Sections {
    /// Its profiles.
    pub profiles: Vec<(String, Value)>,
    /// Its deployments.
    pub deployments: Vec<(String, Value)>,
}

/// Reads the file of a name, or the server's own; nothing where there is none.
pub type Files = dyn Fn(Option<&str>) -> Result<Option<Sections>, charter_api::problem::Problem> + Send + Sync;

fn named<'a>(all: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    all.iter().find(|(n, _)| n == name).map(|(_, raw)| raw)
}

/// The stored deployment as it would be declared.
pub(crate) fn stored(state: &Deployment, by: &str) -> Declared {
    Declared {
        name: state.name.clone(),
        tenant: state.tenant.clone(),
        owner: state.owner.clone(),
        profile_name: state.profile_name.clone(),
        source_file: state.source_file.clone(),
        profile: state.profile.clone(),
        offer: state.offer.clone(),
        replicas: state.replicas,
        scale: state.scale,
        forward: state.forward.clone(),
        engine_version: state.engine_version.clone(),
        wait: state.wait,
        serve_for: None,
        strategy: state.strategy,
        strategy_now: None,
        by: by.to_owned(),
    }
}

/// What the file says of a running deployment, with what it keeps whatever the file says: owner, tenant, lease, and its size where
/// requests decide.
pub(crate) fn of_file(app: &App, caller: &Caller, state: &Deployment) -> Answer<Declared> {
    let sections = (app.files)(state.source_file.as_deref()).map_err(|problem| {
        // The file that it came from is broken: that is the caller's to mend.
        Failed(charter_api::problem::Problem { status: 422, ..problem })
    })?;
    let Some(sections) = sections else { return Ok(stored(state, &caller.name)) };
    let said = named(&sections.deployments, &state.name);
    let profile_name = said.and_then(|d| d.get("profile")).and_then(Value::as_str).unwrap_or(&state.profile_name);
    let Some(profile) = named(&sections.profiles, profile_name) else { return Ok(stored(state, &caller.name)) };
    let alone = json!({"profile": profile_name});
    let wanted = described(&state.name, profile.clone(), said.cloned().unwrap_or(alone), state.source_file.clone());
    let read = read(app, caller, wanted)?;
    let kept = stored(state, &caller.name);
    if said.is_some() {
        return Ok(Declared { owner: kept.owner, tenant: kept.tenant, wait: kept.wait, ..read });
    }
    // The file does not name the deployment: only its profile counts, under the name that clients know.
    let mut profile = read.profile;
    profile.served_name = kept.profile.served_name.clone();
    let version = read.engine_version;
    Ok(Declared { profile, engine_version: version, ..kept })
}

/// What a deployment is to be.
pub(crate) fn target(app: &App, caller: &Caller, state: &Deployment, target: &Target) -> Answer<Declared> {
    match target {
        Target::File => {
            let wanted = of_file(app, caller, state)?;
            check(app, &wanted)?;
            Ok(wanted)
        }
        Target::Generation(number) => {
            let known: Vec<String> = state.history.iter().map(|g| g.number.to_string()).collect();
            let found = state.generation(*number).ok_or_else(|| {
                let message = format!("`{}` has no generation {number}", state.name);
                crate::problem::failed(404, "A0404", message, format!("it remembers: {}", known.join(", ")))
            })?;
            let mut before = state.clone();
            before.put(found.spec.clone());
            Ok(stored(&before, &caller.name))
        }
        Target::Provider(name) => {
            let names: Vec<&str> = app.controller.providers().iter().map(|p| p.name()).collect();
            if !names.contains(&name.as_str()) {
                let hint = format!("the server's configuration has: {}", names.join(", "));
                return Err(crate::problem::failed(404, "A0404", format!("there is no provider `{name}`"), hint));
            }
            let mut moved = stored(state, &caller.name);
            if state.profile.providers == [name.clone()] {
                return Ok(moved);
            }
            moved.profile.providers = vec![name.clone()];
            // An offer that was named belongs to the provider that had it.
            moved.offer = None;
            Ok(moved)
        }
    }
}

/// What differs between what a deployment runs and what is wanted.
pub(crate) fn differences(state: &Deployment, wanted: &Declared) -> Vec<Change> {
    let mut next = state.clone();
    next.profile = wanted.profile.clone();
    (next.offer, next.engine_version) = (wanted.offer.clone(), wanted.engine_version.clone());
    changes(&state.spec(), &next.spec())
}

/// Why its file says nothing of a deployment any more, if that is so.
pub(crate) fn lost(app: &App, state: &Deployment) -> Option<String> {
    let file = state.source_file.as_ref()?;
    if !std::path::Path::new(file).exists() {
        return Some(format!("`{file}`, which it came from, is not there any more"));
    }
    let sections = (app.files)(Some(file)).ok()??;
    let named = named(&sections.deployments, &state.name).is_some() || named(&sections.profiles, &state.profile_name).is_some();
    (!named).then(|| format!("`{file}`, which it came from, names neither `{}` nor its profile any more", state.name))
}

/// Fields in which a deployment lags behind its file, or why that cannot be told.
pub(crate) fn drift(app: &App, state: &Deployment) -> (Vec<String>, Option<String>) {
    let gone = lost(app, state);
    match of_file(app, &Caller::server(), state) {
        Err(Failed(problem)) => (vec![], Some(problem.message)),
        Ok(_) if gone.is_some() => (vec![], gone),
        Ok(wanted) => {
            let all = differences(state, &wanted);
            (all.into_iter().filter(|c| c.effect > Effect::None).map(|c| c.field).collect(), None)
        }
    }
}
