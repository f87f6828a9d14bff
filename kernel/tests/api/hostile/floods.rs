//! Many and large calls, and frameworks that do not read.

use serde_json::{Value, json};

use super::{Neighbour, Suspect, launch, task, with_neighbour};
use crate::client::{Framework, get};

/// The longest text of a refusal, and what says that it was cut.
const TEXT_BYTES_MAX: usize = 4096 + 16;

/// The refusals of this many tasks; each is of bounded length.
async fn assert_refused(suspect: &mut Suspect, tasks: usize, accept: Value) {
    assert_eq!(suspect.framework.call("ACCEPT", json!({"accept": accept})).await, 202);
    let mut longest = 0;
    for _ in 0..tasks {
        let update = suspect.framework.events.event_of("UPDATE").await;
        let status = &update["update"]["status"];
        assert!(
            ["TASK_ERROR", "TASK_DROPPED"].contains(&status["state"].as_str().expect("a state")),
            "{status}"
        );
        longest = longest.max(status["message"].as_str().expect("a message").len());
    }
    assert!(longest <= TEXT_BYTES_MAX, "{longest}");
}

/// One long name in a call that is refused for each of its tasks, would be quoted once a task.
#[tokio::test]
async fn refusals_do_not_multiply_what_they_quote() {
    const TASKS: usize = 500;
    let (master, mut neighbour) = with_neighbour().await;
    let mut suspect = Suspect::start(&master, "cpus:4;mem:4096;disk:1000").await;
    let offer = suspect.offers().await.remove(0);
    let mut tasks: Vec<Value> =
        (0..TASKS).map(|n| task(&format!("t{n}"), &offer["agent_id"], "cpus:0.1")).collect();
    let long = "x".repeat(4 << 20);
    let accept = json!({"offer_ids": [{"value": long}], "operations": launch(&tasks)});
    assert_refused(&mut suspect, TASKS, accept).await;
    neighbour.assert_served().await;

    tasks[0]["resources"][0]["name"] = json!(long);
    tasks[0]["resources"][0]["scalar"]["value"] = json!(-1);
    let accept =
        json!({"offer_ids": [offer["id"]], "operations": launch(&tasks), "filters": {"refuse_seconds": 0}});
    assert_refused(&mut suspect, TASKS, accept).await;
    neighbour.assert_served().await;

    // An executor of some megabytes, and others under its id.
    let offer = suspect.offers().await.remove(0);
    let data = "A".repeat(4 << 20);
    let with_executor = |id: usize, data: &str| {
        let mut task = task(&format!("e{id}"), &offer["agent_id"], "cpus:0.001;mem:1");
        task.as_object_mut().expect("an object").remove("command");
        task["executor"] = json!({"executor_id": {"value": "e"}, "command": {"value": "true"}, "data": data});
        task
    };
    let mut tasks: Vec<Value> = (1..TASKS).map(|n| with_executor(n, "")).collect();
    tasks.insert(0, with_executor(0, &data));
    let accept =
        json!({"offer_ids": [offer["id"]], "operations": launch(&tasks), "filters": {"refuse_seconds": 0}});
    assert_refused(&mut suspect, TASKS - 1, accept).await;
    neighbour.assert_served().await;
    master.shutdown().await;
}

/// Resources of thousands of names, in each of many tasks.
#[tokio::test]
async fn tasks_of_many_resources() {
    const TASKS: usize = 5;
    let (master, mut neighbour) = with_neighbour().await;
    let mut suspect = Suspect::start(&master, "cpus:4;mem:4096").await;
    let offer = suspect.offers().await.remove(0);
    let names: Vec<String> = (0..4000).map(|n| format!("name-{n}:1")).collect();
    let tasks: Vec<Value> =
        (0..TASKS).map(|n| task(&format!("t{n}"), &offer["agent_id"], &names.join(";"))).collect();
    let accept = json!({"offer_ids": [offer["id"]], "operations": launch(&tasks)});
    assert_refused(&mut suspect, TASKS, accept).await;
    neighbour.assert_served().await;
    master.shutdown().await;
}

