//! Mesos' JSON, which is neither proto3's nor proto2's: snake_case names only, `null` is absent, enums by name with unknown
//! names left unset, 64-bit integers as numbers, doubles with a decimal point, base64 bytes, defaults printed where the message
//! declares one. Works on encoded messages and their descriptors, without the generated types.

mod parse;
mod print;

pub use parse::{JsonError, encode_value};
pub use print::print;
