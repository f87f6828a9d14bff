//! Server-side apply and the recording of owners, for a small Pod. The input is the object and two configurations, or two
//! later versions, as one JSON list. Nothing panics; what is recorded is read back; repeating a write changes nothing; and
//! the applied values are in the object.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use shim_model::{
    managed_fields::{ApplyOptions, OneVersion, ResetFields, Writer, apply, covers, record_update},
    resource::KindRef,
    schema::{Media, ObjectType, Schema, Strictness, decode},
    time::Instant,
};

/// The type of the objects.
static POD: LazyLock<ObjectType> = LazyLock::new(|| {
    let pod = Schema::builtin().object_type(KindRef { group: "", version: "v1", kind: "Pod" });
    pod.expect("Pods are built in")
});

/// The members as the body of a request for a Pod.
fn body(value: &Value) -> Option<Value> {
    let mut object = value.as_object()?.clone();
    object.insert("apiVersion".to_owned(), "v1".into());
    object.insert("kind".to_owned(), "Pod".into());
    let text = Value::Object(object).to_string();
    Some(decode(text.as_bytes(), Media::Json, &POD, Strictness::Strict).ok()?.value)
}

fn writer(manager: &'static str) -> Writer<'static> {
    let (now, reset) = (Instant(0), ResetFields::default());
    Writer { manager, ty: &POD, subresource: "", now, reset, versions: &OneVersion }
}

fn applied(live: Option<&Value>, config: &Value, manager: &'static str) -> Option<Value> {
    apply(live, config, ApplyOptions { writer: writer(manager), force: true }).ok()
}

fuzz_target!(|input: &[u8]| {
    let Ok(Value::Array(list)) = serde_json::from_slice::<Value>(input) else { return };
    let bodies: Vec<Value> = list.iter().filter_map(body).collect();
    let [first, second, ..] = &bodies[..] else { return };
    let third = bodies.get(2).unwrap_or(first);
    // Updates by two managers.
    let mut created = first.clone();
    record_update(None, &mut created, writer("a"));
    let mut updated = second.clone();
    record_update(Some(&created), &mut updated, writer("b"));
    let mut again = updated.clone();
    record_update(Some(&updated), &mut again, writer("a"));
    assert_eq!(again, updated, "an update that changes nothing changes no owner");
    // Applies by two managers.
    let mut live = updated;
    for (config, manager) in [(second, "c"), (third, "d"), (first, "c")] {
        let Some(new) = applied(Some(&live), config, manager) else { continue };
        assert!(covers(&POD, &new, config), "{config} is not in {new}");
        assert_eq!(applied(Some(&new), config, manager).as_ref(), Some(&new), "{config}");
        live = new;
    }
    let nothing = json!({"apiVersion": "v1", "kind": "Pod"});
    applied(Some(&live), &nothing, "c");
    applied(None, first, "c");
});
