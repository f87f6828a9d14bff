//! Converts resources and attributes from and to `mesos.v1.Resource` and `Attribute`, in the formats that depend on the
//! reader's capabilities.

mod text;
mod validation;

use bytes::Bytes;
use kernel_model::{
    resources::{
        Attribute, AttributeValue, Disk, DiskSource, Persistence, Ranges, Reservation, ReservationKind,
        Resource, Resources, Scalar, Value, VolumeMount,
    },
    roles::Role,
};
use prost::Message as _;

use crate::{
    Invalid, decode_extra, labels, limits,
    v1::{
        self,
        resource::{self, disk_info::source::Type as SourceType, reservation_info::Type as WireKind},
        value,
    },
};

pub(crate) use text::describe;
pub use validation::validate;
pub(crate) use validation::validate_for_launch;

/// [`Scalar::MAX`] on the wire.
const SCALAR_MAX: f64 = Scalar::MAX.as_f64();

/// How reservations and allocations are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceForm {
    /// For frameworks with `RESERVATION_REFINEMENT`, and between our own components.
    Post,
    /// For other frameworks: `role` and `reservation`.
    Pre,
    /// For operators: both forms, where both can express it.
    Endpoint,
}

/// The resource format of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Format {
    pub form: ResourceForm,
    /// Whether `allocation_info` is sent (frameworks with `MULTI_ROLE`).
    pub allocation: bool,
}

impl Format {
    /// Everything, in the form after reservation refinement.
    pub const FULL: Format = Format { form: ResourceForm::Post, allocation: true };
    /// For operators.
    pub const ENDPOINT: Format = Format { form: ResourceForm::Endpoint, allocation: true };
}

/// Encodes a collection.
pub fn to_wire(resources: &Resources, format: Format) -> Vec<v1::Resource> {
    resources.iter().map(|r| resource_to_wire(r, format)).collect()
}

/// Decodes and normalises a collection.
pub fn from_wire(resources: Vec<v1::Resource>) -> Result<Resources, Invalid> {
    limits::check_resources(&resources)?;
    validate(&resources)?;
    resources.into_iter().map(valid_from_wire).collect()
}

/// Decodes the resources of an operation that converts them.
pub fn to_convert_from_wire(resources: Vec<v1::Resource>) -> Result<Resources, Invalid> {
    limits::check_resources(&resources)?;
    validate(&resources)?;
    validate_for_launch(&resources).map_err(Invalid)?;
    resources.into_iter().map(valid_from_wire).collect()
}

/// Decodes a collection, and the resources of amount zero beside it, which a collection does not have.
pub fn with_zeros_from_wire(resources: Vec<v1::Resource>) -> Result<(Resources, Vec<Resource>), Invalid> {
    limits::check_resources(&resources)?;
    validate(&resources)?;
    let mut all = resources.into_iter().map(valid_from_wire).collect::<Result<Vec<Resource>, _>>()?;
    let zeros = all.extract_if(.., |resource| resource.value.is_zero()).collect();
    Ok((all.into_iter().collect(), zeros))
}

/// Encodes a resource.
pub fn resource_to_wire(from: &Resource, format: Format) -> v1::Resource {
    let mut to = v1::Resource { name: from.name.to_string(), ..Default::default() };
    match &from.value {
        Value::Scalar(amount) => {
            to.r#type = value::Type::Scalar as i32;
            to.scalar = Some(scalar_to_wire(*amount));
        }
        Value::Ranges(ranges) => {
            to.r#type = value::Type::Ranges as i32;
            to.ranges = Some(ranges_to_wire(ranges));
        }
        Value::Set(items) => {
            to.r#type = value::Type::Set as i32;
            to.set = Some(value::Set { item: items.iter().cloned().collect() });
        }
    }
    if format.allocation {
        to.allocation_info =
            from.allocation_role.as_ref().map(|r| resource::AllocationInfo { role: Some(r.to_string()) });
    }
    if format.form != ResourceForm::Pre {
        to.reservations = from.reservations.iter().map(reservation_to_wire).collect();
    }
    if format.form != ResourceForm::Post {
        put_old_form(&from.reservations, &mut to);
    }
    to.disk = from.disk.as_ref().map(|disk| disk_to_wire(disk));
    to.revocable = from.revocable.then(resource::RevocableInfo::default);
    to.shared = from.shared.then(resource::SharedInfo::default);
    to.provider_id = from.provider_id.as_ref().map(|id| v1::ResourceProviderId { value: id.clone() });
    to
}

