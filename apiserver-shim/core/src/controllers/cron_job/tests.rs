//! CronJobs against an in-memory cluster and a clock.

use expect_test::expect;

use super::*;
use crate::{
    controllers::{Refusal, tests::apply},
    testing::TestCluster,
};

/// 1 January 2026, 12:00 UTC.
const NOON: Seconds = 1_767_268_800;

fn cluster(spec: Value) -> TestCluster {
    let mut cluster = TestCluster { now: NOON - 30, ..TestCluster::default() };
    let mut cron_job = json!({
        "metadata": {"name": "c", "namespace": "ns"},
        "spec": {
            "schedule": "*/5 * * * *", "concurrencyPolicy": "Allow", "suspend": false,
            "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"labels": {"k": "v"}, "annotations": {"a": "b"}},
                "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}},
            },
        },
    });
    shim_model::patch::merge::apply(&mut cron_job, &json!({"spec": spec}));
    cluster.add(served("batch", "cronjobs"), cron_job);
    cluster
}

fn reconcile(cluster: &TestCluster) -> Plan {
    cluster.reconcile(&CronJobController, &ObjectName::new(served("batch", "cronjobs"), "ns", "c"))
}

/// Reconciles until no write is planned. Returns the Events and the delay.
fn settle(cluster: &mut TestCluster) -> String {
    let mut events = Vec::new();
    for _ in 0..10 {
        let plan = reconcile(cluster);
        events.extend(plan.events.iter().map(|e| format!("{}: {}", e.reason, e.message)));
        if plan.is_empty() {
            events.push(format!("{:?}", plan.requeue_after));
            return events.join("; ");
        }
        apply(cluster, &plan);
    }
    panic!("does not settle");
}

fn finish_job(cluster: &mut TestCluster, name: &str, kind: &str) {
    let now = rfc3339(cluster.now);
    cluster.edit("jobs", name, |job| {
        job["status"] = json!({
            "startTime": now, "completionTime": now,
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now}],
        });
    });
}

fn jobs(cluster: &TestCluster) -> String {
    let names: Vec<&str> =
        cluster.all("jobs").iter().map(|job| access::text(job, &["metadata", "name"])).collect();
    names.join(" ")
}

