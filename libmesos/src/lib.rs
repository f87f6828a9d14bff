//! `libmesos.so`: the native library of the Java bindings of Mesos (`org.apache.mesos`), over the public v1 HTTP API.
//!
//! Frameworks and executors that are written to it (Spark, Flink) load it in place of Mesos' own. `libmesos-core` decides;
//! [`driver`] runs its decisions on two threads, one for the network and one for callbacks; [`state`] keeps variables in ZooKeeper;
//! `natives` is what Java sees. Nothing here knows which master or agent it speaks to.

mod detector;
mod driver;
mod endpoint_client;
mod log;
mod natives;
mod network;
mod state;
