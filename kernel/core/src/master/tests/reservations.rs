//! RESERVE and UNRESERVE, by frameworks and by operators.

use expect_test::{Expect, expect};
use kernel_model::{
    labels::Labels,
    resources::{ConversionKind::*, Reservation, ReservationKind, Resource, Resources},
    roles::Role,
    scheduler::Operation,
};

use super::cluster::*;
use crate::master::OperatorCall;

fn check(cluster: &mut Cluster, expected: Expect) {
    expected.assert_eq(&cluster.log());
}

/// Resources with dynamic reservations for these roles, bottom to top.
pub(super) fn reserved(text: &str, roles: &[&str], principal: Option<&str>) -> Resources {
    let level = |role: &&str| Reservation {
        kind: ReservationKind::Dynamic,
        role: Role::parse(role).unwrap(),
        principal: principal.map(str::to_owned),
        labels: Labels::default(),
    };
    let text: Resources = text.parse().unwrap();
    text.iter()
        .map(|resource| Resource { reservations: roles.iter().map(level).collect(), ..resource.clone() })
        .collect()
}

fn reserve(resources: Resources) -> Operation {
    Operation::Convert { id: None, kind: Reserve, resources }
}

fn launch(id: &str, resources: &Resources) -> Operation {
    let mut info = task(id, "m-S0", "cpus:1");
    info.resources = resources.clone();
    Operation::Launch { tasks: vec![info] }
}

/// Two frameworks in roles of their own; the first one is offered everything.
fn offered() -> Cluster {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4;mem:1024");
    c.subscribe("s1", framework("f", &["eng"]));
    c.subscribe("s2", framework("g", &["ops"]));
    c.log();
    c
}

