//! The two ways to read the fields of Pods and of Events agree.

use crate::storage::catalog::testing::definition;
use bytes::Bytes;
use serde_json::{Value, json};

use super::*;

fn stored(value: &Value) -> StoredObject {
    StoredObject::parse(Bytes::from(value.to_string())).unwrap()
}

#[test]
fn fields_of_a_pod_are_the_same_decoded_or_not() {
    let pods = &definition("", "pods");
    for pod in [
        json!({}),
        json!({"spec": {"nodeName": null}, "status": null}),
        json!({"spec": {"nodeName": "n", "hostNetwork": true, "containers": [{"nodeName": "no"}]}}),
        json!({"spec": {"restartPolicy": "Never", "schedulerName": "s", "serviceAccountName": "a"},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "nominatedNodeName": "m"}}),
    ] {
        assert_eq!(of(pods, &stored(&pod)), pods.strategy().selectable(&pod), "{pod}");
    }
}

#[test]
fn fields_of_an_event_are_the_same_decoded_or_not() {
    let events = &definition("", "events");
    for event in [
        json!({}),
        json!({"reason": "R", "type": "Normal", "source": {"component": "s"}, "reportingComponent": "r"}),
        json!({"reportingComponent": "r", "source": {}, "series": null, "involvedObject": {
            "kind": "Pod", "namespace": "n", "name": "p", "uid": "u", "apiVersion": "v1", "resourceVersion": "5",
            "fieldPath": "spec.containers{c}"}}),
    ] {
        let mut fields = of(events, &stored(&event));
        let mut expected = events.strategy().selectable(&event);
        fields.sort_unstable();
        expected.sort_unstable();
        assert_eq!(fields, expected, "{event}");
    }
}
