//! Upstream's resources that are not served yet. There are no objects of them, which is true of their lists: clients
//! that read everything, such as `kubectl cluster-info dump`, go on, and the check of `kubectl apply` whether a kind is
//! that of a CustomResourceDefinition gets its answer. They are not in discovery, and cannot be written or watched.

use serde_json::json;
use shim_model::schema::Media;
use shim_model::status::{self, Status};

use crate::http::body::Response;
use crate::http::reply;
use crate::request::info::{RequestInfo, Target};

struct Unserved {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
}

const fn namespaced(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Unserved {
    Unserved { group, version, plural, kind, namespaced: true }
}

const fn cluster(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Unserved {
    Unserved { group, version, plural, kind, namespaced: false }
}

/// Every built-in resource of Kubernetes 1.36 that has lists.
const UNSERVED: &[Unserved] = &[
    cluster("", "v1", "componentstatuses", "ComponentStatus"),
    namespaced("", "v1", "limitranges", "LimitRange"),
    namespaced("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    cluster("", "v1", "persistentvolumes", "PersistentVolume"),
    namespaced("", "v1", "replicationcontrollers", "ReplicationController"),
    namespaced("", "v1", "resourcequotas", "ResourceQuota"),
    cluster("apiregistration.k8s.io", "v1", "apiservices", "APIService"),
    namespaced("apps", "v1", "daemonsets", "DaemonSet"),
    namespaced("apps", "v1", "statefulsets", "StatefulSet"),
    namespaced("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    namespaced("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    namespaced("batch", "v1", "cronjobs", "CronJob"),
    namespaced("batch", "v1", "jobs", "Job"),
    cluster("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest"),
    cluster("networking.k8s.io", "v1", "ingressclasses", "IngressClass"),
    namespaced("networking.k8s.io", "v1", "ingresses", "Ingress"),
    cluster("networking.k8s.io", "v1", "ipaddresses", "IPAddress"),
    namespaced("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    cluster("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR"),
    namespaced("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    cluster("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding"),
    cluster("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"),
    namespaced("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    namespaced("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    cluster("storage.k8s.io", "v1", "csidrivers", "CSIDriver"),
    cluster("storage.k8s.io", "v1", "csinodes", "CSINode"),
    namespaced("storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity"),
    cluster("storage.k8s.io", "v1", "storageclasses", "StorageClass"),
    cluster("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment"),
    cluster("storage.k8s.io", "v1", "volumeattributesclasses", "VolumeAttributesClass"),
    cluster("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy"),
    cluster(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding",
    ),
    cluster(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
    ),
    cluster("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
    cluster(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
    ),
    cluster(
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
    ),
    cluster("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
    cluster("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass"),
    cluster("resource.k8s.io", "v1", "deviceclasses", "DeviceClass"),
    namespaced("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim"),
    namespaced("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate"),
    cluster("resource.k8s.io", "v1", "resourceslices", "ResourceSlice"),
    cluster("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", "FlowSchema"),
    cluster(
        "flowcontrol.apiserver.k8s.io",
        "v1",
        "prioritylevelconfigurations",
        "PriorityLevelConfiguration",
    ),
];

/// Answers a request for a resource that is not served; `None` if upstream has no such resource at this scope.
pub fn answer(info: &RequestInfo, target: &Target, revision: u64) -> Option<Result<Response, Status>> {
    let same =
        |r: &&Unserved| (r.group, r.version, r.plural) == (&*target.group, &*target.version, &*target.plural);
    let found = UNSERVED.iter().find(same)?;
    let (whole, in_namespace) = (target.name.is_empty(), !target.namespace.is_empty());
    if in_namespace != found.namespaced && !(found.namespaced && whole) {
        return None;
    }
    let described = match found.group {
        "" => found.plural.to_owned(),
        group => format!("{}.{group}", found.plural),
    };
    if !target.subresource.is_empty() || !matches!(info.verb, "list" | "get") {
        let why = format!("the server could not find the requested resource: {described} are not served yet");
        return Some(Err(Status { message: why, ..status::unknown_path() }));
    }
    if !whole {
        let why = format!("{described} \"{}\" not found", target.name);
        return Some(Err(Status { message: why, ..status::unknown_path() }));
    }
    let api_version = match found.group {
        "" => found.version.to_owned(),
        group => format!("{group}/{}", found.version),
    };
    let list = json!({
        "kind": format!("{}List", found.kind),
        "apiVersion": api_version,
        "metadata": {"resourceVersion": revision.to_string()},
        "items": [],
    });
    Some(Ok(reply::value(200, Media::Json, &list)))
}
