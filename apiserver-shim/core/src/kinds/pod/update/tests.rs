//! What may change of a stored Pod.

use serde_json::json;

use super::*;

#[test]
fn a_resize_changes_amounts_and_nothing_else() {
    let container = |name: &str, resources: Value| json!({ "name": name, "resources": resources });
    let both =
        || json!({ "requests": { "cpu": "1", "memory": "1" }, "limits": { "cpu": "2", "memory": "2" } });
    let pod = |init: Value, main: Value| json!({ "spec": { "initContainers": init, "containers": main } });
    let old = pod(json!([container("i", both())]), json!([container("a", both()), container("b", both())]));
    let cut = |kind: &str, name: &str| {
        let mut resources = both();
        access::remove(&mut resources, &[kind, name]);
        resources
    };
    let main = |a: Value| {
        pod(old["spec"]["initContainers"].clone(), json!([container("a", a), container("b", both())]))
    };
    let more = json!({ "requests": { "cpu": "2", "memory": "1" }, "limits": { "cpu": "3", "memory": "2" } });
    let table = [
        (main(more.clone()), ""),
        (
            main(cut("limits", "cpu")),
            "spec.containers[0].resources.limits: resource limits cannot be removed",
        ),
        (
            main(cut("requests", "memory")),
            "spec.containers[0].resources.requests: resource requests cannot be removed",
        ),
        (
            pod(json!([container("i", more)]), old["spec"]["containers"].clone()),
            "spec.initContainers[0].resources: resources for non-sidecar init containers are immutable",
        ),
        (
            pod(old["spec"]["initContainers"].clone(), json!([container("a", both())])),
            "spec.containers: containers may not be added or removed on resize",
        ),
        (
            pod(
                old["spec"]["initContainers"].clone(),
                json!([container("b", both()), container("a", both())]),
            ),
            "spec.containers[0].name: containers may not be renamed or reordered on resize",
        ),
    ];
    for (new, expected) in table {
        let mut errors = Vec::new();
        resize(&new, &old, &mut errors);
        let first =
            errors.first().map(|error| format!("{}: {}", error.field, error.detail)).unwrap_or_default();
        assert_eq!(first, expected);
    }
}

#[test]
fn a_container_leaves_its_terminated_state_if_it_may_restart() {
    let rule =
        |action: &str| json!([{ "action": action, "exitCodes": { "operator": "In", "values": [42] } }]);
    let table = [
        ("Never", json!({}), 42, false),
        ("Always", json!({}), 0, true),
        ("OnFailure", json!({}), 0, false),
        ("OnFailure", json!({}), 1, true),
        ("Always", json!({ "restartPolicy": "Never" }), 1, false),
        ("Never", json!({ "restartPolicy": "OnFailure" }), 1, true),
        ("Never", json!({ "restartPolicy": "Never", "restartPolicyRules": rule("Restart") }), 42, true),
        ("Never", json!({ "restartPolicy": "Never", "restartPolicyRules": rule("Restart") }), 1, false),
        (
            "Never",
            json!({ "restartPolicy": "Never", "restartPolicyRules": rule("RestartAllContainers") }),
            0,
            true,
        ),
    ];
    for (policy, mut container, code, allowed) in table {
        container["name"] = json!("c");
        let pod = |state: Value| {
            json!({
                "spec": { "restartPolicy": policy, "containers": [container] },
                "status": { "containerStatuses": [{ "name": "c", "state": state }] },
            })
        };
        let (old, new) = (pod(json!({ "terminated": { "exitCode": code } })), pod(json!({ "running": {} })));
        assert_eq!(validate_status(&new, &old).is_empty(), allowed, "{old}");
    }
}

#[test]
fn ephemeral_containers_are_added_and_nothing_else() {
    let named = |name: &str, image: &str| {
        json!({
            "name": name, "image": image, "resources": {}, "imagePullPolicy": "Always",
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    let pod = |ephemeral: Value, annotations: Value| {
        json!({
            "metadata": { "annotations": annotations },
            "spec": {
                "containers": [named("a", "i")], "ephemeralContainers": ephemeral, "restartPolicy": "Always",
                "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
            },
        })
    };
    let refused = |new: Value, old: &Value| {
        let errors = EphemeralContainers.validate_update(&new, old);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let old = pod(json!([named("e", "i")]), json!({}));
    assert_eq!(refused(pod(json!([named("e", "i"), named("f", "i")]), json!({})), &old), "");
    assert_eq!(
        refused(pod(json!([named("f", "i")]), json!({})), &old),
        "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n"
    );
    let changed = refused(pod(json!([named("e", "j")]), json!({})), &old);
    let expected = "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be changed\n\
        @@ -1,6 +1,6 @@\n {\n  \"Name\": \"e\",\n- \"Image\": \"i\",\n+ \"Image\": \"j\",\n  \"Command\": null,\n";
    assert!(changed.starts_with(expected), "{changed}");
    let mirror = pod(json!([]), json!({ "kubernetes.io/config.mirror": "x" }));
    assert_eq!(
        refused(pod(json!([named("e", "i")]), json!({})), &mirror),
        ": Forbidden: static pods do not support ephemeral containers"
    );
    let errors = Resize.validate_update(&mirror, &mirror);
    assert_eq!(errors[0].to_string(), ": Forbidden: static pods cannot be resized");
}

#[test]
fn an_ephemeral_container_stays_terminated() {
    let pod = |state: Value| {
        json!({
            "spec": { "restartPolicy": "Always", "ephemeralContainers": [{ "name": "e" }] },
            "status": { "ephemeralContainerStatuses": [{ "name": "e", "state": state }] },
        })
    };
    let (ended, runs) = (pod(json!({ "terminated": { "exitCode": 1 } })), pod(json!({ "running": {} })));
    assert!(validate_status(&ended, &runs).is_empty());
    let errors = validate_status(&runs, &ended);
    let expected = "status.ephemeralContainerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}

#[test]
fn what_is_no_resource_is_dropped_from_a_resize() {
    let pod = |spec: Value| json!({"metadata": {"name": "p"}, "spec": spec});
    let old = pod(
        json!({"nodeName": "n", "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}]}),
    );
    let mut new =
        pod(json!({"containers": [{"name": "c", "image": "j", "resources": {"limits": {"cpu": "2"}},
        "resizePolicy": [{"resourceName": "cpu"}]}]}));
    Resize.prepare_update(&mut new, &old);
    let mut wanted = old.clone();
    wanted["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "2".into();
    wanted["spec"]["containers"][0]["resizePolicy"] = json!([{"resourceName": "cpu"}]);
    assert_eq!(new, wanted);
    // Validation refuses other containers.
    let other = pod(json!({"containers": [{"name": "d", "image": "j"}]}));
    let mut new = other.clone();
    Resize.prepare_update(&mut new, &old);
    assert_eq!(new["spec"]["containers"], other["spec"]["containers"]);
}
