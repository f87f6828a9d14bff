//! Offers and streams of other frameworks, and subscriptions that are refused or repeated.

use expect_test::expect;
use serde_json::{Value, json};

use super::{Suspect, launch, posted, task, with_neighbour};
use crate::{
    client::{Framework, post_json},
    fake_agent,
};

/// Two offers of different agents, an offer of another framework, one that was answered, and streams that are not the caller's.
#[tokio::test]
async fn offers_and_streams_of_others() {
    let (master, mut neighbour) = with_neighbour().await;
    let address = master.mesos_address();
    let mut suspect = Suspect::start(&master, "cpus:4;mem:4096").await;
    let _second =
        fake_agent::start_as(master.attach_agent(), super::with_resources("second", "cpus:4;mem:4096")).await;
    let mut all = suspect.offers().await;
    while all.len() < 2 {
        all.extend(
            suspect.framework.events.event_of("OFFERS").await["offers"]["offers"]
                .as_array()
                .expect("a list")
                .clone(),
        );
    }
    let theirs = neighbour.framework.next_event().await["offers"]["offers"][0].clone();
    let tasks = launch(&[task("t", &all[0]["agent_id"], "cpus:0.1;mem:32")]);
    let with = |ids: Value| json!({"accept": {"offer_ids": ids, "operations": tasks}});
    let mut shown = String::new();
    let rows = [
        ("another's offer", with(json!([theirs["id"]]))),
        ("offers of two agents", with(json!([all[0]["id"], all[1]["id"]]))),
        ("answered already", with(json!([all[0]["id"]]))),
    ];
    for (name, parts) in rows {
        let outcome = suspect.outcome("ACCEPT", parts).await;
        let names = [
            (&all[0]["id"], "FIRST"),
            (&all[1]["id"], "SECOND"),
            (&theirs["id"], "THEIRS"),
            (&all[0]["agent_id"], "AGENT"),
            (&all[1]["agent_id"], "OTHER"),
        ];
        let mut outcome = names
            .iter()
            .fold(outcome, |text, (id, name)| text.replace(id["value"].as_str().expect("an id"), name));
        for (id, name) in [(&suspect.framework.id, "LOUD"), (&neighbour.framework.id, "QUIET")] {
            outcome = outcome.replace(id.as_str(), name);
        }
        shown += &format!("{name}: {outcome}");
    }
    // The offer is still the neighbour's.
    let decline = json!({"decline": {"offer_ids": [theirs["id"]], "filters": {"refuse_seconds": 0}}});
    assert_eq!(neighbour.framework.call("DECLINE", decline).await, 202);
    assert_eq!(neighbour.framework.call("REVIVE", json!({})).await, 202);
    neighbour.assert_served().await;

    let call = |id: &str| json!({"type": "TEARDOWN", "framework_id": {"value": id}});
    for (name, id, stream) in [
        ("no stream", &neighbour.framework.id, None),
        ("another's stream", &neighbour.framework.id, Some(suspect.framework.stream.as_str())),
        ("a stream for another", &suspect.framework.id, Some(neighbour.framework.stream.as_str())),
        ("no framework", &"x".to_owned(), Some(neighbour.framework.stream.as_str())),
    ] {
        let answer = post_json(address, "/api/v1/scheduler", &call(id), stream).await;
        let (status, text) = (answer.status, answer.text().await);
        let text = text
            .replace(&suspect.framework.stream, "LOUD-STREAM")
            .replace(&neighbour.framework.stream, "QUIET-STREAM");
        let text = text.replace(&suspect.framework.id, "LOUD").replace(&neighbour.framework.id, "QUIET");
        shown += &format!("{name}: {status} {text}\n");
    }
    neighbour.assert_served().await;
    expect![[r#"
        another's offer: 202 
            t TASK_DROPPED REASON_INVALID_OFFERS: Task launched with invalid offers: Offer THEIRS has invalid framework QUIET while framework LOUD is expected
        offers of two agents: 202 
            t TASK_DROPPED REASON_INVALID_OFFERS: Task launched with invalid offers: Aggregated offers must belong to one single agent. Offer SECOND uses agent OTHER and agent AGENT
        answered already: 202 
            t TASK_DROPPED REASON_INVALID_OFFERS: Task launched with invalid offers: Offer FIRST is no longer valid
        no stream: 400 All non-subscribe calls should include the 'Mesos-Stream-Id' header
        another's stream: 400 The stream ID 'LOUD-STREAM' included in this request didn't match the stream ID currently associated with framework ID QUIET
        a stream for another: 400 The stream ID 'QUIET-STREAM' included in this request didn't match the stream ID currently associated with framework ID LOUD
        no framework: 400 Framework cannot be found
    "#]].assert_eq(&shown);
    master.shutdown().await;
}

/// Subscriptions that are refused, on a stream of one ERROR or with a status.
#[tokio::test]
async fn subscriptions_that_are_none() {
    let (master, mut neighbour) = with_neighbour().await;
    let address = master.mesos_address();
    let mut shown = String::new();
    let multi = json!([{"type": "MULTI_ROLE"}]);
    let roles = |count: usize| (0..count).map(|n| json!(format!("r{n}"))).collect::<Vec<_>>();
    let rows = [
        ("a role that is a path", json!({"role": "../x"})),
        ("an empty role", json!({"role": ""})),
        ("a role with a space", json!({"role": "a b"})),
        ("a role of 5000 characters", json!({"role": "r".repeat(5000)})),
        ("a role with an empty part", json!({"role": "a//b"})),
        ("10,000 roles", json!({"roles": roles(10_000), "capabilities": multi})),
        ("a role twice", json!({"roles": ["a", "a"], "capabilities": multi})),
        ("both forms of role", json!({"roles": ["a"], "role": "b", "capabilities": multi})),
        ("the id of another", json!({"id": {"value": neighbour.framework.id}, "principal": "root"})),
        ("an id with a slash", json!({"id": {"value": "../../x"}})),
        ("a principal that is not the caller's", json!({"principal": "root"})),
        ("a timeout below zero", json!({"failover_timeout": -1})),
        ("a timeout of 1e308", json!({"failover_timeout": 1e308})),
    ];
    for (name, info) in rows {
        let mut framework_info = json!({"user": "root", "name": "x"});
        framework_info
            .as_object_mut()
            .expect("an object")
            .extend(info.as_object().expect("an object").clone());
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": framework_info}});
        if let Some(id) = info.get("id") {
            call["framework_id"] = id.clone();
        }
        let mut answer = post_json(address, "/api/v1/scheduler", &call, None).await;
        let outcome = match answer.status {
            200 => {
                let event = answer.event().await.expect("an event");
                event.pointer("/error/message").unwrap_or(&event["type"]).as_str().expect("a text").to_owned()
            }
            status => format!("{status} {}", answer.text().await),
        };
        shown += &format!("{name}: {}\n", super::shortened(&outcome));
        neighbour.assert_served().await;
    }
    let differs = json!({
        "type": "SUBSCRIBE", "framework_id": {"value": "a"},
        "subscribe": {"framework_info": {"user": "root", "name": "x", "id": {"value": "b"}}},
    });
    shown += &format!("two ids: {}", posted(address, &differs).await);
    expect![[r#"
        a role that is a path: 'FrameworkInfo.role' is not a valid role: Role '../x' cannot include '..' as a component
        an empty role: 'FrameworkInfo.role' is not a valid role: Role names cannot be the empty string
        a role with a space: 'FrameworkInfo.role' is not a valid role: Role component 'a b' is invalid because it contains backspace or whitespace
        a role of 5000 characters: 'FrameworkInfo.role' is not a valid role: Role names cannot be longer than 4096 bytes
        a role with an empty part: 'FrameworkInfo.role' is not a valid role: Role 'a//b' cannot contain two adjacent slashes
        10,000 roles: 'FrameworkInfo.roles' contains 10000 roles, more than the limit of 8192
        a role twice: 'FrameworkInfo.roles' contains duplicate items: { a }
        both forms of role: 'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable
        the id of another: 400 Failed to validate scheduler::Call: Authenticated principal 'test' does not match principal 'root' set in `FrameworkInfo`
        an id with a slash: '../../x' contains invalid characters
        a principal that is not the caller's: 400 Failed to validate scheduler::Call: Authenticated principal 'test' does not match principal 'root' set in `FrameworkInfo`
        a timeout below zero: SUBSCRIBED
        a timeout of 1e308: The framework failover_timeout (1e+308) is invalid
        two ids: 400 Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'
    "#]].assert_eq(&shown);
    master.shutdown().await;
}

/// A framework that subscribes again and again under one id: each earlier stream ends with one ERROR, and the last one is served.
#[tokio::test]
async fn subscriptions_under_one_id_in_a_loop() {
    let (master, mut neighbour) = with_neighbour().await;
    let address = master.mesos_address();
    let first = Framework::subscribe(address, json!({"failover_timeout": 1000})).await;
    let info = json!({"failover_timeout": 1000, "id": {"value": first.id}});
    let mut streams = vec![first];
    for round in 0..100 {
        streams.push(Framework::subscribe(address, info.clone()).await);
        if round % 10 == 0 {
            neighbour.assert_served().await;
        }
    }
    let last = streams.pop().expect("a stream");
    for mut old in streams {
        assert_eq!(old.events.event_of("ERROR").await["error"]["message"], "Framework failed over");
        assert_eq!(old.events.event().await, None);
        assert_eq!(old.call("REVIVE", json!({})).await, 400);
    }
    assert_eq!(last.call("REVIVE", json!({})).await, 202);
    neighbour.assert_served().await;
    master.shutdown().await;
}
