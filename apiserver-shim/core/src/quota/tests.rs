//! Quotas: what is counted, by kind and scope, and what is refused.

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn quota(spec: Value, status: Value) -> Quota {
    Quota::decode(&json!({"metadata": {"name": "q"}, "spec": spec, "status": status}))
}

/// A quota whose spec has taken effect.
fn limits(hard: Value, used: Value) -> Quota {
    quota(json!({"hard": hard.clone()}), json!({"hard": hard, "used": used}))
}

fn pod(requests: Value, limits: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
}

fn ask(quotas: &[Quota], (group, plural): (&str, &str), object: &Value, old: Option<&Value>) -> String {
    let evaluator = Evaluator::of(group, plural).unwrap();
    let charged = charge(quotas, &Request { evaluator, subresource: "", object, old, now: 0 });
    match charged {
        Err(why) => why,
        Ok(charges) => charges
            .iter()
            .map(|charge| format!("{}: {}", charge.quota, charge.used.pretty()))
            .collect::<Vec<_>>()
            .join("; "),
    }
}

fn create(quotas: &[Quota], resource: (&str, &str), object: &Value) -> String {
    ask(quotas, resource, object, None)
}

const PODS: (&str, &str) = ("", "pods");

fn usages(cases: &[((&str, &str), Value)], expect: Expect) {
    let text = |((group, plural), object): &((&str, &str), Value)| {
        Evaluator::of(group, plural).map_or("not counted".to_owned(), |e| e.usage(object, 0).pretty())
    };
    expect.assert_eq(&cases.iter().map(text).collect::<Vec<_>>().join("\n"));
}

