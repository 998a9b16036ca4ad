//! Engines on machines that are reached by SSH: started by a script of ours, watched by their process, log and answers.

use crate::controller::Controller;
use crate::probe::{Answer, Engine, Way};
use crate::script;
use charter_domain::cause::{Action, Cause};
use charter_domain::deployment::Deployment;
use charter_domain::host_memory::HostSpeed;
use charter_domain::ids::{ReplicaId, Tag};
use charter_domain::instance::Instance;
use charter_domain::intent::{Outcome, Process};
use charter_domain::look::{EngineSight, Sight, Verdict};
use charter_domain::profile::{EnvValue, SecretRef, Source, is_secret_name};
use charter_domain::replica::{Phase as ReplicaPhase, Replica};
use charter_domain::time::Span;
use charter_engines::fit::need;
use charter_engines::log::phase::fetched_in;
use charter_engines::log::{Phase, capacity, clean, explain, phase};
use charter_engines::ollama;
use charter_engines::vllm::launch::KEY_VARIABLE;
use charter_engines::vllm::version::Version;
use charter_remote::HostError;
use charter_remote::host::Observation;
use charter_store::Commit;

/// The end of a log that is kept in memory while an engine starts.
pub(crate) const TAIL_BYTES: usize = 64 * 1024;
/// The end of a log that is read once an engine has failed.
const FAILED_BYTES: usize = 1024 * 1024;
/// Lowest and highest port that an engine is given.
const PORTS: (u16, u16) = (20_000, 29_999);

impl Controller {
    /// The key that the engine of an instance asks for.
    #[must_use]
    pub fn engine_key(&self, tag: &Tag) -> String {
        crate::engine_key::engine_key(&self.0.parts.secret, tag)
    }

    pub(crate) async fn launch(&self, replica: &ReplicaId, instance: &Instance, number: u32) -> Outcome {
        if let Some(machines) = &self.0.parts.machines {
            return machines.launch(instance, number).await;
        }
        // Its container's own entrypoint has begun it.
        if let Some(port) = instance.mapped_port() {
            self.0.live.begin(replica, number, self.now());
            return Outcome::Launched(Process { pid: 0, port });
        }
        let deployment = match self.deployment_of(replica).await {
            Ok(Some((row, deployment))) if deployment.wants(row.generation, row.slot) => deployment.as_of(row.generation),
            Ok(_) => return Outcome::Retry("a newer generation takes its place".into()),
            Err(error) => return Outcome::Retry(error),
        };
        let failed =
            |class: &str, action, evidence: String, hint: &str| Outcome::LaunchFailed(Cause::new(class, action, evidence, hint));
        let env = match self.engine_env(&deployment, &instance.tag) {
            Ok(env) => env,
            Err(why) => {
                return failed("secret_missing", Action::AskUser, why, "set the secret where `env` says it is, and deploy again");
            }
        };
        // A program that is there already has the version that it has.
        let wanted = if deployment.profile.engine.source == Source::Installed { "nightly" } else { &deployment.engine_version };
        let wanted = if ollama::runs(&deployment.profile) { "nightly" } else { wanted };
        let version = match Version::resolve(wanted, wanted) {
            Ok(version) => version,
            Err(why) => return failed("bad_args", Action::ChangeProfile, why, "correct `engine.version`"),
        };
        let driver = instance.placement.offer.driver.as_deref();
        let text = match &instance.placement.order {
            Some(_) => script::in_image(&deployment.profile),
            None => script::build(&deployment.profile, &version, &instance.placement.gpus, driver),
        };
        let host = match self.host_of(instance) {
            Ok(host) => host,
            Err(why) => return Outcome::Retry(why),
        };
        // A rented machine is empty when it is handed over; on one of ours the folder was made with the claim.
        if instance.placement.order.is_some()
            && number == 1
            && let Err(error) = host.claim(&instance.tag.to_string(), &instance.placement.gpus).await
        {
            return Outcome::Retry(error.to_string());
        }
        match host.launch(&instance.tag.to_string(), number, first_port(&instance.tag), &env, &text).await {
            Ok(started) => {
                self.0.live.begin(replica, number, self.now());
                Outcome::Launched(Process { pid: started.pid, port: started.port })
            }
            Err(HostError::Said(why)) if why == "gone" => failed(
                "machine_reset",
                Action::OtherHost,
                "our folder on the machine is gone".into(),
                "somebody removed it, or the machine was set up anew",
            ),
            Err(HostError::Said(why)) => {
                failed("env_broken", Action::OtherHost, why, "the machine lacks something that charter needs")
            }
            Err(HostError::Link(error)) => Outcome::Retry(error.to_string()),
        }
    }

