//! The rental side of a replica: acquiring one instance and giving it back, each a small machine of its own.
//!
//! Acquiring: the intent is stored first, the create call is made at most once per tag, and a lost answer is a state
//! of its own that ends by finding the tag or by waiting out the provider's visibility delay. Giving back: destroy is
//! repeated until absence is proven, by as many looks apart in time as the provider's honesty asks for.

use crate::ids::Tag;
use crate::intent::{Draft, Effect, Outcome, Refusal};
use crate::look::Sight;
use crate::order::Way;
use crate::placement::Placement;
use crate::policy::Policy;
use crate::time::{Span, Time};
use serde::{Deserialize, Serialize};

/// Where a machine is reached by SSH; where an engine is reached without, the user is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// Name or number of the host.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.host, self.port)
    }
}

/// A machine, container or slot that we hold and that may cost money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The provider's id.
    pub id: String,
    /// Our token on it.
    pub tag: Tag,
    /// What was chosen.
    pub placement: Placement,
    /// Where it is reached, once known.
    pub address: Option<Address>,
    /// The host key it showed in its bootstrap window; any other is refused from then on.
    pub host_key: Option<String>,
    /// The account that it was rented with, where a provider has accounts.
    #[serde(default)]
    pub account: Option<String>,
    /// When it became ours.
    pub since: Time,
}

impl Instance {
    /// The port inside its container that is reached through a port of its host, where the image's own entrypoint runs the
    /// engine; nothing where it is reached by SSH.
    #[must_use]
    pub fn mapped_port(&self) -> Option<u16> {
        match &self.placement.order.as_ref()?.way {
            Way::Args { port, .. } => Some(*port),
            Way::Ssh => None,
        }
    }
}

/// What was asked for under a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bid {
    /// The tag that the create call carries.
    pub tag: Tag,
    /// What it asks for.
    pub placement: Placement,
}

/// An instance on its way to being ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acquisition {
    /// The create intent is stored; whether the instance exists is not known yet.
    Renting(Bid),
    /// The answer was lost: look for the tag until the provider must have shown it.
    Resolving {
        /// What was asked for.
        bid: Bid,
        /// When absence may be believed.
        give_up_at: Time,
        /// When it was ordered: it may be paid for from then on.
        #[serde(default)]
        ordered_at: Option<Time>,
    },
}

/// What a step of an [`Acquisition`] leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// Still under way.
    Not(Acquisition),
    /// Ours.
    Owned(Box<Instance>),
    /// The provider refused; nothing exists.
    Refused(Bid, Refusal),
    /// The create call left nothing behind.
    Nothing(Bid),
}

impl Acquisition {
    /// What was asked for.
    #[must_use]
    pub const fn bid(&self) -> &Bid {
        match self {
            Self::Renting(bid) | Self::Resolving { bid, .. } => bid,
        }
    }

    /// The answer to the create call, which was ordered at `began_at`, or to the question whether the tag is there.
    #[must_use]
    pub fn answered(self, outcome: Outcome, began_at: Time, now: Time, policy: &Policy) -> Acquired {
        match (self, outcome) {
            (Self::Renting(_), Outcome::Created(instance)) => owned(instance, Some(began_at)),
            (Self::Resolving { ordered_at, .. }, Outcome::Created(instance)) => owned(instance, ordered_at),
            (Self::Renting(bid), Outcome::Refused(refusal)) => Acquired::Refused(bid, refusal),
            (Self::Renting(bid), Outcome::Unknown) => {
                Acquired::Not(Self::Resolving { bid, give_up_at: now + policy.visibility_horizon, ordered_at: Some(began_at) })
            }
            (other, _) => Acquired::Not(other),
        }
    }

    /// What a look for the tag found.
    #[must_use]
    pub fn saw(self, sight: Sight, now: Time, policy: &Policy) -> Acquired {
        let waited = now.since(policy.known_since) >= policy.visibility_horizon;
        match (self, sight) {
            (Self::Resolving { ordered_at, .. }, Sight::Tagged(Some(instance))) => owned(instance, ordered_at),
            (Self::Resolving { bid, give_up_at, .. }, Sight::Tagged(None)) if give_up_at <= now && waited => {
                Acquired::Nothing(bid)
            }
            (other, _) => Acquired::Not(other),
        }
    }
}

/// Ours, and paid for since it was ordered, however late that was seen.
fn owned(mut instance: Box<Instance>, ordered_at: Option<Time>) -> Acquired {
    instance.since = ordered_at.map_or(instance.since, |at| at.min(instance.since));
    Acquired::Owned(instance)
}

/// An instance on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// What is given back.
    pub instance: Instance,
    /// Destroy calls ordered so far.
    pub ordered: u32,
    /// The provider has accepted the last one.
    pub accepted: bool,
    /// Looks in a row that did not find it.
    pub absent_looks: u32,
    /// The first of those.
    pub absent_since: Option<Time>,
    /// The last of those.
    pub absent_at: Option<Time>,
}

impl Release {
    /// Begins to give `instance` back.
    #[must_use]
    pub fn begin(instance: Instance, now: Time) -> (Self, Draft) {
        let draft = Draft { effect: Effect::Destroy { instance: instance.clone() }, not_before: now };
        (Self { instance, ordered: 1, accepted: false, absent_looks: 0, absent_since: None, absent_at: None }, draft)
    }

    fn order_again(mut self, now: Time, policy: &Policy) -> (Self, Draft) {
        let not_before = now + policy.backoff.backoff(self.ordered, policy.backoff_max);
        self.ordered = self.ordered.saturating_add(1);
        self.accepted = false;
        self.absent_looks = 0;
        self.absent_since = None;
        self.absent_at = None;
        let draft = Draft { effect: Effect::Destroy { instance: self.instance.clone() }, not_before };
        (self, draft)
    }

    /// The answer to a destroy call. An error orders it again, for ever.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other outcome is late and changes nothing")]
    pub fn answered(mut self, outcome: &Outcome, now: Time, policy: &Policy) -> (Self, Option<Draft>) {
        match outcome {
            Outcome::Destroyed => {
                self.accepted = true;
                (self, None)
            }
            Outcome::Retry(_) | Outcome::Unknown if !self.accepted => {
                let (next, draft) = self.order_again(now, policy);
                (next, Some(draft))
            }
            _ => (self, None),
        }
    }

    /// What a look for the instance found. `None` in the first place means that its absence is proven.
    #[must_use]
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other sight is late and changes nothing")]
    pub fn saw(mut self, sight: &Sight, now: Time, policy: &Policy) -> (Option<Self>, Option<Draft>) {
        match sight {
            Sight::Absent if self.accepted => {
                // Looks that lie too far apart prove nothing together: between them the provider may have been wrong twice. Nor
                // do looks under two clocks.
                let far = |last: Time| now.since(last) > Span(policy.absence_gap.0.saturating_mul(2)) || last > now;
                let before = |first: Time| first < policy.known_since || first > now;
                if self.absent_at.is_some_and(far) || self.absent_since.is_some_and(before) {
                    self.absent_looks = 0;
                    self.absent_since = None;
                }
                let since = *self.absent_since.get_or_insert(now);
                self.absent_at = Some(now);
                self.absent_looks = self.absent_looks.saturating_add(1);
                let proven = self.absent_looks >= policy.absence_looks && now.since(since) >= policy.absence_gap;
                if proven { (None, None) } else { (Some(self), None) }
            }
            Sight::Present if self.accepted => {
                let (next, draft) = self.order_again(now, policy);
                (Some(next), Some(draft))
            }
            _ => (Some(self), None),
        }
    }
}
