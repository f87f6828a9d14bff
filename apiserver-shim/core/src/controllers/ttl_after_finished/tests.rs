//! When a finished Job is deleted.

use serde_json::json;

use super::*;
use crate::{rows::rfc3339, testing::TestCluster};

#[test]
fn a_finished_job_is_deleted_after_its_ttl() {
    let finished =
        |kind: &str| json!([{"type": kind, "status": "True", "lastTransitionTime": rfc3339(1_000)}]);
    let cases = [
        // Condition, TTL, now: seconds to wait, or deletion.
        ("Complete", json!(10), 1_004, Some(6), false),
        ("Complete", json!(10), 1_010, None, true),
        ("Failed", json!(0), 1_000, None, true),
        ("Suspended", json!(0), 1_000, None, false),
        ("Complete", json!(null), 9_000, None, false),
    ];
    for (kind, ttl, now, wait, deleted) in cases {
        let mut cluster = TestCluster { now, ..TestCluster::default() };
        cluster.add(
            served("batch", "jobs"),
            json!({
                "metadata": {"name": "j", "namespace": "ns"},
                "spec": {"ttlSecondsAfterFinished": ttl},
                "status": {"conditions": finished(kind)},
            }),
        );
        let name = ObjectName::new(served("batch", "jobs"), "ns", "j");
        let plan = cluster.reconcile(&TtlAfterFinishedController, &name);
        assert_eq!((plan.requeue_after, !plan.is_empty()), (wait, deleted), "{kind} {ttl} {now}");
        cluster.edit("jobs", "j", |job| job["metadata"]["deletionTimestamp"] = json!(rfc3339(now)));
        assert!(cluster.reconcile(&TtlAfterFinishedController, &name).is_empty(), "deleted twice");
    }
}
