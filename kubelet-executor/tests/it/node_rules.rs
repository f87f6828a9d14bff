//! What a node refuses, and what it keeps over a stop; with an in-memory runtime.

use std::sync::Arc;

use k8s_openapi::api::node::v1::RuntimeClass;
use kernel_model::{executor::Event, task::TaskState};
use kubelet_executor::runtime::{
    Runtime,
    fake::{FakeRuntime, OTHER_HANDLER},
};
use serde_json::json;

use crate::fixture::{Fixture, pod, wait};

fn fixture() -> (Fixture, Arc<FakeRuntime>) {
    let fake: Arc<FakeRuntime> = Arc::default();
    let mut fixture = Fixture::new(Some(fake.clone() as Arc<dyn Runtime>));
    fixture.start();
    (fixture, fake)
}

#[test]
fn a_pod_with_an_unsafe_sysctl_fails() {
    let (fixture, fake) = fixture();
    let web = pod(
        "web",
        json!({
            "containers": [{ "name": "c", "image": "i:1" }],
            "securityContext": { "sysctls": [{ "name": "kernel.msgmax", "value": "65536" }] },
        }),
    );
    fixture.launch(&web);
    fixture.wait_for_state("uid-web", TaskState::Failed);
    let status = fixture.status("uid-web");
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("SysctlForbidden")));
    let message = "forbidden sysctl: \"kernel.msgmax\" not allowlisted";
    assert_eq!(status["message"], format!("Pod was rejected: {message}"));
    fixture.wait_for_event("SysctlForbidden", message);
    assert!(fake.starts().is_empty());
}

#[test]
fn the_files_of_an_empty_dir_survive_a_stop_and_end_with_the_pod() {
    let (mut fixture, _fake) = fixture();
    let web = pod(
        "web",
        json!({ "containers": [{ "name": "c", "image": "i:1" }], "volumes": [{ "name": "v", "emptyDir": {} }] }),
    );
    fixture.launch(&web);
    let runs = |status: &serde_json::Value| status["phase"] == "Running";
    fixture.wait_for_status("uid-web", "running", runs);
    let file = fixture.node_dir().join("volumes/uid-web/volumes/v/file");
    std::fs::write(&file, "kept").unwrap();
    fixture.stop();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    fixture.start();
    fixture.launch(&web);
    fixture.wait_for_status("uid-web", "running again", |status| {
        status["containerStatuses"][0]["restartCount"] == 1 && status["phase"] == "Running"
    });
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
    fixture.kill_pod("uid-web", 0);
    fixture.wait_for_state("uid-web", TaskState::Killed);
    assert!(!file.exists());
}

#[test]
fn a_restarted_executor_goes_on_from_the_newest_version() {
    let (mut fixture, fake) = fixture();
    let web = pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] }));
    fixture.launch(&web);
    fixture.wait_for_status("uid-web", "running", |status| status["phase"] == "Running");
    let mut newer = web.clone();
    newer["metadata"]["generation"] = json!(2);
    newer["spec"]["containers"][0]["image"] = json!("i:2");
    assert!(fixture.send_event(Event::Message { data: json!({ "pod": newer }).to_string().into() }));
    let has_new_image = |status: &serde_json::Value| {
        let container = &status["containerStatuses"][0];
        container["image"] == "i:2" && container["restartCount"] == 1 && container["ready"] == true
    };
    fixture.wait_for_status("uid-web", "running with the new image", has_new_image);
    fixture.kill();
    let updates = fixture.agent.updates().len();
    fixture.start();
    fixture.launch(&web);
    wait("an update of the restarted executor", || fixture.agent.updates().len() > updates);
    let status = fixture.status("uid-web");
    assert!(has_new_image(&status) && status["observedGeneration"] == 2, "{status:#}");
    assert_eq!(fake.starts(), ["web/c", "web/c"]);
}

#[test]
fn a_stop_grants_each_pod_its_own_grace_period_up_to_the_configured_one() {
    let (mut fixture, fake) = fixture();
    let stubborn = pod(
        "web",
        json!({ "containers": [{ "name": "c", "image": "i:1" }], "terminationGracePeriodSeconds": 600 }),
    );
    for (restarts, granted) in [(0, 600), (1, 2)] {
        fixture.launch(&stubborn);
        fixture.wait_for_status("uid-web", "running", |status| {
            let container = &status["containerStatuses"][0];
            container["ready"] == true && container["restartCount"] == restarts
        });
        fixture.stop();
        assert_eq!(fake.stop_graces().last(), Some(&std::time::Duration::from_secs(granted)));
        assert_eq!(kubelet_executor::StoppingNode::read(&fixture.config()), None, "no stop is in progress");
        fixture.stop_grace_max_ms = Some(2000);
        fixture.start();
    }
}

