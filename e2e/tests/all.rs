//! Every black-box test, in one program. Run by `cargo xtask test`, one test at a time.

#[path = "all/access.rs"]
mod access;
#[path = "all/autoscaling.rs"]
mod autoscaling;
#[path = "all/catalog.rs"]
mod catalog;
#[path = "all/custom_resources.rs"]
mod custom_resources;
#[path = "all/debug.rs"]
mod debug;
#[path = "all/draining.rs"]
mod draining;
#[path = "all/faults.rs"]
mod faults;
#[path = "all/group_images.rs"]
mod group_images;
#[path = "all/guide.rs"]
mod guide;
#[path = "all/image_volumes.rs"]
mod image_volumes;
#[path = "all/java_library.rs"]
mod java_library;
#[path = "all/jobs.rs"]
mod jobs;
#[path = "all/kills.rs"]
mod kills;
#[path = "all/machines.rs"]
mod machines;
#[path = "all/mixed_workloads.rs"]
mod mixed_workloads;
#[path = "all/node_usage.rs"]
mod node_usage;
#[path = "all/nodes.rs"]
mod nodes;
#[path = "all/operating.rs"]
mod operating;
#[path = "all/oversubscription.rs"]
mod oversubscription;
#[path = "all/persistent_volumes.rs"]
mod persistent_volumes;
#[path = "all/preemption.rs"]
mod preemption;
#[path = "all/pulls.rs"]
mod pulls;
#[path = "all/refusals.rs"]
mod refusals;
#[path = "all/script_server.rs"]
mod script_server;
#[path = "all/services.rs"]
mod services;
#[path = "all/sets.rs"]
mod sets;
#[path = "all/spark.rs"]
mod spark;
#[path = "all/stops.rs"]
mod stops;
#[path = "all/task_exec.rs"]
mod task_exec;
#[path = "all/task_images.rs"]
mod task_images;
#[path = "all/walk.rs"]
mod walk;
#[path = "all/webhooks.rs"]
mod webhooks;
