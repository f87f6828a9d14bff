//! LimitRanges: default requests and limits of containers, and the bounds of what containers, Pods and claims may ask for.

use std::collections::BTreeMap;

use serde_json::Value;
use shim_model::access;
use shim_model::quantity::Quantity;

use crate::pod_resources::{Side, of_spec};
use crate::resource_list::ResourceList;

/// The annotation that says which defaults a Pod was given.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// The highest value that is compared in thousandths.
const MILLI_MAX: i64 = i64::MAX / 1000;

/// Gives the containers of a Pod the default requests and limits of a LimitRange.
pub fn set_defaults(range: &Value, pod: &mut Value) {
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    for item in access::list(range, &["spec", "limits"]) {
        if access::text(item, &["type"]) == "Container" {
            requests.extend(access::entries(item, &["defaultRequest"]));
            limits.extend(access::entries(item, &["default"]));
        }
    }
    let mut set = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in access::list_mut(pod, &["spec", list]).into_iter().flatten() {
            let name = access::text(container, &["name"]).to_owned();
            for (side, word, defaults) in [("requests", "request", &requests), ("limits", "limit", &limits)] {
                let added = fill(container, side, defaults);
                if !added.is_empty() {
                    set.push(format!("{} {word} for {what} {name}", added.join(", ")));
                }
            }
        }
    }
    if !set.is_empty() {
        let text = format!("LimitRanger plugin set: {}", set.join("; "));
        access::object_mut(pod, &["metadata", "annotations"]).insert(ANNOTATION.into(), text.into());
    }
}

/// Adds the amounts that a container lacks; returns their names.
fn fill<'a>(container: &mut Value, side: &str, defaults: &BTreeMap<&'a str, &Value>) -> Vec<&'a str> {
    let lacks = |name: &&&str| access::get(container, &["resources", side, name]).is_none();
    let added: Vec<&str> = defaults.keys().filter(lacks).copied().collect();
    if !added.is_empty() {
        let list = access::object_mut(container, &["resources", side]);
        for name in &added {
            list.insert((*name).to_owned(), defaults[name].clone());
        }
    }
    added
}

/// Checks a Pod against a LimitRange. The error lists each violation.
pub fn check_pod(range: &Value, pod: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    let spec = &pod["spec"];
    for item in access::list(range, &["spec", "limits"]) {
        let bounds = Bounds::of(item);
        match bounds.kind {
            "Container" => {
                for list in ["containers", "initContainers"] {
                    for container in access::list(spec, &[list]) {
                        let amounts = |side| ResourceList::at(container, &["resources", side]);
                        bounds.check(&amounts("requests"), &amounts("limits"), &mut errors);
                    }
                }
            }
            "Pod" => bounds.check(&of_spec(spec, Side::Requests), &of_spec(spec, Side::Limits), &mut errors),
            _ => {}
        }
    }
    aggregate(errors)
}

/// Checks a PersistentVolumeClaim against a LimitRange.
pub fn check_claim(range: &Value, claim: &Value) -> Result<(), String> {
    let mut errors = Vec::new();
    let requests = ResourceList::at(claim, &["spec", "resources", "requests"]);
    for item in access::list(range, &["spec", "limits"]) {
        let bounds = Bounds::of(item);
        if bounds.kind != "PersistentVolumeClaim" {
            continue;
        }
        for (name, least) in bounds.min.iter() {
            errors.extend(bounds.below(name, least, requests.get(name), None));
        }
        for (name, most) in bounds.max.iter() {
            errors.extend(bounds.request_above(name, most, requests.get(name)));
        }
    }
    aggregate(errors)
}

