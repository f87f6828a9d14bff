//! Resource lists are stored in whole thousandths: smaller fractions are rounded up when an object is decoded.

use super::{member, objects};
use serde_json::{Map, Value};
use shim_model::quantity::Quantity;

const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];
const STATUSES: [&str; 3] = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];

/// Rounds the amounts of a resource list.
pub(in super::super) fn round_list(list: Option<&mut Value>) {
    for amount in list.and_then(Value::as_object_mut).into_iter().flat_map(|list| list.values_mut()) {
        let Some(exact) = amount.as_str().and_then(|text| text.parse::<Quantity>().ok()) else { continue };
        let rounded = exact.rounded_up_to_milli();
        if rounded != exact {
            *amount = rounded.to_string().into();
        }
    }
}

fn round_requirements(resources: Option<&mut Map<String, Value>>) {
    let Some(resources) = resources else { return };
    round_list(resources.get_mut("limits"));
    round_list(resources.get_mut("requests"));
}

/// Rounds all resource lists of a Pod spec.
pub(in super::super) fn round_spec(spec: &mut Map<String, Value>) {
    round_list(spec.get_mut("overhead"));
    round_requirements(member(spec, "resources"));
    for key in CONTAINERS {
        objects(spec.get_mut(key)).for_each(|container| round_requirements(member(container, "resources")));
    }
    for volume in objects(spec.get_mut("volumes")) {
        let claim = member(volume, "ephemeral").and_then(|e| member(e, "volumeClaimTemplate"));
        let claim = claim.and_then(|claim| member(claim, "spec"));
        round_requirements(claim.and_then(|spec| member(spec, "resources")));
    }
}

/// Rounds all resource lists of a Pod status.
pub(in super::super) fn round_status(status: &mut Map<String, Value>) {
    round_list(status.get_mut("allocatedResources"));
    round_requirements(member(status, "resources"));
    for key in STATUSES {
        for container in objects(status.get_mut(key)) {
            round_list(container.get_mut("allocatedResources"));
            round_requirements(member(container, "resources"));
        }
    }
}
