//! The rules for resources on the wire, in Mesos' order and with its texts (upstream: `common/resources.cpp`,
//! `master/validation.cpp`).

use kernel_model::{
    ids,
    resources::{Scalar, general},
    roles::Role,
};

use super::{SCALAR_MAX, text::describe};
use crate::{
    Invalid,
    v1::{
        Resource,
        resource::{
            DiskInfo, ReservationInfo, disk_info::source::Type as SourceType, reservation_info::Type,
        },
        value,
    },
};

/// Checks every resource. The error names the first that breaks a rule.
pub fn validate<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Result<(), Invalid> {
    resources.into_iter().try_for_each(|resource| {
        check(resource).map_err(|why| Invalid(format!("Resource '{}' is invalid: {why}", describe(resource))))
    })
}

/// The rules of a master for the resources of tasks and executors beyond [`validate`].
pub(crate) fn validate_for_launch(resources: &[Resource]) -> Result<(), String> {
    let gpus = resources.iter().filter(|resource| resource.name == "gpus");
    let gpus: f64 = gpus.filter_map(|resource| resource.scalar.as_ref()).map(|scalar| scalar.value).sum();
    if Scalar::from_f64(gpus).0 % 1000 != 0 {
        return Err("Invalid 'gpus' resource: The 'gpus' resource must be an unsigned integer".to_owned());
    }
    for resource in resources {
        if let Some(disk) = &resource.disk {
            check_disk_use(resource, disk).map_err(|why| format!("Invalid DiskInfo: {why}"))?;
        }
    }
    match resources.iter().find(|r| r.revocable.is_some() && is_dynamically_reserved(r)) {
        Some(resource) => Err(format!(
            "Invalid ReservationInfo: Dynamically reserved resource {} cannot be created from revocable resources",
            describe(resource)
        )),
        None => Ok(()),
    }
}

