//! The checkpoint on disk: records are read back, and a torn end is truncated.

use std::{fs, time::Duration};

use kernel_core::agent::Record;
use kernel_model::{
    ids::UpdateId,
    task::{Source, TaskState, TaskStatus},
    time::Time,
};

use super::checkpoint_log::{CheckpointLog, LogError};

fn records() -> Vec<Record> {
    let status = TaskStatus {
        uuid: Some(UpdateId([7; 16])),
        message: Some("all is well".into()),
        data: "{}".into(),
        ..TaskStatus::new("t".into(), TaskState::Running, Source::Executor, Time(5))
    };
    vec![
        Record::Identity { agent_id: "A0".into() },
        Record::Kill { framework_id: "F".into(), task_id: "t".into(), grace: Some(Duration::from_secs(3)) },
        Record::Kill { framework_id: "F".into(), task_id: "u".into(), grace: None },
        Record::Update { framework_id: "F".into(), status: status.into() },
        Record::UpdateDone { framework_id: "F".into(), task_id: "t".into(), uuid: UpdateId([7; 16]) },
        Record::TaskRemoved { framework_id: "F".into(), task_id: "t".into() },
        Record::ExecutorRemoved { framework_id: "F".into(), executor_id: "x".into() },
        Record::FrameworkRemoved { framework_id: "F".into() },
    ]
}

#[test]
fn a_checkpoint_survives_and_its_torn_end_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, none) = CheckpointLog::open(dir.path()).unwrap();
    assert!(none.is_empty());
    log.append(&records()).unwrap();
    drop(log);
    let path = dir.path().join("checkpoint.log");
    let bytes = fs::read(&path).unwrap();
    assert_eq!(CheckpointLog::open(dir.path()).unwrap().1, records());
    for cut in 1..30 {
        fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
        let (mut log, left) = CheckpointLog::open(dir.path()).unwrap();
        let most = records().len() - 1;
        assert!(left.len() <= most && left == records()[..left.len()], "cut {cut}");
        log.append(&records()[most..]).unwrap();
        let again = CheckpointLog::open(dir.path()).unwrap().1;
        assert_eq!(again.last(), records().last());
    }
    let (mut log, _) = CheckpointLog::open(dir.path()).unwrap();
    log.rewrite(&records()[..1]).unwrap();
    log.append(&records()[1..2]).unwrap();
    assert_eq!(CheckpointLog::open(dir.path()).unwrap().1, records()[..2]);
}

#[test]
fn a_foreign_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("checkpoint.log"), "something else entirely").unwrap();
    assert!(matches!(CheckpointLog::open(dir.path()), Err(LogError::Format(_))));
}
