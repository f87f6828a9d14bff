//! What aggregated servers serve: their discovery documents, fetched by [`super::availability`], and how they are merged with
//! the groups of this server.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shim_model::access;
use shim_model::catalog::Group;
use shim_model::resource::priorities::{group_priority, version_order, version_priority};
use shim_model::resource::split_api_version;

/// The document of one group-version.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteVersion {
    /// `groupPriorityMinimum` of the APIService.
    pub group_priority: i64,
    /// `versionPriority` of the APIService.
    pub version_priority: i64,
    /// The resources, in the form of aggregated discovery.
    pub resources: Value,
    /// Whether the last attempt to fetch it succeeded.
    pub is_fresh: bool,
    /// The hash of the OpenAPI v3 document, if the server has one.
    pub openapi: Option<String>,
    /// The part of the OpenAPI v2 document with the paths of the group-version, if the server has one.
    pub openapi_2: Option<Arc<RemoteDocument>>,
}

/// A document with its ETag.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteDocument {
    /// Empty if the server has given none.
    pub etag: String,
    /// The document.
    pub document: Value,
}

/// The documents of all aggregated servers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemoteDiscovery {
    /// Grows with each change.
    pub generation: u64,
    /// By group and version.
    pub versions: BTreeMap<(String, String), RemoteVersion>,
}

/// A group in discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedGroup {
    /// The name.
    pub name: String,
    /// Its versions, the preferred one first; true for those of aggregated servers.
    pub versions: Vec<(String, bool)>,
}

