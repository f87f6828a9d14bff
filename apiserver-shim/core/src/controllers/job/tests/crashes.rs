//! Every ended Pod is counted once, whichever writes of which plans are lost.

use proptest::prelude::*;

use super::*;

/// What happens to a cluster between two reconciles.
#[derive(Debug, Clone)]
enum Step {
    /// Carries out the first actions of a plan; the process ends before the rest.
    Reconcile(usize),
    /// The n-th active Pod ends.
    End(usize, bool),
    /// A user deletes the n-th active Pod.
    Delete(usize),
    /// The nodes remove terminating Pods.
    Remove,
    Parallelism(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..8_usize).prop_map(Step::Reconcile),
        3 => (0..4_usize, any::<bool>()).prop_map(|(pod, success)| Step::End(pod, success)),
        1 => (0..4_usize).prop_map(Step::Delete),
        1 => Just(Step::Remove),
        1 => (1..4_i64).prop_map(Step::Parallelism),
    ]
}

/// The names of the Pods that run, and are going to be counted when they end.
fn active(cluster: &TestCluster) -> Vec<String> {
    let pods = cluster.pods().into_iter().filter(|pod| pod.is_active() && pods::is_tracked(pod.header()));
    pods.map(|pod| pod.header().name.clone()).collect()
}

/// Pods that have ended: succeeded and failed ones. In an indexed Job, an index succeeds once.
#[derive(Debug, Default)]
struct Ended {
    succeeded: Vec<String>,
    failed: i64,
}

fn play(cluster: &mut TestCluster, steps: &[Step]) -> Ended {
    let mut ended = Ended::default();
    for step in steps {
        cluster.now += 1;
        match step {
            Step::Reconcile(count) => {
                let plan = reconcile(cluster);
                plan.actions.iter().take(*count).for_each(|action| write(cluster, action));
            }
            Step::End(at, success) => {
                let Some(name) = active(cluster).get(*at).cloned() else { continue };
                finish_pod(cluster, &name, i64::from(!success));
                let pod = cluster.get("pods", &name);
                let index = access::text(pod, &["metadata", "annotations", crate::rows::COMPLETION_INDEX]);
                let once = if index.is_empty() { name.clone() } else { index.to_owned() };
                match success {
                    true => ended.succeeded.push(once),
                    false => ended.failed += 1,
                }
            }
            Step::Delete(at) => {
                let Some(name) = active(cluster).get(*at).cloned() else { continue };
                let now = rfc3339(cluster.now);
                cluster.edit("pods", &name, |pod| {
                    pod["metadata"]["deletionTimestamp"] = json!(now);
                    pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
                });
                ended.failed += 1;
            }
            Step::Remove => remove_terminated(cluster),
            Step::Parallelism(count) => {
                cluster.edit("jobs", "j", |job| job["spec"]["parallelism"] = json!(count));
            }
        }
    }
    ended.succeeded.sort();
    ended.succeeded.dedup();
    ended
}

fn counts(cluster: &TestCluster) -> (i64, i64) {
    let count = |name: &str| access::int(cluster.get("jobs", "j"), &["status", name]).unwrap_or(0);
    (count("succeeded"), count("failed"))
}

/// The two ends of the protocol that counts a Pod, each lost once: the Pod has lost its finalizer and the counter is not
/// written; the UID is in the status and the Pod has its finalizer still.
#[test]
fn a_pod_in_between_is_counted_once() {
    for lost in ["the count", "the finalizer"] {
        let mut cluster = cluster(json!({"completions": 2, "parallelism": 1}));
        settle(&mut cluster);
        let name = active(&cluster)[0].clone();
        finish_pod(&mut cluster, &name, 0);
        let mut uncounted = false;
        for _ in 0..10 {
            for action in reconcile(&cluster).actions {
                write(&mut cluster, &action);
                let listed = access::list(
                    cluster.get("jobs", "j"),
                    &["status", "uncountedTerminatedPods", "succeeded"],
                );
                uncounted |= !listed.is_empty();
                let finalizers = access::list(cluster.get("pods", &name), &["metadata", "finalizers"]).len();
                let reached = match lost {
                    "the count" => uncounted && finalizers == 0,
                    _ => uncounted,
                };
                if reached {
                    break;
                }
            }
            if uncounted {
                break;
            }
        }
        assert!(uncounted, "{lost}: the UID is in the status first");
        let (counted, _) = counts(&cluster);
        assert_eq!(counted, 0, "{lost}");
        settle(&mut cluster);
        assert_eq!(counts(&cluster), (1, 0), "{lost}");
        cluster.objects.retain(|(plural, key), _| plural != "pods" || *key.name != *name);
        settle(&mut cluster);
        assert_eq!(counts(&cluster), (1, 0), "{lost}: the Pod is gone");
    }
}

proptest! {
    #[test]
    fn each_ended_pod_is_counted_once(steps in proptest::collection::vec(step(), 0..60), indexed in any::<bool>()) {
        let mode = if indexed { "Indexed" } else { "NonIndexed" };
        let mut cluster = cluster(json!({
            "completions": 1000, "parallelism": 3, "backoffLimit": 1000, "completionMode": mode,
        }));
        let ended = play(&mut cluster, &steps);
        settle(&mut cluster);
        prop_assert_eq!(counts(&cluster), (ended.succeeded.len() as i64, ended.failed));
        // What is counted does not count again (INV-52), whatever disappears.
        cluster.now += 1000;
        remove_terminated(&mut cluster);
        cluster.objects.retain(|(plural, _), pod| plural != "pods" || !access::list(pod, &["metadata", "finalizers"]).is_empty());
        settle(&mut cluster);
        prop_assert_eq!(counts(&cluster), (ended.succeeded.len() as i64, ended.failed));
    }

    /// A Job that can end does so, wherever the process stops, and stays ended.
    #[test]
    fn a_job_ends_once(steps in proptest::collection::vec(step(), 0..40), policy in any::<bool>(), limit in 0..3_i64) {
        let mut spec = json!({"completions": 4, "parallelism": 3, "backoffLimit": limit, "completionMode": "Indexed"});
        if policy {
            spec["successPolicy"] = json!({"rules": [{"succeededCount": 2}]});
        }
        let mut cluster = cluster(spec);
        play(&mut cluster, &steps);
        for _ in 0..40 {
            settle(&mut cluster);
            if cluster.get("jobs", "j")["status"]["conditions"].as_array().is_some_and(|list| list.len() > 1) {
                break;
            }
            remove_terminated(&mut cluster);
            cluster.now += 1000;
            if let Some(name) = active(&cluster).first() {
                finish_pod(&mut cluster, name, 0);
            }
        }
        let conditions = cluster.get("jobs", "j")["status"]["conditions"].clone();
        let is = |kind: &str| conditions.as_array().is_some_and(|list| list.iter().any(|c| c["type"] == kind));
        prop_assert!(is("Complete") != is("Failed"), "{conditions}");
    }
}
