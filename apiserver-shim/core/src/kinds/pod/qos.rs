//! The quality-of-service class of a Pod.

use serde_json::Value;
use shim_model::access;
use shim_model::quantity::Quantity;

const COUNTED: [&str; 2] = ["cpu", "memory"];

fn amount(resources: &Value, list: &str, name: &str) -> Option<Quantity> {
    let quantity: Quantity = access::get(resources, &[list, name])?.as_str()?.parse().ok()?;
    (quantity.sign() > 0).then_some(quantity)
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(pod: &Value) -> &'static str {
    let spec = &pod["spec"];
    // As upstream, resources of the Pod count alone even if they are empty.
    let own = spec.get("resources").filter(|resources| resources.is_object());
    let parts: Vec<&Value> = match own {
        Some(pod_level) => vec![pod_level],
        None => {
            let all =
                access::list(spec, &["containers"]).iter().chain(access::list(spec, &["initContainers"]));
            all.map(|c| &c["resources"]).collect()
        }
    };
    let any = parts.iter().any(|r| {
        COUNTED.iter().any(|n| amount(r, "requests", n).or_else(|| amount(r, "limits", n)).is_some())
    });
    if !any {
        return "BestEffort";
    }
    let guaranteed = |r: &&Value| {
        COUNTED.iter().all(|n| {
            let limit = amount(r, "limits", n);
            limit.is_some() && amount(r, "requests", n).is_none_or(|request| Some(request) == limit)
        })
    };
    if parts.iter().all(guaranteed) { "Guaranteed" } else { "Burstable" }
}
