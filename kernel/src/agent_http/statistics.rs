//! The statistics of executors' containers, as `/monitor/statistics`, `/containers` and GET_CONTAINERS show them.

use kernel_core::agent::ExecutorView;
use kernel_model::resources::Resources;
use kernel_wire::v1::ResourceStatistics;

use super::Handlers;

/// The usage and the limits of an executor's container.
pub(super) fn statistics(handlers: &Handlers, executor: &ExecutorView) -> ResourceStatistics {
    let limits = allocated(executor);
    let (cpus, mem) = (limits.scalar("cpus").as_f64(), limits.scalar("mem").as_f64());
    let mut shown = ResourceStatistics {
        timestamp: handlers.clock.now().as_secs_f64(),
        cpus_limit: Some(cpus),
        mem_limit_bytes: Some((mem * 1024.0 * 1024.0) as u64),
        ..Default::default()
    };
    if let Some(usage) = handlers.runtime.usage(&executor.container_id) {
        shown.cpus_user_time_secs = Some(usage.cpu_user_seconds());
        shown.cpus_system_time_secs = Some(usage.cpu_system_seconds);
        shown.mem_total_bytes = Some(usage.memory_bytes);
        shown.mem_rss_bytes = Some(usage.anonymous_bytes);
        shown.mem_anon_bytes = Some(usage.anonymous_bytes);
        shown.mem_cache_bytes = Some(usage.file_bytes);
        shown.mem_file_bytes = Some(usage.file_bytes);
    }
    shown
}

/// The resources of an executor and its unfinished tasks.
pub(super) fn allocated(executor: &ExecutorView) -> Resources {
    let mut sum = executor.info.resources.clone();
    for (task, _) in executor.tasks.iter().filter(|(task, _)| !task.state.is_terminal()) {
        sum += &task.info.resources;
    }
    sum
}
