//! Create, read, update and patch; dry runs, warnings and errors.

use expect_test::expect;
use serde_json::json;

use crate::harness::Server;

const CM: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn objects_are_created_read_updated_and_patched() {
    let server = Server::start().await;
    let script = format!(
        r#"
        POST {CM} <- {{"metadata":{{"name":"c"}},"data":{{"a":"1"}}}}
        POST {CM} <- {{"metadata":{{"name":"c"}}}}
        GET {CM}/c
        PUT {CM}/c <- {{"metadata":{{"name":"c"}},"data":{{"a":"2"}}}}
        PUT {CM}/c <- {{"metadata":{{"name":"c","resourceVersion":"1"}},"data":{{"a":"3"}}}}
        PUT {CM}/none <- {{"metadata":{{"name":"none"}}}}
        PATCH {CM}/c | Content-Type: application/merge-patch+json <- {{"data":{{"b":"x","a":null}}}}
        PATCH {CM}/c | Content-Type: application/json-patch+json <- [{{"op":"test","path":"/data/b","value":"x"}},{{"op":"add","path":"/data/c","value":"y"}}]
        PATCH {CM}/c | Content-Type: application/json-patch+json <- [{{"op":"test","path":"/data/b","value":"other"}}]
        PATCH {CM}/c | Content-Type: application/strategic-merge-patch+json <- {{"metadata":{{"labels":{{"l":"1"}}}}}}
        PATCH {CM}/c | Content-Type: application/apply-patch+yaml <- {{}}
        PATCH {CM}/none | Content-Type: application/merge-patch+json <- {{}}
        GET {CM}/none | Accept: application/yaml
        "#
    );
    expect![[r#"
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"c"},"data":{"a":"1"}}
          201 {"apiVersion":"v1","data":{"a":"1"},"kind":"ConfigMap","metadata":{"name":"c","namespace":"default"}}
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"c"}}
          409 {"apiVersion":"v1","code":409,"details":{"kind":"configmaps","name":"c"},"kind":"Status","message":"configmaps \"c\" already exists","metadata":{},"reason":"AlreadyExists","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps/c
          200 {"apiVersion":"v1","data":{"a":"1"},"kind":"ConfigMap","metadata":{"name":"c","namespace":"default"}}
        PUT /api/v1/namespaces/default/configmaps/c <- {"metadata":{"name":"c"},"data":{"a":"2"}}
          200 {"apiVersion":"v1","data":{"a":"2"},"kind":"ConfigMap","metadata":{"name":"c","namespace":"default"}}
        PUT /api/v1/namespaces/default/configmaps/c <- {"metadata":{"name":"c","resourceVersion":"1"},"data":{"a":"3"}}
          409 {"apiVersion":"v1","code":409,"details":{"kind":"configmaps","name":"c"},"kind":"Status","message":"Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again","metadata":{},"reason":"Conflict","status":"Failure"}
        PUT /api/v1/namespaces/default/configmaps/none <- {"metadata":{"name":"none"}}
          404 {"apiVersion":"v1","code":404,"details":{"kind":"configmaps","name":"none"},"kind":"Status","message":"configmaps \"none\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        PATCH /api/v1/namespaces/default/configmaps/c | Content-Type: application/merge-patch+json <- {"data":{"b":"x","a":null}}
          200 {"apiVersion":"v1","data":{"b":"x"},"kind":"ConfigMap","metadata":{"name":"c","namespace":"default"}}
        PATCH /api/v1/namespaces/default/configmaps/c | Content-Type: application/json-patch+json <- [{"op":"test","path":"/data/b","value":"x"},{"op":"add","path":"/data/c","value":"y"}]
          200 {"apiVersion":"v1","data":{"b":"x","c":"y"},"kind":"ConfigMap","metadata":{"name":"c","namespace":"default"}}
        PATCH /api/v1/namespaces/default/configmaps/c | Content-Type: application/json-patch+json <- [{"op":"test","path":"/data/b","value":"other"}]
          422 {"apiVersion":"v1","code":422,"details":{},"kind":"Status","message":"the server rejected our request due to an error in our request","metadata":{},"reason":"Invalid","status":"Failure"}
        PATCH /api/v1/namespaces/default/configmaps/c | Content-Type: application/strategic-merge-patch+json <- {"metadata":{"labels":{"l":"1"}}}
          200 {"apiVersion":"v1","data":{"b":"x","c":"y"},"kind":"ConfigMap","metadata":{"labels":{"l":"1"},"name":"c","namespace":"default"}}
        PATCH /api/v1/namespaces/default/configmaps/c | Content-Type: application/apply-patch+yaml <- {}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"fieldManager","message":"Required value: is required for apply patch","reason":"FieldValueRequired"}],"group":"meta.k8s.io","kind":"PatchOptions"},"kind":"Status","message":"PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch","metadata":{},"reason":"Invalid","status":"Failure"}
        PATCH /api/v1/namespaces/default/configmaps/none | Content-Type: application/merge-patch+json <- {}
          404 {"apiVersion":"v1","code":404,"details":{"kind":"configmaps","name":"none"},"kind":"Status","message":"configmaps \"none\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps/none | Accept: application/yaml
          404 apiVersion: v1
        code: 404
        details:
          kind: configmaps
          name: none
        kind: Status
        message: configmaps "none" not found
        metadata: {}
        reason: NotFound
        status: Failure
    "#]].assert_eq(&server.play(&script).await);
}

