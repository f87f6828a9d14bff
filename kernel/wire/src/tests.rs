//! The codec against the rules of Mesos' JSON, framing against hostile input, and nouns there and back.

mod json;
mod nouns;
mod operations;
mod recordio;
mod there_and_back;
