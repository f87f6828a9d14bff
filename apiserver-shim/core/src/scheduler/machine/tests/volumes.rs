//! Claims whose volumes are made for the node that the scheduler chooses.

use super::*;
use crate::scheduler::{DelayingClass, VolumeClaim};

fn claim(selected: Option<&str>) -> Event {
    let mut claim = json!({"spec": {"storageClassName": "made"}});
    if let Some(node) = selected {
        claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] = json!(node);
    }
    let claim = Some(VolumeClaim::decode(&claim));
    Event::VolumeClaim { namespace: "ns".into(), name: "data".into(), claim }
}

fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    let class = json!({"provisioner": "a.b/c", "volumeBindingMode": "WaitForFirstConsumer"});
    let class = DelayingClass::decode(&class);
    fixture.step(Event::StorageClass { name: "made".into(), class });
    fixture.step(claim(None));
    fixture.pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
    fixture.pod["metadata"]["generation"] = json!(2);
    fixture.revision += 1;
    fixture.show_pod();
    fixture
}

fn choices(fixture: &Fixture) -> usize {
    fixture.writes.iter().filter(|write| matches!(write, Write::SelectNode { .. })).count()
}

#[test]
fn a_pod_waits_for_the_volume_that_is_made_for_it() {
    let mut fixture = fixture();
    fixture.place();
    let chosen = fixture.writes.iter().find_map(|write| match write {
        Write::SelectNode { namespace, claims, node } => Some((&**namespace, &*claims[0], &**node)),
        _ => None,
    });
    assert_eq!(chosen, Some(("ns", "data", "n0")));
    fixture.step(claim(Some("n0")));
    fixture.place();
    fixture.place();
    assert_eq!((choices(&fixture), fixture.launches.len()), (1, 0), "it waits");
    let waits = |write: &Write| matches!(write, Write::Condition { message: Some(message), .. } if message.contains("to be provisioned for node \"n0\""));
    assert!(fixture.writes.iter().any(waits), "{:?}", fixture.writes);
    let bound = json!({
        "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "made"},
    });
    let claim = Some(VolumeClaim::decode(&bound));
    fixture.step(Event::VolumeClaim { namespace: "ns".into(), name: "data".into(), claim });
    let volume = Some(crate::scheduler::Volume::decode(&json!({"spec": {}})));
    fixture.step(Event::Volume { name: "made".into(), volume });
    fixture.place();
    assert!(fixture.writes.iter().any(|write| matches!(write, Write::Intent(_))), "{:?}", fixture.writes);
}

#[test]
fn a_choice_that_is_not_written_is_not_repeated_at_once() {
    let mut fixture = fixture();
    fixture.place();
    for _ in 0..10 {
        fixture.step(Event::NodeNotSelected { namespace: "ns".into(), claims: vec!["data".into()] });
        fixture.step(Event::Cycle);
    }
    assert_eq!(choices(&fixture), 1);
    fixture.place();
    assert_eq!(choices(&fixture), 2);
}
