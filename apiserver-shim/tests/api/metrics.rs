//! `/metrics`: the names, types and labels of upstream, and values that agree with what was requested.

use apiserver_shim::auth::audit::{AuditMode, AuditOptions, Policy, Rotation};
use apiserver_shim::http::service::Caller;
use expect_test::expect;
use http_body_util::BodyExt;

use crate::harness::{Server, request};
use crate::scrape::Scrape;

const CM: &str = "/api/v1/namespaces/default/configmaps";

async fn scrape(server: &Server) -> Scrape {
    let response = server.service().respond(request("GET /metrics", "")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    Scrape::parse(std::str::from_utf8(&bytes).unwrap())
}

fn requests(labels: [&str; 8]) -> String {
    let [code, dry_run, group, resource, scope, subresource, verb, version] = labels;
    let component = if resource.is_empty() { "" } else { "apiserver" };
    format!(
        "apiserver_request_total{{code=\"{code}\",component=\"{component}\",dry_run=\"{dry_run}\",group=\"{group}\",\
         resource=\"{resource}\",scope=\"{scope}\",subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\"}}"
    )
}

#[tokio::test]
async fn names_types_and_labels_are_upstreams() {
    let file = tempfile::tempdir().unwrap();
    let policy = b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]";
    let policy = Policy::parse(policy).unwrap();
    let path = file.path().join("audit.log");
    let server = Server::start_with(Some(AuditOptions {
        policy,
        path,
        mode: AuditMode::Batch,
        rotation: Rotation::default(),
    }))
    .await;
    let watch = server.service().respond(request(&format!("GET {CM}?watch=1"), "")).await;
    server.ask(&format!("POST {CM}"), r#"{"metadata":{"name":"a"}}"#).await;
    expect![[r#"
        apiserver_audit_error_total counter {plugin}
        apiserver_audit_event_total counter {}
        apiserver_current_inflight_requests gauge {request_kind}
        apiserver_flowcontrol_current_executing_requests gauge {flow_schema,priority_level}
        apiserver_flowcontrol_current_executing_seats gauge {flow_schema,priority_level}
        apiserver_flowcontrol_current_inqueue_requests gauge {flow_schema,priority_level}
        apiserver_flowcontrol_current_inqueue_seats gauge {flow_schema,priority_level}
        apiserver_flowcontrol_current_limit_seats gauge {priority_level}
        apiserver_flowcontrol_dispatched_requests_total counter {flow_schema,priority_level}
        apiserver_flowcontrol_lower_limit_seats gauge {priority_level}
        apiserver_flowcontrol_nominal_limit_seats gauge {priority_level}
        apiserver_flowcontrol_request_execution_seconds histogram {flow_schema,priority_level,type}
        apiserver_flowcontrol_request_queue_length_after_enqueue histogram {flow_schema,priority_level}
        apiserver_flowcontrol_request_wait_duration_seconds histogram {execute,flow_schema,priority_level}
        apiserver_flowcontrol_seat_fair_frac gauge {}
        apiserver_flowcontrol_upper_limit_seats gauge {priority_level}
        apiserver_flowcontrol_work_estimated_seats histogram {flow_schema,priority_level}
        apiserver_longrunning_requests gauge {component,group,resource,scope,subresource,verb,version}
        apiserver_request_duration_seconds histogram {component,dry_run,group,resource,scope,subresource,verb,version}
        apiserver_request_total counter {code,component,dry_run,group,resource,scope,subresource,verb,version}
        apiserver_resource_objects gauge {group,resource}
        apiserver_storage_objects gauge {resource}
        apiserver_watch_events_total counter {group,resource,version}
        etcd_request_duration_seconds histogram {group,operation,resource}
        etcd_request_errors_total counter {group,operation,resource}
        etcd_requests_total counter {group,operation,resource}
        process_cpu_seconds_total counter {}
        process_max_fds gauge {}
        process_open_fds gauge {}
        process_resident_memory_bytes gauge {}
        process_start_time_seconds gauge {}
        process_virtual_memory_bytes gauge {}
    "#]].assert_eq(&scrape(&server).await.shape());
    drop(watch);
}

#[tokio::test]
async fn requests_are_counted_by_verb_scope_and_code() {
    let server = Server::start().await;
    let body = r#"{"metadata":{"name":"a"}}"#;
    for (line, body) in [
        (format!("POST {CM}"), body),
        (format!("POST {CM}"), body),
        (format!("POST {CM}?dryRun=All"), r#"{"metadata":{"name":"b"}}"#),
        (format!("POST {CM}?dryRun=Some"), r#"{"metadata":{"name":"b"}}"#),
        (format!("GET {CM}/a"), ""),
        (format!("GET {CM}/a"), ""),
        (format!("GET {CM}/none"), ""),
        (format!("GET {CM}"), ""),
        ("GET /api/v1/configmaps".to_owned(), ""),
        (format!("PUT {CM}/a"), body),
        (format!("PATCH {CM}/a | Content-Type: application/merge-patch+json"), "{}"),
        (format!("PATCH {CM}/a | Content-Type: application/apply-patch+yaml"), "{}"),
        (format!("DELETE {CM}/a"), ""),
        (format!("DELETE {CM}"), ""),
        ("GET /api/v1/namespaces/default/pods/p/log".to_owned(), ""),
        ("GET /apis/apps/v1/namespaces/default/deployments/d/scale".to_owned(), ""),
        (format!("GET {CM} | Impersonate-User: nobody"), ""),
        (format!("GET {CM}/a/of-my-own-making"), ""),
        ("GET /apis/of.my.own/v1/making".to_owned(), ""),
        ("GET /of/my/own/making".to_owned(), ""),
        (format!("BREW {CM}"), ""),
        ("GET /readyz".to_owned(), ""),
    ] {
        server.ask(&line, body).await;
    }
    let scrape = scrape(&server).await;
    let configmaps = |code, dry, scope, verb| [code, dry, "", "configmaps", scope, "", verb, "v1"];
    for (labels, count) in [
        (configmaps("201", "", "resource", "POST"), 1.0),
        (configmaps("409", "", "resource", "POST"), 1.0),
        (configmaps("201", "All", "resource", "POST"), 1.0),
        (configmaps("422", "invalid", "resource", "POST"), 1.0),
        (configmaps("200", "", "resource", "GET"), 2.0),
        (configmaps("404", "", "resource", "GET"), 1.0),
        (configmaps("200", "", "namespace", "LIST"), 1.0),
        (configmaps("200", "", "cluster", "LIST"), 1.0),
        (configmaps("200", "", "resource", "PUT"), 1.0),
        (configmaps("200", "", "resource", "PATCH"), 1.0),
        (configmaps("422", "", "resource", "APPLY"), 1.0),
        (configmaps("200", "", "resource", "DELETE"), 1.0),
        (configmaps("200", "", "namespace", "DELETECOLLECTION"), 1.0),
        (configmaps("403", "", "namespace", "LIST"), 1.0),
        (configmaps("405", "", "namespace", "other"), 1.0),
        (["404", "", "", "pods", "resource", "log", "CONNECT", "v1"], 1.0),
        (["404", "", "apps", "deployments", "resource", "scale", "GET", "v1"], 1.0),
        (["404", "", "", "", "", "", "GET", ""], 3.0),
        (["200", "", "", "", "", "/readyz", "GET", ""], 1.0),
    ] {
        let sample = requests(labels);
        assert_eq!(scrape.get(&sample), Some(count), "{sample} of {scrape:#?}");
    }
    let text = format!("{scrape:?}");
    assert!(!text.contains("making") && !text.contains("of.my.own"), "{text}");
    let duration = "apiserver_request_duration_seconds_count{component=\"apiserver\",dry_run=\"\",group=\"\",\
                    resource=\"configmaps\",scope=\"resource\",subresource=\"\",verb=\"GET\",version=\"v1\"}";
    assert_eq!(scrape.get(duration), Some(3.0));
}

#[tokio::test]
async fn a_watch_is_counted_while_it_is_open() {
    let server = Server::start().await;
    let open = |scope: &str| {
        format!(
            "apiserver_longrunning_requests{{component=\"apiserver\",group=\"\",resource=\"configmaps\",scope=\"{scope}\",\
             subresource=\"\",verb=\"WATCH\",version=\"v1\"}}"
        )
    };
    let watched = requests(["200", "", "", "configmaps", "namespace", "", "WATCH", "v1"]);
    let all = server.service().respond(request(&format!("GET {CM}?watch=1"), "")).await;
    let line = format!("GET {CM}?watch=1&fieldSelector=metadata.name%3Da");
    let one = server.service().respond(request(&line, "")).await;
    let during = scrape(&server).await;
    assert_eq!((during.get(&open("namespace")), during.get(&open("resource"))), (Some(1.0), Some(1.0)));
    assert_eq!(during.get(&watched), None);
    server.ask(&format!("POST {CM}"), r#"{"metadata":{"name":"a"}}"#).await;
    let mut body = all.into_body();
    assert!(body.frame().await.unwrap().unwrap().into_data().unwrap().starts_with(b"{\"type\":\"ADDED\""));
    drop((body, one));
    let after = scrape(&server).await;
    assert_eq!((after.get(&open("namespace")), after.get(&open("resource"))), (Some(0.0), Some(0.0)));
    assert_eq!(after.get(&watched), Some(2.0));
    let events = "apiserver_watch_events_total{group=\"\",resource=\"configmaps\",version=\"v1\"}";
    assert_eq!(after.get(events), Some(1.0));
}

#[tokio::test]
async fn objects_and_requests_to_the_store_are_counted() {
    let server = Server::start().await;
    let before = scrape(&server).await;
    server.ask(&format!("POST {CM}"), r#"{"metadata":{"name":"a"}}"#).await;
    server.ask(&format!("PUT {CM}/a"), r#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#).await;
    server.ask(&format!("POST {CM}"), r#"{"metadata":{"name":"b"}}"#).await;
    server.ask(&format!("DELETE {CM}/b"), "").await;
    server.handle.registry().fresh().await.unwrap();
    let after = scrape(&server).await;
    let store = |name: &str, operation: &str| {
        let sample = format!("{name}{{group=\"\",operation=\"{operation}\",resource=\"configmaps\"}}");
        after.get(&sample).unwrap() - before.get(&sample).unwrap_or(0.0)
    };
    for (operation, count) in [("create", 2.0), ("update", 1.0), ("delete", 1.0), ("list", 0.0)] {
        assert_eq!(store("etcd_requests_total", operation), count, "{operation}");
        assert_eq!(store("etcd_request_duration_seconds_count", operation), count, "{operation}");
        assert_eq!(store("etcd_request_errors_total", operation), 0.0, "{operation}");
    }
    // This one and the server's own.
    assert_eq!(after.get("apiserver_storage_objects{resource=\"configmaps\"}"), Some(2.0));
    assert_eq!(after.get("apiserver_resource_objects{group=\"\",resource=\"configmaps\"}"), Some(2.0));
    assert_eq!(after.get("apiserver_storage_objects{resource=\"deployments.apps\"}"), Some(0.0));
    let process = |name: &str| after.get(name).unwrap();
    assert!(process("process_resident_memory_bytes") > 1e6 && process("process_open_fds") > 2.0);
    assert!(process("process_start_time_seconds") > 1.7e9);
}

#[tokio::test]
async fn who_may_read_metrics_and_how() {
    let server = Server::start().await;
    let transcript = server
        .play(
            "HEAD /metrics
             POST /metrics
             DELETE /metrics
             GET /metrics/none",
        )
        .await;
    expect![[r#"
        HEAD /metrics
          200 
        POST /metrics
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        DELETE /metrics
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        GET /metrics/none
          404 404 page not found
    "#]].assert_eq(&transcript);
    let code = async |line: &str, caller: Caller| {
        server.service().for_caller(caller).respond(request(line, "")).await.status().as_u16()
    };
    let master =
        || Caller::Known(std::sync::Arc::new(apiserver_shim::auth::authentication::User::system("m")));
    assert_eq!(code("GET /metrics", Caller::Unknown).await, 403);
    assert_eq!(code("GET /readyz", Caller::Unknown).await, 200);
    assert_eq!(code("GET /metrics | Impersonate-User: u", master()).await, 403);
    let monitor = "GET /metrics | Impersonate-User: u | Impersonate-Group: system:monitoring";
    assert_eq!(code(monitor, master()).await, 200);
}

#[tokio::test]
async fn outcomes_of_health_checks_are_counted() {
    let server = Server::start().await;
    for path in ["/readyz", "/readyz/ping", "/livez?exclude=ping"] {
        server.ask(&format!("GET {path}"), "").await;
    }
    let text = server.ask("GET /metrics/slis", "").await;
    for line in [
        "# TYPE kubernetes_healthcheck gauge",
        r#"kubernetes_healthcheck{name="etcd",type="readyz"} 1"#,
        r#"kubernetes_healthchecks_total{name="ping",status="success",type="readyz"} 2"#,
        r#"kubernetes_healthchecks_total{name="log",status="success",type="livez"} 1"#,
    ] {
        assert!(text.lines().any(|found| found.trim_end() == line), "{line} in {text}");
    }
    assert!(!text.contains(r#"name="ping",type="livez""#), "what was excluded is not counted: {text}");
    assert!(text.contains("process_start_time_seconds "), "{text}");
}
