//! The text of dumps, in the form that kube-apiserver 1.36 printed.

use expect_test::{Expect, expect};

use super::*;
use crate::flow_control::{QueueSet, QueueSetConfig, Started, Work};

fn check(shown: &str, expected: &Expect) {
    // Lines end in blanks where the last columns are empty.
    expected.assert_eq(&shown.replace(" \n", " |\n"));
}

/// A level with one served and two waiting requests, one that queues nothing, and one without requests that is on its way out.
fn dumps() -> Vec<LevelDump<&'static str>> {
    let queues = QueueSetConfig::Queue { queues: 2, hand_size: 1, length_max: 9 };
    let level = |name: &str, is_quiescing, config, requests: &[&'static str]| {
        let mut set: QueueSet<(), &str> = QueueSet::new(Duration::ZERO, config, 1);
        for (at, request) in requests.iter().enumerate() {
            let (now, work) = (Duration::from_millis(500 * at as u64), Work { seats: 1 + at as u64 });
            set.arrive(now, 0, (work, *request), || (), &mut Started::new());
        }
        LevelDump { name: name.to_owned(), is_quiescing, queues: set.dump() }
    };
    vec![
        level("system", false, queues, &["jane", "joe", "éve"]),
        level("old", true, QueueSetConfig::Reject, &[]),
        level("exempt", false, QueueSetConfig::Exempt, &["admin"]),
    ]
}

#[test]
fn levels_have_a_row_each_in_the_order_of_their_names() {
    check(
        &levels(dumps()),
        &expect![[r#"
        PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, DispatchedRequests, RejectedRequests, TimedoutRequests, CancelledRequests
        exempt,            0,            false,  false,       0,               1,                 1,                  0,                0,                0
        old,               0,            true,   true,        0,               0,                 0,                  0,                0,                0
        system,            1,            false,  false,       2,               1,                 1,                  0,                0,                0
    "#]],
    );
}

#[test]
fn queues_have_a_row_each() {
    check(
        &queues(dumps()),
        &expect![[r#"
        PriorityLevelName, Index,  PendingRequests, ExecutingRequests, SeatsInUse, NextDispatchR, InitialSeatsSum, MaxSeatsSum, TotalWorkSum
        system,            0,      2,               1,                 1,          0.50000000ss,  5,               5,           0.01500000ss
        system,            1,      0,               0,                 0,          0.00000000ss,  0,               0,           0.00000000ss
    "#]],
    );
}

fn describe(user: &&str) -> Description {
    let mut about =
        Description { schema: "all".to_owned(), user: (*user).to_owned(), ..Description::default() };
    match *user {
        "admin" => [about.verb, about.path] = ["get", "/metrics"].map(str::to_owned),
        _ => {
            about.flow = about.user.clone();
            about.path = "/api/v1/namespaces/ns/pods/p/log".to_owned();
            [about.verb, about.namespace, about.name] = ["get", "ns", "p"].map(str::to_owned);
            [about.api_version, about.resource, about.subresource] = ["v1", "pods", "log"].map(str::to_owned);
        }
    }
    about
}

#[test]
fn requests_have_a_row_each() {
    let start = 1_796_068_238_000_000_000;
    check(
        &requests(dumps(), (start, false), describe),
        &expect![[r#"
        PriorityLevelName, FlowSchemaName, QueueIndex, RequestIndexInQueue, FlowDistingsher, ArriveTime,             InitialSeats, FinalSeats, AdditionalLatency, StartTime
        exempt,            all,            -1,         -1,                  ,                2026-11-30T19:50:38Z,   1,            0,          0s,                2026-11-30T19:50:38Z
        system,            all,            0,          0,                   joe,             2026-11-30T19:50:38.5Z, 2,            0,          0s,                0001-01-01T00:00:00Z
        system,            all,            0,          1,                   éve,             2026-11-30T19:50:39Z,   3,            0,          0s,                0001-01-01T00:00:00Z
        system,            all,            0,          -1,                  jane,            2026-11-30T19:50:38Z,   1,            0,          0s,                2026-11-30T19:50:38Z
    "#]],
    );
    check(
        &requests(dumps(), (start, true), describe),
        &expect![[r#"
        PriorityLevelName, FlowSchemaName, QueueIndex, RequestIndexInQueue, FlowDistingsher, ArriveTime,             InitialSeats, FinalSeats, AdditionalLatency, StartTime,            UserName, Verb,   APIPath,                          Namespace, Name,   APIVersion, Resource, SubResource
        exempt,            all,            -1,         -1,                  ,                2026-11-30T19:50:38Z,   1,            0,          0s,                2026-11-30T19:50:38Z, admin,    get,    /metrics,                         ,          ,       ,           ,         |
        system,            all,            0,          0,                   joe,             2026-11-30T19:50:38.5Z, 2,            0,          0s,                0001-01-01T00:00:00Z, joe,      get,    /api/v1/namespaces/ns/pods/p/log, ns,        p,      v1,         pods,     log
        system,            all,            0,          1,                   éve,             2026-11-30T19:50:39Z,   3,            0,          0s,                0001-01-01T00:00:00Z, éve,      get,    /api/v1/namespaces/ns/pods/p/log, ns,        p,      v1,         pods,     log
        system,            all,            0,          -1,                  jane,            2026-11-30T19:50:38Z,   1,            0,          0s,                2026-11-30T19:50:38Z, jane,     get,    /api/v1/namespaces/ns/pods/p/log, ns,        p,      v1,         pods,     log
    "#]],
    );
}
