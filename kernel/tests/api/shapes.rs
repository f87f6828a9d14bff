//! The members of what the master shows, as tools read them, and answers to every task and operation of a call.

use std::net::SocketAddr;

use expect_test::expect;
use serde_json::{Value, json};

use crate::{
    client::{Framework, get, post_json},
    fake_agent, master,
};

/// The names of an object's members, in order.
fn keys(of: &Value) -> String {
    let object = of.as_object().unwrap_or_else(|| panic!("no object: {of}"));
    object.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

async fn read(address: SocketAddr, path: &str) -> Value {
    serde_json::from_str(&get(address, path).await.text().await).expect("JSON")
}

async fn ask(address: SocketAddr, kind: &str) -> Value {
    let answer = post_json(address, "/api/v1", &json!({"type": kind}), None).await;
    let answer: Value = serde_json::from_str(&answer.text().await).expect("JSON");
    answer[kind.to_lowercase()].clone()
}

fn scalar(name: &str, value: f64) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": value}})
}

fn executor(framework: &Framework, change: Value) -> Value {
    let mut executor = json!({
        "type": "DEFAULT", "executor_id": {"value": "e"}, "framework_id": {"value": framework.id},
        "resources": [scalar("cpus", 0.1), scalar("mem", 32.0), scalar("disk", 1.0)],
    });
    executor.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
    executor
}

fn task(id: &str, offer: &Value, change: Value) -> Value {
    let mut task = json!({
        "name": id, "task_id": {"value": id}, "agent_id": offer["agent_id"],
        "resources": [scalar("cpus", 0.5), scalar("mem", 32.0)],
    });
    task.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
    task
}

async fn accept(framework: &Framework, offer: &Value, operation: Value) {
    let accept = json!({"accept": {
        "offer_ids": [offer["id"]], "operations": [operation], "filters": {"refuse_seconds": 0},
    }});
    assert_eq!(framework.call("ACCEPT", accept).await, 202);
}

