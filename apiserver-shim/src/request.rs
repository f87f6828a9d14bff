//! Parsing of requests: the verb, resource and options that method, path and query name.

pub mod info;
pub mod query;
