//! The tags and numbers of the partial messages against the complete ones.

use kernel_wire::v1;

use super::*;

/// A message of this module is decoded as the complete one and encoded again: nothing may change.
fn agrees<Full: Message + Default>(part: &impl Message) -> Full {
    let bytes = part.encode_to_vec();
    let full = Full::decode(bytes.as_slice()).unwrap();
    assert_eq!(full.encode_to_vec().len(), bytes.len(), "a member is unknown to the complete message");
    full
}

fn id(value: &str) -> Id {
    Id { value: value.to_owned() }
}

fn encoded(value: &str) -> Bytes {
    id(value).encode_to_vec().into()
}

fn call(kind: i32) -> Call {
    Call { framework_id: Some(id("f")), r#type: Some(kind), ..Call::default() }
}

#[test]
fn calls_have_the_tags_of_the_complete_messages() {
    use v1::scheduler::call::Type;
    let framework = v1::FrameworkInfo {
        user: "u".into(),
        name: "n".into(),
        id: Some(v1::FrameworkId { value: "f".into() }),
        hostname: Some("h".into()),
        ..Default::default()
    };
    let subscribe = Subscribe {
        framework_info: framework.encode_to_vec().into(),
        suppressed_roles: vec!["r".into()],
        offer_constraints: Some(Bytes::new()),
    };
    let full: v1::scheduler::Call =
        agrees(&Call { subscribe: Some(subscribe.clone()), ..call(call::SUBSCRIBE) });
    assert_eq!(full.r#type(), Type::Subscribe);
    let subscribed = full.subscribe.unwrap();
    assert_eq!(subscribed.framework_info.hostname.as_deref(), Some("h"));
    assert_eq!(subscribed.framework_info.id.unwrap().value, "f");
    assert_eq!(subscribed.suppressed_roles, ["r"]);
    assert!(subscribed.offer_constraints.is_some());
    let full: v1::scheduler::Call =
        agrees(&Call { update_framework: Some(subscribe), ..call(call::UPDATE_FRAMEWORK) });
    assert_eq!(full.r#type(), Type::UpdateFramework);
    assert_eq!(full.update_framework.unwrap().framework_info.user, "u");

    let task = v1::TaskInfo {
        name: "n".into(),
        task_id: v1::TaskId { value: "t".into() },
        agent_id: v1::AgentId { value: "a".into() },
        ..Default::default()
    };
    let launch = LaunchOperation {
        r#type: Some(LAUNCH),
        launch: Some(TaskInfos { task_infos: vec![task.encode_to_vec().into()] }),
    };
    let accept = Accept {
        offer_ids: vec![encoded("o")],
        operations: vec![launch.encode_to_vec().into()],
        filters: Some(v1::Filters { refuse_seconds: Some(1.0) }.encode_to_vec().into()),
    };
    let full: v1::scheduler::Call = agrees(&Call { accept: Some(accept), ..call(call::ACCEPT) });
    let accept = full.accept.unwrap();
    assert_eq!(accept.offer_ids[0].value, "o");
    assert_eq!(accept.operations[0].r#type(), v1::offer::operation::Type::Launch);
    assert_eq!(accept.operations[0].launch.as_ref().unwrap().task_infos, [task]);
    assert_eq!(accept.filters.unwrap().refuse_seconds(), 1.0);

    let decline = Decline { offer_ids: vec![encoded("o")], filters: Some(Bytes::new()) };
    let full: v1::scheduler::Call = agrees(&Call { decline: Some(decline), ..call(call::DECLINE) });
    assert_eq!((full.r#type(), full.decline.unwrap().offer_ids.len()), (Type::Decline, 1));
    let full: v1::scheduler::Call =
        agrees(&Call { kill: Some(Kill { task_id: encoded("t") }), ..call(call::KILL) });
    assert_eq!((full.r#type(), full.kill.unwrap().task_id.value.as_str()), (Type::Kill, "t"));
}

#[test]
fn the_other_calls_have_the_tags_of_the_complete_messages() {
    use v1::scheduler::call::Type;
    let acknowledge = Acknowledge { agent_id: id("a"), task_id: id("t"), uuid: Bytes::from_static(b"u") };
    let full: v1::scheduler::Call =
        agrees(&Call { acknowledge: Some(acknowledge), ..call(call::ACKNOWLEDGE) });
    let acknowledge = full.acknowledge.clone().unwrap();
    assert_eq!(full.r#type(), Type::Acknowledge);
    assert_eq!((acknowledge.agent_id.value.as_str(), acknowledge.task_id.value.as_str()), ("a", "t"));
    assert_eq!(acknowledge.uuid, "u");
    let task = ReconcileTask { task_id: id("t"), agent_id: Some(id("a")) };
    let reconcile = Some(Reconcile { tasks: vec![task] });
    let full: v1::scheduler::Call = agrees(&Call { reconcile, ..call(call::RECONCILE) });
    assert_eq!(full.reconcile.unwrap().tasks[0].agent_id.as_ref().unwrap().value, "a");
    let message =
        Some(FrameworkMessage { agent_id: encoded("a"), executor_id: encoded("e"), data: "d".into() });
    let full: v1::scheduler::Call = agrees(&Call { message, ..call(call::MESSAGE) });
    let message = full.message.unwrap();
    assert_eq!((message.agent_id.value.as_str(), message.executor_id.value.as_str()), ("a", "e"));
    let request = Some(Requests { requests: vec![Bytes::new()] });
    let full: v1::scheduler::Call = agrees(&Call { request, ..call(call::REQUEST) });
    assert_eq!((full.r#type(), full.request.unwrap().requests.len()), (Type::Request, 1));
    let roles = Some(Roles { roles: vec!["r".into()] });
    let full: v1::scheduler::Call = agrees(&Call { revive: roles.clone(), ..call(call::REVIVE) });
    assert_eq!((full.r#type(), full.revive.unwrap().roles.len()), (Type::Revive, 1));
    let full: v1::scheduler::Call = agrees(&Call { suppress: roles, ..call(call::SUPPRESS) });
    assert_eq!((full.r#type(), full.suppress.unwrap().roles.len()), (Type::Suppress, 1));
    let full: v1::scheduler::Call = agrees(&call(call::TEARDOWN));
    assert_eq!(full.r#type(), Type::Teardown);
}

#[test]
fn appended_members_replace_those_before() {
    let framework = v1::FrameworkInfo { user: "old".into(), name: "n".into(), ..Default::default() };
    let defaults =
        FrameworkDefaults { user: Some("u".into()), id: Some(id("f")), hostname: Some("h".into()) };
    let mut encoded = framework.encode_to_vec();
    encoded.extend(defaults.encode_to_vec());
    let complete = v1::FrameworkInfo::decode(encoded.as_slice()).unwrap();
    assert_eq!((complete.user.as_str(), complete.name.as_str(), complete.hostname()), ("u", "n", "h"));
    assert_eq!(complete.id.unwrap().value, "f");
}

#[test]
fn numbers_are_those_of_the_complete_messages() {
    use v1::framework_info::capability::Type as Capability;
    use v1::task_status::{Reason, Source};
    assert_eq!(PARTITION_AWARE, Capability::PartitionAware as i32);
    assert_eq!(MULTI_ROLE, Capability::MultiRole as i32);
    assert_eq!(status::TASK_LOST, v1::TaskState::TaskLost as i32);
    assert_eq!(status::TASK_DROPPED, v1::TaskState::TaskDropped as i32);
    assert_eq!(status::SOURCE_MASTER, Source::Master as i32);
    assert_eq!(status::REASON_MASTER_DISCONNECTED, Reason::MasterDisconnected as i32);
    assert_eq!(status::REASON_TASK_INVALID, Reason::TaskInvalid as i32);
    let part = TaskStatus {
        task_id: id("t"),
        state: status::TASK_LOST,
        message: Some("m".into()),
        agent_id: Some(id("a")),
        timestamp: Some(1.5),
        source: Some(status::SOURCE_MASTER),
        reason: Some(status::REASON_MASTER_DISCONNECTED),
        uuid: Some(Bytes::from_static(b"u")),
    };
    let full: v1::TaskStatus = agrees(&part);
    assert_eq!((full.state(), full.message(), full.timestamp()), (v1::TaskState::TaskLost, "m", 1.5));
    assert_eq!((full.source(), full.reason()), (Source::Master, Reason::MasterDisconnected));
    assert_eq!((full.agent_id.unwrap().value.as_str(), full.uuid.as_deref()), ("a", Some(b"u".as_slice())));
}

#[test]
fn launched_tasks_are_found_in_operations() {
    let task = |name: &str| v1::TaskInfo {
        name: name.into(),
        task_id: v1::TaskId { value: name.into() },
        agent_id: v1::AgentId { value: "a".into() },
        ..Default::default()
    };
    let group = v1::offer::operation::LaunchGroup {
        executor: v1::ExecutorInfo::default(),
        task_group: v1::TaskGroupInfo { tasks: vec![task("x"), task("y")] },
    };
    let full = v1::offer::Operation { launch_group: Some(group), ..Default::default() };
    let part = Operation::decode(full.encode_to_vec().as_slice()).unwrap();
    let tasks = part.launch_group.unwrap().task_group.unwrap().tasks;
    assert_eq!(tasks[1], LaunchedTask { task_id: Some(id("y")), agent_id: Some(id("a")) });
}

#[test]
fn the_executor_api_has_the_tags_of_the_complete_messages() {
    use super::executor as partial;
    use v1::executor::{call::Type, event::Type as EventType};
    let call = |kind| partial::Call {
        executor_id: id("e"),
        framework_id: id("f"),
        r#type: Some(kind),
        ..Default::default()
    };
    let task = partial::Task { name: "n".into(), task_id: id("t"), agent_id: id("a") };
    let origin = partial::StatusOrigin {
        agent_id: Some(id("a")),
        timestamp: Some(1.0),
        source: Some(partial::SOURCE_EXECUTOR),
        uuid: Some(Bytes::from_static(b"u")),
    };
    let required = v1::TaskStatus { task_id: v1::TaskId { value: "t".into() }, ..Default::default() };
    let status: Bytes = [required.encode_to_vec(), origin.encode_to_vec()].concat().into();
    let update = partial::Update { status };
    let subscribe =
        partial::Subscribe { unacknowledged_tasks: vec![task], unacknowledged_updates: vec![update.clone()] };
    let full: v1::executor::Call =
        agrees(&partial::Call { subscribe: Some(subscribe), ..call(partial::call::SUBSCRIBE) });
    assert_eq!((full.r#type(), full.executor_id.value.as_str()), (Type::Subscribe, "e"));
    let subscribe = full.subscribe.unwrap();
    assert_eq!(subscribe.unacknowledged_tasks[0].task_id.value, "t");
    assert_eq!(subscribe.unacknowledged_updates[0].status.source(), v1::task_status::Source::Executor);
    let full: v1::executor::Call =
        agrees(&partial::Call { update: Some(update), ..call(partial::call::UPDATE) });
    let status = full.update.unwrap().status;
    assert_eq!((status.uuid.unwrap(), status.timestamp), (Bytes::from_static(b"u"), Some(1.0)));
    let message = partial::CallMessage { data: Bytes::from_static(b"m") };
    let full: v1::executor::Call =
        agrees(&partial::Call { message: Some(message), ..call(partial::call::MESSAGE) });
    assert_eq!((full.r#type(), full.message.unwrap().data), (Type::Message, Bytes::from_static(b"m")));

    let numbers = [
        (partial::event::SUBSCRIBED, EventType::Subscribed),
        (partial::event::LAUNCH, EventType::Launch),
        (partial::event::LAUNCH_GROUP, EventType::LaunchGroup),
        (partial::event::KILL, EventType::Kill),
        (partial::event::ACKNOWLEDGED, EventType::Acknowledged),
        (partial::event::MESSAGE, EventType::Message),
        (partial::event::ERROR, EventType::Error),
        (partial::event::SHUTDOWN, EventType::Shutdown),
    ];
    for (number, kind) in numbers {
        assert_eq!(number, kind as i32);
    }
    let task = v1::TaskInfo { name: "n".into(), ..Default::default() }.encode_to_vec();
    let group = partial::TaskGroup { tasks: vec![task.clone().into()] };
    let event = partial::Event {
        r#type: Some(partial::event::SUBSCRIBED),
        subscribed: Some(partial::Subscribed {
            executor_info: v1::ExecutorInfo::default().encode_to_vec().into(),
            framework_info: v1::FrameworkInfo::default().encode_to_vec().into(),
            agent_info: v1::AgentInfo::default().encode_to_vec().into(),
        }),
        acknowledged: Some(partial::Acknowledged { task_id: id("t"), uuid: Bytes::from_static(b"u") }),
        launch: Some(partial::Launch { task: task.into() }),
        kill: Some(partial::Kill { task_id: encoded("t") }),
        message: Some(partial::EventMessage { data: Bytes::from_static(b"m") }),
        error: Some(Error { message: "no".into() }),
        launch_group: Some(partial::LaunchGroup { task_group: group }),
    };
    let full: v1::executor::Event = agrees(&event);
    assert_eq!(full.acknowledged.unwrap().uuid, "u");
    assert_eq!(
        (full.launch.unwrap().task.name.as_str(), full.kill.unwrap().task_id.value.as_str()),
        ("n", "t")
    );
    assert_eq!(
        (full.message.unwrap().data, full.error.unwrap().message.as_str()),
        (Bytes::from_static(b"m"), "no")
    );
    assert_eq!(full.launch_group.unwrap().task_group.tasks.len(), 1);
}
