//! Small parts of the built-in executor; the whole is tested against a real agent in `tests/`.

use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use super::{command::describe, duration};
use crate::runtime::environment;

#[test]
fn ends_are_told_in_mesos_words() {
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
    assert_eq!(duration("soon"), None);
}
