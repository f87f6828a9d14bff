//! ResourceQuotas and LimitRanges over HTTP.

use expect_test::expect;

use crate::harness::Server;

const QUOTA: &str = "/api/v1/namespaces/default/resourcequotas";

/// The controller's write: the limits take effect with the status.
fn with_status(hard: &str, used: &str) -> String {
    format!(
        "POST {QUOTA} <- {{\"metadata\":{{\"name\":\"q\"}},\"spec\":{{\"hard\":{hard}}}}}\nPATCH {QUOTA}/q/status | Content-Type: application/merge-patch+json <- {{\"status\":{{\"hard\":{hard},\"used\":{used}}}}}\n"
    )
}

async fn play(script: String) -> String {
    let server = Server::start().await;
    let played = server.play(&script).await;
    played
        .lines()
        .filter(|line| line.starts_with("  "))
        .map(str::trim_start)
        .skip(2)
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn what_exceeds_a_quota_is_refused_and_the_rest_is_charged() {
    let script = with_status(
        r#"{"configmaps":"1","count/deployments.apps":0}"#,
        r#"{"configmaps":"0","count/deployments.apps":"0"}"#,
    ) + r#"
        POST /api/v1/namespaces/default/configmaps?dryRun=All <- {"metadata":{"name":"a"}}
        GET /api/v1/namespaces/default/resourcequotas/q
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"a"}}
        GET /api/v1/namespaces/default/resourcequotas/q
        POST /api/v1/namespaces/default/configmaps <- {"metadata":{"name":"b"}}
        POST /api/v1/namespaces/default/configmaps?dryRun=All <- {"metadata":{"name":"b"}}
        PUT /api/v1/namespaces/default/configmaps/a <- {"metadata":{"name":"a"},"data":{"k":"v"}}
        POST /apis/apps/v1/namespaces/default/deployments <- {"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}
        "#;
    expect![[r#"
          201 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"default"}}
          200 {"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"default"},"spec":{"hard":{"configmaps":"1","count/deployments.apps":"0"}},"status":{"hard":{"configmaps":"1","count/deployments.apps":"0"},"used":{"configmaps":"0","count/deployments.apps":"0"}}}
          201 {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"default"}}
          200 {"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"default"},"spec":{"hard":{"configmaps":"1","count/deployments.apps":"0"}},"status":{"hard":{"configmaps":"1","count/deployments.apps":"0"},"used":{"configmaps":"1","count/deployments.apps":"0"}}}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"configmaps","name":"b"},"kind":"Status","message":"configmaps \"b\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1","metadata":{},"reason":"Forbidden","status":"Failure"}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"configmaps","name":"b"},"kind":"Status","message":"configmaps \"b\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1","metadata":{},"reason":"Forbidden","status":"Failure"}
          200 {"apiVersion":"v1","data":{"k":"v"},"kind":"ConfigMap","metadata":{"name":"a","namespace":"default"}}
          403 {"apiVersion":"v1","code":403,"details":{"group":"apps","kind":"deployments","name":"d"},"kind":"Status","message":"deployments.apps \"d\" is forbidden: exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=0, limited: count/deployments.apps=0","metadata":{},"reason":"Forbidden","status":"Failure"}"#]].assert_eq(&play(script).await);
}

#[tokio::test]
async fn compute_quotas_and_resizes() {
    let script = with_status(
        r#"{"pods":"2","requests.cpu":"1","limits.memory":"1Gi"}"#,
        r#"{"pods":"0","requests.cpu":"0","limits.memory":"0"}"#,
    ) + r#"
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"bare"},"spec":{"containers":[{"name":"c","image":"i"}]}}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"generateName":"large-"},"spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"2"},"limits":{"memory":"1Gi"}}}]}}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"500m"},"limits":{"memory":"512Mi"}}}]}}
        PATCH /api/v1/namespaces/default/pods/p/resize | Content-Type: application/strategic-merge-patch+json <- {"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"1500m"}}}]}}
        PATCH /api/v1/namespaces/default/pods/p/resize | Content-Type: application/strategic-merge-patch+json <- {"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"750m"}}}]}}
        GET /api/v1/namespaces/default/resourcequotas/q
        GET /api/v1/namespaces/default/resourcequotas | Accept: application/json;as=Table;v=v1;g=meta.k8s.io
        "#;
    let played = play(script).await;
    let shown: Vec<&str> = played.lines().filter(|line| !line.contains(r#""kind":"Pod""#)).collect();
    let hidden = hide_suffix(&shown.join("\n"));
    expect![[r#"
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"bare"},"kind":"Status","message":"pods \"bare\" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c","metadata":{},"reason":"Forbidden","status":"Failure"}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"large-xxxxx"},"kind":"Status","message":"pods \"large-xxxxx\" is forbidden: exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=0, limited: requests.cpu=1","metadata":{},"reason":"Forbidden","status":"Failure"}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"p"},"kind":"Status","message":"pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=1, used: requests.cpu=500m, limited: requests.cpu=1","metadata":{},"reason":"Forbidden","status":"Failure"}
          200 {"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q","namespace":"default"},"spec":{"hard":{"limits.memory":"1Gi","pods":"2","requests.cpu":"1"}},"status":{"hard":{"limits.memory":"1Gi","pods":"2","requests.cpu":"1"},"used":{"limits.memory":"512Mi","pods":"1","requests.cpu":"750m"}}}
          200 {"apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"description":"Name of the object, unique among its kind in the namespace.","format":"name","name":"Name","priority":0,"type":"string"},{"description":"Request of the object.","format":"","name":"Request","priority":0,"type":"string"},{"description":"Limit of the object.","format":"","name":"Limit","priority":0,"type":"string"},{"description":"Time since the object was created.","format":"","name":"Age","priority":0,"type":"string"}],"kind":"Table","metadata":{},"rows":[{"cells":["q","pods: 1/2, requests.cpu: 750m/1","limits.memory: 512Mi/1Gi","<age>"],"object":{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"q","namespace":"default"}}}]}"#]].assert_eq(&hidden);
}