    async fn deployment_of(&self, replica: &ReplicaId) -> Result<Option<(Replica, Deployment)>, String> {
        let Some(row) = self.store().replica(replica).await.map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let deployment = self.store().deployment(row.state.deployment.as_str()).await.map_err(|e| e.to_string())?;
        Ok(deployment.map(|d| (row.state, d.state)))
    }

    /// The engine's environment, secrets read now. It travels on standard input and stands in no file and no argument.
    fn engine_env(&self, deployment: &Deployment, tag: &Tag) -> Result<Vec<(String, String)>, String> {
        let mut env = vec![(KEY_VARIABLE.to_owned(), self.engine_key(tag))];
        for (name, value) in &deployment.profile.engine.env {
            let value = match value {
                EnvValue::Plain(text) => text.clone(),
                EnvValue::Secret(secret) => self.0.parts.secrets.read(secret).map_err(|why| format!("`{name}`: {why}"))?,
            };
            env.push((name.clone(), value));
        }
        Ok(env)
    }

    /// Replaces every secret value of a deployment in a text that leaves the machine.
    #[must_use]
    pub fn masked(&self, deployment: &Deployment, tag: &Tag, text: &str) -> String {
        let mut secrets = vec![self.engine_key(tag)];
        for (name, value) in &deployment.profile.engine.env {
            match value {
                EnvValue::Plain(text) if is_secret_name(name) => secrets.push(text.clone()),
                EnvValue::Secret(secret) => secrets.extend(self.read_quietly(secret)),
                EnvValue::Plain(_) => {}
            }
        }
        let long = secrets.iter().filter(|s| s.len() >= 4);
        long.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    fn read_quietly(&self, secret: &SecretRef) -> Option<String> {
        self.0.parts.secrets.read(secret).ok()
    }

    pub(crate) async fn see_engine(
        &self,
        replica: &Replica,
        deployment: &Deployment,
        instance: &Instance,
        process: &Process,
    ) -> Sight {
        if let Some(machines) = &self.0.parts.machines {
            return Sight::Engine(machines.engine(instance).await);
        }
        if instance.mapped_port().is_some() {
            return self.see_image(replica, deployment, instance, process).await;
        }
        let number = replica.launches;
        let sight = |verdict, quiet| Sight::Engine(EngineSight { verdict, quiet, moved: None, price: None });
        let host = match self.host_of(instance) {
            Ok(host) => host,
            Err(why) => return sight(Verdict::Away(why), self.quiet(replica)),
        };
        let key = self.engine_key(&instance.tag);
        let way = Way::Ssh { link: host.0.clone(), port: process.port };
        let engine = Engine { way: &way, key: &key };
        // A way that is known to be broken is not waited for: its supervisor is at work on it.
        if let charter_remote::State::Down(error) = host.0.state()
            && matches!(replica.phase, ReplicaPhase::Ready { .. })
        {
            return Sight::Engine(self.away(instance, error.to_string(), self.quiet(replica)).await);
        }
        // A real answer says more than any look at the process; a port that is closed says so at once.
        let first = match ollama::runs(&deployment.profile) {
            true => self.prepare(replica, deployment, instance, &engine).await,
            false => None,
        };
        let asked = match first {
            Some(verdict) => verdict,
            None => self.ask(replica, deployment, &engine).await,
        };
        if asked == Verdict::Ready {
            self.note_later(replica.clone(), instance.clone(), process.clone());
            return Sight::Engine(self.with_price(replica, instance).await);
        }
        let known = self.0.live.get(&replica.id).filter(|v| v.number == number).map_or(0, |v| v.log_bytes);
        let tag = instance.tag.to_string();
        let seen = match host.observe(&tag, number, known, TAIL_BYTES).await {
            Ok(seen) => seen,
            Err(HostError::Said(why)) if why == "gone" => {
                let hint = "somebody removed it, or the machine was set up anew";
                return sight(
                    Verdict::Failed(Cause::new("machine_reset", Action::OtherHost, "our folder on the machine is gone", hint)),
                    Span::ms(0),
                );
            }
            Err(error) => return Sight::Engine(self.away(instance, error.to_string(), self.quiet(replica)).await),
        };
        self.note(replica, process, &seen);
        if !seen.alive {
            let log = host.observe(&tag, number, u64::MAX, FAILED_BYTES).await.ok().and_then(|o| o.log).unwrap_or_default();
            self.keep_log(replica, &self.masked(deployment, &instance.tag, &log));
            return sight(Verdict::Failed(died(replica, &seen, &log)), Span::ms(0));
        }
        sight(asked, self.quiet(replica))
    }

    /// Looks at the process of an engine that answered, for people: nothing waits for it.
    fn note_later(&self, replica: Replica, instance: Instance, process: Process) {
        let this = self.clone();
        self.0.tasks.spawn(crate::tasks::Kind::Timer(self.0.ended.clone()), async move {
            let Ok(host) = this.host_of(&instance) else { return };
            let known = this.0.live.get(&replica.id).filter(|v| v.number == replica.launches).map_or(0, |v| v.log_bytes);
            if let Ok(seen) = host.observe(&instance.tag.to_string(), replica.launches, known, TAIL_BYTES).await {
                this.note(&replica, &process, &seen);
            }
        });
    }

    pub(crate) async fn ask(&self, replica: &Replica, deployment: &Deployment, engine: &Engine<'_>) -> Verdict {
        let (number, now) = (replica.launches, self.now());
        let before = self.0.live.get(&replica.id).unwrap_or_default();
        let answer = engine.answer(deployment.profile.own_name(), before.task).await;
        let was_ready = matches!(replica.phase, ReplicaPhase::Ready { .. } | ReplicaPhase::Unreachable { .. });
        match answer {
            Answer::Real(task) => {
                let first = before.task.is_none();
                self.0.live.update(&replica.id, number, now, |view| {
                    (view.task, view.phase, view.percent, view.waiting_for) = (Some(task), Some(Phase::Running), None, None);
                });
                if first {
                    self.look_closer(replica.clone(), engine.way.clone(), engine.key.to_owned());
                }
                Verdict::Ready
            }
            Answer::None(why) => {
                self.0.live.update(&replica.id, number, now, |view| view.waiting_for = Some(why.clone()));
                if was_ready { Verdict::Unhealthy(why) } else { Verdict::Starting }
            }
        }
    }

    /// Reads health and capacity for people, beside the way of a start: nothing waits for it.
    fn look_closer(&self, replica: Replica, way: Way, key: String) {
        let this = self.clone();
        self.0.tasks.spawn(crate::tasks::Kind::Timer(self.0.ended.clone()), async move {
            let engine = Engine { way: &way, key: &key };
            let (health, metrics) = (engine.health().await, engine.metrics().await);
            let version = engine.reported("").await.version;
            let now = this.now();
            this.0.live.update(&replica.id, replica.launches, now, |view| {
                let log = clean::lines(&view.log_tail);
                view.health = health;
                view.version = version;
                view.capacity_tokens = metrics.as_deref().and_then(capacity::from_metrics).or_else(|| capacity::from_log(&log));
            });
            // What it understands depends on its version.
            this.0.tasks.wake("routes");
            this.changed();
        });
    }

    pub(crate) fn quiet(&self, replica: &Replica) -> Span {
        let view = self.0.live.get(&replica.id).filter(|v| v.number == replica.launches);
        view.map_or(Span::ms(0), |v| v.quiet(self.now()))
    }

    /// Keeps what was seen: how far the start has come, and the symptom line.
    pub(crate) fn note(&self, replica: &Replica, process: &Process, seen: &Observation) {
        let now = self.now();
        let mut fetched = None;
        let moved = self.0.live.update(&replica.id, replica.launches, now, |view| {
            let mut moved = false;
            if let Some(log) = &seen.log {
                (view.log_bytes, view.log_tail, view.moved_at, moved) = (seen.log_bytes, log.clone(), now, true);
                let (reached, percent) = phase::progress(&clean::lines(log));
                let reached = view.phase.map_or(reached, |before| before.max(reached));
                view.percent = percent.filter(|_| reached < Phase::Running);
                view.phase = Some(reached);
                let told = fetched_in(&clean::lines(log)).filter(|_| view.fetched_in.is_none());
                if let Some(took) = told {
                    view.fetched_in = Some(took);
                    fetched = Some(took);
                }
            }
            view.seen_at = now;
            view.symptom = symptom(process, seen, &view.log_tail, now.since(replica.since));
            moved
        });
        if let Some(took) = fetched {
            self.measure(replica.clone(), took);
        }
        if moved {
            self.changed();
        }
    }

    /// Remembers how fast a rented host fetched the weights; nothing waits for it.
    fn measure(&self, replica: Replica, took: Span) {
        let this = self.clone();
        self.0.tasks.spawn(crate::tasks::Kind::Timer(self.0.ended.clone()), async move {
            let Some(offer) = replica.instance().map(|i| &i.placement.offer).filter(|o| o.market.is_some()) else { return };
            let Ok(Some(row)) = this.store().deployment(replica.deployment.as_str()).await else { return };
            let bytes = need(&row.state.as_of(replica.generation).profile).map_or(0, |n| n.weights_bytes);
            let speed = HostSpeed::measured(&offer.provider, &offer.host, bytes, took, this.now());
            let commit = Commit { host_speeds: speed.into_iter().collect(), ..Commit::default() };
            if let Err(error) = this.store().commit(commit).await {
                tracing::debug!(%error, "a host's speed was not written down");
            }
        });
    }

    /// Keeps the log of an engine that failed, for after its machine is gone.
    pub(crate) fn keep_log(&self, replica: &Replica, log: &str) {
        let folder = &self.0.parts.settings.logs;
        let file = folder.join(format!("{}.log", replica.id));
        if let Err(error) = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, log)) {
            tracing::warn!(%error, "the log of a failed engine could not be kept");
        }
    }

    /// The kept log of a replica whose engine failed.
    #[must_use]
    pub fn kept_log(&self, replica: &ReplicaId) -> Option<String> {
        std::fs::read_to_string(self.0.parts.settings.logs.join(format!("{replica}.log"))).ok()
    }
}

