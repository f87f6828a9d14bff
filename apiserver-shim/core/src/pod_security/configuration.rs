//! What an administrator sets for all namespaces: the policy of those without labels, and who is exempt
//! (`PodSecurityConfiguration`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use shim_model::field::FieldError;
use shim_model::{names, status};

use super::policy::{Level, LevelVersion, Policy, Version};

/// The group of the configuration; its versions are equal.
const GROUP: &str = "pod-security.admission.config.k8s.io";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const KIND: &str = "PodSecurityConfiguration";

/// The configuration of Pod Security.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSecurityConfiguration {
    /// The policy of namespaces without labels.
    pub defaults: Policy,
    /// Who is not checked.
    pub exemptions: Exemptions,
}

/// Requests that are not checked, by user, namespace or the Pod's runtime class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Exemptions {
    pub usernames: BTreeSet<String>,
    pub namespaces: BTreeSet<String>,
    pub runtime_classes: BTreeSet<String>,
}

impl Default for PodSecurityConfiguration {
    fn default() -> Self {
        PodSecurityConfiguration { defaults: Policy::DEFAULT, exemptions: Exemptions::default() }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodSecurityConfigurationError {
    /// It is of another kind or version.
    #[error("expected {KIND} of {GROUP}/v1, found {0}")]
    Kind(String),
    /// A member is unknown.
    #[error("unknown field \"{0}\"")]
    Unknown(String),
    /// A member has a wrong type.
    #[error("{path}: expected {expected}")]
    #[allow(missing_docs)]
    Type { path: String, expected: &'static str },
    /// Values are not valid.
    #[error("{0}")]
    Invalid(String),
}

type Result<T> = std::result::Result<T, PodSecurityConfigurationError>;

impl PodSecurityConfiguration {
    /// Decodes a configuration.
    ///
    /// # Errors
    /// Another kind, unknown members, and values that are not valid.
    pub fn decode(value: &Value) -> Result<Self> {
        let root = object(value, "the configuration")?;
        let text = |member: &str| root.get(member).and_then(Value::as_str).unwrap_or("nothing");
        let version = text("apiVersion").strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/'));
        if text("kind") != KIND || !version.is_some_and(|version| VERSIONS.contains(&version)) {
            let found = format!("{} of {}", text("kind"), text("apiVersion"));
            return Err(PodSecurityConfigurationError::Kind(found));
        }
        let mut configuration = Self::default();
        let mut errors = Vec::new();
        for (member, value) in root {
            match member.as_str() {
                "apiVersion" | "kind" => {}
                "defaults" => configuration.defaults = defaults(value, &mut errors)?,
                "exemptions" => configuration.exemptions = exemptions(value, &mut errors)?,
                _ => return Err(PodSecurityConfigurationError::Unknown(member.clone())),
            }
        }
        match errors.is_empty() {
            true => Ok(configuration),
            false => Err(PodSecurityConfigurationError::Invalid(status::aggregate(&errors))),
        }
    }
}

fn defaults(value: &Value, errors: &mut Vec<FieldError>) -> Result<Policy> {
    let mut policy = Policy::DEFAULT;
    for (member, value) in object(value, "defaults")? {
        let path = format!("defaults.{member}");
        let Some(text) = value.as_str() else { return Err(wrong(&path, "a string")) };
        let (mode, versioned) = match member.strip_suffix("-version") {
            Some(mode) => (mode, true),
            None => (member.as_str(), false),
        };
        let into: &mut LevelVersion = match mode {
            "enforce" => &mut policy.enforce,
            "audit" => &mut policy.audit,
            "warn" => &mut policy.warn,
            _ => return Err(PodSecurityConfigurationError::Unknown(path)),
        };
        // An empty value is the default one.
        let read = match versioned {
            _ if text.is_empty() => Ok(()),
            true => Version::parse(text).map(|version| into.version = version),
            false => Level::parse(text).map(|level| into.level = level),
        };
        errors.extend(read.err().map(|why| FieldError::invalid(path, text, why)));
    }
    Ok(policy)
}

fn exemptions(value: &Value, errors: &mut Vec<FieldError>) -> Result<Exemptions> {
    let mut exemptions = Exemptions::default();
    for (member, value) in object(value, "exemptions")? {
        let path = format!("exemptions.{member}");
        let (into, check): (_, fn(&str) -> Vec<String>) = match member.as_str() {
            "usernames" => (&mut exemptions.usernames, username),
            "namespaces" => (&mut exemptions.namespaces, names::dns_label),
            "runtimeClasses" => (&mut exemptions.runtime_classes, names::dns_subdomain),
            _ => return Err(PodSecurityConfigurationError::Unknown(path)),
        };
        let list = match value {
            Value::Null => continue,
            Value::Array(list) => list,
            _ => return Err(wrong(&path, "a list")),
        };
        for (at, item) in list.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let Some(text) = item.as_str() else { return Err(wrong(&path, "a string")) };
            let wrong = check(text);
            if !wrong.is_empty() {
                errors.push(FieldError::invalid(path, text, wrong.join(", ")));
            } else if !into.insert(text.to_owned()) {
                errors.push(FieldError::duplicate(path, text));
            }
        }
    }
    Ok(exemptions)
}

fn username(text: &str) -> Vec<String> {
    if text.is_empty() { vec!["username must not be empty".to_owned()] } else { Vec::new() }
}

fn object<'v>(value: &'v Value, path: &str) -> Result<&'v Map<String, Value>> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    match value {
        Value::Null => Ok(&EMPTY),
        other => other.as_object().ok_or_else(|| wrong(path, "an object")),
    }
}

