//! Tests with an in-memory runtime: tasks, updates, restarts.

use std::sync::Arc;

use k8s_openapi::api::authentication::v1::UserInfo;
use kernel_model::{executor::Call, task::TaskState};
use kubelet_executor::runtime::{Runtime, fake::FakeRuntime};
use serde_json::json;

use crate::fixture::{Fixture, pod, wait};

fn fixture() -> (Fixture, Arc<FakeRuntime>) {
    let fake: Arc<FakeRuntime> = Arc::default();
    let mut fixture = Fixture::new(Some(fake.clone() as Arc<dyn Runtime>));
    fixture.start();
    (fixture, fake)
}

#[test]
fn a_pod_runs_and_is_killed() {
    let (fixture, fake) = fixture();
    let web = pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] }));
    fixture.launch(&web);
    fixture.launch(&web);
    let status = fixture.wait_for_status("uid-web", "running", |status| status["phase"] == "Running");
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["hostIP"], "127.0.0.1");
    fixture.kill_pod("uid-web", 5);
    fixture.wait_for_state("uid-web", TaskState::Killed);
    assert_eq!(fake.starts(), ["web/c"], "a task that is launched twice runs once");
    let (sandboxes, containers) = fixture.block_on(fake.list(&[])).unwrap();
    assert!(sandboxes.is_empty() && containers.is_empty());
}

#[test]
fn jobs_complete_and_invalid_tasks_are_refused() {
    let (fixture, _fake) = fixture();
    let job = |name: &str, code: &str| {
        let container = json!({ "name": "c", "image": "i:1", "command": ["exit", code] });
        pod(name, json!({ "restartPolicy": "Never", "containers": [container] }))
    };
    fixture.launch(&job("good", "0"));
    fixture.launch(&job("bad", "3"));
    fixture.launch(&pod("..", json!({ "containers": [] })));
    fixture.wait_for_state("uid-good", TaskState::Finished);
    fixture.wait_for_state("uid-bad", TaskState::Failed);
    fixture.wait_for_state("uid-..", TaskState::Failed);
    let status = fixture.status("uid-bad");
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    fixture.kill_pod("uid-nobody", 0);
    fixture.wait_for_state("uid-nobody", TaskState::Killed);
}

#[test]
fn a_restarted_executor_adopts_pods_and_keeps_persisted_ends() {
    let (mut fixture, fake) = fixture();
    let web = pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] }));
    fixture.launch(&web);
    fixture.wait_for_status("uid-web", "running", |status| status["phase"] == "Running");
    fixture.agent.set_dropping_updates(true);
    let job = json!({ "restartPolicy": "Never", "containers": [{ "name": "j", "image": "i:1", "command": ["exit", "0"] }] });
    let job = pod("job", job);
    fixture.launch(&job);
    let record = fixture.node_dir().join("pods/ns_job_uid-job/.ended.json");
    wait("the job's end to be decided", || record.exists());
    fixture.kill();
    fixture.agent.set_dropping_updates(false);
    fixture.start();
    fixture.launch(&web);
    fixture.launch(&job);
    fixture.wait_for_state("uid-job", TaskState::Finished);
    fake.end("c", 1);
    fixture.wait_for_status("uid-web", "restarted once", |status| {
        status["containerStatuses"][0]["restartCount"] == 1
    });
    assert_eq!(fake.starts(), ["web/c", "job/j", "web/c"]);
}

#[test]
fn logs_of_an_earlier_run_count_as_a_restart() {
    let (fixture, _fake) = fixture();
    let logs = fixture.node_dir().join("pods/ns_web_uid-web/c");
    std::fs::create_dir_all(&logs).expect("a directory for logs");
    std::fs::write(logs.join("0.log"), "").expect("a log");
    fixture.launch(&pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] })));
    fixture.wait_for_status("uid-web", "running again", |status| {
        status["phase"] == "Running" && status["containerStatuses"][0]["restartCount"] == 1
    });
}

#[test]
fn missed_updates_are_sent_to_a_restarted_agent() {
    let (fixture, _fake) = fixture();
    fixture.agent.set_dropping_updates(true);
    fixture.launch(&pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] })));
    wait("an update that is not acknowledged", || fixture.agent.dropped_updates() > 0);
    fixture.agent.disconnect();
    fixture.agent.set_dropping_updates(false);
    wait("the executor to come back", || fixture.agent.subscriptions().len() == 2);
    let Some(Call::Subscribe { unacknowledged_tasks, unacknowledged_updates }) =
        fixture.agent.subscriptions().pop()
    else {
        panic!("it is a SUBSCRIBE")
    };
    assert_eq!((unacknowledged_tasks.len(), unacknowledged_updates.len()), (1, 1));
    fixture.wait_for_status("uid-web", "running", |status| status["phase"] == "Running");
}

