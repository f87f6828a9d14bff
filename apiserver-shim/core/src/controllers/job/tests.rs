//! Whole lives of Jobs against an in-memory cluster, each status checked with the API's own validation; and that no order of
//! crashes counts a Pod twice or not at all.

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use shim_model::access;

use super::*;
use crate::{
    controllers::tests::apply,
    rows::{INDEX_FAILURES, rfc3339},
    testing::{TestCluster, builtin_resources},
};

#[path = "tests/crashes.rs"]
mod crashes;
#[path = "tests/policies.rs"]
mod policies;

const START: Seconds = 1_000;

fn cluster(spec: Value) -> TestCluster {
    let mut cluster = TestCluster { now: START, ..TestCluster::default() };
    let labels = json!({"batch.kubernetes.io/controller-uid": "uid-0001"});
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "j", "namespace": "ns"},
        "spec": {
            "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
            "suspend": false, "podReplacementPolicy": "TerminatingOrFailed",
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"},
            },
        },
    });
    shim_model::patch::merge::apply(&mut job, &json!({"spec": spec}));
    cluster.add(served("batch", "jobs"), job);
    cluster
}

fn reconcile(cluster: &TestCluster) -> Plan {
    cluster.reconcile(&JobController, &ObjectName::new(served("batch", "jobs"), "ns", "j"))
}

/// Applies one action, and validates a status of the Job as the API does.
fn write(cluster: &mut TestCluster, action: &Action) {
    let old = cluster.get("jobs", "j").clone();
    apply(cluster, &Plan { actions: vec![action.clone()], ..Plan::default() });
    let Some(new) = cluster.all("jobs").first().map(|job| (*job).clone()) else { return };
    if new["status"] != old["status"] {
        let jobs = builtin_resources().iter().find(|resource| resource.plural == "jobs");
        let strategy = crate::kinds::builtin(jobs.expect("Jobs are served"));
        let errors = strategy.validate_status_update(&new, &old);
        assert!(errors.is_empty(), "{errors:#?}\n{:#}", new["status"]);
    }
}

/// Reconciles until nothing is planned. Returns the Events.
fn settle(cluster: &mut TestCluster) -> String {
    let mut events = Vec::new();
    for _ in 0..20 {
        let plan = reconcile(cluster);
        if plan.is_empty() {
            return events.join(", ");
        }
        plan.actions.iter().for_each(|action| write(cluster, action));
        events.extend(plan.events.iter().map(|e| format!("{}: {}", e.reason, e.message)));
    }
    panic!("does not settle: {:#?}", reconcile(cluster));
}

/// The status in a line, and the Pods.
fn show(cluster: &TestCluster) -> String {
    let status = &cluster.get("jobs", "j")["status"];
    let mut parts = Vec::new();
    for (name, value) in access::entries(status, &[]).filter(|(name, _)| *name != "conditions") {
        parts.push(format!("{name}={value}"));
    }
    for c in access::list(status, &["conditions"]) {
        let text = |name: &str| access::text(c, &[name]);
        parts.push(format!("{}={} {} ({})", text("type"), text("status"), text("reason"), text("message")));
    }
    for pod in cluster.all("pods") {
        let phase = access::text(pod, &["status", "phase"]);
        let deleted = access::get(pod, &["metadata", "deletionTimestamp"]).map_or("", |_| " terminating");
        let index =
            access::text(pod, &["metadata", "annotations", "batch.kubernetes.io/job-completion-index"]);
        let tracked = if access::list(pod, &["metadata", "finalizers"]).is_empty() { "" } else { " tracked" };
        parts.push(format!("pod[{index}] {phase}{deleted}{tracked}"));
    }
    parts.join("\n")
}

/// Ends the first running Pod, of an index if one is given.
fn end(cluster: &mut TestCluster, index: Option<i64>, exit_code: i64) {
    let name = running(cluster, index);
    finish_pod(cluster, &name, exit_code);
}

fn running(cluster: &TestCluster, index: Option<i64>) -> String {
    let index = index.map(|index| index.to_string());
    let pods = cluster.all("pods").into_iter();
    let mut pods = pods.filter(|p| access::text(p, &["status", "phase"]).is_empty());
    let pod = pods.find(|p| {
        let own = access::text(p, &["metadata", "annotations", "batch.kubernetes.io/job-completion-index"]);
        index.as_deref().is_none_or(|index| index == own)
    });
    access::text(pod.expect("a Pod runs"), &["metadata", "name"]).to_owned()
}

fn finish_pod(cluster: &mut TestCluster, name: &str, exit_code: i64) {
    let at = rfc3339(cluster.now);
    cluster.edit("pods", name, |pod| {
        pod["status"] = json!({
            "phase": if exit_code == 0 { "Succeeded" } else { "Failed" },
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": exit_code, "finishedAt": at}}}],
        });
    });
}

fn bind_all(cluster: &mut TestCluster) {
    let names: Vec<String> =
        cluster.all("pods").iter().map(|p| access::text(p, &["metadata", "name"]).to_owned()).collect();
    for name in names {
        cluster.edit("pods", &name, |pod| pod["spec"]["nodeName"] = json!("n"));
    }
}

