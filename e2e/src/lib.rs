//! Black-box tests of Catamaran: the real binary, real kubectl, real Mesos frameworks, real containers.
//!
//! The library supports the tests in `tests/`: [`cluster::Cluster`] starts and stops the binary's processes, [`program`]
//! runs clients with a deadline, [`framework`] is a real Mesos framework, [`spark`] runs PySpark, [`java`] runs programs on Mesos' Java
//! library, [`visitor`] asks web servers, [`network`] makes hosts from network namespaces,
//! [`etcd`] is a real etcd, [`kubeconfig`] reads a server's address and credentials, [`guide`] reads the user's guide,
//! [`transcript`] reads and compares sessions with kubectl, [`rounds`] says how often faults are repeated, and [`leftovers`] finds what
//! a stopped cluster left on the machine.

pub mod cluster;
pub mod etcd;
pub mod framework;
pub mod guide;
pub mod java;
pub mod kubeconfig;
pub mod leftovers;
pub mod member;
pub mod network;
pub mod program;
pub mod rounds;
pub mod spark;
pub mod transcript;
pub mod visitor;
