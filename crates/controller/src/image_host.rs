//! Engines that a container's own entrypoint runs: nothing is started by us and nobody logs in. They are reached through a
//! port of their host, and their provider tells of the container and its log.

use crate::controller::Controller;
use crate::engine_host::{TAIL_BYTES, died};
use crate::machine_host::gone;
use crate::probe::{Engine, Way};
use charter_domain::cause::{Action, Cause};
use charter_domain::deployment::Deployment;
use charter_domain::instance::{Address, Instance};
use charter_domain::intent::Process;
use charter_domain::look::{AwaySight, EngineSight, MachineSight, Sight, Verdict};
use charter_domain::replica::{Phase, Replica};
use charter_domain::time::Span;
use charter_providers::{Observed, Provider};
use charter_remote::host::Observation;
use std::sync::Arc;

/// Between two readings of a log, in looks that the provider allows.
const LOOKS_PER_LOG: i64 = 5;
/// So much of what is known is looked for in what is read, to find where they meet.
const OVERLAP_BYTES: usize = 400;

/// The last bytes of a text, from the beginning of a character on.
fn end(text: &str, bytes: usize) -> &str {
    let from = (text.len().saturating_sub(bytes)..=text.len()).find(|at| text.is_char_boundary(*at));
    from.and_then(|from| text.get(from..)).unwrap_or_default()
}

/// What of `text`, the last lines of a log, follows what is known of it already.
fn news<'a>(known: &str, text: &'a str) -> &'a str {
    let last = end(known, OVERLAP_BYTES);
    match text.rsplit_once(last) {
        Some((_, new)) if !last.is_empty() => new,
        _ => text,
    }
}

/// What would be seen of its process, if anybody could log in.
fn seen(alive: bool, log: Option<String>) -> Observation {
    let log_bytes = log.as_ref().map_or(0, |l| u64::try_from(l.len()).unwrap_or(0));
    Observation { alive, exit: None, listening: false, memory_mib: vec![], log_bytes, log }
}

impl Controller {
    /// A container that is called running: it is there once a port of its host leads to the engine.
    pub(crate) fn enter_port(&self, instance: &Instance, addresses: Vec<Address>) -> Sight {
        let (quiet, called_running) = self.0.live.booting(&instance.tag, "running", true, self.now());
        match addresses.into_iter().next() {
            Some(address) => Sight::MachineUp(MachineSight { host_key: None, address: Some(address), price: None }),
            None => {
                let why = "no port of its host leads to the engine".to_owned();
                Sight::MachineAway(AwaySight { why, quiet, called_running })
            }
        }
    }

    /// Asks the engine, and where it does not answer its provider.
    pub(crate) async fn see_image(
        &self,
        replica: &Replica,
        deployment: &Deployment,
        instance: &Instance,
        process: &Process,
    ) -> Sight {
        let sight = |verdict, quiet| Sight::Engine(EngineSight { verdict, quiet, moved: None, price: None });
        let name = &instance.placement.offer.provider;
        let Some(provider) = self.provider(name) else {
            return sight(Verdict::Away(format!("provider `{name}` is not in the configuration")), self.quiet(replica));
        };
        let Some(address) = instance.address.clone() else {
            return sight(Verdict::Away("its address is not known".to_owned()), self.quiet(replica));
        };
        let way = Way::Tcp { host: address.host.clone(), port: address.port };
        let asked = self.ask(replica, deployment, &Engine { way: &way, key: &self.engine_key(&instance.tag) }).await;
        if asked == Verdict::Ready {
            return Sight::Engine(self.with_price(replica, instance).await);
        }
        match provider.observe(instance).await {
            Ok(Observed::Running { addresses, price }) => {
                self.read_container_log(&provider, replica, instance, process).await;
                let moved = addresses.into_iter().next().filter(|a| *a != address);
                Sight::Engine(EngineSight { verdict: asked, quiet: self.quiet(replica), moved, price })
            }
            Ok(Observed::Ended(said)) => {
                let cause = self.why_ended(&provider, replica, deployment, instance, &said).await;
                sight(Verdict::Failed(cause), Span::ms(0))
            }
            Ok(Observed::Failed(cause)) => sight(Verdict::Failed(cause), Span::ms(0)),
            Ok(Observed::Absent) => sight(Verdict::Failed(gone()), Span::ms(0)),
            Ok(Observed::Pending(said)) => sight(Verdict::Away(format!("its provider says: {said}")), self.quiet(replica)),
            Err(error) => sight(Verdict::Away(error.to_string()), self.quiet(replica)),
        }
    }

