//! Tables: labels and their policies, and for each rule a Pod that violates it, with upstream's words.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn policy(level: &str, version: &str) -> LevelVersion {
    let mut labels = BTreeMap::from([("pod-security.kubernetes.io/enforce".to_owned(), level.to_owned())]);
    labels.insert("pod-security.kubernetes.io/enforce-version".to_owned(), version.to_owned());
    let (policy, errors) = Policy::of_labels(&labels, &Policy::DEFAULT);
    assert!(errors.is_empty(), "{errors:?}");
    policy.enforce
}

/// A Pod with a container that is restricted, changed by `edit`.
fn pod(edit: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}});
    shim_model::patch::merge::apply(&mut pod, &edit);
    pod
}

fn outcome(pod: &Value, level: &str, version: &str) -> String {
    let found = evaluate(policy(level, version), &pod["metadata"], &pod["spec"]);
    if found.is_empty() { "complies".to_owned() } else { found.details() }
}

/// The outcomes of a Pod for levels and versions; `edit` is merged into a Pod that complies with `restricted`.
fn check(edit: Value, policies: &[(&str, &str)], expect: Expect) {
    let pod = pod(edit);
    let lines = policies
        .iter()
        .map(|(level, version)| format!("{level}:{version}: {}", outcome(&pod, level, version)));
    expect.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
}

