//! Names, data and equality of revisions.

use serde_json::json;

use super::*;

fn template() -> Value {
    json!({
        "metadata": {"labels": {"k": "v"}},
        "spec": {
            "containers": [{
                "image": "img:1", "imagePullPolicy": "IfNotPresent", "name": "c", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30,
        },
    })
}

/// The hash is the one that a server of Kubernetes 1.36 gave the revision of this template.
#[test]
fn hashes_are_those_of_upstream() {
    let data = data_of(&template());
    assert_eq!(hash(&data, 0), "67bc5bf96b");
    assert_ne!(hash(&data, 1), hash(&data, 0));
}

#[test]
fn what_is_special_in_html_is_escaped() {
    assert_eq!(go_json(&json!({"a": "<b> & c"})), "{\"a\":\"\\u003cb\\u003e \\u0026 c\"}");
}

#[test]
fn data_restores_the_template() {
    let data = data_of(&template());
    assert_eq!(data["spec"]["template"]["$patch"], "replace");
    assert_eq!(template_of(&data), template());
    let mut same = template();
    same["spec"]["volumes"] = json!([]);
    assert!(equal(&data, &data_of(&same)));
    same["spec"]["hostname"] = json!("h");
    assert!(!equal(&data, &data_of(&same)));
}

#[test]
fn long_names_are_cut() {
    let long = "n".repeat(250);
    assert_eq!(name(&long, "67bc5bf96b").len(), PREFIX_MAX + 11);
    assert_eq!(name("web", "67bc5bf96b"), "web-67bc5bf96b");
}
