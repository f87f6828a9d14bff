//! Work that may take as long as many requests: compiling the expressions of definitions and policies, and judging large objects.

use serde_json::Value;
use shim_core::admission_policy::PolicyInput;
use shim_model::resource::Resource;
use tokio::runtime::{Handle, RuntimeFlavor};

/// The groups whose objects have expressions that are compiled when they are validated.
const COMPILED: [&str; 3] = ["apiextensions.k8s.io", "admissionregistration.k8s.io", "resource.k8s.io"];

/// Values in an object, times the expressions that read it, from which on judging it counts as long: a Pod has about a hundred.
const LONG_WORK: usize = 2_000;

/// Runs the preparation and validation of a write, as long work if it may compile expressions or if the object is large.
pub(super) fn of_write<T>(resource: &Resource, is_large: bool, work: impl FnOnce() -> T) -> T {
    if is_large || COMPILED.contains(&resource.group.as_str()) { run(work) } else { work() }
}

/// Runs what this many expressions say of a request: of its object, of the old one and of the parameters.
pub(super) fn of_expressions<T>(input: &PolicyInput<'_>, expressions: usize, work: impl FnOnce() -> T) -> T {
    let read = [input.object, input.old_object, input.params];
    if has_values(&read, LONG_WORK / expressions.max(1)) { run(work) } else { work() }
}

/// Whether judging an object by itself is long work.
pub(super) fn is_large(object: &Value) -> bool {
    has_values(&[object], LONG_WORK)
}

/// Whether objects have more values than this together.
fn has_values(objects: &[&Value], most: usize) -> bool {
    let mut left = most;
    let mut open = objects.to_vec();
    while let Some(value) = open.pop() {
        let members = match value {
            Value::Array(items) => items.len(),
            Value::Object(members) => members.len(),
            _ => continue,
        };
        if members > left {
            return true;
        }
        left -= members;
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => open.extend(members.values()),
            _ => {}
        }
    }
    false
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

    #[test]
    fn large_objects_are_found_without_reading_them_whole() {
        let object = serde_json::json!({"a": {"b": [1, 2, {"c": null}]}, "d": "text"});
        assert!(has_values(&[&object], 6) && !has_values(&[&object], 7));
        assert!(has_values(&[&object, &object], 13) && !has_values(&[&object, &object], 14));
        let large: Value =
            (0..5_000).map(|n| (n.to_string(), Value::Null)).collect::<serde_json::Map<_, _>>().into();
        assert!(is_large(&large) && !is_large(&object));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_does_the_work_itself() {
        assert_eq!(run(|| 1), 1);
    }
}
