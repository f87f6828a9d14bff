//! `audit.k8s.io/v1` Policy: which requests are recorded at which level. The first matching rule applies; a request
//! without a matching rule is not recorded.

use shim_model::go_quote::Quoted;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use shim_model::schema;

use crate::auth::authentication::User;
use shim_core::authorization::{AccessRequest, Requested, RequestedResource};

/// How much of a request is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Level {
    /// The request is not recorded.
    None,
    /// User, request attributes and response status.
    Metadata,
    /// Metadata and the request object.
    Request,
    /// Metadata, the request object and the response object.
    RequestResponse,
}

impl Level {
    /// The level's name in events.
    pub fn name(self) -> &'static str {
        match self {
            Level::None => "None",
            Level::Metadata => "Metadata",
            Level::Request => "Request",
            Level::RequestResponse => "RequestResponse",
        }
    }
}

/// The stage of a request at which an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Stage {
    /// The request is authenticated; handling has not begun.
    RequestReceived,
    /// The response headers are sent; only for watches and streams.
    ResponseStarted,
    /// The response body is sent.
    ResponseComplete,
    /// The server panicked.
    Panic,
}

impl Stage {
    /// The stage's name in events.
    pub fn name(self) -> &'static str {
        match self {
            Stage::RequestReceived => "RequestReceived",
            Stage::ResponseStarted => "ResponseStarted",
            Stage::ResponseComplete => "ResponseComplete",
            Stage::Panic => "Panic",
        }
    }
}

/// Why a policy file is rejected.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum PolicyError {
    #[error("audit policy {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("audit policy {} is not valid: {reason}", path.display())]
    Invalid { path: PathBuf, reason: String },
}

/// An audit policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// The policy's decision about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDecision {
    /// How much is recorded.
    pub level: Level,
    /// The stages that produce no event.
    pub omit_stages: Vec<Stage>,
    /// Whether `metadata.managedFields` is removed from recorded objects.
    pub omit_managed_fields: bool,
}

impl Policy {
    /// Reads a policy file, YAML or JSON. Unknown members are errors, so that a misspelt rule does not go unnoticed.
    pub fn read(path: &Path) -> Result<Policy, PolicyError> {
        let invalid = |reason: String| PolicyError::Invalid { path: path.to_owned(), reason };
        let bytes =
            std::fs::read(path).map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        Policy::parse(&bytes).map_err(invalid)
    }

    /// Parses and checks a policy.
    pub fn parse(bytes: &[u8]) -> Result<Policy, String> {
        let value = schema::plain_yaml(bytes)?;
        let policy: Policy = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if (policy.api_version.as_str(), policy.kind.as_str()) != ("audit.k8s.io/v1", "Policy") {
            let (version, kind) = (&policy.api_version, &policy.kind);
            return Err(format!("expected Policy of audit.k8s.io/v1, found {kind} of {version}"));
        }
        if policy.rules.is_empty() {
            return Err("the policy has no rules".to_owned());
        }
        for (i, rule) in policy.rules.iter().enumerate() {
            rule.check().map_err(|reason| format!("rules[{i}]: {reason}"))?;
        }
        Ok(policy)
    }

    /// Decides what is recorded of a request.
    pub fn verdict(&self, user: &User, request: &AccessRequest<'_>) -> PolicyDecision {
        let rule = self.rules.iter().find(|rule| rule.matches(user, request));
        let mut omit_stages = self.omit_stages.clone();
        omit_stages.extend(rule.iter().flat_map(|rule| rule.omit_stages.iter().copied()));
        PolicyDecision {
            level: rule.map_or(Level::None, |rule| rule.level),
            omit_stages,
            omit_managed_fields: rule
                .and_then(|rule| rule.omit_managed_fields)
                .unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let names_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if names_resources && !self.non_resource_urls.is_empty() {
            return Err("rules cannot apply to both regular resources and non-resource URLs".to_owned());
        }
        for url in &self.non_resource_urls {
            if url != "*" && !url.starts_with('/') {
                return Err(format!(
                    "nonResourceURLs: {url} must begin with a '/' character",
                    url = Quoted(url)
                ));
            }
            if url != "*" && url.trim_end_matches('*').contains('*') {
                return Err(format!(
                    "nonResourceURLs: {url} may have a wildcard only at its end",
                    url = Quoted(url)
                ));
            }
        }
        for each in &self.resources {
            if each.group.contains('/') {
                return Err(format!("resources: group {} must not have a version", Quoted(&each.group)));
            }
            if each.resources.is_empty() && !each.resource_names.is_empty() {
                return Err("resources: resourceNames need at least one resource".to_owned());
            }
        }
        Ok(())
    }

    fn matches(&self, user: &User, request: &AccessRequest<'_>) -> bool {
        let any = |list: &[String], text: &str| list.is_empty() || list.iter().any(|known| known == text);
        let in_group = self.user_groups.is_empty() || self.user_groups.iter().any(|group| user.is_in(group));
        if !any(&self.users, &user.name) || !in_group || !any(&self.verbs, request.verb) {
            return false;
        }
        match &request.object {
            Requested::Resource(resource) if self.non_resource_urls.is_empty() => {
                any(&self.namespaces, resource.namespace)
                    && (self.resources.is_empty() || self.resources.iter().any(|each| each.matches(resource)))
            }
            Requested::Path(path) if self.resources.is_empty() && self.namespaces.is_empty() => {
                self.non_resource_urls.is_empty()
                    || self.non_resource_urls.iter().any(|url| path_matches(url, path))
            }
            _ => false,
        }
    }
}

impl GroupResources {
    fn matches(&self, requested: &RequestedResource<'_>) -> bool {
        let RequestedResource { group, resource, name, subresource, .. } = *requested;
        let named = self.resource_names.is_empty() || self.resource_names.iter().any(|known| known == name);
        let is_meant = |pattern: &String| match pattern.split_once('/') {
            None => pattern == "*" || subresource.is_empty() && pattern == resource,
            Some(("*", wanted)) => !subresource.is_empty() && wanted == subresource,
            Some((wanted, "*")) => wanted == resource,
            Some((wanted, sub)) => wanted == resource && sub == subresource,
        };
        self.group == group && (self.resources.is_empty() || named && self.resources.iter().any(is_meant))
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix.trim_end_matches('*')),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests;