/// The old form can express unreserved, static, and one dynamic level, but no deeper stack.
fn put_old_form(stack: &[Reservation], to: &mut v1::Resource) {
    match stack {
        [] => to.role = Some("*".to_owned()),
        [only] => {
            to.role = Some(only.role.to_string());
            if only.kind == ReservationKind::Dynamic {
                to.reservation = Some(resource::ReservationInfo {
                    principal: only.principal.clone(),
                    labels: labels::to_wire(&only.labels),
                    ..Default::default()
                });
            }
        }
        _ => {}
    }
}

fn reservation_to_wire(from: &Reservation) -> resource::ReservationInfo {
    resource::ReservationInfo {
        r#type: Some(match from.kind {
            ReservationKind::Static => WireKind::Static as i32,
            ReservationKind::Dynamic => WireKind::Dynamic as i32,
        }),
        role: Some(from.role.to_string()),
        principal: from.principal.clone(),
        labels: labels::to_wire(&from.labels),
    }
}

/// Decodes a resource in either form.
pub fn resource_from_wire(from: v1::Resource) -> Result<Resource, Invalid> {
    validate([&from])?;
    valid_from_wire(from)
}

/// Decodes a resource that [`validate`] has accepted.
fn valid_from_wire(from: v1::Resource) -> Result<Resource, Invalid> {
    let absent = || Invalid::new(format!("Resource '{}' is invalid: Invalid resource type", from.name));
    let value = match value::Type::try_from(from.r#type).ok() {
        Some(value::Type::Scalar) => {
            let amount = from.scalar.as_ref().map(|scalar| scalar.value).ok_or_else(absent)?;
            Value::Scalar(Scalar::from_f64(amount))
        }
        Some(value::Type::Ranges) => {
            Value::Ranges(ranges_from_wire(from.ranges.as_ref().ok_or_else(absent)?))
        }
        Some(value::Type::Set) => {
            Value::Set(from.set.as_ref().ok_or_else(absent)?.item.iter().cloned().collect())
        }
        _ => return Err(absent()),
    };
    let reservations = reservations_from_wire(&from)?;
    let allocation_role = match from.allocation_info.as_ref().and_then(|a| a.role.as_deref()) {
        Some(text) => Some(role(text)?),
        None => None,
    };
    Ok(Resource {
        name: from.name.into(),
        value,
        allocation_role,
        reservations,
        disk: from.disk.map(|disk| disk_from_wire(disk).into()),
        revocable: from.revocable.is_some(),
        shared: from.shared.is_some(),
        provider_id: from.provider_id.map(|id| id.value),
    })
}

fn reservations_from_wire(from: &v1::Resource) -> Result<Vec<Reservation>, Invalid> {
    if !from.reservations.is_empty() {
        return from.reservations.iter().map(reservation_from_wire).collect();
    }
    let name = from.role.as_deref().unwrap_or("*");
    if name == "*" {
        return Ok(Vec::new());
    }
    let kind = if from.reservation.is_some() { ReservationKind::Dynamic } else { ReservationKind::Static };
    let of = from.reservation.clone().unwrap_or_default();
    Ok(vec![Reservation {
        kind,
        role: role(name)?,
        principal: of.principal,
        labels: labels::from_wire(of.labels),
    }])
}

fn reservation_from_wire(from: &resource::ReservationInfo) -> Result<Reservation, Invalid> {
    Ok(Reservation {
        kind: match from.r#type() {
            WireKind::Static => ReservationKind::Static,
            WireKind::Dynamic => ReservationKind::Dynamic,
            WireKind::Unknown => return Err(Invalid::new("Unsupported 'Resource.ReservationInfo.Type'")),
        },
        role: role(from.role())?,
        principal: from.principal.clone(),
        labels: labels::from_wire(from.labels.clone()),
    })
}

