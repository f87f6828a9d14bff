//! The node: the loop between agent and Pods, periodic loops (PLEG, eviction, log rotation, garbage collection), and the
//! teardown of everything that the node has on the machine.

pub(crate) mod eviction;
pub(crate) mod garbage;
pub(crate) mod leftovers;
pub(crate) mod log_rotation;
pub(crate) mod pleg;
pub(crate) mod pods;
pub(crate) mod stopping;
pub(crate) mod task_loop;
pub(crate) mod teardown;
