//! Conversions in both directions: resource formats by capability, and fields that the kernel does not interpret are
//! preserved.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use expect_test::expect;
use kernel_model::{
    agent::{AgentInfo, Launch, ToAgent, ToMaster},
    executor::{CommandInfo, ExecutorInfo, ExecutorKind},
    framework::FrameworkCapability,
    ids::UpdateId,
    labels::Labels,
    oversubscription::Estimator,
    resources::{
        Attribute, AttributeValue, Ranges, Reservation, ReservationKind, Resource, Resources, Scalar,
        VolumeId,
    },
    roles::Role,
    task::{Reason, Source, Task, TaskInfo, TaskState, TaskStatus},
    time::Time,
};
use proptest::prelude::*;

use crate::{
    codec::{ContentType, decode, encode},
    extra, framework, link, record,
    resources::{self, Format, ResourceForm},
    scheduler_call::{self, ParsedCall},
    task,
    v1::{self, scheduler::Call},
};

fn resources() -> Resources {
    let reserved = Resource {
        reservations: vec![Reservation {
            kind: ReservationKind::Dynamic,
            role: Role::parse("eng").expect("a role"),
            principal: Some("p".into()),
            labels: Labels::default().with("k", "v"),
        }],
        allocation_role: Some(Role::parse("eng").expect("a role")),
        ..Resource::scalar("cpus", Scalar(1500))
    };
    [reserved, Resource::ranges("ports", Ranges::new([(1, 5), (8, 9)]))].into_iter().collect()
}

