//! The changes of objects by admission: service account and token volume, default tolerations, priority, finalizers of
//! volumes. The shell looks up the objects that these depend on.

use crate::kernel_resources::REVOCABLE_ANNOTATION;
use crate::pod_resources::{self, Side};
use crate::resource_list::ResourceList;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shim_model::access::{self, set_default};
use shim_model::go_quote::Quoted;
use shim_model::quantity::Quantity;
use shim_model::status::{Status, forbidden};

/// Mount path of the service account's token.
pub const TOKEN_MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Lifetime of a token in seconds: slightly more than an hour, as upstream; it is renewed earlier.
const TOKEN_SECONDS: i64 = 3607;
/// Seconds that a Pod tolerates a node that is not ready or unreachable.
const LOST_NODE_SECONDS: i64 = 300;

/// The finalizer that keeps a PersistentVolumeClaim while a Pod uses it.
pub const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
/// The finalizer that keeps a PersistentVolume while it is bound.
pub const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";
/// The finalizer that keeps a VolumeAttributesClass while a claim or volume has it.
pub const ATTRIBUTES_CLASS_FINALIZER: &str = "kubernetes.io/vac-protection";

/// The parts of a ServiceAccount that a Pod inherits.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccount {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// Image pull secrets.
    pub image_pull_secrets: Vec<Value>,
    /// Whether its Pods get a token; `None` if unset.
    pub automount_service_account_token: Option<bool>,
}

/// The parts of a PriorityClass that a Pod inherits.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PriorityClass {
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// The priority.
    pub value: i64,
    /// Whether it is the global default.
    pub global_default: bool,
    /// Preemption policy.
    pub preemption_policy: String,
    /// Whether its Pods run on revocable CPUs.
    #[serde(skip)]
    pub revocable: bool,
}

/// Adds a finalizer to a new PersistentVolume, PersistentVolumeClaim or VolumeAttributesClass.
pub fn protect_storage(object: &mut Value, finalizer: &str) {
    let metadata = access::object_mut(object, &["metadata"]);
    let finalizers = metadata.entry("finalizers").or_insert(Value::Null);
    if finalizers.is_null() {
        *finalizers = json!([]);
    }
    if let Some(list) = finalizers.as_array_mut()
        && !list.iter().any(|own| own == finalizer)
    {
        list.push(finalizer.into());
    }
}

/// Sets the Pod's service account: name, pull secrets, and the token volume unless the Pod or the account disables it.
/// `suffix` generates the unique part of the volume's name.
pub fn service_account(pod: &mut Value, account: &ServiceAccount, suffix: impl FnOnce() -> String) {
    let name = account.name.as_str();
    let spec = access::object_mut(pod, &["spec"]);
    if spec.get("serviceAccountName").is_none_or(access::is_zero) && !name.is_empty() {
        spec.insert("serviceAccountName".into(), name.into());
        spec.insert("serviceAccount".into(), name.into());
    }
    if spec.get("imagePullSecrets").is_none_or(access::is_zero) && !account.image_pull_secrets.is_empty() {
        spec.insert("imagePullSecrets".into(), account.image_pull_secrets.clone().into());
    }
    let own = spec.get("automountServiceAccountToken").and_then(Value::as_bool);
    if own.or(account.automount_service_account_token).unwrap_or(true) {
        mount_token(spec, suffix);
    }
}

/// Taints a Node that a client creates as not ready, until its agent reports.
pub fn not_ready_yet(node: &mut Value) {
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    let spec = access::object_mut(node, &["spec"]);
    if let Some(taints) = spec.entry("taints").or_insert_with(|| json!([])).as_array_mut() {
        let same = |t: &Value| t["key"] == taint["key"] && t["effect"] == taint["effect"];
        if !taints.iter().any(same) {
            taints.push(taint);
        }
    }
}

fn mount_token(spec: &mut Map<String, Value>, suffix: impl FnOnce() -> String) {
    let existing = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let existing = existing
        .map(|v| access::text(v, &["name"]))
        .find(|n| n.starts_with("kube-api-access-"))
        .map(str::to_owned);
    let fresh = existing.is_none();
    let volume = existing.unwrap_or_else(|| format!("kube-api-access-{}", suffix()));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if access::list(container, &["volumeMounts"])
                .iter()
                .any(|m| access::text(m, &["mountPath"]) == TOKEN_MOUNT)
            {
                continue;
            }
            let mount = json!({"name": volume, "readOnly": true, "mountPath": TOKEN_MOUNT});
            let mounts = access::as_object(container).entry("volumeMounts").or_insert_with(|| json!([]));
            mounts.as_array_mut().into_iter().for_each(|m| m.push(mount.clone()));
            used = true;
        }
    }
    if used && fresh {
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        volumes.as_array_mut().into_iter().for_each(|v| v.push(token_volume(&volume)));
    }
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

/// Adds default tolerations for nodes that are not ready or unreachable.
pub fn default_tolerations(pod: &mut Value) {
    let spec = access::object_mut(pod, &["spec"]);
    let Some(list) = spec.entry("tolerations").or_insert_with(|| json!([])).as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |t: &Value| {
            let text = |member: &str| access::text(t, &[member]);
            matches!(text("key"), k if k == key || k.is_empty()) && matches!(text("effect"), "NoExecute" | "")
        };
        if !list.iter().any(covers) {
            list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_SECONDS}));
        }
    }
}

/// The class that a Pod names; `None` for the default.
pub fn priority_class_name(pod: &Value) -> Option<&str> {
    Some(access::text(pod, &["spec", "priorityClassName"])).filter(|n| !n.is_empty())
}

