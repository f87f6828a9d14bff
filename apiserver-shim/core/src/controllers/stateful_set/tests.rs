//! Members, claims and rollouts of StatefulSets, step by step and at random.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shim_model::access;

use super::*;
use crate::{controllers::Plan, rows::rfc3339, testing::TestCluster};

#[path = "tests/random.rs"]
mod random;

const NOW: Seconds = 10_000;

fn stateful_set(replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "ns"},
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "podManagementPolicy": "OrderedReady",
            "selector": {"matchLabels": {"app": "db"}},
            "revisionHistoryLimit": 2,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "c", "image": "db:1"}]},
            },
        },
    })
}

fn with_claims(scaled: &str, deleted: &str) -> Value {
    let mut set = stateful_set(2);
    set["spec"]["volumeClaimTemplates"] =
        json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]);
    set["spec"]["persistentVolumeClaimRetentionPolicy"] =
        json!({"whenScaled": scaled, "whenDeleted": deleted});
    set
}

fn cluster(set: Value) -> TestCluster {
    let mut cluster = TestCluster { now: NOW, ..TestCluster::default() };
    cluster.add(served("apps", "statefulsets"), set);
    cluster
}

fn next(cluster: &TestCluster) -> Plan {
    let name = ObjectName::new(served("apps", "statefulsets"), "ns", "db");
    cluster.reconcile(&StatefulSetController, &name)
}

fn settle(cluster: &mut TestCluster) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..20 {
        let plan = next(cluster);
        told.extend(plan.events.iter().map(|event| event.message.clone()));
        cluster.apply(&plan);
        if plan.is_empty() {
            return told;
        }
    }
    panic!("does not come to an end");
}

fn make_ready(cluster: &mut TestCluster, pod: &str) {
    cluster.make_ready(pod);
}

fn ready_all(cluster: &mut TestCluster) {
    for pod in cluster.pods().iter().filter(|pod| !pod.is_ready()) {
        make_ready(cluster, &pod.header().name);
    }
}

/// Settles until every Pod is ready and nothing is left to do.
fn roll(cluster: &mut TestCluster) {
    for _ in 0..12 {
        settle(cluster);
        ready_all(cluster);
    }
    settle(cluster);
}

fn set_image(cluster: &mut TestCluster, image: &str) {
    cluster.edit("statefulsets", "db", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    });
}

fn resize(cluster: &mut TestCluster, replicas: i64) {
    cluster.edit("statefulsets", "db", |set| set["spec"]["replicas"] = json!(replicas));
}

fn names(cluster: &TestCluster) -> Vec<String> {
    cluster.pods().iter().map(|pod| pod.header().name.clone()).collect()
}

fn check(cluster: &TestCluster, expected: Expect) {
    let mut lines = Vec::new();
    for value in cluster.all("pods") {
        let pod = crate::testing::pod(value);
        let image = access::text(&value["spec"]["containers"][0], &["image"]);
        let ready = if pod.is_ready() { "ready" } else { "-" };
        lines.push(format!("{} {image} {ready}", pod.header().name));
    }
    let status = &cluster.get("statefulsets", "db")["status"];
    let count = |name: &str| access::int(status, &[name]).unwrap_or(0);
    let same = status["currentRevision"] == status["updateRevision"];
    lines.push(format!(
        "replicas {} ready {} available {} current {} updated {} {}",
        count("replicas"),
        count("readyReplicas"),
        count("availableReplicas"),
        count("currentReplicas"),
        count("updatedReplicas"),
        if same { "done" } else { "updating" },
    ));
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn pods_start_one_after_the_other() {
    let mut cluster = cluster(stateful_set(3));
    settle(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            db-0 db:1 -
            replicas 1 ready 0 available 0 current 1 updated 1 done
        "#]],
    );
    ready_all(&mut cluster);
    settle(&mut cluster);
    assert_eq!(names(&cluster), ["db-0", "db-1"]);
    roll(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            db-0 db:1 ready
            db-1 db:1 ready
            db-2 db:1 ready
            replicas 3 ready 3 available 3 current 3 updated 3 done
        "#]],
    );
    let pod = cluster.get("pods", "db-1");
    let revision = access::text(cluster.get("statefulsets", "db"), &["status", "updateRevision"]);
    assert_eq!(
        pod["metadata"]["labels"],
        json!({
            "app": "db", "statefulset.kubernetes.io/pod-name": "db-1", "apps.kubernetes.io/pod-index": "1",
            "controller-revision-hash": revision,
        })
    );
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-1"), &json!("db")));
}

#[test]
fn a_smaller_set_loses_the_highest_ordinals_one_by_one() {
    let mut cluster = cluster(stateful_set(3));
    roll(&mut cluster);
    resize(&mut cluster, 1);
    let plan = next(&cluster);
    let deleted: Vec<&str> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Delete { target, .. } => Some(&*target.key.name),
            _ => None,
        })
        .collect();
    assert_eq!(deleted, ["db-2"]);
    assert_eq!(plan.events[0].message, "Delete Pod db-2 in StatefulSet db successful");
    // A Pod that is being deleted holds the next one.
    cluster.edit("pods", "db-2", |pod| pod["metadata"]["deletionTimestamp"] = json!(rfc3339(NOW)));
    settle(&mut cluster);
    assert_eq!(names(&cluster), ["db-0", "db-1", "db-2"]);
    cluster.objects.remove(&("pods".to_owned(), Key::new("ns", "db-2")));
    settle(&mut cluster);
    assert_eq!(names(&cluster), ["db-0"]);
}

