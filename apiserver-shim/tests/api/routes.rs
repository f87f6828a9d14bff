//! Paths, methods and options that are refused, or taken, as upstream does it. Each answer was recorded of a kube-apiserver.

use expect_test::expect;

use crate::harness::Server;

#[tokio::test]
async fn paths_have_methods() {
    let server = Server::start().await;
    let script = r#"
        POST /api/v1/configmaps <- {"metadata":{"name":"x"}}
        DELETE /api/v1/configmaps
        GET /api/v1/configmaps/x
        POST /api/v1/namespaces/default/configmaps/x <- {}
        GET /api/v1/namespaces/default/configmaps/x/status
        POST /api/v1/watch/configmaps <- {}
        GET /api/v1/watch
        GET /api/v1/namespaces/default/configmaps/..
        GET /api/v1/namespaces/default/configmaps/a%25b
        GET /healthz/
        GET /version/x
        POST /openid/v1/jwks
        "#;
    expect![[r#""#]].assert_eq(&server.play(script).await);
}

#[tokio::test]
async fn options_of_deletions_are_checked() {
    let server = Server::start().await;
    let script = r#"
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"a","finalizers":["example.com/f"]}}
        DELETE /api/v1/namespaces/default/configmaps/a?gracePeriodSeconds=-2
        DELETE /api/v1/namespaces/default/configmaps/a?gracePeriodSeconds=x
        DELETE /api/v1/namespaces/default/configmaps/a?dryRun=some
        DELETE /api/v1/namespaces/default/configmaps/a <- {"orphanDependents":true,"propagationPolicy":"Orphan"}
        DELETE /api/v1/namespaces/default/configmaps/a <- {"kind":"ConfigMap","apiVersion":"v1"}
        DELETE /api/v1/namespaces/default/configmaps/a <- {"kind":"DeleteOptions","apiVersion":"a/b/c"}
        DELETE /api/v1/namespaces/default/configmaps/a <- {"preconditions":{"uid":"1"}}
        DELETE /api/v1/namespaces/default/configmaps/a <- {"orphanDependents":false}
        POST /apis/batch/v1/namespaces/default/jobs <- {"metadata":{"name":"j"},"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}}}
        DELETE /apis/batch/v1/namespaces/default/jobs/j
        DELETE /apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical
        "#;
    expect![[r#""#]].assert_eq(&server.play(script).await);
}
