//! What goes over the wire and what stands in the file: shapes, strict reading, and errors that point at their place.
//!
//! Nothing here knows the domain; conversions live where both meet. The server, its description (`openapi/charter.json`) and the
//! command line use the same shapes, so that none of them can know a field that the others do not.

pub mod backend;
pub mod backup;
pub mod budget;
pub mod deployment;
pub mod doctor;
pub mod ending;
pub mod file;
pub mod key;
pub mod list;
pub mod manifest;
pub mod market;
pub mod problem;
pub mod route;
pub mod ssh;
pub mod status;
pub mod upgrade;
pub mod usage;
