//! Nodes projected from agents.

use std::sync::Arc;

use expect_test::expect;
use kernel_model::{
    agent::AgentInfo,
    ids::AgentId,
    resources::{Attribute, AttributeValue, Resource, Scalar},
    time::Time,
};

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
        activation: Default::default(),
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

/// What validates Nodes.
fn strategy() -> std::sync::Arc<dyn crate::kinds::Strategy> {
    let all = crate::definition::builtin();
    let nodes = all.iter().find(|resource| resource.plural == "nodes" && resource.group.is_empty());
    crate::kinds::builtin(nodes.unwrap())
}

/// Capacity, allocatable and annotation of revocable CPUs, on an agent with them of which another framework holds some.
fn revocable(all: &str, held: &str) -> [Option<String>; 3] {
    let cpus = |text: &str| -> Resources {
        let cpus: Resources = text.parse().unwrap();
        cpus.iter().map(|r| Resource { revocable: true, ..r.clone() }).collect()
    };
    let mut agent = agent(&[]);
    agent.total =
        "cpus:1.5;mem:0.001;disk:9e15;gpus:0.5;foo:1.5;a b:2.7;example.com/x:1.999".parse().unwrap();
    agent.total += &cpus(all);
    agent.allocated = vec![(FrameworkId::from("spark"), cpus(held))];
    let mut node = node(&agent);
    assert!(!project(&mut node, &agent, Some(&FrameworkId::from("ours")), ReportedByNode::default(), 200));
    let errors = strategy().validate_status_update(&node, &node);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(node["status"]["capacity"]["catamaran.dev/foo"], "1");
    assert_eq!(node["status"]["allocatable"]["example.com/x"], "1");
    let of = |list: &Value| list.get(REVOCABLE_CPU_OF_NODE).and_then(Value::as_str).map(str::to_owned);
    let (status, annotations) = (&node["status"], &node["metadata"]["annotations"]);
    [of(&status["capacity"]), of(&status["allocatable"]), of(annotations)]
}

#[test]
fn nodes_show_whole_extended_resources_whatever_amounts_agents_report() {
    let table = [
        ("cpus:4", "cpus:1", [Some("4"), Some("3"), Some("3")]),
        ("cpus:1.5", "", [Some("1"), Some("1"), Some("1500m")]),
        ("cpus:1.501", "cpus:0.6", [Some("1"), None, Some("901m")]),
        ("cpus:0.999", "", [None, None, Some("999m")]),
        ("cpus:1", "cpus:1", [Some("1"), None, None]),
        ("cpus:1", "cpus:1.501", [Some("1"), None, None]),
        ("", "", [None, None, None]),
        ("cpus:9e15", "", [Some("9000000000000000"), Some("9000000000000000"), Some("9P")]),
    ];
    for (all, held, expected) in table {
        assert_eq!(revocable(all, held), expected.map(|amount| amount.map(str::to_owned)), "{all} {held}");
    }
}

#[test]
fn the_annotation_of_revocable_cpus_goes_with_them() {
    let mut agent = agent(&[]);
    agent.total.add(Resource { revocable: true, ..Resource::scalar("cpus", Scalar(1500)) });
    let mut node = node(&agent);
    assert_eq!(node["metadata"]["annotations"][REVOCABLE_CPU_OF_NODE], "1500m");
    agent.total = agent.info.resources.clone();
    assert!(project(&mut node, &agent, None, ReportedByNode::default(), 200));
    assert!(node["metadata"]["annotations"].get(REVOCABLE_CPU_OF_NODE).is_none());
}

#[test]
fn attributes_that_cannot_be_labels_or_taints_are_left_out() {
    let taints = "a b:NoSchedule,c=d e:NoExecute,/x:NoSchedule,ok=1:NoExecute,ok=2:NoExecute";
    let node =
        node(&agent(&[("a b", "1"), ("/x", "1"), ("a/b/c", "1"), ("ok", "1"), (TAINTS_ATTRIBUTE, taints)]));
    let errors = strategy().validate_create(&node);
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(node["spec"]["taints"], json!([{"key": "ok", "value": "1", "effect": "NoExecute"}]));
    let labels = node["metadata"]["labels"].as_object().unwrap();
    let odd: Vec<&String> = labels.keys().filter(|key| !names::qualified(key).is_empty()).collect();
    assert!(odd.is_empty() && labels["attribute.catamaran.dev/ok"] == "1", "{labels:?}");
}

#[test]
fn attributes_become_labels() {
    let mut agent =
        agent(&[("zone", "a"), ("rack", "7"), ("example.com/disk", "ssd"), ("note", "not a label value!")]);
    let typed = [("generation", "2.5"), ("slots", "[1-4]")];
    let typed = typed
        .map(|(name, text)| Attribute { name: name.into(), value: AttributeValue::parse(text).unwrap() });
    Arc::make_mut(&mut agent.info).attributes.extend(typed);
    expect![[r#"
        {
            "attribute.catamaran.dev/generation": "2.5",
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

#[test]
fn resources_that_clients_declare_stay_until_the_agent_is_another() {
    let mut agent = agent(&[]);
    agent.total += &"example.com/own:3".parse::<Resources>().unwrap();
    let mut node = node(&agent);
    for member in ["capacity", "allocatable"] {
        for (name, amount) in
            [("example.com/device", "5"), ("example.com/own", "9"), ("catamaran.dev/x", "1")]
        {
            node["status"][member][name] = json!(amount);
        }
    }
    node["status"]["allocatable"]["example.com/device"] = json!("4");
    let again = |node: &mut Value, agent: &AgentSnapshot| {
        project(node, agent, Some(&FrameworkId::from("ours")), ReportedByNode::default(), 100);
    };
    again(&mut node, &agent);
    let shown = |node: &Value, name: &str| {
        ["capacity", "allocatable"].map(|member| node["status"][member][name].as_str().map(str::to_owned))
    };
    assert_eq!(shown(&node, "example.com/device"), [Some("5".to_owned()), Some("5".to_owned())]);
    assert_eq!(shown(&node, "example.com/own"), [Some("3".to_owned()), Some("3".to_owned())]);
    assert_eq!(shown(&node, "catamaran.dev/x"), [None, None]);
    let mut info = AgentInfo::clone(&agent.info);
    info.id = Some(AgentId::from("S1"));
    agent.info = info.into();
    again(&mut node, &agent);
    assert_eq!(shown(&node, "example.com/device"), [None, None]);
}
