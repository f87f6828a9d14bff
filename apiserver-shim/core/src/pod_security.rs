//! The Pod Security Standards: levels, versions, what the labels of a namespace ask for, and whether a Pod complies.
//!
//! `configuration` is what an administrator sets for all namespaces, `policy` reads the labels, `checks` has one function per rule of the standards, `evaluation` selects the checks of a
//! level and version and words the result, `namespace` looks at the Pods that a new level would refuse.

mod checks;
mod configuration;
mod evaluation;
mod namespace;
mod policy;

pub use checks::SAFE_SYSCTLS;
pub use configuration::{Exemptions, PodSecurityConfiguration, PodSecurityConfigurationError};
pub use evaluation::{Violations, evaluate};
pub use namespace::{ExistingPods, PODS_MAX};
pub use policy::{Level, LevelVersion, Policy, Version};

use serde_json::Value;
use shim_model::access;

/// Subresources of Pods whose writes concern no security context.
pub const IGNORED_POD_SUBRESOURCES: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// Whether an update of a Pod may change its compliance: other containers, or other images. Everything else of a spec is
/// immutable or of no concern.
pub fn is_significant_update(new: &Value, old: &Value) -> bool {
    let of = |pod, list| access::list(pod, &["spec", list]);
    let differs = |a: &Value, b: &Value| access::text(a, &["image"]) != access::text(b, &["image"]);
    for list in ["containers", "initContainers"] {
        let (new, old) = (of(new, list), of(old, list));
        if new.len() != old.len() || new.iter().zip(old).any(|(a, b)| differs(a, b)) {
            return true;
        }
    }
    let before = of(old, "ephemeralContainers");
    of(new, "ephemeralContainers").iter().any(|container| {
        let name = access::text(container, &["name"]);
        let old = before.iter().find(|old| access::text(old, &["name"]) == name);
        old.is_none_or(|old| differs(container, old))
    })
}

/// The metadata and spec of the Pods that an object is or makes.
pub fn pod_of(object: &Value, plural: &str) -> (Value, Value) {
    let template = match plural {
        "pods" => object,
        "podtemplates" => &object["template"],
        "cronjobs" => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => &object["spec"]["template"],
    };
    (template["metadata"].clone(), template["spec"].clone())
}

#[cfg(test)]
#[path = "pod_security/tests.rs"]
mod tests;
