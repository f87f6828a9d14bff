//! Records that outlive a Pod's containers, written before those are removed.
//!
//! The final status: after a crash nothing else tells that the Pod must not run again. And the containers at a node
//! stop: their next instances continue the restart counts.

use std::{io, path::Path, sync::Arc};

use executor_core::{
    PodOutcome,
    action::{FinalStatus, ResizeRefusal},
    machine::{InProgress, UnfinishedResize},
    observed::{Exit, ObservedContainer, ObservedSandbox, RunState},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

fn name(outcome: PodOutcome) -> &'static str {
    match outcome {
        PodOutcome::Finished => "finished",
        PodOutcome::Failed => "failed",
        PodOutcome::Killed => "killed",
    }
}

/// Writes a final status durably.
pub(crate) fn write(path: &Path, final_status: &FinalStatus) -> io::Result<()> {
    let status = serde_json::to_value(&final_status.status).map_err(io::Error::other)?;
    put(path, &json!({ "outcome": name(final_status.outcome), "status": status }).to_string())
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let partial = path.with_extension("partial");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&partial, text)?;
    std::fs::File::open(&partial)?.sync_all()?;
    std::fs::rename(&partial, path)
}

/// The content of a record, if it exists.
fn content(path: &Path) -> io::Result<Option<Value>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn malformed(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed record {}", path.display()))
}

/// Reads a final status, if one was written. A record that does not decode is an error, since the Pod has ended.
pub(crate) fn read(path: &Path) -> io::Result<Option<FinalStatus>> {
    let Some(mut value) = content(path)? else { return Ok(None) };
    let outcome = match value["outcome"].as_str() {
        Some("finished") => PodOutcome::Finished,
        Some("failed") => PodOutcome::Failed,
        Some("killed") => PodOutcome::Killed,
        _ => return Err(malformed(path)),
    };
    Ok(Some(FinalStatus { outcome, status: serde_json::from_value(value["status"].take())? }))
}

/// A Pod that was interrupted by the stop of its node: its last sandbox and the containers in it, all ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interrupted {
    pub sandbox: ObservedSandbox,
    pub containers: Vec<ObservedContainer>,
}

pub(crate) fn write_interrupted(path: &Path, interrupted: &Interrupted) -> io::Result<()> {
    let ObservedSandbox { id, attempt, created_at, .. } = &interrupted.sandbox;
    let container = |c: &ObservedContainer| {
        let exit = c.exit().map(|exit| {
            json!({
                "code": exit.code, "reason": exit.reason, "message": exit.message,
                "finishedAt": exit.finished_at.to_string(),
            })
        });
        json!({
            "id": c.id, "name": c.name, "attempt": c.attempt, "restartCount": c.restart_count, "hash": c.hash,
            "image": c.image, "imageID": c.image_id, "createdAt": c.created_at.to_string(),
            "startedAt": c.started_at.map(|at| at.to_string()), "exit": exit,
        })
    };
    let containers: Vec<Value> = interrupted.containers.iter().map(container).collect();
    let sandbox = json!({ "id": id, "attempt": attempt, "createdAt": created_at.to_string() });
    put(path, &json!({ "sandbox": sandbox, "containers": containers }).to_string())
}

/// Reads the record of an interrupted Pod, if one was written.
pub(crate) fn read_interrupted(path: &Path) -> io::Result<Option<Interrupted>> {
    match content(path)? {
        Some(value) => interrupted(&value).map(Some).ok_or_else(|| malformed(path)),
        None => Ok(None),
    }
}

fn interrupted(value: &Value) -> Option<Interrupted> {
    let moment = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let sandbox = ObservedSandbox {
        id: text(&value["sandbox"]["id"])?,
        attempt: number(&value["sandbox"]["attempt"])?,
        ready: false,
        created_at: moment(&value["sandbox"]["createdAt"])?,
        ips: Vec::new(),
    };
    let container = |c: &Value| {
        let exit = &c["exit"];
        Some(ObservedContainer {
            id: text(&c["id"])?,
            sandbox_id: sandbox.id.clone(),
            name: text(&c["name"])?,
            attempt: number(&c["attempt"])?,
            restart_count: number(&c["restartCount"])?,
            hash: text(&c["hash"])?,
            image: text(&c["image"])?,
            image_id: text(&c["imageID"])?,
            state: RunState::Exited(Exit {
                code: i32::try_from(exit["code"].as_i64()?).ok()?,
                reason: text(&exit["reason"])?,
                message: text(&exit["message"]),
                finished_at: moment(&exit["finishedAt"])?,
            }),
            created_at: moment(&c["createdAt"])?,
            started_at: moment(&c["startedAt"]),
            applied: None,
        })
    };
    let containers: Option<Vec<ObservedContainer>> =
        value["containers"].as_array()?.iter().map(container).collect();
    Some(Interrupted { containers: containers?, sandbox })
}

