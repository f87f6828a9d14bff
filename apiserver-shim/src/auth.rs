//! Authentication, authorization and audit.

pub mod audit;
pub mod authentication;
pub mod authorization;
pub mod oidc;