/// One line that tells a person where a start stands.
fn symptom(process: &Process, seen: &Observation, log: &str, elapsed: Span) -> String {
    let last = clean::lines(log).last().map(|l| l.text.chars().take(120).collect::<String>()).unwrap_or_default();
    if process.pid == 0 {
        return format!("its container runs, {elapsed}, last line: {last}");
    }
    let port = if seen.listening { "listening" } else { "not listening" };
    let alive = if seen.alive { "alive" } else { "dead" };
    let memory = seen.memory_mib.iter().map(|(used, total)| format!("{used}/{total} MiB ({} %)", used * 100 / (*total).max(1)));
    let memory: Vec<String> = memory.collect();
    let memory = if memory.is_empty() { "no GPU".to_owned() } else { memory.join(", ") };
    format!("PID {} {alive}, port {} {port}, GPU {memory}, {elapsed}, last line: {last}", process.pid, process.port)
}

/// Where to begin looking for a free port: different instances begin at different places.
fn first_port(tag: &Tag) -> u16 {
    let sum = tag.to_string().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let width = u32::from(PORTS.1 - PORTS.0 - 250);
    PORTS.0 + u16::try_from(sum % width).unwrap_or(0)
}

/// Why a process is not there any more. An exit with status 0 is a failure too: nobody asked it to end.
pub(crate) fn died(replica: &Replica, seen: &Observation, log: &str) -> Cause {
    let explained = explain(log);
    let status = seen.exit.map_or("without a status, so something killed it".to_owned(), |code| format!("with status {code}"));
    let was_ready = matches!(replica.phase, ReplicaPhase::Ready { .. }) || explained.class == "ok_ready";
    if explained.is_failure() && explained.class != "unknown" {
        let mut cause = explained.cause();
        // What has answered here before is tried here again first, however it ended; a few times at most.
        if was_ready && cause.action == Action::OtherHost {
            cause.action = Action::RetryHere;
        }
        return cause;
    }
    let class = match (was_ready, seen.exit) {
        (_, Some(137)) => "host_oom",
        (true, _) => "engine_crash_other",
        (false, _) => "unknown",
    };
    let last = explained.evidence;
    let evidence =
        if last.is_empty() { format!("the engine ended {status}") } else { format!("the engine ended {status}; last: {last}") };
    Cause::new(class, Action::RetryHere, evidence, "read its log with `charter logs`")
}
