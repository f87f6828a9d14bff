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
        source: EventSource::Scheduler(None),
    };
    let (event, name) = event(&definition("", "pods"), &record, Instant(1_700_000_000_000_000), 3);
    assert_eq!(StoredObject::parse(event.bytes.clone()).unwrap(), event);
    assert_eq!(event.header.name, name);
    let value: serde_json::Value = serde_json::from_slice(&event.bytes).unwrap();
    assert_eq!(encoded(&value), event);
    assert_eq!(value["count"], 3);
}

#[test]
fn messages_that_always_differ_share_an_event() {
    let key = Key { namespace: "shop".into(), name: "web".into() };
    let now = Instant(1_700_000_000_000_000);
    let mut known = BTreeMap::new();
    let record = |reason: &'static str, message: &str| {
        let about = Target { resource: served("", "pods"), key: key.clone(), uid: "u-1".into() };
        let source = EventSource::Component("controller");
        EventRecord { about, warning: true, reason, message: message.to_owned(), source }
    };
    let mut tell = |reason: &'static str, message: &str, now: Instant| {
        let record = record(reason, message);
        let combined = is_combined(&known, &record, now);
        let own = if combined { COMBINED } else { message };
        let created = Arc::default();
        let event = KnownEvent { name: String::new(), count: 1, first: now, created };
        known.insert((record.about.uid, record.about.key, reason, own.to_owned()), event);
        combined
    };
    let combined: Vec<bool> = (0..30).map(|i| tell("FailedCreate", &format!("pod x{i}"), now)).collect();
    assert_eq!(combined.iter().position(|combined| *combined), Some(9));
    assert!(combined[9..].iter().all(|combined| *combined));
    assert!(!tell("FailedCreate", "pod x3", now), "it has an Event");
    assert!(!tell("FailedDelete", "other", now));
    let later = Instant(now.0 + 1_000_000 * AGGREGATE_SECONDS);
    assert!(!tell("FailedCreate", "pod y", later));
}
