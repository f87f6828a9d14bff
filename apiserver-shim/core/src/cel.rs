//! The Common Expression Language as Kubernetes has it.

mod numbers;

pub(crate) use numbers::{go_duration, go_float};
