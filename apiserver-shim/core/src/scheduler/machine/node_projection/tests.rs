//! Nodes projected from agents.

use expect_test::expect;
use kernel_model::{agent::AgentInfo, ids::AgentId, resources::Attribute, time::Time};

use super::*;

fn agent(attributes: &[(&str, &str)]) -> AgentSnapshot {
    let total: Resources = "cpus:4;mem:8192;disk:1024;gpus:1".parse().unwrap();
    AgentSnapshot {
        info: AgentInfo {
            id: Some(AgentId::from("S0")),
            hostname: "box".to_owned(),
            ip: "10.1.2.3".to_owned(),
            port: 5051,
            resources: total.clone(),
            attributes: attributes.iter().map(|(n, v)| Attribute::text(*n, *v)).collect(),
            runs_images: false,
            operations: Default::default(),
        }
        .into(),
        state: AgentState::Connected,
        registered_at: Time(0),
        reregistered_at: None,
        total,
        allocated: vec![],
        offered: Resources::new(),
    }
}

fn node(agent: &AgentSnapshot) -> Value {
    let mut node = new_node(agent, Some("10.244.0.0/24"));
    project(&mut node, agent, Some(&FrameworkId::from("ours")), ReportedByNode::default(), 100);
    node
}

#[test]
fn allocatable_is_capacity_without_what_others_hold() {
    let mut agent = agent(&[]);
    agent.allocated = vec![
        (FrameworkId::from("ours"), "cpus:1;mem:1024".parse().unwrap()),
        (FrameworkId::from("spark"), "cpus:2.5;mem:4096".parse().unwrap()),
    ];
    let node = node(&agent);
    expect![[r#"{"catamaran.dev/gpu":"1","cpu":"4","ephemeral-storage":"1Gi","memory":"8Gi","pods":"110"}"#]]
        .assert_eq(&node["status"]["capacity"].to_string());
    expect![[
        r#"{"catamaran.dev/gpu":"1","cpu":"1400m","ephemeral-storage":"1Gi","memory":"4032Mi","pods":"110"}"#
    ]]
    .assert_eq(&node["status"]["allocatable"].to_string());
}

#[test]
fn attributes_become_labels() {
    let agent =
        agent(&[("zone", "a"), ("rack", "7"), ("example.com/disk", "ssd"), ("note", "not a label value!")]);
    expect![[r#"
        {
            "attribute.catamaran.dev/rack": "7",
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "example.com/disk": "ssd",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": "box",
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": "a",
        }
    "#]]
    .assert_debug_eq(&labels(&AgentSnapshot { state: AgentState::Connected, ..agent }));
}

#[test]
fn projection_is_idempotent_and_independent_of_time() {
    let agent = agent(&[]);
    let mut node = node(&agent);
    assert!(!project(&mut node, &agent, Some(&FrameworkId::from("ours")), ReportedByNode::default(), 5_000));
}

#[test]
fn conditions_follow_the_agent() {
    let ready = |agent: &AgentSnapshot| {
        let node = node(agent);
        let ready = condition(&node["status"], "Ready").cloned().unwrap_or(Value::Null);
        format!("{} {} {}", ready["status"], ready["reason"], ready["message"])
    };
    let mut there = agent(&[]);
    expect![[r#""True" "KubeletReady" "kubelet is posting ready status""#]].assert_eq(&ready(&there));
    there.state = AgentState::Stopping;
    expect![[r#""False" "KubeletNotReady" "node is shutting down""#]].assert_eq(&ready(&there));
    there.state = AgentState::Unreachable;
    expect![[r#""Unknown" "NodeStatusUnknown" "Kubelet stopped posting node status.""#]]
        .assert_eq(&ready(&there));
    there.state = AgentState::Recovered;
    expect!["null null null"].assert_eq(&ready(&there));
    expect![[r#""False" "ContainerRuntimeMissing" "containers cannot run: apt-get install containerd runc (on Debian), then restart the agent""#]]
        .assert_eq(&ready(&agent(&[(RUNTIME_ATTRIBUTE, "containerd runc")])));
}

#[test]
fn a_node_without_a_pod_cidr_is_not_ready() {
    let agent = agent(&[]);
    let mut node = new_node(&agent, None);
    project(&mut node, &agent, None, ReportedByNode::default(), 100);
    let ready = condition(&node["status"], "Ready").cloned().unwrap_or(Value::Null);
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("KubeletNotReady")));
    set_pod_cidr(&mut node, "10.244.0.0/24");
    project(&mut node, &agent, None, ReportedByNode::default(), 200);
    let ready = condition(&node["status"], "Ready").cloned().unwrap_or(Value::Null);
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("True"), &json!("KubeletReady")));
}

#[test]
fn the_kubelet_port_is_the_reported_one_and_stays_while_it_is_unknown() {
    let agent = agent(&[]);
    let mut node = node(&agent);
    assert!(node["status"].get("daemonEndpoints").is_none());
    assert!(project(&mut node, &agent, None, port(34567), 200));
    expect![[r#"{"kubeletEndpoint":{"Port":34567}}"#]]
        .assert_eq(&node["status"]["daemonEndpoints"].to_string());
    assert!(!project(&mut node, &agent, None, ReportedByNode::default(), 300));
    assert!(project(&mut node, &agent, None, port(10250), 400));
}

fn port(port: u16) -> ReportedByNode {
    ReportedByNode { kubelet_port: Some(port), ..Default::default() }
}

#[test]
fn disk_pressure_is_the_reported_one_and_stays_while_it_is_unknown() {
    let agent = agent(&[]);
    let mut node = new_node(&agent, None);
    let mut shown = |disk_pressure| {
        let reported = ReportedByNode { disk_pressure, ..Default::default() };
        project(&mut node, &agent, None, reported, 100);
        let condition = condition(&node["status"], "DiskPressure").unwrap();
        (access::text(condition, &["status"]).to_owned(), access::text(condition, &["reason"]).to_owned())
    };
    let (no, yes) = (("False", "KubeletHasNoDiskPressure"), ("True", "KubeletHasDiskPressure"));
    for (reported, expected) in [(None, no), (Some(true), yes), (None, yes), (Some(false), no)] {
        assert_eq!(shown(reported), (expected.0.to_owned(), expected.1.to_owned()), "{reported:?}");
    }
}

#[test]
fn an_agent_registers_with_taints_and_roles() {
    let attributes = [
        (TAINTS_ATTRIBUTE, "catamaran.dev/hollow=true:NoSchedule,a/b:NoExecute,nonsense,c:Sometimes"),
        ("node-role.kubernetes.io/control-plane", "true"),
    ];
    let node = node(&agent(&attributes));
    let expected = json!([
        {"key": "catamaran.dev/hollow", "value": "true", "effect": "NoSchedule"},
        {"key": "a/b", "effect": "NoExecute"},
    ]);
    assert_eq!(node["spec"]["taints"], expected);
    assert_eq!(node["metadata"]["labels"]["node-role.kubernetes.io/control-plane"], "true");
    assert_eq!(node["metadata"]["labels"].get(TAINTS_ATTRIBUTE), None);
}
