//! Lists and changes of watched objects become what routes are made of.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::watcher::Event;

use super::Watched;

fn object(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(serde_json::json!({
        "metadata": {"namespace": "ns", "name": name}, "data": {"value": value},
    }))
    .unwrap()
}

#[test]
fn a_list_counts_when_it_is_complete() {
    let mut watched = Watched::new();
    // An object without a value concerns nobody.
    let view = |map: &ConfigMap| map.data.as_ref()?.get("value").filter(|value| !value.is_empty()).cloned();
    let steps = [
        (Event::Init, false, 0),
        (Event::InitApply(object("a", "1")), false, 0),
        (Event::InitApply(object("b", "")), false, 0),
        (Event::InitDone, true, 1),
        (Event::Apply(object("a", "1")), false, 1),
        (Event::Apply(object("a", "2")), true, 1),
        (Event::Apply(object("c", "1")), true, 2),
        (Event::Apply(object("c", "")), true, 1),
        (Event::Delete(object("c", "1")), false, 1),
        // A list after an interruption.
        (Event::Init, false, 1),
        (Event::InitApply(object("a", "2")), false, 1),
        (Event::InitDone, false, 1),
        (Event::Init, false, 1),
        (Event::InitDone, true, 0),
    ];
    for (at, (event, changed, known)) in steps.into_iter().enumerate() {
        assert_eq!(watched.take(&event, view), changed, "step {at}");
        assert_eq!(watched.known.len(), known, "step {at}");
    }
    assert!(watched.complete);
}
