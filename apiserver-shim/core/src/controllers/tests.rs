//! INV-52 for every controller: reconciling the state that a plan leads to plans nothing. Where a plan is one step of several
//! (deletions that wait for others), no action is planned twice in a row, and the steps end. Deployments with their
//! ReplicaSets have their test in `deployment/tests.rs` (`converges_from_any_state`), the garbage collector in
//! `garbage_collector/tests.rs`.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::*;
use crate::{
    rows::{Seconds, rfc3339},
    testing::{TestCluster, pod},
};

#[path = "tests/pod_counter.rs"]
mod pod_counter;

pub(super) const NOW: Seconds = 10_000;

/// Deletes an object as the pipeline does: one with finalizers or a grace period is only marked.
pub(super) fn apply(cluster: &mut TestCluster, plan: &Plan) {
    for action in &plan.actions {
        match action {
            Action::Delete { target, propagation, grace_seconds } => {
                delete(cluster, target, *propagation, *grace_seconds);
            }
            other => cluster.apply(&Plan { actions: vec![other.clone()], ..Plan::default() }),
        }
    }
    let over = |object: &Value| {
        access::get(object, &["metadata", "deletionTimestamp"]).is_some()
            && access::list(object, &["metadata", "finalizers"]).is_empty()
            && access::list(object, &["spec", "finalizers"]).is_empty()
            && access::int(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
    };
    cluster.objects.retain(|_, object| !over(object));
}

fn delete(cluster: &mut TestCluster, target: &Target, propagation: Propagation, grace: Option<i64>) {
    let now = rfc3339(cluster.now);
    let Some(object) = cluster.find(target) else { return };
    assert_eq!(access::text(object, &["metadata", "uid"]), target.uid);
    let runs =
        target.resource.resource() == "pods" && !access::text(object, &["spec", "nodeName"]).is_empty();
    let grace = if runs { grace.unwrap_or(30) } else { 0 };
    let finalizer = match propagation {
        Propagation::Background => None,
        Propagation::Foreground => Some(garbage_collector::FOREGROUND),
        Propagation::Orphan => Some(garbage_collector::ORPHAN),
    };
    let meta = access::object_mut(object, &["metadata"]);
    meta.insert("deletionTimestamp".into(), json!(now));
    meta.insert("deletionGracePeriodSeconds".into(), json!(grace));
    let held = meta.entry("finalizers").or_insert_with(|| json!([]));
    let held = held.as_array_mut().unwrap();
    if let Some(finalizer) = finalizer.filter(|f| !held.iter().any(|h| h == f)) {
        held.push(json!(finalizer));
    }
}

fn texts(plan: &Plan) -> BTreeSet<String> {
    let text = |action: &Action| match action {
        Action::Create { resource, object, .. } => format!("create {} {object}", resource.resource()),
        Action::Change { target, changes, .. } => {
            format!("change {} {}: {changes:?}", target.resource.resource(), target.key)
        }
        Action::Apply { target, configuration, .. } => {
            format!("apply {} {}: {configuration}", target.resource.resource(), target.key)
        }
        Action::Delete { target, propagation, .. } => {
            format!("delete {} {} {propagation:?}", target.resource.resource(), target.key)
        }
    };
    plan.actions.iter().map(text).collect()
}

/// Asserts that a single plan suffices.
fn once(cluster: &mut TestCluster, reconcile: impl Fn(&TestCluster) -> Plan) -> Result<(), TestCaseError> {
    let first = reconcile(cluster);
    apply(cluster, &first);
    let second = reconcile(cluster);
    prop_assert!(
        second.is_empty(),
        "after {:#?} a second reconcile plans {:#?}",
        texts(&first),
        texts(&second)
    );
    Ok(())
}

/// Asserts that the next plan repeats none of this plan's actions.
pub(super) fn advances(
    cluster: &mut TestCluster,
    reconcile: impl Fn(&TestCluster) -> Plan,
) -> Result<bool, TestCaseError> {
    let first = reconcile(cluster);
    apply(cluster, &first);
    let second = reconcile(cluster);
    let again: Vec<String> = texts(&first).intersection(&texts(&second)).cloned().collect();
    prop_assert!(again.is_empty(), "planned twice: {again:#?}");
    Ok(!first.is_empty())
}

// === Endpoints ===

#[derive(Debug, Clone)]
struct Behind {
    ip: bool,
    ready: bool,
    deleting: bool,
    ended: bool,
    named_port: bool,
}

fn behind() -> impl Strategy<Value = Behind> {
    any::<(bool, bool, bool, bool, bool)>().prop_map(|(ip, ready, deleting, ended, named_port)| Behind {
        ip,
        ready,
        deleting,
        ended: ended && !ready,
        named_port,
    })
}

fn add_behind(cluster: &mut TestCluster, at: usize, b: &Behind) {
    let mut pod = json!({
        "metadata": {"name": format!("p{at}"), "namespace": "ns", "labels": {"k": "v"}},
        "spec": {"nodeName": "n", "containers": [{"name": "c"}]},
        "status": {"phase": if b.ended { "Failed" } else { "Running" }},
    });
    if b.named_port {
        pod["spec"]["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 8080}]);
    }
    if b.ip {
        pod["status"]["podIP"] = json!(format!("10.0.0.{at}"));
    }
    if b.ready {
        pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    }
    if b.deleting {
        pod["metadata"]["deletionTimestamp"] = json!(rfc3339(NOW));
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    }
    cluster.add(served("", "pods"), pod);
}

/// Existing slices: the Pods and ports of each, and whether it is terminating.
type Before = Vec<(Vec<usize>, u8, bool)>;

fn add_before(cluster: &mut TestCluster, slices: &Before) {
    for (at, (pods, ports, deleting)) in slices.iter().enumerate() {
        let uids: BTreeSet<&usize> = pods.iter().collect();
        let endpoints: Vec<Value> = uids
            .iter()
            .map(|n| json!({"addresses": [format!("10.0.0.{n}")], "targetRef": {"uid": format!("uid-{:04}", **n + 2)}}))
            .collect();
        let mut slice = json!({
            "metadata": {"name": format!("s-{at}"), "namespace": "ns", "labels": {}},
            "addressType": "IPv4",
            "endpoints": endpoints,
        });
        match ports {
            0 => {}
            1 => slice["ports"] = json!([{"name": "", "port": 8080, "protocol": "TCP"}]),
            2 => slice["ports"] = json!([]),
            _ => slice["ports"] = json!([{"name": "", "port": 81, "protocol": "TCP"}]),
        }
        if *deleting {
            slice["metadata"]["deletionTimestamp"] = json!(rfc3339(NOW));
            slice["metadata"]["finalizers"] = json!(["example.com/held"]);
        }
        cluster.add(served("discovery.k8s.io", "endpointslices"), slice);
    }
}

// === Namespaces, Pods, Nodes ===

fn name(group: &'static str, plural: &'static str, namespace: &str, name: &str) -> ObjectName {
    ObjectName::new(served(group, plural), namespace, name)
}

fn reconcile_namespace(cluster: &TestCluster) -> Plan {
    cluster.reconcile(&namespace::NamespaceController, &name("", "namespaces", "", "ns"))
}

fn some_pod(node: bool, phase: &str, deleting: Option<i64>, held: bool) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "ns"},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    if node {
        pod["spec"]["nodeName"] = json!("n");
    }
    if held {
        pod["metadata"]["finalizers"] = json!(["example.com/held"]);
    }
    if let Some(grace) = deleting {
        pod["metadata"]["deletionTimestamp"] = json!(rfc3339(NOW));
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    }
    pod
}

