//! Pod security admission over HTTP: refusals, warnings and audit annotations.

use apiserver_shim::auth::audit::{AuditMode, AuditOptions, Policy, Rotation};
use apiserver_shim::pipeline::AdmissionConfiguration;
use expect_test::expect;

use crate::harness::Server;

const RESTRICTED: &str = r#"{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},"containers":[{"name":"c","image":"i","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}"#;

/// Status code, warnings and message of a response.
fn brief(response: &str) -> String {
    let (head, body) = response.split_once(" {").unwrap_or((response, ""));
    let value: serde_json::Value = serde_json::from_str(&format!("{{{body}")).unwrap_or_default();
    format!("{head} {}", value["message"].as_str().unwrap_or_default())
}

async fn play(server: &Server, script: &str) -> String {
    let mut out = Vec::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (head, body) = line.split_once(" <- ").unwrap_or((line, ""));
        let body = body
            .replace("$RESTRICTED", RESTRICTED)
            .replace("$PLAIN", r#"{"containers":[{"name":"c","image":"i"}]}"#);
        out.push(brief(&server.ask(head, &body).await));
    }
    out.join("\n")
}

async fn with_namespace(labels: &str) -> Server {
    let server = Server::start().await;
    let body = format!(r#"{{"metadata":{{"name":"n","labels":{labels}}}}}"#);
    assert!(server.ask("POST /api/v1/namespaces", &body).await.starts_with("201"));
    server.ask("POST /api/v1/namespaces/n/serviceaccounts", r#"{"metadata":{"name":"default"}}"#).await;
    server
}

#[tokio::test]
async fn pods_that_violate_the_enforced_level_are_refused() {
    let server = with_namespace(r#"{"pod-security.kubernetes.io/enforce":"restricted"}"#).await;
    let script = r#"
        POST /api/v1/namespaces/n/pods <- {"metadata":{"name":"p"},"spec":$PLAIN}
        POST /api/v1/namespaces/n/pods <- {"metadata":{"generateName":"g-"},"spec":{"hostNetwork":true,"containers":[{"name":"c","image":"i"}]}}
        POST /api/v1/namespaces/n/pods?dryRun=All <- {"metadata":{"name":"p"},"spec":$PLAIN}
        POST /api/v1/namespaces/n/pods <- {"metadata":{"name":"p"},"spec":$RESTRICTED}
        PATCH /api/v1/namespaces/n/pods/p/ephemeralcontainers | Content-Type: application/strategic-merge-patch+json <- {"spec":{"ephemeralContainers":[{"name":"dbg","image":"i"}]}}
        PATCH /api/v1/namespaces/n/pods/p | Content-Type: application/merge-patch+json <- {"metadata":{"labels":{"a":"b"}}}
        POST /apis/apps/v1/namespaces/n/deployments <- {"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":$PLAIN}}}
        POST /apis/apps/v1/namespaces/n/replicasets <- {"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":$PLAIN}}}
        POST /api/v1/namespaces/n/podtemplates <- {"metadata":{"name":"t"},"template":{"spec":$PLAIN}}
        PATCH /apis/apps/v1/namespaces/n/deployments/d/scale | Content-Type: application/merge-patch+json <- {"spec":{"replicas":2}}
        "#;
    let generated = play(&server, script).await;
    let start = generated.find("pods \"g-").unwrap() + "pods \"g-".len();
    let shown = format!("{}…{}", &generated[..start], &generated[start + 5..]);
    expect![[r#"
        403 pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
        403 pods "g-…" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true), allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
        403 pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")
        201 
        403 pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "dbg" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container "dbg" must set securityContext.capabilities.drop=["ALL"])
        200 
        201 299 - "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")" 
        201 299 - "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")" 
        201 299 - "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")" 
        200 "#]].assert_eq(&shown);
}