#[tokio::test]
async fn dry_runs_write_nothing_and_warnings_are_sent() {
    let server = Server::start().await;
    let script = format!(
        r#"
        POST {CM}?dryRun=All <- {{"metadata":{{"name":"d"}}}}
        GET {CM}/d
        POST {CM}?dryRun=Some <- {{"metadata":{{"name":"d"}}}}
        POST {CM} <- {{"metadata":{{"name":"w"}},"oops":1}}
        POST {CM}?fieldValidation=Strict <- {{"metadata":{{"name":"s"}},"oops":1}}
        POST {CM} <- {{"metadata":{{"name":"Bad Name"}}}}
        POST {CM} <- {{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"s"}}}}
        POST {CM} <- {{broken
        POST {CM} | Content-Type: application/vnd.kubernetes.protobuf <- k8s
        POST {CM} | Content-Type: application/yaml <- metadata: {{name: yaml}}
        POST /api/v1/namespaces/none/configmaps <- {{"metadata":{{"name":"c"}}}}
        POST /api/v1/namespaces/default/wombats <- {{}}
        PUT {CM} <- {{}}
        GET {CM}/none | Accept: text/html
        "#
    );
    expect![[r#"
        POST /api/v1/namespaces/default/configmaps?dryRun=All <- {"metadata":{"name":"d"}}
          201 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d","namespace":"default"}}
        GET /api/v1/namespaces/default/configmaps/d
          404 {"apiVersion":"v1","code":404,"details":{"kind":"configmaps","name":"d"},"kind":"Status","message":"configmaps \"d\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        POST /api/v1/namespaces/default/configmaps?dryRun=Some <- {"metadata":{"name":"d"}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"dryRun","message":"Unsupported value: [\"Some\"]: supported values: \"All\"","reason":"FieldValueNotSupported"}],"group":"meta.k8s.io","kind":"CreateOptions"},"kind":"Status","message":"CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"w"},"oops":1}
          201 299 - "unknown field \"oops\"" {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"w","namespace":"default"}}
        POST /api/v1/namespaces/default/configmaps?fieldValidation=Strict <- {"metadata":{"name":"s"},"oops":1}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"oops\"","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"Bad Name"}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"metadata.name","message":"Invalid value: \"Bad Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')","reason":"FieldValueInvalid"}],"kind":"ConfigMap","name":"Bad Name"},"kind":"Status","message":"ConfigMap \"Bad Name\" is invalid: metadata.name: Invalid value: \"Bad Name\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')","metadata":{},"reason":"Invalid","status":"Failure"}
        POST /api/v1/namespaces/default/configmaps <- {"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"}}
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /api/v1/namespaces/default/configmaps <- {broken
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character 'b' looking for beginning of object key string ({broken)","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /api/v1/namespaces/default/configmaps | Content-Type: application/vnd.kubernetes.protobuf <- k8s
          400 {"apiVersion":"v1","code":400,"kind":"Status","message":"the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] (6b3873)","metadata":{},"reason":"BadRequest","status":"Failure"}
        POST /api/v1/namespaces/default/configmaps | Content-Type: application/yaml <- metadata: {name: yaml}
          201 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"yaml","namespace":"default"}}
        POST /api/v1/namespaces/none/configmaps <- {"metadata":{"name":"c"}}
          404 {"apiVersion":"v1","code":404,"details":{"kind":"namespaces","name":"none"},"kind":"Status","message":"namespaces \"none\" not found","metadata":{},"reason":"NotFound","status":"Failure"}
        POST /api/v1/namespaces/default/wombats <- {}
          404 {"apiVersion":"v1","code":404,"details":{},"kind":"Status","message":"the server could not find the requested resource","metadata":{},"reason":"NotFound","status":"Failure"}
        PUT /api/v1/namespaces/default/configmaps <- {}
          405 {"apiVersion":"v1","code":405,"details":{},"kind":"Status","message":"the server does not allow this method on the requested resource","metadata":{},"reason":"MethodNotAllowed","status":"Failure"}
        GET /api/v1/namespaces/default/configmaps/none | Accept: text/html
          406 {"apiVersion":"v1","code":406,"details":{},"kind":"Status","message":"406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf","metadata":{},"reason":"NotAcceptable","status":"Failure"}
    "#]].assert_eq(&server.play(&script).await);
}

