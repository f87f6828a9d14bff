//! The executor against a runtime of maps: tasks in, updates out, restarts in between.

use std::sync::Arc;

use kernel_model::{executor::Call, task::TaskState};
use kubelet_executor::runtime::{Runtime, fake::FakeRuntime};
use serde_json::json;

use crate::stage::{Stage, pod, wait};

fn stage() -> (Stage, Arc<FakeRuntime>) {
    let fake: Arc<FakeRuntime> = Arc::default();
    let mut stage = Stage::new(Some(fake.clone() as Arc<dyn Runtime>));
    stage.raise();
    (stage, fake)
}

#[test]
fn a_pod_runs_and_is_killed() {
    let (stage, fake) = stage();
    let web = pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] }));
    stage.launch(&web);
    stage.launch(&web);
    let status = stage.await_status("uid-web", "running", |status| status["phase"] == "Running");
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["hostIP"], "127.0.0.1");
    stage.kill_pod("uid-web", 5);
    stage.await_state("uid-web", TaskState::Killed);
    assert_eq!(fake.starts(), ["web/c"], "a task that is launched twice runs once");
    let (sandboxes, containers) = stage.block_on(fake.list(&[])).unwrap();
    assert!(sandboxes.is_empty() && containers.is_empty());
}

#[test]
fn jobs_end_and_bad_tasks_are_refused() {
    let (stage, _fake) = stage();
    let job = |name: &str, code: &str| {
        let container = json!({ "name": "c", "image": "i:1", "command": ["exit", code] });
        pod(name, json!({ "restartPolicy": "Never", "containers": [container] }))
    };
    stage.launch(&job("good", "0"));
    stage.launch(&job("bad", "3"));
    stage.launch(&pod("..", json!({ "containers": [] })));
    stage.await_state("uid-good", TaskState::Finished);
    stage.await_state("uid-bad", TaskState::Failed);
    stage.await_state("uid-..", TaskState::Failed);
    let status = stage.status("uid-bad");
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    stage.kill_pod("uid-nobody", 0);
    stage.await_state("uid-nobody", TaskState::Killed);
}

#[test]
fn a_killed_executor_adopts_and_a_decided_end_stays() {
    let (mut stage, fake) = stage();
    let web = pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] }));
    stage.launch(&web);
    stage.await_status("uid-web", "running", |status| status["phase"] == "Running");
    stage.agent.set_deaf(true);
    let job = json!({ "restartPolicy": "Never", "containers": [{ "name": "j", "image": "i:1", "command": ["exit", "0"] }] });
    let job = pod("job", job);
    stage.launch(&job);
    let record = stage.node_dir().join("pods/ns_job_uid-job/.ended.json");
    wait("the job's end to be decided", || record.exists());
    stage.kill();
    stage.agent.set_deaf(false);
    stage.raise();
    stage.launch(&web);
    stage.launch(&job);
    stage.await_state("uid-job", TaskState::Finished);
    fake.end("c", 1);
    stage.await_status("uid-web", "restarted once", |status| {
        status["containerStatuses"][0]["restartCount"] == 1
    });
    assert_eq!(fake.starts(), ["web/c", "job/j", "web/c"]);
}

#[test]
fn what_ran_before_its_node_was_stopped_counts_as_a_restart() {
    let (stage, _fake) = stage();
    let logs = stage.node_dir().join("pods/ns_web_uid-web/c");
    std::fs::create_dir_all(&logs).expect("a directory for logs");
    std::fs::write(logs.join("0.log"), "").expect("a log");
    stage.launch(&pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] })));
    stage.await_status("uid-web", "running again", |status| {
        status["phase"] == "Running" && status["containerStatuses"][0]["restartCount"] == 1
    });
}

#[test]
fn a_restarted_agent_hears_what_it_missed() {
    let (stage, _fake) = stage();
    stage.agent.set_deaf(true);
    stage.launch(&pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] })));
    wait("an update that is not acknowledged", || stage.agent.swallowed() > 0);
    stage.agent.hang_up();
    stage.agent.set_deaf(false);
    wait("the executor to come back", || stage.agent.subscriptions().len() == 2);
    let Some(Call::Subscribe { unacknowledged_tasks, unacknowledged_updates }) =
        stage.agent.subscriptions().pop()
    else {
        panic!("it is a SUBSCRIBE")
    };
    assert_eq!((unacknowledged_tasks.len(), unacknowledged_updates.len()), (1, 1));
    stage.await_status("uid-web", "running", |status| status["phase"] == "Running");
}

