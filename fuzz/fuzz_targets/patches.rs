//! JSON, merge and strategic merge patches of a small object. The first byte chooses the language.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use shim_model::{
    patch::{PatchKind, apply},
    resource,
    schema::Strictness,
};

fuzz_target!(|input: &[u8]| {
    let Some((language, body)) = input.split_first() else { return };
    let Some(pods) = resource::find("", "v1", "pods") else { return };
    let kind = [PatchKind::Json, PatchKind::Merge, PatchKind::Strategic][usize::from(language % 3)];
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x/a"]},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 1, "protocol": "TCP"}]}]},
    });
    let _ = apply(kind, &pod, body, pods.kind_ref(), Strictness::Warn);
});
