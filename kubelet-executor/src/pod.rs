//! One Pod on this node: the worker that drives its state machine, and the modules that perform its actions.

pub(crate) mod container_config;
pub(crate) mod containers;
pub(crate) mod context;
pub(crate) mod hooks;
pub(crate) mod image_pull;
pub(crate) mod ledger;
pub(crate) mod logs;
pub(crate) mod paths;
pub(crate) mod record;
pub(crate) mod sandbox;
pub(crate) mod sandbox_config;
pub mod simulated;
pub(crate) mod task_resources;
pub(crate) mod volumes;
pub(crate) mod worker;