fn wrong(path: &str, expected: &'static str) -> PodSecurityConfigurationError {
    PodSecurityConfigurationError::Type { path: path.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn decode(defaults: Value, exemptions: Value) -> String {
        let value = json!({
            "apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": KIND,
            "defaults": defaults, "exemptions": exemptions,
        });
        match PodSecurityConfiguration::decode(&value) {
            Ok(PodSecurityConfiguration { defaults, exemptions }) => {
                let Policy { enforce, audit, warn } = defaults;
                let Exemptions { usernames, namespaces, runtime_classes } = exemptions;
                format!("{enforce} {audit} {warn} {usernames:?} {namespaces:?} {runtime_classes:?}")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn valid_configurations_are_read_and_others_explained() {
        let table = [
            decode(Value::Null, Value::Null),
            decode(
                json!({ "enforce": "baseline", "enforce-version": "v1.30", "warn": "", "audit": "restricted" }),
                json!({}),
            ),
            decode(
                json!({}),
                json!({ "usernames": ["u", "system:x"], "namespaces": ["kube-system"], "runtimeClasses": ["a.b"] }),
            ),
            decode(
                json!({ "enforce": "tight", "warn-version": "1.30" }),
                json!({ "usernames": ["", "u", "u"], "namespaces": ["A", "n", "n"] }),
            ),
            decode(json!({ "enforced": "baseline" }), json!({})),
            decode(json!({}), json!({ "groups": [] })),
            decode(json!({}), json!({ "usernames": "u" })),
            decode(json!([]), json!({})),
            PodSecurityConfiguration::decode(&json!({ "kind": KIND })).unwrap_err().to_string(),
        ];
        expect![[r#"
            privileged:latest privileged:latest privileged:latest {} {} {}
            baseline:v1.30 restricted:latest privileged:latest {} {} {}
            privileged:latest privileged:latest privileged:latest {"system:x", "u"} {"kube-system"} {"a.b"}
            [defaults.enforce: Invalid value: "tight": must be one of privileged, baseline, restricted, defaults.warn-version: Invalid value: "1.30": must be "latest" or "v1.x", exemptions.namespaces[0]: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?'), exemptions.namespaces[2]: Duplicate value: "n", exemptions.usernames[0]: Invalid value: "": username must not be empty, exemptions.usernames[2]: Duplicate value: "u"]
            unknown field "defaults.enforced"
            unknown field "exemptions.groups"
            exemptions.usernames: expected a list
            defaults: expected an object
            expected PodSecurityConfiguration of pod-security.admission.config.k8s.io/v1, found PodSecurityConfiguration of nothing"#]].assert_eq(&table.join("\n"));
    }
}
