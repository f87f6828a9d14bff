//! One Pod on this machine: the task that drives its machine, and the parts that carry out its actions.

pub(crate) mod container_config;
pub(crate) mod containers;
pub(crate) mod hooks;
pub(crate) mod places;
pub(crate) mod record;
pub(crate) mod sandbox;
pub(crate) mod sandbox_config;
pub(crate) mod worker;
