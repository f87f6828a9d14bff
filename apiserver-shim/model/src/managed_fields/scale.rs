//! The owners of a workload's replicas as those of its Scale: writes to the `scale` subresource record
//! `spec.replicas` of a Scale, and the workload's entries have it as their own field.

use super::entries::{self, Entry};
use super::field_set::FieldSet;
use super::path::PathElement;
use crate::access;
use serde_json::Value;

/// The version of Scale.
const SCALE: &str = "autoscaling/v1";
const LIST: [&str; 2] = ["metadata", "managedFields"];

/// How the replicas of a workload are owned.
#[derive(Debug, Clone, Copy)]
pub struct ScaleOwners<'a> {
    /// The version of the request.
    pub api_version: &'a str,
    /// Where the workload has its number of replicas, in each of its versions.
    pub paths: &'a [(&'a str, &'a [&'a str])],
}

fn path(members: &[&str]) -> Vec<PathElement> {
    members.iter().map(|name| PathElement::Field((*name).to_owned())).collect()
}

fn replicas() -> Vec<PathElement> {
    path(&["spec", "replicas"])
}

impl ScaleOwners<'_> {
    fn path(&self, version: &str) -> Option<Vec<PathElement>> {
        self.paths.iter().find(|(v, _)| *v == version).map(|(_, members)| path(members))
    }

    /// The managed fields of the Scale of a workload.
    pub fn of_scale(&self, workload: &Value) -> Vec<Value> {
        let known = entries::parse(access::list(workload, &LIST)).unwrap_or_default();
        let owns = |entry: &Entry| self.path(&entry.api_version).is_some_and(|path| entry.fields.has(&path));
        let mut single = FieldSet::default();
        single.insert(&replicas());
        let owners = known.into_iter().filter(owns);
        entries::to_list(owners.map(|entry| entry.moved_to(SCALE, single.clone())).collect())
    }

    /// The managed fields of the workload after a write of its Scale.
    pub fn of_workload(&self, workload: &Value, scale: &Value) -> Vec<Value> {
        let before = entries::parse(access::list(workload, &LIST)).unwrap_or_default();
        let mut scaled = entries::parse(access::list(scale, &LIST)).unwrap_or_default();
        // Upstream gives such an entry the time that it had in the workload, and a new one none. An updater's entry is always new,
        // because its identity contains the version.
        for entry in &mut scaled {
            let known = before.iter().find(|known| known.id == entry.id);
            entry.time = known.map(|known| known.time.clone()).unwrap_or_default();
        }
        let mut out = Vec::with_capacity(before.len() + 1);
        for mut entry in before {
            // An entry of an unknown version is dropped.
            let Some(path) = self.path(&entry.api_version) else { continue };
            if entry.fields.has(&path) {
                let mut single = FieldSet::default();
                single.insert(&path);
                match scaled.iter().position(|scaled| scaled.id == entry.id) {
                    Some(at) => drop(scaled.remove(at)),
                    None => entry.fields = entry.fields.difference(&single),
                }
            }
            if !entry.fields.is_empty() {
                out.push(entry);
            }
        }
        for entry in scaled.into_iter().filter(|entry| entry.fields.has(&replicas())) {
            let mut fields = FieldSet::default();
            let Some(path) = self.path(self.api_version) else { continue };
            fields.insert(&path);
            out.push(entry.moved_to(self.api_version, fields));
        }
        entries::to_list(out)
    }
}
