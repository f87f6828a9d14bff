//! The node authorizer: what a node may do. It may read its own Node, its Pods, and what its Pods refer to; what else it
//! may do is the same for all nodes. Whether an object is related to a node is a question that the shell answers.

use shim_model::go_quote::Quoted;
use shim_model::selector::FieldTerm;

use super::{AccessRequest, PolicyRule, Requested, RequestedResource, Subject};

/// The group of all nodes.
pub const NODES: &str = "system:nodes";
/// Prefix of the nodes' user names.
const NODE: &str = "system:node:";
/// The namespace of the nodes' Leases.
pub const LEASES: &str = "kube-node-lease";

/// What the node authorizer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeVerdict {
    /// The request is allowed.
    Allow,
    /// The authorizer does not allow it; the reason may be empty.
    NoOpinion(String),
    /// The request is allowed if the object is related to the node.
    IfRelated(Relation),
}

/// How an object may be related to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// A Pod that is bound to the node.
    Pod,
    /// A Secret that such a Pod refers to.
    Secret,
    /// A ConfigMap that such a Pod refers to.
    ConfigMap,
    /// A PersistentVolumeClaim that such a Pod refers to.
    PersistentVolumeClaim,
    /// A PersistentVolume that is bound to such a claim.
    PersistentVolume,
    /// A ResourceClaim of such a Pod.
    ResourceClaim,
    /// The ServiceAccount of such a Pod.
    ServiceAccount,
    /// A VolumeAttachment whose `spec.nodeName` is the node.
    VolumeAttachment,
    /// A ResourceSlice whose `spec.nodeName` is the node.
    ResourceSlice,
}

/// The name of the node that a user is; `None` for other users. It is empty if the user name has none.
pub fn node_name<'a>(subject: &Subject<'a>) -> Option<&'a str> {
    subject.name.strip_prefix(NODE).filter(|_| subject.is_in(NODES))
}

/// The reason of a refusal for want of a relation.
pub fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

/// Decides a request of a node. `rules` are those of the ClusterRole `system:node`.
pub fn decide(node: &str, user: &str, request: &AccessRequest<'_>, rules: &[PolicyRule]) -> NodeVerdict {
    if node.is_empty() {
        return no(format!("unknown node for user {user}", user = Quoted(user)));
    }
    if let Requested::Resource(resource) = &request.object {
        let verb = request.verb;
        match (resource.group, resource.resource) {
            ("", "secrets") => return read(Relation::Secret, verb, resource),
            ("", "configmaps") => return read(Relation::ConfigMap, verb, resource),
            ("", "persistentvolumeclaims") if resource.subresource == "status" => {
                return update_status(Relation::PersistentVolumeClaim, verb, resource);
            }
            ("", "persistentvolumeclaims") => return get(Relation::PersistentVolumeClaim, verb, resource),
            ("", "persistentvolumes") => return get(Relation::PersistentVolume, verb, resource),
            ("resource.k8s.io", "resourceclaims") => return get(Relation::ResourceClaim, verb, resource),
            ("storage.k8s.io", "volumeattachments") => {
                return get(Relation::VolumeAttachment, verb, resource);
            }
            ("", "serviceaccounts") => return service_account(verb, resource),
            ("coordination.k8s.io", "leases") => return lease(node, verb, resource),
            ("storage.k8s.io", "csinodes") => return csi_node(node, verb, resource),
            ("resource.k8s.io", "resourceslices") => return resource_slice(node, verb, resource),
            ("", "nodes") => return own_node(node, verb, resource),
            ("", "pods") => return pod(node, verb, resource),
            _ => {}
        }
    }
    match rules.iter().any(|rule| rule.allows(request)) {
        true => NodeVerdict::Allow,
        false => no(""),
    }
}

fn no(reason: impl Into<String>) -> NodeVerdict {
    NodeVerdict::NoOpinion(reason.into())
}

fn related(relation: Relation, resource: &RequestedResource<'_>) -> NodeVerdict {
    match resource.name {
        "" => no("No Object name found"),
        _ => NodeVerdict::IfRelated(relation),
    }
}

fn get(relation: Relation, verb: &str, resource: &RequestedResource<'_>) -> NodeVerdict {
    match verb {
        "get" if resource.subresource.is_empty() => related(relation, resource),
        "get" => no("cannot get subresource"),
        _ => no("can only get individual resources of this type"),
    }
}

