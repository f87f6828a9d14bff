//! The kinds whose upstream tests are the usual operations on objects, with a valid object of each.

use serde_json::{Value, json};

/// A kind and its objects.
pub struct Kind {
    pub group_version: &'static str,
    pub plural: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    /// The object of a number, without a name if any will do.
    pub object: fn(usize) -> Value,
    /// A status that a client may set, if the kind has the subresource.
    pub status: Option<Status>,
}

/// What a write of the status may contain.
#[derive(Clone, Copy)]
pub struct Status {
    pub value: fn() -> Value,
    /// Whether annotations are written with it; some kinds keep all metadata, as upstream does.
    pub with_annotations: bool,
}

const fn and_annotations(value: fn() -> Value) -> Option<Status> {
    Some(Status { value, with_annotations: true })
}

const fn alone(value: fn() -> Value) -> Option<Status> {
    Some(Status { value, with_annotations: false })
}

/// A row of the table.
const fn kind(
    group_version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
    object: fn(usize) -> Value,
    status: Option<Status>,
) -> Kind {
    Kind { group_version, plural, kind, namespaced, object, status }
}

const ADMISSION: &str = "admissionregistration.k8s.io/v1";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io/v1";
const NETWORK: &str = "networking.k8s.io/v1";
const DEVICES: &str = "resource.k8s.io/v1";
const STORAGE: &str = "storage.k8s.io/v1";

/// One test each.
pub static KINDS: &[Kind] = &[
    kind(ADMISSION, "mutatingadmissionpolicies", "MutatingAdmissionPolicy", false, mutating_policy, None),
    kind(
        ADMISSION,
        "mutatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding",
        false,
        mutating_binding,
        None,
    ),
    kind(
        ADMISSION,
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        false,
        validating_policy,
        and_annotations(condition),
    ),
    kind(
        ADMISSION,
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        false,
        validating_binding,
        None,
    ),
    kind(FLOW_CONTROL, "flowschemas", "FlowSchema", false, flow_schema, alone(flow_condition)),
    kind(
        FLOW_CONTROL,
        "prioritylevelconfigurations",
        "PriorityLevelConfiguration",
        false,
        priority_level,
        alone(flow_condition),
    ),
    kind("batch/v1", "cronjobs", "CronJob", true, cron_job, and_annotations(cron_status)),
    kind("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", true, endpoint_slice, None),
    kind(NETWORK, "ingresses", "Ingress", true, ingress, and_annotations(ingress_status)),
    kind(NETWORK, "ingressclasses", "IngressClass", false, ingress_class, None),
    kind(NETWORK, "ipaddresses", "IPAddress", false, ip_address, None),
    kind(DEVICES, "deviceclasses", "DeviceClass", false, device_class, None),
    kind(DEVICES, "resourceclaims", "ResourceClaim", true, resource_claim, alone(claim_status)),
    kind(DEVICES, "resourceclaimtemplates", "ResourceClaimTemplate", true, claim_template, None),
    kind(DEVICES, "resourceslices", "ResourceSlice", false, resource_slice, None),
    kind("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", false, runtime_class, None),
    kind("v1", "podtemplates", "PodTemplate", true, pod_template, None),
    kind("coordination.k8s.io/v1", "leases", "Lease", true, lease, None),
    kind(STORAGE, "csidrivers", "CSIDriver", false, csi_driver, None),
    kind(STORAGE, "csinodes", "CSINode", false, csi_node, None),
    kind(STORAGE, "csistoragecapacities", "CSIStorageCapacity", true, capacity, None),
    kind(STORAGE, "volumeattachments", "VolumeAttachment", false, attachment, alone(attachment_status)),
    kind(STORAGE, "storageclasses", "StorageClass", false, storage_class, None),
    kind(STORAGE, "volumeattributesclasses", "VolumeAttributesClass", false, attributes_class, None),
];

/// What a policy of these tests matches: nothing that another test makes.
fn unused_rules() -> Value {
    let rule = json!({
        "apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"],
    });
    json!({"resourceRules": [rule]})
}

fn mutating_policy(_: usize) -> Value {
    let patch = "Object{metadata: Object.metadata{labels: {\"seen\": \"true\"}}}";
    json!({"metadata": {}, "spec": {
        "matchConstraints": unused_rules(),
        "failurePolicy": "Ignore",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": patch}}],
    }})
}

fn mutating_binding(_: usize) -> Value {
    json!({"metadata": {}, "spec": {"policyName": "operations-without-policy"}})
}

fn validating_policy(_: usize) -> Value {
    json!({"metadata": {}, "spec": {
        "matchConstraints": unused_rules(),
        "validations": [{"expression": "object.metadata.name != 'forbidden'"}],
    }})
}

fn validating_binding(_: usize) -> Value {
    json!({"metadata": {}, "spec": {"policyName": "operations-without-policy", "validationActions": ["Deny"]}})
}

