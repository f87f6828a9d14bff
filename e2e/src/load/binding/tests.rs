//! Tests of finding a binding in an event.

use super::bound_pod;

#[test]
fn a_binding_is_found_in_any_order() {
    let line = |json: &str| bound_pod(json.as_bytes());
    assert_eq!(line(r#"{"metadata":{"name":"bench-pod-7"},"spec":{"nodeName":"n1"}}"#), Some(7));
    assert_eq!(
        line(
            r#"{"spec":{"containers":[{"name":"app"}],"nodeName": "n"},"metadata":{"name": "bench-pod-42"}}"#
        ),
        Some(42)
    );
    assert_eq!(line(r#"{"metadata":{"name":"bench-pod-7"},"spec":{"nodeName":""}}"#), None);
    assert_eq!(line(r#"{"metadata":{"name":"bench-pod-7"},"spec":{}}"#), None);
    assert_eq!(line(r#"{"metadata":{"name":"other"},"spec":{"nodeName":"n1"}}"#), None);
    assert_eq!(line("\u{fffd}"), None);
}