#[tokio::test]
async fn the_members_of_reads_are_those_that_tools_expect() {
    let master = master().await;
    let address = master.mesos_address();
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    let mut framework = Framework::subscribe(address, json!({"role": "eng/dev"})).await;
    let offer = framework.events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    let own = json!({"executor": {"executor_id": {"value": "x"}, "command": {"value": "run"}}});
    accept(&framework, &offer, json!({"type": "LAUNCH", "launch": {"task_infos": [task("t", &offer, own)]}}))
        .await;
    framework.events.event_of("UPDATE").await;
    let state = loop {
        let state = read(address, "/state").await;
        if state["frameworks"][0]["offers"].as_array().is_some_and(|offers| !offers.is_empty()) {
            break state;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    let (slave, shown) = (&state["slaves"][0], &state["frameworks"][0]);
    let mut lines = vec![
        ("/state", keys(&state)),
        ("leader_info", keys(&state["leader_info"])),
        ("slave", keys(slave)),
        ("framework", keys(shown)),
        ("task", keys(&shown["tasks"][0])),
        ("executor", keys(&shown["executors"][0])),
        ("command", keys(&shown["executors"][0]["command"])),
        ("offer", keys(&shown["offers"][0])),
    ];
    assert_eq!(shown["executors"][0]["type"], "CUSTOM");
    let slaves = read(address, "/slaves").await;
    lines.push(("/slaves", keys(&slaves["slaves"][0])));
    let summary = read(address, "/state-summary").await;
    lines.push(("/state-summary", keys(&summary)));
    lines.push(("summary of a slave", keys(&summary["slaves"][0])));
    lines.push(("summary of a framework", keys(&summary["frameworks"][0])));
    assert_eq!(summary["slaves"][0]["framework_ids"], json!([framework.id]));
    lines.push(("/frameworks", keys(&read(address, "/frameworks").await)));
    let roles = read(address, "/roles").await;
    lines.push(("/roles", keys(&roles["roles"][0])));
    lines.push(("quota", keys(&roles["roles"][0]["quota"])));
    for kind in ["GET_TASKS", "GET_EXECUTORS", "GET_FRAMEWORKS", "GET_STATE"] {
        lines.push((kind, keys(&ask(address, kind).await)));
    }
    let tasks = ask(address, "GET_TASKS").await;
    lines.push(("task of GET_TASKS", keys(&tasks["tasks"][0])));
    let lines: Vec<String> = lines.into_iter().map(|(of, keys)| format!("{of}: {keys}\n")).collect();
    expect![[r#"
        /state: activated_slaves build_date build_time build_user capabilities completed_frameworks deactivated_slaves elected_time flags frameworks hostname id leader leader_info orphan_tasks pid recovered_slaves slaves start_time unreachable_slaves unregistered_frameworks version
        leader_info: hostname id pid port
        slave: active attributes capabilities deactivated hostname id offered_resources pid port registered_time reserved_resources resources unreserved_resources used_resources version
        framework: active capabilities checkpoint completed_tasks connected executors failover_timeout hostname id name offered_resources offers principal recovered registered_time resources role tasks unreachable_tasks unregistered_time used_resources user webui_url
        task: executor_id framework_id id name resources role slave_id state statuses
        executor: command executor_id framework_id name resources slave_id type
        command: argv shell uris value
        offer: allocation_info framework_id id resources slave_id
        /slaves: active attributes capabilities deactivated hostname id offered_resources offered_resources_full pid port registered_time reserved_resources reserved_resources_full resources unreserved_resources unreserved_resources_full used_resources used_resources_full version
        /state-summary: frameworks hostname slaves
        summary of a slave: TASK_DROPPED TASK_ERROR TASK_FAILED TASK_FINISHED TASK_GONE TASK_GONE_BY_OPERATOR TASK_KILLED TASK_KILLING TASK_LOST TASK_RUNNING TASK_STAGING TASK_STARTING TASK_UNKNOWN TASK_UNREACHABLE active attributes capabilities deactivated framework_ids hostname id offered_resources pid port registered_time reserved_resources resources unreserved_resources used_resources version
        summary of a framework: TASK_DROPPED TASK_ERROR TASK_FAILED TASK_FINISHED TASK_GONE TASK_GONE_BY_OPERATOR TASK_KILLED TASK_KILLING TASK_LOST TASK_RUNNING TASK_STAGING TASK_STARTING TASK_UNKNOWN TASK_UNREACHABLE active capabilities connected hostname id name offered_resources recovered slave_ids used_resources webui_url
        /frameworks: completed_frameworks frameworks unregistered_frameworks
        /roles: allocated frameworks name offered quota reserved resources weight
        quota: consumed guarantee limit role
        GET_TASKS: tasks
        GET_EXECUTORS: executors
        GET_FRAMEWORKS: frameworks
        GET_STATE: get_agents get_executors get_frameworks get_tasks
        task of GET_TASKS: agent_id executor_id framework_id name resources state status_update_state status_update_uuid statuses task_id
    "#]].assert_eq(&lines.concat());
    let role =
        roles["roles"].as_array().expect("a list").iter().find(|role| role["name"] == "eng/dev").expect("it");
    assert_eq!(role["allocated"], json!({"cpus": 0.5, "mem": 32.0}));
    assert_eq!(role["offered"], json!({"cpus": 3.5, "mem": 4064.0, "ports": 1001.0}));
    assert_eq!(role["resources"], json!({"cpus": 4.0, "mem": 4096.0, "ports": 1001.0}));
    assert_eq!(role["reserved"], json!({}));
    assert_eq!(role["quota"]["consumed"], role["allocated"]);
    assert_eq!(role["frameworks"], json!([framework.id]));
    let metrics = read(address, "/metrics/snapshot").await;
    for (name, value) in [
        ("master/messages_register_framework", 1.0),
        ("master/messages_launch_tasks", 1.0),
        ("master/messages_kill_task", 0.0),
        ("master/valid_status_updates", 1.0),
        ("master/event_queue_messages", 0.0),
        ("master/cpus_revocable_total", 0.0),
    ] {
        assert_eq!(metrics[name], value, "{name}");
    }
}

#[tokio::test]
async fn every_task_of_a_refused_group_gets_the_reason() {
    let master = master().await;
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    let mut framework = Framework::subscribe(master.mesos_address(), json!({})).await;
    let none = || json!({});
    let offer = framework.events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    let cases = [
        (json!({"type": null}), none()),
        (json!({"command": {"value": "x"}}), none()),
        (json!({"framework_id": null}), none()),
        (json!({"framework_id": {"value": "other"}}), none()),
        (json!({"resources": []}), none()),
        (json!({"resources": [scalar("cpus", 0.005)]}), none()),
        (json!({"resources": [scalar("cpus", 0.1), scalar("mem", 16.5)]}), none()),
        (json!({"resources": [scalar("cpus", 0.1), scalar("mem", 32.0)]}), none()),
        (none(), json!({"resources": [scalar("cpus", 100.0)]})),
        (none(), json!({"resources": [scalar("cpus", -1.0)]})),
        (none(), json!({"resources": []})),
        (none(), json!({"agent_id": {"value": "elsewhere"}})),
        (none(), json!({"executor": {"executor_id": {"value": "other"}}})),
    ];
    let group = |(number, (of_executor, of_task)): (usize, &(Value, Value))| {
        let tasks = [
            task(&format!("a{number}"), &offer, none()),
            task(&format!("b{number}"), &offer, of_task.clone()),
        ];
        let group =
            json!({"executor": executor(&framework, of_executor.clone()), "task_group": {"tasks": tasks}});
        json!({"type": "LAUNCH_GROUP", "launch_group": group})
    };
    let operations: Vec<Value> = cases.iter().enumerate().map(group).collect();
    let call = json!({"accept": {"offer_ids": [offer["id"]], "operations": operations}});
    assert_eq!(framework.call("ACCEPT", call).await, 202);
    let agent = offer["agent_id"]["value"].as_str().expect("an id");
    let mut shown = String::new();
    for number in 0..cases.len() {
        let mut messages = Vec::new();
        for id in [format!("a{number}"), format!("b{number}")] {
            let status = framework.events.event_of("UPDATE").await["update"]["status"].clone();
            assert_eq!((&status["task_id"]["value"], &status["state"]), (&json!(id), &json!("TASK_ERROR")));
            assert_eq!(status["reason"], "REASON_TASK_GROUP_INVALID");
            assert_eq!(status.get("executor_id"), None);
            messages.push(status["message"].as_str().expect("a text").to_owned());
        }
        assert_eq!(messages[0], messages[1]);
        shown += &format!("{}\n", messages[0].replace(&framework.id, "F").replace(agent, "A"));
    }
    expect![[r#"
        'ExecutorInfo.type' must be set
        'ExecutorInfo.command' must not be set for 'DEFAULT' executor
        'ExecutorInfo.framework_id' must be set
        ExecutorInfo has an invalid FrameworkID (Actual: other vs Expected: F)
        Executor 'e' uses less CPUs (None) than the minimum required (0.01)
        Executor 'e' uses less CPUs (0.005) than the minimum required (0.01)
        Executor 'e' uses less memory (16896KB) than the minimum required (32MB)
        Executor 'e' uses no disk
        Total resources cpus(allocated: *):100.6; disk(allocated: *):1; mem(allocated: *):64 required by task group and its executor are more than available cpus(allocated: *):4; mem(allocated: *):4096; ports(allocated: *):[31000-32000]
        Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0
        Task 'b10' is invalid: Task uses no resources
        Task 'b11' is invalid: Task uses invalid agent elsewhere while agent A is expected
        The `ExecutorInfo` of task 'b12' is different from executor 'e'
    "#]].assert_eq(&shown);
}

#[tokio::test]
async fn operations_are_reconciled_one_by_one() {
    let master = master().await;
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    let mut framework = Framework::subscribe(master.mesos_address(), json!({})).await;
    let offer = framework.events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    let operations = json!([
        {"operation_id": {"value": "a"}},
        {"operation_id": {"value": "b"}, "agent_id": offer["agent_id"]},
        {"operation_id": {"value": "c"}, "agent_id": {"value": "stranger"}},
    ]);
    let call = json!({"reconcile_operations": {"operations": operations}});
    assert_eq!(framework.call("RECONCILE_OPERATIONS", call).await, 202);
    let mut shown = String::new();
    for _ in 0..3 {
        let event = framework.events.event_of("UPDATE_OPERATION_STATUS").await;
        let status = &event["update_operation_status"]["status"];
        assert_eq!(status.get("uuid"), None);
        let (id, state, message) = (&status["operation_id"]["value"], &status["state"], &status["message"]);
        shown += &format!("{id} {state} {message}\n");
    }
    expect![[r#"
        "a" "OPERATION_UNKNOWN" "Reconciliation: Operation is unknown and no 'agent_id' was provided"
        "b" "OPERATION_UNKNOWN" "Reconciliation: Operation is unknown"
        "c" "OPERATION_UNKNOWN" "Reconciliation: Both operation and agent are unknown"
    "#]]
    .assert_eq(&shown);
}
