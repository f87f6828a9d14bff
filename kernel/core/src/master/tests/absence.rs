//! Frameworks that are not subscribed: how long they are waited for, also across restarts of the master.

use std::time::Duration;

use kernel_model::agent::ToMaster;

use super::{
    agents::{report, running_cluster, t},
    cluster::*,
};
use crate::master::{Event, FrameworkState, RecordKey};

/// A restarted master with the recovered framework m-0000 of this failover timeout; how many seconds it is kept, up to 10,000.
fn kept_for(failover_timeout: u64) -> u64 {
    let mut c = running_cluster();
    c.restart("n");
    let with_timeout = |tasks| match report(tasks) {
        ToMaster::Reregister { info, mut frameworks, executors, tasks, operations } => {
            std::sync::Arc::make_mut(&mut frameworks[0]).failover_timeout =
                Duration::from_secs(failover_timeout);
            ToMaster::Reregister { info, frameworks, executors, tasks, operations }
        }
        other => other,
    };
    c.connect(7, with_timeout(vec![t()]));
    for second in 0..10_000 {
        let Some(framework) = c.master.framework(&"m-0000".into()) else { return second };
        assert_eq!((framework.state.clone(), framework.tasks.len()), (FrameworkState::Recovered, 1));
        c.log();
        if second % 300 == 299 {
            // Another report does not begin the wait again.
            c.disconnect(7);
            c.connect(7, with_timeout(vec![t()]));
        } else {
            // The agent is silent, so that it would become unreachable without it.
            c.send_message(7, ToMaster::Pong);
        }
        c.advance(Duration::from_secs(1));
    }
    10_000
}

#[test]
fn recovered_frameworks_end_after_their_failover_timeout() {
    assert_eq!(kept_for(700), 700);
    // Agents get 600 seconds to come back, and so does a framework that could not notice the restart yet.
    assert_eq!(kept_for(60), 600);
    assert_eq!(kept_for(0), 600);
    let mut c = running_cluster();
    c.restart("n");
    c.connect(7, report(vec![t()]));
    c.log();
    for _ in 0..600 {
        c.send_message(7, ToMaster::Pong);
        c.advance(Duration::from_secs(1));
    }
    let log = c.log();
    assert!(log.contains("l7 <- ShutdownFramework { framework_id: FrameworkId(m-0000) }"), "{log}");
    assert!(log.contains("put EndedFramework"), "{log}");
}

/// The failover timeout begins when a master first misses the framework, whether that was its disconnection or a restart.
#[test]
fn restarts_do_not_begin_the_failover_timeout_again() {
    // Everybody gets 600 seconds after a restart, which is every 1000 seconds.
    for (disconnects, timeout, expected) in
        [(true, 4900, 4900), (false, 4900, 4900), (true, 4500, 4600), (false, 4500, 4600)]
    {
        let mut c = running_cluster();
        let mut info = framework("f", &["*"]);
        info.failover_timeout = Duration::from_secs(timeout);
        info.id = Some("m-0000".into());
        c.subscribe("s2", info.clone());
        if disconnects {
            c.step(Event::SchedulerClosed { stream: "s2".into() });
        }
        let with_timeout = || match report(vec![t()]) {
            ToMaster::Reregister { info: agent, executors, tasks, operations, .. } => {
                let frameworks = vec![info.clone().into()];
                ToMaster::Reregister { info: agent, frameworks, executors, tasks, operations }
            }
            other => other,
        };
        let mut ended = None;
        for second in 0..10_000 {
            if second % 1000 == 0 {
                c.restart("n");
                c.connect(7, with_timeout());
            }
            if c.master.framework(&"m-0000".into()).is_none() {
                ended = Some(second);
                break;
            }
            c.send_message(7, ToMaster::Pong);
            c.log();
            c.advance(Duration::from_secs(1));
        }
        assert_eq!(ended, Some(expected), "disconnects: {disconnects}");
        assert!(c.master.registry().get(&RecordKey::AbsentFramework("m-0000".into())).is_none());
    }
}

/// A subscription ends the absence, whichever master it is with.
#[test]
fn a_subscription_ends_the_absence() {
    for restarts in [true, false] {
        let mut c = running_cluster();
        c.step(Event::SchedulerClosed { stream: "s1".into() });
        let key = RecordKey::AbsentFramework("m-0000".into());
        assert!(c.master.registry().get(&key).is_some());
        if restarts {
            c.restart("n");
        }
        let mut info = framework("f", &["*"]);
        info.id = Some("m-0000".into());
        c.subscribe("s2", info);
        assert_eq!(c.master.registry().get(&key), None);
    }
}

#[test]
fn a_recovered_framework_that_subscribes_is_kept() {
    let mut c = running_cluster();
    c.restart("n");
    c.connect(7, report(vec![t()]));
    let mut info = framework("f", &["*"]);
    info.id = Some("m-0000".into());
    c.subscribe("s2", info);
    for _ in 0..1000 {
        c.send_message(7, ToMaster::Pong);
        c.advance(Duration::from_secs(1));
    }
    assert_eq!(c.master.framework(&"m-0000".into()).unwrap().tasks.len(), 1);
}
