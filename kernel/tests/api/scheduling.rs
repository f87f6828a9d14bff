//! The life cycle of a framework: offers, launch, update, acknowledgement, reconciliation, kill, failover; in JSON and
//! in protobuf.

use std::time::Duration;

use bytes::Bytes;
use kernel::driver::{HttpDriver, SchedulerDriver};
use kernel_model::{
    agent::ToAgent,
    offer::Filters,
    scheduler::{Call, Event, Operation, Subscribe},
    task::TaskState,
};
use kernel_wire::{codec, codec::ContentType, framework, task, v1};
use serde_json::{Value, json};

use crate::{
    client::{Framework, TIMEOUT, get, post_json, send},
    fake_agent, master,
};

fn task(id: &str, agent: &Value) -> Value {
    json!({
        "name": id, "task_id": {"value": id}, "agent_id": agent,
        "resources": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.5}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": 32}},
        ],
        "command": {"value": "sleep 1"},
    })
}

#[tokio::test]
async fn a_task_runs_and_ends_in_json() {
    let master = master().await;
    let mut agent = fake_agent::start(master.attach_agent(), "one").await;
    let mut framework = Framework::subscribe(master.mesos_address(), json!({"role": "r"})).await;
    let offer = framework.events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    assert_eq!(offer["hostname"], "one");
    assert_eq!(offer.get("allocation_info"), None, "only MULTI_ROLE frameworks see it");
    assert_eq!(offer["resources"][0]["role"], "*", "the old form of resources");

    let operations = json!([{"type": "LAUNCH", "launch": {"task_infos": [task("t1", &offer["agent_id"])]}}]);
    let accept = json!({"accept": {"offer_ids": [offer["id"]], "operations": operations, "filters": {"refuse_seconds": 0}}});
    assert_eq!(framework.call("ACCEPT", accept).await, 202);
    let launched = fake_agent::next_message(&mut agent, |m| match m {
        ToAgent::RunTask { launch, .. } => Some(launch.tasks()[0].clone()),
        _ => None,
    });
    assert_eq!(launched.await.command.expect("a command").value.as_deref(), Some("sleep 1"));

    let status = framework.events.event_of("UPDATE").await["update"]["status"].clone();
    assert_eq!(status["state"], "TASK_RUNNING");
    let acknowledge = json!({"acknowledge": {
        "agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"],
    }});
    assert_eq!(framework.call("ACKNOWLEDGE", acknowledge).await, 202);
    fake_agent::next_message(&mut agent, |m| matches!(m, ToAgent::Acknowledge { .. }).then_some(())).await;

    assert_eq!(framework.call("RECONCILE", json!({"reconcile": {"tasks": []}})).await, 202);
    let status = framework.events.event_of("UPDATE").await["update"]["status"].clone();
    assert_eq!(
        (&status["state"], &status["reason"]),
        (&json!("TASK_RUNNING"), &json!("REASON_RECONCILIATION"))
    );
    assert_eq!(status.get("uuid"), None);

    assert_eq!(framework.call("KILL", json!({"kill": {"task_id": {"value": "t1"}}})).await, 202);
    let status = framework.events.event_of("UPDATE").await["update"]["status"].clone();
    assert_eq!(status["state"], "TASK_KILLED");
    master.shutdown().await;
}

/// As in Mesos, the resources that were named tell the role of a task, whatever their amounts.
#[tokio::test]
async fn a_task_that_holds_nothing_has_the_role_of_its_offer() {
    let master = master().await;
    let mut agent = fake_agent::start(master.attach_agent(), "one").await;
    let address = master.mesos_address();
    let mut framework = Framework::subscribe(address, json!({"role": "r"})).await;
    let offer = framework.events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    let mut idle = task("t1", &offer["agent_id"]);
    idle["resources"] = json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0}}]);
    let operations = json!([{"type": "LAUNCH", "launch": {"task_infos": [idle]}}]);
    let accept = json!({"accept": {"offer_ids": [offer["id"]], "operations": operations}});
    assert_eq!(framework.call("ACCEPT", accept).await, 202);
    let launched = fake_agent::next_message(&mut agent, |m| match m {
        ToAgent::RunTask { launch, .. } => Some(launch.tasks()[0].clone()),
        _ => None,
    });
    let role = launched.await.role().map(ToString::to_string);
    assert_eq!(role.as_deref(), Some("r"), "the agent knows it too");
    framework.events.event_of("UPDATE").await;
    let tasks = post_json(address, "/api/v1", &json!({"type": "GET_TASKS"}), None).await;
    let tasks: Value = serde_json::from_str(&tasks.text().await).expect("JSON");
    let resource = &tasks["get_tasks"]["tasks"][0]["resources"][0];
    assert_eq!((&resource["name"], &resource["scalar"]["value"]), (&json!("cpus"), &json!(0.0)));
    assert_eq!(resource["allocation_info"]["role"], "r");
    let state: Value = serde_json::from_str(&get(address, "/state").await.text().await).expect("JSON");
    let task = &state["frameworks"][0]["tasks"][0];
    assert_eq!((&task["role"], &task["resources"]["cpus"]), (&json!("r"), &json!(0.0)), "{task}");
    master.shutdown().await;
}