#[test]
fn a_parallel_set_does_not_wait() {
    let mut set = stateful_set(3);
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    set["spec"]["ordinals"] = json!({"start": 5});
    let mut cluster = cluster(set);
    settle(&mut cluster);
    assert_eq!(names(&cluster), ["db-5", "db-6", "db-7"]);
    resize(&mut cluster, 1);
    settle(&mut cluster);
    assert_eq!(names(&cluster), ["db-5"]);
}

#[test]
fn an_update_goes_from_the_highest_ordinal_to_the_partition() {
    let mut cluster = cluster(stateful_set(3));
    roll(&mut cluster);
    cluster.edit("statefulsets", "db", |set| {
        set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(1);
    });
    set_image(&mut cluster, "db:2");
    settle(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            db-0 db:1 ready
            db-1 db:1 ready
            db-2 db:2 -
            replicas 3 ready 2 available 2 current 2 updated 1 updating
        "#]],
    );
    roll(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            db-0 db:1 ready
            db-1 db:2 ready
            db-2 db:2 ready
            replicas 3 ready 3 available 3 current 1 updated 2 updating
        "#]],
    );
    // A Pod below the partition comes back as it was.
    cluster.objects.remove(&("pods".to_owned(), Key::new("ns", "db-0")));
    roll(&mut cluster);
    assert_eq!(cluster.get("pods", "db-0")["spec"]["containers"][0]["image"], "db:1");
    cluster.edit("statefulsets", "db", |set| {
        set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(0);
    });
    roll(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            db-0 db:2 ready
            db-1 db:2 ready
            db-2 db:2 ready
            replicas 3 ready 3 available 3 current 3 updated 3 done
        "#]],
    );
    set_image(&mut cluster, "db:1");
    roll(&mut cluster);
    let mut numbers: Vec<i64> =
        cluster.all("controllerrevisions").iter().filter_map(|r| access::int(r, &["revision"])).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3], "the earlier template has its revision again, as the newest");
}

