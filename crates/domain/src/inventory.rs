//! What stands at a provider, whoever put it there, and what of it is ours to end.

use crate::ids::Tag;
use crate::invariants::accounts_for;
use crate::money::UsdPerHour;
use crate::replica::Replica;

/// Something at a provider that may cost money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The provider's id, or the machine that holds it.
    pub id: String,
    /// The tag that it carries, if it is one.
    pub tag: Option<Tag>,
    /// What it is called there.
    pub label: String,
    /// What it costs, if the provider says it.
    pub price: UsdPerHour,
    /// How the provider calls its state.
    pub status: String,
}

/// To whom it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Belongs {
    /// Ours, and a replica holds it.
    InUse,
    /// Ours, and nothing that we know holds it: it is to be ended.
    Stray,
    /// Another installation's. It is never touched.
    Foreign,
    /// It carries no tag. Somebody made it by hand, or its label was lost: it is shown, and never touched.
    Unclear,
}

impl Belongs {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "in-use",
            Self::Stray => "stray",
            Self::Foreign => "foreign",
            Self::Unclear => "unclear",
        }
    }
}

/// To whom `held` belongs, by the records of `installation`, which must have been read after the provider was asked: they can
/// only be newer.
#[must_use]
pub fn belongs(held: &Held, installation: &str, open: &[Replica]) -> Belongs {
    let Some(tag) = &held.tag else { return Belongs::Unclear };
    if tag.installation != installation {
        return Belongs::Foreign;
    }
    // A second instance under a tag that is in use is a stray too: somebody has repeated an order.
    let other = |r: &Replica| r.instance().is_some_and(|i| i.placement.order.is_some() && i.id != held.id);
    let known = open.iter().any(|r| accounts_for(r, &tag.to_string()) && !other(r));
    if known { Belongs::InUse } else { Belongs::Stray }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{DeploymentId, ReplicaId};
    use crate::instance::{Acquisition, Bid};
    use crate::offer::Offer;
    use crate::placement::Placement;
    use crate::replica::Phase;
    use crate::time::Time;

    fn held(label: &str) -> Held {
        Held { id: "1".into(), tag: Tag::parse(label), label: label.into(), price: UsdPerHour(1), status: "running".into() }
    }

    #[test]
    fn only_what_is_ours_and_held_by_nobody_is_a_stray() {
        let mut replica = Replica::open(ReplicaId("rep_aa".into()), DeploymentId("dep_a".into()), 1, 0, Time(0));
        let offer = Offer {
            provider: "p".into(),
            id: "o".into(),
            host: "h".into(),
            gpus: vec![],
            no_gpu_allowed: true,
            disk_bytes: None,
            driver: None,
            price: UsdPerHour(1),
            market: None,
        };
        let tag = Tag::new("mine", &replica.id, 1);
        let bid = Bid { tag, placement: Placement { offer, gpus: vec![], order: None } };
        replica.phase = Phase::Acquiring(Acquisition::Renting(bid));
        let open = [replica];
        for (label, expected) in [
            ("charter.mine.aa.1", Belongs::InUse),
            ("charter.mine.aa.2", Belongs::Stray),
            ("charter.mine.bb.1", Belongs::Stray),
            ("charter.other.aa.1", Belongs::Foreign),
            ("my own box", Belongs::Unclear),
            ("charter.mine.aa.1.x", Belongs::Unclear),
            ("", Belongs::Unclear),
        ] {
            assert_eq!(belongs(&held(label), "mine", &open), expected, "{label}");
        }
    }
}
