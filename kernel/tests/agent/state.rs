//! What operators see of an agent: executors of command tasks, what has ended, and every key that tools read.

use std::{net::SocketAddr, time::Duration};

use kernel_model::task::{Reason, Source, TaskState::*};
use serde_json::{Value, json};

use crate::{
    client,
    cluster::{Cluster, custom_executor},
};

async fn get(address: SocketAddr, path: &str) -> Value {
    let answer = client::send(address, &format!("GET {path} HTTP/1.1"), b"").await;
    assert_eq!(answer.status, 200, "{path}");
    serde_json::from_str(&answer.text().await).unwrap()
}

async fn ask(address: SocketAddr, kind: &str) -> Value {
    let head = "POST /api/v1 HTTP/1.1\r\ncontent-type: application/json";
    let answer = client::send(address, head, json!({"type": kind}).to_string().as_bytes()).await;
    serde_json::from_str(&answer.text().await).unwrap()
}

/// The names of an object's members, in order.
fn keys(of: &Value) -> String {
    let object = of.as_object().unwrap_or_else(|| panic!("no object: {of}"));
    object.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Reads the state until `wanted` finds something in it.
async fn until(address: SocketAddr, wanted: impl Fn(&Value) -> Option<Value>) -> Value {
    let deadline = tokio::time::Instant::now() + client::TIMEOUT;
    loop {
        let state = get(address, "/state").await;
        if let Some(found) = wanted(&state) {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long: {state}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_of_command_tasks_are_shown_until_they_are_completed() {
    let mut cluster = Cluster::start().await;
    let address = cluster.agent_address();
    cluster.launch("t1", "touch ready; while ! test -e go; do sleep 0.05; done").await;
    assert_eq!(cluster.next_state("t1").await, Starting);
    assert_eq!(cluster.next_state("t1").await, Running);
    assert_eq!(cluster.last.executor_id.as_ref().map(|id| id.as_str()), Some("t1"));
    cluster.wait_for_file("t1", "ready").await;
    let state = get(address, "/state").await;
    let framework = &state["frameworks"][0];
    let executor = &framework["executors"][0];
    assert_eq!((&executor["id"], &executor["source"]), (&json!("t1"), &json!("t1")));
    let directory = executor["directory"].as_str().unwrap();
    assert!(directory.ends_with(executor["container"].as_str().unwrap()), "{directory}");
    assert!(std::path::Path::new(directory).join("ready").exists());
    let task = &executor["tasks"][0];
    assert_eq!(
        (&task["id"], &task["state"], &task["executor_id"]),
        (&json!("t1"), &json!("TASK_RUNNING"), &json!(""))
    );
    let mut shown = format!("{}\n{}\n{}\n{}\n", keys(&state), keys(framework), keys(executor), keys(task));
    shown += &format!("{}\n", keys(&get(address, "/version").await));
    for kind in ["GET_TASKS", "GET_EXECUTORS", "GET_FRAMEWORKS", "GET_STATE"] {
        let answer = ask(address, kind).await;
        shown += &format!("{kind}: {}\n", keys(&answer[kind.to_lowercase()]));
    }

    std::fs::write(cluster.sandbox("t1").join("go"), "").unwrap();
    assert_eq!(cluster.next_state("t1").await, Finished);
    let completed = until(address, |state| {
        let framework = state["completed_frameworks"].get(0)?;
        let executor = framework["completed_executors"].get(0)?;
        (executor["completed_tasks"][0]["state"] == "TASK_FINISHED").then(|| framework.clone())
    });
    let completed = completed.await;
    assert_eq!(completed["completed_executors"][0]["id"], "t1");
    for kind in ["GET_TASKS", "GET_EXECUTORS", "GET_FRAMEWORKS"] {
        let answer = ask(address, kind).await;
        shown += &format!("{kind} later: {}\n", keys(&answer[kind.to_lowercase()]));
    }

    cluster.launch("t2", "sleep 1000").await;
    assert_eq!(cluster.next_state("t2").await, Starting);
    let state = get(address, "/state").await;
    assert_eq!(state["completed_frameworks"], json!([]), "the framework is back");
    assert_eq!(state["frameworks"][0]["completed_executors"][0]["id"], "t1");
    assert_eq!(state["frameworks"][0]["executors"][0]["id"], "t2");
    let metrics = get(address, "/metrics/snapshot").await;
    for (name, value) in [
        ("slave/tasks_finished", 1.0),
        ("slave/tasks_failed", 0.0),
        ("slave/executors_running", 1.0),
        ("slave/executors_registering", 0.0),
        ("slave/executors_terminated", 1.0),
        ("slave/container_launch_errors", 0.0),
        ("slave/recovery_errors", 0.0),
        ("slave/cpus_revocable_total", 0.0),
    ] {
        assert_eq!(metrics[name], value, "{name}");
    }
    assert!(metrics["slave/valid_status_updates"].as_f64().unwrap() >= 4.0);
    assert!(metrics["system/mem_total_bytes"].is_number());
    expect_test::expect![[r#"
        attributes build_date build_time build_user capabilities completed_frameworks flags frameworks hostname id pid reserved_resources reserved_resources_allocated reserved_resources_full resource_providers resources start_time unreserved_resources unreserved_resources_allocated unreserved_resources_full version
        checkpoint completed_executors executors failover_timeout hostname id name roles user
        completed_tasks container directory id name queued_tasks resources source tasks
        executor_id framework_id id name resources role slave_id state statuses
        build_date build_time build_user version
        GET_TASKS: launched_tasks
        GET_EXECUTORS: executors
        GET_FRAMEWORKS: frameworks
        GET_STATE: get_executors get_frameworks get_tasks
        GET_TASKS later: completed_tasks
        GET_EXECUTORS later: completed_executors
        GET_FRAMEWORKS later: completed_frameworks
    "#]].assert_eq(&shown);
    cluster.teardown().await;
    cluster.no_process_left().await;
}

/// Whether this test can limit memory, and whatever exceeds the limit is killed instead of swapped out.
fn memory_is_limited() -> bool {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    let version_2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let controlled = std::path::Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists()
        || version_2.split_whitespace().any(|name| name == "memory");
    rustix::process::geteuid().is_root() && controlled && swaps.lines().count() <= 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_exceeds_its_memory_fails_for_that_reason() {
    if !memory_is_limited() {
        return;
    }
    let mut cluster = Cluster::start().await;
    cluster.launch("t1", "head -c 300000000 /dev/zero | tail > /dev/null; exit 137").await;
    assert_eq!(cluster.states_until_end("t1").await.last(), Some(&Failed));
    let status = cluster.last.clone();
    let message = status.message.unwrap_or_default();
    assert_eq!(
        (status.reason, status.source),
        (Some(Reason::ContainerLimitationMemory), Source::Agent),
        "{message}"
    );
    // 64 MB of the task and 32 of its executor.
    assert!(message.starts_with("Memory limit exceeded: Requested: 96MB "), "{message}");
    let first = message.lines().next().unwrap_or_default();
    assert!(first.ends_with(" (with 32MB for the executor)"), "{message}");
    assert!(message.contains("\nMEMORY STATISTICS: \n"), "{message}");
    let status: kernel_wire::v1::TaskStatus = kernel_wire::prost::Message::decode(status.extra).unwrap();
    assert_eq!(status.limitation.unwrap().resources[0].name, "mem");
    cluster.no_process_left().await;
}

/// The memory limit of the cgroup that `/proc/PID/cgroup` names.
fn memory_limit(of: &str) -> Option<u64> {
    let limit = of.lines().find_map(|line| match line.splitn(3, ':').collect::<Vec<_>>()[..] {
        [_, "memory", path] => Some(format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes")),
        ["0", "", path] => Some(format!("/sys/fs/cgroup{path}/memory.max")),
        _ => None,
    });
    std::fs::read_to_string(limit?).ok()?.trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_has_the_limits_of_all_tasks_that_came_before_it_ran() {
    if !memory_is_limited() {
        return;
    }
    let mut cluster = Cluster::start().await;
    for task in ["t1", "t2", "t3"] {
        cluster.launch_with(task, |task| {
            let line = "cat /proc/self/cgroup > cgroup; touch ready; sleep 1000";
            task.command = None;
            task.executor = Some(custom_executor("x", line).into());
        });
    }
    cluster.flush().await;
    cluster.wait_for_file("x", "ready").await;
    let cgroup = std::fs::read_to_string(cluster.sandbox("x").join("cgroup")).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    // 64 MB of each task.
    while memory_limit(&cgroup) != Some(192 << 20) {
        assert!(std::time::Instant::now() < deadline, "{:?} of {cgroup}", memory_limit(&cgroup));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.end_executor("x").await;
    cluster.no_process_left().await;
}