#[test]
fn a_missing_config_map_is_reported_and_awaited() {
    let (fixture, _fake) = fixture();
    let container =
        json!({ "name": "c", "image": "i:1", "envFrom": [{ "configMapRef": { "name": "later" } }] });
    fixture.launch(&pod("web", json!({ "containers": [container] })));
    let status = fixture.wait_for_status("uid-web", "waiting", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    });
    let message = &status["containerStatuses"][0]["state"]["waiting"]["message"];
    assert_eq!(message, "configmap \"later\" not found");
    fixture.api.state().config_maps.insert(("ns".into(), "later".into()), Default::default());
    fixture.wait_for_status("uid-web", "running", |status| status["phase"] == "Running");
    fixture.wait_for_event("Failed", "");
    fixture.wait_for_event("Started", "");
}

#[test]
fn a_failed_pull_is_reported() {
    let (fixture, _fake) = fixture();
    fixture.launch(&pod("web", json!({ "containers": [{ "name": "c", "image": "absent:1" }] })));
    fixture.wait_for_status("uid-web", "failing", |status| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    });
    fixture.kill_pod("uid-web", 0);
    fixture.wait_for_state("uid-web", TaskState::Killed);
}

#[test]
fn image_volumes_are_viewed_while_their_pod_lives() {
    let (mut fixture, fake) = fixture();
    let with_volume = |name: &str, image: &str, mount: serde_json::Value| {
        pod(
            name,
            json!({
                "containers": [{ "name": "c", "image": "i:1", "volumeMounts": [mount] }],
                "volumes": [
                    { "name": "v", "image": { "reference": image, "pullPolicy": "IfNotPresent" } },
                    { "name": "unused", "image": { "reference": "absent:1", "pullPolicy": "Never" } },
                ],
            }),
        )
    };
    let whole = json!({ "name": "v", "mountPath": "/v" });
    let web = with_volume("web", "j:2", whole.clone());
    fixture.launch(&web);
    fixture.wait_for_status("uid-web", "running", |status| status["phase"] == "Running");
    assert_eq!(fake.views(), 1);
    fixture.stop();
    assert_eq!(fake.views(), 0, "nothing is left after a stop of the node");
    fixture.start();
    fixture.launch(&web);
    fixture.wait_for_status("uid-web", "running again", |status| status["phase"] == "Running");
    fixture.launch(&with_volume("absent", "absent:2", whole));
    let waits = |status: &serde_json::Value, reason: &str| {
        status["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
    };
    fixture.wait_for_status("uid-absent", "failing", |status| waits(status, "ImagePullBackOff"));
    fixture.wait_for_event("Failed", "Failed to pull image \"absent:2\": no such image");
    fixture.wait_for_event("BackOff", "Back-off pulling image \"absent:2\"");
    let about_pod = |event: &k8s_openapi::api::core::v1::Event| event.involved_object.field_path.is_none();
    assert!(
        fixture
            .api
            .state()
            .events
            .iter()
            .any(|event| event.reason.as_deref() == Some("BackOff") && about_pod(event))
    );
    // The fake runtime's images are empty.
    fixture.launch(&with_volume("part", "j:2", json!({ "name": "v", "mountPath": "/v", "subPath": "data" })));
    let status =
        fixture.wait_for_status("uid-part", "failing", |status| waits(status, "CreateContainerError"));
    let message = status["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("ImageVolumeMountFailed: subPath \"data\": "), "{message}");
    for uid in ["uid-web", "uid-absent", "uid-part"] {
        fixture.kill_pod(uid, 0);
        fixture.wait_for_state(uid, TaskState::Killed);
    }
    assert_eq!(fake.views(), 0);
}

#[test]
fn a_stop_awaits_and_removes_operations_in_progress() {
    let (mut fixture, fake) = fixture();
    // Long enough to be observed on a busy machine.
    fake.set_delay(std::time::Duration::from_millis(1500));
    // One Pod is creating its sandbox, the other its container.
    fixture.launch(&pod("early", json!({ "containers": [{ "name": "c", "image": "i:1" }] })));
    wait("the sandbox", || fixture.block_on(fake.list(&[])).unwrap().0.len() == 1);
    wait("the container to be begun", || fake.calls_in_flight_and_cancelled().0 == 1);
    fixture.launch(&pod("late", json!({ "containers": [{ "name": "c", "image": "i:1" }] })));
    wait("the second sandbox to be begun", || fake.calls_in_flight_and_cancelled().0 == 2);
    fixture.stop();
    assert_eq!(fake.calls_in_flight_and_cancelled(), (0, 0), "no call is dropped");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (sandboxes, containers) = runtime.block_on(fake.list(&[])).unwrap();
    assert!(sandboxes.is_empty() && containers.is_empty(), "{sandboxes:#?} {containers:#?}");
    assert!(fake.starts().is_empty(), "nothing is started during a stop");
}

