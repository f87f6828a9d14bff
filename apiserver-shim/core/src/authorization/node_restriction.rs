//! NodeRestriction: what a node may write. The node authorizer allows the writes by their names; these rules need the
//! objects. Each function returns the reason of a refusal.

use shim_model::go_quote::Quoted;
use std::collections::BTreeSet;

use serde_json::Value;
use shim_model::access;

use super::node::LEASES;
use super::references::{MIRROR, References};

/// Labels that a node may set on itself although their domain is Kubernetes'.
const KUBELET_LABELS: [&str; 13] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Domains of labels that a node may set on itself.
const KUBELET_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The domain of labels that a node must not set on itself.
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";

/// The creation of a Pod. `node_uid` is that of the node's object, if there is one.
pub fn create_pod(node: &str, pod: &Value, node_uid: Option<&str>) -> Result<(), String> {
    if access::get(pod, &["metadata", "annotations", MIRROR]).is_none() {
        return Err(format!(
            "pod does not have {MIRROR} annotation, node {node} can only create mirror pods",
            MIRROR = Quoted(MIRROR),
            node = Quoted(node)
        ));
    }
    if access::text(pod, &["spec", "nodeName"]) != node {
        return Err(format!(
            "node {node} can only create pods with spec.nodeName set to itself",
            node = Quoted(node)
        ));
    }
    check_owner(node, access::list(pod, &["metadata", "ownerReferences"]), node_uid)?;
    let mut plain = pod.clone();
    access::remove(&mut plain, &["metadata", "annotations", MIRROR]);
    let refers = References::of(&plain);
    let what = if !refers.service_account.is_empty() {
        "a service account"
    } else if !refers.secrets.is_empty() {
        "secrets"
    } else if !refers.config_maps.is_empty() {
        "configmaps"
    } else if !refers.claims.is_empty() {
        "persistentvolumeclaims"
    } else {
        return Ok(());
    };
    Err(format!("node {node} can not create pods that reference {what}", node = Quoted(node)))
}

fn check_owner(node: &str, owners: &[Value], node_uid: Option<&str>) -> Result<(), String> {
    let [owner] = owners else {
        let owner = if owners.is_empty() { "an owner" } else { "a single owner" };
        return Err(format!(
            "node {node} can only create pods with {owner} reference set to itself",
            node = Quoted(node)
        ));
    };
    let of = |member: &str| access::text(owner, &[member]);
    if (of("apiVersion"), of("kind"), of("name")) != ("v1", "Node", node) {
        return Err(format!(
            "node {node} can only create pods with an owner reference set to itself",
            node = Quoted(node)
        ));
    }
    if !access::flag(owner, &["controller"]) {
        return Err(format!(
            "node {node} can only create pods with a controller owner reference set to itself",
            node = Quoted(node)
        ));
    }
    if access::flag(owner, &["blockOwnerDeletion"]) {
        return Err(format!(
            "node {node} must not set blockOwnerDeletion on an owner reference",
            node = Quoted(node)
        ));
    }
    match node_uid {
        Some(uid) if uid != of("uid") => {
            Err(format!("node {node} UID mismatch: expected {} got {uid}", of("uid")))
        }
        _ => Ok(()),
    }
}

/// The update of a Pod's status.
pub fn update_pod_status(node: &str, new: &Value, old: &Value) -> Result<(), String> {
    if access::text(old, &["spec", "nodeName"]) != node {
        return Err(format!(
            "node {node} can only update pod status for pods with spec.nodeName set to itself",
            node = Quoted(node)
        ));
    }
    let differs = |path: &[&str]| access::get(new, path) != access::get(old, path);
    if differs(&["metadata", "labels"]) {
        return Err(format!("node {node} cannot update labels through pod status", node = Quoted(node)));
    }
    if differs(&["status", "resourceClaimStatuses"]) {
        return Err(format!("node {node} cannot update resource claim statues", node = Quoted(node)));
    }
    Ok(())
}

