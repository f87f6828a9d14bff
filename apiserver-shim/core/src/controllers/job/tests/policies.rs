//! Limits, policies and suspension.

use super::*;

#[test]
fn restarts_in_place_count_towards_the_limit() {
    let mut cluster = cluster(json!({
        "completions": 1, "backoffLimit": 2, "template": {"spec": {"restartPolicy": "OnFailure"}},
    }));
    settle(&mut cluster);
    let name = running(&cluster, None);
    for restarts in [1, 2] {
        cluster.edit("pods", &name, |pod| {
            pod["spec"]["nodeName"] = json!("n");
            pod["status"] =
                json!({"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": restarts}]});
        });
        settle(&mut cluster);
    }
    check(
        &cluster,
        &expect![[r#"
        failed=1
        ready=0
        startTime="1970-01-01T00:16:40Z"
        terminating=1
        uncountedTerminatedPods={}
        FailureTarget=True BackoffLimitExceeded (Job has reached the specified backoff limit)
        pod[] Running terminating"#]],
    );
    remove_terminated(&mut cluster);
    settle(&mut cluster);
    check(
        &cluster,
        &expect![[r#"
        failed=1
        ready=0
        startTime="1970-01-01T00:16:40Z"
        terminating=0
        uncountedTerminatedPods={}
        FailureTarget=True BackoffLimitExceeded (Job has reached the specified backoff limit)
        Failed=True BackoffLimitExceeded (Job has reached the specified backoff limit)"#]],
    );
}

#[test]
fn a_limit_per_index_fails_indexes() {
    let mut cluster = cluster(json!({
        "completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": i32::MAX, "backoffLimitPerIndex": 1,
    }));
    settle(&mut cluster);
    end(&mut cluster, Some(0), 1);
    end(&mut cluster, Some(1), 0);
    settle(&mut cluster);
    // The failed Pod keeps its finalizer until its replacement has taken over the count.
    check(
        &cluster,
        &expect![[r#"
        completedIndexes="1"
        failedIndexes=""
        ready=0
        startTime="1970-01-01T00:16:40Z"
        succeeded=1
        terminating=0
        uncountedTerminatedPods={}
        pod[0] Failed tracked
        pod[1] Succeeded"#]],
    );
    assert_eq!(reconcile(&cluster).requeue_after, Some(10));
    cluster.now += 10;
    settle(&mut cluster);
    let name = running(&cluster, Some(0));
    assert_eq!(cluster.get("pods", &name)["metadata"]["annotations"][INDEX_FAILURES], "1");
    end(&mut cluster, Some(0), 1);
    let events = settle(&mut cluster);
    expect!["FailedIndexes: Job has failed indexes"].assert_eq(&events);
    check(
        &cluster,
        &expect![[r#"
        completedIndexes="1"
        failed=2
        failedIndexes="0"
        ready=0
        startTime="1970-01-01T00:16:40Z"
        succeeded=1
        terminating=0
        uncountedTerminatedPods={}
        FailureTarget=True FailedIndexes (Job has failed indexes)
        Failed=True FailedIndexes (Job has failed indexes)
        pod[0] Failed
        pod[0] Failed
        pod[1] Succeeded"#]],
    );
}

#[test]
fn failure_policies() {
    let policy = json!({"rules": [
        {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]}},
        {"action": "Count", "onExitCodes": {"operator": "In", "values": [3]}},
        {"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1, 2]}},
        {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [2]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]});
    let mut shown = Vec::new();
    for (code, disrupted) in
        [(42, false), (3, false), (7, false), (2, false), (1, true), (1, false), (0, false)]
    {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "ns"}, "status": {
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}}],
        }});
        if disrupted {
            pod["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True"}]);
        }
        let action = super::super::policies::failure_action(&policy, &crate::testing::pod(&pod));
        shown.push(format!("{code} {disrupted}: {action:?}"));
    }
    expect![[r#"
        42 false: FailJob("Container c for pod ns/p failed with exit code 42 matching FailJob rule at index 0")
        3 false: Count
        7 false: Ignore
        2 false: FailIndex
        1 true: Ignore
        1 false: Count
        0 false: Count"#]].assert_eq(&shown.join("\n"));
    let mut cluster = cluster(json!({"completions": 2, "parallelism": 2, "podFailurePolicy": policy}));
    settle(&mut cluster);
    bind_all(&mut cluster);
    end(&mut cluster, None, 7);
    settle(&mut cluster);
    assert_eq!(cluster.get("jobs", "j")["status"]["failed"], Value::Null, "an ignored failure counts");
    cluster.now += 10;
    settle(&mut cluster);
    end(&mut cluster, None, 42);
    let events = settle(&mut cluster);
    expect!["SuccessfulDelete: Deleted pod: j-0004, PodFailurePolicy: Container c for pod ns/j-0003 failed with exit code 42 matching FailJob rule at index 0"].assert_eq(&events);
    check(
        &cluster,
        &expect![[r#"
        failed=2
        ready=0
        startTime="1970-01-01T00:16:40Z"
        terminating=0
        uncountedTerminatedPods={}
        FailureTarget=True PodFailurePolicy (Container c for pod ns/j-0003 failed with exit code 42 matching FailJob rule at index 0)
        Failed=True PodFailurePolicy (Container c for pod ns/j-0003 failed with exit code 42 matching FailJob rule at index 0)
        pod[] Failed
        pod[] Failed"#]],
    );
    remove_terminated(&mut cluster);
    settle(&mut cluster);
    assert_eq!(cluster.get("jobs", "j")["status"]["conditions"][1]["type"], "Failed");
}

#[test]
fn a_success_policy_ends_the_job() {
    let rules = json!([{"succeededIndexes": "0,2-3", "succeededCount": 2}]);
    let mut cluster = cluster(json!({
        "completions": 5, "parallelism": 5, "completionMode": "Indexed", "successPolicy": {"rules": rules},
    }));
    settle(&mut cluster);
    end(&mut cluster, Some(1), 0);
    end(&mut cluster, Some(2), 0);
    settle(&mut cluster);
    assert_eq!(cluster.get("jobs", "j")["status"]["active"], 3);
    end(&mut cluster, Some(3), 0);
    let events = settle(&mut cluster);
    expect!["SuccessfulDelete: Deleted pod: j-0-0002, SuccessfulDelete: Deleted pod: j-4-0006, Completed: Job completed"].assert_eq(&events);
    check(
        &cluster,
        &expect![[r#"
        completedIndexes="1-3"
        completionTime="1970-01-01T00:16:40Z"
        ready=0
        startTime="1970-01-01T00:16:40Z"
        succeeded=3
        terminating=0
        uncountedTerminatedPods={}
        SuccessCriteriaMet=True SuccessPolicy (Matched rules at index 0)
        Complete=True SuccessPolicy (Matched rules at index 0)
        pod[1] Succeeded
        pod[2] Succeeded
        pod[3] Succeeded"#]],
    );
}

#[test]
fn suspended_and_resumed() {
    let mut cluster = cluster(json!({"completions": 2, "parallelism": 2, "activeDeadlineSeconds": 60}));
    settle(&mut cluster);
    assert_eq!(reconcile(&cluster).requeue_after, Some(60));
    bind_all(&mut cluster);
    cluster.edit("jobs", "j", |job| job["spec"]["suspend"] = json!(true));
    expect!["Suspended: Job suspended, SuccessfulDelete: Deleted pod: j-0002, SuccessfulDelete: Deleted pod: j-0003"].assert_eq(&settle(&mut cluster));
    check(
        &cluster,
        &expect![[r#"
        ready=0
        terminating=2
        uncountedTerminatedPods={}
        Suspended=True JobSuspended (Job suspended)
        pod[]  terminating
        pod[]  terminating"#]],
    );
    cluster.now += 100;
    remove_terminated(&mut cluster);
    settle(&mut cluster);
    cluster.edit("jobs", "j", |job| job["spec"]["suspend"] = json!(false));
    expect!["Resumed: Job resumed"].assert_eq(&settle(&mut cluster));
    check(
        &cluster,
        &expect![[r#"
        active=2
        ready=0
        startTime="1970-01-01T00:18:20Z"
        terminating=0
        uncountedTerminatedPods={}
        Suspended=False JobResumed (Job resumed)
        pod[]  tracked
        pod[]  tracked"#]],
    );
    cluster.now += 60;
    expect!["SuccessfulDelete: Deleted pod: j-0004, SuccessfulDelete: Deleted pod: j-0005, DeadlineExceeded: Job was active longer than specified deadline"].assert_eq(&settle(&mut cluster));
    check(
        &cluster,
        &expect![[r#"
        failed=2
        ready=0
        startTime="1970-01-01T00:18:20Z"
        terminating=0
        uncountedTerminatedPods={}
        Suspended=False JobResumed (Job resumed)
        FailureTarget=True DeadlineExceeded (Job was active longer than specified deadline)
        Failed=True DeadlineExceeded (Job was active longer than specified deadline)"#]],
    );
}

#[test]
fn a_terminating_pod_is_replaced_when_it_has_failed() {
    for policy in ["TerminatingOrFailed", "Failed"] {
        let mut cluster = cluster(json!({"completions": 1, "podReplacementPolicy": policy}));
        settle(&mut cluster);
        bind_all(&mut cluster);
        let name = running(&cluster, None);
        cluster.edit("pods", &name, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!(rfc3339(START));
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        });
        settle(&mut cluster);
        let status = &cluster.get("jobs", "j")["status"];
        let counts = (status["active"].as_i64(), status["terminating"].as_i64(), status["failed"].as_i64());
        let expected = if policy == "Failed" { (None, Some(1), None) } else { (Some(1), Some(1), Some(1)) };
        assert_eq!(counts, expected, "{policy}");
        if policy == "Failed" {
            finish_pod(&mut cluster, &name, 143);
            settle(&mut cluster);
            remove_terminated(&mut cluster);
            settle(&mut cluster);
            let status = &cluster.get("jobs", "j")["status"];
            assert_eq!((&status["active"], &status["failed"]), (&json!(1), &json!(1)));
        }
    }
}
