//! The two ways to read the fields of a Pod agree.

use bytes::Bytes;
use serde_json::json;

use super::super::Pod;
use super::*;
use crate::kinds::{Strategy, selectable_fields};

#[test]
fn fields_of_encoded_and_decoded_pods_agree() {
    for pod in [
        json!({}),
        json!({"spec": {"nodeName": null}, "status": null}),
        json!({"spec": {"nodeName": "n", "hostNetwork": true, "containers": [{"nodeName": "no"}]}}),
        json!({"spec": {"restartPolicy": "Never", "schedulerName": "s", "serviceAccountName": "a"},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "nominatedNodeName": "m"}}),
    ] {
        let stored = StoredObject::parse(Bytes::from(pod.to_string())).unwrap();
        assert_eq!(selectable_fields(&Pod, &stored), Pod.selectable(&pod), "{pod}");
    }
}
