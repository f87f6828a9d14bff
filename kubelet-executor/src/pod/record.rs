//! A Pod's end, written down before its containers are removed: after a crash nothing else tells that it must not run again.

use std::{io, path::Path};

use executor_core::{Outcome, action::Final};
use serde_json::{Value, json};

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Finished => "finished",
        Outcome::Failed => "failed",
        Outcome::Killed => "killed",
    }
}

/// Writes an end; it is on disk when this returns.
pub(crate) fn write(path: &Path, finale: &Final) -> io::Result<()> {
    let status = serde_json::to_value(&finale.status).map_err(io::Error::other)?;
    let text = json!({ "outcome": name(finale.outcome), "status": status }).to_string();
    let partial = path.with_extension("partial");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&partial, text)?;
    std::fs::File::open(&partial)?.sync_all()?;
    std::fs::rename(&partial, path)
}

/// Reads an end, if one was written.
pub(crate) fn read(path: &Path) -> Option<Final> {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let outcome = match value["outcome"].as_str()? {
        "finished" => Outcome::Finished,
        "failed" => Outcome::Failed,
        _ => Outcome::Killed,
    };
    Some(Final { outcome, status: serde_json::from_value(value["status"].take()).ok()? })
}
