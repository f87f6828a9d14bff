//! Whether the quotas of a namespace admit a request, and what they have to be charged.

use serde_json::Value;

use super::{Evaluator, Quota};
use crate::resource_list::ResourceList;
use crate::rows::Seconds;

/// A creation or update, with the object as it will be stored.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Request<'a> {
    pub evaluator: Evaluator<'a>,
    /// The requested subresource; empty for the object itself.
    pub subresource: &'a str,
    pub object: &'a Value,
    /// The object before an update.
    pub old: Option<&'a Value>,
    pub now: Seconds,
}

/// The new usage of a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Position of the quota.
    pub quota: usize,
    /// Its new `status.used`.
    pub used: ResourceList,
}

/// Charges a request to the quotas that count its object. The error says why the request is refused.
pub fn charge(quotas: &[Quota], request: &Request<'_>) -> Result<Vec<Charge>, String> {
    let Request { evaluator, object, .. } = *request;
    if !evaluator.counts_requests(request.old.is_none(), request.subresource)
        || request.old.is_some_and(|old| !evaluator.counts_change(request.subresource, old, object))
    {
        return Ok(Vec::new());
    }
    let mut counting = Vec::new();
    for (at, quota) in quotas.iter().enumerate().filter(|(_, quota)| evaluator.matches(quota, object)) {
        let limited = evaluator.limits(&quota.hard);
        let name = &quota.name;
        let specified = evaluator.check_specified(&limited, object);
        specified.map_err(|missing| format!("failed quota: {name}: {missing}"))?;
        if limited.iter().any(|limit| !quota.used.contains(limit)) {
            let resources = limited.into_iter().collect::<Vec<_>>().join(",");
            return Err(format!("status unknown for quota: {name}, resources: {resources}"));
        }
        counting.push((at, quota));
    }
    if counting.is_empty() {
        return Ok(Vec::new());
    }
    let usage = evaluator.usage(object, request.now);
    let negative: Vec<&str> = usage.iter().filter(|(_, q)| q.sign() < 0).map(|(name, _)| name).collect();
    if !negative.is_empty() {
        return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
    }
    let mut charges = Vec::new();
    for (at, quota) in counting {
        // A quota that did not count the object before is charged in full.
        let counted_before = request.old.filter(|old| evaluator.matches(quota, old));
        let more = match counted_before {
            Some(old) => usage.increase_over(&evaluator.usage(old, request.now)),
            None => usage.clone(),
        };
        let more = more.filtered(|_, amount| amount.sign() != 0);
        if !more.is_empty() {
            let used = charge_one(quota, &more.masked_by(&quota.hard), request.subresource != "status")?;
            charges.push(Charge { quota: at, used });
        }
    }
    charges.retain(|charge| charge.used != quotas[charge.quota].used);
    Ok(charges)
}

/// The usage of a quota after `requested` more of it.
fn charge_one(quota: &Quota, requested: &ResourceList, limited: bool) -> Result<ResourceList, String> {
    let mut used = quota.used.clone();
    used.add(requested);
    let is_exceeded = |name: &str| quota.hard.get(name) < used.get(name);
    let exceeded = requested.filtered(|name, _| is_exceeded(name));
    if limited && !exceeded.is_empty() {
        return Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            quota.name,
            exceeded.pretty(),
            quota.used.masked_by(&exceeded).pretty(),
            quota.hard.masked_by(&exceeded).pretty(),
        ));
    }
    Ok(used)
}
