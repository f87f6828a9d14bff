//! Paths in, meanings out.

use expect_test::expect;

use super::*;

fn show(method: Method, path: &str) -> String {
    let info = RequestInfo::new(&method, &path.parse().unwrap());
    match info.target {
        None => format!("{method} {path} -> {} path {}", info.verb, info.path),
        Some(t) => format!(
            "{method} {path} -> {} g={} v={} ns={} {} name={} sub={} rest={:?} served={}",
            info.verb, t.group, t.version, t.namespace, t.plural, t.name, t.subresource, t.rest,
            t.resource().is_some(),
        ),
    }
}

#[test]
fn paths_are_read_as_upstream_does() {
    let mut out = String::new();
    for (method, path) in [
        (Method::GET, "/api"),
        (Method::GET, "/api/v1"),
        (Method::GET, "/api/v1/pods?watch=1"),
        (Method::GET, "/api/v1/watch/pods"),
        (Method::GET, "/api/v1/namespaces"),
        (Method::DELETE, "/api/v1/namespaces/a"),
        (Method::PUT, "/api/v1/namespaces/a/finalize"),
        (Method::POST, "/api/v1/namespaces/a/pods"),
        (Method::DELETE, "/api/v1/namespaces/a/pods"),
        (Method::GET, "/api/v1/namespaces/a/pods/b/log?follow=true"),
        (Method::GET, "/api/v1/namespaces/a/services/s:80/proxy/x/y/"),
        (Method::GET, "/api/v1/namespaces/a/nodes"),
        (Method::GET, "/api/v1/namespaces/a/configmaps/x%2Fy"),
        (Method::GET, "/api/v1/namespaces/a/configmaps/..%2e"),
        (Method::PATCH, "/apis/apps/v1/namespaces/a/deployments/d/scale"),
        (Method::GET, "/api/v1/pods/x"),
        (Method::GET, "/healthz"),
    ] {
        out.push_str(&show(method, path));
        out.push('\n');
    }
    expect![[r#""#]].assert_eq(&out);
}
