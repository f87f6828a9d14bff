//! The CustomResourceDefinition that the server installs.

use serde_json::{Value, json};

use super::{GROUP, PLURAL};

/// The kind of the objects.
pub const KIND: &str = "Role";
/// Their version.
pub const API_VERSION: &str = "catamaran.dev/v1alpha1";
/// The name of the definition.
pub const NAME: &str = "roles.catamaran.dev";

/// The definition as it is created.
pub fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": NAME },
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": { "kind": KIND, "listKind": "RoleList", "plural": PLURAL, "singular": "role" },
            "versions": [{
                "name": API_VERSION.rsplit('/').next(),
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns(),
                "schema": { "openAPIV3Schema": schema() },
            }],
        },
    })
}

fn columns() -> Value {
    let column = |name: &str, kind: &str, path: &str| json!({ "name": name, "type": kind, "jsonPath": path });
    json!([
        column("Role", "string", ".spec.role"),
        column("Weight", "number", ".status.weight"),
        column("Guarantee", "string", ".status.guarantee"),
        column("Limit", "string", ".status.limit"),
        column("Pods", "string", ".status.allocated.pods"),
        column("Tasks", "string", ".status.allocated.tasks"),
        column("Share", "number", ".status.dominantShare"),
        column("Applied", "string", ".status.conditions[?(@.type==\"Applied\")].status"),
        column("Age", "date", ".metadata.creationTimestamp"),
    ])
}

fn amounts(description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "maxProperties": 256,
        "additionalProperties": {
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$",
            "x-kubernetes-int-or-string": true,
        },
    })
}

fn schema() -> Value {
    // A name is not empty, ".", ".." or "*", and has neither a leading dash nor whitespace.
    const NAME: &str = r"([^-./*\s][^/\s]*|\.[^./\s][^/\s]*|\.\.[^/\s]+|\*[^/\s]+)";
    let role = json!({
        "type": "string",
        "description": "The role, as frameworks name it. That of a namespace is k8s/NAMESPACE, unless its annotation names another.",
        "minLength": 1,
        "maxLength": 4096,
        "pattern": format!(r"^(\*|{NAME}(/{NAME})*)$"),
        "x-kubernetes-validations": [
            { "rule": "self == oldSelf", "message": "the role of an object cannot be changed" },
        ],
    });
    let weight = json!({
        "type": "number",
        "description": "How much the role gets beside its siblings, in proportion to their weights. 1 if absent.",
        "minimum": 0,
        "exclusiveMinimum": true,
    });
    json!({
        "type": "object",
        "description": "A role of the kernel: Pods and tasks of frameworks share the cluster's machines by a tree of roles.",
        "required": ["spec"],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": { "type": "object" },
            "spec": {
                "type": "object",
                "description": "What the role is given. Operators may set the same through the Mesos API.",
                "required": ["role"],
                "properties": {
                    "role": role,
                    "weight": weight,
                    "guarantee": amounts("What others may not take from the role and those below it."),
                    "limit": amounts("What the role and those below it may not exceed. Resources that are absent are not limited."),
                },
            },
            "status": status(),
        },
    })
}

fn status() -> Value {
    json!({
        "type": "object",
        "description": "What is in force in the kernel, and what the role has.",
        "properties": {
            "observedGeneration": { "type": "integer", "format": "int64",
                "description": "The generation of the object that was looked at last." },
            "weight": { "type": "number", "description": "The weight in force." },
            "guarantee": amounts("The guarantee in force."),
            "limit": amounts("The limit in force."),
            "reserved": amounts("What is reserved for the role and those below it, in use or not."),
            "dominantShare": { "type": "number",
                "description": "The largest part of any resource of the cluster that the role and those below it hold, from 0 to 1." },
            "allocated": {
                "type": "object",
                "description": "What the role and those below it hold.",
                "properties": {
                    "pods": amounts("Held by Pods and by the executors that run them."),
                    "tasks": amounts("Held by tasks and executors of frameworks."),
                },
            },
            "conditions": {
                "type": "array",
                "description": "Applied: whether the kernel has what the object says.",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": {
                    "type": "object",
                    "required": ["type", "status", "reason", "message", "lastTransitionTime"],
                    "properties": {
                        "type": { "type": "string" },
                        "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                        "reason": { "type": "string" },
                        "message": { "type": "string" },
                        "observedGeneration": { "type": "integer", "format": "int64" },
                        "lastTransitionTime": { "type": "string", "format": "date-time" },
                    },
                },
            },
        },
    })
}
