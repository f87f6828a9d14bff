//! Converts quotas from and to `mesos.v1.quota`, with Mesos' rules and texts (upstream: `master/quota.cpp`).

use std::collections::{BTreeMap, BTreeSet};

use kernel_model::{
    quota::{Quantities, Quota},
    resources::{self as model, Resources, Scalar, general},
    roles::Role,
};

use crate::{
    Invalid,
    link_proto::NamedAmount,
    resources,
    v1::{
        Resource,
        quota::{QuotaConfig, QuotaInfo, QuotaRequest, QuotaStatus},
        value,
    },
};

/// Decodes a configuration. The error is what follows "Invalid QuotaConfig: " in Mesos' answer.
pub fn config_from_wire(from: QuotaConfig) -> Result<(Role, Quota), Invalid> {
    let role =
        Role::parse(&from.role).map_err(|error| Invalid(format!("Invalid 'QuotaConfig.role': {error}")))?;
    let too_large = |what: &str, amounts: &[NamedAmount]| {
        sorted(amounts)
            .find_map(|(name, amount)| too_large(name, amount))
            .map_or(Ok(()), |why| Err(Invalid(format!("Invalid 'QuotaConfig.{what}': {why}"))))
    };
    too_large("guarantees", &from.guarantees)?;
    too_large("limits", &from.limits)?;
    let guarantees = without_zeros(amounts("guarantee", &from.guarantees)?);
    let limits = amounts("limit", &from.limits)?;
    let quota = Quota { guarantees, limits };
    if !quota.allows(&quota.guarantees) {
        return Err(Invalid(format!(
            "'QuotaConfig.guarantees' {} is not contained within the 'QuotaConfig.limits' {}",
            shown(&from.guarantees),
            shown(&from.limits)
        )));
    }
    Ok((role, quota))
}

fn sorted(amounts: &[NamedAmount]) -> impl Iterator<Item = (&str, f64)> {
    let sorted: BTreeMap<&str, f64> =
        amounts.iter().map(|named| (named.name.as_str(), named.amount.value)).collect();
    sorted.into_iter()
}

fn shown(amounts: &[NamedAmount]) -> String {
    let one = |(name, amount)| format!("{name}: {}", general(amount, 15));
    format!("{{{}}}", sorted(amounts).map(one).collect::<Vec<_>>().join(", "))
}

fn too_large(name: &str, amount: f64) -> Option<String> {
    let (most, called) = Quota::most(name);
    (amount > most && amount.is_finite()).then(|| {
        format!(
            "{{'{name}': {}}} is invalid: values greater than {called} ({most}) are not supported",
            general(amount, 15)
        )
    })
}

fn amounts(what: &str, from: &[NamedAmount]) -> Result<Quantities, Invalid> {
    let one = |(name, amount): (&str, f64)| {
        let why = match amount {
            amount if amount.is_nan() => "NaN not supported",
            amount if amount.is_infinite() => "Infinite values not supported",
            amount if amount.is_subnormal() => "Subnormal values not supported",
            amount if amount < 0.0 => "Negative values not supported",
            amount => return Ok((name.to_owned(), Scalar::from_f64(amount))),
        };
        let amount = general(amount, 15);
        Err(Invalid(format!("Invalid {what} configuration {{'{name}': {amount}}}: {why}")))
    };
    sorted(from).map(one).collect()
}

/// A guarantee of nothing is none, but a limit of nothing is one.
fn without_zeros(amounts: Quantities) -> Quantities {
    let some = amounts.iter().filter(|(_, amount)| *amount != Scalar::ZERO);
    some.map(|(name, amount)| (name.clone(), amount)).collect()
}

/// A decoded SET_QUOTA, which sets guarantee and limit to the same.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct SetQuota {
    pub role: Role,
    pub quota: Quota,
    /// Whether the guarantees may exceed the cluster.
    pub force: bool,
}

/// Decodes a request to set a quota. The error is Mesos' whole message.
pub fn request_from_wire(from: QuotaRequest) -> Result<SetQuota, Invalid> {
    let refuse = |why: String| Invalid(format!("Failed to validate set quota request: {why}"));
    resources::validate(&from.guarantee)
        .map_err(|Invalid(why)| refuse(format!("QuotaInfo with invalid resource: {why}")))?;
    let Some(role) = from.role else { return Err(refuse("QuotaInfo must specify a role".to_owned())) };
    let role = Role::parse(&role).map_err(|error| refuse(format!("QuotaInfo with invalid role: {error}")))?;
    if from.guarantee.is_empty() {
        return Err(refuse("QuotaInfo with empty 'guarantee'".to_owned()));
    }
    let mut names = BTreeSet::new();
    for resource in &from.guarantee {
        check_guarantee(resource).map_err(|why| refuse(why.to_owned()))?;
        if !names.insert(resource.name.clone()) {
            let name = &resource.name;
            return Err(refuse(format!("QuotaInfo contains duplicate resource name '{name}'")));
        }
    }
    let amount = |resource: &Resource| resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value);
    let limits: Quantities =
        from.guarantee.iter().map(|r| (r.name.as_str(), Scalar::from_f64(amount(r)))).collect();
    let quota = Quota { guarantees: without_zeros(limits.clone()), limits };
    Ok(SetQuota { role, quota, force: from.force.unwrap_or(false) })
}

#[allow(deprecated)] // deprecated fields are still read
fn check_guarantee(resource: &Resource) -> Result<(), &'static str> {
    let role = resource.role.as_deref().unwrap_or("*");
    if !resource.reservations.is_empty() || resource.reservation.is_some() || role != "*" {
        return Err("QuotaInfo must not contain any ReservationInfo");
    }
    if resource.disk.is_some() {
        return Err("QuotaInfo must not contain DiskInfo");
    }
    if resource.revocable.is_some() {
        return Err("QuotaInfo must not contain RevocableInfo");
    }
    if resource.scalar.is_none() {
        return Err("QuotaInfo must not include non-scalar resources");
    }
    Ok(())
}

/// Encodes a quota.
pub fn config_to_wire(role: &Role, quota: &Quota) -> QuotaConfig {
    let amounts = |of: &Quantities| {
        let one = |(name, amount): (&std::sync::Arc<str>, model::Scalar)| NamedAmount {
            name: name.to_string(),
            amount: value::Scalar { value: amount.as_f64() },
        };
        of.iter().map(one).collect()
    };
    QuotaConfig {
        role: role.to_string(),
        guarantees: amounts(&quota.guarantees),
        limits: amounts(&quota.limits),
    }
}

/// Encodes all quotas.
#[allow(deprecated)] // deprecated fields are still sent
pub fn status_to_wire<'a>(quotas: impl Iterator<Item = (&'a Role, &'a Quota)>) -> QuotaStatus {
    let mut status = QuotaStatus::default();
    for (role, quota) in quotas {
        let guarantee: Resources =
            quota.guarantees.iter().map(|(name, amount)| model::Resource::scalar(name, amount)).collect();
        status.infos.push(QuotaInfo {
            role: Some(role.to_string()),
            principal: None,
            guarantee: resources::to_wire(&guarantee, resources::Format::ENDPOINT),
        });
        status.configs.push(config_to_wire(role, quota));
    }
    status
}