/// The creation or update of a Node. `name` is that of the request, or of the object to be created.
pub fn write_node(node: &str, name: &str, new: &Value, old: Option<&Value>) -> Result<(), String> {
    if name != node {
        return Err(format!(
            "node {node} is not allowed to modify node {name}",
            node = Quoted(node),
            name = Quoted(name)
        ));
    }
    let source = access::get(new, &["spec", "configSource"]);
    let labels = |object: Option<&Value>| -> BTreeSet<(String, String)> {
        let object = object.unwrap_or(&Value::Null);
        let entries = access::entries(object, &["metadata", "labels"]);
        entries.map(|(key, value)| (key.to_owned(), value.as_str().unwrap_or("").to_owned())).collect()
    };
    let (now, before) = (labels(Some(new)), labels(old));
    let changed: BTreeSet<&str> = now.symmetric_difference(&before).map(|(key, _)| key.as_str()).collect();
    let refused: Vec<&str> = changed.into_iter().filter(|key| is_forbidden_label(key)).collect();
    let Some(old) = old else {
        if source.is_some() {
            return Err(format!(
                "node {node} is not allowed to create pods with a non-nil configSource",
                node = Quoted(node)
            ));
        }
        return match refused.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "node {node} is not allowed to set the following labels: {}",
                refused.join(", "),
                node = Quoted(node)
            )),
        };
    };
    if source.is_some() && source != access::get(old, &["spec", "configSource"]) {
        return Err(format!(
            "node {node} is not allowed to update configSource to a new non-nil configSource",
            node = Quoted(node)
        ));
    }
    if access::list(new, &["spec", "taints"]) != access::list(old, &["spec", "taints"]) {
        return Err(format!("node {node} is not allowed to modify taints", node = Quoted(node)));
    }
    match refused.is_empty() {
        true => Ok(()),
        false => Err(format!("is not allowed to modify labels: {}", refused.join(", "))),
    }
}

fn is_forbidden_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let is_below =
        |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|d| d.ends_with('.'));
    if is_below(RESTRICTED_DOMAIN) {
        return true;
    }
    let own = KUBELET_LABELS.contains(&key) || KUBELET_DOMAINS.into_iter().any(is_below);
    (is_below("kubernetes.io") || is_below("k8s.io")) && !own
}

/// A request for a service account token. `pod` is the Pod that the request names.
pub fn create_token(
    node: &str,
    request: &Value,
    pod: impl FnOnce(&str) -> Option<Value>,
) -> Result<(), String> {
    let of = |member: &str| access::text(request, &["spec", "boundObjectRef", member]);
    if (of("apiVersion"), of("kind")) != ("v1", "Pod") || of("name").is_empty() {
        return Err("node requested token not bound to a pod".to_owned());
    }
    let uid = of("uid");
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    let Some(pod) = pod(of("name")) else { return Err(format!("pod {} not found", Quoted(of("name")))) };
    if access::text(&pod, &["metadata", "uid"]) != uid {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    if access::text(&pod, &["spec", "nodeName"]) != node {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    let audiences = access::list(request, &["spec", "audiences"]);
    let audience = match audiences {
        [] => "",
        [one] => one.as_str().unwrap_or(""),
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    match References::of(&pod).audiences.contains(audience) {
        true => Ok(()),
        false => {
            Err(format!("audience {audience} not found in pod spec volume", audience = Quoted(audience)))
        }
    }
}

/// A write of a Lease; `name` is that of the request, or of the object to be created.
pub fn write_lease(node: &str, namespace: &str, name: &str) -> Result<(), String> {
    if namespace != LEASES {
        return Err(format!(
            "can only access leases in the {LEASES} system namespace",
            LEASES = Quoted(LEASES)
        ));
    }
    match name == node {
        true => Ok(()),
        false => Err("can only access node lease with the same name as the requesting node".to_owned()),
    }
}

/// A write of a CSINode; `name` is that of the request, or of the object to be created.
pub fn write_csi_node(node: &str, name: &str) -> Result<(), String> {
    match name == node {
        true => Ok(()),
        false => Err("can only access CSINode with the same name as the requesting node".to_owned()),
    }
}

/// The update of a PersistentVolumeClaim's status: capacity, conditions and the progress of a resize.
pub fn update_claim_status(node: &str, new: &Value, old: &Value) -> Result<(), String> {
    const OWN: [&str; 4] = ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"];
    let rest = |claim: &Value| {
        let mut claim = claim.clone();
        for member in OWN {
            access::remove(&mut claim, &["status", member]);
        }
        access::remove(&mut claim, &["metadata", "resourceVersion"]);
        access::remove(&mut claim, &["metadata", "managedFields"]);
        claim
    };
    match rest(new) == rest(old) {
        true => Ok(()),
        false => Err(format!(
            "node {node} is not allowed to update fields other than status.capacity and status.conditions",
            node = Quoted(node)
        )),
    }
}