#[tokio::test]
async fn another_instance_takes_over() {
    let master = master().await;
    let address = master.mesos_address();
    let mut first = Framework::subscribe(address, json!({"failover_timeout": 60})).await;
    let second =
        Framework::subscribe(address, json!({"failover_timeout": 60, "id": {"value": first.id}})).await;
    assert_eq!(second.id, first.id);
    let error = first.events.event_of("ERROR").await;
    assert_eq!(error["error"]["message"], "Framework failed over");
    assert_eq!(first.events.event().await, None);
    assert_eq!(first.call("REVIVE", json!({})).await, 400, "the old stream's id is void");
    assert_eq!(second.call("REVIVE", json!({})).await, 202);
}

#[tokio::test]
async fn a_framework_suppresses_and_is_torn_down() {
    let master = master().await;
    let address = master.mesos_address();
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    let multi = json!({"capabilities": [{"type": "MULTI_ROLE"}], "roles": ["a"], "failover_timeout": 5});
    let mut framework = Framework::subscribe(address, multi.clone()).await;
    let offer = framework.events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    assert_eq!(offer["allocation_info"]["role"], "a");
    let update = |extra: Value| {
        let mut info = json!({"user": "root", "name": "test", "id": {"value": framework.id}});
        let object = info.as_object_mut().expect("an object");
        object.extend(multi.as_object().expect("an object").clone());
        object.extend(extra.as_object().expect("an object").clone());
        json!({"update_framework": {"framework_info": info}})
    };
    assert_eq!(framework.call("UPDATE_FRAMEWORK", update(json!({"user": "other"}))).await, 400);
    assert_eq!(framework.call("UPDATE_FRAMEWORK", update(json!({"roles": ["b", "b"]}))).await, 400);
    assert_eq!(framework.call("UPDATE_FRAMEWORK", update(json!({"roles": ["b"]}))).await, 200);
    let rescinded = framework.events.event_of("RESCIND").await;
    assert_eq!(rescinded["rescind"]["offer_id"], offer["id"]);
    let offer = framework.events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    assert_eq!(offer["allocation_info"]["role"], "b");

    let form = format!("frameworkId={}", framework.id);
    let head = "POST /master/teardown HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    assert_eq!(send(address, head, form.as_bytes()).await.status, 200);
    assert_eq!(framework.call("REVIVE", json!({})).await, 400, "an ended framework is not there");
}

#[tokio::test]
async fn a_framework_that_disconnects_is_noticed() {
    let master = master().await;
    let address = master.mesos_address();
    let framework = Framework::subscribe(address, json!({"failover_timeout": 3600})).await;
    let id = framework.id.clone();
    drop(framework);
    let call = json!({"type": "REVIVE", "framework_id": {"value": id}});
    let noticed = async {
        while post_json(address, "/api/v1/scheduler", &call, None).await.status != 403 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, noticed).await.expect("it is not taken for connected any more");
}

#[tokio::test]
async fn a_scheduler_in_this_process_that_left_is_noticed_with_its_next_event() {
    let master = master().await;
    let driver = master.in_process_driver();
    let subscribe = Subscribe {
        framework: framework_info(),
        suppressed_roles: Default::default(),
        preferences: Default::default(),
    };
    let mut events = driver.subscribe(subscribe).await.expect("subscribed");
    let Some(Event::Subscribed { framework_id, .. }) = events.recv().await else {
        panic!("SUBSCRIBED comes first")
    };
    drop(events);
    let reconcile = Call::Reconcile { tasks: vec![("nobody".into(), None)] };
    driver.call(&framework_id, reconcile.clone()).await.expect("taken: nobody knows yet");
    let refused = driver.call(&framework_id, reconcile).await;
    assert!(matches!(refused, Err(kernel::driver::DriverError::Refused(_))), "{refused:?}");
}

