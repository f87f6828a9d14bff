//! Who sends a request, and whether they may.

pub mod audit;
pub mod authentication;
pub mod authorization;
