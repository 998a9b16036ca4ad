//! What is wrong with a profile that no machine could cure: found before anything is asked for.

use crate::controller::Controller;
use charter_domain::profile::{EnvValue, Profile, Source, is_secret_name};

/// Flags that say what charter itself decides: where an engine listens, which key it asks for, under which name it answers.
fn owned(arg: &str) -> Option<String> {
    const OWNED: [&str; 7] = ["--api-key", "--host", "--port", "--uds", "--served-model-name", "--ssl-keyfile", "--ssl-certfile"];
    let name = arg.split('=').next().unwrap_or_default();
    OWNED
        .contains(&name)
        .then(|| format!("`{name}` in `extra-args` is charter's own to set: it decides how the engine is reached"))
}

/// A name that clients ask for stands in addresses, logs and on terminals.
fn name_fault(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    let odd = name.is_empty() || name.len() > 256 || !name.chars().all(plain);
    odd.then(|| format!("{name:?} is no name to be served under: letters, digits, `.`, `_`, `-`, `/`, `:`, `@` and `+`"))
}

/// What cannot be done where the order carries everything that the engine gets.
fn unfit_for_entrypoint(profile: &Profile, provider: &str) -> Vec<String> {
    let secret = |(name, value): (&String, &EnvValue)| {
        (matches!(value, EnvValue::Secret(_)) || is_secret_name(name)).then(|| {
            format!(
                "`{name}` is a secret, and `launch: args` of provider `{provider}` would write it into the order, where the \
                 marketplace and its host read it: use `launch: ssh` there, or another provider"
            )
        })
    };
    let mut faults: Vec<String> = profile.engine.env.iter().filter_map(secret).collect();
    if profile.engine.source == Source::Installed {
        faults.push(format!(
            "`source: installed` names a command, and `launch: args` of provider `{provider}` runs the image's own: use `launch: ssh`"
        ));
    }
    faults
}

/// A model is a hub's `owner/name`, or a path on the machine.
fn model_fault(model: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c) || (model.starts_with('/') && " +@=,~".contains(c));
    let odd = model.is_empty()
        || model.len() > 512
        || !model.chars().all(plain)
        || model.contains("..")
        || model.starts_with(['-', '.']);
    odd.then(|| format!("`{model}` is no model: name it as its hub does, `owner/name`, or by its path on the machine"))
}

use charter_engines::ollama;

impl Controller {
    /// What is wrong with a profile that no machine could cure; found before anything is asked for.
    ///
    /// # Errors
    /// One sentence per fault.
    pub fn check(&self, profile: &Profile) -> Result<(), Vec<String>> {
        use charter_engines::vllm::{launch::check_option, version::Version};
        let other = ollama::runs(profile);
        let mut faults: Vec<String> = if other {
            ollama::faults(profile)
        } else {
            profile.engine.options.iter().filter_map(|(n, v)| check_option(n, v).err()).collect()
        };
        if !other && let Err(why) = Version::resolve(&profile.engine.version, charter_engines::vllm::version::BUILT_IN) {
            faults.push(why);
        }
        // A secret that cannot be read now would fail the start later, after the running engine was given back.
        for (name, value) in &profile.engine.env {
            if let EnvValue::Secret(secret) = value
                && let Err(why) = self.0.parts.secrets.read(secret)
            {
                faults.push(format!("`{name}`: {why}"));
            }
        }
        if let Some(provider) = self.entrypoint_provider(profile) {
            faults.extend(unfit_for_entrypoint(profile, &provider));
        }
        faults.extend(profile.engine.extra_args.iter().filter_map(|arg| owned(arg)));
        faults.extend(model_fault(&profile.model).filter(|_| !other));
        let adapters = profile.engine.lora.iter().map(|l| &l.name);
        faults.extend(std::iter::once(&profile.served_name).chain(adapters).filter_map(|name| name_fault(name)));
        for name in profile.providers.iter().filter(|n| self.provider(n).is_none()) {
            let known: Vec<&str> = self.providers().iter().map(|p| p.name()).collect();
            faults.push(format!("provider `{name}` is not in the server's configuration (it has: {})", known.join(", ")));
        }
        if self.providers().is_empty() {
            faults.push("the server's configuration has no provider: write one under `server.providers`, and start the server from that file".to_owned());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}
