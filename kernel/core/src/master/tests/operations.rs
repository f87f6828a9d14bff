//! Operations with an id, and persistent volumes, by frameworks and by operators.

use expect_test::{Expect, expect};
use kernel_model::{
    agent::{AgentInfo, ToMaster},
    ids::UpdateId,
    operation::OfferOperation,
    resources::{ConversionKind::*, Disk, Persistence, Resource, Resources, VolumeMount},
    scheduler::{Call, Operation, OperationState},
};

use super::{cluster::*, reservations::reserved};
use crate::master::OperatorCall;

fn check(cluster: &mut Cluster, expected: Expect) {
    expected.assert_eq(&cluster.log());
}

/// A volume on disk that is reserved for `eng`.
fn volume(id: &str, size: u64) -> Resources {
    changed(id, size, |_, _| {})
}

fn changed(id: &str, size: u64, change: impl Fn(&mut Resource, &mut Disk)) -> Resources {
    let mut disk = Disk {
        source: None,
        persistence: Some(Persistence { id: id.into(), principal: None }),
        volume: Some(VolumeMount { container_path: "data".into(), read_only: false }),
    };
    let of = |plain: &Resource| {
        let mut resource = plain.clone();
        change(&mut resource, &mut disk);
        Resource { disk: Some(disk.clone().into()), ..resource }
    };
    reserved(&format!("disk:{size}"), &["eng"], None).iter().map(of).collect()
}

pub(super) fn operation(
    id: &str,
    kind: kernel_model::resources::ConversionKind,
    resources: Resources,
) -> Operation {
    Operation::Convert { id: (!id.is_empty()).then(|| id.into()), kind, resources }
}

fn launch(id: &str, resources: &Resources) -> Operation {
    let mut info = task(id, "m-S0", "cpus:1");
    info.resources += resources;
    Operation::Launch { tasks: vec![info] }
}

pub(super) fn offered() -> Cluster {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4;mem:1024;disk:100");
    c.subscribe("s1", framework("f", &["eng"]));
    c.log();
    c
}

/// What the agent would answer: the operation is carried out.
pub(super) fn finished(c: &mut Cluster, link: u64) -> Vec<OfferOperation> {
    let agent = c.master.agents().next().unwrap();
    let mut pending: Vec<OfferOperation> = agent.operations.values().cloned().collect();
    for (number, operation) in pending.iter_mut().enumerate() {
        operation.state = OperationState::Finished;
        operation.status = Some(UpdateId([number as u8 + 1; 16]));
        let message = ToMaster::OperationStatus { operation: operation.clone().into() };
        c.send_message(link, message);
    }
    pending
}