    /// Why a container's engine ended, by its log. It is not started again where it stands: only a new container starts it.
    pub(crate) async fn why_ended(
        &self,
        provider: &Arc<dyn Provider>,
        replica: &Replica,
        deployment: &Deployment,
        instance: &Instance,
        said: &str,
    ) -> Cause {
        let log = provider.log(instance).await.ok().flatten().unwrap_or_default();
        self.keep_log(replica, &self.masked(deployment, &instance.tag, &log));
        let mut cause = died(replica, &seen(false, None), &log);
        if log.is_empty() {
            cause.evidence = format!("{said}, and its log cannot be read");
        }
        if cause.action == Action::RetryHere {
            cause.action = Action::OtherHost;
        }
        cause
    }

    /// Takes over what is new in the log, as often as the provider lets itself be asked.
    async fn read_container_log(&self, provider: &Arc<dyn Provider>, replica: &Replica, instance: &Instance, process: &Process) {
        let (now, number) = (self.now(), replica.launches);
        let pause = Span(provider.descriptor().look_gap.0.saturating_mul(LOOKS_PER_LOG));
        let due = self.0.live.update(&replica.id, number, now, |view| {
            let due = view.log_asked_at.is_none_or(|at| now.since(at) >= pause);
            if due {
                view.log_asked_at = Some(now);
            }
            due
        });
        if !due {
            return;
        }
        let text = match provider.log(instance).await {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => {
                tracing::debug!(%error, tag = %instance.tag, "its log could not be read");
                return;
            }
        };
        let before = self.0.live.get(&replica.id).filter(|v| v.number == number).unwrap_or_default();
        let new = news(&before.log_tail, &text);
        if new.is_empty() {
            return;
        }
        let all = format!("{}{new}", before.log_tail);
        let log_bytes = before.log_bytes.saturating_add(u64::try_from(new.len()).unwrap_or(0));
        self.note(replica, process, &Observation { log_bytes, ..seen(true, Some(end(&all, TAIL_BYTES).to_owned())) });
    }

    /// The log of a container from a byte on, or its end, as far as it is kept here.
    pub(crate) async fn container_log(
        &self,
        replica: &Replica,
        instance: &Instance,
        from: Option<u64>,
    ) -> Result<(u64, String), String> {
        let name = &instance.placement.offer.provider;
        let provider = self.provider(name).ok_or_else(|| format!("provider `{name}` is not in the configuration"))?;
        let process = Process { pid: 0, port: instance.mapped_port().unwrap_or_default() };
        if !matches!(replica.phase, Phase::Releasing(_) | Phase::Closed) {
            self.read_container_log(&provider, replica, instance, &process).await;
        }
        let view = self.0.live.get(&replica.id).filter(|v| v.number == replica.launches).unwrap_or_default();
        let first = view.log_bytes.saturating_sub(u64::try_from(view.log_tail.len()).unwrap_or(0));
        let skip = from.map_or(0, |from| usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX));
        Ok((view.log_bytes, view.log_tail.get(skip.min(view.log_tail.len())..).unwrap_or_default().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::news;

    #[test]
    fn only_what_follows_is_new_and_a_window_that_moved_on_is_found_again() {
        let long = "line\n".repeat(200);
        for (known, text, new) in [
            ("", "a\nb\n", "a\nb\n"),
            ("a\nb\n", "a\nb\n", ""),
            ("a\nb\n", "a\nb\nc\n", "c\n"),
            ("a\nb\n", "b2\nc\n", "b2\nc\n"),
            (&format!("{long}last\n"), "line\nline\nlast\nnext\n", "line\nline\nlast\nnext\n"),
            (&format!("{long}last\n"), &format!("{long}last\nnext\n"), "next\n"),
            ("é", "é!", "!"),
        ] {
            assert_eq!(news(known, text), new, "{known:?} {text:?}");
        }
    }
}