#[test]
fn on_delete_waits_for_somebody_to_delete() {
    let mut set = stateful_set(2);
    set["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    let mut cluster = cluster(set);
    roll(&mut cluster);
    set_image(&mut cluster, "db:2");
    roll(&mut cluster);
    cluster.objects.remove(&("pods".to_owned(), Key::new("ns", "db-0")));
    roll(&mut cluster);
    check(
        &cluster,
        expect![[r#"
            db-0 db:2 ready
            db-1 db:1 ready
            replicas 2 ready 2 available 2 current 1 updated 1 updating
        "#]],
    );
}

#[test]
fn a_pod_that_ended_is_replaced() {
    let mut cluster = cluster(stateful_set(2));
    roll(&mut cluster);
    for phase in ["Failed", "Succeeded"] {
        cluster.edit("pods", "db-0", |pod| pod["status"] = json!({"phase": phase}));
        let before = cluster.get("pods", "db-0")["metadata"]["uid"].clone();
        roll(&mut cluster);
        assert_ne!(cluster.get("pods", "db-0")["metadata"]["uid"], before);
    }
}

#[test]
fn a_pod_counts_when_it_has_been_ready_long_enough() {
    let mut set = stateful_set(2);
    set["spec"]["minReadySeconds"] = json!(30);
    let mut cluster = cluster(set);
    settle(&mut cluster);
    ready_all(&mut cluster);
    let plan = next(&cluster);
    assert_eq!(plan.requeue_after, Some(30));
    settle(&mut cluster);
    assert_eq!(names(&cluster), ["db-0"]);
    cluster.now += 30;
    settle(&mut cluster);
    assert_eq!(names(&cluster), ["db-0", "db-1"]);
}

fn owners(cluster: &TestCluster, claim: &str) -> Vec<String> {
    let owners = access::list(cluster.get("persistentvolumeclaims", claim), &["metadata", "ownerReferences"]);
    owners
        .iter()
        .map(|owner| format!("{}/{}", access::text(owner, &["kind"]), access::text(owner, &["name"])))
        .collect()
}

#[test]
fn claims_are_made_before_their_pods_and_kept() {
    let mut cluster = cluster(with_claims("Retain", "Retain"));
    let plan = next(&cluster);
    let kinds: Vec<&str> = plan
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Create { resource, .. } => Some(resource.resource()),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, ["controllerrevisions", "persistentvolumeclaims"]);
    roll(&mut cluster);
    let volume = &cluster.get("pods", "db-1")["spec"]["volumes"];
    assert_eq!(*volume, json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}]));
    let claim = cluster.get("persistentvolumeclaims", "data-db-1");
    assert_eq!(claim["metadata"]["labels"], json!({"app": "db"}));
    resize(&mut cluster, 0);
    roll(&mut cluster);
    assert!(names(&cluster).is_empty());
    assert_eq!(cluster.all("persistentvolumeclaims").len(), 2);
    assert!(owners(&cluster, "data-db-0").is_empty());
}

#[test]
fn the_retention_policy_decides_who_owns_a_claim() {
    for (scaled, deleted, member, removed) in [
        ("Retain", "Retain", vec![], vec![]),
        ("Retain", "Delete", vec!["StatefulSet/db"], vec!["StatefulSet/db"]),
        ("Delete", "Retain", vec![], vec!["Pod/db-1"]),
        ("Delete", "Delete", vec!["StatefulSet/db"], vec!["Pod/db-1"]),
    ] {
        let mut cluster = cluster(with_claims(scaled, deleted));
        roll(&mut cluster);
        assert_eq!(owners(&cluster, "data-db-1"), member, "{scaled} {deleted}");
        resize(&mut cluster, 1);
        let plan = next(&cluster);
        cluster.apply(&plan);
        assert_eq!(owners(&cluster, "data-db-1"), removed, "{scaled} {deleted}");
    }
}

#[test]
fn a_pod_waits_for_the_end_of_its_old_claim() {
    let mut cluster = cluster(with_claims("Delete", "Retain"));
    roll(&mut cluster);
    resize(&mut cluster, 1);
    roll(&mut cluster);
    resize(&mut cluster, 2);
    roll(&mut cluster);
    // The garbage collector has not deleted the claim of the former db-1 yet.
    assert_eq!(names(&cluster), ["db-0"]);
    cluster.objects.remove(&("persistentvolumeclaims".to_owned(), Key::new("ns", "data-db-1")));
    roll(&mut cluster);
    assert_eq!(names(&cluster), ["db-0", "db-1"]);
}

#[test]
fn a_change_of_a_claim_concerns_its_set() {
    let mut cluster = cluster(with_claims("Retain", "Retain"));
    roll(&mut cluster);
    let cache = cluster.cache();
    let view = View::new(&cache, NOW, None);
    let mut keys = Keys::new();
    for change in cache.all_as_added().filter(|change| change.is_of("", "persistentvolumeclaims")) {
        StatefulSetController.keys(&change, &view, &mut keys);
    }
    assert_eq!(keys.len(), 1);
}

/// A size that nobody can reach costs no more than a burst.
#[test]
fn a_huge_set_grows_by_bursts() {
    let mut set = stateful_set(i64::from(i32::MAX));
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    let mut cluster = cluster(set);
    for _ in 0..3 {
        let plan = next(&cluster);
        assert!((1..=510).contains(&plan.actions.len()), "{}", plan.actions.len());
        cluster.apply(&plan);
    }
}