#[test]
fn a_framework_reserves_creates_and_launches_in_one_call() {
    let mut c = offered();
    let disk = reserved("disk:40", &["eng"], None);
    let operations = vec![
        operation("r", Reserve, disk.clone()),
        operation("c", Create, volume("v", 40)),
        launch("t", &volume("v", 40)),
    ];
    c.accept("m-0000", "s1", 0, operations);
    check(
        &mut c,
        expect![[r#"
        put Agent(AgentId(m-S0))
        put PendingOperation(AgentId(m-S0), OperationUuid(a01747c155a44030be15462d032c7911))
        put Agent(AgentId(m-S0))
        put PendingOperation(AgentId(m-S0), OperationUuid(16dea684bdf94c428e6626ae977d87f2))
        reply Accepted
        l1 <- CheckpointResources disk(reservations: [(DYNAMIC,eng)]):40 for r
        l1 <- CheckpointResources disk(reservations: [(DYNAMIC,eng)])[v:data]:40 for c
        l1 <- RunTask task t on new command
    "#]],
    );
    assert_eq!(finished(&mut c, 1).len(), 2);
    check(
        &mut c,
        expect![[r#"
            delete PendingOperation(AgentId(m-S0), OperationUuid(16dea684bdf94c428e6626ae977d87f2))
            s1 <- UpdateOperationStatus c Finished '' (to acknowledge)
            delete PendingOperation(AgentId(m-S0), OperationUuid(a01747c155a44030be15462d032c7911))
            s1 <- UpdateOperationStatus r Finished '' (to acknowledge)
        "#]],
    );
    // It is in use, and nobody else's.
    let destroy = |volume: Resources| OperatorCall::Convert {
        agent_id: "m-S0".into(),
        kind: Destroy,
        principal: None,
        resources: volume,
    };
    c.operator(destroy(volume("v", 40)));
    c.operator(destroy(volume("w", 40)));
    c.subscribe("s2", framework("g", &["ops"]));
    c.update(1, "m-0000", "t", kernel_model::task::TaskState::Finished);
    check(
        &mut c,
        expect![[r#"
        reply Invalid: Invalid DESTROY operation on agent m-S0 at slave(1)@127.0.0.1:5051 (h1): Persistent volumes in use
        reply Invalid: Invalid DESTROY operation on agent m-S0 at slave(1)@127.0.0.1:5051 (h1): Persistent volumes not found
        reply Stream
        s2 <- Subscribed m-0001
        s2 <- Offers [m-O1 of m-S0 for ops: cpus:3; disk:60; mem:1024]
        s1 <- Update t Finished by Executor (to acknowledge)
        s1 <- Offers [m-O2 of m-S0 for eng: cpus:1; disk(reservations: [(DYNAMIC,eng)])[v:data]:40]
    "#]],
    );
    c.operator(destroy(volume("v", 40)));
    check(
        &mut c,
        expect![[r#"
        put Agent(AgentId(m-S0))
        s1 <- Rescind { offer_id: OfferId(m-O2) }
        l1 <- CheckpointResources disk(reservations: [(DYNAMIC,eng)]):40
        reply Accepted
        s1 <- Offers [m-O3 of m-S0 for eng: cpus:1; disk(reservations: [(DYNAMIC,eng)]):40]
    "#]],
    );
}

#[test]
fn a_volume_that_could_not_be_made_is_disk_again_when_its_task_has_ended() {
    let mut c = offered();
    let disk = reserved("disk:40", &["eng"], None);
    let operations = vec![
        operation("", Reserve, disk),
        operation("c", Create, volume("v", 40)),
        launch("t", &volume("v", 40)),
    ];
    c.accept("m-0000", "s1", 0, operations);
    c.log();
    let volumes = vec![volume("v", 40).iter().next().unwrap().volume_id().unwrap()];
    c.send_message(1, ToMaster::VolumesFailed { volumes });
    let mut failed = c.master.agents().next().unwrap().operations.values().next().unwrap().clone();
    (failed.state, failed.message) = (OperationState::Failed, "no room".to_owned());
    failed.status = Some(UpdateId([1; 16]));
    c.send_message(1, ToMaster::OperationStatus { operation: failed.into() });
    check(
        &mut c,
        expect![[r#"
            delete PendingOperation(AgentId(m-S0), OperationUuid(a01747c155a44030be15462d032c7911))
            s1 <- UpdateOperationStatus c Failed 'no room' (to acknowledge)
        "#]],
    );
    assert_eq!(c.master.counts().operations.get(&("CREATE", OperationState::Failed)), Some(&1));
    c.update(1, "m-0000", "t", kernel_model::task::TaskState::Failed);
    let log = c.log();
    assert!(log.contains("CheckpointResources disk(reservations: [(DYNAMIC,eng)]):40"), "{log}");
    let agent = c.master.agents().next().unwrap();
    assert!(agent.info.operations.volumes.is_empty(), "{:?}", agent.info.operations);
}

#[test]
fn invalid_volumes_are_refused_with_mesos_texts() {
    let mut c = offered();
    let create = |volume| operation("op", Create, volume);
    let operations = vec![
        operation("", Reserve, reserved("disk:50", &["eng"], None)),
        create(reserved("disk:10", &["eng"], None)),
        create(changed("v", 10, |_, disk| disk.persistence = None)),
        create(changed("v", 10, |_, disk| disk.volume = None)),
        create(changed("v", 10, |_, disk| disk.volume.as_mut().unwrap().read_only = true)),
        create(changed("v", 10, |resource, _| resource.shared = true)),
        create([volume("v", 10), volume("v", 20)].iter().flatten().cloned().collect()),
        create(volume("v", 60)),
        operation("", Create, volume("v", 10)),
        create(volume("v", 20)),
        operation("op", Destroy, volume("w", 10)),
        operation("op", Unreserve, volume("v", 10)),
    ];
    c.accept("m-0000", "s1", 0, operations);
    check(
        &mut c,
        expect![[r#"
        put Agent(AgentId(m-S0))
        put Agent(AgentId(m-S0))
        reply Accepted
        l1 <- CheckpointResources disk(reservations: [(DYNAMIC,eng)]):50
        s1 <- UpdateOperationStatus op Error 'Not a persistent volume: Resource disk(allocated: eng)(reservations: [(DYNAMIC,eng)]):10 does not have DiskInfo; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- UpdateOperationStatus op Error 'Not a persistent volume: 'persistence' is not set in DiskInfo; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- UpdateOperationStatus op Error 'Not a persistent volume: Expecting 'volume' to be set for persistent volume; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- UpdateOperationStatus op Error 'Not a persistent volume: Read-only persistent volume not supported; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- UpdateOperationStatus op Error 'Create volume operation for 'disk(allocated: eng)(reservations: [(DYNAMIC,eng)])[v:data]<SHARED>:10' has been attempted by framework 'm-0000' with no SHARED_RESOURCES capability; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- UpdateOperationStatus op Error 'Persistence ID 'v' is not unique; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- UpdateOperationStatus op Error 'cpus(allocated: eng):4; disk(allocated: eng):50; disk(allocated: eng)(reservations: [(DYNAMIC,eng)]):50; mem(allocated: eng):1024 does not contain disk(allocated: eng)(reservations: [(DYNAMIC,eng)]):60'
        l1 <- CheckpointResources disk(reservations: [(DYNAMIC,eng)]):40; disk(reservations: [(DYNAMIC,eng)])[v:data]:10
        s1 <- UpdateOperationStatus op Error 'Persistence ID 'v' is not unique; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- UpdateOperationStatus op Error 'Persistent volumes not found; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- UpdateOperationStatus op Error 'A dynamically reserved persistent volume disk(allocated: eng)(reservations: [(DYNAMIC,eng)])[v:data]:10 cannot be unreserved directly. Please destroy the persistent volume first then unreserve the resource; on agent m-S0 at slave(1)@127.0.0.1:5051 (h1)'
        s1 <- Offers [m-O1 of m-S0 for eng: cpus:4; disk:50; disk(reservations: [(DYNAMIC,eng)]):40; disk(reservations: [(DYNAMIC,eng)])[v:data]:10; mem:1024]
    "#]],
    );
    let by = |principal: &str, volume| OperatorCall::Convert {
        agent_id: "m-S0".into(),
        kind: Create,
        principal: Some(principal.into()),
        resources: volume,
    };
    c.operator(by("ann", volume("x", 10)));
    let of_bob = |_: &mut Resource, disk: &mut Disk| {
        disk.persistence.as_mut().unwrap().principal = Some("bob".into());
    };
    c.operator(by("ann", changed("x", 10, of_bob)));
    c.operator(by("bob", changed("x", 10, |resource, _| resource.shared = true)));
    check(
        &mut c,
        expect![[r#"
        reply Invalid: Invalid CREATE operation on agent m-S0 at slave(1)@127.0.0.1:5051 (h1): Create volume operation attempted by principal 'ann', but there is a volume in the operation with no principal set in 'disk.persistence'
        reply Invalid: Invalid CREATE operation on agent m-S0 at slave(1)@127.0.0.1:5051 (h1): Create volume operation attempted by authenticated principal 'ann', which does not match a volume in the operation with principal 'bob' set in 'disk.persistence'
        reply Invalid: Invalid CREATE operation on agent m-S0 at slave(1)@127.0.0.1:5051 (h1): Shared persistent volumes are not supported: disk(reservations: [(DYNAMIC,eng)])[x:data]<SHARED>:10
    "#]],
    );
}

#[test]
fn statuses_are_acknowledged_and_reconciled() {
    let mut c = offered();
    c.accept("m-0000", "s1", 0, vec![operation("op", Reserve, reserved("cpus:1", &["eng"], None))]);
    c.log();
    let reconcile = |operations: &[&str]| Call::ReconcileOperations {
        operations: operations.iter().map(|id| ((*id).into(), None)).collect(),
    };
    c.call("m-0000", "s1", reconcile(&[]));
    let status = finished(&mut c, 1)[0].status.unwrap();
    c.call("m-0000", "s1", reconcile(&["op", "other"]));
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- UpdateOperationStatus op Pending ''
        delete PendingOperation(AgentId(m-S0), OperationUuid(a01747c155a44030be15462d032c7911))
        s1 <- UpdateOperationStatus op Finished '' (to acknowledge)
        reply Accepted
        s1 <- UpdateOperationStatus op Finished ''
        s1 <- UpdateOperationStatus other Unknown 'Reconciliation: Operation is unknown and no 'agent_id' was provided'
    "#]],
    );
    let acknowledge = |agent: &str, id: &str, uuid| Call::AcknowledgeOperationStatus {
        agent_id: agent.into(),
        operation_id: id.into(),
        uuid,
    };
    c.call("m-0000", "s1", acknowledge("m-S9", "op", status));
    c.call("m-0000", "s1", acknowledge("m-S0", "op", UpdateId([9; 16])));
    c.call("m-0000", "s1", acknowledge("m-S0", "other", status));
    c.call("m-0000", "s1", acknowledge("m-S0", "op", status));
    c.call("m-0000", "s1", acknowledge("m-S0", "op", status));
    c.call("m-0000", "s1", reconcile(&["op"]));
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        dropped m-0000: Ignoring operation status acknowledgement for operation 'op' because agent m-S9 is not registered
        reply Accepted
        dropped m-0000: Ignoring operation status acknowledgement for operation 'op' because the operation status is unknown
        reply Accepted
        dropped m-0000: Ignoring operation status acknowledgement for operation 'other' because it is unknown
        reply Accepted
        l1 <- AcknowledgeOperation
        reply Accepted
        dropped m-0000: Ignoring operation status acknowledgement for operation 'op' because it is unknown
        reply Accepted
        s1 <- UpdateOperationStatus op Unknown 'Reconciliation: Operation is unknown and no 'agent_id' was provided'
    "#]],
    );
}

#[test]
fn an_agent_that_is_lost_tells_its_frameworks_about_operations() {
    let mut c = offered();
    c.accept("m-0000", "s1", 0, vec![operation("op", Reserve, reserved("cpus:1", &["eng"], None))]);
    c.log();
    c.operator(OperatorCall::MarkAgentGone { agent_id: "m-S0".into() });
    check(
        &mut c,
        expect![[r#"
        delete PendingOperation(AgentId(m-S0), OperationUuid(a01747c155a44030be15462d032c7911))
        delete Agent(AgentId(m-S0))
        put GoneAgent(AgentId(m-S0))
        l1 <- Shutdown { message: "Agent has been marked gone" }
        s1 <- Rescind { offer_id: OfferId(m-O1) }
        s1 <- UpdateOperationStatus op GoneByOperator 'Agent has been marked gone'
        l1 closed
        s1 <- Failure { agent_id: Some(AgentId(m-S0)), executor_id: None, status: None }
        reply Done
    "#]],
    );
}

/// An operation that had not reached its agent is sent again when that is back, and dropped when its machine comes under another id.
#[test]
fn operations_outlive_that_their_agent_is_unreachable() {
    for (back, expected) in [
        (true, "s1 <- UpdateOperationStatus op Finished '' (to acknowledge)\n"),
        (
            false,
            "s1 <- UpdateOperationStatus op Dropped 'Agent h1 removed: a new agent registered at the same address'\n",
        ),
    ] {
        let mut c = offered();
        let before = c.master.agents().next().unwrap().info.clone();
        c.accept("m-0000", "s1", 0, vec![operation("op", Reserve, reserved("cpus:1", &["eng"], None))]);
        c.disconnect(1);
        c.log();
        c.advance(config("m").agent_reregister_timeout);
        let log = c.log();
        assert!(
            log.contains("s1 <- UpdateOperationStatus op Unreachable 'Agent was marked unreachable'"),
            "{log}"
        );
        let reconcile = |c: &mut Cluster| {
            let operations = vec![("op".into(), Some("m-S0".into()))];
            c.call("m-0000", "s1", Call::ReconcileOperations { operations });
            c.log()
        };
        let log = reconcile(&mut c);
        assert!(log.contains("op Unreachable 'Reconciliation: Agent is unreachable'"), "{log}");
        if back {
            let message = ToMaster::Reregister {
                info: before,
                frameworks: vec![],
                executors: vec![],
                tasks: vec![],
                operations: vec![],
            };
            c.connect(2, message);
            let log = c.log();
            assert!(
                log.contains("l2 <- CheckpointResources cpus(reservations: [(DYNAMIC,eng)]):1 for op"),
                "{log}"
            );
            let log = reconcile(&mut c);
            assert!(log.contains("op Pending"), "{log}");
            finished(&mut c, 2);
        } else {
            c.connect(
                2,
                ToMaster::Register { info: AgentInfo { id: None, ..AgentInfo::clone(&before) }.into() },
            );
        }
        let log = c.log();
        assert!(log.contains(expected), "{log}");
    }
}

#[test]
fn the_operations_of_an_ended_framework_are_acknowledged_for_it() {
    let mut c = offered();
    let reserve = |cpus: &str| operation(cpus, Reserve, reserved(cpus, &["eng"], None));
    c.accept("m-0000", "s1", 0, vec![reserve("cpus:1")]);
    let done = finished(&mut c, 1);
    c.log();
    c.call("m-0000", "s1", Call::Teardown);
    c.send_message(1, ToMaster::OperationStatus { operation: done[0].clone().into() });
    check(
        &mut c,
        expect![[r#"
        put EndedFramework(FrameworkId(m-0000))
        reply Accepted
        l1 <- AcknowledgeOperation
        s1 closed
        l1 <- AcknowledgeOperation
    "#]],
    );
}

/// The crash boundary: the master's registry has the reservation, and nobody has told the agent.
#[test]
fn an_answered_operation_outlives_both_master_and_agent() {
    let mut c = offered();
    let machine = AgentInfo { id: Some("m-S0".into()), ..agent_info(1, "cpus:4;mem:1024;disk:100") };
    c.operator(OperatorCall::Convert {
        agent_id: "m-S0".into(),
        kind: Reserve,
        principal: None,
        resources: reserved("disk:40", &["eng"], None),
    });
    c.operator(OperatorCall::Convert {
        agent_id: "m-S0".into(),
        kind: Create,
        principal: None,
        resources: volume("v", 40),
    });
    assert_eq!(c.log().matches("reply Accepted").count(), 2);
    c.restart("n");
    let report = |info: &AgentInfo| ToMaster::Reregister {
        info: info.clone().into(),
        frameworks: vec![],
        executors: vec![],
        tasks: vec![],
        operations: vec![],
    };
    c.connect(1, report(&machine));
    check(
        &mut c,
        expect![[r#"
        l1 <- Reregistered m-S0 unknown []
        l1 <- CheckpointResources disk(reservations: [(DYNAMIC,eng)])[v:data]:40
        l1 <- Ping
    "#]],
    );
    // An agent that knows more than the registry, which was restored from a backup, prevails.
    let known = AgentInfo::clone(&c.master.agents().next().unwrap().info);
    assert_eq!((known.operations.count, known.operations.volumes.len()), (2, 1));
    let mut c = Cluster::new();
    c.connect(1, report(&known));
    assert!(!c.log().contains("CheckpointResources"));
    assert_eq!(c.master.agents().next().unwrap().info.operations.count, 2);
}

#[test]
fn what_no_message_or_directory_can_hold_is_refused() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4;mem:1024;disk:100");
    c.log();
    let role = format!("{}/{}", "y".repeat(200), "z".repeat(100));
    let reserve = |resources| OperatorCall::Convert {
        agent_id: "m-S0".into(),
        kind: Reserve,
        principal: None,
        resources,
    };
    c.operator(reserve(reserved("disk:10", &[&role], None)));
    let disk = Disk {
        source: None,
        persistence: Some(Persistence { id: "v".into(), principal: None }),
        volume: Some(VolumeMount { container_path: "data".into(), read_only: false }),
    };
    let with_disk = |one: &Resource| Resource { disk: Some(disk.clone().into()), ..one.clone() };
    let resources = reserved("disk:10", &[&role], None).iter().map(with_disk).collect();
    c.operator(OperatorCall::Convert { agent_id: "m-S0".into(), kind: Create, principal: None, resources });
    let log = c.log();
    assert!(log.contains("cannot have persistent volumes: no directory can have its name"), "{log}");
    let labels: Vec<String> = (0..400).map(|n| format!("label-{n}-{}", "x".repeat(60))).collect();
    let long: Resources = labels.iter().fold(Resources::new(), |mut all, label| {
        let mut one = reserved("cpus:0.001", &["eng"], None);
        one = one
            .iter()
            .map(|one| {
                let mut one = one.clone();
                one.reservations[0].labels = one.reservations[0].labels.clone().with(label, "");
                one
            })
            .collect();
        all += &one;
        all
    });
    let why = c.master.check_tracked(&"m-S0".into(), &"m-0000".into(), &long).unwrap_err();
    assert!(why.ends_with("more than the limit of 16384"), "{why}");
    assert_eq!(
        c.master.check_tracked(&"m-S0".into(), &"m-0000".into(), &reserved("cpus:1", &["eng"], None)),
        Ok(())
    );
}
