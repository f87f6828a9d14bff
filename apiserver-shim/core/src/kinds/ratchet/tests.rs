//! Which errors of an update are held against it.

use serde_json::{Value, json};

use super::*;

/// A made-up rule: images are not empty; another: at most two annotations.
fn rules(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (i, container) in access::list(object, &["spec", "containers"]).iter().enumerate() {
        let image = access::text(container, &["image"]);
        if image.contains(' ') {
            errors.push(FieldError::invalid(format!("spec.containers[{i}].image"), image, "no spaces"));
        }
        if container.get("command").is_none() {
            errors.push(FieldError::required(format!("spec.containers[{i}].command"), ""));
        }
    }
    if access::entries(object, &["metadata", "annotations"]).count() > 2 {
        errors.push(FieldError::too_long("metadata.annotations", 2));
    }
    errors
}

fn held(old: &Value, new: &Value) -> Vec<String> {
    let mut errors = rules(new);
    drop_unchanged(&mut errors, new, old, || rules(old));
    errors.iter().map(|e| e.field.clone()).collect()
}

fn object(containers: Value, annotations: Value) -> Value {
    json!({"metadata": {"annotations": annotations}, "spec": {"containers": containers, "replicas": 1}})
}

#[test]
fn an_error_that_is_stored_is_not_held_against_an_update() {
    let bad = json!([{"name": "a", "image": "x y"}]);
    let old = object(bad.clone(), json!({}));
    let mut scaled = old.clone();
    scaled["spec"]["replicas"] = json!(3);
    assert!(held(&old, &scaled).is_empty());
    // Another wrong value is a new error, and so is a new item that breaks the rule.
    assert_eq!(
        held(&old, &object(json!([{"name": "a", "image": "z y"}]), json!({}))),
        ["spec.containers[0].image"]
    );
    let more = json!([{"name": "a", "image": "x y"}, {"name": "b", "image": "x y", "command": []}]);
    assert_eq!(held(&old, &object(more, json!({}))), ["spec.containers[1].image"]);
}

#[test]
fn an_item_of_a_list_is_known_by_its_key() {
    let old = object(json!([{"name": "a", "image": "x y", "command": []}]), json!({}));
    let moved =
        json!([{"name": "b", "image": "z", "command": []}, {"name": "a", "image": "x y", "command": []}]);
    assert!(held(&old, &object(moved, json!({}))).is_empty());
}

#[test]
fn an_error_that_shows_no_value_is_compared_by_the_value() {
    let old = object(json!([]), json!({"a": "1", "b": "2", "c": "3"}));
    assert!(held(&old, &old).is_empty());
    assert_eq!(
        held(&old, &object(json!([]), json!({"a": "1", "b": "2", "c": "4"}))),
        ["metadata.annotations"]
    );
}

#[test]
fn a_valid_update_validates_nothing_twice() {
    let new = object(json!([]), json!({}));
    drop_unchanged(&mut Vec::new(), &new, &new, || panic!("the stored object is not looked at"));
}
