//! Mesos' JSON, which is neither proto3's nor proto2's: snake_case names only, `null` means absent, enums by name
//! (unknown names leave the field unset), 64-bit integers as numbers, doubles with a decimal point, base64 bytes,
//! declared defaults printed. Works on encoded messages and their descriptors, without the generated types.

mod parse;
mod print;
mod syntax;

pub use crate::wirescan::Malformed;
pub use parse::{JsonError, encode_value};
pub use print::print;
pub use syntax::parse;
