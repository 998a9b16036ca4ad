//! Providers that the file has lost while machines of ours live there. Nothing new is rented from them; what is there goes on,
//! and is ended with the last key that was known. The key is kept in the database, sealed with the installation's secret.

use crate::assemble;
use crate::install::database_problem;
use crate::ports::random;
use async_trait::async_trait;
use charter_api::file::server::Provider as ProviderFile;
use charter_api::problem::Problem;
use charter_controller::Controller;
use charter_domain::ids::Tag;
use charter_domain::instance::{Bid, Instance};
use charter_domain::inventory::Held;
use charter_domain::placement::Requirement;
use charter_domain::sweep::TOMBSTONE_KEPT;
use charter_domain::time::{Span, Time};
use charter_providers::{CreateError, Descriptor, Kind, Listing, Observed, OfferPage, Provider, ProviderError};
use charter_remote::Target;
use charter_store::{Error, Store};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How often it is looked whether a key was accepted.
const PROVE_AGAIN: std::time::Duration = std::time::Duration::from_secs(5);
const PROVE_FIRST: std::time::Duration = std::time::Duration::from_millis(50);
/// Where the database keeps them.
const PREFIX: &str = "provider.";

/// What must be known to end what a provider holds.
#[derive(serde::Serialize, serde::Deserialize)]
struct Known {
    kind: String,
    base_url: Option<String>,
    api_key: String,
    entrypoint: bool,
}

fn cipher(secret: &str) -> Option<LessSafeKey> {
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), b"charter provider keys");
    UnboundKey::new(&AES_256_GCM, key.as_ref()).ok().map(LessSafeKey::new)
}

/// The name goes into the seal: a key cannot be moved to another provider's name.
fn seal(secret: &str, name: &str, text: &str) -> Option<String> {
    let nonce = random::<12>();
    let mut bytes = text.as_bytes().to_vec();
    cipher(secret)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name.as_bytes()), &mut bytes).ok()?;
    Some(nonce.iter().chain(&bytes).map(|b| format!("{b:02x}")).collect())
}

fn unseal(secret: &str, name: &str, sealed: &str) -> Option<String> {
    let byte = |at: usize| sealed.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    let bytes: Vec<u8> = (0..sealed.len()).step_by(2).map(byte).collect::<Option<_>>()?;
    let (nonce, rest) = bytes.split_first_chunk::<12>()?;
    let mut rest = rest.to_vec();
    let open = cipher(secret)?;
    let text = open.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(name.as_bytes()), &mut rest).ok()?;
    String::from_utf8(text.to_vec()).ok()
}

