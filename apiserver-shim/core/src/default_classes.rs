//! Default StorageClasses and IngressClasses, and which claims may grow.

use serde_json::Value;
use shim_model::access;
use shim_model::quantity::Quantity;

use crate::rows::CLASS_ANNOTATION;

fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    access::get(object, &["metadata", "annotations", name])?.as_str()
}

/// Whether a StorageClass is a default one.
pub fn is_default_storage_class(class: &Value) -> bool {
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
        .iter()
        .any(|name| annotation(class, name) == Some("true"))
}

/// Whether an IngressClass is a default one.
pub fn is_default_ingress_class(class: &Value) -> bool {
    annotation(class, "ingressclass.kubernetes.io/is-default-class") == Some("true")
}

/// The newest of several default classes, and of those of one second the first by name.
pub fn newest(classes: &[Value]) -> Option<&str> {
    let text = |class: &'_ Value, key: &str| access::text(class, &["metadata", key]).to_owned();
    let first = classes.iter().min_by(|a, b| {
        let created = text(b, "creationTimestamp").cmp(&text(a, "creationTimestamp"));
        created.then_with(|| text(a, "name").cmp(&text(b, "name")))
    });
    first.map(|class| access::text(class, &["metadata", "name"]))
}

/// Whether a claim names a class; the empty name is one too.
pub fn claim_has_class(claim: &Value) -> bool {
    annotation(claim, CLASS_ANNOTATION).is_some()
        || access::get(claim, &["spec", "storageClassName"]).is_some_and(|name| !name.is_null())
}

/// Whether an Ingress names a class.
pub fn ingress_has_class(ingress: &Value) -> bool {
    annotation(ingress, "kubernetes.io/ingress.class").is_some()
        || access::get(ingress, &["spec", "ingressClassName"]).is_some_and(|name| !name.is_null())
}

fn class_of(claim: &Value) -> &str {
    annotation(claim, CLASS_ANNOTATION).unwrap_or_else(|| access::text(claim, &["spec", "storageClassName"]))
}

fn size(claim: &Value) -> Option<Quantity> {
    access::text(claim, &["spec", "resources", "requests", "storage"]).parse().ok()
}

/// Why a claim may not have its new size. `class` finds a StorageClass.
pub fn check_resize(
    new: &Value,
    old: &Value,
    class: impl Fn(&str) -> Option<Value>,
) -> Result<(), &'static str> {
    let grows = match (size(new), size(old)) {
        (Some(new), Some(old)) => new > old,
        (new, old) => new.is_some() && old.is_none(),
    };
    if !grows {
        return Ok(());
    }
    if access::text(old, &["status", "phase"]) != "Bound" {
        return Err("Only bound persistent volume claims can be expanded");
    }
    let name = class_of(new);
    let allowed = || class(name).is_some_and(|class| class["allowVolumeExpansion"] == true);
    if name.is_empty() || name != class_of(old) || !allowed() {
        return Err(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_default_is_taken() {
        let class =
            |name: &str, created: &str| json!({"metadata": {"name": name, "creationTimestamp": created}});
        assert_eq!(newest(&[]), None);
        let classes = [
            class("a", "2026-01-01T00:00:00Z"),
            class("c", "2026-01-02T00:00:00Z"),
            class("b", "2026-01-02T00:00:00Z"),
        ];
        assert_eq!(newest(&classes), Some("b"));
        let marked = |name: &str| json!({"metadata": {"annotations": {name: "true"}}});
        assert!(is_default_storage_class(&marked("storageclass.beta.kubernetes.io/is-default-class")));
        assert!(is_default_ingress_class(&marked("ingressclass.kubernetes.io/is-default-class")));
        assert!(!is_default_storage_class(&marked("ingressclass.kubernetes.io/is-default-class")));
        assert!(
            claim_has_class(&json!({"spec": {"storageClassName": ""}}))
                && !claim_has_class(&json!({"spec": {}}))
        );
    }

    #[test]
    fn claims_grow_if_their_class_allows_it() {
        let claim = |size: &str, class: &str, phase: &str| {
            json!({"spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}},
                "status": {"phase": phase}})
        };
        let class = |name: &str| (name == "fast").then(|| json!({"allowVolumeExpansion": true}));
        let check = |new: &Value, old: &Value| check_resize(new, old, class);
        assert_eq!(check(&claim("2Gi", "fast", ""), &claim("1Gi", "fast", "Bound")), Ok(()));
        assert_eq!(check(&claim("1024Mi", "slow", ""), &claim("1Gi", "slow", "Pending")), Ok(()));
        assert!(check(&claim("2Gi", "fast", ""), &claim("1Gi", "fast", "Pending")).is_err());
        assert!(check(&claim("2Gi", "slow", ""), &claim("1Gi", "slow", "Bound")).is_err());
        assert!(check(&claim("2Gi", "", ""), &claim("1Gi", "", "Bound")).is_err());
    }
}
