//! `libmesos.so`: the native library of the Java bindings of Mesos (`org.apache.mesos`), over the public v1 HTTP API.
//!
//! Frameworks that are written to `MesosSchedulerDriver` (Spark, Flink) load it in place of Mesos' own. `libmesos-core`
//! decides; [`driver`] runs its decisions on two threads, one for the network and one for callbacks; `natives` is what Java
//! sees. Nothing here knows which master it speaks to.

mod detector;
mod driver;
mod endpoint_client;
mod log;
mod natives;
mod network;
