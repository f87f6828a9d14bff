//! The order of groups and versions in discovery: the priorities of upstream's APIServices (`cmd/kube-apiserver/app/aggregator.go`
//! and `pkg/controlplane/apiserver/aggregator.go`).

use std::cmp::Reverse;
use std::fmt::Debug;

/// The priority of groups that this table does not name: those of CustomResourceDefinitions.
const CUSTOM: i64 = 1_000;
/// The priority of their versions, which are ordered by name.
const CUSTOM_VERSION: i64 = 100;

/// A built-in group.
struct Group {
    name: &'static str,
    priority: i64,
    /// Its versions and their priorities.
    versions: &'static [(&'static str, i64)],
}

const GROUPS: &[Group] = &[
    // Before all others, since the aggregator itself serves it.
    Group { name: "apiregistration.k8s.io", priority: 20_001, versions: &[("v1", 15)] },
    Group { name: "", priority: 18_000, versions: &[("v1", 1)] },
    Group { name: "apps", priority: 17_800, versions: &[("v1", 15)] },
    Group { name: "events.k8s.io", priority: 17_750, versions: &[("v1", 15)] },
    Group { name: "authentication.k8s.io", priority: 17_700, versions: &[("v1", 15)] },
    Group { name: "authorization.k8s.io", priority: 17_600, versions: &[("v1", 15)] },
    Group { name: "autoscaling", priority: 17_500, versions: &[("v2", 30), ("v1", 15)] },
    Group { name: "batch", priority: 17_400, versions: &[("v1", 15)] },
    Group { name: "certificates.k8s.io", priority: 17_300, versions: &[("v1", 15)] },
    Group { name: "networking.k8s.io", priority: 17_200, versions: &[("v1", 15)] },
    Group { name: "policy", priority: 17_100, versions: &[("v1", 15)] },
    Group { name: "rbac.authorization.k8s.io", priority: 17_000, versions: &[("v1", 15)] },
    Group { name: "storage.k8s.io", priority: 16_800, versions: &[("v1", 15)] },
    Group { name: "admissionregistration.k8s.io", priority: 16_700, versions: &[("v1", 15)] },
    Group { name: "apiextensions.k8s.io", priority: 16_700, versions: &[("v1", 15)] },
    Group { name: "scheduling.k8s.io", priority: 16_600, versions: &[("v1", 15)] },
    Group { name: "coordination.k8s.io", priority: 16_500, versions: &[("v1", 15)] },
    Group { name: "node.k8s.io", priority: 16_300, versions: &[("v1", 15)] },
    Group { name: "discovery.k8s.io", priority: 16_200, versions: &[("v1", 15)] },
    Group { name: "resource.k8s.io", priority: 16_200, versions: &[("v1", 21)] },
    Group { name: "flowcontrol.apiserver.k8s.io", priority: 16_100, versions: &[("v1", 21)] },
];

fn group(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.name == name)
}

/// `groupPriorityMinimum` of a group's APIServices.
pub fn group_priority(name: &str) -> i64 {
    group(name).map_or(CUSTOM, |group| group.priority)
}

/// `versionPriority` of a group-version's APIService.
pub fn version_priority(name: &str, version: &str) -> i64 {
    let versions = group(name).map_or(&[][..], |group| group.versions);
    versions.iter().find(|(name, _)| *name == version).map_or(CUSTOM_VERSION, |(_, priority)| *priority)
}

/// Whether the group is one of upstream's.
pub fn is_builtin(name: &str) -> bool {
    group(name).is_some()
}

/// The order of versions by their names, the preferred one last: `v2` before `v1` before `v2beta1` before `v1alpha1`, and these before
/// names of any other form, which are in alphabetical order.
pub fn version_order(version: &str) -> impl Ord + Debug + use<> {
    let stable = 3;
    let parsed = version.strip_prefix('v').and_then(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..end].parse().ok()?;
        let (level, minor) = match &rest[end..] {
            "" => return Some((stable, major, 0)),
            rest => match rest.strip_prefix("beta") {
                Some(minor) => (2, minor),
                None => (1, rest.strip_prefix("alpha")?),
            },
        };
        Some((level, major, minor.parse::<u64>().ok()?))
    });
    let (level, major, minor) = parsed.unwrap_or((0, 0, 0));
    (level, major, minor, Reverse(if level == 0 { version.to_owned() } else { String::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_in_the_documentation() {
        let ordered =
            ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"];
        let mut shuffled = ordered.to_vec();
        shuffled.sort_unstable();
        shuffled.sort_by_key(|version| Reverse(version_order(version)));
        assert_eq!(shuffled, ordered);
    }

    #[test]
    fn every_builtin_group_version_has_a_priority() {
        let schema = std::sync::Arc::new(crate::schema::Schema::builtin());
        for resource in crate::resource::builtin(&schema) {
            let (group, version) = (resource.group.as_str(), resource.version.as_str());
            assert!(is_builtin(group), "{group}");
            assert_ne!(version_priority(group, version), CUSTOM_VERSION, "{group}/{version}");
        }
    }
}
