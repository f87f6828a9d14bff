//! Each invariant, broken on purpose. That the machine keeps them whatever happens is `machine::tests::any_fate_ends_well`.

use std::time::Duration;

use crate::{action::Event, machine::tests::World};

use super::*;

fn broken(world: &World) -> Vec<&'static str> {
    let sandboxes: Vec<_> = world.sandboxes.values().cloned().collect();
    let containers: Vec<_> = world.containers.values().cloned().collect();
    audit(&world.machine, &sandboxes, &containers).into_iter().map(|note| note.invariant).collect()
}

fn running() -> World {
    let mut world = World::new(serde_json::json!({ "containers": [{ "name": "web", "image": "w" }] }));
    world.settle();
    world
}

/// INV-40: no two instances of a container run at once. INV-41: no two sandboxes of a Pod stand at once.
#[test]
fn doubles_are_found() {
    let mut world = running();
    assert_eq!(broken(&world), [""; 0]);
    let mut twin = world.containers["web-0"].clone();
    twin.id = "twin".to_owned();
    world.containers.insert("twin".to_owned(), twin);
    assert_eq!(broken(&world), ["INV-40"]);
    let mut twin = world.sandboxes["s0"].clone();
    twin.id = "twin".to_owned();
    world.sandboxes.insert("twin".to_owned(), twin);
    assert_eq!(broken(&world), ["INV-40", "INV-41"]);
}

/// INV-42: when a Pod's end is reported, nothing of it is left.
#[test]
fn leftovers_are_found() {
    let mut world = running();
    let (sandboxes, containers) = (world.sandboxes.clone(), world.containers.clone());
    world.send(Event::Kill { grace: Duration::ZERO });
    world.settle();
    assert_eq!(broken(&world), [""; 0]);
    world.sandboxes = sandboxes;
    world.containers = containers;
    assert_eq!(broken(&world), ["INV-42", "INV-42"]);
}

/// INV-43: a status does not contradict itself.
#[test]
fn a_status_agrees_with_itself() {
    let mut world = running();
    assert_eq!(broken(&world), [""; 0]);
    world.send(Event::Kill { grace: Duration::ZERO });
    world.settle();
    let status = world.machine.status();
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((status.phase.as_deref(), ready.status.as_str()), (Some("Failed"), "False"));
    assert_eq!(broken(&world), [""; 0]);
}
