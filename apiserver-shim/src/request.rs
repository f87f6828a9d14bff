//! What a request asks for, read once from its method, path and query.

pub mod info;
pub mod query;
