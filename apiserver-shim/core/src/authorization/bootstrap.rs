//! The default roles and bindings, and their reconciliation at each start: what is missing is added, what somebody has added
//! stays, and an object with the annotation `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.

use serde_json::{Map, Value, json};
use shim_model::access;
use shim_model::resource::GroupResource;

use super::PolicyRule;
use super::escalation::uncovered;
use crate::controllers::served;
use crate::kinds::rbac::GROUP;

/// The annotation that says whether an object is reconciled.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// One object a line: `kind`, `name`, `namespace` if it has one, and what belongs to the kind.
const DEFAULTS: &str = include_str!("../../data/rbac_defaults.jsonl");

/// A default role or binding.
#[derive(Debug, Clone)]
pub struct DefaultObject {
    /// Its resource.
    pub resource: GroupResource,
    /// The object.
    pub object: Value,
}

/// What to do about a default object.
#[derive(Debug, Clone, PartialEq)]
pub enum Reconciliation {
    /// Nothing is missing, or the object is left alone.
    Nothing,
    /// Create the object.
    Create,
    /// Replace the object with this one.
    Update(Value),
    /// Delete the binding, whose role is another one, and create it again as this one.
    Recreate(Value),
}

/// The default roles and bindings; each role before its bindings.
pub fn defaults() -> Vec<DefaultObject> {
    DEFAULTS.lines().map(default_object).collect()
}

fn default_object(line: &str) -> DefaultObject {
    let row: Map<String, Value> =
        serde_json::from_str(line).expect("invariant: each line of the table is an object");
    let mut metadata = json!({
        "annotations": {AUTO_UPDATE: "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    });
    let mut object = json!({"apiVersion": format!("{GROUP}/v1")});
    for (member, value) in row {
        match member.as_str() {
            "name" | "namespace" => metadata[&member] = value,
            "labels" => {
                for (label, value) in value.as_object().into_iter().flatten() {
                    metadata["labels"][label] = value.clone();
                }
            }
            _ => object[&member] = value,
        }
    }
    object["metadata"] = metadata;
    let plural = match access::text(&object, &["kind"]) {
        "ClusterRole" => "clusterroles",
        "Role" => "roles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "RoleBinding" => "rolebindings",
        other => unreachable!("invariant: {other} is no kind of a default object"),
    };
    DefaultObject { resource: served(GROUP, plural), object }
}

/// Compares a default object with the one that exists.
pub fn reconcile(expected: &Value, existing: Option<&Value>) -> Reconciliation {
    let Some(existing) = existing else { return Reconciliation::Create };
    if access::text(existing, &["metadata", "annotations", AUTO_UPDATE]) == "false" {
        return Reconciliation::Nothing;
    }
    let mut wanted = existing.clone();
    if expected.get("roleRef").is_some() {
        if existing.get("roleRef") != expected.get("roleRef") {
            return Reconciliation::Recreate(expected.clone());
        }
        add_missing(&mut wanted, "subjects", access::list(expected, &["subjects"]));
    } else {
        add_rules(&mut wanted, expected);
        reconcile_aggregation(&mut wanted, expected);
    }
    for map in ["annotations", "labels"] {
        for (key, value) in access::entries(expected, &["metadata", map]) {
            access::set_default(access::object_mut(&mut wanted, &["metadata", map]), key, value.clone());
        }
    }
    if wanted == *existing { Reconciliation::Nothing } else { Reconciliation::Update(wanted) }
}

fn add_rules(wanted: &mut Value, expected: &Value) {
    let missing = uncovered(&PolicyRule::all_of(wanted), &PolicyRule::all_of(expected));
    let missing: Vec<Value> = missing.iter().map(PolicyRule::to_value).collect();
    extend(wanted, "rules", missing);
}

fn reconcile_aggregation(wanted: &mut Value, expected: &Value) {
    const RULE: &str = "aggregationRule";
    let Some(aggregation) = expected.get(RULE) else {
        access::as_object(wanted).remove(RULE);
        return;
    };
    let selectors = access::list(aggregation, &["clusterRoleSelectors"]);
    let rule = access::object_mut(wanted, &[RULE]);
    let mut own = Value::Object(std::mem::take(rule));
    add_missing(&mut own, "clusterRoleSelectors", selectors);
    access::as_object(wanted).insert(RULE.to_owned(), own);
}

fn add_missing(object: &mut Value, member: &str, wanted: &[Value]) {
    let own = access::list(object, &[member]);
    let missing = wanted.iter().filter(|each| !own.contains(each)).cloned().collect();
    extend(object, member, missing);
}

fn extend(object: &mut Value, member: &str, more: Vec<Value>) {
    if more.is_empty() {
        return;
    }
    let mut list = access::list(object, &[member]).to_vec();
    list.extend(more);
    access::as_object(object).insert(member.to_owned(), list.into());
}
