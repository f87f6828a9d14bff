//! Converts frameworks from and to `mesos.v1.FrameworkInfo`, with the validation of the message itself.

use std::{collections::BTreeSet, time::Duration};

use kernel_model::{
    framework::{FrameworkCapability, FrameworkInfo},
    ids::{self, FrameworkId},
    resources::general,
    roles::Role,
};

use crate::{
    Invalid, decode_extra, encode_extra, labels, limits,
    resources::{Format, ResourceForm},
    v1::{self, framework_info},
};

/// Mesos stores durations as 64-bit nanoseconds.
const TIMEOUT_SECONDS_MAX: f64 = 9_223_372_036.0;

const CAPABILITIES: [FrameworkCapability; 8] = [
    FrameworkCapability::RevocableResources,
    FrameworkCapability::TaskKillingState,
    FrameworkCapability::GpuResources,
    FrameworkCapability::SharedResources,
    FrameworkCapability::PartitionAware,
    FrameworkCapability::MultiRole,
    FrameworkCapability::ReservationRefinement,
    FrameworkCapability::RegionAware,
];

/// The resource format of this framework.
pub fn format_for(framework: &FrameworkInfo) -> Format {
    Format {
        form: match framework.can(FrameworkCapability::ReservationRefinement) {
            true => ResourceForm::Post,
            false => ResourceForm::Pre,
        },
        allocation: framework.can(FrameworkCapability::MultiRole),
    }
}

/// Encodes a framework.
pub fn to_wire(from: &FrameworkInfo) -> v1::FrameworkInfo {
    let mut to: v1::FrameworkInfo = decode_extra(&from.extra);
    to.user = from.user.clone();
    to.name = from.name.clone();
    to.id = from.id.as_ref().map(id_to_wire);
    to.failover_timeout.get_or_insert(from.failover_timeout.as_secs_f64());
    to.checkpoint = Some(from.checkpoint);
    match from.can(FrameworkCapability::MultiRole) {
        true => to.roles = from.roles.iter().map(Role::to_string).collect(),
        false => to.role = from.roles.first().map(Role::to_string),
    }
    to.hostname = some_text(&from.hostname);
    to.principal = from.principal.clone();
    to.webui_url = some_text(&from.webui_url);
    let capability = |c: &FrameworkCapability| framework_info::Capability { r#type: Some(*c as i32) };
    to.capabilities = from.capabilities.iter().map(capability).collect();
    to.labels = labels::to_wire(&from.labels);
    to
}

/// Decodes a framework. The error is the message of the refusal.
pub fn from_wire(mut from: v1::FrameworkInfo) -> Result<FrameworkInfo, Invalid> {
    limits::check_framework(&from)?;
    let numbers: BTreeSet<i32> = from.capabilities.drain(..).filter_map(|c| c.r#type).collect();
    let capabilities: BTreeSet<_> =
        CAPABILITIES.into_iter().filter(|c| numbers.contains(&(*c as i32))).collect();
    let roles = roles_from_wire(
        capabilities.contains(&FrameworkCapability::MultiRole),
        from.role.take(),
        std::mem::take(&mut from.roles),
    )?;
    let id = match from.id.take().map(|id| id.value).filter(|id| !id.is_empty()) {
        Some(id) => {
            ids::check(&id).map_err(|error| Invalid::new(error.to_string()))?;
            Some(FrameworkId::from(id))
        }
        None => None,
    };
    let seconds = from.failover_timeout.unwrap_or(0.0);
    if !(-TIMEOUT_SECONDS_MAX..=TIMEOUT_SECONDS_MAX).contains(&seconds) {
        return Err(Invalid::new(format!(
            "The framework failover_timeout ({}) is invalid",
            general(seconds, 6)
        )));
    }
    if seconds >= 0.0 {
        from.failover_timeout = None;
    }
    Ok(FrameworkInfo {
        user: std::mem::take(&mut from.user),
        name: std::mem::take(&mut from.name),
        id,
        // A negative timeout has expired as soon as the framework disconnects; it is repeated as it came.
        failover_timeout: Duration::from_secs_f64(seconds.max(0.0)),
        checkpoint: from.checkpoint.take().unwrap_or(false),
        roles,
        hostname: from.hostname.take().unwrap_or_default(),
        principal: from.principal.take(),
        webui_url: from.webui_url.take().unwrap_or_default(),
        capabilities,
        labels: labels::from_wire(from.labels.take()),
        extra: encode_extra(&from),
    })
}

fn roles_from_wire(multi: bool, role: Option<String>, roles: Vec<String>) -> Result<Vec<Role>, Invalid> {
    if !multi {
        if !roles.is_empty() {
            return Err(Invalid::new(
                "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
            ));
        }
        let text = role.unwrap_or_else(|| "*".to_owned());
        let parsed = Role::parse(&text);
        return match parsed {
            Ok(role) => Ok(vec![role]),
            Err(e) => Err(Invalid::new(format!("'FrameworkInfo.role' is not a valid role: {e}"))),
        };
    }
    if role.is_some() {
        return Err(Invalid::new(
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable",
        ));
    }
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> = roles.iter().map(String::as_str).filter(|role| !seen.insert(*role)).collect();
    if !twice.is_empty() {
        return Err(Invalid::new(format!(
            "'FrameworkInfo.roles' contains duplicate items: {}",
            braced(twice)
        )));
    }
    let parse = |name: &String| {
        Role::parse(name)
            .map_err(|e| Invalid::new(format!("'FrameworkInfo.roles' contains invalid role: {e}")))
    };
    roles.iter().map(parse).collect()
}

/// A set of names in Mesos' messages: `{ a, b }`.
pub(crate) fn braced<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    format!("{{ {} }}", names.into_iter().collect::<Vec<_>>().join(", "))
}

/// Encodes an id.
pub fn id_to_wire(id: &FrameworkId) -> v1::FrameworkId {
    v1::FrameworkId { value: id.as_str().to_owned() }
}

pub(crate) fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