/// Keeps what the file says of its marketplaces, each as soon as its key was accepted once: a wrong one must not take the place
/// of the last that was right. Nothing waits for it.
pub(crate) fn remember(controller: Controller, secret: String, all: Vec<ProviderFile>, mut left: Vec<String>) {
    tokio::spawn(async move {
        let mut pause = PROVE_FIRST;
        while !left.is_empty() {
            let (proven, unproven) = left.into_iter().partition::<Vec<_>, _>(|name| controller.proven(name));
            left = unproven;
            for name in proven {
                if let Err(problem) = keep(controller.store().as_ref(), &secret, &all, &name).await {
                    tracing::warn!(why = problem.message, "a provider's key was not kept");
                    left.push(name);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PROVE_AGAIN);
        }
    });
}

async fn keep(store: &dyn Store, secret: &str, all: &[ProviderFile], name: &str) -> Result<(), Problem> {
    // A server without a file has one marketplace if its environment holds a key.
    let unnamed = ProviderFile {
        name: "vast".to_owned(),
        kind: "vast".to_owned(),
        base_url: None,
        api_key: None,
        entrypoint: false,
        machines: vec![],
        models: vec![],
        limits: [None, None],
    };
    let only = if all.is_empty() { std::slice::from_ref(&unnamed) } else { all };
    for provider in only.iter().filter(|p| p.name == name) {
        let Some(api_key) = assemble::api_key(provider) else { continue };
        let (kind, base_url) = (provider.kind.clone(), provider.base_url.clone());
        let known = Known { kind, base_url, api_key, entrypoint: provider.entrypoint };
        let sealed = serde_json::to_string(&known).ok().and_then(|text| seal(secret, &provider.name, &text));
        if let Some(sealed) = sealed {
            store.put_meta(&format!("{PREFIX}{}", provider.name), &sealed).await.map_err(|e| database_problem(&e))?;
        }
    }
    Ok(())
}

/// Names of providers at which something of ours lives, or has lived so lately that it may come back.
async fn needed(store: &dyn Store, now: Time) -> Result<(BTreeSet<String>, BTreeSet<String>), Error> {
    let mut living = BTreeSet::new();
    for (row, _) in store.replicas(None).await? {
        let held = row.state.instance().map(|i| i.placement.offer.provider.clone());
        let asked = match &row.state.phase {
            charter_domain::replica::Phase::Acquiring(taking) => Some(taking.bid().placement.offer.provider.clone()),
            charter_domain::replica::Phase::Pending { .. }
            | charter_domain::replica::Phase::Booting { .. }
            | charter_domain::replica::Phase::Loading { .. }
            | charter_domain::replica::Phase::Ready { .. }
            | charter_domain::replica::Phase::Unreachable { .. }
            | charter_domain::replica::Phase::Draining { .. }
            | charter_domain::replica::Phase::Releasing(_)
            | charter_domain::replica::Phase::Closed => None,
        };
        living.extend(held.into_iter().chain(asked));
    }
    let since = Time(now.0.saturating_sub(TOMBSTONE_KEPT.0));
    let lately = store.tombstones(since).await?.into_iter().map(|s| s.provider).collect();
    Ok((living, lately))
}

/// The providers that the file does not name and that are still needed. What nobody needs any more is forgotten.
pub(crate) async fn retired(
    store: &dyn Store,
    secret: &str,
    named: &[String],
    now: Time,
    switch: Option<Span>,
) -> Result<Vec<Arc<dyn Provider>>, Problem> {
    let failed = |e: Error| database_problem(&e);
    let (living, lately) = needed(store, now).await.map_err(failed)?;
    let mut all: Vec<Arc<dyn Provider>> = vec![];
    for (key, sealed) in store.metas(PREFIX).await.map_err(failed)? {
        let name = key.trim_start_matches(PREFIX).to_owned();
        if named.contains(&name) {
            continue;
        }
        if !living.contains(&name) && !lately.contains(&name) {
            if store.shared() {
                // Another control plane's file may name it.
                continue;
            }
            store.remove_meta(&key).await.map_err(failed)?;
            continue;
        }
        let known = unseal(secret, &name, &sealed).and_then(|text| serde_json::from_str::<Known>(&text).ok());
        let Some(known) = known else { continue };
        let made = assemble::with_key(&name, known.base_url.as_deref(), &known.api_key, secret, known.entrypoint, switch)?;
        if living.contains(&name) {
            tracing::warn!(
                provider = name,
                "the file does not name it any more, and machines of ours live there: they go on and can be ended with the last key; nothing new is rented there. To restore it, put it back into `server.providers`"
            );
        }
        all.push(Arc::new(Retired(made)));
    }
    for name in living.iter().filter(|n| !named.contains(n) && !all.iter().any(|p| p.name() == n.as_str())) {
        tracing::error!(
            provider = name,
            "a machine of ours lives there, the file does not name it, and its key is not known: put it back"
        );
    }
    Ok(all)
}

/// Ends, shows, and takes nothing new.
struct Retired(Arc<dyn Provider>);

impl Retired {
    fn why(&self) -> String {
        format!(
            "nothing is rented from `{}` any more: the file does not name it; put it back into `server.providers`",
            self.0.name()
        )
    }
}

#[async_trait]
impl Provider for Retired {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn descriptor(&self) -> Descriptor {
        self.0.descriptor()
    }
    async fn offers(&self, _: &Requirement) -> OfferPage {
        OfferPage { offers: vec![], problems: vec![(self.why(), true)] }
    }
    async fn create(&self, _: &Bid, _: Time) -> Result<Instance, CreateError> {
        Err(CreateError::Refused(ProviderError { kind: Kind::NoCapacity, message: self.why() }))
    }
    async fn find(&self, bid: &Bid, now: Time) -> Result<Option<Instance>, ProviderError> {
        self.0.find(bid, now).await
    }
    async fn observe(&self, instance: &Instance) -> Result<Observed, ProviderError> {
        self.0.observe(instance).await
    }
    async fn admit(&self, instance: &Instance) -> Result<(), ProviderError> {
        self.0.admit(instance).await
    }
    async fn log(&self, instance: &Instance) -> Result<Option<String>, ProviderError> {
        self.0.log(instance).await
    }
    async fn is_present(&self, instance: &Instance) -> Result<bool, ProviderError> {
        self.0.is_present(instance).await
    }
    async fn destroy(&self, instance: &Instance) -> Result<(), ProviderError> {
        self.0.destroy(instance).await
    }
    async fn list(&self, owner: &str) -> Listing {
        self.0.list(owner).await
    }
    async fn inventory(&self) -> Result<(Vec<Held>, bool), ProviderError> {
        self.0.inventory().await
    }
    async fn destroy_stray(&self, tag: Option<&Tag>, host: &str) -> Result<(), ProviderError> {
        self.0.destroy_stray(tag, host).await
    }
    fn key_file(&self, instance: &Instance) -> Option<String> {
        self.0.key_file(instance)
    }
    fn target(&self, instance: &Instance) -> Result<Target, ProviderError> {
        self.0.target(instance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_key_opens_with_its_secret_and_its_name_only() {
        let sealed = seal("secret", "vast", "key-123").expect("sealed");
        assert!(!sealed.contains("key-123"));
        assert_eq!(unseal("secret", "vast", &sealed).as_deref(), Some("key-123"));
        assert_eq!(unseal("other", "vast", &sealed), None);
        assert_eq!(unseal("secret", "other", &sealed), None);
        assert_eq!(unseal("secret", "vast", "zz"), None);
        assert_eq!(unseal("secret", "vast", ""), None);
    }
}