#[test]
fn a_configuration_that_is_missing_is_named_and_awaited() {
    let (stage, _fake) = stage();
    let container =
        json!({ "name": "c", "image": "i:1", "envFrom": [{ "configMapRef": { "name": "later" } }] });
    stage.launch(&pod("web", json!({ "containers": [container] })));
    let status = stage.await_status("uid-web", "waiting", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    });
    let message = &status["containerStatuses"][0]["state"]["waiting"]["message"];
    assert_eq!(message, "configmap \"later\" not found");
    stage.api.state().config_maps.insert(("ns".into(), "later".into()), Default::default());
    stage.await_status("uid-web", "running", |status| status["phase"] == "Running");
    stage.await_event("Failed", "");
    stage.await_event("Started", "");
}

#[test]
fn a_pull_that_fails_is_shown() {
    let (stage, _fake) = stage();
    stage.launch(&pod("web", json!({ "containers": [{ "name": "c", "image": "absent:1" }] })));
    stage.await_status("uid-web", "failing", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    });
    stage.kill_pod("uid-web", 0);
    stage.await_state("uid-web", TaskState::Killed);
}

#[test]
fn a_stop_waits_for_what_is_under_way_and_takes_it_down() {
    let (mut stage, fake) = stage();
    // Long enough to be looked at between two looks of a busy machine.
    fake.set_pace(std::time::Duration::from_millis(1500));
    // The one is in the middle of its sandbox, the other in the middle of its container.
    stage.launch(&pod("early", json!({ "containers": [{ "name": "c", "image": "i:1" }] })));
    wait("the sandbox", || stage.block_on(fake.list(&[])).unwrap().0.len() == 1);
    wait("the container to be begun", || fake.under_way_and_cut_off().0 == 1);
    stage.launch(&pod("late", json!({ "containers": [{ "name": "c", "image": "i:1" }] })));
    wait("the second sandbox to be begun", || fake.under_way_and_cut_off().0 == 2);
    stage.stop();
    assert_eq!(fake.under_way_and_cut_off(), (0, 0), "no call is cut off");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (sandboxes, containers) = runtime.block_on(fake.list(&[])).unwrap();
    assert!(sandboxes.is_empty() && containers.is_empty(), "{sandboxes:#?} {containers:#?}");
    assert!(fake.starts().is_empty(), "nothing is started any more");
}

#[test]
fn after_a_stop_containers_count_on() {
    let (mut stage, fake) = stage();
    let web = pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] }));
    let job = json!({ "restartPolicy": "Never", "containers": [{ "name": "j", "image": "i:1" }] });
    let job = pod("job", job);
    stage.launch(&web);
    stage.launch(&job);
    let runs = |status: &serde_json::Value| status["phase"] == "Running";
    let mut ids: Vec<String> = Vec::new();
    let began = stage.await_status("uid-job", "running", runs)["startTime"].clone();
    for stops in 0..3 {
        let status = stage.await_status("uid-web", "running again", |status| {
            let container = &status["containerStatuses"][0];
            let id = container["containerID"].as_str().unwrap_or_default().to_owned();
            container["restartCount"] == stops && container["ready"] == true && !ids.contains(&id)
        });
        let container = &status["containerStatuses"][0];
        if stops > 0 {
            assert_eq!(container["lastState"]["terminated"]["exitCode"], 143, "{container:#}");
        }
        ids.push(container["containerID"].as_str().unwrap().to_owned());
        stage.stop();
        stage.raise();
        stage.launch(&web);
        stage.launch(&job);
    }
    // Nothing that may not run again does.
    stage.await_state("uid-job", TaskState::Failed);
    assert_eq!(stage.status("uid-job")["startTime"], began);
    assert_eq!(fake.starts().iter().filter(|start| *start == "job/j").count(), 1);
    stage.await_event("SandboxChanged", "");
}
