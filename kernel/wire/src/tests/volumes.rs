//! Operations on resources, and persistent volumes, in the messages of frameworks.

use expect_test::expect;
use kernel_model::{resources::ConversionKind, scheduler::Operation};
use serde_json::{Value, json};

use super::operations::{accept, refusals};

#[test]
fn operations_on_resources_are_read_and_written() {
    let disk = |change: Value| {
        let mut disk = json!({"name": "disk", "type": "SCALAR", "scalar": {"value": 8},
            "reservations": [{"type": "DYNAMIC", "role": "eng"}],
            "disk": {"persistence": {"id": "v", "principal": "p"},
                "volume": {"container_path": "data", "mode": "RW"}}});
        disk.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        disk
    };
    for kind in ConversionKind::ALL {
        let name = kind.name();
        let field = if matches!(name, "CREATE" | "DESTROY") { "volumes" } else { "resources" };
        let operation =
            json!([{"type": name, "id": {"value": "op"}, name.to_lowercase(): {field: [disk(json!({}))]}}]);
        match &accept(operation)[..] {
            [Operation::Convert { id: Some(_), kind: read, resources }] => {
                let shown = "disk(reservations: [(DYNAMIC,eng)])[v:data]:8";
                assert_eq!((*read, resources.to_string().as_str()), (kind, shown));
            }
            other => panic!("{other:?}"),
        }
    }
    let volume = |volume: Value| json!({"disk": {"persistence": {"id": "v"}, "volume": volume}});
    let with = |field: &str, value: Value| volume(json!({"container_path": "p", "mode": "RW", field: value}));
    let invalid = [
        json!({"reservations": []}),
        json!({"disk": {"persistence": {"id": "a/b"}, "volume": {"container_path": "p", "mode": "RW"}}}),
        json!({"disk": {"persistence": {"id": "v"}}}),
        json!({"disk": {"volume": {"container_path": "p", "mode": "RW"}}}),
        json!({"disk": {}}),
        with("host_path", json!("/x")),
        with("image", json!({"type": "DOCKER", "docker": {"name": "x"}})),
    ];
    let why = invalid.map(|change| {
        match &accept(json!([{"type": "CREATE", "create": {"volumes": [disk(change.clone())]}}]))[..] {
            [Operation::Invalid { why, .. }] => why.clone(),
            other => panic!("{change}: {other:?}"),
        }
    });
    expect![[r#"
        Invalid resources: Invalid DiskInfo: Persistent volumes cannot be created from unreserved resources
        Invalid resources: Invalid DiskInfo: Invalid persistence ID for persistent volume: 'a/b' contains invalid characters
        Invalid resources: Invalid DiskInfo: Expecting 'volume' to be set for persistent volume
        Invalid resources: Invalid DiskInfo: Non-persistent volume not supported
        Invalid resources: Invalid DiskInfo: DiskInfo is set but empty
        Invalid resources: Invalid DiskInfo: Expecting 'host_path' to be unset for persistent volume
        Invalid resources: Invalid DiskInfo: Expecting 'image' and 'source' to be unset for persistent volume"#]].assert_eq(&why.join("\n"));
    let used = |container_path: &str, mode: &str| {
        let volume = volume(json!({"container_path": container_path, "mode": mode}));
        json!({"resources": [disk(volume)]})
    };
    let shown = refusals([used("p", "RO"), used("/p", "RW"), used("a/../b", "RW"), used("stdout", "RW")]);
    expect![[r#"
        read-only persistent volumes without an image are not supported yet
        persistent volumes outside of the sandbox without an image are not supported yet
        persistent volumes outside of the sandbox without an image are not supported yet
        persistent volumes outside of the sandbox without an image are not supported yet"#]]
    .assert_eq(&shown);
}