#[tokio::test]
async fn a_stricter_level_warns_of_existing_pods() {
    let server = with_namespace("{}").await;
    let script = r#"
        POST /api/v1/namespaces/n/pods <- {"metadata":{"name":"a"},"spec":$PLAIN}
        POST /api/v1/namespaces/n/pods <- {"metadata":{"name":"b"},"spec":$PLAIN}
        PATCH /api/v1/namespaces/n | Content-Type: application/merge-patch+json <- {"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}
        PATCH /api/v1/namespaces/n | Content-Type: application/merge-patch+json <- {"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}
        PATCH /api/v1/namespaces/n | Content-Type: application/merge-patch+json <- {"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"tight","pod-security.kubernetes.io/warn-version":"v1.x"}}}
        POST /api/v1/namespaces <- {"metadata":{"name":"m","labels":{"pod-security.kubernetes.io/audit":"nope"}}}
        "#;
    expect![[r#"
        201 
        201 
        200 299 - "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"restricted:latest\"" 299 - "a (and 1 other pod): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile" 
        200 
        422 Namespace "n" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "tight": must be one of privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "v1.x": must be "latest" or "v1.x"]
        422 Namespace "m" is invalid: metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "nope": must be one of privileged, baseline, restricted"#]].assert_eq(&play(&server, script).await);
}

/// An audit log of what creates Pods and workloads.
fn audit_log(directory: &std::path::Path) -> AuditOptions {
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- {level: Metadata, verbs: [create], resources: [{group: \"\", resources: [pods]}, {group: apps, resources: [deployments]}]}";
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    AuditOptions {
        policy,
        path: directory.join("audit.log"),
        mode: AuditMode::Blocking,
        rotation: Rotation::default(),
    }
}

/// Status code and annotations of Pod Security, one event a line.
async fn recorded(server: &Server, directory: &std::path::Path) -> String {
    server.handle.shutdown().await;
    let text = std::fs::read_to_string(directory.join("audit.log")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let last = events.filter(|event| event["stage"] == "ResponseComplete");
    let lines = last.map(|event| {
        let annotations = event["annotations"].as_object().unwrap().iter();
        let ours = annotations.filter(|(key, _)| key.starts_with("pod-security"));
        let ours: Vec<String> = ours.map(|(key, value)| format!("{key}: {value}")).collect();
        format!("{} {}", event["responseStatus"]["code"], ours.join("\n    "))
    });
    lines.collect::<Vec<String>>().join("\n")
}

#[tokio::test]
async fn violations_are_in_the_audit_log() {
    let file = tempfile::tempdir().unwrap();
    let server = Server::start_with(Some(audit_log(file.path()))).await;
    let labels = r#"{"metadata":{"name":"n","labels":{"pod-security.kubernetes.io/enforce":"baseline","pod-security.kubernetes.io/audit":"restricted"}}}"#;
    server.ask("POST /api/v1/namespaces", labels).await;
    server.ask("POST /api/v1/namespaces/n/serviceaccounts", r#"{"metadata":{"name":"default"}}"#).await;
    let script = r#"
        POST /api/v1/namespaces/n/pods <- {"metadata":{"name":"p"},"spec":$PLAIN}
        POST /api/v1/namespaces/n/pods <- {"metadata":{"name":"q"},"spec":{"hostPID":true,"containers":[{"name":"c","image":"i"}]}}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"q"},"spec":$PLAIN}
        "#;
    play(&server, script).await;
    expect![[r#"
        201 pod-security.kubernetes.io/audit-violations: "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
            pod-security.kubernetes.io/enforce-policy: "baseline:latest"
        403 pod-security.kubernetes.io/audit-violations: "would violate PodSecurity \"restricted:latest\": host namespaces (hostPID=true), allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
            pod-security.kubernetes.io/enforce-policy: "baseline:latest"
        201 pod-security.kubernetes.io/enforce-policy: "privileged:latest""#]].assert_eq(&recorded(&server, file.path()).await);
}

/// Everything that has a template of Pods warns of the enforced level.
#[tokio::test]
async fn templates_of_all_workloads_are_checked() {
    let server = with_namespace(r#"{"pod-security.kubernetes.io/enforce":"baseline"}"#).await;
    let spec = r#"{"hostPID":true,"restartPolicy":"$POLICY","containers":[{"name":"c","image":"i"}]}"#;
    let labels = r#""metadata":{"labels":{"a":"b"}}"#;
    for (group, kind, policy) in [
        ("api/v1", "replicationcontrollers", "Always"),
        ("apis/apps/v1", "daemonsets", "Always"),
        ("apis/apps/v1", "statefulsets", "Always"),
        ("apis/batch/v1", "jobs", "Never"),
        ("apis/batch/v1", "cronjobs", "Never"),
    ] {
        let template = format!(r#"{{{labels},"spec":{}}}"#, spec.replace("$POLICY", policy));
        let selector = r#""selector":{"matchLabels":{"a":"b"}}"#;
        let body = match kind {
            "replicationcontrollers" => format!(r#"{{"selector":{{"a":"b"}},"template":{template}}}"#),
            "jobs" => format!(r#"{{"template":{template}}}"#),
            "cronjobs" => {
                format!(r#"{{"schedule":"* * * * *","jobTemplate":{{"spec":{{"template":{template}}}}}}}"#)
            }
            _ => format!(r#"{{{selector},"serviceName":"s","template":{template}}}"#),
        };
        let body = match kind {
            "daemonsets" => body.replace(r#""serviceName":"s","#, ""),
            _ => body,
        };
        let created = server
            .ask(
                &format!("POST /{group}/namespaces/n/{kind}"),
                &format!(r#"{{"metadata":{{"name":"w"}},"spec":{body}}}"#),
            )
            .await;
        assert!(created.starts_with("201 299 - \"would violate PodSecurity"), "{kind}: {created}");
    }
}

/// The defaults are for namespaces without labels; exempt users, namespaces and runtime classes are not checked.
#[tokio::test]
async fn an_administrator_sets_defaults_and_exemptions() {
    let file = tempfile::tempdir().unwrap();
    let configuration = file.path().join("admission.yaml");
    std::fs::write(
        &configuration,
        "apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, audit: baseline, warn: restricted}
    exemptions: {usernames: [root], namespaces: [free], runtimeClasses: [kata]}
",
    )
    .unwrap();
    let admission = AdmissionConfiguration::read(&configuration).unwrap();
    let server = Server::start_configured(Some(audit_log(file.path())), admission).await;
    for namespace in ["free", "open"] {
        let labels = r#""labels":{"pod-security.kubernetes.io/enforce":"restricted"}"#;
        let labels = if namespace == "free" {
            labels
        } else {
            r#""labels":{"pod-security.kubernetes.io/enforce":"privileged"}"#
        };
        let body = format!(r#"{{"metadata":{{"name":"{namespace}",{labels}}}}}"#);
        let created = server.ask("POST /api/v1/namespaces", &body).await;
        assert_eq!(created.contains("is exempt from Pod Security"), namespace == "free", "{created}");
        let account = format!("POST /api/v1/namespaces/{namespace}/serviceaccounts");
        server.ask(&account, r#"{"metadata":{"name":"default"}}"#).await;
    }
    let bad = r#"{"hostPID":true,"containers":[{"name":"c","image":"i"}]}"#;
    let script = r#"
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"p"},"spec":$BAD}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"p"},"spec":$PLAIN}
        POST /api/v1/namespaces/free/pods <- {"metadata":{"name":"p"},"spec":$BAD}
        POST /api/v1/namespaces/open/pods <- {"metadata":{"name":"p"},"spec":$BAD}
        POST /apis/apps/v1/namespaces/free/deployments <- {"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":$BAD}}}
        POST /apis/apps/v1/namespaces/default/deployments <- {"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"runtimeClassName":"kata","containers":[{"name":"c","image":"i"}]}}}}
        PATCH /api/v1/namespaces/free | Content-Type: application/merge-patch+json <- {"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"baseline"}}}
        PATCH /api/v1/namespaces/free | Content-Type: application/merge-patch+json <- {"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted","pod-security.kubernetes.io/audit":"restricted"}}}
        "#;
    expect![[r#"
        403 pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)
        201 299 - "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")" 
        201 
        201 299 - "would violate PodSecurity \"restricted:latest\": host namespaces (hostPID=true), allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")" 
        201 
        201 
        200 
        200 299 - "namespace \"free\" is exempt from Pod Security, and the policy (enforce=restricted:latest, audit=restricted:latest) will be ignored" "#]].assert_eq(&play(&server, &script.replace("$BAD", bad)).await);
    let root = r#"{"metadata":{"name":"r"},"spec":$BAD}"#.replace("$BAD", bad);
    let line =
        "POST /api/v1/namespaces/default/pods | Impersonate-User: root | Impersonate-Group: system:masters";
    assert_eq!(brief(&server.ask(line, &root).await), "201 ");
    expect![[r#"
        403 pod-security.kubernetes.io/audit-violations: "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
            pod-security.kubernetes.io/enforce-policy: "baseline:latest"
        201 pod-security.kubernetes.io/enforce-policy: "baseline:latest"
        201 pod-security.kubernetes.io/exempt: "namespace"
        201 pod-security.kubernetes.io/audit-violations: "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
            pod-security.kubernetes.io/enforce-policy: "privileged:latest"
        201 pod-security.kubernetes.io/exempt: "namespace"
        201 pod-security.kubernetes.io/exempt: "runtimeClass"
        201 pod-security.kubernetes.io/exempt: "user""#]].assert_eq(&recorded(&server, file.path()).await);
}
