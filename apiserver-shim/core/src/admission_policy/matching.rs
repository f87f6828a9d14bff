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
    /// Whether the object is in a namespace. Namespaces are not.
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
    /// Whether no rules match nothing, instead of everything.
    needs_rule: bool,
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
        let excluded = rules(value, "excludeResourceRules");
        MatchResources { excluded, ..MatchResources::with_rules(value, "resourceRules") }
    }

    /// Parses the members of a webhook.
    pub fn of_webhook(webhook: &Value) -> MatchResources {
        MatchResources { needs_rule: true, ..MatchResources::with_rules(webhook, "rules") }
    }

    fn with_rules(value: &Value, member: &str) -> MatchResources {
        MatchResources {
            rules: rules(value, member),
            excluded: Vec::new(),
            objects: Selector::parse(value.get("objectSelector")),
            namespaces: Selector::parse(value.get("namespaceSelector")),
            equivalent: value.get("matchPolicy").is_none_or(|policy| policy != "Exact"),
            needs_rule: false,
        }
    }

    /// Whether a request matches the rules.
    pub fn matches_rules(&self, request: &Requested<'_>) -> bool {
        self.preferred(std::slice::from_ref(request)).is_some()
    }

    /// The index of the request that the earliest rule matches: all are forms of one request.
    pub fn preferred(&self, requests: &[Requested<'_>]) -> Option<usize> {
        let excluded = |request: &Requested<'_>| self.excluded.iter().any(|rule| rule.matches(request));
        let matches = |rule: Option<&Rule>| {
            requests.iter().position(|request| rule.is_none_or(|r| r.matches(request)) && !excluded(request))
        };
        match self.rules.is_empty() {
            true if self.needs_rule => None,
            true => matches(None),
            false => self.rules.iter().find_map(|rule| matches(Some(rule))),
        }
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

fn rules(value: &Value, member: &str) -> Vec<Rule> {
    access::list(value, &[member]).iter().map(Rule::parse).collect()
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
