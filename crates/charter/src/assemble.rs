//! From the file's server section to providers and budgets.

use crate::environment;
use charter_api::file::server::{Provider as ProviderFile, Server as ServerSection};
use charter_api::problem::Problem;
use charter_domain::budget::{BUILT_IN, Budget, Scope};
use charter_domain::instance::Address;
use charter_domain::money::Usd;
use charter_providers::Provider;
use charter_providers::machines::{Machine, Machines};
use charter_remote::{KeyPair, Links};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A path that may begin with the user's home.
pub(crate) fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), environment::var("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

pub(crate) fn machine(from: &charter_api::file::server::Machine, installation: &KeyPair) -> Result<Machine, Problem> {
    let key = match &from.key_file {
        None => installation.clone(),
        Some(path) => {
            let failed = |why: String| {
                let message = format!("the key of machine `{}` cannot be used", from.name);
                Problem::new(0, "R0005", message, "name a private key in OpenSSH format without a passphrase in `key-file`")
                    .with_detail(why)
            };
            let text = std::fs::read_to_string(expand(path)).map_err(|e| failed(format!("`{path}`: {e}")))?;
            KeyPair::from_openssh(&text).map_err(|e| failed(format!("`{path}`: {e}")))?
        }
    };
    let address = Address { host: from.host.clone(), port: from.port, user: from.user.clone() };
    let key_file = from.key_file.as_deref().map(|path| expand(path).display().to_string());
    Ok(Machine {
        name: from.name.clone(),
        address,
        key,
        key_file,
        host_key: from.host_key.clone(),
        allow_no_gpu: from.allow_no_gpu,
    })
}

pub(crate) fn provider(
    from: &ProviderFile,
    installation: &KeyPair,
    links: &Links,
    data_dir: &Path,
) -> Result<Arc<dyn Provider>, Problem> {
    let machines = from.machines.iter().map(|m| machine(m, installation)).collect::<Result<Vec<_>, _>>()?;
    let pins = data_dir.join(format!("host-keys-{}.json", from.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")));
    Ok(Arc::new(Machines::new(&from.name, machines, links.clone(), pins)))
}

pub(crate) fn budgets(section: &ServerSection) -> Result<Vec<Budget>, Problem> {
    let scope = |name: &str| match name {
        "total" => Scope::Total,
        "day" => Scope::Day,
        "tenant" => Scope::Tenant,
        "deployment" => Scope::Deployment,
        "rental" => Scope::Rental,
        _ => Scope::Month,
    };
    let mut all: Vec<Budget> = section
        .budgets
        .iter()
        .map(|(name, [target, alert, hard])| Budget {
            scope: scope(name),
            target: Usd(*target),
            alert: Usd(*alert),
            hard: Usd(*hard),
        })
        .collect();
    for (name, scope) in [("VASTAI_BUDGET_LIMIT", Scope::Total), ("VASTAI_SESSION_BUDGET_LIMIT", Scope::Rental)] {
        if let Some(micros) = environment::usd(name)? {
            all.retain(|b| b.scope != scope);
            all.push(Budget { scope, target: Usd(micros), alert: Usd(micros), hard: Usd(micros) });
        }
    }
    Ok(if all.is_empty() { vec![BUILT_IN] } else { all })
}
