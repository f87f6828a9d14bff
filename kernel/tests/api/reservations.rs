//! Dynamic reservations through the HTTP APIs: by a framework on its offer, and by operators in both versions.

use kernel_model::resources::{Resource, Scalar};
use serde_json::{Value, json};

use crate::{
    client::{get, post_json, send},
    fake_agent, master,
};

/// CPUs with a dynamic reservation, in the form before reservation refinement.
fn cpus(amount: f64, role: &str, principal: &str) -> Value {
    json!({
        "name": "cpus", "type": "SCALAR", "scalar": {"value": amount},
        "role": role, "reservation": {"principal": principal},
    })
}

#[tokio::test]
async fn frameworks_and_operators_reserve() {
    let master = master().await;
    let address = master.mesos_address();
    let mut agent = fake_agent::start(master.attach_agent(), "one").await;
    let reserved = async || {
        let slaves: Value = serde_json::from_str(&get(address, "/slaves").await.text().await).expect("JSON");
        slaves["slaves"][0]["reserved_resources"].clone()
    };
    let info = json!({"user": "u", "name": "n", "role": "eng", "principal": "test"});
    let call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
    let mut events = post_json(address, "/api/v1/scheduler", &call, None).await;
    let stream = events.header("mesos-stream-id").expect("a stream id").to_owned();
    let subscribed = events.event_of("SUBSCRIBED").await;
    let offer = events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    let accept = |offer: &Value, operations: Value| {
        let framework_id = &subscribed["subscribed"]["framework_id"];
        let accept = json!({"offer_ids": [offer["id"]], "operations": operations});
        json!({"type": "ACCEPT", "framework_id": framework_id, "accept": accept})
    };
    let reserve = json!([
        {"type": "RESERVE", "id": {"value": "op"}, "reserve": {"resources": [cpus(1.0, "*", "test")]}},
        {"type": "RESERVE", "reserve": {"resources": [cpus(1.0, "eng", "test")]}},
    ]);
    let call = accept(&offer, reserve);
    assert_eq!(post_json(address, "/api/v1/scheduler", &call, Some(&stream)).await.status, 202);
    let failed = events.event_of("UPDATE_OPERATION_STATUS").await;
    assert_eq!(failed["update_operation_status"]["status"]["state"], "OPERATION_ERROR", "{failed}");
    let message = fake_agent::next_message(&mut agent, |message| match message {
        kernel_model::agent::ToAgent::CheckpointResources { resources, .. } => Some(resources.to_string()),
        _ => None,
    })
    .await;
    assert_eq!(message, "cpus(reservations: [(DYNAMIC,eng,test)]):1");
    let offer = events.event_of("OFFERS").await["offers"]["offers"][0].clone();
    let own = offer["resources"].as_array().expect("a list").iter().find(|r| r["role"] == "eng");
    assert_eq!(own.expect("a reserved resource")["reservation"]["principal"], "test", "{offer}");
    assert_eq!(reserved().await["eng"]["cpus"], 1.0);

    // An operator takes what is offered, and cannot take what there is not.
    let agent_id = offer["agent_id"]["value"].as_str().expect("an id").to_owned();
    let v1 = async |kind: &str, resources: Value| {
        let part = json!({"agent_id": {"value": agent_id}, "resources": resources});
        let call = json!({"type": kind, kind.to_lowercase(): part});
        let answer = post_json(address, "/api/v1", &call, None).await;
        (answer.status, answer.text().await)
    };
    assert_eq!(v1("RESERVE_RESOURCES", json!([cpus(2.0, "ops", "test")])).await, (202, String::new()));
    assert_eq!(reserved().await["ops"]["cpus"], 2.0);
    let (status, why) = v1("RESERVE_RESOURCES", json!([cpus(2.0, "ops", "test")])).await;
    assert_eq!((status, why.ends_with("does not contain cpus:2")), (409, true), "{why}");
    let (status, why) = v1("RESERVE_RESOURCES", json!([cpus(1.0, "ops", "other")])).await;
    assert_eq!((status, why.starts_with("Invalid RESERVE operation on agent ")), (400, true), "{why}");
    assert_eq!(v1("RESERVE_RESOURCES", json!([])).await.0, 400);
    let body = |resources: Value| format!("slaveId={agent_id}&resources={resources}");
    let form = async |path: &str, body: String| {
        let answer = send(address, &format!("POST {path} HTTP/1.1"), body.as_bytes()).await;
        (answer.status, answer.text().await)
    };
    assert_eq!(form("/unreserve", body(json!([cpus(2.0, "ops", "test")]))).await, (202, String::new()));
    assert_eq!(form("/master/reserve", body(json!([cpus(0.5, "ops", "test")]))).await, (202, String::new()));
    let missing = "Missing 'resources' query parameter in the request body".to_owned();
    assert_eq!(form("/reserve", format!("slaveId={agent_id}")).await, (400, missing));
    let (status, why) = form("/reserve", format!("slaveId={agent_id}&resources=x")).await;
    let parsing = "Error parsing 'resources' query parameter in the request body: ";
    assert_eq!((status, why.starts_with(parsing)), (400, true), "{why}");
    let unknown = format!("slaveId=none&resources={}", json!([cpus(0.5, "ops", "test")]));
    assert_eq!(form("/reserve", unknown).await, (400, "No agent found with specified ID".to_owned()));
    let (old, new) = (cpus(0.5, "ops", "test"), cpus(0.5, "eng", "test"));
    let part = json!({"agent_id": {"value": agent_id}, "source": [old], "resources": [new]});
    let change = json!({"type": "RESERVE_RESOURCES", "reserve_resources": part});
    assert_eq!(post_json(address, "/api/v1", &change, None).await.status, 202);
    assert_eq!(reserved().await, json!({"eng": {"cpus": 1.5, "disk": 0.0, "gpus": 0.0, "mem": 0.0}}));
    let source = format!("{}&source={}", body(json!([old])), json!([new]));
    assert_eq!(form("/reserve", source).await, (202, String::new()));
    assert_eq!(reserved().await, json!({"eng": reserved().await["eng"], "ops": reserved().await["ops"]}));
    assert_eq!(reserved().await["ops"]["cpus"], 0.5);
}

