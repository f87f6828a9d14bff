//! Metrics of the API server under upstream's names, in Prometheus' text format. Each component creates its own metrics and
//! counts through handles; the server registers them in one [`Registry`], which `/metrics` prints.
//!
//! Label values are bounded: a client's value is used only if it is from a fixed set or names a served resource.

pub mod admission;
pub mod families;
pub mod health;
pub mod process;
pub mod requests;
pub mod store_requests;

pub use exposition::{Registry, TEXT_FORMAT, print};
pub(crate) use exposition::{constant, register};

/// Buckets of request durations, as upstream has them for requests to the API server and to etcd.
const REQUEST_SECONDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0,
    20.0, 30.0, 45.0, 60.0,
];
