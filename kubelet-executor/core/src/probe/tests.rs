//! Sequences of results.

use super::*;

fn container(startup: bool) -> Container {
    let probe = Probe {
        period_seconds: Some(5),
        failure_threshold: Some(2),
        success_threshold: Some(1),
        initial_delay_seconds: Some(3),
        ..Default::default()
    };
    Container {
        startup_probe: startup.then(|| probe.clone()),
        liveness_probe: Some(probe.clone()),
        readiness_probe: Some(Probe { success_threshold: Some(2), ..probe }),
        ..Default::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn startup_gates_the_others() {
    let mut probes = Probes::new(&container(true), at(100), at(100));
    assert_eq!(probes.take_due(at(102)), []);
    assert_eq!(probes.next_at(), Some(at(103)));
    assert_eq!(probes.take_due(at(103)), [ProbeKind::Startup]);
    assert_eq!(probes.next_at(), None, "one at a time");
    assert_eq!(probes.result(ProbeKind::Startup, false, at(103)), ProbeVerdict::None);
    assert_eq!(probes.take_due(at(108)), [ProbeKind::Startup]);
    assert_eq!(probes.result(ProbeKind::Startup, true, at(108)), ProbeVerdict::None);
    assert!(probes.started() && !probes.ready());
    assert_eq!(probes.take_due(at(108)), [ProbeKind::Liveness, ProbeKind::Readiness]);
}

#[test]
fn readiness_has_thresholds_in_both_directions() {
    let mut probes = Probes::new(&container(false), at(0), at(0));
    let ready: Vec<bool> = [true, true, false, true, false, false]
        .into_iter()
        .map(|ok| {
            probes.result(ProbeKind::Readiness, ok, at(10));
            probes.ready()
        })
        .collect();
    assert_eq!(ready, [false, true, true, true, true, false]);
}

#[test]
fn liveness_restarts_at_its_threshold() {
    let mut probes = Probes::new(&container(false), at(0), at(0));
    assert_eq!(probes.result(ProbeKind::Liveness, false, at(10)), ProbeVerdict::None);
    assert_eq!(probes.result(ProbeKind::Liveness, true, at(15)), ProbeVerdict::None);
    assert_eq!(probes.result(ProbeKind::Liveness, false, at(20)), ProbeVerdict::None);
    assert_eq!(probes.result(ProbeKind::Liveness, false, at(25)), ProbeVerdict::Kill);
}
