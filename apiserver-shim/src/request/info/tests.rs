//! Table-driven: request lines and the attributes parsed from them.

use expect_test::expect;

use super::*;
use shim_model::resource::builtin;
use shim_model::schema::Schema;

fn show(method: Method, path: &str) -> String {
    let catalog = Catalog::new(1, builtin(&Schema::builtin()).into_iter().map(Arc::new));
    let info = RequestInfo::new(&method, &path.parse().unwrap());
    match info.target {
        None => format!("{method} {path} -> {} path {}", info.verb, info.path),
        Some(t) => format!(
            "{method} {path} -> {} g={} v={} ns={} {} name={} sub={} rest={:?} served={}",
            info.verb,
            t.group,
            t.version,
            t.namespace,
            t.plural,
            t.name,
            t.subresource,
            t.rest,
            t.resource(&catalog).is_some(),
        ),
    }
}

#[test]
fn paths_are_parsed_as_upstream_does() {
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
    expect![[r#"
        GET /api -> get path /api
        GET /api/v1 -> get path /api/v1
        GET /api/v1/pods?watch=1 -> watch g= v=v1 ns= pods name= sub= rest=None served=true
        GET /api/v1/watch/pods -> watch g= v=v1 ns= pods name= sub= rest=None served=true
        GET /api/v1/namespaces -> list g= v=v1 ns= namespaces name= sub= rest=None served=true
        DELETE /api/v1/namespaces/a -> delete g= v=v1 ns= namespaces name=a sub= rest=None served=true
        PUT /api/v1/namespaces/a/finalize -> update g= v=v1 ns= namespaces name=a sub=finalize rest=None served=true
        POST /api/v1/namespaces/a/pods -> create g= v=v1 ns=a pods name= sub= rest=None served=true
        DELETE /api/v1/namespaces/a/pods -> deletecollection g= v=v1 ns=a pods name= sub= rest=None served=true
        GET /api/v1/namespaces/a/pods/b/log?follow=true -> get g= v=v1 ns=a pods name=b sub=log rest=None served=true
        GET /api/v1/namespaces/a/services/s:80/proxy/x/y/ -> get g= v=v1 ns=a services name=s:80 sub=proxy rest=Some("x/y") served=true
        GET /api/v1/namespaces/a/nodes -> list g= v=v1 ns=a nodes name= sub= rest=None served=false
        GET /api/v1/namespaces/a/configmaps/x%2Fy -> get g= v=v1 ns=a configmaps name=x sub=y rest=None served=true
        GET /api/v1/namespaces/a/configmaps/..%2e -> get g= v=v1 ns=a configmaps name=... sub= rest=None served=true
        PATCH /apis/apps/v1/namespaces/a/deployments/d/scale -> patch g=apps v=v1 ns=a deployments name=d sub=scale rest=None served=true
        GET /api/v1/pods/x -> get g= v=v1 ns= pods name=x sub= rest=None served=false
        GET /healthz -> get path /healthz
    "#]].assert_eq(&out);
}