#[tokio::test]
async fn operators_create_and_destroy_volumes() {
    let master = master().await;
    let address = master.mesos_address();
    let mut info = fake_agent::info("one");
    info.resources.add(Resource::scalar("disk", Scalar::from_units(1000)));
    let mut agent = fake_agent::start_as(master.attach_agent(), info).await;
    let slaves: Value = serde_json::from_str(&get(address, "/slaves").await.text().await).expect("JSON");
    let agent_id = slaves["slaves"][0]["id"].as_str().expect("an id").to_owned();
    let disk = json!({
        "name": "disk", "type": "SCALAR", "scalar": {"value": 64},
        "reservations": [{"type": "DYNAMIC", "role": "eng", "principal": "test"}],
    });
    let volume = |id: &str| {
        let mut volume = disk.clone();
        volume["disk"] = json!({
            "persistence": {"id": id, "principal": "test"},
            "volume": {"container_path": "data", "mode": "RW"},
        });
        volume
    };
    let v1 = async |kind: &str, field: &str, resources: Value| {
        let part = json!({"agent_id": {"value": agent_id}, field: resources});
        let call = json!({"type": kind, kind.to_lowercase(): part});
        let answer = post_json(address, "/api/v1", &call, None).await;
        (answer.status, answer.text().await)
    };
    let accepted = (202, String::new());
    assert_eq!(v1("RESERVE_RESOURCES", "resources", json!([disk])).await, accepted);
    assert_eq!(v1("CREATE_VOLUMES", "volumes", json!([volume("v")])).await, accepted);
    let (status, why) = v1("CREATE_VOLUMES", "volumes", json!([volume("v")])).await;
    assert_eq!((status, why.ends_with("Persistence ID 'v' is not unique")), (400, true), "{why}");
    let (status, why) = v1("CREATE_VOLUMES", "volumes", json!([disk])).await;
    assert_eq!((status, why.ends_with("does not have DiskInfo")), (400, true), "{why}");
    let shown = fake_agent::next_message(&mut agent, |message| match message {
        kernel_model::agent::ToAgent::CheckpointResources { resources, applied, .. }
            if applied.count == 2 =>
        {
            Some(resources.to_string())
        }
        _ => None,
    });
    assert_eq!(shown.await, "disk(reservations: [(DYNAMIC,eng,test)])[v:data]:64");
    let form = async |path: &str, volumes: Value| {
        let body = format!("slaveId={agent_id}&volumes={volumes}");
        let answer = send(address, &format!("POST {path} HTTP/1.1"), body.as_bytes()).await;
        (answer.status, answer.text().await)
    };
    let (status, why) = form("/destroy-volumes", json!([volume("w")])).await;
    assert_eq!((status, why.ends_with("Persistent volumes not found")), (400, true), "{why}");
    assert_eq!(v1("UNRESERVE_RESOURCES", "resources", json!([disk])).await.0, 409);
    assert_eq!(form("/destroy-volumes", json!([volume("v")])).await, accepted);
    assert_eq!(form("/master/create-volumes", json!([volume("w")])).await, accepted);
    assert_eq!(v1("DESTROY_VOLUMES", "volumes", json!([volume("w")])).await, accepted);
    assert_eq!(v1("UNRESERVE_RESOURCES", "resources", json!([disk])).await, accepted);
    let missing =
        send(address, "POST /create-volumes HTTP/1.1", format!("slaveId={agent_id}").as_bytes()).await;
    assert_eq!(missing.text().await, "Missing 'volumes' query parameter in the request body");
}
