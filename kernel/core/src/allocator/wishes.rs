//! Which offers a client wants, ready to be asked for every agent: constraints with their expressions compiled, and the
//! least that an offer must hold.

use std::{collections::BTreeMap, sync::Arc};

use kernel_model::{
    offer_wishes::{AttributeConstraint, OfferWishes, Predicate, Selector},
    resources::{Attribute, AttributeValue, Resources, Scalar},
    roles::Role,
};
use regex::{Regex, RegexBuilder};

/// What a compiled expression may take. Mesos allows RE2 programs of 100 instructions; this is some times more, and small
/// beside the agents that it is asked of.
const REGEX_BYTES_MAX: usize = 64 * 1024;

/// What distinguishes an agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Place {
    pub(super) hostname: String,
    pub(super) attributes: Vec<Attribute>,
}

/// The wishes of one framework, by role.
#[derive(Debug, Clone, Default)]
pub struct CompiledWishes {
    constraints: BTreeMap<Role, Arc<[Vec<Constraint>]>>,
    least: BTreeMap<Role, Arc<[BTreeMap<String, Scalar>]>>,
}

/// What one client, a framework in a role, wants.
#[derive(Debug, Clone, Default)]
pub struct ClientWishes {
    /// `None` for no restriction.
    constraints: Option<Arc<[Vec<Constraint>]>>,
    /// `None` for the pool's own rule.
    least: Option<Arc<[BTreeMap<String, Scalar>]>>,
}

#[derive(Debug)]
struct Constraint {
    selector: Selector,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Exists,
    NotExists,
    Equals(String),
    NotEquals(String),
    Matches(Regex),
    NotMatches(Regex),
}

impl CompiledWishes {
    /// The error is a sentence for the framework.
    pub fn new(wishes: &OfferWishes) -> Result<Self, String> {
        let mut constraints = BTreeMap::new();
        for (role, groups) in wishes.constraints.iter().filter(|(_, groups)| !groups.is_empty()) {
            let group = |group: &Vec<AttributeConstraint>| group.iter().map(compile).collect();
            let compiled: Result<Vec<Vec<Constraint>>, String> = groups.iter().map(group).collect();
            let compiled = compiled
                .map_err(|why| format!("Offer constraints for role '{role}' are not valid: {why}"))?;
            constraints.insert(role.clone(), compiled.into());
        }
        let least = wishes.least.iter().map(|(role, least)| (role.clone(), least.clone().into()));
        Ok(Self { constraints, least: least.collect() })
    }

    /// The wishes in one role.
    pub fn of(&self, role: &Role) -> ClientWishes {
        ClientWishes {
            constraints: self.constraints.get(role).cloned(),
            least: self.least.get(role).cloned(),
        }
    }
}

fn compile(from: &AttributeConstraint) -> Result<Constraint, String> {
    Ok(Constraint {
        selector: from.selector.clone(),
        test: match &from.predicate {
            Predicate::Exists => Test::Exists,
            Predicate::NotExists => Test::NotExists,
            Predicate::TextEquals(text) => Test::Equals(text.clone()),
            Predicate::TextNotEquals(text) => Test::NotEquals(text.clone()),
            Predicate::TextMatches(pattern) => Test::Matches(expression(pattern)?),
            Predicate::TextNotMatches(pattern) => Test::NotMatches(expression(pattern)?),
        },
    })
}

/// An expression that fits whole texts.
fn expression(pattern: &str) -> Result<Regex, String> {
    let refuse = |why: String| format!("Failed to construct regex from pattern '{pattern}': {why}");
    // Alone first, so that nothing can close the brackets that are put around it.
    let built = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build();
    built(pattern).map_err(|error| refuse(error.to_string()))?;
    built(&format!(r"\A(?:{pattern})\z")).map_err(|error| refuse(error.to_string()))
}

impl ClientWishes {
    /// Whether an offer may hold less than the pool's own rule asks.
    pub(super) fn has_own_least(&self) -> bool {
        self.least.is_some()
    }

    /// Whether this differs from having no wishes.
    pub(super) fn is_any(&self) -> bool {
        self.constraints.is_some() || self.least.is_some()
    }

    /// Whether the agent may be offered.
    pub(super) fn admit(&self, place: &Place) -> bool {
        let Some(groups) = &self.constraints else { return true };
        groups.iter().any(|group| group.iter().all(|constraint| constraint.holds(place)))
    }

    /// Whether an offer is large enough; `usual` is the pool's own verdict.
    pub(super) fn large_enough(&self, offer: &Resources, usual: bool) -> bool {
        match self.least.as_deref() {
            None => usual,
            Some([]) => !offer.is_empty(),
            Some(alternatives) => alternatives
                .iter()
                .any(|least| least.iter().all(|(name, amount)| offer.scalar(name) >= *amount)),
        }
    }
}

impl Constraint {
    fn holds(&self, place: &Place) -> bool {
        match &self.selector {
            Selector::Attribute(name) => {
                match place.attributes.iter().find(|a| a.name == *name).map(|a| &a.value) {
                    Some(AttributeValue::Text(text)) => self.test.of_text(Some(text)),
                    Some(_) => !matches!(self.test, Test::NotExists),
                    None => self.test.of_text(None),
                }
            }
            Selector::Hostname => self.test.of_text(Some(&place.hostname)),
            // Agents of this version have no fault domain.
            Selector::Region | Selector::Zone => self.test.of_text(None),
        }
    }
}

impl Test {
    fn of_text(&self, text: Option<&str>) -> bool {
        match (self, text) {
            (Test::Exists, text) => text.is_some(),
            (Test::NotExists, text) => text.is_none(),
            (Test::Equals(wanted), text) => text == Some(wanted),
            (Test::NotEquals(wanted), text) => text != Some(wanted),
            (Test::Matches(wanted), text) => text.is_some_and(|text| wanted.is_match(text)),
            (Test::NotMatches(wanted), text) => text.is_none_or(|text| !wanted.is_match(text)),
        }
    }
}
