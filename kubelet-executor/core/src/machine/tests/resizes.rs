//! In-place resize.

use super::*;

fn resized(harness: &Harness, resources: serde_json::Value) -> Arc<Pod> {
    let mut pod = (**harness.machine.pod()).clone();
    pod.metadata.generation = Some(2);
    pod.spec.as_mut().unwrap().containers[0].resources = Some(serde_json::from_value(resources).unwrap());
    Arc::new(pod)
}

fn resizable(policy: serde_json::Value) -> Harness {
    let mut harness = Harness::new(json!({ "containers": [{
        "name": "web", "image": "w", "resizePolicy": policy,
        "resources": { "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "cpu": "500m", "memory": "128Mi" } },
    }] }));
    harness.settle();
    harness.events.clear();
    harness
}

/// The conditions of a resize, and what the status says about the container.
fn shown(harness: &Harness) -> String {
    let status = harness.machine.status();
    let resize = status.conditions.iter().flatten().filter(|c| c.type_.starts_with("PodResize"));
    let mut out: String = resize
        .map(|c| {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            format!("{} {}: {}\n", c.type_, text(&c.reason), text(&c.message))
        })
        .collect();
    let container = &status.container_statuses.unwrap()[0];
    let limit = &container.resources.as_ref().unwrap().limits.as_ref().unwrap()["cpu"].0;
    let allocated = &container.allocated_resources.as_ref().unwrap()["cpu"].0;
    out.push_str(&format!("limit {limit}, allocated {allocated}, restarts {}", container.restart_count));
    out
}

fn more() -> serde_json::Value {
    json!({ "requests": { "cpu": "200m", "memory": "64Mi" }, "limits": { "cpu": "600m", "memory": "128Mi" } })
}

#[test]
fn the_cgroup_follows_and_the_status_follows_the_cgroup() {
    let mut harness = resizable(json!([]));
    harness.send(Event::Update(resized(&harness, more())));
    assert_eq!(shown(&harness), "limit 500m, allocated 100m, restarts 0", "nothing is allocated yet");
    harness.perform(0);
    assert_eq!(shown(&harness), "PodResizeInProgress : \nlimit 500m, allocated 200m, restarts 0");
    assert_eq!(harness.pending, [Action::UpdateContainer { name: "web".to_owned(), id: "web-0".to_owned() }]);
    harness.settle();
    assert_eq!(shown(&harness), "limit 600m, allocated 200m, restarts 0");
    let resources = "{\"containers\":[{\"name\":\"web\",\"resources\":{\"limits\":{\"cpu\":\"600m\",\
                     \"memory\":\"128Mi\"},\"requests\":{\"cpu\":\"200m\",\"memory\":\"64Mi\"}}}],\"generation\":2}";
    assert_eq!(
        harness.events,
        [
            format!("ResizeStarted Pod resize started: {resources}"),
            format!("ResizeCompleted Pod resize completed: {resources}"),
        ]
    );
    harness.settle();
    assert_eq!(harness.updates, ["web-0"], "once");
}

#[test]
fn a_resize_right_after_another_does_not_wait() {
    let mut harness = resizable(json!([]));
    for (cpu, failing) in [("600m", false), ("700m", true), ("800m", false)] {
        harness.fail_updates = failing.then(|| "no".to_owned());
        let resources = json!({ "requests": { "cpu": "200m" }, "limits": { "cpu": cpu } });
        harness.send(Event::Update(resized(&harness, resources)));
        harness.settle();
    }
    assert_eq!(shown(&harness), "limit 800m, allocated 200m, restarts 0");
}

#[test]
fn a_restart_policy_of_a_changed_resource_restarts_the_container() {
    for (resource, restarts) in [("cpu", 1), ("memory", 0)] {
        let policy = json!([{ "resourceName": resource, "restartPolicy": "RestartContainer" }]);
        let mut harness = resizable(policy);
        let pod = resized(&harness, more());
        harness.pod = pod.clone();
        harness.send(Event::Update(pod));
        harness.settle();
        assert_eq!(shown(&harness), format!("limit 600m, allocated 200m, restarts {restarts}"), "{resource}");
        assert_eq!(harness.starts.len(), 1 + restarts);
    }
}

#[test]
fn a_resize_that_does_not_fit_waits() {
    let mut harness = resizable(json!([]));
    harness.refuse_resizes = Some(ResizeRefusal::Deferred("no room".to_owned()));
    harness.send(Event::Update(resized(&harness, more())));
    harness.settle();
    let waits = "PodResizePending Deferred: no room\nlimit 500m, allocated 100m, restarts 0";
    assert_eq!(shown(&harness), waits);
    harness.advance_clock(10);
    harness.send(Event::Tick);
    harness.settle();
    assert_eq!((shown(&harness), harness.events.len()), (waits.to_owned(), 1), "one Event");
    assert!(harness.events[0].starts_with("ResizeDeferred Pod resize Deferred: {"), "{:?}", harness.events);
    harness.refuse_resizes = None;
    harness.advance_clock(10);
    harness.send(Event::Tick);
    harness.settle();
    assert_eq!(shown(&harness), "limit 600m, allocated 200m, restarts 0");
}

#[test]
fn a_failed_update_is_shown_and_repeated() {
    let mut harness = resizable(json!([]));
    harness.fail_updates = Some("cannot decrease memory limits: x".to_owned());
    harness.send(Event::Update(resized(&harness, more())));
    harness.settle();
    let failed =
        "PodResizeInProgress Error: cannot decrease memory limits: x\nlimit 500m, allocated 200m, restarts 0";
    assert_eq!(shown(&harness), failed);
    harness.fail_updates = None;
    harness.advance_clock(10);
    harness.send(Event::Tick);
    harness.settle();
    assert_eq!(shown(&harness), "limit 600m, allocated 200m, restarts 0");
}

#[test]
fn a_restarted_executor_goes_on_from_the_cgroup() {
    let mut harness = resizable(json!([]));
    harness.pod = resized(&harness, more());
    harness.restart_executor();
    harness.settle();
    assert_eq!(shown(&harness), "limit 600m, allocated 200m, restarts 0");
    assert_eq!(harness.updates, ["web-0"]);
}

/// When a condition became true.
fn since(
    status: &PodStatus,
    condition: &str,
) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|c| c.type_ == condition).and_then(|c| c.last_transition_time.clone())
}