/// Writes the newest version of a running Pod. After a restart of the executor, the agent has only the version that was
/// launched.
pub(crate) fn write_pod(path: &Path, newest: &NewestPod) -> io::Result<()> {
    let pending = newest.unfinished.pending.as_ref().map(|(refusal, since)| {
        json!({ "reason": refusal.reason(), "message": refusal.message(), "since": since.to_string() })
    });
    let in_progress = newest.unfinished.in_progress.as_ref().map(|resize| {
        json!({ "generation": resize.generation, "since": resize.since.to_string(), "error": resize.error })
    });
    let record = json!({
        "allocated": *newest.allocated, "desired": *newest.desired, "pending": pending, "inProgress": in_progress,
    });
    put(path, &record.to_string())
}

/// The newest version of a Pod: with the resources that it has been allocated, and with those that it asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NewestPod {
    pub allocated: Arc<Pod>,
    pub desired: Arc<Pod>,
    /// Why it does not have them, and since when its containers are being updated.
    pub unfinished: UnfinishedResize,
}

/// The reason of a resize that is pending; `None` also for a record of a version without one.
fn pending(value: &Value) -> Option<(ResizeRefusal, Timestamp)> {
    let message = value["message"].as_str()?.to_owned();
    let refusal = match value["reason"].as_str()? {
        "Deferred" => ResizeRefusal::Deferred(message),
        "Infeasible" => ResizeRefusal::Infeasible(message),
        _ => return None,
    };
    Some((refusal, value["since"].as_str()?.parse().ok()?))
}

/// The resize that is being carried out; `None` also for a record of a version without one.
fn in_progress(value: &Value) -> Option<InProgress> {
    Some(InProgress {
        generation: value["generation"].as_i64(),
        since: value["since"].as_str()?.parse().ok()?,
        error: value["error"].as_str().map(str::to_owned),
    })
}

/// Reads the newest version of a Pod, if it is newer than the one that was launched.
pub(crate) fn read_pod(path: &Path, launched: &Pod) -> io::Result<Option<NewestPod>> {
    let Some(mut value) = content(path)? else { return Ok(None) };
    let allocated: Pod = serde_json::from_value(value["allocated"].take())?;
    let desired: Pod = serde_json::from_value(value["desired"].take())?;
    let same = allocated.metadata.uid == launched.metadata.uid;
    let newer = desired.metadata.generation >= launched.metadata.generation;
    let unfinished = UnfinishedResize {
        pending: pending(&value["pending"]),
        in_progress: in_progress(&value["inProgress"]),
    };
    Ok((same && newer).then(|| NewestPod {
        allocated: Arc::new(allocated),
        desired: Arc::new(desired),
        unfinished,
    }))
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn an_interrupted_pod_round_trips() {
        let at = Timestamp::from_second(1_000_000).unwrap();
        let sandbox =
            ObservedSandbox { id: "s".into(), attempt: 3, ready: false, created_at: at, ips: Vec::new() };
        let exit = Exit { code: 143, reason: "Error".into(), message: Some("bye".into()), finished_at: at };
        let container = ObservedContainer {
            id: "c".into(),
            sandbox_id: "s".into(),
            name: "web".into(),
            attempt: 2,
            restart_count: 5,
            hash: "h".into(),
            image: "i:1".into(),
            image_id: "sha256:1".into(),
            state: RunState::Exited(exit),
            created_at: at,
            started_at: Some(at),
            applied: None,
        };
        let interrupted = Interrupted { sandbox, containers: vec![container] };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod/.interrupted.json");
        assert_eq!(read_interrupted(&path).unwrap(), None);
        write_interrupted(&path, &interrupted).unwrap();
        assert_eq!(read_interrupted(&path).unwrap(), Some(interrupted));
        std::fs::write(&path, r#"{"sandbox":{"id":"s"},"containers":[{}]}"#).unwrap();
        assert!(read_interrupted(&path).is_err(), "a malformed record is not an absent one");
        assert!(read(&path).is_err());
    }
    #[test]
    fn the_newest_version_of_a_pod_round_trips() {
        let pod = |uid: &str, generation: i64| -> Arc<Pod> {
            serde_json::from_value(json!({ "metadata": { "uid": uid, "generation": generation } })).unwrap()
        };
        let refusal = ResizeRefusal::Deferred("why".to_owned());
        let since = Timestamp::from_second(1_000_000).unwrap();
        let in_progress = InProgress { generation: Some(3), since, error: Some("busy".to_owned()) };
        let unfinished = UnfinishedResize { pending: Some((refusal, since)), in_progress: Some(in_progress) };
        let newest = NewestPod { allocated: pod("u", 3), desired: pod("u", 3), unfinished };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pod.json");
        assert_eq!(read_pod(&path, &pod("u", 1)).unwrap(), None);
        write_pod(&path, &newest).unwrap();
        assert_eq!(read_pod(&path, &pod("u", 1)).unwrap(), Some(newest));
        assert_eq!(read_pod(&path, &pod("u", 4)).unwrap(), None, "the launched version is newer");
        assert_eq!(read_pod(&path, &pod("v", 1)).unwrap(), None, "another Pod");
    }
}
