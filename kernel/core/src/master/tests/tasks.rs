//! ACCEPT, validation, updates, kills and reconciliation.

use expect_test::{Expect, expect};
use kernel_model::{
    agent::ToMaster,
    framework::FrameworkCapability,
    ids::UpdateId,
    offer::Filters,
    scheduler::{Call, Operation},
    task::{Source, TaskInfo, TaskState, TaskStatus},
};

use super::cluster::*;
use crate::master::OperatorCall;

fn check(cluster: &mut Cluster, expected: Expect) {
    expected.assert_eq(&cluster.log());
}

/// A framework m-0000 on s1 with the offer m-O0 of m-S0 (link 1).
fn offered() -> Cluster {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024;ports:[1-10]");
    c.log();
    c
}

fn launch(tasks: Vec<TaskInfo>) -> Operation {
    Operation::Launch { tasks }
}

#[test]
fn a_task_runs() {
    let mut c = offered();
    c.operators = true;
    c.accept("m-0000", "s1", 0, vec![launch(vec![task("t", "m-S0", "cpus:1;mem:32;ports:[3-4]")])]);
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        operators <- task added t
        l1 <- RunTask task t on new command
        operators <- agent updated m-S0 Connected
    "#]],
    );
    c.update(1, "m-0000", "t", TaskState::Running);
    c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Running);
    check(
        &mut c,
        expect![[r#"
        operators <- task updated t Running
        s1 <- Update t Running by Executor (to acknowledge)
        reply Accepted
        l1 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(01010101010101010101010101010101) }
    "#]],
    );
    // The latest state determines the resources, though the framework has not been told yet.
    let status = TaskStatus {
        uuid: Some(UpdateId([8; 16])),
        ..TaskStatus::new("t".into(), TaskState::Killing, Source::Executor, c.now)
    };
    let framework_id = "m-0000".into();
    c.send_message(
        1,
        ToMaster::Update { framework_id, status: status.into(), latest_state: TaskState::Killed },
    );
    check(
        &mut c,
        expect![[r#"
        operators <- task updated t Killed
        s1 <- Update t Killing by Executor (to acknowledge)
        s1 <- Offers [m-O1 of m-S0 for *: cpus:4; mem:1024; ports:[1-10]]
        operators <- agent updated m-S0 Connected
    "#]],
    );
    c.call("m-0000", "s1", Call::Reconcile { tasks: vec![] });
    c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Killing);
    c.update(1, "m-0000", "t", TaskState::Killed);
    c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Running);
    assert!(c.master.framework(&"m-0000".into()).unwrap().tasks.contains_key("t"));
    c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Killed);
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- Update t Killing by Master Reconciliation 'Reconciliation: Latest task state'
        reply Accepted
        l1 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(08080808080808080808080808080808) }
        s1 <- Update t Killed by Executor (to acknowledge)
        reply Accepted
        l1 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(01010101010101010101010101010101) }
        reply Accepted
        l1 <- Acknowledge { framework_id: FrameworkId(m-0000), task_id: TaskId(t), uuid: UpdateId(04040404040404040404040404040404) }
    "#]],
    );
    let framework = c.master.framework(&"m-0000".into()).unwrap();
    assert!(framework.tasks.is_empty());
    assert_eq!(framework.completed_tasks[0].state, TaskState::Killed);
}

