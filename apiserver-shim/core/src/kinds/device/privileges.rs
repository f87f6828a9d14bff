//! What a write of a ResourceClaim needs beside a valid object: a namespace that allows admin access to devices, and permissions for parts
//! of the status. Which ones is decided here; the server knows whether the writer has them.

use std::collections::BTreeSet;

use serde_json::Value;
use shim_model::access;
use shim_model::field::FieldError;

use super::device_id;
use crate::kinds::Subresource;

/// The label of namespaces whose claims may have admin access to devices.
const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";
/// The API group of the claims.
pub const GROUP: &str = "resource.k8s.io";
const RESULTS: [&str; 4] = ["status", "allocation", "devices", "results"];

/// The field with which a write asks for admin access that the stored object does not have; `None` if it does not ask.
pub fn admin_access(kind: &str, part: Subresource<'_>, new: &Value, old: Option<&Value>) -> Option<String> {
    let asks = |list: &[Value], members: &[&str]| list.iter().position(|item| access::flag(item, members));
    match (kind, part, old) {
        ("ResourceClaim" | "ResourceClaimTemplate", Subresource::Main, None) => {
            let claim = if kind == "ResourceClaim" { new } else { &new["spec"] };
            let requests = access::list(claim, &["spec", "devices", "requests"]);
            let at = asks(requests, &["exactly", "adminAccess"])?;
            Some(format!("spec.devices.requests[{at}].adminAccess"))
        }
        ("ResourceClaim", Subresource::Status, Some(old)) => {
            if asks(access::list(old, &RESULTS), &["adminAccess"]).is_some() {
                return None;
            }
            let at = asks(access::list(new, &RESULTS), &["adminAccess"])?;
            Some(format!("status.allocation.devices.results[{at}].adminAccess"))
        }
        _ => None,
    }
}

/// The error about admin access if the namespace does not allow it.
pub fn check_admin_access(field: &str, namespace: Option<&Value>) -> Option<FieldError> {
    let label = namespace.map(|found| access::text(found, &["metadata", "labels", ADMIN_LABEL]));
    let why = format!(
        "admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
    );
    (label != Some("true")).then(|| FieldError::forbidden(field, why))
}

/// Whether an update of the status allocates or reserves the claim, or ends that.
pub fn changes_binding(new: &Value, old: &Value) -> bool {
    let part = |claim: &Value, member| access::get(claim, &["status", member]).cloned();
    ["allocation", "reservedFor"].iter().any(|member| part(new, member) != part(old, member))
}

/// The drivers of whose devices an update changes the status. That of a claim without devices is dropped.
pub fn changed_drivers(new: &Value, old: &Value) -> BTreeSet<String> {
    if access::get(new, &["status", "allocation"]).is_none() {
        return BTreeSet::new();
    }
    let devices = |claim| access::list(claim, &["status", "devices"]);
    let changed = |one: &Value, others: &[Value]| {
        !others.iter().any(|other| device_id(other) == device_id(one) && other == one)
    };
    let (new, old) = (devices(new), devices(old));
    let added = new.iter().filter(|device| changed(device, old));
    let removed = old.iter().filter(|device| changed(device, new));
    added.chain(removed).map(|device| access::text(device, &["driver"]).to_owned()).collect()
}

/// The only node that has the allocated devices.
pub fn allocated_node(claim: &Value) -> Option<&str> {
    let selector = access::get(claim, &["status", "allocation", "nodeSelector"])?;
    let [term] = access::list(selector, &["nodeSelectorTerms"]) else { return None };
    let ([], [field]) = (access::list(term, &["matchExpressions"]), access::list(term, &["matchFields"]))
    else {
        return None;
    };
    let [value] = access::list(field, &["values"]) else { return None };
    let is_name =
        access::text(field, &["key"]) == "metadata.name" && access::text(field, &["operator"]) == "In";
    value.as_str().filter(|name| is_name && !name.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allocated(results: Value) -> Value {
        json!({"status": {"allocation": {"devices": {"results": results}}}})
    }

    #[test]
    fn admin_access_is_asked_for_once() {
        let requests = json!([{"name": "a", "exactly": {}}, {"name": "b", "exactly": {"adminAccess": true}}]);
        let claim = json!({"spec": {"devices": {"requests": requests}}});
        let template = json!({"spec": claim});
        let main = |kind, object, old| admin_access(kind, Subresource::Main, object, old);
        let field = Some("spec.devices.requests[1].adminAccess".to_owned());
        assert_eq!(main("ResourceClaim", &claim, None), field);
        assert_eq!(main("ResourceClaimTemplate", &template, None), field);
        assert_eq!(main("ResourceClaim", &claim, Some(&claim)), None, "the spec is immutable");
        assert_eq!(main("DeviceClass", &claim, None), None);
        let (with, without) =
            (allocated(json!([{"adminAccess": true}])), allocated(json!([{"adminAccess": false}])));
        let status = |new, old| admin_access("ResourceClaim", Subresource::Status, new, Some(old));
        let field = Some("status.allocation.devices.results[0].adminAccess".to_owned());
        assert_eq!(status(&with, &without), field);
        assert_eq!(status(&with, &with), None);
        assert_eq!(status(&without, &with), None);
    }

    #[test]
    fn namespaces_allow_it_by_their_label() {
        let labelled =
            |value| json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": value}}});
        assert!(check_admin_access("x", Some(&labelled("true"))).is_none());
        for refused in [Some(labelled("yes")), Some(json!({"metadata": {}})), None] {
            assert!(check_admin_access("x", refused.as_ref()).is_some());
        }
    }

    #[test]
    fn parts_of_the_status_need_permissions() {
        let old = allocated(json!([]));
        let mut new = old.clone();
        assert!(!changes_binding(&new, &old) && changed_drivers(&new, &old).is_empty());
        new["status"]["devices"] = json!([
            {"driver": "b", "pool": "p", "device": "d"},
            {"driver": "a", "pool": "p", "device": "d", "data": {}},
        ]);
        assert!(!changes_binding(&new, &old));
        assert_eq!(Vec::from_iter(changed_drivers(&new, &old)), ["a", "b"]);
        let mut later = new.clone();
        later["status"]["devices"][1]["data"] = json!({"x": 1});
        assert_eq!(Vec::from_iter(changed_drivers(&later, &new)), ["a"]);
        assert_eq!(Vec::from_iter(changed_drivers(&old, &new)), ["a", "b"], "removed ones count");
        assert!(changes_binding(&json!({"status": {}}), &old));
        assert!(changed_drivers(&json!({"status": {}}), &new).is_empty(), "no allocation");
    }

    #[test]
    fn a_claim_of_one_node_names_it() {
        let on = |term: Value| {
            let mut claim = allocated(json!([]));
            claim["status"]["allocation"]["nodeSelector"] = json!({"nodeSelectorTerms": [term]});
            allocated_node(&claim).map(str::to_owned)
        };
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["n"]});
        assert_eq!(on(json!({"matchFields": [field]})).as_deref(), Some("n"));
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["n", "m"]});
        assert_eq!(on(json!({"matchFields": [field]})), None);
        let expression = json!({"key": "a", "operator": "Exists"});
        assert_eq!(on(json!({"matchExpressions": [expression]})), None);
    }
}