/// The scheduler's store was restored from a backup: the executor reports again what it has, and only if it differs.
#[test]
fn a_status_that_is_not_stored_any_more_is_reported_again() {
    let (mut fixture, fake) = fixture();
    let mut web = pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] }));
    fixture.launch(&web);
    let old = fixture.wait_for_status("uid-web", "ready", |s| s["containerStatuses"][0]["ready"] == true);
    fake.end("c", 1);
    let now = fixture.wait_for_status("uid-web", "restarted", |status| {
        let container = &status["containerStatuses"][0];
        container["restartCount"] == 1 && container["ready"] == true
    });
    let updates = fixture.agent.updates().len();
    let mut tell_stored = |status: &serde_json::Value| {
        web["status"] = status.clone();
        assert!(fixture.send_event(Event::Message { data: json!({ "stored": web }).to_string().into() }));
    };
    tell_stored(&now);
    tell_stored(&old);
    wait("the status to be reported again", || fixture.agent.updates().len() > updates);
    assert_eq!(fixture.status("uid-web"), now);
    fixture.stop();
    assert_eq!(fixture.agent.updates().len(), updates + 1, "not for the status that agrees");
}

/// The Pod must not seem to have the resources that it waits for.
#[test]
fn a_deferred_resize_is_deferred_after_a_restart_of_the_executor() {
    let (mut fixture, _fake) = fixture();
    let node =
        json!({ "metadata": { "name": "n1" }, "status": { "allocatable": { "cpu": "4", "memory": "4Gi" } } });
    fixture.api.state().node = Some(serde_json::from_value(node).unwrap());
    let resources = |cpu: &str| json!({ "requests": { "cpu": cpu, "memory": "64Mi" } });
    let container = json!({ "name": "c", "image": "i:1", "resources": resources("100m") });
    let web = pod("web", json!({ "containers": [container] }));
    fixture.launch(&web);
    fixture.wait_for_status("uid-web", "ready", |s| s["containerStatuses"][0]["ready"] == true);
    fixture.agent.set_refusing_resizes(true);
    let mut grown = web.clone();
    grown["metadata"]["generation"] = json!(2);
    grown["spec"]["containers"][0]["resources"] = resources("2");
    assert!(fixture.send_event(Event::Message { data: json!({ "pod": grown }).to_string().into() }));
    let is_deferred = |status: &serde_json::Value| {
        let conditions = status["conditions"].as_array();
        let pending = |c: &serde_json::Value| c["type"] == "PodResizePending" && c["reason"] == "Deferred";
        conditions.is_some_and(|conditions| conditions.iter().any(pending))
            && status["containerStatuses"][0]["allocatedResources"]["cpu"] == "100m"
    };
    fixture.wait_for_status("uid-web", "a deferred resize", is_deferred);
    fixture.kill();
    let updates = fixture.agent.updates().len();
    fixture.start();
    fixture.launch(&web);
    wait("an update of the restarted executor", || fixture.agent.updates().len() > updates);
    for update in &fixture.agent.updates()[updates..] {
        let data: serde_json::Value = serde_json::from_slice(&update.data).unwrap();
        assert!(is_deferred(&data["status"]), "{data:#}");
    }
}

#[test]
fn a_pod_runs_with_the_handler_of_its_runtime_class() {
    let (fixture, fake) = fixture();
    let class = |name: &str, handler: &str| {
        let class = RuntimeClass { handler: handler.to_owned(), ..Default::default() };
        fixture.api.state().runtime_classes.insert(name.to_owned(), class);
    };
    let of_class = |name: &str, class: &str| {
        let containers = json!([{ "name": "c", "image": "i:1" }]);
        fixture.launch(&pod(name, json!({ "containers": containers, "runtimeClassName": class })));
    };
    let runs = |status: &serde_json::Value| status["phase"] == "Running";
    class("isolated", OTHER_HANDLER);
    of_class("web", "isolated");
    fixture.wait_for_status("uid-web", "running", runs);
    assert_eq!(fake.handlers(), [OTHER_HANDLER]);
    // A class that does not exist any more, and one with a handler that the runtime lacks.
    of_class("late", "late");
    let reason = "Failed to create pod sandbox: ";
    fixture.wait_for_event(
        "FailedCreatePodSandBox",
        &format!("{reason}runtimeclass.node.k8s.io \"late\" not found"),
    );
    class("late", "absent");
    let unknown = format!("{reason}failed to get sandbox runtime: no runtime for \"absent\" is configured");
    fixture.wait_for_event("FailedCreatePodSandBox", &unknown);
    class("late", "");
    fixture.wait_for_status("uid-late", "running", runs);
    assert_eq!(fake.handlers(), [OTHER_HANDLER, ""]);
}
