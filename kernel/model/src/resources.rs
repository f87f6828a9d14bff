//! Resources and their arithmetic: scalars with three fixed decimals, ranges, sets, and the reservation stack.
//!
//! A `Resources` is always normal: no zero amounts, equal kinds merged, in a fixed order; so equality is plain `==`.

mod arithmetic;
mod attribute;
mod ranges;
mod resource;
mod roles;
mod scalar;
mod text;

#[cfg(test)]
mod tests;

pub use attribute::{Attribute, AttributeValue};
pub use ranges::Ranges;
pub use resource::{Disk, Reservation, ReservationKind, Resource, Resources, Value};
pub use scalar::Scalar;
pub use text::ParseError;
