//! Evictions and PodDisruptionBudgets over HTTP.

use expect_test::expect;

use crate::harness::Server;

#[tokio::test]
async fn evictions_ask_the_budget_in_their_transaction() {
    let server = Server::start().await;
    let pod = r#"{"metadata":{"name":"NAME","labels":{"app":"a"}},"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"c","image":"i"}]}}"#;
    for name in ["a", "b", "c"] {
        server.ask("POST /api/v1/namespaces/default/pods", &pod.replace("NAME", name)).await;
        let line = format!(
            "PATCH /api/v1/namespaces/default/pods/{name}/status | Content-Type: application/merge-patch+json"
        );
        server
            .ask(&line, r#"{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#)
            .await;
    }
    let script = r#"
        POST /apis/policy/v1/namespaces/default/poddisruptionbudgets <- {"metadata":{"name":"b"},"spec":{"minAvailable":2,"selector":{"matchLabels":{"app":"a"}}}}
        POST /api/v1/namespaces/default/pods/a/eviction <- {"metadata":{"name":"a"}}
        PATCH /apis/policy/v1/namespaces/default/poddisruptionbudgets/b/status | Content-Type: application/merge-patch+json <- {"status":{"observedGeneration":1,"disruptionsAllowed":1,"currentHealthy":3,"desiredHealthy":2,"expectedPods":3}}
        POST /api/v1/namespaces/default/pods/a/eviction?dryRun=All <- {"metadata":{"name":"a"}}
        POST /api/v1/namespaces/default/pods/a/eviction <- {"metadata":{"name":"a"}}
        POST /api/v1/namespaces/default/pods/b/eviction <- {"metadata":{"name":"b"}}
        POST /apis/policy/v1/namespaces/default/poddisruptionbudgets <- {"metadata":{"name":"other"},"spec":{"selector":{}}}
        POST /api/v1/namespaces/default/pods/b/eviction <- {"metadata":{"name":"b"}}
        GET /api/v1/namespaces/default/pods/a
        "#;
    let played = server.play(script).await;
    let answers: Vec<&str> =
        played.lines().filter(|line| line.starts_with("  ")).map(str::trim_start).collect();
    expect![[r#"
          429 {"apiVersion":"v1","code":429,"details":{"causes":[{"message":"The disruption budget b is still being processed by the server.","reason":"DisruptionBudget"}],"retryAfterSeconds":10},"kind":"Status","message":"Cannot evict pod as it would violate the pod's disruption budget.","metadata":{},"reason":"TooManyRequests","status":"Failure"}
          200 {"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"generation":1,"name":"b","namespace":"default"},"spec":{"minAvailable":2,"selector":{"matchLabels":{"app":"a"}}},"status":{"currentHealthy":3,"desiredHealthy":2,"disruptionsAllowed":1,"expectedPods":3,"observedGeneration":1}}
          201 {"apiVersion":"v1","code":201,"kind":"Status","metadata":{},"status":"Success"}
          201 {"apiVersion":"v1","code":201,"kind":"Status","metadata":{},"status":"Success"}
          429 {"apiVersion":"v1","code":429,"details":{"causes":[{"message":"The disruption budget b does not allow evicting pods currently","reason":"DisruptionBudget"}]},"kind":"Status","message":"Cannot evict pod as it would violate the pod's disruption budget.","metadata":{},"reason":"TooManyRequests","status":"Failure"}
          201 {"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"generation":1,"name":"other","namespace":"default"},"spec":{"selector":{}},"status":{"currentHealthy":0,"desiredHealthy":0,"disruptionsAllowed":0,"expectedPods":0}}
          201 {"apiVersion":"v1","code":500,"kind":"Status","message":"This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.","metadata":{},"status":"Failure"}
          404 {"apiVersion":"v1","code":404,"details":{"kind":"pods","name":"a"},"kind":"Status","message":"pods \"a\" not found","metadata":{},"reason":"NotFound","status":"Failure"}"#]].assert_eq(&answers[1..].join("\n"));
    let budget = server.json("GET /apis/policy/v1/namespaces/default/poddisruptionbudgets/b", "").await;
    let names: Vec<&String> = budget["status"]["disruptedPods"].as_object().unwrap().keys().collect();
    assert_eq!(
        (names, &budget["status"]["disruptionsAllowed"]),
        (vec![&"a".to_owned()], &serde_json::json!(0))
    );
}