/// Joins errors as upstream does: each once, in brackets if there are several.
fn aggregate(errors: Vec<String>) -> Result<(), String> {
    let mut distinct: Vec<String> = Vec::new();
    errors.into_iter().for_each(|error| {
        if !distinct.contains(&error) {
            distinct.push(error);
        }
    });
    match &mut distinct[..] {
        [] => Ok(()),
        [only] => Err(std::mem::take(only)),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// The bounds of one item of a LimitRange.
struct Bounds<'a> {
    kind: &'a str,
    min: ResourceList,
    max: ResourceList,
    ratio: ResourceList,
}

impl<'a> Bounds<'a> {
    fn of(item: &'a Value) -> Bounds<'a> {
        let [min, max, ratio] =
            ["min", "max", "maxLimitRequestRatio"].map(|list| ResourceList::at(item, &[list]));
        Bounds { kind: access::text(item, &["type"]), min, max, ratio }
    }

    fn check(&self, requests: &ResourceList, limits: &ResourceList, errors: &mut Vec<String>) {
        for (name, least) in self.min.iter() {
            errors.extend(self.below(name, least, requests.get(name), limits.get(name)));
        }
        for (name, most) in self.max.iter() {
            errors.extend(self.above(name, most, requests.get(name), limits.get(name)));
        }
        for (name, ratio) in self.ratio.iter() {
            errors.extend(self.disproportionate(name, ratio, requests.get(name), limits.get(name)));
        }
    }

    fn below(
        &self,
        name: &str,
        least: Quantity,
        request: Option<Quantity>,
        limit: Option<Quantity>,
    ) -> Option<String> {
        let (asked, limited, bound) = comparable(request, limit, least);
        let text = format!("minimum {name} usage per {} is {least}", self.kind);
        let Some(request) = request else { return Some(format!("{text}.  No request is specified")) };
        if asked < bound {
            return Some(format!("{text}, but request is {request}"));
        }
        limit.filter(|_| limited < bound).map(|limit| format!("{text}, but limit is {limit}"))
    }

    fn above(
        &self,
        name: &str,
        most: Quantity,
        request: Option<Quantity>,
        limit: Option<Quantity>,
    ) -> Option<String> {
        let (asked, limited, bound) = comparable(request, limit, most);
        let text = format!("maximum {name} usage per {} is {most}", self.kind);
        let Some(limit) = limit else { return Some(format!("{text}.  No limit is specified")) };
        if limited > bound {
            return Some(format!("{text}, but limit is {limit}"));
        }
        request.filter(|_| asked > bound).map(|request| format!("{text}, but request is {request}"))
    }

    fn request_above(&self, name: &str, most: Quantity, request: Option<Quantity>) -> Option<String> {
        let (asked, _, bound) = comparable(request, None, most);
        let text = format!("maximum {name} usage per {} is {most}", self.kind);
        let Some(request) = request else { return Some(format!("{text}.  No request is specified")) };
        (asked > bound).then(|| format!("{text}, but request is {request}"))
    }

    #[allow(clippy::cast_precision_loss)]
    fn disproportionate(
        &self,
        name: &str,
        ratio: Quantity,
        request: Option<Quantity>,
        limit: Option<Quantity>,
    ) -> Option<String> {
        let (asked, limited, _) = comparable(request, limit, ratio);
        let text = format!("{name} max limit to request ratio per {} is {ratio}", self.kind);
        if request.is_none() || asked == 0 {
            return Some(format!("{text}, but no request is specified or request is 0"));
        }
        if limit.is_none() || limited == 0 {
            return Some(format!("{text}, but no limit is specified or limit is 0"));
        }
        let provided = limited as f64 / asked as f64;
        let exceeded = match ratio.units() <= MILLI_MAX {
            true => provided * 1000.0 > ratio.milli() as f64,
            false => provided > ratio.units() as f64,
        };
        exceeded.then(|| format!("{text}, but provided ratio is {provided:.6}"))
    }
}

/// Amounts in one precision: thousandths, or units if one of them is too large.
fn comparable(request: Option<Quantity>, limit: Option<Quantity>, bound: Quantity) -> (i64, i64, i64) {
    let all = [request.unwrap_or(Quantity::ZERO), limit.unwrap_or(Quantity::ZERO), bound];
    let precise = all.iter().all(|amount| amount.units() <= MILLI_MAX);
    let [request, limit, bound] = all.map(|amount| if precise { amount.milli() } else { amount.units() });
    (request, limit, bound)
}

#[cfg(test)]
mod tests;
