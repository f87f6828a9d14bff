//! Requests for what is not there: unknown resources, and proxied requests without a destination.

use expect_test::expect;

use crate::harness::Server;

#[tokio::test]
async fn unknown_resources_are_not_found() {
    let server = Server::start().await;
    let script = r#"
        GET /apis/example.com/v1/things
        GET /apis/apps/v1/things
        "#;
    expect![[r#"
        GET /apis/example.com/v1/things
          404 404 page not found
        GET /apis/apps/v1/things
          404 {"apiVersion":"v1","code":404,"details":{},"kind":"Status","message":"the server could not find the requested resource","metadata":{},"reason":"NotFound","status":"Failure"}
    "#]].assert_eq(&server.play(script).await);
}

/// Where a proxied request would go is found before anything is sent.
#[tokio::test]
async fn proxied_requests_without_a_destination_are_refused() {
    let server = Server::start().await;
    let script = r#"
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"p"},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]}}
        GET /api/v1/namespaces/default/pods/p/proxy/
        GET /api/v1/namespaces/default/pods/ftp:p:21/proxy/
        GET /api/v1/namespaces/default/pods/none/proxy/
        POST /api/v1/namespaces/default/services <- {"metadata":{"name":"s"},"spec":{"clusterIP":"None","ports":[{"port":80}]}}
        GET /api/v1/namespaces/default/services/s/proxy/
        POST /api/v1/namespaces/default/endpoints <- {"metadata":{"name":"s"},"subsets":[{"notReadyAddresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]}]}
        GET /api/v1/namespaces/default/services/s:80/proxy/
        GET /api/v1/nodes/n/proxy/metrics
        "#;
    let played = server.play(script).await;
    let lines: Vec<&str> =
        played.lines().filter(|line| !line.contains("POST") && !line.starts_with("  201")).collect();
    expect![[r#"
        GET /api/v1/namespaces/default/pods/p/proxy/
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"address not allowed","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/pods/ftp:p:21/proxy/
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"invalid pod request \"ftp:p:21\"","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/pods/none/proxy/
          404 {"apiVersion":"v1","code":404,"details":{"kind":"pods","name":"none"},"kind":"Status","message":"pods \"none\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        GET /api/v1/namespaces/default/services/s/proxy/
          404 {"apiVersion":"v1","code":404,"details":{"kind":"services","name":"s"},"kind":"Status","message":"services \"s\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        GET /api/v1/namespaces/default/services/s:80/proxy/
          503 {"apiVersion":"v1","code":503,"kind":"Status","message":"no endpoints available for service \"s:80\"","metadata":{},"reason":"ServiceUnavailable","status":"Failure"}
        GET /api/v1/nodes/n/proxy/metrics
          404 {"apiVersion":"v1","code":404,"details":{"kind":"nodes","name":"n"},"kind":"Status","message":"nodes \"n\" not found","metadata":{},"reason":"NotFound","status":"Failure"}"#]].assert_eq(&lines.join("\n"));
}