/// Removes the Pods that are terminating and have no finalizer, as their node does when they have ended.
fn remove_terminated(cluster: &mut TestCluster) {
    cluster.objects.retain(|(plural, _), object| {
        plural != "pods"
            || access::get(object, &["metadata", "deletionTimestamp"]).is_none()
            || !access::list(object, &["metadata", "finalizers"]).is_empty()
    });
}

fn check(cluster: &TestCluster, expected: &Expect) {
    expected.assert_eq(&show(cluster));
}

#[test]
fn three_completions() {
    let mut cluster = cluster(json!({"completions": 3, "parallelism": 2}));
    settle(&mut cluster);
    check(
        &cluster,
        &expect![[r#"
        active=2
        ready=0
        startTime="1970-01-01T00:16:40Z"
        terminating=0
        uncountedTerminatedPods={}
        pod[]  tracked
        pod[]  tracked"#]],
    );
    cluster.now += 5;
    end(&mut cluster, None, 0);
    end(&mut cluster, None, 0);
    settle(&mut cluster);
    check(
        &cluster,
        &expect![[r#"
        active=1
        ready=0
        startTime="1970-01-01T00:16:40Z"
        succeeded=2
        terminating=0
        uncountedTerminatedPods={}
        pod[] Succeeded
        pod[] Succeeded
        pod[]  tracked"#]],
    );
    cluster.now += 5;
    end(&mut cluster, None, 0);
    let events = settle(&mut cluster);
    expect!["Completed: Job completed"].assert_eq(&events);
    check(
        &cluster,
        &expect![[r#"
        completionTime="1970-01-01T00:16:50Z"
        ready=0
        startTime="1970-01-01T00:16:40Z"
        succeeded=3
        terminating=0
        uncountedTerminatedPods={}
        SuccessCriteriaMet=True CompletionsReached (Reached expected number of succeeded pods)
        Complete=True CompletionsReached (Reached expected number of succeeded pods)
        pod[] Succeeded
        pod[] Succeeded
        pod[] Succeeded"#]],
    );
    expect![[r#"{"completionTime":"1970-01-01T00:16:50Z","conditions":[{"lastProbeTime":"1970-01-01T00:16:50Z","lastTransitionTime":"1970-01-01T00:16:50Z","message":"Reached expected number of succeeded pods","reason":"CompletionsReached","status":"True","type":"SuccessCriteriaMet"},{"lastProbeTime":"1970-01-01T00:16:50Z","lastTransitionTime":"1970-01-01T00:16:50Z","message":"Reached expected number of succeeded pods","reason":"CompletionsReached","status":"True","type":"Complete"}],"ready":0,"startTime":"1970-01-01T00:16:40Z","succeeded":3,"terminating":0,"uncountedTerminatedPods":{}}"#]].assert_eq(&cluster.get("jobs", "j")["status"].to_string());
}

#[test]
fn indexes_are_recorded() {
    let mut cluster = cluster(json!({"completions": 4, "parallelism": 4, "completionMode": "Indexed"}));
    settle(&mut cluster);
    let pod = cluster.all("pods")[2];
    expect![[r#"
        {"annotations":{"batch.kubernetes.io/job-completion-index":"2"},"creationTimestamp":"1970-01-01T00:16:40Z","finalizers":["batch.kubernetes.io/job-tracking"],"generation":1,"labels":{"batch.kubernetes.io/controller-uid":"uid-0001","batch.kubernetes.io/job-completion-index":"2"},"name":"j-2-0004","namespace":"ns","ownerReferences":[{"apiVersion":"batch/v1","blockOwnerDeletion":true,"controller":true,"kind":"Job","name":"j","uid":"uid-0001"}],"uid":"uid-0004"}
        {"containers":[{"env":[{"name":"JOB_COMPLETION_INDEX","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['batch.kubernetes.io/job-completion-index']"}}}],"image":"i","name":"c"}],"hostname":"j-2","restartPolicy":"Never"}"#]].assert_eq(&format!("{}\n{}", pod["metadata"], pod["spec"]));
    for index in [0, 1, 3] {
        end(&mut cluster, Some(index), 0);
    }
    settle(&mut cluster);
    check(
        &cluster,
        &expect![[r#"
        active=1
        completedIndexes="0,1,3"
        ready=0
        startTime="1970-01-01T00:16:40Z"
        succeeded=3
        terminating=0
        uncountedTerminatedPods={}
        pod[0] Succeeded
        pod[1] Succeeded
        pod[2]  tracked
        pod[3] Succeeded"#]],
    );
    // Scaled down, an elastic Job counts only what is in range.
    cluster.edit("jobs", "j", |job| {
        job["spec"]["completions"] = json!(2);
        job["spec"]["parallelism"] = json!(2);
    });
    settle(&mut cluster);
    remove_terminated(&mut cluster);
    settle(&mut cluster);
    check(
        &cluster,
        &expect![[r#"
        completedIndexes="0,1"
        completionTime="1970-01-01T00:16:40Z"
        ready=0
        startTime="1970-01-01T00:16:40Z"
        succeeded=2
        terminating=0
        uncountedTerminatedPods={}
        SuccessCriteriaMet=True CompletionsReached (Reached expected number of succeeded pods)
        Complete=True CompletionsReached (Reached expected number of succeeded pods)
        pod[0] Succeeded
        pod[1] Succeeded
        pod[3] Succeeded"#]],
    );
}

#[test]
fn failures_back_off_and_end_the_job() {
    let mut cluster = cluster(json!({"completions": 1, "backoffLimit": 1}));
    settle(&mut cluster);
    end(&mut cluster, None, 1);
    settle(&mut cluster);
    check(
        &cluster,
        &expect![[r#"
        failed=1
        ready=0
        startTime="1970-01-01T00:16:40Z"
        terminating=0
        uncountedTerminatedPods={}
        pod[] Failed"#]],
    );
    assert_eq!(reconcile(&cluster).requeue_after, Some(10));
    cluster.now += 10;
    settle(&mut cluster);
    end(&mut cluster, None, 1);
    let events = settle(&mut cluster);
    expect!["BackoffLimitExceeded: Job has reached the specified backoff limit"].assert_eq(&events);
    check(
        &cluster,
        &expect![[r#"
        failed=2
        ready=0
        startTime="1970-01-01T00:16:40Z"
        terminating=0
        uncountedTerminatedPods={}
        FailureTarget=True BackoffLimitExceeded (Job has reached the specified backoff limit)
        Failed=True BackoffLimitExceeded (Job has reached the specified backoff limit)
        pod[] Failed
        pod[] Failed"#]],
    );
}

#[test]
fn a_job_of_another_controller_is_left_alone() {
    let cluster = cluster(json!({"completions": 1, "managedBy": "example.com/queue"}));
    assert!(reconcile(&cluster).is_empty());
}

#[test]
fn pods_are_adopted_released_and_let_go() {
    let mut cluster = cluster(json!({"completions": 2, "parallelism": 2}));
    let labels = json!({"batch.kubernetes.io/controller-uid": "uid-0001"});
    cluster.add(
        served("", "pods"),
        json!({"metadata": {"name": "lone", "namespace": "ns", "labels": labels}, "spec": {}}),
    );
    settle(&mut cluster);
    assert_eq!(cluster.pods().len(), 2);
    let lone = cluster.get("pods", "lone");
    assert_eq!(lone["metadata"]["finalizers"], json!([FINALIZER]));
    assert_eq!(lone["metadata"]["ownerReferences"][0]["kind"], "Job");
    // One that loses its owner is adopted again, and keeps the finalizer until then.
    let registration = [crate::controllers::Registration::new(JobController)];
    cluster
        .edit("pods", "lone", |pod| drop(pod["metadata"].as_object_mut().unwrap().remove("ownerReferences")));
    let pod = ObjectName::new(served("", "pods"), "ns", "lone");
    assert!(cluster.reconcile(&JobController, &pod).is_empty());
    cluster.run(&registration);
    let lone = cluster.get("pods", "lone");
    assert_eq!(lone["metadata"]["finalizers"], json!([FINALIZER]));
    assert_eq!(lone["metadata"]["ownerReferences"][0]["kind"], "Job");
    assert_eq!(cluster.pods().len(), 2);
    cluster.edit("pods", "lone", |pod| pod["metadata"]["labels"] = json!({}));
    settle(&mut cluster);
    let lone = cluster.get("pods", "lone");
    assert_eq!((lone["metadata"].get("finalizers"), lone["metadata"].get("ownerReferences")), (None, None));
    assert_eq!(cluster.pods().len(), 3);
    // Nothing holds the Pods of a Job that is gone.
    cluster.objects.retain(|(plural, _), _| plural != "jobs");
    cluster.run(&registration);
    assert!(cluster.all("pods").iter().all(|pod| pod["metadata"].get("finalizers").is_none()));
}

#[test]
fn a_refused_creation_holds_no_bookkeeping_up() {
    let mut cluster = cluster(json!({"completions": 3, "parallelism": 2}));
    settle(&mut cluster);
    end(&mut cluster, None, 0);
    end(&mut cluster, None, 0);
    cluster.refusal = Some(Refusal { creating: true, code: 403, message: "quota".to_owned() });
    let plan = reconcile(&cluster);
    let creates = plan.actions.iter().position(|action| matches!(action, Action::Create { .. }));
    plan.actions[..creates.expect("a Pod is missing")].iter().for_each(|action| write(&mut cluster, action));
    let status = &cluster.get("jobs", "j")["status"];
    assert_eq!((&status["succeeded"], status.get("active")), (&json!(2), None));
}

#[test]
fn a_plan_has_a_bounded_number_of_pods() {
    let mut cluster = cluster(json!({"completions": 1200, "parallelism": 1200}));
    let plan = reconcile(&cluster);
    assert_eq!(plan.actions.iter().filter(|a| matches!(a, Action::Create { .. })).count(), BURST_MAX);
    settle(&mut cluster);
    assert_eq!(cluster.pods().len(), 1200);
}