fn is_dynamically_reserved(resource: &Resource) -> bool {
    resource.reservation.is_some()
        || resource.reservations.last().is_some_and(|top| top.r#type == Some(Type::Dynamic as i32))
}

fn check_disk_use(resource: &Resource, disk: &DiskInfo) -> Result<(), String> {
    let Some(persistence) = &disk.persistence else {
        return match (&disk.volume, &disk.source) {
            (Some(_), _) => Err("Non-persistent volume not supported".to_owned()),
            (None, None) => Err("DiskInfo is set but empty".to_owned()),
            (None, Some(_)) => Ok(()),
        };
    };
    let unreserved = resource.reservations.is_empty() && resource.role.as_deref().unwrap_or("*") == "*";
    if resource.revocable.is_some() {
        return Err("Persistent volumes cannot be created from revocable resources".to_owned());
    }
    if unreserved {
        return Err("Persistent volumes cannot be created from unreserved resources".to_owned());
    }
    match &disk.volume {
        None => return Err("Expecting 'volume' to be set for persistent volume".to_owned()),
        Some(volume) if volume.host_path.is_some() => {
            return Err("Expecting 'host_path' to be unset for persistent volume".to_owned());
        }
        Some(volume) if volume.image.is_some() || volume.source.is_some() => {
            return Err("Expecting 'image' and 'source' to be unset for persistent volume".to_owned());
        }
        Some(_) => {}
    }
    ids::check(&persistence.id).map_err(|why| format!("Invalid persistence ID for persistent volume: {why}"))
}

fn check(resource: &Resource) -> Result<(), String> {
    if resource.name.is_empty() {
        return Err("Empty resource name".to_owned());
    }
    check_value(resource)?;
    if let Some(disk) = &resource.disk {
        check_disk(&resource.name, disk)?;
    }
    match resource.reservations.is_empty() {
        true => check_old_reservation(resource)?,
        false => check_reservations(resource)?,
    }
    if resource.shared.is_some() {
        if resource.name != "disk" {
            return Err(format!("Resource {} cannot be shared", resource.name));
        }
        if resource.disk.as_ref().is_none_or(|disk| disk.persistence.is_none()) {
            return Err("Only persistent volumes can be shared".to_owned());
        }
    }
    Ok(())
}

fn check_value(resource: &Resource) -> Result<(), String> {
    let kind = value::Type::try_from(resource.r#type).map_err(|_| "Invalid resource type".to_owned())?;
    match (kind, &resource.scalar, &resource.ranges, &resource.set) {
        (value::Type::Scalar, Some(scalar), None, None) => check_scalar(scalar.value),
        (value::Type::Scalar, ..) => Err("Invalid scalar resource".to_owned()),
        (value::Type::Ranges, None, Some(ranges), None) => check_ranges(&ranges.range),
        (value::Type::Ranges, ..) => Err("Invalid ranges resource".to_owned()),
        (value::Type::Set, None, None, Some(set)) => {
            let mut items: Vec<&String> = set.item.iter().collect();
            items.sort_unstable();
            match items.windows(2).any(|pair| pair[0] == pair[1]) {
                true => Err("Invalid set resource: duplicated elements".to_owned()),
                false => Ok(()),
            }
        }
        (value::Type::Set, ..) => Err("Invalid set resource".to_owned()),
        (value::Type::Text, ..) => Err("Unsupported resource type".to_owned()),
    }
}

/// An amount that is not zero must not be zero as a fixed-point number either.
fn check_scalar(amount: f64) -> Result<(), String> {
    if amount != 0.0 && Scalar::from_f64(amount) <= Scalar::ZERO {
        return Err("Invalid scalar resource: value <= 0".to_owned());
    }
    match amount <= SCALAR_MAX {
        true => Ok(()),
        false => Err(format!("Invalid scalar resource: value > {}", general(SCALAR_MAX, 15))),
    }
}

fn check_ranges(ranges: &[value::Range]) -> Result<(), String> {
    if ranges.iter().any(|range| range.begin > range.end) {
        return Err("Invalid ranges resource: begin > end".to_owned());
    }
    let mut sorted: Vec<(u64, u64)> = ranges.iter().map(|range| (range.begin, range.end)).collect();
    sorted.sort_unstable();
    match sorted.windows(2).any(|pair| pair[1].0 <= pair[0].1) {
        true => Err("Invalid ranges resource: overlapping ranges".to_owned()),
        false => Ok(()),
    }
}

fn check_disk(name: &str, disk: &DiskInfo) -> Result<(), String> {
    if name != "disk" {
        return Err(format!("DiskInfo should not be set for {name} resource"));
    }
    let Some(source) = &disk.source else { return Ok(()) };
    let kind = SourceType::try_from(source.r#type).unwrap_or(SourceType::Unknown);
    match kind {
        SourceType::Path | SourceType::Mount => Ok(()),
        SourceType::Block | SourceType::Raw => {
            let part = match (&source.mount, &source.path) {
                (Some(_), _) => "Mount",
                (None, Some(_)) => "Path",
                (None, None) => return Ok(()),
            };
            Err(format!("{part} should not be set for {} disk source", kind.as_str_name()))
        }
        SourceType::Unknown => Err("Unsupported 'DiskInfo.Source.Type' in 'UNKNOWN'".to_owned()),
    }
}

fn check_role(name: &str) -> Result<(), String> {
    Role::parse(name).map(drop).map_err(|error| error.to_string())
}

/// The form before reservation refinement.
fn check_old_reservation(resource: &Resource) -> Result<(), String> {
    let role = resource.role.as_deref().unwrap_or("*");
    check_role(role)?;
    let Some(reservation) = &resource.reservation else { return Ok(()) };
    for (is_set, field) in [(reservation.r#type.is_some(), "type"), (reservation.role.is_some(), "role")] {
        if is_set {
            return Err(format!(
                "'Resource.ReservationInfo.{field}' must not be set for the 'Resource.reservation' field"
            ));
        }
    }
    match role {
        "*" => Err("Invalid reservation: role \"*\" cannot be dynamically reserved".to_owned()),
        _ => Ok(()),
    }
}

fn check_reservations(resource: &Resource) -> Result<(), String> {
    let mut roles = Vec::with_capacity(resource.reservations.len());
    for reservation in &resource.reservations {
        let unset = |field: &str| {
            format!("Invalid reservation: 'Resource.ReservationInfo.{field}' field must be set.")
        };
        if reservation.r#type.is_none() {
            return Err(unset("type"));
        }
        let role = reservation.role.as_deref().ok_or_else(|| unset("role"))?;
        check_role(role)?;
        if role == "*" {
            return Err("Invalid reservation: role \"*\" cannot be reserved".to_owned());
        }
        roles.push(role);
    }
    for (pair, upper) in roles.windows(2).zip(&resource.reservations[1..]) {
        let (ancestor, descendant) = (pair[0], pair[1]);
        if upper.r#type == Some(Type::Static as i32) {
            return Err("Invalid refined reservation: A refined reservation cannot be STATIC".to_owned());
        }
        if !descendant.strip_prefix(ancestor).is_some_and(|rest| rest.starts_with('/')) {
            return Err(format!(
                "Invalid refined reservation: role '{descendant}' is not a refinement of '{ancestor}'"
            ));
        }
    }
    match &resource.reservations[..] {
        [only] => check_both_forms(resource, only),
        _ => {
            for (is_set, field) in
                [(resource.role.is_some(), "role"), (resource.reservation.is_some(), "reservation")]
            {
                if is_set {
                    return Err(format!(
                        "Invalid resource format: 'Resource.{field}' must not be set if there is more than one \
                         reservation in 'Resource.reservations'"
                    ));
                }
            }
            Ok(())
        }
    }
}

/// A single reservation may be given in both forms, if they agree.
fn check_both_forms(resource: &Resource, only: &ReservationInfo) -> Result<(), String> {
    let wrong = |why: String| Err(format!("Invalid resource format: {why}"));
    if let Some(role) = &resource.role
        && Some(role) != only.role.as_ref()
    {
        return wrong(format!(
            "'Resource.role' field with '{role}' does not match the role '{}' in 'Resource.reservations'",
            only.role()
        ));
    }
    match only.r#type() {
        Type::Static if resource.reservation.is_some() => wrong(
            "'Resource.reservation' must not be set if the single reservation in 'Resource.reservations' is STATIC"
                .to_owned(),
        ),
        Type::Static => Ok(()),
        Type::Dynamic if resource.role.is_some() != resource.reservation.is_some() => wrong(
            "'Resource.role' and 'Resource.reservation' must either be both set or both not set if the single \
             reservation in 'Resource.reservations' is DYNAMIC"
                .to_owned(),
        ),
        Type::Dynamic => match &resource.reservation {
            Some(old) if old.principal() != only.principal() => wrong(format!(
                "'Resource.reservation.principal' field with '{}' does not match the principal '{}' in \
                 'Resource.reservations'",
                old.principal(),
                only.principal()
            )),
            Some(old) if old.labels != only.labels => wrong(
                "'Resource.reservation.labels' field does not match the labels in 'Resource.reservations'"
                    .to_owned(),
            ),
            _ => Ok(()),
        },
        Type::Unknown => Err("Unsupported 'Resource.ReservationInfo.Type'".to_owned()),
    }
}
