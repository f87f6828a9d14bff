//! The scheduler's configuration in the format of `KubeSchedulerConfiguration` (`kubescheduler.config.k8s.io/v1`):
//! profiles, their plugins with weights, and back-off durations. Members that this scheduler does not support are
//! errors, as are unknown ones, so that no setting is silently ignored.

use std::{fmt, time::Duration};

use serde_json::{Map, Value};

use super::{
    NAME,
    framework::{
        DEFAULT_PLUGINS, ExtensionPoint, PluginChoice, PluginEntry, Profile, ProfileError, Profiles,
    },
    queue::Backoff,
};

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

/// Profiles and back-off durations.
#[derive(Debug, Default)]
pub struct SchedulerConfiguration {
    /// The profiles, by scheduler name.
    pub profiles: Profiles,
    /// Back-off of Pods after failed attempts.
    pub backoff: Backoff,
}

/// Why a configuration is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ConfigurationError {
    /// `apiVersion` or `kind` is wrong.
    Kind { found: String },
    /// A member has the wrong type.
    Type { path: String, expected: &'static str },
    /// A member is unknown or not supported.
    Unsupported { path: String },
    /// The back-off durations are not positive or not ascending.
    Backoff,
    /// A profile is invalid.
    Profile {
        /// The scheduler name of the profile.
        name: String,
        /// What is wrong with it.
        error: ProfileError,
    },
    /// The profiles are not consistent with each other.
    Profiles(ProfileError),
}

impl fmt::Display for ConfigurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigurationError::Kind { found } => {
                write!(f, "expected {KIND} of {API_VERSION}, found {found}")
            }
            ConfigurationError::Type { path, expected } => write!(f, "{path}: expected {expected}"),
            ConfigurationError::Unsupported { path } => {
                write!(f, "{path}: unknown, or not supported by this scheduler")
            }
            ConfigurationError::Backoff => {
                f.write_str("podInitialBackoffSeconds must be positive and at most podMaxBackoffSeconds")
            }
            ConfigurationError::Profile { name, error } => write!(f, "profile \"{name}\": {error}"),
            ConfigurationError::Profiles(error) => write!(f, "profiles: {error}"),
        }
    }
}

impl std::error::Error for ConfigurationError {}

impl SchedulerConfiguration {
    /// Decodes a configuration.
    pub fn decode(value: &Value) -> Result<SchedulerConfiguration, ConfigurationError> {
        Self::decode_with(value, DEFAULT_PLUGINS)
    }

    /// Decodes a configuration for another list of plugins.
    pub fn decode_with(
        value: &Value,
        plugins: &[PluginEntry],
    ) -> Result<SchedulerConfiguration, ConfigurationError> {
        let root = object(value, "")?;
        let text = |member: &str| root.get(member).and_then(Value::as_str).unwrap_or("nothing");
        if (text("apiVersion"), text("kind")) != (API_VERSION, KIND) {
            let found = format!("{} of {}", text("kind"), text("apiVersion"));
            return Err(ConfigurationError::Kind { found });
        }
        let mut backoff = Backoff::default();
        let mut profiles = None;
        for (member, value) in root {
            match member.as_str() {
                "apiVersion" | "kind" => {}
                "podInitialBackoffSeconds" => backoff.first = seconds(value, member)?,
                "podMaxBackoffSeconds" => backoff.max = seconds(value, member)?,
                "profiles" => profiles = Some(decode_profiles(value, plugins)?),
                _ => return Err(ConfigurationError::Unsupported { path: member.clone() }),
            }
        }
        if backoff.first.is_zero() || backoff.first > backoff.max {
            return Err(ConfigurationError::Backoff);
        }
        let profiles = match profiles {
            Some(profiles) => profiles,
            None => vec![profile(NAME, plugins, &[])?],
        };
        let profiles = Profiles::new(profiles).map_err(ConfigurationError::Profiles)?;
        Ok(SchedulerConfiguration { profiles, backoff })
    }
}

