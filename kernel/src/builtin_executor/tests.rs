//! Unit tests of the built-in executors; `tests/` tests it with a real agent.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use kernel_wire::v1::{self, HealthCheck, health_check};

use super::{
    command::describe,
    duration,
    probe::{Probe, ProbeContext, ProbeResult},
};
use crate::runtime::environment;

#[test]
fn exits_have_mesos_messages() {
    assert_eq!(describe(ExitStatus::from_raw(3 << 8)), "Command exited with status 3");
    assert_eq!(describe(ExitStatus::from_raw(9)), "Command terminated with signal Killed");
}

#[test]
fn durations_are_read_as_they_are_written() {
    let lengths = [0.0005, 1.0, 5.0, 90.0, 900.0, 5400.0, 200_000.0, 1_000_000.0];
    for length in lengths.map(Duration::from_secs_f64) {
        let text = environment::duration(length);
        let back = duration(&text).unwrap();
        assert!(back.abs_diff(length) < Duration::from_millis(1), "{length:?} as {text}");
    }
    assert_eq!(environment::duration(Duration::from_secs(5)), "5secs");
    assert_eq!(environment::duration(Duration::from_secs(900)), "15mins");
    assert!(duration("soon").is_err());
}

#[test]
fn probes_distinguish_answers_from_timeouts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = u32::from(listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for status in ["204 x", "500 x"] {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 512]);
            let _ = std::io::Write::write_all(&mut stream, format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
        }
        let (_connected, _) = listener.accept().unwrap();
        std::thread::sleep(Duration::from_secs(3600));
    });
    let http = health_check::HttpCheckInfo { port, path: Some("/x".into()), ..Default::default() };
    let http = |timeout: f64| {
        let check = HealthCheck {
            r#type: Some(health_check::Type::Http as i32),
            http: Some(http.clone()),
            timeout_seconds: Some(timeout),
            ..Default::default()
        };
        Probe::of_health(&check).unwrap().once(&ProbeContext::default())
    };
    // Shells may start slowly; a wait for a timeout is kept short.
    let command = |line: &str, timeout: f64| {
        let command = v1::CommandInfo { value: Some(line.into()), ..Default::default() };
        let check = HealthCheck {
            r#type: Some(health_check::Type::Command as i32),
            command: Some(command),
            timeout_seconds: Some(timeout),
            ..Default::default()
        };
        let context = ProbeContext { environment: vec![("A".into(), "3".into())], ..Default::default() };
        Probe::of_health(&check).unwrap().once(&context)
    };
    assert_eq!(http(60.0), ProbeResult::Answered(Some(204)));
    assert_eq!(http(60.0), ProbeResult::Answered(Some(500)));
    assert_eq!(http(0.3), ProbeResult::Answered(None), "nothing is said in time");
    assert_eq!(command("exit $A", 60.0), ProbeResult::Exited(Some(3)));
    assert_eq!(command("sleep 60", 0.3), ProbeResult::Exited(None));
    let good =
        [ProbeResult::Answered(Some(399)), ProbeResult::Exited(Some(0)), ProbeResult::Connected(Some(true))];
    assert!(good.into_iter().all(ProbeResult::is_good));
    let bad = [ProbeResult::Answered(Some(400)), ProbeResult::Exited(Some(3)), ProbeResult::Connected(None)];
    assert!(!bad.into_iter().any(ProbeResult::is_good));
}
