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
    expect![[r#"
        POST /api/v1/configmaps <- {"metadata":{"name":"x"}}
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        DELETE /api/v1/configmaps
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        GET /api/v1/configmaps/x
          404 {"apiVersion":"v1","code":404,"details":{},"kind":"Status","message":"the server could not find the requested resource","metadata":{},"reason":"NotFound","status":"Failure"}
        POST /api/v1/namespaces/default/configmaps/x <- {}
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps/x/status
          404 {"apiVersion":"v1","code":404,"details":{},"kind":"Status","message":"the server could not find the requested resource","metadata":{},"reason":"NotFound","status":"Failure"}
        POST /api/v1/watch/configmaps <- {}
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        GET /api/v1/watch
          500 Internal Server Error: "/api/v1/watch": failed to create RequestInfo: unable to determine kind and namespace from url, /api/v1/watch
        GET /api/v1/namespaces/default/configmaps/..
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"Name parameter invalid: \"..\": may not be '..'","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps/a%25b
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"Name parameter invalid: \"a%b\": may not contain '%'","metadata":{},"reason":"BadRequest","status":"Failure"}
        GET /healthz/
          404 404 page not found
        GET /version/x
          404 {"apiVersion":"v1","code":404,"details":{},"kind":"Status","message":"the server could not find the requested resource","metadata":{},"reason":"NotFound","status":"Failure"}
        POST /openid/v1/jwks
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
    "#]].assert_eq(&server.play(script).await);
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
        DELETE /api/v1/namespaces/default/configmaps/a <- {"orphanDependents":false}
        DELETE /apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical
        "#;
    expect![[r#"
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"a","finalizers":["example.com/f"]}}
          201 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"finalizers":["example.com/f"],"name":"a","namespace":"default"}}
        DELETE /api/v1/namespaces/default/configmaps/a?gracePeriodSeconds=-2
          200 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"deletionGracePeriodSeconds":0,"deletionTimestamp":"<time>","finalizers":["example.com/f"],"name":"a","namespace":"default"}}
        DELETE /api/v1/namespaces/default/configmaps/a?gracePeriodSeconds=x
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"strconv.ParseInt: parsing \"x\": invalid syntax","metadata":{},"reason":"BadRequest","status":"Failure"}
        DELETE /api/v1/namespaces/default/configmaps/a?dryRun=some
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"dryRun","message":"Unsupported value: [\"some\"]: supported values: \"All\"","reason":"FieldValueNotSupported"}],"group":"meta.k8s.io","kind":"DeleteOptions"},"kind":"Status","message":"DeleteOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"some\"]: supported values: \"All\"","metadata":{},"reason":"Invalid","status":"Failure"}
        DELETE /api/v1/namespaces/default/configmaps/a <- {"orphanDependents":true,"propagationPolicy":"Orphan"}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"propagationPolicy","message":"Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set","reason":"FieldValueInvalid"}],"group":"meta.k8s.io","kind":"DeleteOptions"},"kind":"Status","message":"DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set","metadata":{},"reason":"Invalid","status":"Failure"}
        DELETE /api/v1/namespaces/default/configmaps/a <- {"kind":"ConfigMap","apiVersion":"v1"}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"no kind \"ConfigMap\" is registered for version \"v1\" in scheme \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\"","metadata":{},"reason":"BadRequest","status":"Failure"}
        DELETE /api/v1/namespaces/default/configmaps/a <- {"kind":"DeleteOptions","apiVersion":"a/b/c"}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"unexpected GroupVersion string: a/b/c","metadata":{},"reason":"BadRequest","status":"Failure"}
        DELETE /api/v1/namespaces/default/configmaps/a <- {"orphanDependents":false}
          202 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"deletionGracePeriodSeconds":0,"deletionTimestamp":"<time>","finalizers":["example.com/f"],"name":"a","namespace":"default"}}
        DELETE /apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical
          403 {"apiVersion":"v1","code":403,"details":{"group":"scheduling.k8s.io","kind":"priorityclasses","name":"system-node-critical"},"kind":"Status","message":"priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority class and cannot be deleted","metadata":{},"reason":"Forbidden","status":"Failure"}
    "#]].assert_eq(&server.play(script).await);
}