fn decode_profiles(value: &Value, plugins: &[PluginEntry]) -> Result<Vec<Profile>, ConfigurationError> {
    let decode = |(at, value)| {
        let path = format!("profiles[{at}]");
        let (mut name, mut choices) = (NAME, Vec::new());
        for (member, value) in object(value, &path)? {
            let path = format!("{path}.{member}");
            match member.as_str() {
                "schedulerName" => name = text(value, &path)?,
                "plugins" => choices = decode_choices(value, &path)?,
                _ => return Err(ConfigurationError::Unsupported { path }),
            }
        }
        profile(name, plugins, &choices)
    };
    list(value, "profiles")?.iter().enumerate().map(decode).collect()
}

fn profile(
    name: &str,
    plugins: &[PluginEntry],
    choices: &[PluginChoice],
) -> Result<Profile, ConfigurationError> {
    Profile::new(name, plugins, choices)
        .map_err(|error| ConfigurationError::Profile { name: name.to_owned(), error })
}

/// Decodes the plugin choices: `multiPoint` applies first, then the individual extension points.
fn decode_choices(value: &Value, path: &str) -> Result<Vec<PluginChoice>, ConfigurationError> {
    let mut choices = Vec::new();
    for (member, value) in object(value, path)? {
        let path = format!("{path}.{member}");
        let point = ExtensionPoint::ALL.into_iter().find(|point| point.as_str() == member);
        if point.is_none() && member != "multiPoint" {
            return Err(ConfigurationError::Unsupported { path });
        }
        choices.push(decode_choice(point, value, &path)?);
    }
    choices.sort_by_key(|choice| choice.point);
    Ok(choices)
}

fn decode_choice(
    point: Option<ExtensionPoint>,
    value: &Value,
    path: &str,
) -> Result<PluginChoice, ConfigurationError> {
    let mut choice = PluginChoice { point, ..PluginChoice::default() };
    for (member, value) in object(value, path)? {
        let path = format!("{path}.{member}");
        let enabled = match member.as_str() {
            "enabled" => true,
            "disabled" => false,
            _ => return Err(ConfigurationError::Unsupported { path }),
        };
        for (at, plugin) in list(value, &path)?.iter().enumerate() {
            let path = format!("{path}[{at}]");
            let (mut name, mut weight) = ("", None);
            for (member, value) in object(plugin, &path)? {
                let path = format!("{path}.{member}");
                match member.as_str() {
                    "name" => name = text(value, &path)?,
                    "weight" if enabled => {
                        let number = value.as_i64();
                        weight =
                            Some(number.ok_or(ConfigurationError::Type { path, expected: "an integer" })?);
                    }
                    _ => return Err(ConfigurationError::Unsupported { path }),
                }
            }
            match enabled {
                true => choice.enabled.push((name.to_owned(), weight)),
                false => choice.disabled.push(name.to_owned()),
            }
        }
    }
    Ok(choice)
}

fn object<'v>(value: &'v Value, path: &str) -> Result<&'v Map<String, Value>, ConfigurationError> {
    let path = if path.is_empty() { "the configuration" } else { path };
    value.as_object().ok_or_else(|| wrong(path, "an object"))
}

fn list<'v>(value: &'v Value, path: &str) -> Result<&'v Vec<Value>, ConfigurationError> {
    value.as_array().ok_or_else(|| wrong(path, "a list"))
}

fn text<'v>(value: &'v Value, path: &str) -> Result<&'v str, ConfigurationError> {
    value.as_str().ok_or_else(|| wrong(path, "a string"))
}

fn seconds(value: &Value, path: &str) -> Result<Duration, ConfigurationError> {
    value.as_u64().map(Duration::from_secs).ok_or_else(|| wrong(path, "a number of seconds"))
}

fn wrong(path: &str, expected: &'static str) -> ConfigurationError {
    ConfigurationError::Type { path: path.to_owned(), expected }
}

#[cfg(test)]
#[path = "configuration/tests.rs"]
mod tests;
