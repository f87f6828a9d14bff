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

fn accept(operations: Value) -> Vec<Operation> {
    let accept = json!({"offer_ids": [{"value": "o"}], "operations": operations});
    match parse(&json!({"type": "ACCEPT", "framework_id": {"value": "f"}, "accept": accept})) {
        ParsedCall::Call(_, Call::Accept { operations, .. }) => operations,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_malformed_task_leaves_the_others_alone() {
    let variable =
        |variable: Value| json!({"command": {"value": "x", "environment": {"variables": [variable]}}});
    let bad = [
        json!({"resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": -1}}]}),
        json!({"resources": [{"name": "cpus", "type": "SCALAR"}]}),
        json!({"resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "role": "a b"}]}),
        json!({"kill_policy": {"grace_period": {"nanoseconds": -1}}}),
        json!({"max_completion_time": {"nanoseconds": -1}}),
        json!({"limits": {"mem": {"value": 64}}}),
        json!({"health_check": {}}),
        json!({"health_check": {"type": "COMMAND"}}),
        json!({"health_check": {"type": "COMMAND", "command": {}}}),
        json!({"health_check": {"type": "HTTP", "http": {"port": 80, "path": "x"}}}),
        json!({"health_check": {"type": "HTTP", "http": {"port": 80, "scheme": "gopher"}}}),
        json!({"health_check": {"type": "TCP", "tcp": {"port": 0}, "delay_seconds": 1}}),
        json!({"health_check": {"type": "TCP", "tcp": {"port": 1}, "delay_seconds": -1}}),
        json!({"check": {"type": "HTTP"}}),
        variable(json!({"name": "A"})),
        variable(json!({"name": "A", "type": "SECRET", "value": "v"})),
        variable(json!({"name": "A", "type": "UNKNOWN", "value": "v"})),
    ];
    let mut tasks: Vec<Value> = bad.into_iter().map(|change| task("bad", change)).collect();
    tasks.insert(3, task("good", json!({})));
    let operations = accept(json!([{"type": "LAUNCH", "launch": {"task_infos": tasks}}]));
    let [Operation::Launch { tasks }, Operation::Malformed { tasks: malformed, grouped: false }] =
        &operations[..]
    else {
        panic!("{operations:?}")
    };
    assert_eq!(tasks.iter().map(|t| t.task_id.as_str()).collect::<Vec<_>>(), ["good"]);
    let why: Vec<&str> = malformed.iter().map(|task| task.why.as_str()).collect();
    expect![[r#"
        Invalid resource 'cpus': the scalar is negative or no number
        Invalid resource 'cpus': a scalar without a value
        Invalid role 'a b' is invalid: it has white space or a delete character
        'kill_policy.grace_period' must be non-negative
        'max_completion_time' must be non-negative
        Resource limits of tasks are not supported: the agent is not TASK_RESOURCE_LIMITS capable
        Task uses invalid health check: HealthCheck must specify 'type'
        Task uses invalid health check: Expecting 'command' to be set for COMMAND health check
        Task uses invalid health check: Its command must contain a value
        Task uses invalid health check: The path 'x' of HTTP health check must start with '/'
        Task uses invalid health check: Unsupported HTTP health check scheme: 'gopher'
        Task uses invalid health check: '0' is not a port
        Task uses invalid health check: Expecting its lengths of time to be non-negative
        Task uses invalid check: Expecting 'http' to be set for HTTP check
        Environment variable 'A' of type 'VALUE' must have a value set
        Environment variable 'A' of type 'SECRET' must not have a value set
        Environment variable 'A' has an unknown type"#]]
    .assert_eq(&why.join("\n"));
}

#[test]
fn launches_have_no_feedback_and_groups_fail_as_one() {
    let with_id =
        json!([{"type": "LAUNCH", "id": {"value": "i"}, "launch": {"task_infos": [task("t", json!({}))]}}]);
    assert!(matches!(&accept(with_id)[1], Operation::Malformed { tasks, grouped: false }
        if tasks[0].why == "Operation feedback is not supported for LAUNCH operations"));
    let tasks = [task("g1", json!({})), task("g2", json!({"max_completion_time": {"nanoseconds": -1}}))];
    let executor = json!({"type": "CUSTOM", "executor_id": {"value": "e"}, "command": {"value": "x"}});
    let group = json!({"executor": executor, "task_group": {"tasks": tasks}});
    let operations = accept(json!([{"type": "LAUNCH_GROUP", "launch_group": group}]));
    assert!(matches!(&operations[..], [Operation::Malformed { tasks, grouped: true }] if tasks.len() == 2));
}

#[test]
fn calls_with_an_invalid_role_are_dropped() {
    for kind in ["REVIVE", "SUPPRESS"] {
        let call =
            json!({"type": kind, "framework_id": {"value": "f"}, kind.to_lowercase(): {"roles": ["a b"]}});
        let verb = kind.to_lowercase();
        let why = "Invalid role 'a b' is invalid: it has white space or a delete character";
        let message = format!("Refused to {verb} offers: {why}");
        assert_eq!(parse(&call), ParsedCall::Call("f".into(), Call::Dropped { message }));
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
    let shown = [
        refused(one(json!({}), json!({"exists": {}})), json!({})),
        refused(one(json!({"pseudoattribute_type": "UNKNOWN"}), json!({"exists": {}})), json!({})),
        refused(one(json!({"attribute_name": "x"}), json!({})), json!({})),
        refused(json!({}), negative),
        refused(json!({}), empty),
    ];
    expect![[r#"
        Offer constraints are not valid: a selector selects nothing
        Offer constraints are not valid: Unknown pseudoattribute type
        Offer constraints are not valid: Unknown predicate type
        Offer filters for role '*' are not valid: '-1' of 'mem' is not a quantity
        Offer filters for role '*' are not valid: quantities must not be empty"#]]
    .assert_eq(&shown.join("\n"));
}
