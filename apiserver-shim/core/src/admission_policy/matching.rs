//! Which requests the rules and selectors of policies, bindings and webhooks match.

use serde_json::Value;
use shim_model::access;
use shim_model::selector::LabelSelector;
use std::collections::BTreeMap;

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Requested<'a> {
    pub operation: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    pub namespaced: bool,
}

/// `matchConstraints`, `matchResources`, or the corresponding members of a webhook.
#[derive(Debug, Default)]
pub struct MatchResources {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    objects: Option<Selector>,
    namespaces: Option<Selector>,
    /// Whether rules match other versions of the same resource.
    pub equivalent: bool,
}

#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    scope: String,
}

/// A label selector; an invalid one matches nothing.
#[derive(Debug)]
struct Selector(Option<LabelSelector>);

impl Selector {
    fn parse(value: Option<&Value>) -> Option<Selector> {
        let value = value.filter(|value| value.as_object().is_some_and(|members| !members.is_empty()))?;
        Some(Selector(LabelSelector::from_value(value).ok()))
    }

    fn matches(&self, object: &Value) -> bool {
        self.0.as_ref().is_some_and(|selector| selector.matches(&labels(object)))
    }
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let entries = access::entries(object, &["metadata", "labels"]);
    entries.filter_map(|(key, value)| Some((key.to_owned(), value.as_str()?.to_owned()))).collect()
}

impl MatchResources {
    /// Parses the value; an absent one matches everything.
    pub fn parse(value: &Value) -> MatchResources {
        let rules = |member: &str| access::list(value, &[member]).iter().map(Rule::parse).collect();
        MatchResources {
            rules: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            objects: Selector::parse(value.get("objectSelector")),
            namespaces: Selector::parse(value.get("namespaceSelector")),
            equivalent: value.get("matchPolicy").is_none_or(|policy| policy != "Exact"),
        }
    }

    /// Whether a request matches the rules; no rules match every request.
    pub fn matches_rules(&self, request: &Requested<'_>) -> bool {
        let excluded = self.excluded.iter().any(|rule| rule.matches(request));
        !excluded && (self.rules.is_empty() || self.rules.iter().any(|rule| rule.matches(request)))
    }

    /// Whether the labels of the object, or of the one that it replaces, match.
    pub fn matches_objects(&self, object: &Value, old: &Value) -> bool {
        let Some(selector) = &self.objects else { return true };
        let matches = |object: &Value| !object.is_null() && selector.matches(object);
        matches(object) || matches(old)
    }

    /// Whether the labels of the namespace match. Objects without one match, unless they are Namespaces themselves.
    pub fn matches_namespace(&self, namespace: &Value) -> bool {
        let Some(selector) = &self.namespaces else { return true };
        namespace.is_null() || selector.matches(namespace)
    }

    /// Whether a namespace must be looked up.
    pub fn selects_namespaces(&self) -> bool {
        self.namespaces.is_some()
    }
}

impl Rule {
    fn parse(rule: &Value) -> Rule {
        let texts = |member: &str| {
            let items = access::list(rule, &[member]).iter();
            items.filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        Rule {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            scope: access::text(rule, &["scope"]).to_owned(),
        }
    }

    fn matches(&self, request: &Requested<'_>) -> bool {
        let has = |list: &[String], text: &str| list.iter().any(|item| item == "*" || item == text);
        let scope = match self.scope.as_str() {
            "Namespaced" => request.namespaced,
            "Cluster" => !request.namespaced,
            _ => true,
        };
        scope
            && has(&self.operations, request.operation)
            && has(&self.groups, request.group)
            && has(&self.versions, request.version)
            && self.resources.iter().any(|resource| matches_resource(resource, request))
            && (self.names.is_empty() || self.names.iter().any(|name| name == request.name))
    }
}

/// `pods`, `pods/log`, `pods/*`, `*/scale`, `*`, `*/*`.
fn matches_resource(pattern: &str, request: &Requested<'_>) -> bool {
    let (resource, subresource) = pattern.split_once('/').unwrap_or((pattern, ""));
    let all = resource == "*" || resource == request.resource;
    all && (subresource == "*" && pattern.contains('/') || subresource == request.subresource)
}
