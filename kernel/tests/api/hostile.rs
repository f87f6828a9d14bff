//! Malformed calls and hostile frameworks: each gets its exact answer, and a well-behaved framework beside it goes on to get offers,
//! launches and updates. The tables are in the files below this one: `bodies` (HTTP and its bodies), `calls` (calls on a stream),
//! `streams` (offers and streams of others, subscriptions), `floods` (many and large calls).

#[path = "hostile/bodies.rs"]
mod bodies;
#[path = "hostile/calls.rs"]
mod calls;
#[path = "hostile/floods.rs"]
mod floods;
#[path = "hostile/streams.rs"]
mod streams;

use std::net::SocketAddr;

use kernel::server::MasterHandle;
use kernel_model::agent::{AgentInfo, ToAgent};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    client::{Framework, post_json},
    fake_agent, master,
};

/// A framework that has an agent to itself, and uses it as a framework should.
struct Neighbour {
    framework: Framework,
    _agent: mpsc::Receiver<ToAgent>,
    rounds: usize,
}

impl Neighbour {
    async fn start(master: &MasterHandle) -> Self {
        let info = with_resources("quiet", "cpus(quiet):4;mem(quiet):4096");
        let agent = fake_agent::start_as(master.attach_agent(), info).await;
        // It asks for its own agent only, so that the others' offers do not depend on it.
        let host = json!({"selector": {"pseudoattribute_type": "HOSTNAME"}, "predicate": {"text_equals": {"value": "quiet"}}});
        let constraints =
            json!({"role_constraints": {"quiet": {"groups": [{"attribute_constraints": [host]}]}}});
        let info = json!({"user": "root", "name": "quiet", "role": "quiet"});
        let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info, "offer_constraints": constraints}});
        let framework = Framework::subscribe_with(master.mesos_address(), &call).await;
        Self { framework, _agent: agent, rounds: 0 }
    }

    /// Gets an offer, launches a task, hears that it runs, kills it and hears of its end; and nothing else.
    async fn assert_served(&mut self) {
        let offers = self.framework.next_event().await;
        let offer = offers.pointer("/offers/offers/0").unwrap_or_else(|| panic!("an offer, not {offers}"));
        self.run_on(offer).await;
        assert_eq!(self.framework.call("REVIVE", json!({})).await, 202);
    }

    async fn run_on(&mut self, offer: &Value) {
        let framework = &mut self.framework;
        let id = format!("quiet-{}", self.rounds);
        self.rounds += 1;
        let mut task = task(&id, &offer["agent_id"], "cpus:1;mem:32");
        for resource in task["resources"].as_array_mut().expect("a list") {
            resource["role"] = json!("quiet");
        }
        let operations = launch(&[task]);
        let accept = json!({"offer_ids": [offer["id"]], "operations": operations, "filters": {"refuse_seconds": 3600}});
        assert_eq!(framework.call("ACCEPT", json!({"accept": accept})).await, 202);
        for state in ["TASK_RUNNING", "TASK_KILLED"] {
            let update = framework.next_event().await;
            let status = &update["update"]["status"];
            assert_eq!(
                (&status["task_id"]["value"], &status["state"]),
                (&json!(id), &json!(state)),
                "{update}"
            );
            let parts =
                json!({"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]});
            assert_eq!(framework.call("ACKNOWLEDGE", json!({"acknowledge": parts})).await, 202);
            if state == "TASK_RUNNING" {
                let kill = json!({"kill": {"task_id": {"value": id}}});
                assert_eq!(framework.call("KILL", kill).await, 202);
            }
        }
    }
}

/// The description of an agent with these resources.
fn with_resources(hostname: &str, resources: &str) -> AgentInfo {
    AgentInfo { resources: resources.parse().expect("resources"), ..fake_agent::info(hostname) }
}

/// A task with these scalars.
fn task(id: &str, agent: &Value, resources: &str) -> Value {
    let resources: Vec<Value> = resources.split(';').filter(|one| !one.is_empty()).map(scalar).collect();
    json!({
        "name": "t", "task_id": {"value": id}, "agent_id": agent, "resources": resources,
        "command": {"value": "true"},
    })
}

fn scalar(text: &str) -> Value {
    let (name, amount) = text.split_once(':').expect("name:amount");
    let amount: f64 = amount.parse().expect("a number");
    json!({"name": name, "type": "SCALAR", "scalar": {"value": amount}})
}

fn launch(tasks: &[Value]) -> Value {
    json!([{"type": "LAUNCH", "launch": {"task_infos": tasks}}])
}

/// The beginning of a text, and how long it is.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 400;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// A framework whose calls are tried.
struct Suspect {
    framework: Framework,
    _agent: mpsc::Receiver<ToAgent>,
    marks: usize,
    /// The ids of all offers, answered or not.
    offered: Vec<Value>,
}

impl Suspect {
    /// With an agent that only it is offered.
    async fn start(master: &MasterHandle, resources: &str) -> Self {
        let agent = fake_agent::start_as(master.attach_agent(), with_resources("loud", resources)).await;
        let framework = Self::subscribe(master.mesos_address()).await;
        Self { framework, _agent: agent, marks: 0, offered: Vec::new() }
    }

    async fn subscribe(address: SocketAddr) -> Framework {
        let capabilities: Vec<Value> = ["MULTI_ROLE", "PARTITION_AWARE", "RESERVATION_REFINEMENT"]
            .map(|name| json!({"type": name}))
            .to_vec();
        let info = json!({"roles": ["loud"], "capabilities": capabilities, "failover_timeout": 1000});
        Framework::subscribe(address, info).await
    }

    /// Offers of all that is free: what was offered before is declined while no more is offered.
    async fn offers(&mut self) -> Vec<Value> {
        assert_eq!(self.framework.call("SUPPRESS", json!({})).await, 202);
        self.events().await;
        let ids = std::mem::take(&mut self.offered);
        let decline = json!({"decline": {"offer_ids": ids, "filters": {"refuse_seconds": 0}}});
        assert_eq!(self.framework.call("DECLINE", decline).await, 202);
        assert_eq!(self.framework.call("REVIVE", json!({})).await, 202);
        let offers = self.framework.events.event_of("OFFERS").await;
        self.note_offers(&offers);
        offers["offers"]["offers"].as_array().expect("a list").clone()
    }

    fn note_offers(&mut self, event: &Value) {
        let offers = event["offers"]["offers"].as_array().expect("a list");
        self.offered.extend(offers.iter().map(|offer| offer["id"].clone()));
    }

    /// Ends what a row has launched, and acknowledges it.
    async fn kill_all(&mut self) {
        assert_eq!(self.framework.call("RECONCILE", json!({"reconcile": {"tasks": []}})).await, 202);
        let mut running = Vec::new();
        for event in self.events().await {
            if let Some((id, _)) = event.split_once(" TASK_RUNNING") {
                running.push(id.to_owned());
            }
        }
        for id in &running {
            assert_eq!(self.framework.call("KILL", json!({"kill": {"task_id": {"value": id}}})).await, 202);
            loop {
                let update = self.framework.events.event_of("UPDATE").await;
                let status = &update["update"]["status"];
                let parts = json!({"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]});
                if status["state"] == "TASK_KILLED" {
                    assert_eq!(self.framework.call("ACKNOWLEDGE", json!({"acknowledge": parts})).await, 202);
                    break;
                }
            }
        }
    }

    /// What is answered to a call, and the events that follow, in one line each; offers are left out.
    async fn outcome(&mut self, kind: &str, parts: Value) -> String {
        let answer = self.framework.answer_to(kind, parts).await;
        let status = answer.status;
        let mut shown = format!("{status} {}\n", shortened(&answer.text().await));
        for event in self.events().await {
            shown += &format!("    {}\n", shortened(&event));
        }
        shown
    }

    /// The events so far. The end is marked by the answer to a reconciliation.
    async fn events(&mut self) -> Vec<String> {
        let mark = format!("mark-{}", self.marks);
        self.marks += 1;
        let reconcile = json!({"reconcile": {"tasks": [{"task_id": {"value": mark}}]}});
        assert_eq!(self.framework.call("RECONCILE", reconcile).await, 202);
        let mut events = Vec::new();
        loop {
            let event = self.framework.next_event().await;
            let kind = event["type"].as_str().expect("a type").to_owned();
            match kind.as_str() {
                "UPDATE" => {
                    let status = &event["update"]["status"];
                    if status["task_id"]["value"] == mark.as_str() {
                        return events;
                    }
                    let text = |name: &str| status[name].as_str().unwrap_or("-").to_owned();
                    let id = shortened(status["task_id"]["value"].as_str().expect("an id"));
                    events.push(format!("{id} {} {}: {}", text("state"), text("reason"), text("message")));
                }
                "UPDATE_OPERATION_STATUS" => {
                    let status = &event["update_operation_status"]["status"];
                    let text = |name: &str| status[name].as_str().unwrap_or("-").to_owned();
                    let id = status["operation_id"]["value"].as_str().expect("an id");
                    events.push(format!("{} {}: {}", shortened(id), text("state"), text("message")));
                }
                "OFFERS" => self.note_offers(&event),
                _ => {
                    events.push(format!("{kind} {}", event["error"]["message"].as_str().unwrap_or_default()))
                }
            }
        }
    }
}

/// A master, and a framework beside the ones that are tried.
async fn with_neighbour() -> (MasterHandle, Neighbour) {
    transport::open_files::raise_limit();
    let master = master().await;
    let neighbour = Neighbour::start(&master).await;
    (master, neighbour)
}

/// Posts a body as a call, and returns status and text.
async fn posted(address: SocketAddr, body: &Value) -> String {
    let answer = post_json(address, "/api/v1/scheduler", body, None).await;
    let status = answer.status;
    format!("{status} {}\n", shortened(&answer.text().await))
}
