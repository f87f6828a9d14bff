//! A signature never hides an object that a selection matches.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use shim_model::selector::{FieldSelector, LabelSelector};

use crate::storage::catalog::testing::definition;
use crate::storage::object::{Object, encoded};
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{WatchCache, key_of};

const NAMESPACES: [&str; 3] = ["a", "a-b", "ab"];

fn pod(number: usize, labels: &BTreeMap<u8, u8>, node: u8) -> (String, Arc<Object>) {
    let (namespace, name) = (NAMESPACES[number % 3], format!("p{number}"));
    let labels: BTreeMap<_, _> = labels.iter().map(|(k, v)| (format!("k{k}"), v.to_string())).collect();
    let node = if node == 0 { String::new() } else { format!("n{node}") };
    let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name,
        "labels": labels}, "spec": {"nodeName": node}});
    let object = Object::new(Arc::new(encoded(&value)), &definition("", "pods"), number as u64 + 1).unwrap();
    (key_of(namespace, &name), object)
}

fn label_term() -> impl Strategy<Value = String> {
    (0..4u8, 0..4u8, 0..4u8, 0..7usize).prop_map(|(k, v, w, form)| match form {
        0 => format!("k{k}={v}"),
        1 => format!("k{k}!={v}"),
        2 => format!("k{k} in ({v},{w})"),
        3 => format!("k{k} notin ({v},{w})"),
        4 => format!("k{k}"),
        5 => format!("!k{k}"),
        _ => format!("k{k}>{v}"),
    })
}

fn field_term() -> impl Strategy<Value = String> {
    (0..4u8, 0..4usize, any::<bool>()).prop_map(|(value, field, equal)| {
        let sign = if equal { "=" } else { "!=" };
        match field {
            0 => format!("metadata.name{sign}p{value}"),
            1 => format!("spec.nodeName{sign}n{value}"),
            2 => format!("spec.nodeName{sign}"),
            _ => format!("metadata.namespace{sign}{}", NAMESPACES[usize::from(value % 3)]),
        }
    })
}

proptest! {
    #[test]
    fn selected_are_those_that_match(
        pods in proptest::collection::vec((proptest::collection::btree_map(0..4u8, 0..4u8, 0..4), 0..3u8), 0..30),
        labels in proptest::collection::vec(label_term(), 0..3),
        fields in proptest::collection::vec(field_term(), 0..2),
        namespace in proptest::option::of(0..3usize),
        start in 0..30usize,
    ) {
        let objects: Vec<_> =
            pods.iter().enumerate().map(|(number, (labels, node))| pod(number, labels, *node)).collect();
        let cache = WatchCache::new(objects, 100);
        let labels = LabelSelector::parse(&labels.join(",")).unwrap();
        let fields = FieldSelector::parse(&fields.join(",")).unwrap();
        let selection = Selection::new(namespace.map(|at| NAMESPACES[at]), labels, fields);
        let start = key_of(NAMESPACES[start % 3], &format!("p{start}"));

        let view = cache.view();
        let selected: Vec<&str> = view.selected(&selection, &start).map(|(key, _)| key).collect();
        let all = cache.list(None);
        let keys: Vec<String> = all
            .iter()
            .filter(|object| selection.matches(object))
            .map(|object| key_of(object.namespace(), object.name()))
            .filter(|key| *key >= start)
            .collect();
        prop_assert_eq!(selected, keys);
        let in_namespace = |object: &&Arc<Object>| selection.namespace().is_none_or(|n| n == object.namespace());
        let after = all.iter().filter(in_namespace).filter(|o| key_of(o.namespace(), o.name()) > start).count();
        prop_assert_eq!(view.count_after(&selection, &start), after);
    }
}