/// Hides the suffix of a generated name.
fn hide_suffix(text: &str) -> String {
    match text.find("large-") {
        Some(at) => text.replace(&text[at..at + 11], "large-xxxxx"),
        None => text.to_owned(),
    }
}

#[tokio::test]
async fn limit_ranges_give_defaults_and_bounds() {
    let server = Server::start().await;
    let script = r#"
        POST /api/v1/namespaces/default/limitranges <- {"metadata":{"name":"l"},"spec":{"limits":[{"type":"Container","max":{"cpu":1},"defaultRequest":{"cpu":"100m"}},{"type":"PersistentVolumeClaim","max":{"storage":"1Gi"}}]}}
        GET /api/v1/namespaces/default/limitranges/l
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"p"},"spec":{"automountServiceAccountToken":false,"containers":[{"name":"c","image":"i"}]}}
        POST /api/v1/namespaces/default/pods <- {"metadata":{"name":"large"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"2"}}}]}}
        PATCH /api/v1/namespaces/default/pods/p/resize | Content-Type: application/strategic-merge-patch+json <- {"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"3"}}}]}}
        POST /api/v1/namespaces/default/persistentvolumeclaims <- {"metadata":{"name":"c"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"2Gi"}}}}
        GET /api/v1/namespaces/default/limitranges | Accept: application/json;as=Table;v=v1;g=meta.k8s.io
        "#;
    let played = server.play(script).await;
    let lines: Vec<&str> =
        played.lines().filter(|line| line.starts_with("  ")).map(str::trim_start).collect();
    let pod: serde_json::Value = serde_json::from_str(lines[2].trim_start_matches("201 ")).unwrap();
    expect![[r#"{"kubernetes.io/limit-ranger":"LimitRanger plugin set: cpu request for container c; cpu limit for container c"} {"limits":{"cpu":"1"},"requests":{"cpu":"100m"}}"#]].assert_eq(&format!("{} {}", pod["metadata"]["annotations"], pod["spec"]["containers"][0]["resources"]));
    let others: Vec<&str> =
        lines.into_iter().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| line).collect();
    expect![[r#"
          201 {"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"l","namespace":"default"},"spec":{"limits":[{"default":{"cpu":"1"},"defaultRequest":{"cpu":"100m"},"max":{"cpu":"1"},"type":"Container"},{"max":{"storage":"1Gi"},"type":"PersistentVolumeClaim"}]}}
          200 {"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"l","namespace":"default"},"spec":{"limits":[{"default":{"cpu":"1"},"defaultRequest":{"cpu":"100m"},"max":{"cpu":"1"},"type":"Container"},{"max":{"storage":"1Gi"},"type":"PersistentVolumeClaim"}]}}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"large"},"kind":"Status","message":"pods \"large\" is forbidden: maximum cpu usage per Container is 1, but limit is 2","metadata":{},"reason":"Forbidden","status":"Failure"}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"pods","name":"p"},"kind":"Status","message":"pods \"p\" is forbidden: maximum cpu usage per Container is 1, but limit is 3","metadata":{},"reason":"Forbidden","status":"Failure"}
          403 {"apiVersion":"v1","code":403,"details":{"kind":"persistentvolumeclaims","name":"c"},"kind":"Status","message":"persistentvolumeclaims \"c\" is forbidden: maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi","metadata":{},"reason":"Forbidden","status":"Failure"}
          200 {"apiVersion":"meta.k8s.io/v1","columnDefinitions":[{"description":"Name of the object, unique among its kind in the namespace.","format":"name","name":"Name","priority":0,"type":"string"},{"description":"Created At of the object.","format":"","name":"Created At","priority":0,"type":"date"}],"kind":"Table","metadata":{},"rows":[{"cells":["l","<time>"],"object":{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"l","namespace":"default"}}}]}"#]].assert_eq(&others.join("\n"));
}