fn container(more: Value) -> Value {
    let mut container = json!({"name": "c", "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    shim_model::patch::merge::apply(&mut container, &more);
    json!({"spec": {"containers": [container]}})
}

const B: (&str, &str) = ("baseline", "latest");
const R: (&str, &str) = ("restricted", "latest");

#[test]
fn a_restricted_pod_complies_with_every_version() {
    for minor in 0..40 {
        for level in ["privileged", "baseline", "restricted"] {
            assert_eq!(
                outcome(&pod(json!({})), level, &format!("v1.{minor}")),
                "complies",
                "{level} {minor}"
            );
        }
    }
}

#[test]
fn privileged_allows_everything() {
    check(
        json!({"spec": {"hostNetwork": true, "containers": [{"name": "c", "securityContext": {"privileged": true}}]}}),
        &[("privileged", "latest")],
        expect!["privileged:latest: complies"],
    );
}

#[test]
fn a_plain_pod_is_baseline() {
    let plain = json!({"spec": {"securityContext": null, "containers": [{"name": "a"}, {"name": "b"}]}});
    check(
        plain,
        &[
            B,
            R,
            ("restricted", "v1.0"),
            ("restricted", "v1.8"),
            ("restricted", "v1.19"),
            ("restricted", "v1.22"),
            ("restricted", "v1.99"),
        ],
        expect![[r#"
            baseline:latest: complies
            restricted:latest: allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
            restricted:v1.0: runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true)
            restricted:v1.8: allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true)
            restricted:v1.19: allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
            restricted:v1.22: allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
            restricted:v1.99: allowPrivilegeEscalation != false (containers "a", "b" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "a", "b" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or containers "a", "b" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#]],
    );
}

#[test]
fn privilege_escalation() {
    check(
        container(json!({"securityContext": {"allowPrivilegeEscalation": true}})),
        &[B, R, ("restricted", "v1.7"), ("restricted", "v1.8")],
        expect![[r#"
            baseline:latest: complies
            restricted:latest: allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)
            restricted:v1.7: complies
            restricted:v1.8: allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)"#]],
    );
}

#[test]
fn capabilities() {
    check(
        container(
            json!({"securityContext": {"capabilities": {"add": ["NET_RAW", "CHOWN", "NET_BIND_SERVICE"]}}}),
        ),
        &[B, R, ("restricted", "v1.21"), ("restricted", "v1.22")],
        expect![[r#"
            baseline:latest: non-default capabilities (container "c" must not include "NET_RAW" in securityContext.capabilities.add)
            restricted:latest: unrestricted capabilities (container "c" must not include "CHOWN", "NET_RAW" in securityContext.capabilities.add)
            restricted:v1.21: non-default capabilities (container "c" must not include "NET_RAW" in securityContext.capabilities.add)
            restricted:v1.22: unrestricted capabilities (container "c" must not include "CHOWN", "NET_RAW" in securityContext.capabilities.add)"#]],
    );
    check(
        container(
            json!({"securityContext": {"capabilities": {"drop": ["CHOWN"], "add": ["NET_BIND_SERVICE"]}}}),
        ),
        &[B, R],
        expect![[r#"
            baseline:latest: complies
            restricted:latest: unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])"#]],
    );
}

#[test]
fn host_namespaces_and_ports() {
    check(
        json!({"spec": {"hostNetwork": true, "hostPID": true, "hostIPC": true}}),
        &[B, R],
        expect![[r#"
        baseline:latest: host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)
        restricted:latest: host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)"#]],
    );
    let ports =
        json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 8081}]});
    check(
        container(ports),
        &[B, R, ("baseline", "v1.0")],
        expect![[r#"
        baseline:latest: hostPort (container "c" uses hostPorts 80, 8081)
        restricted:latest: hostPort (container "c" uses hostPorts 80, 8081)
        baseline:v1.0: hostPort (container "c" uses hostPorts 80, 8081)"#]],
    );
    check(
        container(json!({"ports": [{"containerPort": 80, "hostPort": 0}]})),
        &[B],
        expect!["baseline:latest: complies"],
    );
}

#[test]
fn volumes() {
    let volumes = json!({"spec": {"volumes": [{"name": "h", "hostPath": {"path": "/"}}, {"name": "n", "nfs": {}}, {"name": "e", "emptyDir": {}},
        {"name": "i", "image": {}}, {"name": "p", "persistentVolumeClaim": {}}, {"name": "m", "nfs": {}}]}});
    check(
        volumes,
        &[B, R, ("restricted", "v1.0")],
        expect![[r#"
        baseline:latest: hostPath volumes (volume "h")
        restricted:latest: restricted volume types (volumes "h", "n", "m" use restricted volume types "hostPath", "nfs")
        restricted:v1.0: restricted volume types (volumes "h", "n", "m" use restricted volume types "hostPath", "nfs")"#]],
    );
}

#[test]
fn hosts_of_probes() {
    let probes = json!({"livenessProbe": {"httpGet": {"host": "1.2.3.4"}}, "readinessProbe": {"tcpSocket": {"host": "h"}}, "lifecycle": {"preStop": {"httpGet": {"host": "h"}}}});
    check(
        container(probes),
        &[("baseline", "v1.33"), ("baseline", "v1.34"), R],
        expect![[r#"
        baseline:v1.33: complies
        baseline:v1.34: probe or lifecycle host (container "c" uses probe or lifecycle hosts "1.2.3.4", "h")
        restricted:latest: probe or lifecycle host (container "c" uses probe or lifecycle hosts "1.2.3.4", "h")"#]],
    );
    check(
        container(json!({"livenessProbe": {"httpGet": {"path": "/"}}})),
        &[B],
        expect!["baseline:latest: complies"],
    );
}

#[test]
fn privileged_containers() {
    check(
        container(json!({"securityContext": {"privileged": true}})),
        &[B, R],
        expect![[r#"
        baseline:latest: privileged (container "c" must not set securityContext.privileged=true)
        restricted:latest: privileged (container "c" must not set securityContext.privileged=true)"#]],
    );
    check(
        json!({"spec": {"securityContext": {"windowsOptions": {"hostProcess": true}}, "containers": [{"name": "w", "securityContext": {"windowsOptions": {"hostProcess": true}}}]}}),
        &[B],
        expect![[
            r#"baseline:latest: hostProcess (pod and container "w" must not set securityContext.windowsOptions.hostProcess=true)"#
        ]],
    );
}

#[test]
fn proc_mount() {
    let unmasked = container(json!({"securityContext": {"procMount": "Unmasked"}}));
    check(
        unmasked.clone(),
        &[("baseline", "v1.34"), B, R],
        expect![[r#"
        baseline:v1.34: procMount (container "c" must not set securityContext.procMount to "Unmasked")
        baseline:latest: procMount (container "c" must not set securityContext.procMount to "Unmasked")
        restricted:latest: procMount (container "c" must not set securityContext.procMount to "Unmasked")"#]],
    );
    let mut isolated = unmasked;
    isolated["spec"]["hostUsers"] = json!(false);
    check(
        isolated,
        &[("baseline", "v1.34"), B, R, ("restricted", "v1.34")],
        expect![[r#"
        baseline:v1.34: procMount (container "c" must not set securityContext.procMount to "Unmasked")
        baseline:latest: complies
        restricted:latest: procMount (container "c" must not set securityContext.procMount to "Unmasked")
        restricted:v1.34: procMount (container "c" must not set securityContext.procMount to "Unmasked")"#]],
    );
}

#[test]
fn users() {
    check(
        json!({"spec": {"securityContext": {"runAsNonRoot": false}}}),
        &[B, R],
        expect![[r#"
        baseline:latest: complies
        restricted:latest: runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)"#]],
    );
    check(
        json!({"spec": {"securityContext": {"runAsNonRoot": null, "runAsUser": 0}}}),
        &[R, ("restricted", "v1.22")],
        expect![[r#"
            restricted:latest: runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), runAsUser=0 (pod must not set runAsUser=0)
            restricted:v1.22: runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)"#]],
    );
    check(
        container(json!({"securityContext": {"runAsNonRoot": false, "runAsUser": 0}})),
        &[R],
        expect![[
            r#"restricted:latest: runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false), runAsUser=0 (container "c" must not set runAsUser=0)"#
        ]],
    );
    let isolated =
        json!({"spec": {"hostUsers": false, "securityContext": {"runAsNonRoot": null, "runAsUser": 0}}});
    check(
        isolated,
        &[R, ("restricted", "v1.34")],
        expect![[r#"
        restricted:latest: complies
        restricted:v1.34: runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), runAsUser=0 (pod must not set runAsUser=0)"#]],
    );
}

#[test]
fn profiles() {
    check(
        json!({"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}),
        &[B, R, ("baseline", "v1.18")],
        expect![[r#"
            baseline:latest: seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")
            restricted:latest: seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")
            baseline:v1.18: complies"#]],
    );
    check(
        container(json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}})),
        &[B],
        expect![[
            r#"baseline:latest: seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")"#
        ]],
    );
    check(
        json!({"spec": {"securityContext": {"seccompProfile": null}}}),
        &[B, R, ("restricted", "v1.18")],
        expect![[r#"
            baseline:latest: complies
            restricted:latest: seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
            restricted:v1.18: complies"#]],
    );
    let annotations = json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined", "container.seccomp.security.alpha.kubernetes.io/c": "unconfined",
        "container.apparmor.security.beta.kubernetes.io/c": "unconfined"}}});
    check(
        annotations,
        &[("baseline", "v1.18"), B],
        expect![[r#"
        baseline:v1.18: forbidden AppArmor profile (annotation must not set AppArmor profile type to "container.apparmor.security.beta.kubernetes.io/c="unconfined""), seccompProfile (forbidden annotations container.seccomp.security.alpha.kubernetes.io/c="unconfined", seccomp.security.alpha.kubernetes.io/pod="unconfined")
        baseline:latest: forbidden AppArmor profile (annotation must not set AppArmor profile type to "container.apparmor.security.beta.kubernetes.io/c="unconfined"")"#]],
    );
    check(
        json!({"spec": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}, "containers": [{"name": "c", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}]}}),
        &[B],
        expect![[
            r#"baseline:latest: forbidden AppArmor profile (pod and container "c" must not set AppArmor profile type to "Unconfined")"#
        ]],
    );
    let options = json!({"seLinuxOptions": {"type": "container_engine_t", "user": "u", "role": "r"}});
    check(
        json!({"spec": {"securityContext": options}}),
        &[("baseline", "v1.30"), B],
        expect![[r#"
        baseline:v1.30: seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "container_engine_t"; user may not be set; role may not be set)
        baseline:latest: seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: user may not be set; role may not be set)"#]],
    );
    check(
        container(json!({"securityContext": {"seLinuxOptions": {"type": "spc_t", "level": "s0"}}})),
        &[B],
        expect![[
            r#"baseline:latest: seLinuxOptions (container "c" set forbidden securityContext.seLinuxOptions: type "spc_t")"#
        ]],
    );
}

#[test]
fn sysctls() {
    let names = [
        "kernel.msgmax",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_notsent_lowat",
    ];
    let sysctls = names.map(|name| json!({"name": name, "value": "1"}));
    let all = json!({"spec": {"securityContext": {"sysctls": sysctls}}});
    check(
        all,
        &[("baseline", "v1.26"), ("baseline", "v1.27"), ("baseline", "v1.29"), ("baseline", "v1.32"), B],
        expect![[r#"
            baseline:v1.26: forbidden sysctls (kernel.msgmax, net.ipv4.tcp_rmem, net.ipv4.tcp_fin_timeout, net.ipv4.ip_local_reserved_ports, net.ipv4.tcp_notsent_lowat)
            baseline:v1.27: forbidden sysctls (kernel.msgmax, net.ipv4.tcp_rmem, net.ipv4.tcp_fin_timeout, net.ipv4.tcp_notsent_lowat)
            baseline:v1.29: forbidden sysctls (kernel.msgmax, net.ipv4.tcp_rmem, net.ipv4.tcp_notsent_lowat)
            baseline:v1.32: forbidden sysctls (kernel.msgmax, net.ipv4.tcp_notsent_lowat)
            baseline:latest: forbidden sysctls (kernel.msgmax, net.ipv4.tcp_notsent_lowat)"#]],
    );
}

#[test]
fn every_kind_of_container_is_checked_and_windows_is_exempt() {
    let privileged = json!({"securityContext": {"privileged": true}});
    let with = |name: &str| {
        let mut container = privileged.clone();
        container["name"] = json!(name);
        json!([container])
    };
    check(
        json!({"spec": {"initContainers": with("i"), "containers": with("c"), "ephemeralContainers": with("e")}}),
        &[B],
        expect![[
            r#"baseline:latest: privileged (containers "i", "c", "e" must not set securityContext.privileged=true)"#
        ]],
    );
    check(
        json!({"spec": {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true, "seccompProfile": null}, "containers": [{"name": "c"}]}}),
        &[R, ("restricted", "v1.24")],
        expect![[r#"
            restricted:latest: complies
            restricted:v1.24: allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#]],
    );
}

#[test]
fn labels_of_a_namespace() {
    let outcome = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(k, v)| (format!("pod-security.kubernetes.io/{k}"), (*v).to_owned()));
        let (policy, errors) = Policy::of_labels(&labels.collect(), &Policy::DEFAULT);
        let mut line = format!("enforce={} audit={} warn={}", policy.enforce, policy.audit, policy.warn);
        if !errors.is_empty() {
            line += &format!(" {}", shim_model::status::aggregate(&errors));
        }
        line
    };
    let table = [
        outcome(&[]),
        outcome(&[("enforce", "restricted")]),
        outcome(&[("enforce", "baseline"), ("enforce-version", "v1.30")]),
        outcome(&[("enforce", "baseline"), ("enforce-version", "v1.30"), ("warn-version", "v1.20")]),
        outcome(&[
            ("enforce", "baseline"),
            ("warn", "restricted"),
            ("audit", "restricted"),
            ("audit-version", "v1.0"),
        ]),
        outcome(&[("enforce", "baseline"), ("warn", "privileged")]),
        outcome(&[("enforce", "tight"), ("warn-version", "v1.x")]),
        outcome(&[
            ("audit", "Restricted"),
            ("warn", ""),
            ("enforce-version", "v1.01"),
            ("audit-version", "v2.0"),
        ]),
    ];
    expect![[r#"
        enforce=privileged:latest audit=privileged:latest warn=privileged:latest
        enforce=restricted:latest audit=privileged:latest warn=restricted:latest
        enforce=baseline:v1.30 audit=privileged:latest warn=baseline:v1.30
        enforce=baseline:v1.30 audit=privileged:latest warn=baseline:v1.20
        enforce=baseline:latest audit=restricted:v1.0 warn=restricted:latest
        enforce=baseline:latest audit=privileged:latest warn=privileged:latest
        enforce=restricted:latest audit=privileged:latest warn=privileged:latest [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "tight": must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "v1.x": must be "latest" or "v1.x"]
        enforce=privileged:latest audit=privileged:latest warn=privileged:latest [metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: "v1.01": must be "latest" or "v1.x", metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "Restricted": must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/audit-version]: Invalid value: "v2.0": must be "latest" or "v1.x", metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "": must be one of privileged, baseline, restricted]"#]].assert_eq(&table.join("\n"));
}

#[test]
fn only_containers_and_images_make_an_update_significant() {
    let old =
        json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let with = |edit: Value| {
        let mut new = old.clone();
        shim_model::patch::merge::apply(&mut new, &edit);
        is_significant_update(&new, &old)
    };
    assert!(!with(json!({"metadata": {"labels": {"a": "2"}}, "spec": {"tolerations": [{}]}})));
    assert!(with(json!({"spec": {"containers": [{"name": "c", "image": "j"}]}})));
    assert!(with(json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}})));
}

#[test]
fn pods_that_a_new_level_would_refuse() {
    let mut existing = ExistingPods::new(policy("restricted", "v1.30"));
    let bad = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    for name in ["z", "b", "y"] {
        existing.check(&bad(name, json!({"hostNetwork": true, "containers": []})));
    }
    existing.check(&bad("v", json!({"volumes": [{"name": "v", "hostPath": {}}], "containers": []})));
    existing.check(&pod(json!({})));
    assert!(
        !existing.is_duplicate(Some("u")) && existing.is_duplicate(Some("u")) && !existing.is_duplicate(None)
    );
    expect![[r#"
        new PodSecurity enforce level only checked against the first 5 of 7 existing pods
        existing pods in namespace "ns" violate the new PodSecurity enforce level "restricted:v1.30"
        b (and 2 other pods): host namespaces
        v: restricted volume types"#]]
    .assert_eq(&existing.warnings("ns", 7).join("\n"));
    assert_eq!(ExistingPods::new(policy("restricted", "latest")).warnings("ns", 0), Vec::<String>::new());
}