fn taint() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        Just("node.kubernetes.io/not-ready"),
        Just("node.kubernetes.io/unreachable"),
        Just("node.kubernetes.io/unschedulable"),
        Just("example.com/own"),
    ];
    let effects = prop_oneof![Just("NoSchedule"), Just("NoExecute"), Just("PreferNoSchedule")];
    (keys, effects, any::<bool>()).prop_map(|(key, effect, dated)| {
        let mut taint = json!({"key": key, "effect": effect});
        if dated {
            taint["timeAdded"] = json!(rfc3339(NOW - 50));
        }
        taint
    })
}

fn node(ready: Option<&str>, cordoned: bool, taints: &[Value]) -> Value {
    let mut node = json!({"metadata": {"name": "n"}, "spec": {}, "status": {}});
    if let Some(ready) = ready {
        node["status"]["conditions"] = json!([{"type": "Ready", "status": ready}]);
    }
    if cordoned {
        node["spec"]["unschedulable"] = json!(true);
    }
    if !taints.is_empty() {
        node["spec"]["taints"] = json!(taints);
    }
    node
}

fn ready() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), Just(Some("True")), Just(Some("False")), Just(Some("Unknown"))]
}

fn reconcile_pod(cluster: &TestCluster) -> Plan {
    let name = name("", "pods", "ns", "p");
    let mut plan = cluster.reconcile(&node_lifecycle::NodeLifecycleController, &name);
    plan.actions.extend(cluster.reconcile(&taint_eviction::TaintEvictionController, &name).actions);
    plan
}

