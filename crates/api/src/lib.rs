//! What goes over the wire and what stands in the file: shapes, strict reading, and errors that point at their place.
//!
//! Nothing here knows the domain; conversions live where both meet.

pub mod file;
pub mod problem;
pub mod status;
pub mod upgrade;
