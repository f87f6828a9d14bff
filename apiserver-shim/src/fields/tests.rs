//! The two ways to read a Pod's fields agree.

use serde_json::json;
use shim_model::resource::find;

use super::*;

#[test]
fn fields_of_a_pod_are_the_same_decoded_or_not() {
    let pods = find("", "v1", "pods").unwrap();
    for pod in [
        json!({}),
        json!({"spec": {"nodeName": null}, "status": null}),
        json!({"spec": {"nodeName": "n", "hostNetwork": true, "containers": [{"nodeName": "no"}]}}),
        json!({"spec": {"restartPolicy": "Never", "schedulerName": "s", "serviceAccountName": "a"},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "nominatedNodeName": "m"}}),
    ] {
        let (_, fields) = parse(pods, pod.to_string().as_bytes()).unwrap();
        assert_eq!(fields, of_value(pods, &pod), "{pod}");
    }
}
