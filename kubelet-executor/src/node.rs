//! The node as a whole: the loop between the agent and the Pods, the periodic loops (runtime listing, log rotation, garbage
//! collection), and the removal of everything the node has on the machine.

pub(crate) mod garbage;
pub(crate) mod leftovers;
pub(crate) mod listing;
pub(crate) mod log_rotation;
pub(crate) mod pods;
pub(crate) mod task_loop;
pub(crate) mod teardown;
