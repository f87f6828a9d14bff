//! Deletion: finalizers, grace periods, preconditions, collections and namespaces.

use expect_test::expect;

use crate::harness::Server;

const CM: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn deletion_follows_upstream() {
    let server = Server::start().await;
    let script = format!(
        r#"
        POST {CM} <- {{"metadata":{{"name":"a"}}}}
        DELETE {CM}/a
        DELETE {CM}/a
        POST {CM} <- {{"metadata":{{"name":"f","finalizers":["x.io/f"]}}}}
        DELETE {CM}/f
        POST {CM} <- {{"metadata":{{"name":"f"}}}}
        PATCH {CM}/f | Content-Type: application/merge-patch+json <- {{"metadata":{{"finalizers":null}}}}
        GET {CM}/f
        POST {CM} <- {{"metadata":{{"name":"p"}}}}
        DELETE {CM}/p <- {{"preconditions":{{"resourceVersion":"1"}},"propagationPolicy":"Sideways"}}
        DELETE {CM}/p?propagationPolicy=Foreground
        DELETE {CM}/p <- hello
        DELETE {CM}/p?dryRun=All
        DELETE {CM}?labelSelector=none
        DELETE /api/v1/namespaces/default
        "#
    );
    expect![[r#"
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"a"}}
          201 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"default"}}
        DELETE /api/v1/namespaces/default/configmaps/a
          200 {"apiVersion":"v1","details":{"kind":"configmaps","name":"a"},"kind":"Status","metadata":{},"status":"Success"}
        DELETE /api/v1/namespaces/default/configmaps/a
          404 {"apiVersion":"v1","code":404,"details":{"kind":"configmaps","name":"a"},"kind":"Status","message":"configmaps \"a\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"f","finalizers":["x.io/f"]}}
          201 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"finalizers":["x.io/f"],"name":"f","namespace":"default"}}
        DELETE /api/v1/namespaces/default/configmaps/f
          200 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"deletionGracePeriodSeconds":0,"deletionTimestamp":"<time>","finalizers":["x.io/f"],"name":"f","namespace":"default"}}
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"f"}}
          409 {"apiVersion":"v1","code":409,"details":{"kind":"configmaps","name":"f"},"kind":"Status","message":"object is being deleted: configmaps \"f\" already exists","metadata":{},"reason":"AlreadyExists","status":"Failure"}
        PATCH /api/v1/namespaces/default/configmaps/f | Content-Type: application/merge-patch+json <- {"metadata":{"finalizers":null}}
          200 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"deletionGracePeriodSeconds":0,"deletionTimestamp":"<time>","name":"f","namespace":"default"}}
        GET /api/v1/namespaces/default/configmaps/f
          404 {"apiVersion":"v1","code":404,"details":{"kind":"configmaps","name":"f"},"kind":"Status","message":"configmaps \"f\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"p"}}
          201 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"p","namespace":"default"}}
        DELETE /api/v1/namespaces/default/configmaps/p <- {"preconditions":{"resourceVersion":"1"},"propagationPolicy":"Sideways"}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"propagationPolicy","message":"Unsupported value: \"Sideways\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"","reason":"FieldValueNotSupported"}],"group":"meta.k8s.io","kind":"DeleteOptions"},"kind":"Status","message":"DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Sideways\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"","metadata":{},"reason":"Invalid","status":"Failure"}
        DELETE /api/v1/namespaces/default/configmaps/p?propagationPolicy=Foreground
          200 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"deletionGracePeriodSeconds":0,"deletionTimestamp":"<time>","finalizers":["foregroundDeletion"],"name":"p","namespace":"default"}}
        DELETE /api/v1/namespaces/default/configmaps/p <- hello
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"couldn't get version/kind; json parse error: invalid character 'h' looking for beginning of value","metadata":{},"reason":"BadRequest","status":"Failure"}
        DELETE /api/v1/namespaces/default/configmaps/p?dryRun=All
          200 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"deletionGracePeriodSeconds":0,"deletionTimestamp":"<time>","finalizers":["foregroundDeletion"],"name":"p","namespace":"default"}}
        DELETE /api/v1/namespaces/default/configmaps?labelSelector=none
          200 {"apiVersion":"v1","items":[],"kind":"ConfigMapList","metadata":{}}
        DELETE /api/v1/namespaces/default
          403 {"apiVersion":"v1","code":403,"details":{"kind":"namespaces","name":"default"},"kind":"Status","message":"namespaces \"default\" is forbidden: this namespace may not be deleted","metadata":{},"reason":"Forbidden","status":"Failure"}
    "#]].assert_eq(&server.play(&script).await);
}

