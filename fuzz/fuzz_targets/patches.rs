//! JSON, merge and strategic merge patches of a small object. The first byte chooses the language.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use shim_model::{
    patch::{PatchKind, apply},
    resource::KindRef,
    schema::{ObjectType, Schema, Strictness},
};

/// The type of the objects that are decoded.
static POD: LazyLock<ObjectType> = LazyLock::new(|| {
    let pod = Schema::builtin().object_type(KindRef { group: "", version: "v1", kind: "Pod" });
    pod.expect("Pods are built in")
});

fuzz_target!(|input: &[u8]| {
    let Some((language, body)) = input.split_first() else { return };
    let kind = [PatchKind::Json, PatchKind::Merge, PatchKind::Strategic][usize::from(language % 3)];
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x/a"]},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1, "protocol": "TCP"}]}]},
    });
    let _ = apply(kind, &pod, body, &POD, Strictness::Warn);
});