/// Sets the Pod's priority and preemption policy. `class` is the named class, or the global default class, if any.
/// Also call it without a class: it sets the defaults.
pub fn priority(pod: &mut Value, class: Option<&PriorityClass>) -> Result<(), Status> {
    let refuse = |why: String| Err(forbidden("", "pods", access::text(pod, &["metadata", "name"]), why));
    let asked = priority_class_name(pod);
    let sent = &pod["spec"];
    // The two system classes are valid even if their objects do not exist.
    let built_in = match asked {
        Some("system-node-critical") => Some(2_000_001_000),
        Some("system-cluster-critical") => Some(2_000_000_000),
        _ => None,
    };
    let value = match (class, built_in, asked) {
        (Some(class), _, _) => class.value,
        (None, Some(value), _) => value,
        (None, None, Some(missing)) => {
            return refuse(format!("no PriorityClass with name {missing} was found"));
        }
        (None, None, None) => 0,
    };
    let policy = match class.map_or("", |c| c.preemption_policy.as_str()) {
        "" => "PreemptLowerPriority",
        policy => policy,
    };
    const FROM: &str = "must not be provided in pod spec; priority admission controller computed";
    if let Some(sent) = access::int(sent, &["priority"]).filter(|p| *p != value) {
        return refuse(format!(
            "the integer value of priority ({sent}) {FROM} {value} from the given PriorityClass name"
        ));
    }
    if let Some(sent) = sent.get("preemptionPolicy").and_then(Value::as_str).filter(|p| *p != policy) {
        return refuse(format!(
            "the string value of PreemptionPolicy ({sent}) {FROM} {policy} from the given PriorityClass name"
        ));
    }
    let revocable = class.is_some_and(|class| class.revocable);
    if let Some(why) = revocable_mismatch(pod, revocable) {
        return refuse(why);
    }
    let by_default = class.filter(|_| asked.is_none());
    if revocable {
        let annotations = access::object_mut(pod, &["metadata", "annotations"]);
        annotations.insert(REVOCABLE_ANNOTATION.into(), "true".into());
    }
    let spec = access::object_mut(pod, &["spec"]);
    if let Some(class) = by_default {
        spec.insert("priorityClassName".into(), class.name.as_str().into());
    }
    set_default(spec, "priority", value);
    set_default(spec, "preemptionPolicy", policy);
    Ok(())
}

/// Why the Pod's annotation contradicts its class.
fn revocable_mismatch(pod: &Value, revocable: bool) -> Option<String> {
    let computed = if revocable { "true" } else { "false" };
    let sent = access::get(pod, &["metadata", "annotations", REVOCABLE_ANNOTATION])?.as_str()?;
    (sent != computed).then(|| {
        format!(
            "the annotation {REVOCABLE_ANNOTATION} ({sent}) must not be provided; priority admission controller computed \
             {computed} from the given PriorityClass name"
        )
    })
}

/// An update without `priority` keeps the priority from the create.
pub fn keep_priority(new: &mut Value, old: &Value) {
    for key in ["priority", "preemptionPolicy"] {
        if let Some(kept) = access::get(old, &["spec", key]) {
            set_default(access::object_mut(new, &["spec"]), key, kept.clone());
        }
    }
}
/// Why a Pod cannot have the resources that a resize asks for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResizeRefusal {
    /// The node does not run Linux.
    #[error("pod resize is only supported on linux nodes, node {} is {}", Quoted(node), Quoted(system))]
    #[allow(missing_docs)]
    Platform { node: String, system: String },
    /// The node can never give as much to Pods.
    #[error("node didn't have enough allocatable resources: {0}")]
    Allocatable(String),
}

impl ResizeRefusal {
    /// Upstream's type of the cause.
    pub fn cause(&self) -> &'static str {
        match self {
            ResizeRefusal::Platform { .. } => "UnsupportedPlatform",
            ResizeRefusal::Allocatable(_) => "NodeCapacity",
        }
    }
}

/// Compares what a Pod requests after a resize with what its node has for Pods in all.
///
/// # Errors
/// The node cannot give it.
pub fn check_node_resize(pod: &Value, node: &Value) -> Result<(), ResizeRefusal> {
    let system = access::text(node, &["metadata", "labels", "kubernetes.io/os"]);
    if !matches!(system, "" | "linux") {
        let name = access::text(node, &["metadata", "name"]);
        return Err(ResizeRefusal::Platform { node: name.to_owned(), system: system.to_owned() });
    }
    let mut requests = pod_resources::of_spec(&pod["spec"], Side::Requests);
    requests.add(&ResourceList::at(pod, &["spec", "overhead"]));
    let allocatable = ResourceList::at(node, &["status", "allocatable"]);
    let of = |list: &ResourceList, name: &str| list.get(name).unwrap_or(Quantity::from_units(0));
    let mut lacking = Vec::new();
    let (wanted, has) = (of(&requests, "cpu"), of(&allocatable, "cpu"));
    if wanted > has {
        lacking.push(format!("cpu, requested: {}, allocatable: {}", wanted.milli(), has.milli()));
    }
    let (wanted, has) = (of(&requests, "memory"), of(&allocatable, "memory"));
    if wanted > has {
        lacking.push(format!("memory, requested: {}, allocatable: {}", wanted.units(), has.units()));
    }
    match lacking.is_empty() {
        true => Ok(()),
        false => Err(ResizeRefusal::Allocatable(lacking.join("; "))),
    }
}
