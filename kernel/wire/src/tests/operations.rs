//! Operations of an ACCEPT, handling of malformed tasks, and offer preferences in both directions.

use bytes::Bytes;
use expect_test::expect;
use kernel_model::scheduler::{Call, Operation};
use serde_json::{Value, json};

use crate::{
    codec::{ContentType, decode},
    scheduler_call::{self, ParsedCall},
    v1::scheduler::Call as WireCall,
};

fn parse(call: &Value) -> ParsedCall {
    let call: WireCall = decode(ContentType::Json, &Bytes::from(call.to_string())).expect("a call");
    scheduler_call::from_wire(call).expect("valid")
}

fn task(id: &str, change: Value) -> Value {
    let mut task = json!({
        "name": id, "task_id": {"value": id}, "agent_id": {"value": "a"},
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}}],
        "command": {"value": "true"},
    });
    task.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
    task
}

pub(super) fn accept(operations: Value) -> Vec<Operation> {
    let accept = json!({"offer_ids": [{"value": "o"}], "operations": operations});
    match parse(&json!({"type": "ACCEPT", "framework_id": {"value": "f"}, "accept": accept})) {
        ParsedCall::Call(_, Call::Accept { operations, .. }) => operations,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_malformed_task_leaves_the_others_alone() {
    let bad = json!({"max_completion_time": {"nanoseconds": -1}});
    let tasks = [task("bad", bad), task("good", json!({}))];
    let operations = accept(json!([{"type": "LAUNCH", "launch": {"task_infos": tasks}}]));
    let [Operation::Launch { tasks }, Operation::Malformed { tasks: malformed, grouped: false }] =
        &operations[..]
    else {
        panic!("{operations:?}")
    };
    assert_eq!(tasks.iter().map(|t| t.task_id.as_str()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(malformed[0].why, "Task's `max_completion_time` must be non-negative");
}

/// The messages for a LAUNCH whose only task has these changes.
pub(super) fn refusals(changes: impl IntoIterator<Item = Value>) -> String {
    let why = changes.into_iter().map(|change| {
        let launch = json!([{"type": "LAUNCH", "launch": {"task_infos": [task("t", change.clone())]}}]);
        match &accept(launch)[..] {
            [.., Operation::Malformed { tasks, .. }] => tasks[0].why.clone(),
            other => panic!("{change}: {other:?}"),
        }
    });
    why.collect::<Vec<_>>().join("\n")
}

#[test]
fn tasks_are_refused_with_mesos_texts() {
    let variable =
        |variable: Value| json!({"command": {"value": "x", "environment": {"variables": [variable]}}});
    let health = |check: Value| json!({"health_check": check});
    let volume = |volume: Value| {
        let mut with_path = json!({"container_path": "p", "mode": "RW"});
        with_path.as_object_mut().unwrap().extend(volume.as_object().unwrap().clone());
        json!({"container": {"type": "MESOS", "volumes": [with_path]}})
    };
    let shown = refusals([
        json!({"task_id": {"value": ""}}),
        json!({"task_id": {"value": ".."}}),
        json!({"task_id": {"value": "a/b"}}),
        json!({"task_id": {"value": "x".repeat(256)}}),
        json!({"kill_policy": {"grace_period": {"nanoseconds": -1}}}),
        json!({"max_completion_time": {"nanoseconds": -1}}),
        json!({"limits": {"mem": {"value": 64}}}),
        health(json!({})),
        health(json!({"command": {"value": "x"}, "http": {"port": 1}})),
        health(json!({"type": "UNKNOWN"})),
        health(json!({"type": "COMMAND"})),
        health(json!({"type": "COMMAND", "command": {}})),
        health(json!({"type": "COMMAND", "command": {"shell": false}})),
        health(
            json!({"type": "COMMAND", "command": {"value": "x", "environment": {"variables": [{"name": "A"}]}}}),
        ),
        health(json!({"type": "HTTP", "http": {"port": 80, "path": "x"}})),
        health(json!({"type": "HTTP", "http": {"port": 80, "scheme": "gopher"}})),
        health(json!({"http": {"port": 80, "scheme": "gopher"}})),
        health(json!({"type": "TCP", "tcp": {"port": 0}, "delay_seconds": 1})),
        health(json!({"type": "TCP", "tcp": {"port": 1}, "delay_seconds": -1})),
        health(json!({"type": "TCP", "tcp": {"port": 1}, "grace_period_seconds": -1})),
        health(json!({"type": "TCP", "tcp": {"port": 1}, "interval_seconds": -1})),
        health(json!({"type": "TCP", "tcp": {"port": 1}, "timeout_seconds": -1})),
        json!({"check": {"command": {"command": {"value": "x"}}}}),
        json!({"check": {"type": "HTTP"}}),
        json!({"check": {"type": "COMMAND", "command": {"command": {}}}}),
        json!({"check": {"type": "TCP", "tcp": {"port": 1}, "interval_seconds": -1}}),
        variable(json!({"name": "A"})),
        variable(json!({"name": "A", "type": "SECRET", "value": "v"})),
        variable(json!({"name": "A", "type": "SECRET", "secret": {"type": "VALUE"}})),
        variable(
            json!({"name": "A", "type": "SECRET", "secret": {"type": "VALUE", "value": {"data": "AAA="}}}),
        ),
        variable(json!({"name": "A", "type": "UNKNOWN", "value": "v"})),
        volume(json!({})),
        volume(json!({"host_path": "/x", "source": {"type": "SECRET"}})),
        volume(json!({"source": {"type": "SANDBOX_PATH"}})),
        json!({"container": {"type": "DOCKER"}}),
        json!({"container": {"type": "DOCKER", "docker": {"image": "i", "parameters": [{"key": "name", "value": "x"}]}}}),
        json!({"container": {"type": "MESOS", "linux_info": {"share_cgroups": false}}}),
        json!({"command": null}),
        json!({"resources": []}),
    ]);
    expect![[r#"
        ID must not be empty
        '..' is disallowed
        'a/b' contains invalid characters
        ID must not be greater than 255 characters
        Task's 'kill_policy.grace_period' must be non-negative
        Task's `max_completion_time` must be non-negative
        Agent is not capable of handling task resource limits
        Task uses invalid health check: HealthCheck must specify 'type'
        Task uses invalid health check: HealthCheck must specify 'type'
        Task uses invalid health check: 'UNKNOWN' is not a valid health check type
        Task uses invalid health check: Expecting 'command' to be set for COMMAND health check
        Task uses invalid health check: Command health check must contain 'shell command'
        Task uses invalid health check: Command health check must contain 'executable path'
        Task uses invalid health check: Health check's `CommandInfo` is invalid: Environment variable 'A' of type 'VALUE' must have a value set
        Task uses invalid health check: The path 'x' of HTTP health check must start with '/'
        Task uses invalid health check: Unsupported HTTP health check scheme: 'gopher'
        Task uses invalid health check: Unsupported HTTP health check scheme: 'gopher'
        Task uses invalid health check: '0' is not a port
        Task uses invalid health check: Expecting 'delay_seconds' to be non-negative
        Task uses invalid health check: Expecting 'grace_period_seconds' to be non-negative
        Task uses invalid health check: Expecting 'interval_seconds' to be non-negative
        Task uses invalid health check: Expecting 'timeout_seconds' to be non-negative
        Task uses invalid check: CheckInfo must specify 'type'
        Task uses invalid check: Expecting 'http' to be set for HTTP check
        Task uses invalid check: Command check must contain 'shell command'
        Task uses invalid check: Expecting 'interval_seconds' to be non-negative
        Task's `CommandInfo` is invalid: Environment variable 'A' of type 'VALUE' must have a value set
        Task's `CommandInfo` is invalid: Environment variable 'A' of type 'SECRET' must have a secret set
        Task's `CommandInfo` is invalid: Environment variable 'A' specifies an invalid secret: Secret of type VALUE must have the 'value' field set
        Task's `CommandInfo` is invalid: Environment variable 'A' specifies a secret containing null bytes, which is not allowed in the environment
        Task's `CommandInfo` is invalid: Environment variable of type 'UNKNOWN' is not allowed
        Task's `ContainerInfo` is invalid: Invalid volume: Only one of them should be set: 'host_path', 'image' and 'source'
        Task's `ContainerInfo` is invalid: Invalid volume: Only one of them should be set: 'host_path', 'image' and 'source'
        Task's `ContainerInfo` is invalid: Invalid volume: 'source.sandbox_path' is not set for SANDBOX_PATH volume
        Task's `ContainerInfo` is invalid: DockerInfo 'docker' is not set for DOCKER typed ContainerInfo
        Task's `ContainerInfo` is invalid: Parameter in DockerInfo must not be 'name'
        Only tasks in a task group may have 'share_cgroups' set to 'false'
        Task should have at least one (but not both) of CommandInfo or ExecutorInfo present
        Task uses no resources"#]].assert_eq(&shown);
}

/// What is named counts as a resource of the task, though nothing is taken.
#[test]
fn amounts_of_zero_are_accepted_and_dropped() {
    let resource = |kind: &str, value: Value| {
        let mut resource = json!({"name": "x", "type": kind});
        resource[kind.to_lowercase()] = value;
        resource
    };
    let zero = [
        resource("SCALAR", json!({"value": 0})),
        resource("SCALAR", json!({"value": -0.0})),
        resource("RANGES", json!({})),
        resource("RANGES", json!({"range": []})),
        resource("SET", json!({"item": []})),
    ];
    let cpus = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}});
    for zero in zero {
        for (resources, shown) in [(json!([zero]), "{}"), (json!([zero, cpus]), "cpus:1")] {
            let task = task("t", json!({"resources": resources}));
            let launch = json!([{"type": "LAUNCH", "launch": {"task_infos": [task]}}]);
            let [Operation::Launch { tasks }] = &accept(launch)[..] else { panic!("{zero} is refused") };
            assert_eq!(tasks[0].resources.to_string(), shown, "{zero}");
        }
    }
}

#[test]
fn executors_of_tasks_are_refused_with_mesos_texts() {
    let executor = |change: Value| {
        let mut executor = json!({"executor_id": {"value": "e"}, "command": {"value": "x"}});
        executor.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({"command": null, "executor": executor})
    };
    let shown = refusals([
        json!({"executor": {"executor_id": {"value": "e"}, "command": {"value": "x"}}}),
        executor(json!({"command": null})),
        executor(json!({"command": null, "type": "CUSTOM"})),
        executor(json!({"type": "DEFAULT"})),
        executor(json!({"type": "DEFAULT", "command": null})),
        executor(json!({"executor_id": {"value": "a/b"}})),
        executor(json!({"shutdown_grace_period": {"nanoseconds": -1}})),
        executor(json!({"command": {"value": "x", "environment": {"variables": [{"name": "A"}]}}})),
        executor(json!({"container": {"type": "DOCKER"}})),
        executor(json!({"container": {"type": "MESOS", "linux_info": {"share_cgroups": true}}})),
    ]);
    expect![[r#"
        Task should have at least one (but not both) of CommandInfo or ExecutorInfo present
        'ExecutorInfo.command' must be set
        'ExecutorInfo.command' must be set for 'CUSTOM' executor
        'ExecutorInfo.command' must not be set for 'DEFAULT' executor
        'ExecutorInfo.type' must be 'CUSTOM'
        'a/b' contains invalid characters
        ExecutorInfo's 'shutdown_grace_period' must be non-negative
        Executor's `CommandInfo` is invalid: Environment variable 'A' of type 'VALUE' must have a value set
        Executor's `ContainerInfo` is invalid: DockerInfo 'docker' is not set for DOCKER typed ContainerInfo
        The 'share_cgroups' field cannot be set to 'true' on executor containers"#]]
    .assert_eq(&shown);
}

/// Mesos refuses every task of the operation for one invalid resource.
#[test]
fn an_invalid_resource_refuses_the_whole_operation() {
    let cpus = |more: Value| {
        let mut cpus = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}});
        cpus.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        cpus
    };
    let scalar = |value: f64| cpus(json!({"scalar": {"value": value}}));
    let ports = |ranges: Value| json!({"name": "ports", "type": "RANGES", "ranges": {"range": ranges}});
    let range = |begin: u64, end: u64| json!({"begin": begin, "end": end});
    let disk = |disk: Value| cpus(json!({"name": "disk", "disk": disk}));
    let level = |kind: &str, role: &str| json!({"type": kind, "role": role});
    let bad = [
        scalar(-1.0),
        scalar(0.0001),
        scalar(-0.0004),
        scalar(1e16),
        cpus(json!({"name": ""})),
        cpus(json!({"scalar": null})),
        cpus(json!({"set": {"item": []}})),
        json!({"name": "x", "type": "TEXT"}),
        ports(json!([range(5, 4)])),
        ports(json!([range(8, 9), range(1, 8)])),
        json!({"name": "x", "type": "SET", "set": {"item": ["a", "b", "a"]}}),
        cpus(json!({"disk": {}})),
        disk(json!({"source": {"type": "RAW", "mount": {"root": "/m"}}})),
        cpus(json!({"role": "a b"})),
        cpus(json!({"role": "/a"})),
        cpus(json!({"reservation": {"principal": "p"}})),
        cpus(json!({"role": "a", "reservation": {"type": "DYNAMIC"}})),
        cpus(json!({"reservations": [{"role": "a"}]})),
        cpus(json!({"reservations": [{"type": "STATIC"}]})),
        cpus(json!({"reservations": [level("STATIC", "*")]})),
        cpus(json!({"reservations": [level("STATIC", "a"), level("STATIC", "a/b")]})),
        cpus(json!({"reservations": [level("STATIC", "a"), level("DYNAMIC", "b")]})),
        cpus(json!({"role": "b", "reservations": [level("STATIC", "a")]})),
        cpus(json!({"role": "a", "reservations": [level("DYNAMIC", "a")]})),
        cpus(json!({"shared": {}, "allocation_info": {"role": "r"}, "revocable": {}})),
        disk(
            json!({"volume": {"container_path": "p", "host_path": "/h", "mode": "RW"}, "persistence": {"id": "i"}}),
        ),
    ];
    let mut shown = Vec::new();
    for resource in bad {
        let tasks = [task("good", json!({})), task("bad", json!({"resources": [resource]}))];
        let operations = accept(json!([{"type": "LAUNCH", "launch": {"task_infos": tasks}}]));
        match &operations[..] {
            [Operation::Malformed { tasks, grouped: false }] => {
                assert_eq!(tasks.len(), 2);
                shown.push(tasks[0].why.clone());
            }
            [_, Operation::Malformed { tasks, grouped: false }] => {
                assert_eq!(tasks[0].task_id.as_str(), "bad");
                shown.push(format!("alone: {}", tasks[0].why));
            }
            other => panic!("{other:?}"),
        }
    }
    let gpus = task("t", json!({"resources": [cpus(json!({"name": "gpus", "scalar": {"value": 0.5}}))]}));
    shown.push(refusals([gpus]));
    expect![[r#"
        Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0
        Resource 'cpus:0' is invalid: Invalid scalar resource: value <= 0
        Resource 'cpus:0' is invalid: Invalid scalar resource: value <= 0
        Resource 'cpus:9.22337203685478e+15' is invalid: Invalid scalar resource: value > 9e+15
        Resource ':1' is invalid: Empty resource name
        Resource 'cpus:0' is invalid: Invalid scalar resource
        Resource 'cpus:1' is invalid: Invalid scalar resource
        Resource 'x:' is invalid: Unsupported resource type
        Resource 'ports:[5-4]' is invalid: Invalid ranges resource: begin > end
        Resource 'ports:[8-9, 1-8]' is invalid: Invalid ranges resource: overlapping ranges
        Resource 'x:{a, b, a}' is invalid: Invalid set resource: duplicated elements
        Resource 'cpus[]:1' is invalid: DiskInfo should not be set for cpus resource
        Resource 'disk[RAW]:1' is invalid: Mount should not be set for RAW disk source
        Resource 'cpus:1' is invalid: Role component 'a b' is invalid because it contains backspace or whitespace
        Resource 'cpus:1' is invalid: Role '/a' cannot start with a slash
        Resource 'cpus:1' is invalid: Invalid reservation: role "*" cannot be dynamically reserved
        Resource 'cpus:1' is invalid: 'Resource.ReservationInfo.type' must not be set for the 'Resource.reservation' field
        Resource 'cpus(reservations: [(UNKNOWN,a)]):1' is invalid: Invalid reservation: 'Resource.ReservationInfo.type' field must be set.
        Resource 'cpus(reservations: [(STATIC,)]):1' is invalid: Invalid reservation: 'Resource.ReservationInfo.role' field must be set.
        Resource 'cpus(reservations: [(STATIC,*)]):1' is invalid: Invalid reservation: role "*" cannot be reserved
        Resource 'cpus(reservations: [(STATIC,a),(STATIC,a/b)]):1' is invalid: Invalid refined reservation: A refined reservation cannot be STATIC
        Resource 'cpus(reservations: [(STATIC,a),(DYNAMIC,b)]):1' is invalid: Invalid refined reservation: role 'b' is not a refinement of 'a'
        Resource 'cpus(reservations: [(STATIC,a)]):1' is invalid: Invalid resource format: 'Resource.role' field with 'b' does not match the role 'a' in 'Resource.reservations'
        Resource 'cpus(reservations: [(DYNAMIC,a)]):1' is invalid: Invalid resource format: 'Resource.role' and 'Resource.reservation' must either be both set or both not set if the single reservation in 'Resource.reservations' is DYNAMIC
        Resource 'cpus(allocated: r){REV}<SHARED>:1' is invalid: Resource cpus cannot be shared
        alone: Task uses invalid resources: Invalid DiskInfo: Persistent volumes cannot be created from unreserved resources
        Task uses invalid resources: Invalid 'gpus' resource: The 'gpus' resource must be an unsigned integer"#]].assert_eq(&shown.join("\n"));
}

#[test]
fn launches_have_no_feedback_and_groups_fail_as_one() {
    let with_id =
        |kind: &str, part: &str, launch: Value| json!([{"type": kind, "id": {"value": "i"}, part: launch}]);
    let refused = |operations: Value| match &accept(operations)[..] {
        [Operation::Malformed { tasks, .. }] => {
            assert_eq!(tasks.len(), 2);
            assert_eq!(tasks[0].why, tasks[1].why);
            tasks[0].why.clone()
        }
        other => panic!("{other:?}"),
    };
    let two = |change: Value| json!([task("g1", json!({})), task("g2", change)]);
    let executor = |change: Value| {
        let mut executor =
            json!({"type": "DEFAULT", "executor_id": {"value": "e"}, "framework_id": {"value": "f"}});
        executor.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        executor
    };
    let group =
        |change: Value, tasks: Value| json!({"executor": executor(change), "task_group": {"tasks": tasks}});
    let launch_group = |change: Value, of_task: Value| {
        refused(json!([{"type": "LAUNCH_GROUP", "launch_group": group(change, two(of_task))}]))
    };
    let none = || json!({});
    let negative = json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": -1}}]);
    let docker = json!({"container": {"type": "DOCKER", "docker": {"image": "i"}}});
    let networked = json!({
        "container": {"type": "MESOS", "network_infos": [{"name": "n"}]},
        "health_check": {"type": "TCP", "tcp": {"port": 1}},
    });
    let shown = [
        refused(with_id("LAUNCH", "launch", json!({"task_infos": two(none())}))),
        refused(with_id("LAUNCH_GROUP", "launch_group", group(none(), two(none())))),
        launch_group(none(), json!({"max_completion_time": {"nanoseconds": -1}})),
        launch_group(none(), json!({"task_id": {"value": "a/b"}})),
        launch_group(none(), docker.clone()),
        launch_group(none(), networked),
        launch_group(none(), json!({"container": {"type": "MESOS", "linux_info": {"share_cgroups": false}}})),
        launch_group(json!({"type": null}), none()),
        launch_group(json!({"type": "FROM_THE_FUTURE"}), none()),
        launch_group(json!({"type": "UNKNOWN"}), none()),
        launch_group(json!({"type": "CUSTOM"}), none()),
        launch_group(json!({"command": {"value": "x"}}), none()),
        launch_group(json!({"framework_id": null}), none()),
        launch_group(json!({"executor_id": {"value": ""}}), none()),
        launch_group(json!({"resources": negative}), none()),
        launch_group(json!({"container": {"type": "DOCKER", "docker": {"image": "i"}}}), none()),
        launch_group(
            json!({"type": "CUSTOM", "command": {"value": "x"}, "container": docker["container"]}),
            none(),
        ),
        launch_group(json!({"container": {"type": "MESOS", "mesos": {"image": {"type": "DOCKER"}}}}), none()),
    ];
    expect![[r#"
        The `id` field cannot be set on LAUNCH operations
        The `id` field cannot be set on LAUNCH_GROUP operations
        Task 'g2' is invalid: Task's `max_completion_time` must be non-negative
        Task 'a/b' is invalid: 'a/b' contains invalid characters
        Task 'g2' is invalid: Docker ContainerInfo is not supported on the task
        Task 'g2' is invalid: HTTP and TCP health checks are not supported for nested containers not joining parent's network
        If set, the value of 'share_cgroups' must be the same for all tasks in each task group and under a single executor
        'ExecutorInfo.type' must be set
        'ExecutorInfo.type' must be set
        Unknown executor type
        'ExecutorInfo.command' must be set for 'CUSTOM' executor
        'ExecutorInfo.command' must not be set for 'DEFAULT' executor
        'ExecutorInfo.framework_id' must be set
        ID must not be empty
        Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0
        'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor
        Docker ContainerInfo is not supported on the executor
        'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor"#]].assert_eq(&shown.join("\n"));
}

#[test]
fn calls_with_an_invalid_role_are_dropped() {
    for (kind, dropped) in [("REVIVE", "revive"), ("SUPPRESS", "suppress")] {
        let call =
            json!({"type": kind, "framework_id": {"value": "f"}, kind.to_lowercase(): {"roles": ["a b"]}});
        let verb = kind.to_lowercase();
        let why = "Role component 'a b' is invalid because it contains backspace or whitespace";
        let message = format!("Refused to {verb} offers: {why}");
        assert_eq!(parse(&call), ParsedCall::Call("f".into(), Call::Dropped { call: dropped, message }));
    }
}

#[test]
fn offer_preferences_round_trip() {
    let constraint =
        |selector: Value, predicate: Value| json!({"selector": selector, "predicate": predicate});
    let rack = json!({"attribute_name": "rack"});
    let constraints = json!({"role_constraints": {"*": {"groups": [
        {"attribute_constraints": [
            constraint(rack.clone(), json!({"exists": {}})),
            constraint(json!({"pseudoattribute_type": "HOSTNAME"}), json!({"text_matches": {"regex": "h.*"}})),
        ]},
        {"attribute_constraints": [constraint(rack, json!({"text_not_equals": {"value": "a"}}))]},
    ]}}});
    let filters =
        json!({"*": {"min_allocatable_resources": {"quantities": [{"quantities": {"mem": {"value": 64}}}]}}});
    let call = |constraints: &Value, filters: &Value| {
        let info = json!({"user": "u", "name": "n", "offer_filters": filters});
        json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info, "offer_constraints": constraints}})
    };
    let ParsedCall::Subscribe(Ok(subscribe)) = parse(&call(&constraints, &filters)) else {
        panic!("refused")
    };
    assert_eq!(subscribe.preferences.constraints.values().map(Vec::len).sum::<usize>(), 2);
    assert_eq!(subscribe.preferences.min_allocatable.len(), 1);
    let again = scheduler_call::from_wire(scheduler_call::subscribe_to_wire(&subscribe)).expect("valid");
    assert_eq!(again, ParsedCall::Subscribe(Ok(subscribe)));
    let refused = |constraints: Value, filters: Value| match parse(&call(&constraints, &filters)) {
        ParsedCall::Subscribe(Err(why)) => why.to_string(),
        other => panic!("{other:?}"),
    };
    let one = |selector: Value, predicate: Value| json!({"role_constraints": {"*": {"groups": [{"attribute_constraints": [constraint(selector, predicate)]}]}}});
    let negative =
        json!({"*": {"min_allocatable_resources": {"quantities": [{"quantities": {"mem": {"value": -1}}}]}}});
    let empty = json!({"*": {"min_allocatable_resources": {"quantities": [{}]}}});
    let groups = |groups: Value| json!({"role_constraints": {"*": {"groups": groups}}});
    let shown = [
        refused(groups(json!([])), json!({})),
        refused(groups(json!([{}])), json!({})),
        refused(one(json!({}), json!({"exists": {}})), json!({})),
        refused(one(json!({"pseudoattribute_type": "UNKNOWN"}), json!({"exists": {}})), json!({})),
        refused(one(json!({"attribute_name": "x"}), json!({})), json!({})),
        refused(json!({}), negative),
        refused(json!({}), empty),
    ];
    expect![[r#"
        Offer constraints are not valid: 'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role *
        Offer constraints are not valid: 'OfferConstraints::RoleConstraints::groups' for role *contains an empty RoleConstraints::Group
        Offer constraints are not valid: A role * has an invalid 'AttributeConstraint': Exactly one of 'AttributeConstraint::Selector::name' or 'AttributeConstraint::Selector::pseudoattribute_type' must be set
        Offer constraints are not valid: A role * has an invalid 'AttributeConstraint': Unknown pseudoattribute type
        Offer constraints are not valid: A role * has an invalid 'AttributeConstraint': Unknown predicate type
        Invalid resource quantity for 'mem': Negative values not supported
        Resource quantities must contain at least one quantity"#]]
    .assert_eq(&shown.join("\n"));
}

#[test]
fn an_operation_that_nobody_would_be_told_about_refuses_the_call() {
    let call = |operation: Value| {
        let call =
            json!({"type": "ACCEPT", "framework_id": {"value": "f"}, "accept": {"operations": [operation]}});
        let call: WireCall = decode(ContentType::Json, &Bytes::from(call.to_string())).expect("a call");
        scheduler_call::from_wire(call).map(drop)
    };
    let disk = json!({"name": "disk", "type": "SCALAR", "scalar": {"value": 1}});
    let parts = [
        ("GROW_VOLUME", json!({"volume": disk, "addition": disk})),
        ("SHRINK_VOLUME", json!({"volume": disk, "subtract": {"value": 1}})),
        ("CREATE_DISK", json!({"source": disk, "target_type": "MOUNT"})),
        ("DESTROY_DISK", json!({"source": disk})),
    ];
    for (kind, part) in parts {
        let operation = json!({"type": kind, kind.to_lowercase(): part});
        let why = "operations are not supported by this version; no operation of this call was carried out";
        let refusal = call(operation.clone()).expect_err("nobody would be told");
        assert_eq!(refusal.to_string(), format!("{kind} {why}"));
        let mut with_id = operation;
        with_id["id"] = json!({"value": "op"});
        assert_eq!(call(with_id), Ok(()));
    }
    assert_eq!(call(json!({"type": "SOMETHING"})), Ok(()));
}

#[test]
fn a_giant_id_of_an_operation_is_refused() {
    let reserve = json!({"type": "RESERVE", "id": {"value": "i".repeat(4097)}, "reserve": {"resources": []}});
    let accept = json!({"offer_ids": [{"value": "o"}], "operations": [reserve]});
    let call = json!({"type": "ACCEPT", "framework_id": {"value": "f"}, "accept": accept});
    let call: WireCall = decode(ContentType::Json, &Bytes::from(call.to_string())).expect("a call");
    let refused = scheduler_call::from_wire(call).expect_err("it is too long");
    assert_eq!(refused.0, "'Operation.id' has 4097 bytes, more than the limit of 4096");
}
