//! An Event that is encoded without a `Value` equals the one that is parsed.

use shim_core::rows::Key;

use super::*;
use crate::storage::catalog::testing::definition;
use crate::storage::object::encoded;

#[test]
fn an_encoded_event_equals_the_parsed_one() {
    let key = Key { namespace: "shop".into(), name: "web-\"1\"".into() };
    let about = Target { resource: served("", "pods"), key, uid: "u-1".into() };
    let record = EventRecord {
        about,
        warning: true,
        reason: "Scheduled",
        message: "a \"message\"\n".into(),
        component: "default-scheduler",
    };
    let (event, name) = event(&definition("", "pods"), &record, Instant(1_700_000_000_000_000), 3);
    assert_eq!(StoredObject::parse(event.bytes.clone()).unwrap(), event);
    assert_eq!(event.header.name, name);
    let value: serde_json::Value = serde_json::from_slice(&event.bytes).unwrap();
    assert_eq!(encoded(&value), event);
    assert_eq!(value["count"], 3);
}
