//! Converts offer preferences from and to `mesos.v1.scheduler.OfferConstraints` and `mesos.v1.OfferFilters`.

use std::collections::BTreeMap;

use kernel_model::{
    offer_preferences::{AttributeConstraint, OfferPreferences, Predicate, Selector},
    resources::Scalar,
    roles::Role,
};

use crate::{
    Invalid,
    link_proto::NamedAmount,
    resources,
    v1::{
        OfferFilters,
        offer_filters::ResourceQuantities,
        scheduler::{
            self as wire, OfferConstraints,
            attribute_constraint::{self, predicate, selector},
            offer_constraints::{RoleConstraints, role_constraints::Group},
        },
    },
};

/// The constraints of each role, in groups.
type Constraints = BTreeMap<Role, Vec<Vec<AttributeConstraint>>>;

/// Decodes the constraints, which may be of these roles only. The error is the message for the framework.
pub fn constraints_from_wire(
    from: Option<OfferConstraints>,
    roles: &BTreeMap<&str, &Role>,
) -> Result<Constraints, Invalid> {
    let from: BTreeMap<_, _> = from.unwrap_or_default().role_constraints.into_iter().collect();
    if let Some(name) = from.keys().find(|name| !roles.contains_key(name.as_str())) {
        // A space is missing in Mesos' message.
        return Err(Invalid::new(format!(
            "Offer constraints specify `role_constraints` for a role '{name}'not contained in the set of roles"
        )));
    }
    let mut constraints = Constraints::new();
    for (name, of_role) in from {
        if of_role.groups.is_empty() {
            return Err(invalid(format!(
                "'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role {name}"
            )));
        }
        let group = |group: Group| group_from_wire(group, &name);
        let groups = of_role.groups.into_iter().map(group).collect::<Result<_, _>>()?;
        if let Some(role) = roles.get(name.as_str()) {
            constraints.insert(Role::clone(role), groups);
        }
    }
    Ok(constraints)
}

/// Decodes the offer filters of a framework. The error is the message for the framework.
pub fn min_allocatable_from_wire(
    filters: &std::collections::HashMap<String, OfferFilters>,
) -> Result<BTreeMap<Role, Vec<BTreeMap<String, Scalar>>>, Invalid> {
    let mut all = BTreeMap::new();
    let filters: BTreeMap<_, _> = filters.iter().collect();
    for (role, from) in filters {
        if let Some(min_allocatable) = &from.min_allocatable_resources {
            let quantities = min_allocatable.quantities.iter().map(quantities_from_wire);
            all.insert(resources::role(role)?, quantities.collect::<Result<_, _>>()?);
        }
    }
    Ok(all)
}

fn invalid(why: String) -> Invalid {
    Invalid::new(format!("Offer constraints are not valid: {why}"))
}

fn group_from_wire(from: Group, role: &str) -> Result<Vec<AttributeConstraint>, Invalid> {
    if from.attribute_constraints.is_empty() {
        // A space is missing in Mesos' message.
        return Err(invalid(format!(
            "'OfferConstraints::RoleConstraints::groups' for role {role}contains an empty RoleConstraints::Group"
        )));
    }
    let one = |from| {
        constraint_from_wire(from)
            .map_err(|why| invalid(format!("A role {role} has an invalid 'AttributeConstraint': {why}")))
    };
    from.attribute_constraints.into_iter().map(one).collect()
}

/// Decodes a constraint. The error is the reason.
fn constraint_from_wire(from: wire::AttributeConstraint) -> Result<AttributeConstraint, &'static str> {
    use attribute_constraint::selector::PseudoattributeType as Pseudo;
    let selector = match from.selector.selector {
        Some(selector::Selector::AttributeName(name)) => Selector::Attribute(name),
        Some(selector::Selector::PseudoattributeType(number)) => match Pseudo::try_from(number) {
            Ok(Pseudo::Hostname) => Selector::Hostname,
            Ok(Pseudo::Region) => Selector::Region,
            Ok(Pseudo::Zone) => Selector::Zone,
            _ => return Err("Unknown pseudoattribute type"),
        },
        None => {
            return Err("Exactly one of 'AttributeConstraint::Selector::name' or \
                 'AttributeConstraint::Selector::pseudoattribute_type' must be set");
        }
    };
    let predicate = match from.predicate.predicate {
        Some(predicate::Predicate::Exists(_)) => Predicate::Exists,
        Some(predicate::Predicate::NotExists(_)) => Predicate::NotExists,
        Some(predicate::Predicate::TextEquals(p)) => Predicate::TextEquals(p.value),
        Some(predicate::Predicate::TextNotEquals(p)) => Predicate::TextNotEquals(p.value),
        Some(predicate::Predicate::TextMatches(p)) => Predicate::TextMatches(p.regex),
        Some(predicate::Predicate::TextNotMatches(p)) => Predicate::TextNotMatches(p.regex),
        None => return Err("Unknown predicate type"),
    };
    Ok(AttributeConstraint { selector, predicate })
}

fn quantities_from_wire(from: &ResourceQuantities) -> Result<BTreeMap<String, Scalar>, Invalid> {
    let one = |NamedAmount { name, amount }: &NamedAmount| {
        let wrong = |why: &str| Invalid::new(format!("Invalid resource quantity for '{name}': {why}"));
        let amount = amount.value;
        if amount.is_infinite() {
            return Err(wrong("Infinite values not supported"));
        }
        if amount.is_nan() {
            return Err(wrong("NaN not supported"));
        }
        if amount.is_subnormal() {
            return Err(wrong("Subnormal values not supported"));
        }
        if amount < 0.0 {
            return Err(wrong("Negative values not supported"));
        }
        Ok((name.clone(), Scalar::from_f64(amount)))
    };
    if from.quantities.is_empty() {
        return Err(Invalid::new("Resource quantities must contain at least one quantity"));
    }
    from.quantities.iter().map(one).collect()
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
