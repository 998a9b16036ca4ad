//! Where machines come from: one port, and an adapter per kind.
//!
//! A provider never retries a create and never stores anything of ours. Names of providers stand nowhere outside.

pub mod contract;
pub mod machines;
pub mod port;
pub mod simulated;
pub mod vast;

pub use port::{CreateError, Descriptor, Kind, Listing, Observed, OfferPage, Provider, ProviderError};
