//! Converts offer preferences from and to `mesos.v1.scheduler.OfferConstraints` and `mesos.v1.OfferFilters`.

use std::collections::BTreeMap;

use kernel_model::{
    offer_preferences::{AttributeConstraint, OfferPreferences, Predicate, Selector},
    resources::Scalar,
    roles::Role,
};

use crate::{
    Invalid, resources,
    v1::{
        self, OfferFilters,
        offer_filters::{MinAllocatableResources, ResourceQuantities},
        scheduler::{
            self as wire, OfferConstraints,
            attribute_constraint::{self, predicate, selector},
            offer_constraints::{RoleConstraints, role_constraints::Group},
        },
    },
};

/// Decodes both. The error is the message for the framework.
pub fn from_wire(
    constraints: Option<OfferConstraints>,
    filters: &std::collections::HashMap<String, OfferFilters>,
) -> Result<OfferPreferences, Invalid> {
    let mut preferences = OfferPreferences::default();
    for (role, from) in constraints.unwrap_or_default().role_constraints {
        let groups = from.groups.into_iter().map(group_from_wire).collect::<Result<_, _>>()?;
        preferences.constraints.insert(resources::role(&role)?, groups);
    }
    for (role, from) in filters {
        if let Some(min_allocatable) = &from.min_allocatable_resources {
            preferences
                .min_allocatable
                .insert(resources::role(role)?, min_allocatable_from_wire(role, min_allocatable)?);
        }
    }
    Ok(preferences)
}

fn group_from_wire(from: Group) -> Result<Vec<AttributeConstraint>, Invalid> {
    from.attribute_constraints.into_iter().map(constraint_from_wire).collect()
}

fn constraint_from_wire(from: wire::AttributeConstraint) -> Result<AttributeConstraint, Invalid> {
    use attribute_constraint::selector::PseudoattributeType as Pseudo;
    let selector = match from.selector.selector {
        Some(selector::Selector::AttributeName(name)) => Selector::Attribute(name),
        Some(selector::Selector::PseudoattributeType(number)) => match Pseudo::try_from(number) {
            Ok(Pseudo::Hostname) => Selector::Hostname,
            Ok(Pseudo::Region) => Selector::Region,
            Ok(Pseudo::Zone) => Selector::Zone,
            _ => return Err(Invalid::new("Offer constraints are not valid: Unknown pseudoattribute type")),
        },
        None => return Err(Invalid::new("Offer constraints are not valid: a selector selects nothing")),
    };
    let predicate = match from.predicate.predicate {
        Some(predicate::Predicate::Exists(_)) => Predicate::Exists,
        Some(predicate::Predicate::NotExists(_)) => Predicate::NotExists,
        Some(predicate::Predicate::TextEquals(p)) => Predicate::TextEquals(p.value),
        Some(predicate::Predicate::TextNotEquals(p)) => Predicate::TextNotEquals(p.value),
        Some(predicate::Predicate::TextMatches(p)) => Predicate::TextMatches(p.regex),
        Some(predicate::Predicate::TextNotMatches(p)) => Predicate::TextNotMatches(p.regex),
        None => return Err(Invalid::new("Offer constraints are not valid: Unknown predicate type")),
    };
    Ok(AttributeConstraint { selector, predicate })
}

fn min_allocatable_from_wire(
    role: &str,
    from: &MinAllocatableResources,
) -> Result<Vec<BTreeMap<String, Scalar>>, Invalid> {
    let quantities = |from: &ResourceQuantities| {
        let one = |(name, amount): (&String, &v1::value::Scalar)| {
            let amount = resources::scalar_from_wire(amount.value).ok_or_else(|| {
                Invalid::new(format!(
                    "Offer filters for role '{role}' are not valid: '{}' of '{name}' is not a quantity",
                    amount.value
                ))
            })?;
            Ok((name.clone(), amount))
        };
        if from.quantities.is_empty() {
            let text = format!("Offer filters for role '{role}' are not valid: quantities must not be empty");
            return Err(Invalid::new(text));
        }
        from.quantities.iter().map(one).collect()
    };
    from.quantities.iter().map(quantities).collect()
}

/// Encodes the constraints; `None` if there are none.
pub fn constraints_to_wire(from: &OfferPreferences) -> Option<OfferConstraints> {
    if from.constraints.is_empty() {
        return None;
    }
    let role = |(role, groups): (&Role, &Vec<Vec<AttributeConstraint>>)| {
        let group = |group: &Vec<AttributeConstraint>| Group {
            attribute_constraints: group.iter().map(constraint_to_wire).collect(),
        };
        (role.to_string(), RoleConstraints { groups: groups.iter().map(group).collect() })
    };
    Some(OfferConstraints { role_constraints: from.constraints.iter().map(role).collect() })
}

fn constraint_to_wire(from: &AttributeConstraint) -> wire::AttributeConstraint {
    use attribute_constraint::selector::PseudoattributeType as Pseudo;
    let pseudo = |kind: Pseudo| selector::Selector::PseudoattributeType(kind as i32);
    let selector = match &from.selector {
        Selector::Attribute(name) => selector::Selector::AttributeName(name.clone()),
        Selector::Hostname => pseudo(Pseudo::Hostname),
        Selector::Region => pseudo(Pseudo::Region),
        Selector::Zone => pseudo(Pseudo::Zone),
    };
    let predicate = match &from.predicate {
        Predicate::Exists => predicate::Predicate::Exists(predicate::Exists {}),
        Predicate::NotExists => predicate::Predicate::NotExists(predicate::NotExists {}),
        Predicate::TextEquals(text) => {
            predicate::Predicate::TextEquals(predicate::TextEquals { value: text.clone() })
        }
        Predicate::TextNotEquals(text) => {
            predicate::Predicate::TextNotEquals(predicate::TextNotEquals { value: text.clone() })
        }
        Predicate::TextMatches(text) => {
            predicate::Predicate::TextMatches(predicate::TextMatches { regex: text.clone() })
        }
        Predicate::TextNotMatches(text) => {
            predicate::Predicate::TextNotMatches(predicate::TextNotMatches { regex: text.clone() })
        }
    };
    wire::AttributeConstraint {
        selector: attribute_constraint::Selector { selector: Some(selector) },
        predicate: attribute_constraint::Predicate { predicate: Some(predicate) },
    }
}
