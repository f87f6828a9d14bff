//! Resources and their arithmetic: scalars with three decimals, ranges, sets, and the reservation stack.
//!
//! A `Resources` is always in normal form: no zero amounts, equal kinds merged, in a fixed order. So equality is `==`.

mod arithmetic;
mod attribute;
mod conversion;
mod disk;
mod ranges;
mod resource;
mod roles;
mod scalar;
mod text;

#[cfg(test)]
mod tests;

pub use attribute::{Attribute, AttributeValue};
pub use conversion::{Conversion, ConversionKind};
pub use disk::{Disk, DiskSource, Persistence, VolumeId, VolumeMount};
pub use ranges::Ranges;
pub use resource::{Reservation, ReservationKind, Resource, Resources, Value};
pub use scalar::{Scalar, general};
pub use text::ParseError;
