//! What a RuntimeClass does to the Pods that name it.

use expect_test::expect;

use crate::harness::Server;

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn pods_get_what_their_class_says() {
    let server = Server::start().await;
    let class = r#"{"metadata":{"name":"r"},"handler":"h","overhead":{"podFixed":{"cpu":"10m"}},
        "scheduling":{"nodeSelector":{"a":"b"},"tolerations":[{"key":"k","operator":"Exists"}]}}"#;
    let created = server.ask("POST /apis/node.k8s.io/v1/runtimeclasses", class).await;
    assert!(created.starts_with("201"), "{created}");
    let script = format!(
        r#"
        POST {PODS} <- {{"metadata":{{"name":"a"}},"spec":{{"runtimeClassName":"r","nodeSelector":{{"a":"c"}},"containers":[{{"name":"c","image":"i"}}]}}}}
        POST {PODS} <- {{"metadata":{{"name":"b"}},"spec":{{"runtimeClassName":"r","overhead":{{"cpu":"11m"}},"containers":[{{"name":"c","image":"i"}}]}}}}
        POST {PODS} <- {{"metadata":{{"name":"c"}},"spec":{{"overhead":{{"cpu":"11m"}},"containers":[{{"name":"c","image":"i"}}]}}}}
        POST {PODS} <- {{"metadata":{{"name":"d"}},"spec":{{"runtimeClassName":"s","containers":[{{"name":"c","image":"i"}}]}}}}
    "#
    );
    expect![[r#"
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"a"},"spec":{"runtimeClassName":"r","nodeSelector":{"a":"c"},"containers":[{"name":"c","image":"i"}]}}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"a"},"kind":"Status","message":"pods \"a\" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c","metadata":{},"reason":"Forbidden","status":"Failure"}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"b"},"spec":{"runtimeClassName":"r","overhead":{"cpu":"11m"},"containers":[{"name":"c","image":"i"}]}}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"b"},"kind":"Status","message":"pods \"b\" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead","metadata":{},"reason":"Forbidden","status":"Failure"}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"c"},"spec":{"overhead":{"cpu":"11m"},"containers":[{"name":"c","image":"i"}]}}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"c"},"kind":"Status","message":"pods \"c\" is forbidden: pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead","metadata":{},"reason":"Forbidden","status":"Failure"}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"d"},"spec":{"runtimeClassName":"s","containers":[{"name":"c","image":"i"}]}}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"d"},"kind":"Status","message":"pods \"d\" is forbidden: pod rejected: RuntimeClass \"s\" not found","metadata":{},"reason":"Forbidden","status":"Failure"}
    "#]].assert_eq(&server.play(&script).await);
    let pod = r#"{"metadata":{"name":"p"},"spec":{"runtimeClassName":"r","containers":[{"name":"c","image":"i"}]}}"#;
    let pod = server.json(&format!("POST {PODS}"), pod).await;
    let spec = &pod["spec"];
    expect![[r#"{"cpu":"10m"} {"a":"b"} [{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","operator":"Exists","tolerationSeconds":300},{"effect":"NoExecute","key":"node.kubernetes.io/unreachable","operator":"Exists","tolerationSeconds":300},{"key":"k","operator":"Exists"}]"#]].assert_eq(&format!("{} {} {}", spec["overhead"], spec["nodeSelector"], spec["tolerations"]));
}
