//! Rollouts, step by step and at random.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    controllers::condition,
    testing::{TestCluster, deployment, deployments},
};

/// Sizes of the ReplicaSets by image, ready Pods, and the conditions of the Deployment.
fn summary(cluster: &TestCluster) -> String {
    let mut out = String::new();
    for set in cluster.all("replicasets") {
        out += &format!(
            "{} r{} {}/{}\n",
            set["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap(),
            set["metadata"]["annotations"][REVISION_ANNOTATION].as_str().unwrap(),
            set["status"]["readyReplicas"].as_i64().unwrap_or(0),
            set["spec"]["replicas"],
        );
    }
    let status = &cluster.get("deployments", "web")["status"];
    for kind in ["Available", "Progressing"] {
        if let Some(c) = condition(status, kind) {
            out += &format!("{kind} {} {}\n", c["status"].as_str().unwrap(), c["reason"].as_str().unwrap());
        }
    }
    out
}

fn check(cluster: &TestCluster, expected: Expect) {
    let mut lines: Vec<String> = summary(cluster).lines().map(str::to_owned).collect();
    lines.sort();
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

fn ready_all(cluster: &mut TestCluster) {
    for pod in cluster.pods() {
        if !pod.is_ready() {
            cluster.make_ready(&pod.header().name);
        }
    }
}

fn set_image(cluster: &mut TestCluster, image: &str) {
    cluster.edit("deployments", "web", |d| {
        d["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image)
    });
}

fn started(replicas: i64) -> TestCluster {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    cluster.add(deployments(), deployment(replicas, json!(1), json!(0)));
    cluster.converge("web");
    cluster
}

#[test]
fn a_rollout_can_be_undone() {
    let mut cluster = started(3);
    check(
        &cluster,
        expect![[r#"
        Available False MinimumReplicasUnavailable
        Progressing True ReplicaSetUpdated
        web:1 r1 0/3
    "#]],
    );
    ready_all(&mut cluster);
    cluster.converge("web");
    check(
        &cluster,
        expect![[r#"
        Available True MinimumReplicasAvailable
        Progressing True NewReplicaSetAvailable
        web:1 r1 3/3
    "#]],
    );
    set_image(&mut cluster, "web:2");
    cluster.converge("web");
    check(
        &cluster,
        expect![[r#"
        Available True MinimumReplicasAvailable
        Progressing True ReplicaSetUpdated
        web:1 r1 3/3
        web:2 r2 0/1
    "#]],
    );
    for _ in 0..3 {
        ready_all(&mut cluster);
        cluster.converge("web");
    }
    check(
        &cluster,
        expect![[r#"
        Available True MinimumReplicasAvailable
        Progressing True NewReplicaSetAvailable
        web:1 r1 0/0
        web:2 r2 3/3
    "#]],
    );
    // What `kubectl rollout undo` does: the old template comes back, and its ReplicaSet with a new revision.
    set_image(&mut cluster, "web:1");
    for _ in 0..4 {
        cluster.converge("web");
        ready_all(&mut cluster);
    }
    cluster.converge("web");
    check(
        &cluster,
        expect![[r#"
        Available True MinimumReplicasAvailable
        Progressing True NewReplicaSetAvailable
        web:1 r3 3/3
        web:2 r2 0/0
    "#]],
    );
    let annotations = &cluster.get("deployments", "web")["metadata"]["annotations"];
    assert_eq!(annotations[REVISION_ANNOTATION], "3");
}

#[test]
fn the_revision_history_is_limited() {
    let mut cluster = started(1);
    for n in 2..7 {
        ready_all(&mut cluster);
        cluster.converge("web");
        set_image(&mut cluster, &format!("web:{n}"));
        cluster.converge("web");
        ready_all(&mut cluster);
        cluster.converge("web");
    }
    check(
        &cluster,
        expect![[r#"
        Available True MinimumReplicasAvailable
        Progressing True NewReplicaSetAvailable
        web:4 r4 0/0
        web:5 r5 0/0
        web:6 r6 1/1
    "#]],
    );
}

#[test]
fn a_missed_progress_deadline_is_reported() {
    let mut cluster = started(2);
    let plan = cluster.reconcile_deployment("web");
    assert_eq!(plan.requeue_after, Some(601));
    cluster.now += 602;
    cluster.converge("web");
    check(
        &cluster,
        expect![[r#"
        Available False MinimumReplicasUnavailable
        Progressing False ProgressDeadlineExceeded
        web:1 r1 0/2
    "#]],
    );
}

#[test]
fn a_rollout_can_be_paused_and_resumed() {
    let mut cluster = started(2);
    ready_all(&mut cluster);
    cluster.edit("deployments", "web", |d| d["spec"]["paused"] = json!(true));
    set_image(&mut cluster, "web:2");
    cluster.converge("web");
    check(
        &cluster,
        expect![[r#"
        Available True MinimumReplicasAvailable
        Progressing Unknown DeploymentPaused
        web:1 r1 2/2
    "#]],
    );
    cluster.edit("deployments", "web", |d| d["spec"]["paused"] = json!(false));
    cluster.converge("web");
    check(
        &cluster,
        expect![[r#"
        Available True MinimumReplicasAvailable
        Progressing True ReplicaSetUpdated
        web:1 r1 2/2
        web:2 r2 0/1
    "#]],
    );
}

#[test]
fn recreate_waits_for_the_end_of_old_pods() {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    let mut value = deployment(2, json!(1), json!(0));
    value["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.add(deployments(), value);
    cluster.converge("web");
    ready_all(&mut cluster);
    cluster.converge("web");
    set_image(&mut cluster, "web:2");
    let plan = cluster.reconcile_deployment("web");
    cluster.apply(&plan);
    check(
        &cluster,
        expect![[r#"
        Available True MinimumReplicasAvailable
        Progressing True NewReplicaSetAvailable
        web:1 r1 2/0
    "#]],
    );
    cluster.converge("web");
    check(
        &cluster,
        expect![[r#"
        Available False MinimumReplicasUnavailable
        Progressing True ReplicaSetUpdated
        web:1 r1 0/0
        web:2 r2 0/2
    "#]],
    );
}

#[test]
fn scaling_during_a_rollout_is_proportional() {
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    cluster.add(deployments(), deployment(10, json!(3), json!(2)));
    cluster.converge("web");
    ready_all(&mut cluster);
    cluster.converge("web");
    set_image(&mut cluster, "web:2");
    cluster.converge("web");
    cluster.edit("deployments", "web", |d| d["spec"]["replicas"] = json!(15));
    cluster.converge("web");
    check(
        &cluster,
        expect![[r#"
        Available False MinimumReplicasUnavailable
        Progressing True ReplicaSetUpdated
        web:1 r1 8/11
        web:2 r2 0/7
    "#]],
    );
}

#[test]
fn a_name_in_use_counts_as_a_collision() {
    let cluster = started(1);
    let name = cluster.sets()[0].header().name.clone();
    let mut other = cluster.get("replicasets", &name).clone();
    let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
    other["metadata"]["ownerReferences"][0]["uid"] = json!("somebody-else");
    cluster.add(served("apps", "replicasets"), other);
    cluster.add(deployments(), deployment(1, json!(1), json!(0)));
    let plan = cluster.reconcile_deployment("web");
    cluster.apply(&plan);
    assert_eq!(cluster.get("deployments", "web")["status"]["collisionCount"], 1);
    assert_eq!(cluster.sets().len(), 2);
}

#[derive(Debug, Clone)]
enum Happening {
    Look,
    LookAtSet(usize),
    Ready(usize),
    Break(usize),
    Image(u8),
    Size(i64),
    Wait,
}

fn happening() -> impl Strategy<Value = Happening> {
    use proptest::prelude::Strategy;
    prop_oneof![
        6 => Just(Happening::Look),
        6 => any::<usize>().prop_map(Happening::LookAtSet),
        6 => any::<usize>().prop_map(Happening::Ready),
        1 => any::<usize>().prop_map(Happening::Break),
        1 => (1u8..4).prop_map(Happening::Image),
        1 => (0i64..8).prop_map(Happening::Size),
        1 => Just(Happening::Wait),
    ]
}

use proptest::strategy::Strategy;

fn happen(cluster: &mut TestCluster, what: &Happening) {
    let pods = cluster.pods();
    let pick = |n: usize| pods.get(n % pods.len().max(1)).map(|p| p.header().name.clone());
    match what {
        Happening::Look => {
            let plan = cluster.reconcile_deployment("web");
            cluster.apply(&plan);
            let again = cluster.reconcile_deployment("web");
            assert!(again.is_empty(), "second reconcile plans {:#?}", again.actions);
        }
        Happening::LookAtSet(n) => {
            let sets = cluster.sets();
            let Some(set) = sets.get(n % sets.len().max(1)) else { return };
            let plan = cluster.reconcile_replica_set(&set.header().name);
            cluster.apply(&plan);
        }
        Happening::Ready(n) => {
            if let Some(name) = pick(*n) {
                cluster.make_ready(&name);
            }
        }
        Happening::Break(n) => {
            if let Some(name) = pick(*n) {
                cluster.edit("pods", &name, |p| p["status"] = json!({"phase": "Running"}));
            }
        }
        Happening::Image(n) => set_image(cluster, &format!("web:{n}")),
        Happening::Size(n) => cluster.edit("deployments", "web", |d| d["spec"]["replicas"] = json!(n)),
        Happening::Wait => cluster.now += 700,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// After any sequence of changes: a second reconcile plans nothing, and the rollout ends as specified.
    #[test]
    fn converges_from_any_state(
        happenings in proptest::collection::vec(happening(), 0..60), surge in 0i64..3, missing in 0i64..3,
    ) {
        let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
        cluster.add(deployments(), deployment(4, json!(surge), json!(missing)));
        for what in &happenings {
            happen(&mut cluster, what);
        }
        for _ in 0..40 {
            cluster.converge("web");
            ready_all(&mut cluster);
        }
        cluster.converge("web");
        let wanted = cluster.get("deployments", "web")["spec"]["replicas"].as_u64().unwrap();
        prop_assert_eq!(cluster.pods().len() as u64, wanted);
        let status = &cluster.get("deployments", "web")["status"];
        prop_assert_eq!(condition(status, "Available").unwrap()["status"].clone(), json!("True"));
        prop_assert_eq!(status["updatedReplicas"].as_u64().unwrap_or(0), wanted);
    }

    /// During a rollout without failures there are at most `replicas + maxSurge` Pods, and at least
    /// `replicas - maxUnavailable` of them are available.
    #[test]
    fn a_rollout_respects_surge_and_unavailable(
        steps in proptest::collection::vec((0u8..4, any::<usize>()), 1..120),
        size in 1i64..8, surge in 0i64..3, missing in 0i64..3,
    ) {
        let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
        cluster.add(deployments(), deployment(size, json!(surge), json!(missing)));
        cluster.converge("web");
        ready_all(&mut cluster);
        cluster.converge("web");
        set_image(&mut cluster, "web:2");
        let missing = if surge == 0 && missing == 0 { 1 } else { missing.min(size) };
        for (kind, n) in steps {
            happen(&mut cluster, &match kind {
                0 => Happening::Look,
                1 | 2 => Happening::LookAtSet(n),
                _ => Happening::Ready(n),
            });
            let pods = cluster.pods();
            let available = pods.iter().filter(|p| p.is_ready()).count() as i64;
            prop_assert!(pods.len() as i64 <= size + surge, "{} pods", pods.len());
            prop_assert!(available >= size - missing, "{available} available");
        }
    }
}