#[tokio::test]
async fn reconciliation_of_100_000_tasks() {
    const TASKS: usize = 100_000;
    let (master, mut neighbour) = with_neighbour().await;
    let mut framework = Framework::subscribe(master.mesos_address(), json!({"role": "loud"})).await;
    let tasks: Vec<Value> = (0..TASKS).map(|n| json!({"task_id": {"value": format!("t{n}")}})).collect();
    assert_eq!(framework.call("RECONCILE", json!({"reconcile": {"tasks": tasks}})).await, 202);
    neighbour.assert_served().await;
    for n in 0..TASKS {
        let update = framework.events.event_of("UPDATE").await;
        assert_eq!(update["update"]["status"]["task_id"]["value"], format!("t{n}"));
    }
    master.shutdown().await;
}

/// Calls that change what the allocator has to do, again and again, with filters of every length.
#[tokio::test]
async fn floods_of_answers_to_offers() {
    let (master, mut neighbour) = with_neighbour().await;
    let mut suspect = Suspect::start(&master, "cpus:4;mem:4096").await;
    for round in 0..100 {
        let offers = suspect.offers().await;
        let ids: Vec<&Value> = offers.iter().map(|offer| &offer["id"]).collect();
        let seconds = [1e308, -1e308, 0.0, 1e-300, 5e-324][round % 5];
        let decline = json!({"decline": {"offer_ids": ids, "filters": {"refuse_seconds": seconds}}});
        let framework = &suspect.framework;
        for (kind, parts) in [
            ("SUPPRESS", json!({})),
            ("DECLINE", decline.clone()),
            ("REVIVE", json!({})),
            ("DECLINE", decline),
        ] {
            assert_eq!(framework.call(kind, parts).await, 202);
        }
        if round % 10 == 0 {
            neighbour.assert_served().await;
        }
    }
    // After all of it, it is offered its agent as before.
    assert_eq!(suspect.offers().await.len(), 1);
    master.shutdown().await;
}

/// An agent that is sent more than it reads by one framework keeps its link: messages to executors may be lost.
#[tokio::test]
async fn floods_of_messages_to_an_agent() {
    let (master, mut neighbour) = with_neighbour().await;
    let mut suspect = Suspect::start(&master, "cpus:4;mem:4096").await;
    let offer = suspect.offers().await.remove(0);
    let theirs = neighbour.framework.next_event().await["offers"]["offers"][0].clone();
    let decline = json!({"decline": {"offer_ids": [theirs["id"]], "filters": {"refuse_seconds": 0}}});
    for agent in [&offer["agent_id"], &theirs["agent_id"]] {
        for n in 0..100 {
            let data = "A".repeat(if n % 10 == 0 { 1 << 20 } else { 100 });
            let message = json!({"agent_id": agent, "executor_id": {"value": "e"}, "data": data});
            assert_eq!(suspect.framework.call("MESSAGE", json!({"message": message})).await, 202);
            let shutdown = json!({"agent_id": agent, "executor_id": {"value": "e"}});
            assert_eq!(suspect.framework.call("SHUTDOWN", json!({"shutdown": shutdown})).await, 202);
        }
    }
    assert_eq!(neighbour.framework.call("DECLINE", decline).await, 202);
    assert_eq!(neighbour.framework.call("REVIVE", json!({})).await, 202);
    neighbour.assert_served().await;
    master.shutdown().await;
}

async fn count(neighbour: &Neighbour, of: &str) -> usize {
    let text = get(neighbour.framework.address(), "/master/frameworks").await.text().await;
    let value: Value = serde_json::from_str(&text).expect("JSON");
    value[of].as_array().expect("a list").len()
}

/// 10,000 frameworks subscribe, and most leave at once.
#[tokio::test]
async fn ten_thousand_subscriptions() {
    const SUBSCRIPTIONS: usize = 10_000;
    let (master, mut neighbour) = with_neighbour().await;
    let address = master.mesos_address();
    let mut kept = Vec::new();
    for n in 0..SUBSCRIPTIONS {
        let framework = Framework::subscribe(address, json!({"role": format!("r{}", n % 100)})).await;
        if n % 50 == 0 {
            kept.push(framework);
        }
        if n % 500 == 0 {
            neighbour.assert_served().await;
        }
    }
    while count(&neighbour, "frameworks").await > kept.len() + 1 {
        neighbour.assert_served().await;
    }
    assert_eq!(count(&neighbour, "completed_frameworks").await, 50, "as many as Mesos remembers");
    for framework in &kept {
        assert_eq!(framework.call("REVIVE", json!({})).await, 202);
    }
    master.shutdown().await;
}