fn read(relation: Relation, verb: &str, resource: &RequestedResource<'_>) -> NodeVerdict {
    if !matches!(verb, "get" | "list" | "watch") {
        return no("can only read resources of this type");
    }
    match (resource.subresource, resource.namespace) {
        ("", "") => no("can only read namespaced object of this type"),
        ("", _) => related(relation, resource),
        _ => no("cannot read subresource"),
    }
}

fn update_status(relation: Relation, verb: &str, resource: &RequestedResource<'_>) -> NodeVerdict {
    match verb {
        "update" | "patch" => related(relation, resource),
        _ => no("can only get/update/patch this type"),
    }
}

fn service_account(verb: &str, resource: &RequestedResource<'_>) -> NodeVerdict {
    match (verb, resource.subresource) {
        ("get", "") if !resource.name.is_empty() => NodeVerdict::IfRelated(Relation::ServiceAccount),
        ("get", "") => no("can only get individual service accounts"),
        ("create", "token") if !resource.name.is_empty() => NodeVerdict::IfRelated(Relation::ServiceAccount),
        ("create", subresource) if !resource.name.is_empty() && subresource != "token" => {
            no("can only create token subresource of serviceaccount")
        }
        _ => no("can only create tokens for individual service accounts"),
    }
}

fn lease(node: &str, verb: &str, resource: &RequestedResource<'_>) -> NodeVerdict {
    if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a node lease");
    }
    if resource.namespace != LEASES {
        return no(format!(
            "can only access leases in the {LEASES} system namespace",
            LEASES = Quoted(LEASES)
        ));
    }
    // The name of a Lease to be created is checked by NodeRestriction.
    match verb == "create" || resource.name == node {
        true => NodeVerdict::Allow,
        false => no("can only access node lease with the same name as the requesting node"),
    }
}

fn csi_node(node: &str, verb: &str, resource: &RequestedResource<'_>) -> NodeVerdict {
    if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
        return no("can only get, create, update, patch, or delete a CSINode");
    }
    if !resource.subresource.is_empty() {
        return no("cannot authorize CSINode subresources");
    }
    match verb == "create" || resource.name == node {
        true => NodeVerdict::Allow,
        false => no("can only access CSINode with the same name as the requesting node"),
    }
}

fn resource_slice(node: &str, verb: &str, resource: &RequestedResource<'_>) -> NodeVerdict {
    if !resource.subresource.is_empty() {
        return no("cannot authorize ResourceSlice subresources");
    }
    match verb {
        "create" => NodeVerdict::Allow,
        "get" | "update" | "patch" | "delete" => related(Relation::ResourceSlice, resource),
        "watch" | "list" | "deletecollection" => {
            if requires(resource.fields, "nodeName", node) {
                return NodeVerdict::Allow;
            }
            no("can only list/watch/deletecollection resourceslices with nodeName field selector")
        }
        _ => no(
            "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection",
        ),
    }
}

fn own_node(node: &str, verb: &str, resource: &RequestedResource<'_>) -> NodeVerdict {
    match (resource.subresource, verb) {
        // NodeRestriction limits these to the node's own object.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => NodeVerdict::Allow,
        ("", "get" | "list" | "watch") => match resource.name {
            name if name == node => NodeVerdict::Allow,
            "" => no(format!("node '{node}' cannot read all nodes, only its own Node object")),
            other => no(format!("node '{node}' cannot read '{other}', only its own Node object")),
        },
        _ => no(""),
    }
}

fn pod(node: &str, verb: &str, resource: &RequestedResource<'_>) -> NodeVerdict {
    match (resource.subresource, verb) {
        ("", "get") => related(Relation::Pod, resource),
        ("", "list" | "watch") => match requires(resource.fields, "spec.nodeName", node) {
            true => NodeVerdict::Allow,
            false if !resource.name.is_empty() => NodeVerdict::IfRelated(Relation::Pod),
            false => no("can only list/watch pods with spec.nodeName field selector"),
        },
        // NodeRestriction limits these to the node's own Pods.
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
            NodeVerdict::Allow
        }
        _ => no(""),
    }
}

fn requires(fields: &[FieldTerm], field: &str, value: &str) -> bool {
    fields.iter().any(|term| term.equal && term.field == field && term.value == value)
}
