//! Decisions of the native driver library: what a `MesosSchedulerDriver` of the Java library does with its framework's requests
//! and the master's events.
//!
//! Pure: no sockets, threads, clock or Java. [`scheduler`] is the state machine, [`wire`] the parts of the Mesos messages that
//! it reads and writes, [`master`] the forms in which a framework names its master, and [`leader`] what masters announce in
//! ZooKeeper.

pub mod leader;
pub mod master;
pub mod scheduler;
pub mod wire;
