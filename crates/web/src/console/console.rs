//! What the pages share beside what the API does.

use super::session::Signer;
use crate::router::App;
use charter_domain::time::{Span, Time};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Wrong keys that one address may show in a minute.
const WRONG_MAX: u32 = 5;
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 10_000;

/// Shared by all pages.
#[derive(Clone)]
pub(crate) struct Console {
    pub(crate) app: App,
    pub(crate) signer: Signer,
    pub(crate) door: Arc<Door>,
}

impl Console {
    /// For an app.
    pub(crate) fn new(app: App) -> Self {
        let signer = Signer::of(&app);
        Self { app, signer, door: Arc::new(Door::default()) }
    }
}

/// Counts wrong keys: whoever guesses is made to wait.
#[derive(Debug, Default)]
pub(crate) struct Door(Mutex<BTreeMap<IpAddr, (Time, u32)>>);

impl Door {
    /// May somebody at this address try now? Where not, for how many seconds to wait.
    pub(crate) fn may(&self, from: IpAddr, now: Time) -> Result<(), i64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&from) {
            Some((since, wrong)) if *wrong >= WRONG_MAX && now.since(*since) < Span::min(1) => {
                Err((Span::min(1).0 - now.since(*since).0 + 999) / 1000)
            }
            _ => Ok(()),
        }
    }

    /// A wrong key was shown.
    pub(crate) fn was_wrong(&self, from: IpAddr, now: Time) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| now.since(*since) < Span::min(1));
        if known.len() < ADDRESSES_MAX {
            known.entry(from).or_insert((now, 0)).1 += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn five_wrong_keys_close_the_door_for_the_rest_of_a_minute() {
        let (door, here, there) = (Door::default(), IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from([10, 0, 0, 1]));
        let now = Time(1_000_000);
        for _ in 0..WRONG_MAX {
            assert_eq!(door.may(here, now), Ok(()));
            door.was_wrong(here, now);
        }
        assert_eq!(door.may(here, now + Span::s(20)), Err(40));
        assert_eq!(door.may(there, now), Ok(()), "others are not shut out");
        assert_eq!(door.may(here, now + Span::s(60)), Ok(()));
    }
}
