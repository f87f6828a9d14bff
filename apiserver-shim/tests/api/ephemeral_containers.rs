//! `pods/ephemeralcontainers` with each verb and kind of patch.

use expect_test::expect;
use serde_json::{Value, json};

use crate::harness::Server;

const PATH: &str = "/api/v1/namespaces/default/pods/p/ephemeralcontainers";

/// Names and images of the ephemeral containers, with the generation of the Pod; or the message of a refusal.
fn brief(pod: &Value) -> String {
    if pod["kind"] == "Status" {
        return format!("{} {}", pod["code"], pod["message"].as_str().unwrap_or_default());
    }
    let containers = pod["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default();
    let shown: Vec<String> = containers
        .iter()
        .map(|container| {
            let text = |key: &str| container[key].as_str().unwrap_or_default().to_owned();
            format!(
                "{}={} {} {}",
                text("name"),
                text("image"),
                text("imagePullPolicy"),
                text("targetContainerName")
            )
        })
        .collect();
    format!(
        "generation {} priority {} [{}]",
        pod["metadata"]["generation"],
        pod["spec"]["priority"],
        shown.join(", ")
    )
}

async fn with_pod() -> Server {
    let server = Server::start().await;
    let pod = r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
    assert!(server.ask("POST /api/v1/namespaces/default/pods", pod).await.starts_with("201"));
    server
}

async fn patch(server: &Server, kind: &str, body: &str) -> String {
    let line = format!("PATCH {PATH}?fieldManager=t | Content-Type: application/{kind}");
    brief(&server.json(&line, body).await)
}

#[tokio::test]
async fn each_kind_of_write_adds_containers() {
    let server = with_pod().await;
    let mut seen = vec![
        patch(&server, "strategic-merge-patch+json", r#"{"spec":{"priority":7,"ephemeralContainers":[{"name":"a","image":"i:1","targetContainerName":"c"}]}}"#).await,
        patch(&server, "json-patch+json", r#"[{"op":"add","path":"/spec/ephemeralContainers/-","value":{"name":"b","image":"i"}}]"#).await,
        patch(&server, "apply-patch+yaml", r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"ephemeralContainers":[{"name":"s","image":"i:2"}]}}"#).await,
        patch(&server, "merge-patch+json", r#"{"spec":{"ephemeralContainers":[{"name":"z","image":"i"}]}}"#).await,
        patch(&server, "strategic-merge-patch+json", r#"{"metadata":{"labels":{"a":"b"}}}"#).await,
    ];
    let mut pod = server.json(&format!("GET {PATH}"), "").await;
    assert!(pod["metadata"].get("labels").is_none(), "nothing else changes");
    let list = pod["spec"]["ephemeralContainers"].as_array_mut().unwrap();
    list.push(json!({ "name": "put", "image": "i" }));
    pod["spec"]["containers"][0]["image"] = json!("other");
    seen.push(brief(&server.json(&format!("PUT {PATH}"), &pod.to_string()).await));
    pod["metadata"]["resourceVersion"] = json!("1");
    seen.push(brief(&server.json(&format!("PUT {PATH}"), &pod.to_string()).await));
    seen.push(brief(&server.json("GET /api/v1/namespaces/default/pods/p", "").await));
    seen.push(brief(&server.json(&format!("POST {PATH}"), &pod.to_string()).await));
    expect![[r#"
        generation 2 priority 0 [a=i:1 IfNotPresent c]
        generation 3 priority 0 [a=i:1 IfNotPresent c, b=i Always ]
        generation 4 priority 0 [a=i:1 IfNotPresent c, b=i Always , s=i:2 IfNotPresent ]
        422 Pod "p" is invalid: [spec.ephemeralContainers: Forbidden: existing ephemeral containers "a" may not be removed
        , spec.ephemeralContainers: Forbidden: existing ephemeral containers "b" may not be removed
        , spec.ephemeralContainers: Forbidden: existing ephemeral containers "s" may not be removed
        ]
        generation 4 priority 0 [a=i:1 IfNotPresent c, b=i Always , s=i:2 IfNotPresent ]
        generation 5 priority 0 [a=i:1 IfNotPresent c, b=i Always , s=i:2 IfNotPresent , put=i Always ]
        409 Operation cannot be fulfilled on pods "p": the object has been modified; please apply your changes to the latest version and try again
        generation 5 priority 0 [a=i:1 IfNotPresent c, b=i Always , s=i:2 IfNotPresent , put=i Always ]
        405 the server does not allow this method on the requested resource"#]].assert_eq(&seen.join("\n"));
    let stored = server.json("GET /api/v1/namespaces/default/pods/p", "").await;
    assert_eq!(stored["spec"]["containers"][0]["image"], "i");
    let managers = stored["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let of_subresource: Vec<String> = managers
        .iter()
        .filter(|entry| entry["subresource"] == "ephemeralcontainers")
        .map(|entry| format!("{} {}", entry["manager"], entry["operation"]))
        .collect();
    expect![[r#"
        "t" "Apply"
        "t" "Update"
        "unknown" "Update""#]]
    .assert_eq(&of_subresource.join("\n"));
}

#[tokio::test]
async fn what_upstream_refuses_is_refused() {
    let server = with_pod().await;
    let bodies = [
        r#"{"name":"c","image":"i"}"#,
        r#"{"name":"e","image":"i","targetContainerName":"none"}"#,
        r#"{"name":"e","image":"i","ports":[{"containerPort":1}],"resources":{"limits":{"cpu":"1"}},"livenessProbe":{"tcpSocket":{"port":1}},"lifecycle":{"preStop":{"exec":{"command":["x"]}}}}"#,
        r#"{"name":"e","image":"i","restartPolicy":"Always"}"#,
        r#"{"name":"e","image":"i","volumeMounts":[{"name":"v","mountPath":"/v","subPath":"s"}]}"#,
        r#"{"name":"E","image":""}"#,
    ];
    let mut seen = Vec::new();
    for body in bodies {
        let body = format!(r#"{{"spec":{{"ephemeralContainers":[{body}]}}}}"#);
        seen.push(patch(&server, "strategic-merge-patch+json", &body).await);
    }
    let created = r#"{"metadata":{"name":"q"},"spec":{"containers":[{"name":"c","image":"i"}],"ephemeralContainers":[{"name":"e","image":"i"}]}}"#;
    seen.push(brief(&server.json("POST /api/v1/namespaces/default/pods", created).await));
    let mirror = r#"{"metadata":{"name":"p2","annotations":{"kubernetes.io/config.mirror":"x"}},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]}}"#;
    server.json("POST /api/v1/namespaces/default/pods", mirror).await;
    let line = format!("PATCH {} | Content-Type: application/merge-patch+json", PATH.replace("/p/", "/p2/"));
    let body = r#"{"spec":{"ephemeralContainers":[{"name":"e","image":"i"}]}}"#;
    seen.push(brief(&server.json(&line, body).await));
    expect![[r#"
        422 Pod "p" is invalid: spec.ephemeralContainers[0].name: Duplicate value: "c"
        422 Pod "p" is invalid: spec.ephemeralContainers[0].targetContainerName: Not found: "none"
        422 Pod "p" is invalid: [spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container, spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container, spec.ephemeralContainers[0].livenessProbe: Forbidden: cannot be set for an Ephemeral Container, spec.ephemeralContainers[0].lifecycle: Forbidden: cannot be set for an Ephemeral Container]
        422 Pod "p" is invalid: spec.ephemeralContainers[0].restartPolicy: Forbidden: cannot be set for an Ephemeral Container
        422 Pod "p" is invalid: [spec.ephemeralContainers[0].volumeMounts[0].name: Not found: "v", spec.ephemeralContainers[0].volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container]
        422 Pod "p" is invalid: [spec.ephemeralContainers[0].name: Invalid value: "E": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), spec.ephemeralContainers[0].image: Required value]
        422 Pod "q" is invalid: spec.ephemeralContainers: Forbidden: cannot be set on create
        422 Pod "p2" is invalid: : Forbidden: static pods do not support ephemeral containers"#]].assert_eq(&seen.join("\n"));
}