#[test]
fn an_executor_is_charged_once() {
    let mut c = offered();
    let on = |id: &str| on_executor(task(id, "m-S0", "cpus:1"), executor("e", "cpus:0.5;mem:32"));
    c.accept("m-0000", "s1", 0, vec![launch(vec![on("a"), on("b")]), launch(vec![on("c")])]);
    c.accept("m-0000", "s1", 1, vec![]);
    c.call("m-0000", "s1", Call::Revive { roles: vec![] });
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        l1 <- RunTask task a on new e
        l1 <- RunTask task b on running e
        l1 <- RunTask task c on running e
        reply Accepted
        reply Accepted
        s1 <- Offers [m-O1 of m-S0 for *: cpus:0.5; mem:992; ports:[1-10]]
    "#]],
    );
    let mut other = on("d");
    std::sync::Arc::make_mut(other.executor.as_mut().unwrap()).name = "another".into();
    c.accept("m-0000", "s1", 1, vec![launch(vec![other])]);
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- Update d Error by Master TaskInvalid 'ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.
        ------------------------------------------------------------
        Existing ExecutorInfo:
        name: ''
        ------------------------------------------------------------
        ExecutorInfo:
        name: 'another'
        ------------------------------------------------------------
        '
    "#]],
    );
    c.send_message(
        1,
        ToMaster::ExitedExecutor { framework_id: "m-0000".into(), executor_id: "e".into(), status: 9 },
    );
    check(
        &mut c,
        expect![[r#"
        s1 <- Failure { agent_id: Some(AgentId(m-S0)), executor_id: Some(ExecutorId(e)), status: Some(9) }
        s1 <- Offers [m-O2 of m-S0 for *: cpus:1; mem:1024; ports:[1-10]]
    "#]],
    );
    c.acknowledge("m-0000", "s1", "m-S0", "a", TaskState::Running);
}

#[test]
fn invalid_tasks() {
    let mut c = offered();
    let plain = |id: &str| task(id, "m-S0", "cpus:0.1");
    let mut both = plain("both");
    both.executor = Some(executor("e", "").into());
    let mut neither = plain("neither");
    neither.command = None;
    let mut without_command = on_executor(plain("without-command"), executor("e", ""));
    std::sync::Arc::make_mut(without_command.executor.as_mut().unwrap()).command = None;
    let mut stranger = on_executor(plain("stranger"), executor("e", ""));
    std::sync::Arc::make_mut(stranger.executor.as_mut().unwrap()).framework_id = Some("x".into());
    let tasks = vec![
        plain("good"),
        plain("good"),
        plain(""),
        plain(".."),
        plain("a/b"),
        task("elsewhere", "m-S7", "cpus:1"),
        task("much", "m-S0", "cpus:9"),
        task("half-gpu", "m-S0", "gpus:0.5"),
        on_executor(task("much-with", "m-S0", "cpus:3.8"), executor("e", "cpus:0.5")),
        both,
        neither,
        without_command,
        stranger,
    ];
    c.accept("m-0000", "s1", 0, vec![launch(tasks)]);
    check(
        &mut c,
        expect![[r#"
            reply Accepted
            l1 <- RunTask task good on new command
            s1 <- Update good Error by Master TaskInvalid 'Task has duplicate ID: good'
            s1 <- Update  Error by Master TaskInvalid 'ID must not be empty'
            s1 <- Update .. Error by Master TaskInvalid ''..' is disallowed'
            s1 <- Update a/b Error by Master TaskInvalid ''a/b' contains invalid characters'
            s1 <- Update elsewhere Error by Master TaskInvalid 'Task uses invalid agent m-S7 while agent m-S0 is expected'
            s1 <- Update much Error by Master TaskInvalid 'Total resources cpus(allocated: *):9 required by task and its executor is more than available cpus(allocated: *):3.9; mem(allocated: *):1024; ports(allocated: *):[1-10]'
            s1 <- Update half-gpu Error by Master TaskInvalid 'Task uses invalid resources: Invalid 'gpus' resource: The 'gpus' resource must be an unsigned integer'
            s1 <- Update much-with Error by Master TaskInvalid 'Total resources cpus(allocated: *):4.3 required by task and its executor is more than available cpus(allocated: *):3.9; mem(allocated: *):1024; ports(allocated: *):[1-10]'
            s1 <- Update both Error by Master TaskInvalid 'Task should have at least one (but not both) of CommandInfo or ExecutorInfo present'
            s1 <- Update neither Error by Master TaskInvalid 'Task should have at least one (but not both) of CommandInfo or ExecutorInfo present'
            s1 <- Update without-command Error by Master TaskInvalid ''ExecutorInfo.command' must be set for 'CUSTOM' executor'
            s1 <- Update stranger Error by Master TaskInvalid 'ExecutorInfo has an invalid FrameworkID (Actual: x vs Expected: m-0000)'
        "#]],
    );
}

/// A scheduler may ask for zero of something.
#[test]
fn a_task_that_holds_nothing_runs_and_leaves_nothing() {
    for terminated_by_operator in [false, true] {
        let mut c = offered();
        let on = |id: &str| on_executor(task(id, "m-S0", ""), executor("e", ""));
        c.accept("m-0000", "s1", 0, vec![launch(vec![task("t", "m-S0", ""), on("u")])]);
        check(
            &mut c,
            expect![[r#"
                reply Accepted
                l1 <- RunTask task t on new command
                l1 <- RunTask task u on new e
            "#]],
        );
        c.update(1, "m-0000", "t", TaskState::Running);
        if terminated_by_operator {
            c.operator(OperatorCall::Teardown { framework_id: "m-0000".into() });
        } else {
            c.update(1, "m-0000", "t", TaskState::Finished);
            c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Running);
            c.acknowledge("m-0000", "s1", "m-S0", "t", TaskState::Finished);
        }
        let agent = c.master.agent(&"m-S0".into()).unwrap();
        assert!(agent.allocated.is_empty(), "{:?}", agent.allocated);
    }
}

#[test]
fn groups_are_atomic() {
    let mut c = offered();
    let group = |tasks| Operation::LaunchGroup { executor: executor("e", "cpus:0.1;mem:32;disk:1"), tasks };
    let small = Operation::LaunchGroup { executor: executor("e", "mem:32;disk:1"), tasks: vec![] };
    let good = |id: &str| {
        let mut good = task(id, "m-S0", "cpus:1");
        good.command = None;
        good
    };
    c.accept(
        "m-0000",
        "s1",
        0,
        vec![
            small,
            group(vec![]),
            group(vec![good("a"), task("b", "m-S1", "cpus:1")]),
            group(vec![good("a"), good("b")]),
        ],
    );
    check(
        &mut c,
        expect![[r#"
            reply Accepted
            s1 <- Update a Error by Master TaskGroupInvalid 'Task 'b' is invalid: Task uses invalid agent m-S1 while agent m-S0 is expected'
            s1 <- Update b Error by Master TaskGroupInvalid 'Task 'b' is invalid: Task uses invalid agent m-S1 while agent m-S0 is expected'
            s1 <- Update a Error by Master TaskGroupInvalid 'Total resources cpus(allocated: *):2.1; disk(allocated: *):1; mem(allocated: *):32 required by task group and its executor are more than available cpus(allocated: *):4; mem(allocated: *):1024; ports(allocated: *):[1-10]'
            s1 <- Update b Error by Master TaskGroupInvalid 'Total resources cpus(allocated: *):2.1; disk(allocated: *):1; mem(allocated: *):32 required by task group and its executor are more than available cpus(allocated: *):4; mem(allocated: *):1024; ports(allocated: *):[1-10]'
        "#]],
    );
    c.agent(2, "cpus:4;mem:1024;disk:100");
    c.accept("m-0000", "s1", 2, vec![]);
    c.call("m-0000", "s1", Call::Revive { roles: vec![] });
    c.log();
    let good = |id: &str| task(id, "m-S1", "cpus:1");
    c.accept("m-0000", "s1", 4, vec![group(vec![good("a"), good("b")])]);
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- Update a Dropped by Master InvalidOffers 'Task launched with invalid offers: Offer m-O4 is no longer valid'
        s1 <- Update b Dropped by Master InvalidOffers 'Task launched with invalid offers: Offer m-O4 is no longer valid'
    "#]],
    );
}

#[test]
fn bad_offer_sets() {
    let mut c = offered();
    c.subscribe("s2", framework("g", &["*"]));
    c.agent(2, "cpus:4;mem:1024");
    c.log();
    let accept = |c: &mut Cluster, offers: &[&str], id: &str| {
        let offer_ids = offers.iter().map(|o| (*o).into()).collect();
        let unsupported = Operation::Unsupported { id: Some("op".into()), kind: "RESERVE" };
        let operations = vec![launch(vec![task(id, "m-S0", "cpus:1")]), unsupported];
        c.call("m-0000", "s1", Call::Accept { offer_ids, operations, filters: Filters::default() });
    };
    accept(&mut c, &[], "none");
    accept(&mut c, &["m-O9"], "unknown");
    accept(&mut c, &["m-O1"], "foreign");
    accept(&mut c, &["m-O0", "m-O0"], "twice");
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- Update none Dropped by Master InvalidOffers 'Task launched with invalid offers: No offers specified'
        s1 <- UpdateOperationStatus op Error 'Operation attempted with invalid offers: No offers specified'
        reply Accepted
        s1 <- Update unknown Dropped by Master InvalidOffers 'Task launched with invalid offers: Offer m-O9 is no longer valid'
        s1 <- UpdateOperationStatus op Error 'Operation attempted with invalid offers: Offer m-O9 is no longer valid'
        reply Accepted
        s1 <- Update foreign Dropped by Master InvalidOffers 'Task launched with invalid offers: Offer m-O1 has invalid framework m-0001 while framework m-0000 is expected'
        s1 <- UpdateOperationStatus op Error 'Operation attempted with invalid offers: Offer m-O1 has invalid framework m-0001 while framework m-0000 is expected'
        reply Accepted
        s1 <- Update twice Dropped by Master InvalidOffers 'Task launched with invalid offers: Duplicate offer m-O0 in offer list'
        s1 <- UpdateOperationStatus op Error 'Operation attempted with invalid offers: Duplicate offer m-O0 in offer list'
        s1 <- Offers [m-O2 of m-S0 for *: cpus:4; mem:1024; ports:[1-10]]
    "#]],
    );
    assert!(c.master.offer(&"m-O1".into()).is_some());
    let operations = vec![Operation::Unsupported { id: Some("op".into()), kind: "RESERVE" }];
    c.accept("m-0000", "s1", 2, operations);
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- UpdateOperationStatus op Error 'RESERVE operations are not supported'
        s2 <- Offers [m-O3 of m-S0 for *: cpus:4; mem:1024; ports:[1-10]]
    "#]],
    );
}

#[test]
fn kills() {
    let mut c = offered();
    c.accept("m-0000", "s1", 0, vec![launch(vec![task("t", "m-S0", "cpus:1")])]);
    c.log();
    let kill = |task: &str, agent: Option<&str>| Call::Kill {
        task_id: task.into(),
        agent_id: agent.map(Into::into),
        grace: Some(std::time::Duration::from_secs(3)),
    };
    c.call("m-0000", "s1", kill("t", None));
    c.call("m-0000", "s1", kill("t", Some("m-S9")));
    c.call("m-0000", "s1", kill("x", Some("m-S0")));
    c.call("m-0000", "s1", kill("x", None));
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        l1 <- KillTask { framework_id: FrameworkId(m-0000), task_id: TaskId(t), grace: Some(3s) }
        reply Accepted
        reply Accepted
        s1 <- Update x Gone by Master Reconciliation 'Reconciliation: Task is unknown to the agent'
        reply Accepted
        s1 <- Update x Unknown by Master Reconciliation 'Reconciliation: Task is unknown'
    "#]],
    );
    c.disconnect(1);
    c.call("m-0000", "s1", kill("t", None));
    c.log();
    let mut info = agent_info(1, "cpus:4;mem:1024;ports:[1-10]");
    info.id = Some("m-S0".into());
    let tasks = vec![running("m-0000", "t", "m-S0", "cpus:1")];
    let info = info.into();
    c.connect(
        2,
        ToMaster::Reregister { info, frameworks: vec![], executors: vec![], tasks, operations: Vec::new() },
    );
    check(
        &mut c,
        expect![[r#"
            l2 <- Reregistered m-S0 unknown []
            l2 <- KillTask { framework_id: FrameworkId(m-0000), task_id: TaskId(t), grace: Some(3s) }
            l2 <- Ping
        "#]],
    );
}

#[test]
fn explicit_reconciliation() {
    for partition_aware in [true, false] {
        let mut c = Cluster::new();
        c.agent(1, "cpus:4;mem:1024");
        c.agent(2, "cpus:4;mem:1024");
        c.agent(3, "cpus:4;mem:1024");
        c.operator(OperatorCall::MarkAgentGone { agent_id: "m-S1".into() });
        c.disconnect(3);
        for _ in 0..9 {
            c.advance(std::time::Duration::from_secs(15));
            c.send_message(1, ToMaster::Pong);
        }
        let mut info = framework("f", &["*"]);
        if !partition_aware {
            info.capabilities.remove(&FrameworkCapability::PartitionAware);
        }
        c.subscribe("s1", info);
        c.log();
        let agents = ["m-S0", "m-S1", "m-S2", "m-S3"];
        let mut tasks: Vec<_> =
            agents.iter().map(|a| (format!("on-{a}").into(), Some((*a).into()))).collect();
        tasks.push(("nowhere".into(), None));
        c.call("m-0000", "s1", Call::Reconcile { tasks: tasks.clone() });
        if partition_aware {
            check(
                &mut c,
                expect![[r#"
                reply Accepted
                s1 <- Update on-m-S0 Gone by Master Reconciliation 'Reconciliation: Task is unknown to the agent'
                s1 <- Update on-m-S1 GoneByOperator by Master Reconciliation 'Reconciliation: Task is gone'
                s1 <- Update on-m-S2 Unreachable by Master Reconciliation 'Reconciliation: Task is unreachable'
                s1 <- Update on-m-S3 Unknown by Master Reconciliation 'Reconciliation: Task is unknown'
                s1 <- Update nowhere Unknown by Master Reconciliation 'Reconciliation: Task is unknown'
            "#]],
            );
            c.restart("n");
            c.subscribe("s1", framework("f", &["*"]));
            c.log();
            c.call("n-0000", "s1", Call::Reconcile { tasks });
            check(
                &mut c,
                expect![[r#"
                reply Accepted
                s1 <- Update on-m-S1 GoneByOperator by Master Reconciliation 'Reconciliation: Task is gone'
                s1 <- Update on-m-S2 Unreachable by Master Reconciliation 'Reconciliation: Task is unreachable'
                s1 <- Update on-m-S3 Unknown by Master Reconciliation 'Reconciliation: Task is unknown'
            "#]],
            );
        } else {
            check(
                &mut c,
                expect![[r#"
                reply Accepted
                s1 <- Update on-m-S0 Lost by Master Reconciliation 'Reconciliation: Task is unknown to the agent'
                s1 <- Update on-m-S1 Lost by Master Reconciliation 'Reconciliation: Task is gone'
                s1 <- Update on-m-S2 Lost by Master Reconciliation 'Reconciliation: Task is unreachable'
                s1 <- Update on-m-S3 Lost by Master Reconciliation 'Reconciliation: Task is unknown'
                s1 <- Update nowhere Lost by Master Reconciliation 'Reconciliation: Task is unknown'
            "#]],
            );
        }
    }
}

#[test]
fn operation_reconciliation_and_dropped_calls() {
    let mut c = offered();
    let reconcile = |agent: Option<&str>| Call::ReconcileOperations {
        operations: vec![("op".into(), agent.map(Into::into))],
    };
    c.call("m-0000", "s1", Call::ReconcileOperations { operations: vec![] });
    c.call("m-0000", "s1", reconcile(None));
    c.call("m-0000", "s1", reconcile(Some("m-S0")));
    c.call("m-0000", "s1", reconcile(Some("m-S9")));
    c.call("m-0000", "s1", Call::AcceptInverseOffers { offer_ids: vec!["m-O7".into()] });
    c.call("m-0000", "s1", Call::DeclineInverseOffers { offer_ids: vec!["m-O8".into()] });
    let (agent_id, operation_id) = ("m-S0".into(), "op".into());
    let uuid = kernel_model::ids::UpdateId([0; 16]);
    c.call("m-0000", "s1", Call::AcknowledgeOperationStatus { agent_id, operation_id, uuid });
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        reply Accepted
        s1 <- UpdateOperationStatus op Unknown 'Reconciliation: Operation is unknown and no 'agent_id' was provided'
        reply Accepted
        s1 <- UpdateOperationStatus op Unknown 'Reconciliation: Operation is unknown'
        reply Accepted
        s1 <- UpdateOperationStatus op Unknown 'Reconciliation: Both operation and agent are unknown'
        reply Accepted
        dropped m-0000: Ignoring accept of inverse offer m-O7 since it is no longer valid
        reply Accepted
        dropped m-0000: Ignoring decline of inverse offer m-O8 since it is no longer valid
        reply Accepted
        dropped m-0000: Ignoring operation status acknowledgement for operation 'op' because it is unknown
    "#]],
    );
    c.operator(crate::master::OperatorCall::MarkAgentGone { agent_id: "m-S0".into() });
    c.log();
    c.call("m-0000", "s1", reconcile(Some("m-S0")));
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- UpdateOperationStatus op GoneByOperator 'Reconciliation: Agent marked gone by operator'
    "#]],
    );
}
