//! The stored form of states and effects: JSON with a version number. Old rows must load for ever, so a change of
//! shape gets a new number and a conversion here; the golden files of the tests hold one row of each number.

use crate::port::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

#[derive(Serialize)]
struct Out<'a, T> {
    v: u32,
    state: &'a T,
}

#[derive(Deserialize)]
struct In<T> {
    v: u32,
    state: T,
}

pub(crate) fn write<T: Serialize>(state: &T) -> Result<String, Error> {
    serde_json::to_string(&Out { v: VERSION, state }).map_err(|e| Error::Corrupt(e.to_string()))
}

pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let row: In<T> = serde_json::from_str(text).map_err(|e| Error::Corrupt(e.to_string()))?;
    if row.v > VERSION {
        return Err(Error::TooNew { found: i64::from(row.v), known: i64::from(VERSION) });
    }
    Ok(row.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use charter_domain::deployment::Deployment;
    use charter_domain::intent::Effect;
    use charter_domain::replica::Replica;

    #[test]
    fn rows_of_every_earlier_version_can_still_be_read() {
        assert!(read::<Deployment>(include_str!("../golden/deployment-v1.json")).is_ok());
        assert!(read::<Replica>(include_str!("../golden/replica-v1.json")).is_ok());
        assert!(read::<Effect>(include_str!("../golden/effect-v1.json")).is_ok());
    }

    #[test]
    fn a_row_of_a_newer_version_is_refused() {
        assert!(matches!(read::<u32>(r#"{"v":99,"state":1}"#), Err(Error::TooNew { found: 99, .. })));
    }
}