#[test]
fn a_job_is_created_at_its_time() {
    let mut cluster = cluster(json!({"timeZone": "Asia/Tokyo"}));
    expect!["Some(30)"].assert_eq(&settle(&mut cluster));
    cluster.now = NOON + 2;
    expect!["SuccessfulCreate: Created job c-29454480; Some(298)"].assert_eq(&settle(&mut cluster));
    let job = cluster.all("jobs")[0];
    expect![[r#"{"annotations":{"a":"b","batch.kubernetes.io/cronjob-scheduled-timestamp":"2026-01-01T21:00:00+09:00"},"creationTimestamp":"2026-01-01T12:00:02Z","generation":1,"labels":{"k":"v"},"name":"c-29454480","namespace":"ns","ownerReferences":[{"apiVersion":"batch/v1","blockOwnerDeletion":true,"controller":true,"kind":"CronJob","name":"c","uid":"uid-0001"}],"uid":"uid-0002"}"#]].assert_eq(&job["metadata"].to_string());
    expect![[r#"{"active":[{"apiVersion":"batch/v1","kind":"Job","name":"c-29454480","namespace":"ns","resourceVersion":"1","uid":"uid-0002"}],"lastScheduleTime":"2026-01-01T12:00:00Z"}"#]].assert_eq(&cluster.get("cronjobs", "c")["status"].to_string());
    let name = job["metadata"]["name"].as_str().expect("a name").to_owned();
    cluster.now = NOON + 60;
    finish_job(&mut cluster, &name, "Complete");
    expect!["SawCompletedJob: Saw completed job: c-29454480, condition: Complete; Some(240)"]
        .assert_eq(&settle(&mut cluster));
    expect![[r#"{"lastScheduleTime":"2026-01-01T12:00:00Z","lastSuccessfulTime":"2026-01-01T12:01:00Z"}"#]]
        .assert_eq(&cluster.get("cronjobs", "c")["status"].to_string());
}

#[test]
fn concurrency_policies() {
    let mut shown = Vec::new();
    for policy in ["Allow", "Forbid", "Replace"] {
        let mut cluster = cluster(json!({"concurrencyPolicy": policy}));
        for step in 0..2 {
            cluster.now = NOON + step * 300;
            shown.push(format!("{policy}: {} | {}", settle(&mut cluster), jobs(&cluster)));
        }
    }
    expect![[r#"
        Allow: SuccessfulCreate: Created job c-29454480; Some(300) | c-29454480
        Allow: SuccessfulCreate: Created job c-29454485; Some(300) | c-29454480 c-29454485
        Forbid: SuccessfulCreate: Created job c-29454480; Some(300) | c-29454480
        Forbid: JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid; Some(300) | c-29454480
        Replace: SuccessfulCreate: Created job c-29454480; Some(300) | c-29454480
        Replace: SuccessfulDelete: Deleted job c-29454480; SuccessfulCreate: Created job c-29454485; Some(300) | c-29454485"#]].assert_eq(&shown.join("\n"));
}

#[test]
fn missed_times() {
    let mut shown = Vec::new();
    // Schedule, deadline, seconds since the creation.
    let cases = [
        ("*/5 * * * *", None, 4 * 300),
        ("*/5 * * * *", None, 300 * 300),
        ("0 * * * *", Some(60), 90),
        ("0 * * * *", Some(600), 90),
        ("*/5 * * * *", Some(600), 300 * 300),
        ("0 0 31 2 *", None, 90),
        ("@every 90s", None, 200),
        ("0 6-16/4 * * 1-5", None, 3 * 86_400),
    ];
    for (schedule, deadline, seconds) in cases {
        let mut cluster = cluster(json!({"schedule": schedule, "startingDeadlineSeconds": deadline}));
        cluster.now += seconds;
        shown.push(format!(
            "{schedule} {deadline:?} {seconds}: {} | {}",
            settle(&mut cluster),
            jobs(&cluster)
        ));
    }
    expect![[r#"
        */5 * * * * None 1200: SuccessfulCreate: Created job c-29454495; Some(30) | c-29454495
        */5 * * * * None 90000: TooManyMissedTimes: too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew; SuccessfulCreate: Created job c-29455975; Some(30) | c-29455975
        0 * * * * Some(60) 90: Some(3540) | 
        0 * * * * Some(600) 90: SuccessfulCreate: Created job c-29454480; Some(3540) | c-29454480
        */5 * * * * Some(600) 90000: SuccessfulCreate: Created job c-29455975; Some(30) | c-29455975
        0 0 31 2 * None 90: InvalidSchedule: invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second; None | 
        @every 90s None 200: SuccessfulCreate: Created job c-29454482; Some(70) | c-29454482
        0 6-16/4 * * 1-5 None 259200: Some(64830) | "#]].assert_eq(&shown.join("\n"));
}

#[test]
fn old_jobs_are_deleted() {
    let mut cluster = cluster(json!({"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 0}));
    for (step, kind) in ["Complete", "Failed", "Complete", "Complete"].into_iter().enumerate() {
        cluster.now = NOON + 300 * step as i64;
        settle(&mut cluster);
        let name = format!("c-{}", cluster.now / 60);
        finish_job(&mut cluster, &name, kind);
    }
    let events = settle(&mut cluster);
    expect!["SuccessfulDelete: Deleted job c-29454490; SawCompletedJob: Saw completed job: c-29454495, condition: Complete; Some(300)"].assert_eq(&events);
    expect!["c-29454495"].assert_eq(&jobs(&cluster));
}

#[test]
fn suspended_and_missing_and_foreign_jobs() {
    let mut cluster = cluster(json!({}));
    cluster.now = NOON;
    settle(&mut cluster);
    cluster.objects.retain(|(plural, _), _| plural != "jobs");
    let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "uid-0001", "controller": true});
    cluster.add(
        served("batch", "jobs"),
        json!({"metadata": {"name": "manual", "namespace": "ns", "ownerReferences": [owner]}, "spec": {}}),
    );
    cluster.edit("cronjobs", "c", |cron_job| cron_job["spec"]["suspend"] = json!(true));
    cluster.now += 300;
    expect!["UnexpectedJob: Saw a job that the controller did not create or forgot: manual; MissingJob: Active job went missing: c-29454480; UnexpectedJob: Saw a job that the controller did not create or forgot: manual; None"].assert_eq(&settle(&mut cluster));
    expect![[r#"manual {"lastScheduleTime":"2026-01-01T12:00:00Z"}"#]].assert_eq(&format!(
        "{} {}",
        jobs(&cluster),
        cluster.get("cronjobs", "c")["status"]
    ));
}

#[test]
fn a_crash_after_the_creation_creates_no_second_job() {
    let mut cluster = cluster(json!({}));
    cluster.now = NOON;
    let plan = reconcile(&cluster);
    let creation = plan.actions.iter().find(|action| matches!(action, Action::Create { .. })).cloned();
    apply(&mut cluster, &Plan { actions: creation.into_iter().collect(), ..Plan::default() });
    settle(&mut cluster);
    assert_eq!(cluster.all("jobs").len(), 1);
    let status = &cluster.get("cronjobs", "c")["status"];
    assert_eq!(
        (&status["lastScheduleTime"], status["active"].as_array().map(Vec::len)),
        (&json!(rfc3339(NOON)), Some(1))
    );
}

#[test]
fn a_refused_creation_is_reported() {
    let mut cluster = cluster(json!({}));
    cluster.now = NOON;
    cluster.refusal = Some(Refusal { creating: true, code: 403, message: "quota".to_owned() });
    let plan = reconcile(&cluster);
    assert_eq!(plan.events[0].message, "Error creating job: quota");
    assert!(plan.actions.iter().any(|action| matches!(action, Action::Create { .. })));
}
