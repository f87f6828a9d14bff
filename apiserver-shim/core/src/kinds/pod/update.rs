//! What may change of a stored Pod, subresource by subresource.

use std::collections::{BTreeSet, HashSet};

use super::qos::qos_class;
use super::restarts::{may_restart, may_restart_all};
use super::{annotations, dump, line_diff};
use crate::kinds::SubresourceStrategy;
use crate::kinds::pod_template::{SpecOf, is_extended, validate_spec};
use crate::kinds::ratchet;
use serde_json::{Map, Value};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::names;

const ONLY: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Validates an update of the main resource.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let (new_spec, old_spec) = (&new["spec"], &old["spec"]);
    let mut wrong_annotations = Vec::new();
    annotations::validate_update(new, old, &mut wrong_annotations);
    if new_spec == old_spec {
        return wrong_annotations;
    }
    let mut errors = validate_spec(new_spec, format_args!("spec"), SpecOf::Pod);
    ratchet::drop_unchanged(&mut errors, new, old, || {
        validate_spec(old_spec, format_args!("spec"), SpecOf::Pod)
    });
    errors.splice(0..0, wrong_annotations);
    for list in ["containers", "initContainers"] {
        if access::list(new_spec, &[list]).len() != access::list(old_spec, &[list]).len() {
            errors.push(FieldError::forbidden(
                format!("spec.{list}"),
                "pod updates may not add or remove containers",
            ));
            return errors;
        }
        images(access::list(new_spec, &[list]), list, &mut errors);
    }
    if !deadline(new_spec, old_spec, &mut errors) {
        return errors;
    }
    tolerations(new_spec, old_spec, &mut errors);
    gates(new_spec, old_spec, &mut errors);
    let gated = !access::list(old_spec, &["schedulingGates"]).is_empty();
    if gated {
        node_selector(new_spec, old_spec, &mut errors);
    }
    let changed = mutable_parts_as_in(new_spec, old_spec, gated);
    if changed != *old_spec {
        let what = line_diff::hunks(&dump::lines(old_spec), &dump::lines(&changed));
        errors.push(FieldError::forbidden("spec", format!("{ONLY}\n{what}")));
    }
    errors
}

/// The new spec with all mutable fields restored to the old values.
fn mutable_parts_as_in(new: &Value, old: &Value, gated: bool) -> Value {
    let mut out = new.clone();
    for list in ["containers", "initContainers"] {
        let before = access::list(old, &[list]);
        let after = access::list_mut(&mut out, &[list]).into_iter().flatten();
        after.zip(before).for_each(|(a, b)| access::copy(b, a, &["image"]));
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        access::copy(old, &mut out, &[key]);
    }
    let was_negative = access::int(old, &["terminationGracePeriodSeconds"]).is_some_and(|g| g < 0);
    if was_negative && access::int(new, &["terminationGracePeriodSeconds"]) == Some(1) {
        access::copy(old, &mut out, &["terminationGracePeriodSeconds"]);
    }
    if gated {
        for key in ["nodeSelector", "affinity"] {
            access::copy(old, &mut out, &[key]);
        }
    }
    out
}

/// Malformed images are reported once more, as upstream does.
fn images(containers: &[Value], list: &str, errors: &mut Vec<FieldError>) {
    for (i, container) in containers.iter().enumerate() {
        let (image, path) = (access::text(container, &["image"]), format!("spec.{list}[{i}].image"));
        if image.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if image.trim() != image {
            errors.push(FieldError::invalid(path, image, "must not have leading or trailing whitespace"));
        }
    }
}

/// Whether the other rules apply, too.
fn deadline(new: &Value, old: &Value, errors: &mut Vec<FieldError>) -> bool {
    const FIELD: &str = "spec.activeDeadlineSeconds";
    match (access::int(old, &["activeDeadlineSeconds"]), access::int(new, &["activeDeadlineSeconds"])) {
        (_, Some(is)) if is < 0 => {
            errors.push(FieldError::invalid(FIELD, is, "must be between 0 and 2147483647, inclusive"));
            false
        }
        (Some(was), Some(is)) if is > was => {
            errors.push(FieldError::invalid(FIELD, is, "must be less than or equal to previous value"));
            false
        }
        (Some(_), None) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(FIELD, Value::Null, why));
            true
        }
        _ => true,
    }
}

fn tolerations(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let without_seconds = |t: &Value| {
        let mut t = t.clone();
        access::remove(&mut t, &["tolerationSeconds"]);
        t
    };
    let now: HashSet<Value> = access::list(new, &["tolerations"]).iter().map(without_seconds).collect();
    if !access::list(old, &["tolerations"]).iter().all(|t| now.contains(&without_seconds(t))) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden("spec.tolerations", detail));
    }
}

fn gates(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let before = access::list(old, &["schedulingGates"]).iter();
    let before: BTreeSet<&str> = before.map(|gate| access::text(gate, &["name"])).collect();
    for (i, gate) in access::list(new, &["schedulingGates"]).iter().enumerate() {
        let name = access::text(gate, &["name"]);
        if !before.contains(name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(FieldError::forbidden(format!("spec.schedulingGates[{i}].name"), detail));
        }
    }
}

