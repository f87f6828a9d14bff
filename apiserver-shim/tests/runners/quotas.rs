//! ResourceQuotas and PodDisruptionBudgets with their controllers running.

use std::sync::Arc;

use serde_json::{Value, json};
use shim_core::controllers::served;
use shim_model::access;
use store::{MemoryStore, Store};

use apiserver_shim::pipeline::ObjectRef;

use crate::cluster::{Cluster, context, master_options};

async fn cluster() -> Cluster {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let options = master_options(&store);
    Cluster::start_on(&store, 0, options).await
}

fn usage(cluster: &Cluster, name: &str) -> String {
    let quotas = cluster.list("", "resourcequotas");
    quotas.first().map_or("", |quota| access::text(quota, &["status", "used", name])).to_owned()
}

/// Sixty-four requests at once never exceed a quota, none fails because of the others, and what is deleted can be used again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_quota_is_filled_exactly_and_replenished() {
    const LIMIT: usize = 40;
    let cluster = cluster().await;
    let spec = json!({"hard": {"secrets": LIMIT.to_string()}});
    cluster
        .create(
            "",
            "resourcequotas",
            "ns",
            json!({"kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": spec}),
        )
        .await;
    cluster.until("usage is counted", |c| usage(c, "secrets") == "0").await;
    let secrets = cluster.registry().builtin(&served("", "secrets"));
    let attempts = (0..64).map(|at| {
        let (pipeline, secrets) = (cluster.pipeline.clone(), secrets.clone());
        tokio::spawn(async move {
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s-{at}"), "namespace": "ns"}});
            pipeline.create(&context("create"), ObjectRef::new(&secrets, "ns", ""), secret).await
        })
    });
    let outcomes = futures::future::join_all(attempts).await;
    let (made, refused): (Vec<_>, Vec<_>) =
        outcomes.into_iter().map(|done| done.unwrap()).partition(Result::is_ok);
    assert_eq!(made.len(), LIMIT);
    for refused in refused {
        let message = refused.unwrap_err().message;
        assert!(
            message
                .contains("exceeded quota: q, requested: secrets=1, used: secrets=40, limited: secrets=40"),
            "{message}"
        );
    }
    cluster.until("the quota is used up", |c| usage(c, "secrets") == "40").await;
    for made in made.iter().take(3) {
        let name = made.as_ref().unwrap().stored.as_ref().unwrap().name().to_owned();
        cluster.delete("", "secrets", "ns", &name).await;
    }
    cluster.until("usage follows deletions", |c| usage(c, "secrets") == "37").await;
    cluster.create("", "secrets", "ns", json!({"kind": "Secret", "metadata": {"name": "again"}})).await;
    cluster.until("usage follows creations", |c| usage(c, "secrets") == "38").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_follows_its_pods() {
    let cluster = cluster().await;
    cluster.until("service account", |c| !c.list("", "serviceaccounts").is_empty()).await;
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}});
    let budget = json!({"kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec});
    cluster.create("policy", "poddisruptionbudgets", "ns", budget).await;
    let pod = json!({"kind": "Pod", "metadata": {"name": "p", "labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    cluster.create("", "pods", "ns", pod).await;
    let status = |c: &Cluster| {
        c.list("policy", "poddisruptionbudgets").first().map_or(Value::Null, |b| b["status"].clone())
    };
    let counted = |c: &Cluster| -> bool {
        let status: Value = status(c);
        status["expectedPods"] == 1 && status["desiredHealthy"] == 1 && status["disruptionsAllowed"] == 0
    };
    cluster.until("the Pod is expected", counted).await;
    cluster.delete("policy", "poddisruptionbudgets", "ns", "b").await;
}
