//! Which checks a level of a version consists of, and the result of running them.

use serde_json::Value;

use super::checks::{BASELINE, Check, CheckFn, PodParts, RESTRICTED, Violation};
use super::policy::{Level, LevelVersion, Version};

/// The newest minor version whose rules are known: the server's own.
const NEWEST_MINOR: u64 = 36;

/// What a Pod violates; empty if it complies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Whether the Pod complies.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The violated rules, without who violates them: equal for Pods that violate the same rules.
    pub fn reasons(&self) -> String {
        self.0.iter().map(|v| v.reason.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The violated rules, each with who violates it.
    pub fn details(&self) -> String {
        let one = |v: &Violation| match v.detail.is_empty() {
            true => v.reason.clone(),
            false => format!("{} ({})", v.reason, v.detail),
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Runs the checks of a level and version.
pub fn evaluate(policy: LevelVersion, metadata: &Value, spec: &Value) -> Violations {
    let minor = match policy.version {
        Version::Latest => NEWEST_MINOR,
        Version::Minor(minor) => minor.min(NEWEST_MINOR),
    };
    let pod = &PodParts { metadata, spec };
    Violations(selected(policy.level, minor).into_iter().filter_map(|check| check(pod)).collect())
}

/// The checks in upstream's order: those of baseline before those of restricted, each by name.
fn selected(level: Level, minor: u64) -> Vec<CheckFn> {
    let of =
        |check: &Check| check.versions.iter().rev().find(|(since, _)| *since <= minor).map(|(_, run)| *run);
    let baseline = BASELINE.iter().filter_map(|check| Some((check.id, of(check)?)));
    match level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline.map(|(_, run)| run).collect(),
        Level::Restricted => {
            let stricter: Vec<(&Check, CheckFn)> =
                RESTRICTED.iter().filter_map(|check| Some((check, of(check)?))).collect();
            let replaced = |id: &str| stricter.iter().any(|(check, _)| check.replaces == Some(id));
            let kept = baseline.filter(|(id, _)| !replaced(id)).map(|(_, run)| run);
            kept.chain(stricter.iter().map(|(_, run)| *run)).collect()
        }
    }
}