fn node_selector(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let narrower = access::entries(old, &["nodeSelector"])
        .all(|(k, v)| access::get(new, &["nodeSelector", k]) == Some(v));
    if !narrower {
        let shown = new.get("nodeSelector").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(FieldError::invalid("spec.nodeSelector", shown, detail));
    }
}

/// Validates an update of the status.
pub(super) fn validate_status(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (status, before) = (&new["status"], &old["status"]);
    let nominated = access::text(status, &["nominatedNodeName"]);
    if !nominated.is_empty() {
        let wrong = names::dns_subdomain(nominated);
        errors
            .extend(wrong.into_iter().map(|d| FieldError::invalid("status.nominatedNodeName", nominated, d)));
    }
    for list in ["containerStatuses", "initContainerStatuses"] {
        revived(status, before, list, &old["spec"], &mut errors);
    }
    revived_if(status, before, "ephemeralContainerStatuses", |_, _| false, &mut errors);
    let qos = access::text(status, &["qosClass"]);
    if qos != access::text(before, &["qosClass"]) && !access::text(before, &["qosClass"]).is_empty() {
        errors.push(FieldError::invalid("status.qosClass", qos, "field is immutable"));
    }
    for (i, condition) in access::list(status, &["conditions"]).iter().enumerate() {
        let ty = access::text(condition, &["type"]);
        let field = format!("status.conditions[{i}].Type");
        errors.extend(names::qualified(ty).into_iter().map(|d| FieldError::invalid(field.clone(), ty, d)));
    }
    for list in ["podIPs", "hostIPs"] {
        for (i, address) in access::list(status, &[list]).iter().enumerate() {
            let ip = access::text(address, &["ip"]);
            let field = format!("status.{list}[{i}]");
            errors.extend(names::ip(ip).into_iter().map(|d| FieldError::invalid(field.clone(), ip, d)));
        }
    }
    errors
}

/// A container that has terminated for good must not run again. `containers` are the specs of the list's containers.
fn revived(status: &Value, before: &Value, list: &str, spec: &Value, errors: &mut Vec<FieldError>) {
    if may_restart_all(spec) {
        return;
    }
    let containers = if list == "initContainerStatuses" { "initContainers" } else { "containers" };
    let may_restart = |name: &str, code: i64| {
        let container = access::list(spec, &[containers]).iter().find(|c| access::text(c, &["name"]) == name);
        container.is_some_and(|container| may_restart(spec, container, code))
    };
    revived_if(status, before, list, may_restart, errors);
}

/// The same; `may_restart` tells by name and exit code which ends are not for good.
fn revived_if(
    status: &Value,
    before: &Value,
    list: &str,
    may_restart: impl Fn(&str, i64) -> bool,
    errors: &mut Vec<FieldError>,
) {
    let final_end = |old: &Value| {
        let code = access::int(access::get(old, &["state", "terminated"])?, &["exitCode"]).unwrap_or(0);
        Some(!may_restart(access::text(old, &["name"]), code))
    };
    let ended = access::list(before, &[list]).iter().enumerate();
    for (i, old) in ended.filter(|(_, old)| final_end(old).unwrap_or(false)) {
        let name = access::text(old, &["name"]);
        let new = access::list(status, &[list]).iter().find(|s| access::text(s, &["name"]) == name);
        if new.is_some_and(|n| access::get(n, &["state", "terminated"]).is_none()) {
            let detail = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(format!("status.{list}[{i}].state"), detail));
        }
    }
}

/// `pods/ephemeralcontainers` adds ephemeral containers and changes nothing else.
pub(super) struct EphemeralContainers;

impl SubresourceStrategy for EphemeralContainers {
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep_all_but(&["spec", "ephemeralContainers"], new, old);
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        if annotations::is_mirror(old) {
            return vec![FieldError::forbidden("", "static pods do not support ephemeral containers")];
        }
        let mut errors = validate_spec(&new["spec"], format_args!("spec"), SpecOf::Pod);
        ephemeral(new, old, &mut errors);
        errors
    }
}

/// `pods/resize` changes the resources of containers and their resize policies. What else a request changes is dropped, but
/// other containers, or containers in another order, are refused.
pub(super) struct Resize;

impl SubresourceStrategy for Resize {
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        let sizes = |pod: &Value| LISTS.map(|list| access::list(&pod["spec"], &[list]).len());
        if sizes(new) == sizes(old) {
            let resources = new["spec"].get("resources").cloned();
            let lists = LISTS.map(|list| {
                resized(access::list(&new["spec"], &[list]), access::list(&old["spec"], &[list]))
            });
            let spec = access::object_mut(new, &["spec"]);
            spec.clone_from(old["spec"].as_object().unwrap_or(&Map::new()));
            set_or_remove(spec, "resources", resources);
            for (name, list) in LISTS.into_iter().zip(lists).filter(|(_, list)| !list.is_empty()) {
                spec.insert(name.to_owned(), list.into());
            }
        }
        keep_all_but(&["spec"], new, old);
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let refused = [
            (annotations::is_mirror(old), "static pods cannot be resized"),
            (access::text(old, &["spec", "os", "name"]) == "windows", "windows pods cannot be resized"),
        ];
        if let Some((_, why)) = refused.into_iter().find(|(refused, _)| *refused) {
            return vec![FieldError::forbidden("", why)];
        }
        let mut errors = validate_spec(&new["spec"], format_args!("spec"), SpecOf::Pod);
        resize(new, old, &mut errors);
        errors
    }
}

