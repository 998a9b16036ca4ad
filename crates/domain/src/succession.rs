//! From one specification to the next: what stays as it is, what counts at once, and what makes a new generation.

use crate::change::{Effect, changes, effect};
use crate::deployment::{Deployment, Wish};
use crate::generation::Fate;
use crate::replica::{Phase, Replica};
use crate::time::Time;
use crate::upgrade::{Stage, Strategy, abort};

/// Who asks for a change, when, and how it is to be made, if they say so.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who.
    pub by: &'a str,
    /// When.
    pub now: Time,
    /// How, for this once.
    pub strategy: Option<Strategy>,
}

/// What has changed, for the time line.
#[must_use]
pub fn told(old: &Deployment, new: &Deployment) -> String {
    let fields: Vec<String> = changes(&old.spec(), &new.spec()).into_iter().map(|c| c.field).collect();
    let what = if fields.is_empty() { String::new() } else { format!(": {}", fields.join(", ")) };
    match &new.upgrade {
        Some(u) if old.generation != new.generation => {
            format!("generation {} was asked for by `{}`, {}{what}", new.generation, u.by, u.strategy.as_str())
        }
        _ if old.generation != new.generation => format!("generation {} was asked for{what}", new.generation),
        _ => format!("changed without a restart{what}"),
    }
}

/// Is something there that answers, or will again by itself?
fn answers(old: &Deployment, replica: &Replica) -> bool {
    let phase = matches!(
        replica.phase,
        Phase::Ready { .. } | Phase::Unreachable { held: false, .. } | Phase::Draining { restart: Some(_), .. }
    );
    phase && replica.stop.is_none() && old.serves(replica)
}

/// What a deployment is from now on that is to be as `wanted`, which is written as if it were new; nothing where copies are being
/// replaced one by one, which has to end first.
#[must_use]
pub fn next(old: &Deployment, wanted: Deployment, replicas: &[Replica], asked: Asked<'_>) -> Option<Deployment> {
    let mut state = wanted;
    state.id = old.id.clone();
    state.created_at = old.created_at;
    state.generation = old.generation;
    let mut known = old.clone();
    known.remember(old.created_at, &old.owner, Fate::Serving);
    (state.history, state.upgrade) = (known.history, old.upgrade.clone());
    // A free port that was found once is the one that is meant.
    if let (Some(new), Some(before)) = (&mut state.forward, &old.forward)
        && new.port == 0
        && new.bind == before.bind
    {
        new.port = before.port;
    }
    let quiet = old.upgrade.is_none();
    let held = |r: &Replica| matches!(r.phase, Phase::Unreachable { held: true, .. });
    // What has failed is tried again whenever somebody asks, as a generation of its own.
    let again = quiet && replicas.iter().any(|r| old.is_given_up(r, replicas) || held(r));
    let answering = replicas.iter().any(|r| answers(old, r));
    if old.wish == Wish::Stop || (again && !answering) {
        replace(&mut state, old, asked);
        return Some(state);
    }
    keep(&mut state, old);
    let changed = effect(&changes(&old.spec(), &state.spec()));
    let needs = if again { changed.max(Effect::EngineRestart) } else { changed };
    if needs < Effect::EngineRestart {
        state.remember(asked.now, asked.by, Fate::Serving);
        return Some(state);
    }
    // Copies that change one by one do so to the end: a third specification among them would be one too many.
    if old.upgrade.as_ref().is_some_and(|u| matches!(u.strategy, Strategy::Rolling | Strategy::InPlace)) {
        return None;
    }
    if !answering {
        replace(&mut state, old, asked);
        return Some(state);
    }
    upgrade(state, old, replicas, asked, needs)
}

/// What runs on keeps the time that it was given, and its size.
fn keep(state: &mut Deployment, old: &Deployment) {
    if let Some(scale) = state.scale {
        // What requests have decided stands, as far as the bounds let it; what sleeps is woken by whoever asks for it.
        state.replicas = old.replicas.clamp(scale.min.max(1), scale.max);
    }
    (state.expires_at, state.keep_until, state.wait) = (old.expires_at, old.keep_until, old.wait || state.wait);
}

/// Nothing answers: the new generation simply takes the place of the old one.
fn replace(state: &mut Deployment, old: &Deployment, asked: Asked<'_>) {
    state.generation = old.next_number();
    state.upgrade = None;
    state.decide(old.generation, Fate::Replaced, None);
    state.remember(asked.now, asked.by, Fate::Serving);
}

fn upgrade(
    mut state: Deployment,
    old: &Deployment,
    replicas: &[Replica],
    asked: Asked<'_>,
    mut needs: Effect,
) -> Option<Deployment> {
    let mut from = old.generation;
    if let Some(under_way) = &old.upgrade {
        if under_way.strategy == Strategy::Recreate {
            return None;
        }
        let ready = |r: &Replica| matches!(r.phase, Phase::Ready { .. }) && r.stop.is_none();
        let stands_by = replicas.iter().any(|r| r.generation == under_way.from && ready(r));
        if matches!(under_way.stage, Stage::Bake { .. }) && !stands_by {
            // What has taken over is all that there is: it is what the next one comes from.
            state.decide(under_way.from, Fate::Replaced, None);
            state.decide(from, Fate::Serving, Some("another change came while it was watched".to_owned()));
        } else {
            from = under_way.from;
            let serving = old.generation(from)?.spec.clone();
            needs = effect(&changes(&serving, &state.spec()));
            let back = abort(old, replicas, "it is to be again what it was before").filter(|_| needs < Effect::EngineRestart);
            if let Some(back) = back {
                (state.generation, state.history, state.upgrade) = (from, back.next.history, None);
                state.remember(asked.now, asked.by, Fate::Serving);
                return Some(state);
            }
            state.decide(old.generation, Fate::Undone, Some("another change came before it had taken over".to_owned()));
        }
    }
    state.generation = old.next_number();
    let how = asked.strategy.or(state.strategy);
    state.begin_upgrade(from, how, needs, asked.by, asked.now);
    state.remember(asked.now, asked.by, Fate::Coming);
    Some(state)
}
