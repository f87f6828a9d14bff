//! Decisions of the native driver library: what the drivers of the Java library do with the requests of a framework or an
//! executor and with the events of the master or the agent.
//!
//! Pure: no sockets, threads, clock or Java. [`scheduler`], [`executor`] and [`library`] are state machines ([`machine`] is what they have in
//! common), [`wire`] has the parts of the Mesos messages that they read and write, [`master`] the forms in which a framework
//! names its master, [`leader`] what masters announce in ZooKeeper, and [`state`] the variables
//! that frameworks keep there.

pub mod executor;
pub mod leader;
pub mod library;
pub mod machine;
pub mod master;
pub mod scheduler;
pub mod state;
pub mod wire;