#[test]
fn a_resize_in_progress_is_in_progress_after_a_restart_of_the_executor() {
    let mut harness = resizable(json!([]));
    harness.fail_updates = Some("busy".to_owned());
    harness.send(Event::Update(resized(&harness, more())));
    harness.settle();
    let (before, unfinished) = (harness.machine.status(), harness.machine.unfinished_resize());
    harness.pod = harness.machine.pod().clone();
    harness.events.clear();
    harness.advance_clock(60);
    harness.restart_executor();
    harness.machine.resume_resize(unfinished);
    let fails = "PodResizeInProgress Error: busy\nlimit 500m, allocated 200m, restarts 0";
    harness.settle();
    assert_eq!(shown(&harness), fails);
    let name = "PodResizeInProgress";
    assert_eq!(since(&harness.machine.status(), name), since(&before, name));
    assert_eq!(harness.events, [""; 0], "the failure is known");
    harness.fail_updates = None;
    harness.advance_clock(10);
    harness.send(Event::Tick);
    harness.settle();
    assert_eq!(shown(&harness), "limit 600m, allocated 200m, restarts 0");
    assert_eq!(harness.events.len(), 1);
    assert!(harness.events[0].starts_with("ResizeCompleted Pod resize completed: "), "{:?}", harness.events);
}

/// The refusal is recorded beside the allocated version. It is shown from the first status on, with its time and without
/// another Event.
#[test]
fn a_pending_resize_is_pending_after_a_restart_of_the_executor() {
    let mut harness = resizable(json!([]));
    harness.refuse_resizes = Some(ResizeRefusal::Infeasible("too much".to_owned()));
    let desired = resized(&harness, more());
    harness.send(Event::Update(desired.clone()));
    harness.settle();
    let (before, unfinished) = (harness.machine.status(), harness.machine.unfinished_resize());
    harness.pod = harness.machine.pod().clone();
    harness.events.clear();
    harness.advance_clock(60);
    harness.restart_executor();
    harness.machine.resume_resize(unfinished);
    harness.send(Event::Update(desired));
    harness.list();
    let waits = "PodResizePending Infeasible: too much\nlimit 500m, allocated 100m, restarts 0";
    assert_eq!(shown(&harness), waits, "before the check is answered");
    harness.settle();
    assert_eq!(shown(&harness), waits);
    assert_eq!(since(&harness.machine.status(), "PodResizePending"), since(&before, "PodResizePending"));
    assert_eq!(harness.events, [""; 0]);
    assert_eq!(harness.updates, [""; 0], "the cgroup stays");
}