#[test]
fn what_objects_use() {
    let service = |spec: Value| (("", "services"), json!({"spec": spec}));
    let ports = json!([{"port": 1}, {"port": 2, "nodePort": 30_000}]);
    let claim = |spec: Value, status: Value| {
        (("", "persistentvolumeclaims"), json!({"spec": spec, "status": status}))
    };
    let storage = json!({"requests": {"storage": "1500m"}});
    let devices = json!({"spec": {"devices": {"requests": [
        {"name": "a", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}},
        {"name": "b", "firstAvailable": [
            {"deviceClassName": "gpu", "allocationMode": "All"},
            {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
            {"deviceClassName": "nic", "allocationMode": "ExactCount", "count": 3}]}]}}});
    usages(
        &[
            (
                PODS,
                pod(
                    json!({"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}),
                    json!({"cpu": "2", "memory": "2Gi", "ephemeral-storage": "3Gi"}),
                ),
            ),
            (
                PODS,
                pod(json!({"hugepages-2Mi": "4Mi", "example.com/gpu": "2"}), json!({"example.com/gpu": "2"})),
            ),
            (PODS, json!({"spec": {"containers": []}, "status": {"phase": "Failed"}})),
            service(json!({"type": "ClusterIP", "ports": ports.clone()})),
            service(json!({"type": "NodePort", "ports": ports.clone()})),
            service(json!({"type": "LoadBalancer", "ports": ports.clone()})),
            service(json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false})),
            claim(json!({"storageClassName": "gold", "resources": storage.clone()}), json!({})),
            claim(json!({"resources": storage}), json!({"allocatedResources": {"storage": "5Gi"}})),
            (("resource.k8s.io", "resourceclaims"), devices),
            (("", "secrets"), json!({})),
            (("apps", "deployments"), json!({})),
            (("example.com", "gadgets"), json!({})),
            (("", "events"), json!({})),
            (("authorization.k8s.io", "subjectaccessreviews"), json!({})),
        ],
        expect![[r#"
            count/pods=1,cpu=1,ephemeral-storage=1Gi,limits.cpu=2,limits.ephemeral-storage=3Gi,limits.memory=2Gi,memory=1Gi,pods=1,requests.cpu=1,requests.ephemeral-storage=1Gi,requests.memory=1Gi
            count/pods=1,hugepages-2Mi=4Mi,pods=1,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi
            count/pods=1
            count/services=1,services=1,services.loadbalancers=0,services.nodeports=0
            count/services=1,services=1,services.loadbalancers=0,services.nodeports=2
            count/services=1,services=1,services.loadbalancers=1,services.nodeports=2
            count/services=1,services=1,services.loadbalancers=1,services.nodeports=1
            count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2
            count/persistentvolumeclaims=1,persistentvolumeclaims=1,requests.storage=5Gi
            count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=34,nic.deviceclass.resource.k8s.io/devices=3
            count/secrets=1,secrets=1
            count/deployments.apps=1
            count/gadgets.example.com=1
            not counted
            not counted"#]],
    );
}

#[test]
fn a_quota_is_charged_until_it_is_exceeded() {
    let one = pod(json!({"cpu": "500m"}), json!({}));
    let hard = json!({"pods": "2", "requests.cpu": "1"});
    let at = |pods: &str, cpu: &str| [limits(hard.clone(), json!({"pods": pods, "requests.cpu": cpu}))];
    assert_eq!(create(&at("0", "0"), PODS, &one), "0: pods=1,requests.cpu=500m");
    assert_eq!(create(&at("1", "500m"), PODS, &one), "0: pods=2,requests.cpu=1");
    expect!["exceeded quota: q, requested: pods=1,requests.cpu=500m, used: pods=2,requests.cpu=1, limited: pods=2,requests.cpu=1"]
        .assert_eq(&create(&at("2", "1"), PODS, &one));
    expect![
        "exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"
    ]
    .assert_eq(&create(&at("1", "600m"), PODS, &one));
}

#[test]
fn containers_must_say_what_is_limited() {
    let quotas = |name: &str| {
        let (mut hard, mut used) = (json!({"pods": "9"}), json!({"pods": "0"}));
        (hard[name], used[name]) = (json!("1"), json!("0"));
        [limits(hard, used)]
    };
    let mut bare = pod(json!({"cpu": "1"}), json!({}));
    bare["spec"]["initContainers"] = json!([{"name": "i"}]);
    expect!["failed quota: q: must specify memory for: c,i"].assert_eq(&create(
        &quotas("memory"),
        PODS,
        &bare,
    ));
    expect!["failed quota: q: must specify limits.cpu for: c,i"].assert_eq(&create(
        &quotas("limits.cpu"),
        PODS,
        &bare,
    ));
    expect!["failed quota: q: must specify cpu for: i"].assert_eq(&create(&quotas("cpu"), PODS, &bare));
    expect!["0: limits.ephemeral-storage=0,pods=1"].assert_eq(&create(
        &quotas("limits.ephemeral-storage"),
        PODS,
        &bare,
    ));
    bare["spec"]["resources"] = json!({"requests": {"cpu": "1"}});
    expect!["0: cpu=1,pods=1"].assert_eq(&create(&quotas("cpu"), PODS, &bare));
}

#[test]
fn a_quota_without_usage_refuses_and_one_without_status_does_not_apply() {
    let one = pod(json!({}), json!({}));
    let unknown = [quota(json!({}), json!({"hard": {"pods": "1", "count/pods": "1"}}))];
    expect!["status unknown for quota: q, resources: count/pods,pods"]
        .assert_eq(&create(&unknown, PODS, &one));
    assert_eq!(create(&[quota(json!({"hard": {"pods": "0"}}), json!({}))], PODS, &one), "");
    let negative = pod(json!({"example.com/x": "-1"}), json!({}));
    let quotas = [limits(json!({"requests.example.com/x": "1"}), json!({"requests.example.com/x": "0"}))];
    expect!["quota usage is negative for resource(s): requests.example.com/x"]
        .assert_eq(&create(&quotas, PODS, &negative));
}

#[test]
fn updates_are_charged_by_what_they_add() {
    let service = |kind: &str| json!({"spec": {"type": kind, "ports": [{"port": 1}]}});
    let services = ("", "services");
    let at = |nodeports: &str| {
        [limits(
            json!({"services": "1", "services.nodeports": "1"}),
            json!({"services": "1", "services.nodeports": nodeports}),
        )]
    };
    let update = |at: &[Quota], old: &str, new: &str| ask(at, services, &service(new), Some(&service(old)));
    assert_eq!(update(&at("0"), "ClusterIP", "ClusterIP"), "");
    assert_eq!(update(&at("0"), "ClusterIP", "NodePort"), "0: services=1,services.nodeports=1");
    assert_eq!(update(&at("1"), "NodePort", "ClusterIP"), "", "the controller counts what is freed");
    expect!["exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1"]
        .assert_eq(&update(&at("1"), "ClusterIP", "NodePort"));
    // Deployments are counted by their number, which an update does not change.
    let deployments =
        [limits(json!({"count/deployments.apps": "1"}), json!({"count/deployments.apps": "1"}))];
    let old = json!({});
    assert_eq!(ask(&deployments, ("apps", "deployments"), &json!({}), Some(&old)), "");
    expect!["exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1"]
        .assert_eq(&create(&deployments, ("apps", "deployments"), &old));
}

#[test]
fn a_pod_that_enters_a_scope_is_charged_there() {
    let hard = json!({"pods": "1"});
    let spec = json!({"hard": hard.clone(), "scopes": ["Terminating"]});
    let terminating = [quota(spec, json!({"hard": hard, "used": {"pods": "0"}}))];
    let (old, mut new) = (pod(json!({}), json!({})), pod(json!({}), json!({})));
    assert_eq!(ask(&terminating, PODS, &new, Some(&old)), "");
    new["spec"]["activeDeadlineSeconds"] = json!(1);
    assert_eq!(ask(&terminating, PODS, &new, Some(&old)), "0: pods=1");
}

#[test]
fn scopes_of_pods() {
    let mut classed = pod(json!({"cpu": "1"}), json!({}));
    classed["spec"]["priorityClassName"] = json!("high");
    let mut ending = pod(json!({}), json!({}));
    ending["spec"]["activeDeadlineSeconds"] = json!(0);
    let mut crossing = pod(json!({}), json!({}));
    crossing["spec"]["affinity"] = json!({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "podAffinityTerm": {"topologyKey": "k", "namespaceSelector": {}}}]}});
    let pods = [classed, ending, crossing];
    let term = |scope: &str, operator: &str, values: Value| json!({"scopeName": scope, "operator": operator, "values": values});
    let terms = [
        term("Terminating", "Exists", json!([])),
        term("NotTerminating", "Exists", json!([])),
        term("BestEffort", "Exists", json!([])),
        term("NotBestEffort", "Exists", json!([])),
        term("PriorityClass", "Exists", json!([])),
        term("PriorityClass", "DoesNotExist", json!([])),
        term("PriorityClass", "In", json!(["low", "high"])),
        term("PriorityClass", "NotIn", json!(["high"])),
        term("CrossNamespacePodAffinity", "Exists", json!([])),
        term("VolumeAttributesClass", "DoesNotExist", json!([])),
    ];
    let text = terms.map(|term| {
        let selected = quota(json!({"scopeSelector": {"matchExpressions": [term.clone()]}}), json!({}));
        let matching =
            pods.each_ref().map(|pod| u8::from(Evaluator::Pods.in_scopes(&selected, pod)).to_string());
        format!(
            "{} {} {}",
            matching.concat(),
            term["scopeName"].as_str().unwrap(),
            term["operator"].as_str().unwrap()
        )
    });
    expect![[r#"
        010 Terminating Exists
        101 NotTerminating Exists
        011 BestEffort Exists
        100 NotBestEffort Exists
        100 PriorityClass Exists
        011 PriorityClass DoesNotExist
        100 PriorityClass In
        011 PriorityClass NotIn
        001 CrossNamespacePodAffinity Exists
        000 VolumeAttributesClass DoesNotExist"#]]
    .assert_eq(&text.join("\n"));
}

#[test]
fn scopes_of_claims() {
    let classes = |spec: &str, status: &str| json!({"spec": {"volumeAttributesClassName": spec}, "status": {"modifyVolumeStatus": {"targetVolumeAttributesClassName": status}}});
    let claims = [classes("", ""), classes("gold", ""), classes("gold", "silver")];
    let text = [
        ("Exists", json!([])),
        ("DoesNotExist", json!([])),
        ("In", json!(["silver"])),
        ("NotIn", json!(["gold"])),
    ]
    .map(|(operator, values)| {
        let term = json!({"scopeName": "VolumeAttributesClass", "operator": operator, "values": values});
        let selected = quota(json!({"scopeSelector": {"matchExpressions": [term]}}), json!({}));
        let matching = claims
            .each_ref()
            .map(|claim| u8::from(Evaluator::VolumeClaims.in_scopes(&selected, claim)).to_string());
        format!("{operator} {}", matching.concat())
    });
    assert_eq!(text, ["Exists 011", "DoesNotExist 100", "In 001", "NotIn 101"]);
}

#[test]
fn every_quota_that_counts_an_object_must_admit_it() {
    let quotas = [
        limits(json!({"count/secrets": "5"}), json!({"count/secrets": "1"})),
        limits(json!({"configmaps": "0"}), json!({"configmaps": "0"})),
        limits(json!({"secrets": "3"}), json!({"secrets": "1"})),
    ];
    assert_eq!(create(&quotas, ("", "secrets"), &json!({})), "0: count/secrets=2; 2: secrets=2");
    let full = limits(json!({"secrets": "1"}), json!({"secrets": "1"}));
    let refused = create(&[quotas[0].clone(), full], ("", "secrets"), &json!({}));
    assert_eq!(refused, "exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1");
}