impl RemoteDiscovery {
    /// The groups of this server and of aggregated ones, by priority.
    pub fn merge(&self, local: &[Group]) -> Vec<MergedGroup> {
        let mut groups: Vec<(i64, MergedGroup)> = Vec::new();
        for group in local {
            let versions = group.versions.iter().map(|version| (version.clone(), false)).collect();
            let merged = MergedGroup { name: group.name.clone(), versions };
            groups.push((group_priority(&group.name), merged));
        }
        for ((name, version), remote) in &self.versions {
            let at = groups.iter().position(|(_, group)| group.name == *name);
            let at = at.unwrap_or_else(|| {
                groups.push((0, MergedGroup { name: name.clone(), versions: Vec::new() }));
                groups.len() - 1
            });
            let (priority, group) = &mut groups[at];
            *priority = (*priority).max(remote.group_priority);
            group.versions.retain(|(own, _)| own != version);
            group.versions.push((version.clone(), true));
            group.versions.sort_by(|a, b| self.compare(name, a, b));
        }
        groups.sort_by_key(|(priority, _)| Reverse(*priority));
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// The OpenAPI v2 documents in the order in which they are merged: by the priorities of the groups, then by name.
    pub fn openapi_2(&self) -> Vec<&Value> {
        let mut groups: BTreeMap<&str, i64> = BTreeMap::new();
        for ((group, _), remote) in &self.versions {
            let priority = groups.entry(group).or_insert(remote.group_priority);
            *priority = (*priority).max(remote.group_priority);
        }
        let mut all: Vec<_> = self.versions.iter().collect();
        all.sort_by_cached_key(|((group, version), _)| {
            (Reverse(groups[group.as_str()]), format!("{version}.{group}"))
        });
        all.iter().filter_map(|(_, remote)| remote.openapi_2.as_ref().map(|found| &found.document)).collect()
    }

    fn compare(&self, group: &str, a: &(String, bool), b: &(String, bool)) -> Ordering {
        let priority = |(version, is_remote): &(String, bool)| match is_remote {
            true => self.versions[&(group.to_owned(), version.clone())].version_priority,
            false => version_priority(group, version),
        };
        priority(b).cmp(&priority(a)).then_with(|| version_order(&b.0).cmp(&version_order(&a.0)))
    }

    /// The entry of a group-version in aggregated discovery.
    pub fn entry(&self, group: &str, version: &str) -> Option<Value> {
        let remote = self.versions.get(&(group.to_owned(), version.to_owned()))?;
        let freshness = if remote.is_fresh { "Current" } else { "Stale" };
        let mut entry = json!({"version": version, "freshness": freshness});
        if remote.resources.as_array().is_some_and(|resources| !resources.is_empty()) {
            entry["resources"] = remote.resources.clone();
        }
        Some(entry)
    }
}

/// The resources of each group-version in an `APIGroupDiscoveryList`.
pub fn of_aggregated(list: &Value) -> BTreeMap<(String, String), Value> {
    let mut out = BTreeMap::new();
    for group in access::list(list, &["items"]) {
        let name = group["metadata"]["name"].as_str().unwrap_or("");
        for version in access::list(group, &["versions"]) {
            let key = (name.to_owned(), version["version"].as_str().unwrap_or("").to_owned());
            out.insert(key, version["resources"].clone());
        }
    }
    out
}

/// The resources of an `APIResourceList` in the form of aggregated discovery: subresources below their resource.
pub fn of_legacy(list: &Value) -> Value {
    let (group, version) = split_api_version(list["groupVersion"].as_str().unwrap_or(""));
    let mut resources: BTreeMap<&str, Value> = BTreeMap::new();
    let mut subresources: Vec<(&str, Value)> = Vec::new();
    for entry in access::list(list, &["resources"]) {
        let text = |name: &str| entry[name].as_str().unwrap_or("");
        let or = |value: &'_ str, default: &'_ str| if value.is_empty() { default } else { value }.to_owned();
        let kind = json!({"group": or(text("group"), group), "version": or(text("version"), version),
            "kind": text("kind")});
        match text("name").split_once('/') {
            Some((resource, name)) => {
                let value = json!({"subresource": name, "responseKind": kind, "verbs": entry["verbs"]});
                subresources.push((resource, value));
            }
            None => {
                let scope = if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
                let mut value = json!({"resource": text("name"), "responseKind": kind, "scope": scope,
                    "singularResource": text("singularName"), "verbs": entry["verbs"]});
                for name in ["shortNames", "categories"] {
                    if let Some(list) = entry.get(name) {
                        value[name] = list.clone();
                    }
                }
                resources.insert(text("name"), value);
            }
        }
    }
    for (resource, value) in subresources {
        if let Some(Value::Object(found)) = resources.get_mut(resource) {
            push(found, value);
        }
    }
    resources.into_values().collect()
}

fn push(resource: &mut Map<String, Value>, subresource: Value) {
    let all = resource.entry("subresources").or_insert_with(|| json!([]));
    if let Value::Array(all) = all {
        all.push(subresource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(group_priority: i64, version_priority: i64) -> RemoteVersion {
        let resources = json!([{"resource": "pods"}]);
        RemoteVersion {
            group_priority,
            version_priority,
            resources,
            is_fresh: true,
            openapi: None,
            openapi_2: None,
        }
    }

    fn local(name: &str, versions: &[&str]) -> Group {
        Group { name: name.to_owned(), versions: versions.iter().map(|v| (*v).to_owned()).collect() }
    }

    #[test]
    fn groups_are_ordered_by_priority_and_versions_within_them() {
        let versions = [
            (("metrics.k8s.io".to_owned(), "v1beta1".to_owned()), remote(100, 10)),
            (("first.example.com".to_owned(), "v1".to_owned()), remote(17_900, 10)),
            (("example.com".to_owned(), "v2".to_owned()), remote(1_000, 200)),
        ];
        let discovery = RemoteDiscovery { generation: 1, versions: versions.into() };
        let groups =
            discovery.merge(&[local("", &["v1"]), local("apps", &["v1"]), local("example.com", &["v1"])]);
        let shown: Vec<String> = groups.iter().map(|g| format!("{} {:?}", g.name, g.versions)).collect();
        assert_eq!(
            shown,
            [
                " [(\"v1\", false)]",
                "first.example.com [(\"v1\", true)]",
                "apps [(\"v1\", false)]",
                "example.com [(\"v2\", true), (\"v1\", false)]",
                "metrics.k8s.io [(\"v1beta1\", true)]",
            ]
        );
    }

    #[test]
    fn without_aggregated_servers_the_order_is_the_catalogs() {
        let groups = RemoteDiscovery::default()
            .merge(&[local("b.example.com", &["v1"]), local("a.example.com", &["v1"])]);
        assert_eq!(groups[0].name, "b.example.com");
    }

    #[test]
    fn legacy_documents_become_aggregated_ones() {
        let list = json!({"groupVersion": "metrics.k8s.io/v1beta1", "resources": [
            {"name": "pods/log", "singularName": "", "namespaced": true, "kind": "Log", "version": "v1", "verbs": ["get"]},
            {"name": "pods", "singularName": "pod", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"],
             "shortNames": ["pm"]}]});
        assert_eq!(
            of_legacy(&list),
            json!([{"resource": "pods", "scope": "Namespaced", "singularResource": "pod", "verbs": ["get", "list"],
                "shortNames": ["pm"],
                "responseKind": {"group": "metrics.k8s.io", "version": "v1beta1", "kind": "PodMetrics"},
                "subresources": [{"subresource": "log", "verbs": ["get"],
                    "responseKind": {"group": "metrics.k8s.io", "version": "v1", "kind": "Log"}}]}])
        );
    }

    #[test]
    fn a_version_that_could_not_be_fetched_is_stale() {
        let mut stale = remote(100, 10);
        (stale.is_fresh, stale.resources) = (false, Value::Null);
        let versions = [(("a.b".to_owned(), "v1".to_owned()), stale)];
        let discovery = RemoteDiscovery { generation: 1, versions: versions.into() };
        assert_eq!(discovery.entry("a.b", "v1"), Some(json!({"version": "v1", "freshness": "Stale"})));
        assert_eq!(discovery.entry("a.b", "v2"), None);
    }
}
