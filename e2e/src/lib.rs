//! Black-box tests of Catamaran: the real binary, real kubectl, real Mesos frameworks, real containers.
//!
//! This library is what the tests in `tests/` stand on: [`cluster::Cluster`] starts and stops the binary,
//! [`program`] runs clients with a deadline, [`leftovers`] tells what a stopped cluster left on the machine.

pub mod cluster;
pub mod leftovers;
pub mod program;