/// The lists of containers that can be resized.
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// The old containers with the new resources and resize policies; the new containers if their names are not the old ones.
fn resized(new: &[Value], old: &[Value]) -> Vec<Value> {
    if new.iter().zip(old).any(|(new, old)| new["name"] != old["name"]) {
        return new.to_vec();
    }
    let mut out = old.to_vec();
    for (out, new) in out.iter_mut().zip(new) {
        for member in ["resources", "resizePolicy"] {
            set_or_remove(access::as_object(out), member, new.get(member).cloned());
        }
    }
    out
}

fn set_or_remove(members: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(members.insert(name.to_owned(), value)),
        None => drop(members.remove(name)),
    }
}

/// Takes over the old Pod except for the member at `path` and what every update changes.
fn keep_all_but(path: &[&str], new: &mut Value, old: &Value) {
    let mut out = old.clone();
    for changed in [&["metadata", "managedFields"][..], &["metadata", "resourceVersion"], path] {
        access::copy(new, &mut out, changed);
    }
    *new = out;
}

fn ephemeral(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "spec.ephemeralContainers";
    let now = access::list(new, &["spec", "ephemeralContainers"]);
    for was in access::list(old, &["spec", "ephemeralContainers"]) {
        let name = access::text(was, &["name"]);
        match now.iter().position(|c| access::text(c, &["name"]) == name) {
            None => errors.push(FieldError::forbidden(
                FIELD,
                format!("existing ephemeral containers \"{name}\" may not be removed\n"),
            )),
            Some(i) if now[i] != *was => {
                let what = dump::difference("EphemeralContainer", was, &now[i]);
                let detail = format!("existing ephemeral containers \"{name}\" may not be changed\n{what}");
                errors.push(FieldError::forbidden(FIELD, detail));
            }
            Some(_) => {}
        }
    }
}

fn resize(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let (was, is) = (qos_class(old), qos_class(new));
    if was != is {
        errors.push(FieldError::invalid("spec", was, "Pod QOS Class may not change as a result of resizing"));
    }
    let mut put_back = new["spec"].clone();
    for list in ["containers", "initContainers"] {
        let before = access::list(&old["spec"], &[list]);
        if !same_containers(list, access::list(&new["spec"], &[list]), before, errors) {
            return;
        }
        let after = access::list_mut(&mut put_back, &[list]).into_iter().flatten();
        for (i, (after, before)) in after.zip(before).enumerate() {
            let at = format!("spec.{list}[{i}].resources");
            // Those of ordinary init containers are checked against the old ones as a whole.
            let resizable = list == "containers" || access::text(before, &["restartPolicy"]) == "Always";
            if resizable {
                refuse_removals(&at, after, before, errors);
                put_back_resources(after, before);
            } else if after != before {
                let why = "resources for non-sidecar init containers are immutable";
                errors.push(FieldError::forbidden(at, why));
                *after = before.clone();
            }
        }
    }
    if put_back != old["spec"] {
        errors.push(FieldError::forbidden("spec", "only cpu and memory resources are mutable"));
    }
}

/// Whether these are the old containers in the old order.
fn same_containers(list: &str, new: &[Value], old: &[Value], errors: &mut Vec<FieldError>) -> bool {
    if new.len() != old.len() {
        let why = format!("{list} may not be added or removed on resize");
        errors.push(FieldError::forbidden(format!("spec.{list}"), why));
        return false;
    }
    let before = errors.len();
    for (i, (new, old)) in new.iter().zip(old).enumerate() {
        if new["name"] != old["name"] {
            let why = format!("{list} may not be renamed or reordered on resize");
            errors.push(FieldError::forbidden(format!("spec.{list}[{i}].name"), why));
        }
    }
    errors.len() == before
}

/// A running container keeps what it has been given: nothing says what the cgroup should have instead.
fn refuse_removals(at: &str, new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for kind in ["requests", "limits"] {
        let removed = ["cpu", "memory"].into_iter().any(|name| {
            let path = ["resources", kind, name];
            access::get(old, &path).is_some() && access::get(new, &path).is_none()
        });
        if removed {
            errors.push(FieldError::forbidden(
                format!("{at}.{kind}"),
                format!("resource {kind} cannot be removed"),
            ));
        }
    }
}

fn put_back_resources(after: &mut Value, before: &Value) {
    for kind in ["requests", "limits"] {
        for name in ["cpu", "memory"] {
            debug_assert!(!is_extended(name), "invariant: cpu and memory are standard");
            access::copy(before, after, &["resources", kind, name]);
        }
        if access::get(after, &["resources", kind]).is_some_and(access::is_zero) {
            access::remove(after, &["resources", kind]);
        }
    }
}

#[cfg(test)]
mod tests;
