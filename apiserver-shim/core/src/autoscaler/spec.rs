//! The spec of a HorizontalPodAutoscaler, version `autoscaling/v2`.

use serde_json::Value;
use shim_model::{access, resource::split_api_version};

use super::metric::Metric;

/// The tolerance of a usage that differs from its target, as upstream's `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;
/// The stabilization window of decreases in seconds, as upstream's `--horizontal-pod-autoscaler-downscale-stabilization`.
pub(super) const DECREASE_WINDOW: i64 = 300;

/// What a HorizontalPodAutoscaler wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// `scaleTargetRef`.
    pub target: Reference,
    /// `minReplicas`.
    pub min: i64,
    /// `maxReplicas`.
    pub max: i64,
    /// `metrics`, in their order.
    pub metrics: Vec<Metric>,
    /// `behavior`; `None` means the default, which differs from an empty one.
    pub behavior: Option<Behavior>,
}

/// A reference to an object of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Reference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
}

/// How fast the number of replicas may change.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Behavior {
    pub up: Rules,
    pub down: Rules,
}

/// The rules of one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Seconds for which the most cautious recommendation counts.
    pub window: i64,
    /// Which policy decides.
    pub select: Select,
    /// The policies.
    pub policies: Vec<Policy>,
    /// By how much of the target the usage may differ without a change.
    pub tolerance: f64,
}

/// `selectPolicy`: which of several policies decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: this direction is disabled.
    Disabled,
}

/// How much may change within a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The amount, in replicas or in percent of those at the start of the period.
    pub amount: Amount,
    /// The length of the period in seconds.
    pub period: i64,
}

/// The amount of a [`Policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Amount {
    Pods(i64),
    Percent(i64),
}

impl Spec {
    /// Reads an object.
    pub fn read(object: &Value) -> Spec {
        let spec = &object["spec"];
        Spec {
            target: Reference::read(&spec["scaleTargetRef"]),
            min: access::int(spec, &["minReplicas"]).unwrap_or(1),
            max: access::int(spec, &["maxReplicas"]).unwrap_or(1),
            metrics: access::list(spec, &["metrics"]).iter().map(Metric::read).collect(),
            behavior: spec["behavior"].is_object().then(|| Behavior {
                up: Rules::read(&spec["behavior"]["scaleUp"], 0),
                down: Rules::read(&spec["behavior"]["scaleDown"], DECREASE_WINDOW),
            }),
        }
    }

    /// Whether the usage, as a part of the target, is so close to it that nothing changes.
    pub(super) fn tolerates(&self, ratio: f64) -> bool {
        let (down, up) = match &self.behavior {
            Some(behavior) => (behavior.down.tolerance, behavior.up.tolerance),
            None => (TOLERANCE, TOLERANCE),
        };
        (1.0 - down..=1.0 + up).contains(&ratio)
    }
}

impl Reference {
    pub(super) fn read(value: &Value) -> Reference {
        let text = |member| access::text(value, &[member]).to_owned();
        Reference { api_version: text("apiVersion"), kind: text("kind"), name: text("name") }
    }

    /// The group of its API version.
    pub fn group(&self) -> &str {
        split_api_version(&self.api_version).0
    }
}

impl Rules {
    fn read(rules: &Value, window: i64) -> Rules {
        let policy = |policy: &Value| {
            let value = access::int(policy, &["value"]).unwrap_or(0);
            let amount = match access::text(policy, &["type"]) {
                "Percent" => Amount::Percent(value),
                _ => Amount::Pods(value),
            };
            Policy { amount, period: access::int(policy, &["periodSeconds"]).unwrap_or(0) }
        };
        Rules {
            window: access::int(rules, &["stabilizationWindowSeconds"]).unwrap_or(window),
            select: match access::text(rules, &["selectPolicy"]) {
                "Min" => Select::Min,
                "Disabled" => Select::Disabled,
                _ => Select::Max,
            },
            policies: access::list(rules, &["policies"]).iter().map(policy).collect(),
            tolerance: super::metric::milli(&rules["tolerance"])
                .map_or(TOLERANCE, |milli| milli as f64 / 1e3),
        }
    }
}
