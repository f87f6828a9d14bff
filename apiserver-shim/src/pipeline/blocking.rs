//! Work that may take as long as many requests: compiling the expressions of definitions and policies.

use shim_model::resource::Resource;
use tokio::runtime::{Handle, RuntimeFlavor};

/// The groups whose objects have expressions that are compiled when they are validated.
const COMPILED: [&str; 3] = ["apiextensions.k8s.io", "admissionregistration.k8s.io", "resource.k8s.io"];

/// Runs the preparation and validation of a write, as long work if it may compile expressions.
pub(super) fn of_write<T>(resource: &Resource, work: impl FnOnce() -> T) -> T {
    if COMPILED.contains(&resource.group.as_str()) { run(work) } else { work() }
}

/// Runs the work on this thread, after the runtime has given the thread's other tasks to another one.
pub fn run<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // There is no other thread.
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_go_on_meanwhile() {
        let went_on = Arc::new(AtomicBool::new(false));
        let flag = went_on.clone();
        let waits = tokio::spawn(async move {
            tokio::spawn(async move { flag.store(true, Ordering::Release) });
            let end = Instant::now() + Duration::from_secs(10);
            run(|| {
                while !went_on.load(Ordering::Acquire) && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(1));
                }
                went_on.load(Ordering::Acquire)
            })
        });
        assert!(waits.await.unwrap());
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_the_work_itself() {
        assert_eq!(run(|| 1), 1);
    }
}