fn condition() -> Value {
    json!({"conditions": [{
        "type": "Tested", "status": "True", "reason": "Test", "message": "set by a test",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }]})
}

fn flow_schema(_: usize) -> Value {
    json!({"metadata": {}, "spec": {
        "matchingPrecedence": 9000,
        "priorityLevelConfiguration": {"name": "global-default"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "nobody-of-these-tests"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }],
    }})
}

fn priority_level(_: usize) -> Value {
    json!({"metadata": {}, "spec": {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}},
    }})
}

fn flow_condition() -> Value {
    json!({"conditions": [{
        "type": "Tested", "status": "False", "reason": "Test", "message": "set by a test",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }]})
}

/// A template of Pods that only exists.
pub fn pod_spec() -> Value {
    json!({"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10"}]})
}

fn cron_job(_: usize) -> Value {
    json!({"metadata": {}, "spec": {
        "schedule": "0 0 29 2 *", "concurrencyPolicy": "Allow",
        "jobTemplate": {"spec": {"template": {"spec": pod_spec()}}},
    }})
}

fn cron_status() -> Value {
    json!({"lastScheduleTime": "2026-01-02T03:04:05Z"})
}

fn endpoint_slice(number: usize) -> Value {
    json!({
        "metadata": {},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [format!("192.0.2.{number}")], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    })
}

fn ingress(_: usize) -> Value {
    let backend = |name: &str| json!({"service": {"name": name, "port": {"number": 80}}});
    json!({"metadata": {}, "spec": {
        "defaultBackend": backend("fallback"),
        "rules": [{
            "host": "www.example.com",
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend("site")}]},
        }],
    }})
}

fn ingress_status() -> Value {
    json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}})
}

fn ingress_class(_: usize) -> Value {
    json!({"metadata": {}, "spec": {
        "controller": "example.com/ingress",
        "parameters": {"apiGroup": "example.com", "kind": "Parameters", "name": "usual"},
    }})
}

fn ip_address(number: usize) -> Value {
    json!({
        "metadata": {"name": format!("198.51.100.{number}")},
        "spec": {"parentRef": {"group": "example.com", "resource": "owners", "namespace": "some", "name": "owner"}},
    })
}

fn device_class(_: usize) -> Value {
    json!({"metadata": {}, "spec": {"selectors": [{"cel": {"expression": "device.driver == 'example.com'"}}]}})
}

fn claim_spec() -> Value {
    json!({"devices": {"requests": [{"name": "one", "exactly": {"deviceClassName": "example"}}]}})
}

fn resource_claim(_: usize) -> Value {
    json!({"metadata": {}, "spec": claim_spec()})
}

fn claim_status() -> Value {
    let result = json!({"request": "one", "driver": "example.com", "pool": "some", "device": "first"});
    json!({"allocation": {"devices": {"results": [result]}}})
}

fn claim_template(_: usize) -> Value {
    json!({"metadata": {}, "spec": {"spec": claim_spec()}})
}

fn resource_slice(number: usize) -> Value {
    json!({"metadata": {}, "spec": {
        "driver": "example.com",
        "allNodes": true,
        "pool": {"name": format!("pool-{number}"), "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "first"}],
    }})
}

fn runtime_class(_: usize) -> Value {
    json!({"metadata": {}, "handler": "some-handler"})
}

fn pod_template(_: usize) -> Value {
    json!({"metadata": {}, "template": {"metadata": {"labels": {"app": "some"}}, "spec": pod_spec()}})
}

fn lease(_: usize) -> Value {
    json!({"metadata": {}, "spec": {
        "holderIdentity": "holder", "leaseDurationSeconds": 30, "leaseTransitions": 0,
        "acquireTime": "2026-01-02T03:04:05.000000Z", "renewTime": "2026-01-02T03:04:06.000000Z",
    }})
}

fn csi_driver(_: usize) -> Value {
    json!({"metadata": {}, "spec": {"attachRequired": false, "volumeLifecycleModes": ["Ephemeral"]}})
}

fn csi_node(_: usize) -> Value {
    json!({"metadata": {}, "spec": {"drivers": []}})
}

fn capacity(_: usize) -> Value {
    json!({"metadata": {}, "storageClassName": "some-class", "capacity": "10Gi"})
}

fn attachment(number: usize) -> Value {
    json!({"metadata": {}, "spec": {
        "attacher": "example.com", "nodeName": "some-node",
        "source": {"persistentVolumeName": format!("volume-{number}")},
    }})
}

fn attachment_status() -> Value {
    json!({"attached": true})
}

fn storage_class(_: usize) -> Value {
    json!({"metadata": {}, "provisioner": "example.com/provisioner", "reclaimPolicy": "Delete"})
}

fn attributes_class(_: usize) -> Value {
    json!({"metadata": {}, "driverName": "example.com", "parameters": {"speed": "high"}})
}