#[tokio::test]
async fn bound_pods_wait_for_their_executor() {
    let server = Server::start().await;
    const P: &str = "/api/v1/namespaces/default/pods";
    let pod = r#"{"metadata":{"name":"p"},"spec":{"terminationGracePeriodSeconds":7,"containers":[{"name":"c","image":"i"}]}}"#;
    assert!(server.ask(&format!("POST {P}"), pod).await.starts_with("201 "));
    let bind = r#"{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n1"}}"#;
    let absent = server
        .ask(&format!("POST {P}/q/binding?dryRun=All"), r#"{"metadata":{"name":"q"},"target":{"name":"n1"}}"#)
        .await;
    assert!(absent.starts_with("404 "), "{absent}");
    let other = server.ask(&format!("POST {P}/q/binding"), bind).await;
    assert!(other.starts_with("400 "), "{other}");
    let rehearsed = server.ask("POST /api/v1/namespaces/default/bindings?dryRun=All", bind).await;
    assert!(rehearsed.starts_with("201 "), "{rehearsed}");
    expect![[r#"201 {"apiVersion":"v1","code":201,"kind":"Status","metadata":{},"status":"Success"}"#]]
        .assert_eq(&server.ask("POST /api/v1/namespaces/default/bindings", bind).await);
    expect![[r#"409 {"apiVersion":"v1","code":409,"details":{"kind":"pods/binding","name":"p"},"kind":"Status","message":"Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"","metadata":{},"reason":"Conflict","status":"Failure"}"#]].assert_eq(&server.ask(&format!("POST {P}/p/binding"), bind).await);
    let marked = server.json(&format!("DELETE {P}/p"), "").await;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 7);
    let again = server.json(&format!("DELETE {P}/p?gracePeriodSeconds=2"), "").await;
    assert_eq!(again["metadata"]["deletionGracePeriodSeconds"], 2);
    assert!(server.ask(&format!("DELETE {P}/p?gracePeriodSeconds=0"), "").await.starts_with("200 "));
    assert!(server.ask(&format!("GET {P}/p"), "").await.starts_with("404 "));
    // A Pod that was never bound is removed at once.
    assert!(server.ask(&format!("POST {P}"), pod).await.starts_with("201 "));
    let evicted = server.ask(&format!("POST {P}/p/eviction"), r#"{"metadata":{"name":"p"}}"#).await;
    assert!(evicted.starts_with("201 "), "{evicted}");
    assert!(server.ask(&format!("GET {P}/p"), "").await.starts_with("404 "));
}

/// The condition and the deletion are one write, so no reader sees one without the other.
#[tokio::test]
async fn an_evicted_pod_says_that_it_was_disrupted() {
    const P: &str = "/api/v1/namespaces/default/pods";
    let server = Server::start().await;
    let pod = r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]}}"#;
    assert!(server.ask(&format!("POST {P}"), pod).await.starts_with("201 "));
    let dry = r#"{"metadata":{"name":"p"},"deleteOptions":{"dryRun":["All"]}}"#;
    assert!(server.ask(&format!("POST {P}/p/eviction"), dry).await.starts_with("201 "));
    let conditions = async || server.json(&format!("GET {P}/p"), "").await["status"]["conditions"].clone();
    assert!(conditions().await.is_null());
    let evicted = server.ask(&format!("POST {P}/p/eviction"), r#"{"metadata":{"name":"p"}}"#).await;
    assert!(evicted.starts_with("201 "), "{evicted}");
    let mut condition = conditions().await[0].clone();
    condition.as_object_mut().unwrap().remove("lastTransitionTime");
    expect![[r#"{"lastProbeTime":null,"message":"Eviction API: evicting","observedGeneration":1,"reason":"EvictionByEvictionAPI","status":"True","type":"DisruptionTarget"}"#]].assert_eq(&condition.to_string());
    // A Pod that is terminating already is marked too.
    let pod = pod.replace("\"p\"", "\"q\"");
    assert!(server.ask(&format!("POST {P}"), &pod).await.starts_with("201 "));
    assert!(server.ask(&format!("DELETE {P}/q"), "").await.starts_with("200 "));
    assert!(
        server.ask(&format!("POST {P}/q/eviction"), r#"{"metadata":{"name":"q"}}"#).await.starts_with("201 ")
    );
    let marked = server.json(&format!("GET {P}/q"), "").await;
    assert_eq!(marked["status"]["conditions"][0]["reason"], "EvictionByEvictionAPI");
}

#[tokio::test]
async fn a_namespace_is_removed_when_it_is_finalized() {
    let server = Server::start().await;
    let script = r#"
        POST /api/v1/namespaces <- {"metadata":{"name":"n"}}
        DELETE /api/v1/namespaces/n
        POST /api/v1/namespaces/n/configmaps <- {"metadata":{"name":"c"}}
        PUT /api/v1/namespaces/n/finalize <- {"metadata":{"name":"n"},"spec":{"finalizers":[]}}
        GET /api/v1/namespaces/n
        "#;
    expect![[r#"
        POST /api/v1/namespaces <- {"metadata":{"name":"n"}}
          201 {"apiVersion":"v1","kind":"Namespace","metadata":{"labels":{"kubernetes.io/metadata.name":"n"},"name":"n"},"spec":{"finalizers":["kubernetes"]},"status":{"phase":"Active"}}
        DELETE /api/v1/namespaces/n
          200 {"apiVersion":"v1","kind":"Namespace","metadata":{"deletionTimestamp":"<time>","labels":{"kubernetes.io/metadata.name":"n"},"name":"n"},"spec":{"finalizers":["kubernetes"]},"status":{"phase":"Terminating"}}
        POST /api/v1/namespaces/n/configmaps <- {"metadata":{"name":"c"}}
          403 {"apiVersion":"v1","code":403,"details":{"causes":[{"field":"metadata.namespace","message":"namespace n is being terminated","reason":"NamespaceTerminating"}],"kind":"configmaps","name":"c"},"kind":"Status","message":"configmaps \"c\" is forbidden: unable to create new content in namespace n because it is being terminated","metadata":{},"reason":"Forbidden","status":"Failure"}
        PUT /api/v1/namespaces/n/finalize <- {"metadata":{"name":"n"},"spec":{"finalizers":[]}}
          200 {"apiVersion":"v1","kind":"Namespace","metadata":{"deletionTimestamp":"<time>","labels":{"kubernetes.io/metadata.name":"n"},"name":"n"},"spec":{},"status":{"phase":"Terminating"}}
        GET /api/v1/namespaces/n
          404 {"apiVersion":"v1","code":404,"details":{"kind":"namespaces","name":"n"},"kind":"Status","message":"namespaces \"n\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
    "#]].assert_eq(&server.play(script).await);
}