fn reconcile_lost(cluster: &TestCluster, missing_since: Option<Seconds>) -> Plan {
    let Some(value) = cluster.all("pods").first().copied() else { return Plan::default() };
    pod_gc::plan(&pod(value), missing_since, NOW)
}

/// A status that a node or a client may have written.
fn status() -> impl Strategy<Value = Value> {
    let phase = prop_oneof![Just("Pending"), Just("Running"), Just("Succeeded"), Just("Failed"), Just("")];
    let kind =
        prop_oneof![Just("PodScheduled"), Just("Ready"), Just("DisruptionTarget"), Just("Initialized")];
    let condition = (kind, any::<bool>())
        .prop_map(|(kind, yes)| json!({"type": kind, "status": if yes { "True" } else { "False" }}));
    (phase, proptest::collection::vec(condition, 0..4), any::<bool>()).prop_map(|(phase, conditions, qos)| {
        let mut status = json!({"conditions": conditions});
        if !phase.is_empty() {
            status["phase"] = json!(phase);
        }
        if qos {
            status["qosClass"] = json!("Burstable");
        }
        status
    })
}

/// Adding a controller takes one file (`tests/pod_counter.rs`) and one line in a list such as [`all`].
#[test]
fn a_made_up_controller_is_one_file_and_one_line() {
    let mut controllers = all(&ControllerConfig::default());
    controllers.push(Registration::new(pod_counter::PodCounter));
    let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
    cluster.add(served("", "namespaces"), json!({"metadata": {"name": "ns"}}));
    for expected in ["0", "1", "2"] {
        cluster.run(&controllers);
        assert_eq!(cluster.get("configmaps", "pod-count")["data"]["pods"], expected);
        cluster.add(served("", "pods"), some_pod(false, "Pending", None, false));
        let key = crate::rows::Key::new("ns", "p");
        let mut pod = cluster.objects.remove(&("pods".to_owned(), key)).unwrap();
        pod["metadata"]["name"] = json!(format!("p{expected}"));
        cluster
            .objects
            .insert(("pods".to_owned(), crate::rows::Key::new("ns", &format!("p{expected}"))), pod);
    }
    let names: BTreeSet<&str> = controllers.iter().map(|controller| controller.name).collect();
    assert_eq!(names.len(), controllers.len(), "names of controllers are distinct");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn second_reconcile_of_endpoints(
        pods in proptest::collection::vec(behind(), 0..6),
        before in proptest::collection::vec(
            (proptest::collection::vec(0usize..8, 0..4), 0u8..4, any::<bool>()), 0..4),
        headless in any::<bool>(), publish in any::<bool>(), named in any::<bool>(),
    ) {
        let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
        let target = if named { json!("http") } else { json!(8080) };
        let mut service = json!({
            "metadata": {"name": "s", "namespace": "ns", "labels": {"own": "label"}},
            "spec": {"selector": {"k": "v"}, "ports": [{"port": 80, "targetPort": target}],
                "publishNotReadyAddresses": publish},
        });
        if headless {
            service["spec"]["clusterIP"] = json!("None");
        }
        cluster.add(served("", "services"), service);
        pods.iter().enumerate().for_each(|(at, b)| add_behind(&mut cluster, at, b));
        add_before(&mut cluster, &before);
        once(&mut cluster, |cluster| cluster.reconcile_service("s"))?;
    }

    #[test]
    fn second_reconcile_of_namespaces(
        pods in proptest::collection::vec((any::<bool>(), proptest::option::of(0i64..31), any::<bool>()), 0..4),
        maps in proptest::collection::vec(any::<bool>(), 0..4),
        deleting in any::<bool>(),
    ) {
        let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
        let mut namespace = json!({
            "metadata": {"name": "ns"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
        });
        if deleting {
            namespace["metadata"]["deletionTimestamp"] = json!(rfc3339(NOW));
        }
        cluster.add(served("", "namespaces"), namespace);
        for (at, (node, grace, held)) in pods.iter().enumerate() {
            let mut pod = some_pod(*node, "Running", *grace, *held);
            pod["metadata"]["name"] = json!(format!("p{at}"));
            cluster.add(served("", "pods"), pod);
        }
        for held in maps {
            let finalizers = if held { json!(["example.com/held"]) } else { json!([]) };
            cluster.add(served("", "configmaps"),
                json!({"metadata": {"generateName": "m", "namespace": "ns", "finalizers": finalizers}}));
        }
        for _ in 0..10 {
            if !advances(&mut cluster, reconcile_namespace)? {
                return Ok(());
            }
        }
        prop_assert!(false, "does not come to an end");
    }

    #[test]
    fn second_reconcile_of_nodes(
        ready in ready(), cordoned in any::<bool>(), taints in proptest::collection::vec(taint(), 0..5),
    ) {
        let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
        cluster.add(served("", "nodes"), node(ready, cordoned, &taints));
        let name = name("", "nodes", "", "n");
        once(&mut cluster, |cluster| cluster.reconcile(&node_lifecycle::NodeLifecycleController, &name))?;
    }

    #[test]
    fn second_reconcile_of_pods_of_nodes(
        ready in ready(), taints in proptest::collection::vec(taint(), 0..4),
        seconds in proptest::option::of(0i64..100), phase in prop_oneof![Just("Running"), Just("Failed")],
        deleting in proptest::option::of(0i64..31), held in any::<bool>(),
    ) {
        let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
        cluster.add(served("", "nodes"), node(ready, false, &taints));
        let mut pod = some_pod(true, phase, deleting, held);
        if let Some(seconds) = seconds {
            pod["spec"]["tolerations"] = json!([{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
        }
        cluster.add(served("", "pods"), pod);
        once(&mut cluster, reconcile_pod)?;
    }

    #[test]
    fn second_reconcile_of_pods_without_a_node(
        node in any::<bool>(), gone in proptest::option::of(0i64..80), deleting in proptest::option::of(0i64..31),
        held in any::<bool>(), phase in prop_oneof![Just("Running"), Just("Failed")],
    ) {
        let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
        cluster.add(served("", "pods"), some_pod(node, phase, deleting, held));
        let gone = gone.map(|age| NOW - age);
        once(&mut cluster, |cluster| reconcile_lost(cluster, gone))?;
    }

    #[test]
    fn second_reconcile_of_what_every_namespace_has(
        account in any::<bool>(), data in proptest::option::of("[a-z]{0,3}"), deleting in any::<bool>(),
    ) {
        let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
        let mut namespace = json!({"metadata": {"name": "ns"}});
        if deleting {
            namespace["metadata"]["deletionTimestamp"] = json!(rfc3339(NOW));
        }
        cluster.add(served("", "namespaces"), namespace);
        if account {
            cluster.add(served("", "serviceaccounts"), json!({"metadata": {"name": "default", "namespace": "ns"}}));
        }
        if let Some(data) = data {
            cluster.add(served("", "configmaps"),
                json!({"metadata": {"name": root_ca::NAME, "namespace": "ns"}, "data": {"ca.crt": data, "own": "x"}}));
        }
        let key = name("", "namespaces", "", "ns");
        once(&mut cluster, |cluster| cluster.reconcile(&service_account::ServiceAccountController, &key))?;
        let publisher = root_ca::RootCaPublisher { ca_pem: "certificate".to_owned() };
        once(&mut cluster, |cluster| cluster.reconcile(&publisher, &key))?;
    }

    #[test]
    fn second_reconcile_of_old_events(ages in proptest::collection::vec(0i64..8000, 0..20)) {
        let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
        for age in ages {
            cluster.now = NOW - age;
            cluster.add(served("", "events"), json!({"metadata": {"generateName": "e", "namespace": "ns"}}));
        }
        once(&mut cluster, |cluster| {
            let headers: Vec<Header> = cluster.all("events").into_iter().map(Header::of).collect();
            Plan { actions: event_ttl::sweep(headers.iter(), NOW), ..Plan::default() }
        })?;
    }

    /// Merging a status twice changes nothing, and both implementations of merging agree.
    #[test]
    fn second_status_of_a_node(stored in status(), said in status()) {
        let once = pod_status::merge(&stored, &said);
        prop_assert_eq!(&pod_status::merge(&once, &said), &once);
        let encoded = pod_status::merge_encoded(stored.to_string().as_bytes(), said.to_string().as_bytes());
        if let Some(encoded) = encoded {
            prop_assert_eq!(serde_json::from_slice::<Value>(&encoded).unwrap(), once);
        }
    }
}
