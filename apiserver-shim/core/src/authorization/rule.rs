//! Policy rules: what one rule of a role allows.

use serde_json::{Map, Value};
use shim_model::access;

use super::{AccessRequest, Requested, RequestedResource};

/// Matches every verb, group, resource and path.
const ALL: &str = "*";

/// A rule of a Role or ClusterRole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
#[allow(missing_docs)]
pub struct PolicyRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    /// `resource`, `resource/subresource`, `*/subresource` or `*`.
    pub resources: Vec<String>,
    /// Names of the objects; empty for all objects.
    pub resource_names: Vec<String>,
    /// Paths; a `*` at the end matches every continuation.
    pub non_resource_urls: Vec<String>,
}

impl PolicyRule {
    /// Parses a rule.
    pub fn of(rule: &Value) -> PolicyRule {
        let texts = |member: &str| {
            access::list(rule, &[member]).iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        PolicyRule {
            verbs: texts("verbs"),
            api_groups: texts("apiGroups"),
            resources: texts("resources"),
            resource_names: texts("resourceNames"),
            non_resource_urls: texts("nonResourceURLs"),
        }
    }

    /// The rules of a Role or ClusterRole.
    pub fn all_of(role: &Value) -> Vec<PolicyRule> {
        access::list(role, &["rules"]).iter().map(PolicyRule::of).collect()
    }

    /// The rules that allow everything.
    pub fn full_authority() -> [PolicyRule; 2] {
        let all = || vec![ALL.to_owned()];
        let resources =
            PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() };
        [resources, PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() }]
    }

    /// The rule as JSON, without empty members except `verbs`.
    pub fn to_value(&self) -> Value {
        let members = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("resourceNames", &self.resource_names),
            ("nonResourceURLs", &self.non_resource_urls),
        ];
        let written = members.into_iter().filter(|(name, list)| *name == "verbs" || !list.is_empty());
        written
            .map(|(name, list)| (name.to_owned(), list.iter().map(String::as_str).collect()))
            .collect::<Map<_, _>>()
            .into()
    }

    /// Whether the rule allows a request.
    pub fn allows(&self, request: &AccessRequest<'_>) -> bool {
        matches(&self.verbs, request.verb)
            && match &request.object {
                Requested::Resource(resource) => {
                    matches(&self.api_groups, resource.group)
                        && self.names_resource(resource)
                        && (self.resource_names.is_empty() || contains(&self.resource_names, resource.name))
                }
                Requested::Path(path) => self.non_resource_urls.iter().any(|url| path_matches(url, path)),
            }
    }

    fn names_resource(&self, requested: &RequestedResource<'_>) -> bool {
        self.resources.iter().any(|known| match requested.subresource {
            _ if known == ALL => true,
            "" => known == requested.resource,
            subresource => known
                .strip_suffix(subresource)
                .and_then(|rest| rest.strip_suffix('/'))
                .is_some_and(|resource| resource == ALL || resource == requested.resource),
        })
    }
}

fn contains(list: &[String], text: &str) -> bool {
    list.iter().any(|known| known == text)
}

fn matches(list: &[String], text: &str) -> bool {
    list.iter().any(|known| known == text || known == ALL)
}

/// Whether a path pattern of a rule matches a path, or covers a pattern.
pub(super) fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == path || pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*'))
}
