//! What a Pod's status would be on a machine that runs nothing: for load tests, whose machines report as real ones do.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

/// The data of a status update for the Pod in `pod` (the task's data), on a machine with this address. `running` is false
/// while the Pod starts. Empty where the task carries no Pod.
pub fn status_data(pod: &[u8], host_ip: &str, running: bool) -> Bytes {
    let Ok(pod) = serde_json::from_slice::<Value>(pod) else { return Bytes::new() };
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let address = pod_address(pod["metadata"]["uid"].as_str().unwrap_or_default());
    let containers: Vec<Value> = pod["spec"]["containers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .map(|container| container_status(container, running, &now))
        .collect();
    let mut status = json!({
        "phase": if running { "Running" } else { "Pending" },
        "conditions": conditions(running, &now),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "startTime": now,
        "containerStatuses": containers,
    });
    if running {
        status["podIP"] = json!(address);
        status["podIPs"] = json!([{"ip": address}]);
    }
    Bytes::from(json!({"status": status}).to_string())
}

fn container_status(container: &Value, running: bool, now: &str) -> Value {
    let state = match running {
        true => json!({"running": {"startedAt": now}}),
        false => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    let mut status = json!({
        "name": container["name"],
        "image": container["image"],
        "imageID": if running { container["image"].clone() } else { json!("") },
        "ready": running,
        "started": running,
        "restartCount": 0,
        "state": state,
        "lastState": {},
    });
    if running {
        status["containerID"] = json!(format!("hollow://{}", container["name"].as_str().unwrap_or_default()));
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
