//! ComponentStatuses: read-only, and as the components are at the moment.

use expect_test::expect;

use crate::harness::Server;

#[tokio::test]
async fn statuses_tell_what_runs() {
    let server = Server::start().await;
    let components = server.handle.components();
    let task = tokio::spawn(std::future::pending::<()>());
    components.insert("scheduler", task.abort_handle());
    let script = r#"
        GET /api/v1/componentstatuses
        GET /api/v1/componentstatuses/scheduler
        GET /api/v1/componentstatuses/etcd-0
        GET /api/v1/componentstatuses/l
        GET /api/v1/componentstatuses?fieldSelector=metadata.name=scheduler | Accept: application/json;as=Table;v=v1;g=meta.k8s.io
        GET /api/v1/componentstatuses?labelSelector=a
        GET /api/v1/componentstatuses/scheduler | Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io
        GET /api/v1/componentstatuses?watch=true
        POST /api/v1/componentstatuses <- {}
        DELETE /api/v1/componentstatuses/scheduler
        GET /api/v1/componentstatuses | Accept: application/vnd.kubernetes.protobuf
        "#;
    expect![[r#"
        GET /api/v1/componentstatuses
          200 299 - "v1 ComponentStatus is deprecated in v1.19+" {"apiVersion":"v1","items":[{"conditions":[{"message":"the controller-manager does not run in this process","status":"False","type":"Healthy"}],"metadata":{"name":"controller-manager"}},{"conditions":[{"message":"ok","status":"True","type":"Healthy"}],"metadata":{"name":"etcd-0"}},{"conditions":[{"message":"ok","status":"True","type":"Healthy"}],"metadata":{"name":"scheduler"}}],"kind":"ComponentStatusList","metadata":{}}
        GET /api/v1/componentstatuses/scheduler
          200 299 - "v1 ComponentStatus is deprecated in v1.19+" {"apiVersion":"v1","conditions":[{"message":"ok","status":"True","type":"Healthy"}],"kind":"ComponentStatus","metadata":{"name":"scheduler"}}
        GET /api/v1/componentstatuses/etcd-0
          200 299 - "v1 ComponentStatus is deprecated in v1.19+" {"apiVersion":"v1","conditions":[{"message":"ok","status":"True","type":"Healthy"}],"kind":"ComponentStatus","metadata":{"name":"etcd-0"}}
        GET /api/v1/componentstatuses/l
          404 299 - "v1 ComponentStatus is deprecated in v1.19+" {"apiVersion":"v1","code":404,"details":{"kind":"componentstatus","name":"l"},"kind":"Status","message":"componentstatus \"l\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        GET /api/v1/componentstatuses?fieldSelector=metadata.name=scheduler | Accept: application/json;as=Table;v=v1;g=meta.k8s.io
          200 299 - "v1 ComponentStatus is deprecated in v1.19+" {"apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"description":"Name of the object, unique among its kind in the namespace.","format":"name","name":"Name","priority":0,"type":"string"},{"description":"Status of the object.","format":"","name":"Status","priority":0,"type":"string"},{"description":"Message of the object.","format":"","name":"Message","priority":0,"type":"string"},{"description":"Error of the object.","format":"","name":"Error","priority":0,"type":"string"}],"kind":"Table","metadata":{},"rows":[{"cells":["scheduler","Healthy","ok",""],"object":{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"scheduler"}}}]}
        GET /api/v1/componentstatuses?labelSelector=a
          200 299 - "v1 ComponentStatus is deprecated in v1.19+" {"apiVersion":"v1","items":[],"kind":"ComponentStatusList","metadata":{}}
        GET /api/v1/componentstatuses/scheduler | Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io
          200 299 - "v1 ComponentStatus is deprecated in v1.19+" {"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"scheduler"}}
        GET /api/v1/componentstatuses?watch=true
          405 299 - "v1 ComponentStatus is deprecated in v1.19+" {"apiVersion":"v1","code":405,"details":{"kind":"componentstatuses"},"kind":"Status","message":"watch is not supported on resources of kind \"componentstatuses\"","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        POST /api/v1/componentstatuses <- {}
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        DELETE /api/v1/componentstatuses/scheduler
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        GET /api/v1/componentstatuses | Accept: application/vnd.kubernetes.protobuf
          200 299 - "v1 ComponentStatus is deprecated in v1.19+" protobuf {"apiVersion":"v1","items":[{"conditions":[{"message":"the controller-manager does not run in this process","status":"False","type":"Healthy"}],"metadata":{"name":"controller-manager"}},{"conditions":[{"message":"ok","status":"True","type":"Healthy"}],"metadata":{"name":"etcd-0"}},{"conditions":[{"message":"ok","status":"True","type":"Healthy"}],"metadata":{"name":"scheduler"}}],"kind":"ComponentStatusList","metadata":{}}
    "#]].assert_eq(&server.play(script).await);
    task.abort();
    assert!(task.await.is_err());
    let ended = server.ask("GET /api/v1/componentstatuses/scheduler", "").await;
    assert!(ended.contains("the scheduler does not run in this process"), "{ended}");
}

#[tokio::test]
async fn every_response_about_a_deprecated_kind_warns() {
    let server = Server::start().await;
    let script = r#"
        GET /api/v1/namespaces/kube-system/endpoints
        GET /api/v1/namespaces/default/endpoints/none
        "#;
    expect![[r#"
        GET /api/v1/namespaces/kube-system/endpoints
          200 299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" {"apiVersion":"v1","items":[],"kind":"EndpointsList","metadata":{}}
        GET /api/v1/namespaces/default/endpoints/none
          404 299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice" {"apiVersion":"v1","code":404,"details":{"kind":"endpoints","name":"none"},"kind":"Status","message":"endpoints \"none\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
    "#]].assert_eq(&server.play(script).await);
}
