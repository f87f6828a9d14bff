//! Levels and versions, and the policy that the labels of a namespace ask for.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use shim_model::field::FieldError;

/// The prefix of the labels, and of audit annotations.
const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much a Pod may do. Each level forbids what the one before it forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "privileged" => Ok(Level::Privileged),
            "baseline" => Ok(Level::Baseline),
            "restricted" => Ok(Level::Restricted),
            _ => Err("must be one of privileged, baseline, restricted"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })
    }
}

/// The Kubernetes version whose rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Version 1 with this minor version. One that is newer than the server has the newest rules.
    Minor(u64),
    /// The server's own.
    Latest,
}

impl Version {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let minor = text.strip_prefix("v1.").filter(|m| m.bytes().all(|b| b.is_ascii_digit()));
        let plain = minor.filter(|m| *m == "0" || !m.starts_with('0')).and_then(|m| m.parse::<i64>().ok());
        match plain {
            _ if text == "latest" => Ok(Version::Latest),
            Some(minor) => Ok(Version::Minor(minor.unsigned_abs())),
            None => Err("must be \"latest\" or \"v1.x\""),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Latest => f.write_str("latest"),
            Version::Minor(minor) => write!(f, "v1.{minor}"),
        }
    }
}

/// A level of a version, such as `restricted:v1.30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LevelVersion {
    pub level: Level,
    pub version: Version,
}

impl LevelVersion {
    /// Nothing is forbidden.
    pub const PRIVILEGED: LevelVersion = LevelVersion { level: Level::Privileged, version: Version::Latest };
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level, self.version)
    }
}

/// What a namespace refuses, records in the audit log, and warns of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Policy {
    pub enforce: LevelVersion,
    pub audit: LevelVersion,
    pub warn: LevelVersion,
}

impl Policy {
    /// The policy of a namespace without labels, unless another one is configured.
    pub const DEFAULT: Policy = Policy {
        enforce: LevelVersion::PRIVILEGED,
        audit: LevelVersion::PRIVILEGED,
        warn: LevelVersion::PRIVILEGED,
    };

    /// Whether no Pod can violate it.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|lv| lv.level == Level::Privileged)
    }

    /// Whether both refuse, record and warn of the same. The versions of `privileged` do not differ.
    fn is_equivalent(&self, other: &Policy) -> bool {
        let modes = |policy: &Policy| [policy.enforce, policy.audit, policy.warn];
        let same = |(a, b): (LevelVersion, LevelVersion)| {
            a == b || (a.level == Level::Privileged && b.level == Level::Privileged)
        };
        modes(self).into_iter().zip(modes(other)).all(same)
    }

    /// What to tell who labels an exempt namespace: the policy of its labels has no effect.
    pub fn exemption_warning(
        &self,
        namespace: &str,
        labels: &BTreeMap<String, String>,
        default: &Policy,
    ) -> Option<String> {
        if self.is_privileged() || self.is_equivalent(default) {
            return None;
        }
        let labelled = |mode: &str| {
            let label = format!("{PREFIX}{mode}");
            labels.contains_key(&label) || labels.contains_key(&format!("{label}-version"))
        };
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let shown: Vec<String> = modes
            .into_iter()
            .filter(|(mode, lv)| lv.level != Level::Privileged && labelled(mode))
            .map(|(mode, lv)| format!("{mode}={lv}"))
            .collect();
        let shown = shown.join(", ");
        Some(format!(
            "namespace \"{namespace}\" is exempt from Pod Security, and the policy ({shown}) will be ignored"
        ))
    }

    /// Reads the labels of a namespace; what has no label is as in `default`. Errors fail closed for `enforce` and open
    /// for the others.
    pub fn of_labels(labels: &BTreeMap<String, String>, default: &Policy) -> (Policy, Vec<FieldError>) {
        let mut policy = *default;
        let mut errors = Vec::new();
        let mut from = labels.range::<str, _>((Bound::Included(PREFIX), Bound::Unbounded));
        if !from.next().is_some_and(|(label, _)| label.starts_with(PREFIX)) {
            return (policy, errors);
        }
        let enforce = read(labels, "enforce", &mut policy.enforce, Level::Restricted, &mut errors);
        read(labels, "audit", &mut policy.audit, Level::Privileged, &mut errors);
        let warn = read(labels, "warn", &mut policy.warn, Level::Privileged, &mut errors);
        // Who enforces a level without a word about warnings is warned of the same level: this covers templates.
        if enforce.level == Some(true) && warn.level.is_none() && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !warn.version {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }
}

/// Which labels of a mode exist.
struct Read {
    /// The label of the level: whether it is valid.
    level: Option<bool>,
    version: bool,
}

fn read(
    labels: &BTreeMap<String, String>,
    mode: &str,
    into: &mut LevelVersion,
    invalid: Level,
    errors: &mut Vec<FieldError>,
) -> Read {
    let mut refuse = |label: &str, value: &str, why: &str| {
        errors.push(FieldError::invalid(format!("metadata.labels[{label}]"), value, why));
    };
    let label = format!("{PREFIX}{mode}");
    let level = labels.get(&label).map(|text| (text, Level::parse(text)));
    if let Some((text, parsed)) = &level {
        into.level = parsed.unwrap_or(invalid);
        if let Err(why) = parsed {
            refuse(&label, text, why);
        }
    }
    let label = format!("{PREFIX}{mode}-version");
    let version = labels.get(&label).map(|text| (text, Version::parse(text)));
    if let Some((text, parsed)) = &version {
        into.version = parsed.unwrap_or(Version::Latest);
        if let Err(why) = parsed {
            refuse(&label, text, why);
        }
    }
    Read { level: level.map(|(_, parsed)| parsed.is_ok()), version: version.is_some() }
}
