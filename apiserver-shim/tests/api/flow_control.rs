//! Priority and fairness over HTTP: the headers of each response, and which requests need no seats.

use std::sync::Arc;

use apiserver_shim::auth::authentication::User;
use apiserver_shim::http::service::Caller;
use http_body_util::BodyExt;

use crate::harness::{Server, request};
use crate::scrape::Scrape;

const SCHEMA: &str = "x-kubernetes-pf-flowschema-uid";
const LEVEL: &str = "x-kubernetes-pf-prioritylevel-uid";
const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

async fn uid(server: &Server, path: &str) -> String {
    let object = server.json(&format!("GET {GROUP}/{path}"), "").await;
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn responses_name_the_schema_and_the_level() {
    let server = Server::start().await;
    let user = User::component("jane", &[]);
    let jane = server.service().for_caller(Caller::Known(Arc::new(user)));
    let (schema, level) = (
        uid(&server, "flowschemas/global-default").await,
        uid(&server, "prioritylevelconfigurations/global-default").await,
    );
    // The configuration follows the objects that the start has written.
    let mut found = jane.respond(request("GET /api/v1/pods", "")).await;
    for _ in 0..100 {
        if found.headers().get(SCHEMA).is_some_and(|uid| uid == schema.as_str()) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        found = jane.respond(request("GET /api/v1/pods", "")).await;
    }
    assert_eq!(found.status(), 403, "refusals have the headers too");
    assert_eq!(found.headers()[SCHEMA], schema.as_str());
    assert_eq!(found.headers()[LEVEL], level.as_str());
    let watch = server.service().respond(request("GET /api/v1/pods?watch=1", "")).await;
    assert_eq!(watch.headers()[SCHEMA], uid(&server, "flowschemas/exempt").await.as_str());
    let exec = server.service().respond(request("GET /api/v1/namespaces/default/pods/a/log", "")).await;
    assert!(!exec.headers().contains_key(SCHEMA), "streams to Pods need no seats");
}

#[tokio::test]
async fn the_seats_of_a_watch_are_free_when_it_has_begun() {
    let server = Server::start().await;
    let watch = server.service().respond(request("GET /api/v1/namespaces?watch=1", "")).await;
    let seats = || async {
        let response = server.service().respond(request("GET /metrics", "")).await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let scrape = Scrape::parse(std::str::from_utf8(&bytes).unwrap());
        let name =
            "apiserver_flowcontrol_current_executing_seats{flow_schema=\"exempt\",priority_level=\"exempt\"}";
        scrape.get(name).unwrap_or_default()
    };
    // The request for the metrics has a seat of its own.
    assert_eq!(seats().await, 2.0);
    let mut body = watch.into_body();
    // The namespaces that exist; then the body has nothing to send.
    while let Ok(Some(frame)) =
        tokio::time::timeout(std::time::Duration::from_millis(300), body.frame()).await
    {
        frame.unwrap();
    }
    assert_eq!(seats().await, 1.0);
}

#[tokio::test]
async fn operators_see_levels_queues_and_requests() {
    let server = Server::start().await;
    let page = |name: &'static str| {
        let server = &server;
        async move { server.ask(&format!("GET /debug/api_priority_and_fairness/{name}"), "").await }
    };
    let levels = page("dump_priority_levels").await;
    assert!(levels.starts_with("200 PriorityLevelName, ActiveQueues, IsIdle, "), "{levels}");
    assert!(
        levels.contains("\nexempt,            0,            false,  false,       0,               1,"),
        "{levels}"
    );
    // The objects of the levels are read in the background.
    let mut queues = page("dump_queues").await;
    while !queues.contains("leader-election,") {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        queues = page("dump_queues").await;
    }
    assert_eq!(queues.lines().filter(|line| line.starts_with("leader-election,")).count(), 16, "{queues}");
    let requests = page("dump_requests?includeRequestDetails=yes").await;
    let own =
        "get,    /debug/api_priority_and_fairness/dump_requests, ,          ,       ,           ,         ";
    assert!(requests.trim_end().ends_with(own.trim_end()), "{requests}");
    assert!(page("dump_requests/").await.starts_with("404"));
    assert!(!server.ask("GET /", "").await.contains("debug"), "they are not listed");
}

#[tokio::test]
async fn dumps_are_for_whom_a_role_allows_the_path() {
    let server = Server::start().await;
    let jane = server.service().for_caller(Caller::Known(Arc::new(User::component("jane", &[]))));
    let status = || async {
        let path = "GET /debug/api_priority_and_fairness/dump_requests";
        jane.respond(request(path, "")).await.status().as_u16()
    };
    assert_eq!(status().await, 403);
    let role = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "dumps"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/debug/api_priority_and_fairness/*"]}]}"#;
    let binding = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "dumps"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "dumps"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]}"#;
    for (resource, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let path = format!("POST /apis/rbac.authorization.k8s.io/v1/{resource}");
        let answer = server.ask(&path, object).await;
        assert!(answer.starts_with("201"), "{answer}");
    }
    for _ in 0..100 {
        if status().await == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("still {}", status().await);
}