#[test]
fn restart_counts_continue_after_a_stop() {
    let (mut fixture, fake) = fixture();
    let web = pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] }));
    let job = json!({ "restartPolicy": "Never", "containers": [{ "name": "j", "image": "i:1" }] });
    let job = pod("job", job);
    fixture.launch(&web);
    fixture.launch(&job);
    let runs = |status: &serde_json::Value| status["phase"] == "Running";
    let mut ids: Vec<String> = Vec::new();
    let began = fixture.wait_for_status("uid-job", "running", runs)["startTime"].clone();
    for stops in 0..3 {
        let status = fixture.wait_for_status("uid-web", "running again", |status| {
            let container = &status["containerStatuses"][0];
            let id = container["containerID"].as_str().unwrap_or_default().to_owned();
            container["restartCount"] == stops && container["ready"] == true && !ids.contains(&id)
        });
        let container = &status["containerStatuses"][0];
        if stops > 0 {
            assert_eq!(container["lastState"]["terminated"]["exitCode"], 143, "{container:#}");
        }
        ids.push(container["containerID"].as_str().unwrap().to_owned());
        fixture.stop();
        fixture.start();
        fixture.launch(&web);
        fixture.launch(&job);
    }
    // A container that must not run again does not.
    fixture.wait_for_state("uid-job", TaskState::Failed);
    assert_eq!(fixture.status("uid-job")["startTime"], began);
    assert_eq!(fake.starts().iter().filter(|start| *start == "job/j").count(), 1);
    fixture.wait_for_event("SandboxChanged", "");
}

#[test]
fn the_nodes_server_admits_whom_the_api_server_allows() {
    let (fixture, _fake) = fixture();
    let get = |certificate: &str, path: &str| fixture.block_on(fixture.node_client(certificate).get(path));
    assert_eq!(get("client", "/healthz"), (200, "ok".to_owned()));
    assert_eq!(get("client", "/nothing").0, 404);
    let refusal = |user: &str, subresources: &str| {
        format!("Forbidden (user={user}, verb=get, resource=nodes, subresource(s)=[{subresources}])\n")
    };
    assert_eq!(get("node", "/healthz"), (403, refusal("system:node:n1", "healthz proxy")));

    let ask = |token, path: &str| fixture.block_on(fixture.client_with_token(token).get(path));
    let user = UserInfo { username: Some("scraper".to_owned()), ..UserInfo::default() };
    fixture.api.state().users.insert("secret".to_owned(), user);
    let allow = |subresource: &str| {
        let right = ["scraper", "get", subresource].map(str::to_owned);
        fixture.api.state().allowed.insert(right.into());
    };
    for token in [None, Some("wrong"), Some("")] {
        assert_eq!(ask(token, "/metrics/resource"), (401, "Unauthorized".to_owned()), "{token:?}");
    }
    assert_eq!(ask(Some("secret"), "/metrics/resource"), (403, refusal("scraper", "metrics")));
    allow("metrics");
    assert!(ask(Some("secret"), "/metrics/resource").1.contains("node_cpu_usage_seconds_total "));
    assert_eq!(ask(Some("secret"), "/stats/summary"), (403, refusal("scraper", "stats")));
    assert_eq!(ask(Some("secret"), "/containerLogs/ns/p/c"), (403, refusal("scraper", "proxy")));
    allow("stats");
    let summary: serde_json::Value = serde_json::from_str(&ask(Some("secret"), "/stats/summary").1).unwrap();
    assert_eq!(summary["node"]["nodeName"], "n1");
    // Either of two subresources suffices.
    allow("proxy");
    assert_eq!(ask(Some("secret"), "/pods").0, 200);
}

#[test]
fn the_nodes_server_uses_renewed_certificates() {
    let (fixture, _fake) = fixture();
    fixture.renew_certificates();
    // This client trusts only the new authority.
    assert_eq!(fixture.block_on(fixture.node_client("client").get("/healthz")).0, 200);
}

#[test]
fn metrics_tell_what_runs() {
    let (fixture, _fake) = fixture();
    fixture.launch(&pod("web", json!({ "containers": [{ "name": "c", "image": "i:1" }] })));
    fixture.wait_for_status("uid-web", "running", |status| status["phase"] == "Running");
    let client = fixture.node_client("client");
    let has = |line: &str| fixture.block_on(client.get("/metrics")).1.lines().any(|found| found == line);
    for line in [
        "kubelet_node_name{node=\"n1\"} 1",
        "kubelet_running_pods 1",
        "kubelet_running_containers{container_state=\"running\"} 1",
        "kubelet_pod_start_duration_seconds_count 1",
        "kubelet_started_pods_total 1",
        "kubelet_started_containers_total{container_type=\"container\"} 1",
    ] {
        wait(line, || has(line));
    }
    fixture.kill_pod("uid-web", 0);
    fixture.wait_for_state("uid-web", TaskState::Killed);
    wait("no running pod", || has("kubelet_running_pods 0"));
}

#[test]
fn the_node_says_what_it_is_and_how_it_is_set() {
    let (fixture, _fake) = fixture();
    let client = fixture.node_client("client");
    let (code, text) = fixture.block_on(client.get("/statusz"));
    assert_eq!(code, 200, "{text}");
    assert!(text.starts_with("\nkubelet statusz\nWarning: "), "{text}");
    assert!(
        text.contains("\nUp: 0 hr ") && text.contains("\nPaths: /attach /containerLogs /exec /flagz "),
        "{text}"
    );
    let (code, text) = fixture.block_on(client.get("/flagz"));
    assert_eq!(code, 200, "{text}");
    assert!(text.contains("\nhostname-override=n1\n"), "{text}");
}
