//! What a Pod's status would be on a machine that runs nothing: for load tests, whose machines report as real ones do.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// What is read of a Pod.
#[derive(Deserialize)]
struct Pod {
    #[serde(default)]
    metadata: Metadata,
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    uid: String,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    name: String,
    #[serde(default)]
    image: String,
}

/// The data of a status update for the Pod in `pod` (the task's data), on a machine with this address. `running` is false
/// while the Pod starts. Empty where the task carries no Pod.
pub fn status_data(pod: &[u8], host_ip: &str, running: bool) -> Bytes {
    let Ok(pod) = serde_json::from_slice::<Pod>(pod) else { return Bytes::new() };
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let containers = pod.spec.containers.iter().map(|container| container_status(container, running, &now));
    let mut status = json!({
        "phase": if running { "Running" } else { "Pending" },
        "conditions": conditions(running, &now),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": now,
        "containerStatuses": containers.collect::<Vec<Value>>(),
    });
    if running {
        let address = pod_address(&pod.metadata.uid);
        status["podIP"] = json!(address);
        status["podIPs"] = json!([{"ip": address}]);
    }
    Bytes::from(json!({"status": status}).to_string())
}

fn container_status(container: &Container, running: bool, now: &str) -> Value {
    let Container { name, image } = container;
    let state = match running {
        true => json!({"running": {"startedAt": now}}),
        false => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    let mut status = json!({
        "name": name,
        "image": image,
        "imageID": if running { image.as_str() } else { "" },
        "ready": running,
        "started": running,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    });
    if running {
        status["containerID"] = json!(format!("hollow://{name}"));
    }
    status
}
fn conditions(running: bool, now: &str) -> Value {
    let condition = |kind: &str, holds: bool| {
        let status = if holds { "True" } else { "False" };
        let mut condition =
            json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now});
        if !holds {
            condition["reason"] = json!("ContainersNotReady");
        }
        condition
    };
    json!([
        condition("PodReadyToStartContainers", running),
        condition("Initialized", true),
        condition("Ready", running),
        condition("ContainersReady", running),
    ])
}

/// An address that depends on the Pod alone; nothing answers there.
fn pod_address(uid: &str) -> String {
    let digest =
        uid.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [_, a, b, c] = digest.to_be_bytes();
    format!("10.{a}.{b}.{}", c.clamp(1, 254))
}

#[cfg(test)]
mod tests {
    //! Tests of the made-up status.

    use super::status_data;

    #[test]
    fn a_pod_runs_on_paper() {
        let pod = br#"{"metadata":{"uid":"u"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
        let data: serde_json::Value = serde_json::from_slice(&status_data(pod, "127.0.0.1", true)).unwrap();
        assert_eq!(data["status"]["phase"], "Running");
        assert_eq!(data["status"]["containerStatuses"][0]["ready"], true);
        assert!(status_data(b"no pod", "127.0.0.1", true).is_empty());
    }
}
