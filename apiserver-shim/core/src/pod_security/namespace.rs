//! The Pods of a namespace whose enforced level changes: they go on, but the client is warned of those that the new
//! level would refuse.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use shim_model::access;

use super::evaluation::evaluate;
use super::policy::LevelVersion;

/// Most Pods that are checked (as upstream). At about 50 µs a Pod this is less than a fifth of a second.
pub const PODS_MAX: usize = 3000;

/// The warnings about the Pods of a namespace, collected Pod by Pod.
#[derive(Debug)]
pub struct ExistingPods {
    enforce: LevelVersion,
    controllers: BTreeSet<String>,
    /// By violated rules: the first name and the number of Pods.
    found: BTreeMap<String, (String, usize)>,
    checked: usize,
}

impl ExistingPods {
    /// No Pod is checked yet.
    pub fn new(enforce: LevelVersion) -> Self {
        ExistingPods { enforce, controllers: BTreeSet::new(), found: BTreeMap::new(), checked: 0 }
    }

    /// Whether a Pod's controller has a Pod already that goes first: Pods of one controller are mostly alike.
    pub fn is_duplicate(&mut self, controller_uid: Option<&str>) -> bool {
        controller_uid.is_some_and(|uid| !self.controllers.insert(uid.to_owned()))
    }

    /// Checks a Pod.
    pub fn check(&mut self, pod: &Value) {
        self.checked += 1;
        let violations = evaluate(self.enforce, &pod["metadata"], &pod["spec"]);
        if violations.is_empty() {
            return;
        }
        let name = access::text(pod, &["metadata", "name"]);
        let (first, count) = self.found.entry(violations.reasons()).or_insert_with(|| (name.to_owned(), 0));
        *count += 1;
        if name < first.as_str() {
            *first = name.to_owned();
        }
    }

    /// The warnings; `total` is the number of Pods in the namespace.
    pub fn warnings(self, namespace: &str, total: usize) -> Vec<String> {
        let mut out = Vec::new();
        if self.checked < total {
            let checked = self.checked;
            out.push(format!(
                "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
            ));
        }
        if !self.found.is_empty() {
            let enforce = self.enforce;
            out.push(format!(
                "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{enforce}\""
            ));
        }
        let mut pods: Vec<String> = self
            .found
            .into_iter()
            .map(|(reasons, (name, count))| match count {
                1 => format!("{name}: {reasons}"),
                2 => format!("{name} (and 1 other pod): {reasons}"),
                _ => format!("{name} (and {} other pods): {reasons}", count - 1),
            })
            .collect();
        pods.sort();
        out.extend(pods);
        out
    }
}