fn executor() -> ExecutorInfo {
    ExecutorInfo {
        kind: ExecutorKind::Command,
        executor_id: "e".into(),
        framework_id: Some("f".into()),
        command: Some(CommandInfo {
            shell: true,
            value: Some("true".into()),
            environment: vec![("A".into(), "b".into())],
            ..Default::default()
        }),
        resources: resources(),
        name: "n".into(),
        source: String::new(),
        data: Bytes::new(),
        shutdown_grace: Some(Duration::from_secs(5)),
        image: None,
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

fn info() -> TaskInfo {
    TaskInfo {
        name: "t".into(),
        task_id: "t1".into(),
        agent_id: "a".into(),
        resources: resources(),
        zero_resources: Vec::new(),
        executor: None,
        command: executor().command,
        kill_grace: Some(Duration::from_millis(3)),
        max_completion_time: None,
        image: None,
        data: Bytes::from_static(b"x"),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

fn status() -> TaskStatus {
    TaskStatus {
        reason: Some(Reason::GcError),
        uuid: Some(UpdateId([7; 16])),
        ..TaskStatus::new("t1".into(), TaskState::Running, Source::Executor, Time(1_500_000_000))
    }
}

fn framework_info(capabilities: &str) -> Result<kernel_model::framework::FrameworkInfo, String> {
    let json = format!(r#"{{"user":"u","name":"n",{capabilities}}}"#);
    let message: v1::FrameworkInfo =
        decode(ContentType::Json, &Bytes::from(json)).map_err(|e| e.to_string())?;
    framework::from_wire(message).map_err(|e| e.to_string())
}

fn revocable() -> Resources {
    let Ok(Estimator::Fixed(resources)) = "fixed:cpus:4;mem:64".parse() else { panic!("not read") };
    resources
}

#[test]
fn link_messages_round_trip() {
    let agent = AgentInfo {
        id: Some("a".into()),
        hostname: "h".into(),
        ip: "10.0.0.1".into(),
        port: 5051,
        resources: resources(),
        attributes: vec![Attribute { name: "rack".into(), value: AttributeValue::Text("r".into()) }],
        runs_images: true,
        operations: Default::default(),
    };
    let task = Task {
        framework_id: "f".into(),
        info: info().into(),
        executor_id: Some("e".into()),
        state: TaskState::Starting,
        unacknowledged: Some((TaskState::Starting, Some(UpdateId([1; 16])))),
        statuses: vec![status().into()],
        launched_at: Time(5),
    };
    let framework =
        framework_info(r#""capabilities":[{"type":"MULTI_ROLE"}],"roles":["a","b"]"#).expect("valid");
    for message in [
        ToMaster::Register { info: agent.clone().into() },
        ToMaster::Reregister {
            info: agent.into(),
            frameworks: vec![framework.clone().into()],
            executors: vec![executor().into()],
            tasks: vec![task],
            operations: Vec::new(),
        },
        ToMaster::Update {
            framework_id: "f".into(),
            status: status().into(),
            latest_state: TaskState::Finished,
        },
        ToMaster::ExitedExecutor { framework_id: "f".into(), executor_id: "e".into(), status: 32512 },
        ToMaster::VolumesFailed {
            volumes: vec![VolumeId { role: Role::parse("eng/dev").expect("a role"), id: "v".into() }],
        },
        ToMaster::Oversubscribed { resources: revocable() },
        ToMaster::ContainerRuntime { failure: Some("it is away".into()) },
        ToMaster::ContainerRuntime { failure: None },
        ToMaster::Pong,
    ] {
        let mut buffer = BytesMut::from(link::frame(&link::encode_to_master(&message)).as_ref());
        let frame = link::take_frame(&mut buffer).expect("framed").expect("whole");
        assert_eq!(link::decode_to_master(frame), Ok(Some(message)));
    }
    for message in [
        ToAgent::RunTask {
            framework: framework.into(),
            executor: Some(executor().into()),
            launch: Launch::Group(vec![info(), info()]),
            launch_executor: false,
        },
        ToAgent::KillTask { framework_id: "f".into(), task_id: "t".into(), grace: Some(Duration::ZERO) },
        ToAgent::Ping,
        ToAgent::Shutdown { message: "why".into() },
    ] {
        assert_eq!(link::decode_to_agent(link::encode_to_agent(&message)), Ok(Some(message)));
    }
    assert_eq!(record::decode_executor(&record::encode_executor(&executor())), Ok(executor()));
}

#[test]
fn resources_use_the_format_of_the_reader() {
    let show = |form, allocation| {
        let shown = resources::to_wire(&resources(), Format { form, allocation });
        let texts = shown.iter().map(|r| String::from_utf8_lossy(&encode(ContentType::Json, r)).into_owned());
        texts.collect::<Vec<_>>().join("\n")
    };
    expect![[r#"
        {"name":"cpus","type":"SCALAR","scalar":{"value":1.5},"allocation_info":{"role":"eng"},"reservations":[{"principal":"p","labels":{"labels":[{"key":"k","value":"v"}]},"role":"eng","type":"DYNAMIC"}]}
        {"name":"ports","type":"RANGES","ranges":{"range":[{"begin":1,"end":5},{"begin":8,"end":9}]}}"#]]
    .assert_eq(&show(ResourceForm::Post, true));
    expect![[r#"
        {"name":"cpus","type":"SCALAR","scalar":{"value":1.5},"role":"eng","reservation":{"principal":"p","labels":{"labels":[{"key":"k","value":"v"}]}}}
        {"name":"ports","type":"RANGES","ranges":{"range":[{"begin":1,"end":5},{"begin":8,"end":9}]},"role":"*"}"#]]
    .assert_eq(&show(ResourceForm::Pre, false));
    for form in [ResourceForm::Post, ResourceForm::Pre, ResourceForm::Endpoint] {
        let there = resources::to_wire(&resources(), Format { form, allocation: true });
        assert_eq!(resources::from_wire(there), Ok(resources()), "{form:?}");
    }
}

#[test]
fn subscriptions_are_refused_with_mesos_texts() {
    let refused = |extra: &str| framework_info(extra).expect_err("refused");
    expect!["'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"]
        .assert_eq(&refused(r#""roles":["a"]"#));
    expect!["'FrameworkInfo.roles' contains duplicate items: { a }"]
        .assert_eq(&refused(r#""roles":["a","a"],"capabilities":[{"type":"MULTI_ROLE"}]"#));
    expect!["'FrameworkInfo.roles' contains invalid role: Role '/a' cannot start with a slash"]
        .assert_eq(&refused(r#""roles":["/a"],"capabilities":[{"type":"MULTI_ROLE"}]"#));
    expect!["The framework failover_timeout (1e+10) is invalid"]
        .assert_eq(&refused(r#""failover_timeout":1e10"#));
    let unknown = framework_info(r#""capabilities":[{"type":"FROM_THE_FUTURE"},{}]"#)
        .expect("unknown ones are ignored");
    assert!(unknown.capabilities.is_empty() && !unknown.can(FrameworkCapability::MultiRole));
}

#[test]
fn unread_fields_are_kept() {
    let json = r#"{"name":"t","task_id":{"value":"1"},"agent_id":{"value":"a"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}}],"command":{"value":"true","shell":true},"container":{"type":"MESOS"},"health_check":{"type":"COMMAND","command":{"value":"x"}}}"#;
    let message: v1::TaskInfo = decode(ContentType::Json, &Bytes::from(json)).expect("parses");
    let read = task::info_from_wire(message.clone()).expect("valid");
    assert!(!read.extra.is_empty());
    assert_eq!(task::info_to_wire(&read, Format::FULL), message);
    let plain = task::info_from_wire(task::info_to_wire(&info(), Format::FULL)).expect("valid");
    assert!(plain.extra.is_empty(), "nothing is kept of a task without other fields");
    assert_eq!(task::status_from_wire(task::status_to_wire(&status())), Ok(status()));
}

/// They hold nothing, and tell the role of a task without others.
#[test]
fn resources_of_amount_zero_are_kept_beside_the_others() {
    let json = r#"{"name":"t","task_id":{"value":"1"},"agent_id":{"value":"a"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0},"allocation_info":{"role":"r"}}]}"#;
    let message: v1::TaskInfo = decode(ContentType::Json, &Bytes::from(json)).expect("parses");
    let read = task::info_from_wire(message.clone()).expect("valid");
    assert!(read.resources.is_empty());
    assert_eq!(read.role().map(|role| role.as_str()), Some("r"));
    assert_eq!(task::info_to_wire(&read, Format::FULL), message);
}

fn parse(json: &str) -> String {
    let call: Call = match decode(ContentType::Json, &Bytes::copy_from_slice(json.as_bytes())) {
        Ok(call) => call,
        Err(e) => return e.to_string(),
    };
    match scheduler_call::from_wire(call) {
        Ok(ParsedCall::Call(_, call)) => {
            let shown = format!("{call:?}");
            // An operation that cannot be carried out has no message.
            if !shown.contains("[Invalid {") {
                let again = scheduler_call::from_wire(scheduler_call::to_wire(&"f".into(), &call));
                assert_eq!(again, Ok(ParsedCall::Call("f".into(), call.clone())));
            }
            shown
        }
        Ok(other) => format!("{other:?}"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn calls_are_refused_with_mesos_texts() {
    let table = [
        "{}",
        r#"{"type":"SUBSCRIBE"}"#,
        r#"{"type":"SUBSCRIBE","framework_id":{"value":"x"},"subscribe":{"framework_info":{"user":"u","name":"n"}}}"#,
        r#"{"type":"TEARDOWN"}"#,
        r#"{"type":"TEARDOWN","framework_id":{"value":"f"}}"#,
        r#"{"type":"ACCEPT","framework_id":{"value":"f"}}"#,
        r#"{"type":"ACCEPT","framework_id":{"value":"f"},"accept":{"offer_ids":[{"value":"o"}],"operations":[{"type":"CREATE","id":{"value":"op"}}],"filters":{"refuse_seconds":-1}}}"#,
        r#"{"type":"REVIVE","framework_id":{"value":"f"}}"#,
        r#"{"type":"ACKNOWLEDGE","framework_id":{"value":"f"},"acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"AAAA"}}"#,
        r#"{"type":"RECONCILE","framework_id":{"value":"f"},"reconcile":{"tasks":[{"task_id":{"value":"t"},"agent_id":null}]}}"#,
        r#"{"type":"ACCEPT_INVERSE_OFFERS","framework_id":{"value":"f"},"accept_inverse_offers":{}}"#,
        r#"{"type":"UNKNOWN","framework_id":{"value":"f"}}"#,
    ];
    let shown: Vec<String> = table.iter().map(|json| parse(json)).collect();
    expect![[r#"
        Expecting 'type' to be present
        Expecting 'subscribe' to be present
        'framework_id' differs from 'subscribe.framework_info.id'
        Expecting 'framework_id' to be present
        Teardown
        Expecting 'accept' to be present
        Accept { offer_ids: [OfferId(o)], operations: [Invalid { id: Some(OperationId(op)), why: "A CREATE offer operation must have the Offer.Operation.create field set." }], filters: Filters { refuse: 5s } }
        Revive { roles: [] }
        Not a valid UUID
        Reconcile { tasks: [(TaskId(t), None)] }
        AcceptInverseOffers { offer_ids: [] }
        Unknown(Some(FrameworkId(f)))"#]]
    .assert_eq(&shown.join("\n"));
}

proptest! {
    #[test]
    fn garbage_bodies_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let body = Bytes::from(bytes);
        let _ = decode::<Call>(ContentType::Protobuf, &body).map(scheduler_call::from_wire);
        let _ = decode::<Call>(ContentType::Json, &body);
        let _ = link::decode_to_master(body.clone());
        let _ = link::decode_to_agent(body);
    }
}

#[test]
fn tasks_whose_extra_does_not_decode_are_malformed() {
    use kernel_model::{
        offer::Filters,
        scheduler::{Call, Operation},
    };
    let broken = TaskInfo { extra: Bytes::from_static(&[0xff]), ..info() };
    let launch = Operation::Launch { tasks: vec![info(), broken.clone()] };
    let group = Operation::LaunchGroup { executor: executor(), tasks: vec![broken] };
    let (operations, filters) = (vec![launch, group], Filters::default());
    let mut call = Call::Accept { offer_ids: vec![], operations, filters };
    extra::check_call(&mut call).unwrap();
    let Call::Accept { operations, .. } = call else { panic!("the call keeps its type") };
    let [
        Operation::Launch { tasks },
        Operation::Malformed { grouped: true, .. },
        Operation::Malformed { tasks: malformed, grouped: false },
    ] = &operations[..]
    else {
        panic!("{operations:?}")
    };
    assert_eq!((tasks.len(), malformed.len()), (1, 1));
    assert!(malformed[0].why.starts_with("'TaskInfo' does not decode"), "{}", malformed[0].why);
}

#[test]
fn updates_of_executors_are_refused_with_mesos_texts() {
    let refused = |change: serde_json::Value| {
        let mut status = serde_json::json!({
            "task_id": {"value": "t"}, "state": "TASK_RUNNING", "source": "SOURCE_EXECUTOR",
            "uuid": "AAAAAAAAAAAAAAAAAAAAAA==",
        });
        status.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let call = serde_json::json!({
            "type": "UPDATE", "framework_id": {"value": "f"}, "executor_id": {"value": "e"},
            "update": {"status": status},
        });
        let call: v1::executor::Call = decode(ContentType::Json, &call.to_string().into()).unwrap();
        crate::executor_api::call_from_wire(call).map(drop).unwrap_err().to_string()
    };
    let shown = [
        refused(serde_json::json!({"uuid": null})),
        refused(serde_json::json!({"uuid": "AAAA"})),
        refused(serde_json::json!({"executor_id": {"value": "x"}})),
        refused(serde_json::json!({"source": null})),
        refused(serde_json::json!({"source": "SOURCE_AGENT"})),
        refused(serde_json::json!({"state": "TASK_STAGING"})),
        refused(serde_json::json!({"check_status": {}})),
        refused(serde_json::json!({"check_status": {"type": "HTTP"}})),
        refused(serde_json::json!({"check_status": {"type": "UNKNOWN"}})),
    ];
    expect![[r#"
        Expecting 'uuid' to be present
        Not a valid UUID
        ExecutorID in Call: e does not match ExecutorID in TaskStatus: x
        Received Call from executor e of framework f with invalid source, expecting 'SOURCE_EXECUTOR'
        Received Call from executor e of framework f with invalid source, expecting 'SOURCE_EXECUTOR'
        Received TASK_STAGING from executor e of framework f which is not allowed
        CheckStatusInfo must specify 'type'
        Expecting 'http' to be set for HTTP check's status
        'UNKNOWN' is not a valid check's status type"#]]
    .assert_eq(&shown.join("\n"));
}