#[test]
fn a_framework_reserves_and_launches_on_what_it_has_reserved() {
    let mut c = offered();
    let eng = reserved("cpus:1;mem:512", &["eng"], None);
    let one = reserved("cpus:1", &["eng"], None);
    c.accept("m-0000", "s1", 0, vec![reserve(eng.clone()), launch("t", &one)]);
    check(
        &mut c,
        expect![[r#"
            put Agent(AgentId(m-S0))
            reply Accepted
            l1 <- CheckpointResources cpus(reservations: [(DYNAMIC,eng)]):1; mem(reservations: [(DYNAMIC,eng)]):512
            l1 <- RunTask task t on new command
            s1 <- Offers [m-O2 of m-S0 for eng: cpus:1; mem(reservations: [(DYNAMIC,eng)]):512]
            s2 <- Offers [m-O1 of m-S0 for ops: cpus:2; mem:512]
        "#]],
    );
    let unreserve = |resources| Operation::Convert { id: Some("op".into()), kind: Unreserve, resources };
    c.accept("m-0000", "s1", 2, vec![unreserve(reserved("mem:512", &["eng"], None))]);
    check(
        &mut c,
        expect![[r#"
            put Agent(AgentId(m-S0))
            put PendingOperation(AgentId(m-S0), OperationUuid(a01747c155a44030be15462d032c7911))
            reply Accepted
            l1 <- CheckpointResources cpus(reservations: [(DYNAMIC,eng)]):1 for op
            s2 <- Offers [m-O3 of m-S0 for ops: cpus:1; mem:512]
        "#]],
    );
    // It stays reserved when the task ends, and for its role.
    c.update(1, "m-0000", "t", kernel_model::task::TaskState::Finished);
    check(
        &mut c,
        expect![[r#"
        s1 <- Update t Finished by Executor (to acknowledge)
        s1 <- Offers [m-O4 of m-S0 for eng: cpus(reservations: [(DYNAMIC,eng)]):1]
    "#]],
    );
}

#[test]
fn invalid_operations_change_nothing() {
    let mut c = offered();
    let with_id = |resources| Operation::Convert { id: Some("op".into()), kind: Reserve, resources };
    c.accept(
        "m-0000",
        "s1",
        0,
        vec![
            with_id("cpus:1".parse().unwrap()),
            with_id(reserved("cpus:1", &["ops"], None)),
            with_id(reserved("cpus:9", &["eng"], None)),
            reserve(reserved("cpus:9", &["eng"], None)),
            Operation::Convert {
                id: Some("op".into()),
                kind: Unreserve,
                resources: reserved("cpus:1", &["eng"], None),
            },
        ],
    );
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- UpdateOperationStatus op Error 'Resource cpus(allocated: eng):1 is not dynamically reserved; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- UpdateOperationStatus op Error 'A reserve operation was attempted for a resource with role 'ops', but the resource was allocated to role 'eng'; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- UpdateOperationStatus op Error 'cpus(allocated: eng):4; mem(allocated: eng):1024 does not contain cpus(allocated: eng):9'
        dropped m-0000: cpus(allocated: eng):4; mem(allocated: eng):1024 does not contain cpus(allocated: eng):9
        s1 <- UpdateOperationStatus op Error 'cpus(allocated: eng):4; mem(allocated: eng):1024 does not contain cpus(allocated: eng)(reservations: [(DYNAMIC,eng)]):1'
        s2 <- Offers [m-O1 of m-S0 for ops: cpus:4; mem:1024]
    "#]],
    );
}

#[test]
fn an_operator_reserves_what_is_free_or_offered() {
    let mut c = offered();
    let call = |principal: Option<&str>, resources: Resources| OperatorCall::Convert {
        agent_id: "m-S0".into(),
        kind: Reserve,
        principal: principal.map(str::to_owned),
        resources,
    };
    c.operator(call(Some("ann"), reserved("cpus:1", &["ops"], None)));
    c.operator(call(Some("ann"), reserved("cpus:1", &["ops"], Some("bob"))));
    c.operator(call(None, reserved("cpus:5", &["ops"], None)));
    check(
        &mut c,
        expect![[r#"
        reply Invalid: Invalid RESERVE operation on agent m-S0 at slave(1)@127.0.0.1:5051 (h1): A reserve operation was attempted by principal 'ann', but there is a reserved resource in the request with no principal set
        reply Invalid: Invalid RESERVE operation on agent m-S0 at slave(1)@127.0.0.1:5051 (h1): A reserve operation was attempted by authenticated principal 'ann', which does not match a reserved resource in the request with principal 'bob'
        reply Conflict: cpus:4; mem:1024 does not contain cpus:5
    "#]],
    );
    c.operator(call(Some("ann"), reserved("cpus:4", &["ops"], Some("ann"))));
    check(
        &mut c,
        expect![[r#"
            put Agent(AgentId(m-S0))
            s1 <- Rescind { offer_id: OfferId(m-O0) }
            l1 <- CheckpointResources cpus(reservations: [(DYNAMIC,ops,ann)]):4
            reply Accepted
            s1 <- Offers [m-O2 of m-S0 for eng: mem:512]
            s2 <- Offers [m-O1 of m-S0 for ops: cpus(reservations: [(DYNAMIC,ops,ann)]):4; mem:512]
        "#]],
    );
    let unreserve = |resources| OperatorCall::Convert {
        agent_id: "m-S0".into(),
        kind: Unreserve,
        principal: None,
        resources,
    };
    c.operator(unreserve(reserved("cpus:4", &["ops"], Some("bob"))));
    c.operator(unreserve("cpus:4".parse().unwrap()));
    c.operator(unreserve(reserved("cpus:4", &["ops"], Some("ann"))));
    check(
        &mut c,
        expect![[r#"
            reply Conflict: cpus(reservations: [(DYNAMIC,ops,ann)]):4; mem:1024 does not contain cpus(reservations: [(DYNAMIC,ops,bob)]):4
            reply Invalid: Invalid UNRESERVE operation on agent m-S0 at slave(1)@127.0.0.1:5051 (h1): Resource cpus:4 is not dynamically reserved
            put Agent(AgentId(m-S0))
            s1 <- Rescind { offer_id: OfferId(m-O2) }
            s2 <- Rescind { offer_id: OfferId(m-O1) }
            l1 <- CheckpointResources {}
            reply Accepted
            s1 <- Offers [m-O4 of m-S0 for eng: cpus:2; mem:512]
            s2 <- Offers [m-O3 of m-S0 for ops: cpus:2; mem:512]
        "#]],
    );
}

#[test]
fn what_a_task_holds_cannot_be_reserved() {
    let mut c = offered();
    c.accept("m-0000", "s1", 0, vec![launch("t", &"cpus:3".parse().unwrap())]);
    c.log();
    let resources = reserved("cpus:2", &["ops"], None);
    c.operator(OperatorCall::Convert { agent_id: "m-S0".into(), kind: Reserve, principal: None, resources });
    check(
        &mut c,
        expect![[r#"
        reply Conflict: {} does not contain cpus:2
    "#]],
    );
}

#[test]
fn an_operator_changes_who_something_is_reserved_for() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4;mem:1024");
    let reserve = |source: Resources, resources: Resources| OperatorCall::ChangeReservation {
        agent_id: "m-S0".into(),
        principal: None,
        source,
        resources,
    };
    c.operator(OperatorCall::Convert {
        agent_id: "m-S0".into(),
        kind: Reserve,
        principal: None,
        resources: reserved("cpus:4", &["eng"], None),
    });
    c.log();
    let dev = reserved("cpus:3", &["eng", "eng/dev"], None);
    c.operator(reserve(reserved("cpus:3", &["eng"], None), dev.clone()));
    c.operator(reserve(dev.clone(), reserved("cpus:2", &["ops"], None)));
    c.operator(reserve(reserved("cpus:3", &["nobody"], None), reserved("cpus:3", &["ops"], None)));
    let mut mixed = dev.clone();
    mixed += &reserved("cpus:1", &["eng"], None);
    c.operator(reserve(mixed, reserved("cpus:4", &["ops"], None)));
    c.operator(reserve(dev, reserved("cpus:3", &["ops"], None)));
    check(
        &mut c,
        expect![[r#"
            put Agent(AgentId(m-S0))
            l1 <- CheckpointResources cpus(reservations: [(DYNAMIC,eng)]):1; cpus(reservations: [(DYNAMIC,eng),(DYNAMIC,eng/dev)]):3
            reply Accepted
            reply Invalid: Invalid RESERVE operation on agent m-S0 at slave(1)@127.0.0.1:5051 (h1): Source and target resources should refer to identical resource quantities: cpus:3 vs. cpus:2
            reply Conflict: cpus(reservations: [(DYNAMIC,eng)]):1; cpus(reservations: [(DYNAMIC,eng),(DYNAMIC,eng/dev)]):3; mem:1024 does not contain cpus(reservations: [(DYNAMIC,nobody)]):3
            reply Invalid: Invalid RESERVE operation on agent m-S0 at slave(1)@127.0.0.1:5051 (h1): Invalid source: Mixed reservations are not supportedcpus(reservations: [(DYNAMIC,eng)]):1; cpus(reservations: [(DYNAMIC,eng),(DYNAMIC,eng/dev)]):3
            put Agent(AgentId(m-S0))
            l1 <- CheckpointResources cpus(reservations: [(DYNAMIC,eng)]):1; cpus(reservations: [(DYNAMIC,ops)]):3
            reply Accepted
        "#]],
    );
}

#[test]
fn what_is_reserved_of_an_agent_is_bounded() {
    let mut c = offered();
    let labelled = |number: usize, length: usize| -> Resources {
        let label = "x".repeat(length);
        let mut one = reserved("cpus:0.001", &["eng"], None).iter().next().unwrap().clone();
        one.reservations[0].labels = Labels::default().with(&format!("n{number}"), &label);
        std::iter::once(one).collect()
    };
    let by_operator = |resources| {
        let agent_id = "m-S0".into();
        OperatorCall::Convert { agent_id, kind: Reserve, principal: None, resources }
    };
    let mut many = Resources::new();
    (0..1025).for_each(|number| many += &labelled(number, 0));
    c.operator(by_operator(many));
    c.operator(by_operator(labelled(0, 300_000)));
    c.accept("m-0000", "s1", 0, vec![reserve(labelled(0, 200_000))]);
    let log = c.log();
    let refused = "the agent would have 1025 reserved resources of ";
    assert!(log.contains(refused) && log.contains("1 reserved resources of 3000"), "{log:.2000}");
    assert_eq!(log.matches("<- CheckpointResources").count(), 1);
    c.operator(by_operator(labelled(1, 100_000)));
    assert!(c.log().contains("reply Conflict: the agent would have 2 reserved resources of 3"));
}

/// A disconnected agent may still run what its master does not count any more, so an operator gets none of that.
#[test]
fn what_a_disconnected_agent_may_still_run_is_not_reserved() {
    let mut c = Cluster::new();
    let mut info = framework("f", &["eng"]);
    info.checkpoint = false;
    c.subscribe("s1", info);
    c.agent(1, "cpus:4;mem:1024");
    c.accept("m-0000", "s1", 0, vec![launch("t", &"cpus:2;mem:32".parse().unwrap())]);
    c.disconnect(1);
    c.log();
    let reserve = |c: &mut Cluster, cpus: &str| {
        let resources = reserved(cpus, &["ops"], Some("ops"));
        let principal = Some("ops".to_owned());
        c.operator(OperatorCall::Convert { agent_id: "m-S0".into(), kind: Reserve, principal, resources });
        c.log()
    };
    let refused = reserve(&mut c, "cpus:3");
    assert!(refused.contains("cpus:2; mem:992 does not contain cpus:3"), "{refused}");
    let done = reserve(&mut c, "cpus:2");
    assert!(done.contains("put Agent"), "{done}");
    // It is back without the task.
    let mut info = agent_info(1, "cpus:4;mem:1024");
    info.id = Some("m-S0".into());
    c.connect(
        2,
        kernel_model::agent::ToMaster::Reregister {
            info: info.into(),
            frameworks: Vec::new(),
            executors: Vec::new(),
            tasks: Vec::new(),
            operations: Vec::new(),
        },
    );
    let done = reserve(&mut c, "cpus:2");
    assert!(done.contains("put Agent"), "{done}");
}