#[tokio::test]
async fn generated_names_are_unique() {
    let server = Server::start().await;
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let made = server.json(&format!("POST {CM}"), r#"{"metadata":{"generateName":"g-"}}"#).await;
        let name = made["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(name.starts_with("g-") && name.len() == 7, "{name}");
        names.insert(name);
    }
    assert_eq!(names.len(), 20);
}

#[tokio::test]
async fn workloads_scale_and_keep_status_and_spec_apart() {
    let server = Server::start().await;
    const D: &str = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = r#"{"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#;
    let made = server.json(&format!("POST {D}"), deployment).await;
    assert_eq!((&made["metadata"]["generation"], &made["status"]), (&1.into(), &serde_json::json!({})));
    let script = format!(
        r#"
        GET {D}/d/scale
        PATCH {D}/d/scale | Content-Type: application/merge-patch+json <- {{"spec":{{"replicas":5}}}}
        PUT {D}/d/scale <- {{"metadata":{{"name":"d"}},"spec":{{"replicas":-1}}}}
        PUT {D}/d/scale <- {{"metadata":{{"name":"d","resourceVersion":"1"}},"spec":{{"replicas":1}}}}
        "#
    );
    expect![[r#"
        GET /apis/apps/v1/namespaces/default/deployments/d/scale
          200 {"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d","namespace":"default"},"spec":{"replicas":2},"status":{"replicas":0,"selector":"a=b"}}
        PATCH /apis/apps/v1/namespaces/default/deployments/d/scale | Content-Type: application/merge-patch+json <- {"spec":{"replicas":5}}
          200 {"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d","namespace":"default"},"spec":{"replicas":5},"status":{"replicas":0,"selector":"a=b"}}
        PUT /apis/apps/v1/namespaces/default/deployments/d/scale <- {"metadata":{"name":"d"},"spec":{"replicas":-1}}
          422 {"apiVersion":"v1","code":422,"details":{"causes":[{"field":"spec.replicas","message":"Invalid value: -1: must be greater than or equal to 0","reason":"FieldValueInvalid"}],"group":"autoscaling","kind":"Scale","name":"d"},"kind":"Status","message":"Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0","metadata":{},"reason":"Invalid","status":"Failure"}
        PUT /apis/apps/v1/namespaces/default/deployments/d/scale <- {"metadata":{"name":"d","resourceVersion":"1"},"spec":{"replicas":1}}
          409 {"apiVersion":"v1","code":409,"details":{"group":"apps","kind":"deployments","name":"d"},"kind":"Status","message":"Operation cannot be fulfilled on deployments.apps \"d\": the object has been modified; please apply your changes to the latest version and try again","metadata":{},"reason":"Conflict","status":"Failure"}
    "#]].assert_eq(&server.play(&script).await);
    let patch = r#"{"spec":{"replicas":9},"status":{"observedGeneration":2}}"#;
    let line = format!("PATCH {D}/d/status | Content-Type: application/merge-patch+json");
    let now = server.json(&line, patch).await;
    assert_eq!((&now["spec"]["replicas"], &now["status"]["observedGeneration"]), (&5.into(), &2.into()));
    assert_eq!(now["metadata"]["generation"], 2);
}

#[tokio::test]
async fn services_never_share_an_address() {
    let server = Server::start().await;
    const S: &str = "/api/v1/namespaces/default/services";
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..8 {
        let body = format!(
            r#"{{"metadata":{{"name":"s{i}"}},"spec":{{"type":"NodePort","ports":[{{"port":80}}]}}}}"#
        );
        let made = server.json(&format!("POST {S}"), &body).await;
        assert!(seen.insert(made["spec"]["clusterIP"].as_str().unwrap().to_owned()), "{made}");
        assert!(seen.insert(made["spec"]["ports"][0]["nodePort"].to_string()), "{made}");
    }
    let taken = seen.iter().find(|s| s.starts_with("10.")).unwrap();
    let body =
        format!(r#"{{"metadata":{{"name":"t"}},"spec":{{"clusterIP":"{taken}","ports":[{{"port":80}}]}}}}"#);
    let refused = server.json(&format!("POST {S}"), &body).await;
    assert!(refused["message"].as_str().unwrap().ends_with("provided IP is already allocated"), "{refused}");
    // Deleting a Service releases its address.
    let owner = (0..8).map(|i| format!("{S}/s{i}"));
    for path in owner {
        server.ask(&format!("DELETE {path}"), "").await;
    }
    let made = server.json(&format!("POST {S}"), &body).await;
    assert_eq!(made["spec"]["clusterIP"], taken.as_str());
}

#[tokio::test]
async fn a_local_load_balancer_has_a_port_for_health_checks() {
    let server = Server::start().await;
    const S: &str = "/api/v1/namespaces/default/services";
    let body = |name: &str, more: &str| {
        format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"type":"LoadBalancer","ports":[{{"port":80}}],"externalTrafficPolicy":"Local"{more}}}}}"#
        )
    };
    let port = |service: &serde_json::Value| service["spec"]["healthCheckNodePort"].as_i64();
    let made = server.json(&format!("POST {S}"), &body("a", "")).await;
    let allocated = port(&made).unwrap();
    assert!((30_000..=32_767).contains(&allocated), "{made}");
    assert_ne!(made["spec"]["ports"][0]["nodePort"], allocated);
    let put = server.json(&format!("PUT {S}/a"), &body("a", "")).await;
    assert_eq!(port(&put), Some(allocated), "{put}");
    let taken = server
        .json(&format!("POST {S}"), &body("b", &format!(r#","healthCheckNodePort":{allocated}"#)))
        .await;
    assert!(taken["message"].as_str().unwrap().ends_with("provided port is already allocated"), "{taken}");
    let merge = |to: &str| format!("PATCH {to} | Content-Type: application/merge-patch+json");
    let cluster =
        server.json(&merge(&format!("{S}/a")), r#"{"spec":{"externalTrafficPolicy":"Cluster"}}"#).await;
    assert_eq!(port(&cluster), None, "{cluster}");
    let again = server
        .json(&format!("POST {S}"), &body("b", &format!(r#","healthCheckNodePort":{allocated}"#)))
        .await;
    assert_eq!(port(&again), Some(allocated), "{again}");
}

#[tokio::test]
async fn concurrent_patches_are_all_applied() {
    let server = std::sync::Arc::new(Server::start().await);
    server.ask(&format!("POST {CM}"), r#"{"metadata":{"name":"c"},"data":{}}"#).await;
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let server = server.clone();
            tokio::spawn(async move {
                let line = format!("PATCH {CM}/c | Content-Type: application/merge-patch+json");
                server.ask(&line, &format!(r#"{{"data":{{"k{i}":"v"}}}}"#)).await
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().starts_with("200 "));
    }
    let now = server.json(&format!("GET {CM}/c"), "").await;
    assert_eq!(now["data"].as_object().unwrap().len(), 16);
}

#[tokio::test]
async fn an_update_may_omit_what_admission_added_to_a_pod() {
    let server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let body = r#"{"metadata":{"name":"p"},"spec":{"serviceAccountName":"default","automountServiceAccountToken":false,"containers":[{"name":"c","image":"i:1"}]}}"#;
    let made = server.json(&format!("POST {pods}"), body).await;
    let changed = server.json(&format!("PUT {pods}/p"), &body.replace("i:1", "i:2")).await;
    assert_eq!(changed["spec"]["containers"][0]["image"], "i:2");
    for kept in ["tolerations", "priority", "preemptionPolicy"] {
        assert!(!made["spec"][kept].is_null());
        assert_eq!(changed["spec"][kept], made["spec"][kept], "{kept}");
    }
}

/// A Pod that is created on a node or bound to it gets the node's zone and region, and is not resized beyond the node.
#[tokio::test]
async fn pods_take_the_topology_of_their_node_and_fit_on_it() {
    let server = Server::start().await;
    let labels =
        json!({"topology.kubernetes.io/zone": "b", "topology.kubernetes.io/region": "r", "other": "x"});
    let node = json!({"metadata": {"name": "n", "labels": labels}});
    server.ask("POST /api/v1/nodes", &node.to_string()).await;
    let status = json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
    let merge = "Content-Type: application/merge-patch+json";
    server.ask(&format!("PATCH /api/v1/nodes/n/status | {merge}"), &status.to_string()).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str, node: Option<&str>| {
        let container = json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}});
        let labels = json!({"topology.kubernetes.io/zone": "own"});
        json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [container], "nodeName": node, "tolerations": [{"operator": "Exists"}]},
        })
        .to_string()
    };
    let created = server.json(&format!("POST {pods}"), &pod("created", Some("n"))).await;
    let waiting = server.json(&format!("POST {pods}"), &pod("bound", None)).await;
    assert_eq!(waiting["metadata"]["labels"], json!({"topology.kubernetes.io/zone": "own"}));
    let binding = json!({"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n"}});
    let bound = server.ask(&format!("POST {pods}/bound/binding"), &binding.to_string()).await;
    assert!(bound.starts_with("201 "), "{bound}");
    let bound = server.json(&format!("GET {pods}/bound"), "").await;
    let expected = json!({"topology.kubernetes.io/zone": "b", "topology.kubernetes.io/region": "r"});
    assert_eq!((&created["metadata"]["labels"], &bound["metadata"]["labels"]), (&expected, &expected));

    let resize = |cpu: &str| {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}).to_string()
    };
    let strategic = "Content-Type: application/strategic-merge-patch+json";
    let refused = server.json(&format!("PATCH {pods}/bound/resize | {strategic}"), &resize("2500m")).await;
    let why = "pods \"bound\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 2500, allocatable: 2000";
    assert_eq!(refused["message"], why);
    assert_eq!(refused["details"]["causes"], json!([{"reason": "NodeCapacity"}]));
    let fits = server.ask(&format!("PATCH {pods}/bound/resize | {strategic}"), &resize("1500m")).await;
    assert!(fits.starts_with("200 "), "{fits}");
}
