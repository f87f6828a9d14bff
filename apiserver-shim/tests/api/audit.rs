//! The audit log: one event per stage in upstream's format.

use std::time::Duration;

use apiserver_shim::auth::audit::{AuditMode, AuditOptions, Policy, Rotation};
use apiserver_shim::http::service::Caller;
use apiserver_shim::pipeline::{Identity, ObjectRef};
use serde_json::{Value, json};

use crate::harness::{Server, request, show};

const CM: &str = "/api/v1/namespaces/default/configmaps";

async fn server(rules: &str, file: &tempfile::TempDir) -> Server {
    let policy = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}");
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let path = file.path().join("audit.log");
    Server::start_with(Some(AuditOptions {
        policy,
        path,
        mode: AuditMode::Blocking,
        rotation: Rotation::default(),
    }))
    .await
}

/// The logged events, without values that differ between runs.
async fn events(server: &Server, file: &tempfile::TempDir) -> Vec<Value> {
    server.handle.shutdown().await;
    let text = std::fs::read_to_string(file.path().join("audit.log")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .map(|mut event| {
            for time in ["requestReceivedTimestamp", "stageTimestamp"] {
                let stamp = event[time].as_str().unwrap().to_owned();
                assert!(stamp.len() == 27 && stamp.ends_with('Z'), "{stamp}");
                event.as_object_mut().unwrap().remove(time);
            }
            event
        })
        .collect()
}

#[tokio::test]
async fn a_request_is_recorded_stage_by_stage() {
    let file = tempfile::tempdir().unwrap();
    let server = server(
        "- {level: Metadata, namespaces: [default], resources: [{group: \"\", resources: [configmaps]}]}",
        &file,
    )
    .await;
    let line = format!(
        "POST {CM} | Content-Type: application/json | User-Agent: kubectl/v1.36 | Audit-Id: my-id | \
         Impersonate-User: alice | Impersonate-Group: system:masters | X-Forwarded-For: 10.1.2.3"
    );
    let answer = server.service().respond(request(&line, r#"{"metadata":{"name":"a"}}"#)).await;
    assert_eq!(answer.headers()["audit-id"], "my-id");
    assert!(show(answer).await.starts_with("201 "));
    let request = format!("POST {CM} | Impersonate-User: bob");
    let refused = server.ask(&request, r#"{"metadata":{"name":"b"}}"#).await;
    assert!(refused.starts_with("403 "));
    let event = |stage: &str| {
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "my-id",
            "stage": stage, "requestURI": CM, "verb": "create",
            "user": {"username": "test", "groups": ["system:masters", "system:authenticated"]},
            "sourceIPs": ["10.1.2.3"], "userAgent": "kubectl/v1.36",
            "objectRef": {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"},
        })
    };
    let mut complete = event("ResponseComplete");
    complete["impersonatedUser"] =
        json!({"username": "alice", "groups": ["system:masters", "system:authenticated"]});
    complete["objectRef"]["name"] = json!("a");
    complete["responseStatus"] = json!({"metadata": {}, "code": 201});
    complete["annotations"] =
        json!({"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""});
    let all = events(&server, &file).await;
    assert_eq!(all[..2], [event("RequestReceived"), complete]);
    assert_eq!(all.len(), 4, "{all:#?}");
    assert_eq!(all[3]["annotations"]["authorization.k8s.io/decision"], "forbid");
    let status = &all[3]["responseStatus"];
    assert_eq!((status["code"].as_u64(), status["reason"].as_str()), (Some(403), Some("Forbidden")));
}

#[tokio::test]
async fn objects_are_recorded_where_the_policy_asks_for_them() {
    let file = tempfile::tempdir().unwrap();
    let rules = "- {level: RequestResponse, omitManagedFields: true, omitStages: [RequestReceived], \
                 verbs: [create, delete], namespaces: [default], resources: [{group: \"\", resources: [configmaps]}]}";
    let server = server(rules, &file).await;
    let body = r#"{"metadata":{"generateName":"g-"},"data":{"k":"v"}}"#;
    assert!(server.ask(&format!("POST {CM}"), body).await.starts_with("201 "));
    assert!(server.ask(&format!("GET {CM}"), "").await.starts_with("200 "));
    assert!(
        server.ask(&format!("DELETE {CM}/none"), r#"{"gracePeriodSeconds":1}"#).await.starts_with("404 ")
    );
    let all = events(&server, &file).await;
    assert_eq!(all.len(), 2, "{all:#?}");
    assert_eq!(all[0]["requestObject"]["data"]["k"], "v");
    assert!(all[0]["responseObject"]["metadata"]["name"].as_str().unwrap().starts_with("g-"));
    assert!(all[0]["responseObject"]["metadata"].get("managedFields").is_none());
    assert_eq!(all[1]["requestObject"], json!({"gracePeriodSeconds": 1}));
    assert_eq!(all[1]["responseStatus"]["reason"], "NotFound");
}

#[tokio::test]
async fn watches_and_failed_authentications_are_recorded() {
    let file = tempfile::tempdir().unwrap();
    let server = server("- {level: Metadata}", &file).await;
    let watch = server.service().respond(request(&format!("GET {CM}?watch=1"), "")).await;
    assert_eq!(watch.status(), 200);
    tokio::time::timeout(Duration::from_secs(5), async { drop(watch) }).await.unwrap();
    let anonymous = server.service().for_caller(Caller::Unknown);
    let refused = anonymous.respond(request(&format!("GET {CM} | Authorization: Bearer x"), "")).await;
    assert_eq!(refused.status(), 401);
    let all = events(&server, &file).await;
    let stages = |verb: &str, code: u64| -> Vec<&str> {
        let own = all.iter().filter(|e| e["verb"] == verb && e["responseStatus"]["code"] == code);
        own.map(|e| e["stage"].as_str().unwrap()).collect()
    };
    assert_eq!(stages("watch", 200), ["ResponseStarted", "ResponseComplete"]);
    assert_eq!(stages("list", 401), ["ResponseStarted"]);
}

#[tokio::test]
async fn components_are_recorded_under_their_own_identity() {
    let file = tempfile::tempdir().unwrap();
    let rules = "- {level: Metadata, omitStages: [RequestReceived], users: [\"system:serviceaccount:kube-system:x\"]}";
    let server = server(rules, &file).await;
    let maps = server.handle.registry().builtin(&shim_core::controllers::served("", "configmaps"));
    let context = Identity::controller("x").context("create");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let target = ObjectRef::new(&maps, "default", "");
    server.handle.pipeline().create(&context, target, map).await.unwrap();
    let all = events(&server, &file).await;
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!(all[0]["requestURI"], CM);
    assert_eq!(all[0]["objectRef"]["name"], "a");
    assert_eq!(all[0]["auditID"], context.audit_id.to_string());
    assert_eq!(all[0]["responseStatus"]["code"], 201);
}
