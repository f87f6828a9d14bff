//! Pods that clients bind to a node which cannot run all of them: as on a kubelet, each counts against those bound after it, and
//! those that are rejected count against none.

use super::*;

/// Shows a Pod that a client has bound to `n0`, whose agent has 4 CPUs, less what the executor needs.
fn bind(f: &mut Fixture, name: &str, cpu: &str, second: u32) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "ns", "uid": name, "generation": 1,
            "creationTimestamp": format!("2027-01-01T00:00:0{second}Z"),
        },
        "spec": {"nodeName": "n0", "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"phase": "Pending"},
    });
    f.step(Event::Pod(row(&pod, 1)));
}

/// The master says that it has no task of the Pod, and a cycle follows.
fn judge(f: &mut Fixture, name: &str) {
    let status = TaskStatus {
        reason: Some(Reason::Reconciliation),
        ..TaskStatus::new(TaskId::from(name), TaskState::Unknown, Source::Master, f.now)
    };
    f.step(Event::Update(status.into()));
    f.now = f.now + Duration::from_secs(20);
    f.step(Event::Cycle);
}

/// The Pods whose end is being written.
fn rejected(f: &Fixture) -> Vec<&str> {
    let uid = |write: &Write| match write {
        Write::Status(write) => f.machine.pods().map(|(uid, _)| uid).find(|uid| **uid == *write.uid),
        _ => None,
    };
    f.writes.iter().filter_map(uid).collect()
}

fn fixture() -> Fixture {
    let mut f = Fixture::new();
    f.step(Event::PodGone(UID.into()));
    f
}

#[test]
fn a_pod_whose_rejection_is_being_stored_counts_no_more() {
    let mut f = fixture();
    bind(&mut f, "first", "2", 1);
    judge(&mut f, "first");
    bind(&mut f, "second", "3", 2);
    judge(&mut f, "second");
    assert_eq!(rejected(&f), ["second"]);
    bind(&mut f, "third", "1", 3);
    judge(&mut f, "third");
    assert_eq!(rejected(&f), ["second"]);
}

#[test]
fn a_pod_that_was_bound_later_does_not_count_against_an_earlier_one() {
    let mut f = fixture();
    bind(&mut f, "first", "2", 1);
    bind(&mut f, "second", "3", 2);
    judge(&mut f, "first");
    assert!(rejected(&f).is_empty());
    judge(&mut f, "second");
    assert_eq!(rejected(&f), ["second"]);
}