fn disk_from_wire(from: resource::DiskInfo) -> Disk {
    let source = |source: resource::disk_info::Source| DiskSource {
        whole: match SourceType::try_from(source.r#type) {
            Ok(SourceType::Mount | SourceType::Block) => true,
            Ok(SourceType::Raw) => source.id.is_some(),
            Ok(SourceType::Path | SourceType::Unknown) | Err(_) => false,
        },
        text: text::source(&source),
        definition: source.encode_to_vec().into(),
    };
    Disk {
        source: from.source.map(source),
        persistence: from
            .persistence
            .map(|persistence| Persistence { id: persistence.id, principal: persistence.principal }),
        volume: from.volume.map(|volume| VolumeMount {
            read_only: volume.mode() == v1::volume::Mode::Ro,
            container_path: volume.container_path,
        }),
    }
}

fn disk_to_wire(from: &Disk) -> resource::DiskInfo {
    use v1::volume::Mode;
    let mode = |volume: &VolumeMount| if volume.read_only { Mode::Ro } else { Mode::Rw };
    resource::DiskInfo {
        source: from.source.as_ref().map(|source| decode_extra(&source.definition)),
        persistence: from.persistence.as_ref().map(|persistence| resource::disk_info::Persistence {
            id: persistence.id.clone(),
            principal: persistence.principal.clone(),
        }),
        volume: from.volume.as_ref().map(|volume| v1::Volume {
            mode: mode(volume) as i32,
            container_path: volume.container_path.clone(),
            ..Default::default()
        }),
    }
}

/// Decodes a role.
pub fn role(text: &str) -> Result<Role, Invalid> {
    Role::parse(text).map_err(|e| Invalid::new(e.to_string()))
}

/// Decodes a scalar; `None` if it is negative, not finite or too large.
pub fn scalar_from_wire(amount: f64) -> Option<Scalar> {
    (amount.is_finite() && (0.0..=SCALAR_MAX).contains(&amount)).then(|| Scalar::from_f64(amount))
}

/// Encodes a scalar.
pub fn scalar_to_wire(amount: Scalar) -> value::Scalar {
    value::Scalar { value: amount.as_f64() }
}

fn ranges_to_wire(ranges: &Ranges) -> value::Ranges {
    value::Ranges { range: ranges.pairs().iter().map(|&(begin, end)| value::Range { begin, end }).collect() }
}

fn ranges_from_wire(ranges: &value::Ranges) -> Ranges {
    Ranges::new(ranges.range.iter().map(|r| (r.begin, r.end)))
}

/// Encodes an attribute.
pub fn attribute_to_wire(from: &Attribute) -> v1::Attribute {
    let mut to = v1::Attribute { name: from.name.clone(), ..Default::default() };
    match &from.value {
        AttributeValue::Text(text) => {
            to.r#type = value::Type::Text as i32;
            to.text = Some(value::Text { value: text.clone() });
        }
        AttributeValue::Scalar(amount) => {
            to.r#type = value::Type::Scalar as i32;
            to.scalar = Some(scalar_to_wire(*amount));
        }
        AttributeValue::Ranges(ranges) => {
            to.r#type = value::Type::Ranges as i32;
            to.ranges = Some(ranges_to_wire(ranges));
        }
        AttributeValue::Set(items) => {
            to.r#type = value::Type::Set as i32;
            to.set = Some(value::Set { item: items.clone() });
        }
    }
    to
}

/// Decodes an attribute; an absent value is an empty one.
pub fn attribute_from_wire(from: v1::Attribute) -> Result<Attribute, Invalid> {
    let value = match value::Type::try_from(from.r#type) {
        Ok(value::Type::Text) => AttributeValue::Text(from.text.map(|t| t.value).unwrap_or_default()),
        Ok(value::Type::Scalar) => {
            let amount = from.scalar.map(|s| s.value).unwrap_or_default();
            AttributeValue::Scalar(Scalar::from_f64(amount))
        }
        Ok(value::Type::Ranges) => AttributeValue::Ranges(ranges_from_wire(&from.ranges.unwrap_or_default())),
        Ok(value::Type::Set) => AttributeValue::Set(from.set.map(|s| s.item).unwrap_or_default()),
        Err(_) => return Err(Invalid::new(format!("Invalid attribute '{}': unknown type", from.name))),
    };
    Ok(Attribute { name: from.name, value })
}

/// Decodes a collection that is stored as bytes.
pub fn decode(bytes: &Bytes) -> Result<Resources, Invalid> {
    let message =
        crate::link_proto::Resources::decode(bytes.clone()).map_err(|e| Invalid::new(e.to_string()))?;
    from_wire(message.resources)
}
