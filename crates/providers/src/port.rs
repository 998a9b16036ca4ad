//! The port: what the control plane asks of a provider.

use async_trait::async_trait;
use charter_domain::cause::{Action, Cause};
use charter_domain::ids::Tag;
use charter_domain::instance::{Address, Bid, Instance};
use charter_domain::inventory::Held;
use charter_domain::money::UsdPerHour;
use charter_domain::offer::Offer;
use charter_domain::order::LaunchWay;
use charter_domain::placement::Requirement;
use charter_domain::time::{Span, Time};
use charter_remote::Target;

/// What can be said of a provider without asking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its kind in the configuration.
    pub kind: &'static str,
    /// The longest that a list may hide an instance that exists.
    pub visibility_horizon: Span,
    /// Looks in a row that must not find an instance before it counts as gone.
    pub absence_looks: u32,
    /// How far the first and the last of them must lie apart.
    pub absence_gap: Span,
    /// The shortest time between two looks at the same instance.
    pub look_gap: Span,
    /// Whether an idle instance costs money, so that keep-alive applies unless the profile says otherwise.
    pub rented: bool,
    /// An instance is a container of an image that we name, holds the engine already, and is begun in this way.
    pub container: Option<LaunchWay>,
}

/// An instance as its provider sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// It is not there, as far as the provider tells.
    Absent,
    /// It is on its way; the text changes while it moves.
    Pending(String),
    /// It is called running, and may be reached at one of these, the best first. That it is reached is not promised.
    Running {
        /// Where.
        addresses: Vec<Address>,
        /// What it costs now, if the provider says it.
        price: Option<UsdPerHour>,
    },
    /// The engine that its own entrypoint ran has ended. Its log says why.
    Ended(String),
    /// It will not come, or is no longer ours to use; with what follows.
    Failed(Cause),
}

/// What could be had now, and what could not be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferPage {
    /// Offers.
    pub offers: Vec<Offer>,
    /// For each part that could not be asked, why, and whether waiting will not change it.
    pub problems: Vec<(String, bool)>,
}

/// Everything that carries a tag of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The tags, with the host that holds each.
    pub tags: Vec<(Tag, String)>,
    /// Only a complete list says that something is absent.
    pub complete: bool,
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was offered is gone, or full.
    NoCapacity,
    /// The request is wrong.
    Invalid,
    /// The credentials are.
    Auth,
    /// There is no money left.
    Funds,
    /// Too many questions; nothing was done.
    RateLimited(Span),
    /// Try again later.
    Transient,
    /// It knows nothing of that.
    NotFound,
}

/// Why a provider could not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What kind of failure.
    pub kind: Kind,
    /// In words.
    pub message: String,
}

impl ProviderError {
    /// Who should be asked next.
    #[must_use]
    pub const fn action(&self) -> Action {
        match self.kind {
            // What is full now may be free at the next search, or something else is found.
            Kind::NoCapacity | Kind::RateLimited(_) => Action::Wait,
            Kind::NotFound | Kind::Transient => Action::OtherHost,
            Kind::Invalid => Action::ChangeProfile,
            Kind::Auth | Kind::Funds => Action::AskUser,
        }
    }
}

/// How a create call failed. The type makes the caller think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateError {
    /// Nothing was made.
    Refused(ProviderError),
    /// Whether something was made cannot be known.
    Unknown(ProviderError),
}

/// A source of machines.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;
    /// What can be said without asking.
    fn descriptor(&self) -> Descriptor;
    /// What could be had now for `need`. An offer is a hint that may be gone, and whoever takes it checks it again.
    async fn offers(&self, need: &Requirement) -> OfferPage;
    /// Takes what `bid` asks for. Called at most once per tag, and never retried inside.
    async fn create(&self, bid: &Bid, now: Time) -> Result<Instance, CreateError>;
    /// What stands under the bid's tag. `None` only when that is known.
    async fn find(&self, bid: &Bid, now: Time) -> Result<Option<Instance>, ProviderError>;
    /// What the provider says of an instance. A machine of ours is just there.
    async fn observe(&self, _: &Instance) -> Result<Observed, ProviderError> {
        Ok(Observed::Running { addresses: vec![], price: None })
    }
    /// Lets our key into an instance that refuses it. Repeatable; it may take some seconds to have an effect.
    async fn admit(&self, _: &Instance) -> Result<(), ProviderError> {
        Ok(())
    }
    /// The end of what an instance's own entrypoint wrote; nothing where it is read from the machine itself.
    async fn log(&self, _: &Instance) -> Result<Option<String>, ProviderError> {
        Ok(None)
    }
    /// Does the provider still know the instance?
    async fn is_present(&self, instance: &Instance) -> Result<bool, ProviderError>;
    /// Ends it. Repeatable; what is not there any more is success. No proof of absence.
    async fn destroy(&self, instance: &Instance) -> Result<(), ProviderError>;
    /// Everything that carries a tag with this owner's prefix.
    async fn list(&self, owner: &str) -> Listing;
    /// Everything that it holds for us and for others in the same account, and whether that is all.
    async fn inventory(&self) -> Result<(Vec<Held>, bool), ProviderError> {
        let listed = self.list("charter.").await;
        let held = listed.tags.into_iter().map(|(tag, id)| Held {
            id,
            label: tag.to_string(),
            tag: Some(tag),
            price: UsdPerHour(0),
            status: String::new(),
        });
        Ok((held.collect(), listed.complete))
    }
    /// Ends what carries `tag`, or none at all, on `host` at this moment, and belongs to no instance that we know.
    async fn destroy_stray(&self, tag: Option<&Tag>, host: &str) -> Result<(), ProviderError>;
    /// The file that holds the key to an instance, if it has one of its own.
    fn key_file(&self, instance: &Instance) -> Option<String>;
    /// How to reach an instance by SSH.
    fn target(&self, instance: &Instance) -> Result<Target, ProviderError>;
}
