//! Tests of the JSON mapping, of framing with hostile input, and of conversions in both directions.

mod conversions;
mod fields;
mod json;
mod json_text;
mod offers;
mod operations;
mod recordio;
mod round_trip;
mod volumes;
