//! What goes wrong, on demand and by chance. Each fault is something that the real marketplace was seen to do.

use super::chance::Chance;
use std::collections::BTreeMap;

/// A fault by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The offer is taken between search and order.
    OfferGone,
    /// A search finds nothing at all.
    NoStock,
    /// Too many requests, in one of four shapes.
    RateLimit,
    /// An error of the service, with JSON.
    ServerError,
    /// An error of the edge, in HTML.
    Html,
    /// An order takes effect, and the connection is cut before the answer.
    CutOrder,
    /// An order takes effect, and the answer is an error of the edge.
    LostOrder,
    /// An order takes effect, and the answer comes after two seconds.
    SlowOrder,
    /// New instances are missing in lists for a while.
    LateList,
    /// A list comes back empty.
    EmptyList,
    /// A list ends before its end.
    ShortList,
    /// The host cannot hand its GPU to a container.
    Cdi,
    /// Loading never ends.
    StuckLoading,
    /// Running, and no port leads there.
    NoPorts,
    /// The address is one of a private network.
    PrivateAddress,
    /// Our key never gets in.
    SshRefused,
    /// The host runs an older CUDA than it says.
    WrongCuda,
    /// The engine starts, and dies at the first question.
    FirstPrompt,
    /// The engine runs out of memory while it starts.
    OutOfMemory,
    /// The host is offline for a while, and comes back.
    Offline,
    /// Somebody else pays more.
    Outbid,
    /// The contract costs more than the offer.
    PriceRaised,
    /// The contract becomes dearer while it runs.
    RaisedLater,
    /// The label is not kept.
    LabelLost,
}

impl Fault {
    /// All of them, with the names that people use.
    pub const ALL: [(&'static str, Self); 24] = [
        ("offer-gone", Self::OfferGone),
        ("no-stock", Self::NoStock),
        ("rate-limit", Self::RateLimit),
        ("server-error", Self::ServerError),
        ("html", Self::Html),
        ("cut-order", Self::CutOrder),
        ("lost-order", Self::LostOrder),
        ("slow-order", Self::SlowOrder),
        ("late-list", Self::LateList),
        ("empty-list", Self::EmptyList),
        ("short-list", Self::ShortList),
        ("cdi", Self::Cdi),
        ("stuck-loading", Self::StuckLoading),
        ("no-ports", Self::NoPorts),
        ("private-address", Self::PrivateAddress),
        ("ssh-refused", Self::SshRefused),
        ("wrong-cuda", Self::WrongCuda),
        ("first-prompt", Self::FirstPrompt),
        ("out-of-memory", Self::OutOfMemory),
        ("offline", Self::Offline),
        ("outbid", Self::Outbid),
        ("price-raised", Self::PriceRaised),
        ("raised-later", Self::RaisedLater),
        ("label-lost", Self::LabelLost),
    ];

    /// Its name.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, f)| *f == self).map_or("", |(name, _)| name)
    }
}

/// How a market really behaves, in thousandths: a search succeeds in 70 of 100 cases, a host boots in 80, an engine comes up in
/// 90, and so a single attempt in about 50 to 70.
const REALISTIC: &[(Fault, u32)] = &[
    (Fault::NoStock, 300),
    (Fault::OfferGone, 40),
    (Fault::RateLimit, 30),
    (Fault::ServerError, 15),
    (Fault::Html, 10),
    (Fault::CutOrder, 10),
    (Fault::LateList, 100),
    (Fault::ShortList, 10),
    (Fault::Cdi, 90),
    (Fault::StuckLoading, 40),
    (Fault::NoPorts, 30),
    (Fault::PrivateAddress, 30),
    (Fault::SshRefused, 20),
    (Fault::WrongCuda, 40),
    (Fault::FirstPrompt, 20),
    (Fault::PriceRaised, 10),
    (Fault::Outbid, 10),
];

/// Which faults happen how often, and how many are still to come on demand.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    permille: BTreeMap<Fault, u32>,
    left: BTreeMap<Fault, u32>,
}

impl Faults {
    /// Reads a list such as `realistic`, `cdi`, `cdi=20` (in 20 of 100 cases), `cut-order*1` (once), separated by commas.
    ///
    /// # Errors
    /// Which part is unknown.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            if part == "realistic" {
                faults.permille.extend(REALISTIC.iter().copied());
                continue;
            }
            let split = part.find(['=', '*']).unwrap_or(part.len());
            let (name, how) = part.split_at(split);
            let known = Fault::ALL.iter().find(|(n, _)| *n == name).map(|(_, f)| *f);
            let names = || Fault::ALL.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ");
            let fault = known.ok_or_else(|| format!("there is no fault `{name}`; known: realistic, {}", names()))?;
            let number = |text: &str| {
                text.parse::<u32>().map_err(|_| format!("`{part}`: a number must follow, such as `{name}=20` or `{name}*1`"))
            };
            match how.chars().next() {
                Some('*') => drop(faults.left.insert(fault, number(how.trim_start_matches('*'))?)),
                Some(_) => drop(faults.permille.insert(fault, number(how.trim_start_matches('='))?.min(100) * 10)),
                None => drop(faults.permille.insert(fault, 1000)),
            }
        }
        Ok(faults)
    }

    /// Does it happen now?
    pub(super) fn strikes(&mut self, fault: Fault, chance: &mut Chance) -> bool {
        if let Some(left) = self.left.get_mut(&fault)
            && *left > 0
        {
            *left -= 1;
            return true;
        }
        self.permille.get(&fault).is_some_and(|often| chance.permille(*often))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_unknown_names_are_named() {
        let mut faults = Faults::parse("cdi*1, html=100").expect("faults");
        let mut chance = Chance::new(1);
        assert!(faults.strikes(Fault::Cdi, &mut chance) && !faults.strikes(Fault::Cdi, &mut chance), "once");
        assert!(faults.strikes(Fault::Html, &mut chance) && !faults.strikes(Fault::Outbid, &mut chance));
        assert!(Faults::parse("realistic").is_ok());
        assert!(Faults::parse("cdl").expect_err("unknown").contains("no fault `cdl`"));
        assert!(Faults::parse("cdi=x").is_err());
    }
}
