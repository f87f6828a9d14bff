//! Simulated Pod statuses for load tests: nodes that run nothing report as real ones do.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The fields of a Pod that a status needs.
#[derive(Deserialize)]
pub struct SimulatedPod<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: Spec<'a>,
}

#[derive(Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Spec<'a> {
    #[serde(borrow, default)]
    containers: Vec<Container<'a>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    image: Cow<'a, str>,
}

impl<'a> SimulatedPod<'a> {
    /// Decodes the Pod in a task's data.
    pub fn read(pod: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(pod)
    }

    /// The data of a status update on a node with this address. `running` is false while the Pod starts.
    pub fn status_data(&self, host_ip: &str, running: bool) -> Bytes {
        // Whole seconds are printed without a fraction, as in Kubernetes.
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default().to_string();
        let address = pod_address(&self.metadata.uid);
        let address = running.then_some(address.as_str());
        let ip = |ip| Address { ip };
        let containers = self.spec.containers.iter();
        let status = Status {
            phase: if running { "Running" } else { "Pending" },
            conditions: conditions(running, &now),
            container_statuses: containers.map(|c| container_status(c, running, &now)).collect(),
            host_ip,
            host_ips: [ip(host_ip)],
            pod_ip: address,
            pod_ips: address.map(|address| [ip(address)]),
            start_time: &now,
        };
        serde_json::to_vec(&Data { status }).expect("a status has only string keys").into()
    }
}

#[derive(Serialize)]
struct Data<'a> {
    status: Status<'a>,
}

/// A status with its members in alphabetical order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    conditions: [Condition<'a>; 4],
    container_statuses: Vec<ContainerStatus<'a>>,
    #[serde(rename = "hostIP")]
    host_ip: &'a str,
    #[serde(rename = "hostIPs")]
    host_ips: [Address<'a>; 1],
    phase: &'a str,
    #[serde(rename = "podIP", skip_serializing_if = "Option::is_none")]
    pod_ip: Option<&'a str>,
    #[serde(rename = "podIPs", skip_serializing_if = "Option::is_none")]
    pod_ips: Option<[Address<'a>; 1]>,
    start_time: &'a str,
}

#[derive(Serialize)]
struct Address<'a> {
    ip: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Condition<'a> {
    last_probe_time: Option<&'a str>,
    last_transition_time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    status: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus<'a> {
    #[serde(rename = "containerID", skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
    image: &'a str,
    #[serde(rename = "imageID")]
    image_id: &'a str,
    last_state: Nothing,
    name: &'a str,
    ready: bool,
    restart_count: u32,
    started: bool,
    state: State<'a>,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum State<'a> {
    Running { started_at: &'a str },
    Waiting { reason: &'a str },
}

fn container_status<'a>(container: &'a Container<'_>, running: bool, now: &'a str) -> ContainerStatus<'a> {
    let Container { name, image } = container;
    ContainerStatus {
        container_id: running.then(|| format!("hollow://{name}")),
        image,
        image_id: if running { image } else { "" },
        last_state: Nothing {},
        name,
        ready: running,
        restart_count: 0,
        started: running,
        state: match running {
            true => State::Running { started_at: now },
            false => State::Waiting { reason: "ContainerCreating" },
        },
    }
}

fn conditions(running: bool, now: &str) -> [Condition<'_>; 4] {
    let condition = |kind, holds: bool| Condition {
        last_probe_time: None,
        last_transition_time: now,
        reason: (!holds).then_some("ContainersNotReady"),
        status: if holds { "True" } else { "False" },
        kind,
    };
    [
        condition("PodReadyToStartContainers", running),
        condition("Initialized", true),
        condition("Ready", running),
        condition("ContainersReady", running),
    ]
}

/// A fake address that depends on the Pod's UID alone.
fn pod_address(uid: &str) -> String {
    let digest =
        uid.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [_, a, b, c] = digest.to_be_bytes();
    format!("10.{a}.{b}.{}", c.clamp(1, 254))
}

#[cfg(test)]
mod tests {

    use super::SimulatedPod;

    #[test]
    fn a_simulated_pod_runs() {
        let pod = br#"{"metadata":{"uid":"u"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
        let data = SimulatedPod::read(pod).unwrap().status_data("127.0.0.1", true);
        let decoded: serde_json::Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(decoded["status"]["phase"], "Running");
        assert_eq!(decoded["status"]["containerStatuses"][0]["ready"], true);
        assert!(decoded["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].is_string());
        assert_eq!(decoded.to_string().as_bytes(), data, "members are in order");
        assert!(SimulatedPod::read(b"no pod").is_err());
    }
}