#[tokio::test]
async fn the_http_driver_runs_a_task_in_protobuf() {
    let master = master().await;
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    let driver = HttpDriver::new(master.mesos_address().to_string()).with_credential(&crate::credential());
    run_task(&driver).await;
    run_task(&master.in_process_driver()).await;
}

#[tokio::test]
async fn a_task_whose_extra_does_not_decode_is_refused() {
    let master = master().await;
    let _agent = fake_agent::start(master.attach_agent(), "one").await;
    let driver = master.in_process_driver();
    let subscribe = Subscribe {
        framework: framework_info(),
        suppressed_roles: Default::default(),
        preferences: Default::default(),
    };
    let mut events = driver.subscribe(subscribe).await.expect("subscribed");
    let (mut framework_id, mut status) = (None, None);
    while status.is_none() {
        match events.recv().await.expect("the stream lives") {
            Event::Subscribed { framework_id: id, .. } => framework_id = Some(id),
            Event::Offers { offers } => {
                let text = task("t1", &json!({"value": offers[0].agent_id.as_str()})).to_string();
                let info: v1::TaskInfo = codec::decode(ContentType::Json, &text.into()).expect("parses");
                let mut info = task::info_from_wire(info).expect("valid");
                info.extra = Bytes::from_static(&[0xff]);
                let accept = Call::Accept {
                    offer_ids: vec![offers[0].id.clone()],
                    operations: vec![Operation::Launch { tasks: vec![info] }],
                    filters: Filters { refuse: Duration::from_secs(60) },
                };
                let id = framework_id.as_ref().expect("SUBSCRIBED comes first");
                driver.call(id, accept).await.expect("accepted: the task is refused, not the call");
            }
            Event::Update { status: update } => status = Some(update),
            _ => {}
        }
    }
    let status = status.expect("the loop ends with it");
    assert_eq!(status.state, TaskState::Error);
    assert!(status.message.as_deref().is_some_and(|text| text.contains("does not decode")), "{status:?}");
}

fn framework_info() -> kernel_model::framework::FrameworkInfo {
    let text = r#"{"user":"root","name":"typed","roles":["a"],"capabilities":[{"type":"MULTI_ROLE"},{"type":"RESERVATION_REFINEMENT"}]}"#;
    let message: v1::FrameworkInfo =
        codec::decode(ContentType::Json, &Bytes::from_static(text.as_bytes())).expect("parses");
    framework::from_wire(message).expect("valid")
}

async fn run_task(driver: &dyn SchedulerDriver) {
    let (agents, _cluster) = driver.watch_cluster().await.expect("watched");
    assert_eq!(agents.len(), 1);
    let subscribe = Subscribe {
        framework: framework_info(),
        suppressed_roles: Default::default(),
        preferences: Default::default(),
    };
    let mut events = driver.subscribe(subscribe).await.expect("subscribed");
    let Some(Event::Subscribed { framework_id, .. }) = events.recv().await else {
        panic!("SUBSCRIBED comes first")
    };
    let offer = loop {
        match events.recv().await.expect("the stream lives") {
            Event::Offers { mut offers } => break offers.remove(0),
            Event::Heartbeat => {}
            other => panic!("unexpected {other:?}"),
        }
    };
    assert_eq!(offer.role.as_str(), "a");
    let text = task("t1", &json!({"value": offer.agent_id.as_str()})).to_string();
    let info: v1::TaskInfo = codec::decode(ContentType::Json, &text.into()).expect("parses");
    let tasks = vec![task::info_from_wire(info).expect("valid")];
    let accept = Call::Accept {
        offer_ids: vec![offer.id.clone()],
        operations: vec![Operation::Launch { tasks }],
        filters: Filters::default(),
    };
    driver.call(&framework_id, accept).await.expect("taken");
    loop {
        match events.recv().await.expect("the stream lives") {
            Event::Update { status } => {
                assert_eq!(status.state, TaskState::Running);
                break;
            }
            Event::Heartbeat | Event::Offers { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    driver.call(&framework_id, Call::Teardown).await.expect("taken");
}
