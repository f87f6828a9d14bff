//! The headers that name the user, and how APIServices are read.

use expect_test::expect;
use serde_json::json;

use super::*;

#[test]
fn the_user_is_named_in_headers_that_no_client_can_forge() {
    let mut headers = HeaderMap::new();
    headers.insert("x-remote-user", HeaderValue::from_static("admin"));
    headers.insert("x-remote-extra-scopes", HeaderValue::from_static("all"));
    headers.insert("accept", HeaderValue::from_static("*/*"));
    let extra = [("example.com/Team name%".to_owned(), vec!["a".to_owned(), "b".to_owned()])].into();
    let groups = vec!["dev".to_owned(), "system:authenticated".to_owned()];
    set_user(&mut headers, &User { name: "jane".to_owned(), uid: "7".to_owned(), groups, extra });
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap())).collect();
    lines.sort();
    expect![[r#"
        accept: */*
        x-remote-extra-example.com%2fteam%20name%25: a
        x-remote-extra-example.com%2fteam%20name%25: b
        x-remote-group: dev
        x-remote-group: system:authenticated
        x-remote-uid: 7
        x-remote-user: jane
    "#]]
    .assert_eq(&lines.concat());
}

#[test]
fn an_api_service_without_a_service_is_this_server() {
    let local = json!({"metadata": {"name": "v1.apps"}, "spec": {"group": "apps", "version": "v1"}});
    assert_eq!(RemoteServer::parse(&local), None);
    let remote = json!({"metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "insecureSkipTLSVerify": true, "service": {"namespace": "kube-system", "name": "metrics-server", "port": 443}},
        "status": {"conditions": [{"type": "Available", "status": "True"}]}});
    let server = RemoteServer::parse(&remote).unwrap();
    assert!(server.is_available && server.insecure);
    assert_eq!(server.authority(), "metrics-server.kube-system.svc:443");
}
