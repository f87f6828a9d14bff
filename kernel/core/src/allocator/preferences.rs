//! Offer preferences, compiled so that they can be evaluated for every agent: constraints with compiled regular
//! expressions, and the minimum size of offers.

use std::{collections::BTreeMap, sync::Arc};

use kernel_model::{
    offer_preferences::{AttributeConstraint, OfferPreferences, Predicate, Selector},
    resources::{Attribute, AttributeValue, Resources, Scalar},
    roles::Role,
};
use regex::{Regex, RegexBuilder};

/// The size limit of a compiled expression. Mesos limits RE2 programs to 100 instructions; this is several times more,
/// and small compared with the agents that it is matched against.
const REGEX_BYTES_MAX: usize = 64 * 1024;

/// How many expressions a framework may have. Each takes up to a millisecond to compile, in which the master does nothing else.
const REGEXES_MAX: usize = 128;

/// The properties of an agent that constraints select.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct AgentProperties {
    pub(super) hostname: String,
    pub(super) attributes: Vec<Attribute>,
}

/// The preferences of a framework, by role.
#[derive(Debug, Clone, Default)]
pub struct CompiledPreferences {
    constraints: BTreeMap<Role, Arc<[Vec<Constraint>]>>,
    min_allocatable: BTreeMap<Role, Arc<[BTreeMap<String, Scalar>]>>,
}

/// The preferences of one client.
#[derive(Debug, Clone, Default)]
pub struct ClientPreferences {
    /// `None` if every agent matches.
    constraints: Option<Arc<[Vec<Constraint>]>>,
    /// `None` for the allocator's default minimum.
    min_allocatable: Option<Arc<[BTreeMap<String, Scalar>]>>,
}

#[derive(Debug)]
struct Constraint {
    selector: Selector,
    test: CompiledPredicate,
}

#[derive(Debug)]
enum CompiledPredicate {
    Exists,
    NotExists,
    Equals(String),
    NotEquals(String),
    Matches(Regex),
    NotMatches(Regex),
}

impl CompiledPreferences {
    /// Compiles the expressions. The error is the message for the framework.
    pub fn new(preferences: &OfferPreferences) -> Result<Self, String> {
        let all = preferences.constraints.values().flatten().flatten();
        let is_regex = |from: &&AttributeConstraint| {
            matches!(from.predicate, Predicate::TextMatches(_) | Predicate::TextNotMatches(_))
        };
        let regexes = all.filter(is_regex).count();
        if regexes > REGEXES_MAX {
            return Err(format!(
                "Offer constraints are not valid: {regexes} regexes are more than {REGEXES_MAX}"
            ));
        }
        let mut constraints = BTreeMap::new();
        for (role, groups) in preferences.constraints.iter().filter(|(_, groups)| !groups.is_empty()) {
            let group = |group: &Vec<AttributeConstraint>| group.iter().map(compile).collect();
            let compiled: Result<Vec<Vec<Constraint>>, String> = groups.iter().map(group).collect();
            let compiled = compiled
                .map_err(|why| {
                    format!("Offer constraints are not valid: A role {role} has an invalid 'AttributeConstraint': {why}")
                })?;
            constraints.insert(role.clone(), compiled.into());
        }
        let min_allocatable = preferences
            .min_allocatable
            .iter()
            .map(|(role, min_allocatable)| (role.clone(), min_allocatable.clone().into()));
        Ok(Self { constraints, min_allocatable: min_allocatable.collect() })
    }

    /// The preferences in one role.
    pub fn of(&self, role: &Role) -> ClientPreferences {
        ClientPreferences {
            constraints: self.constraints.get(role).cloned(),
            min_allocatable: self.min_allocatable.get(role).cloned(),
        }
    }
}

fn compile(from: &AttributeConstraint) -> Result<Constraint, String> {
    Ok(Constraint {
        selector: from.selector.clone(),
        test: match &from.predicate {
            Predicate::Exists => CompiledPredicate::Exists,
            Predicate::NotExists => CompiledPredicate::NotExists,
            Predicate::TextEquals(text) => CompiledPredicate::Equals(text.clone()),
            Predicate::TextNotEquals(text) => CompiledPredicate::NotEquals(text.clone()),
            Predicate::TextMatches(pattern) => CompiledPredicate::Matches(expression(pattern)?),
            Predicate::TextNotMatches(pattern) => CompiledPredicate::NotMatches(expression(pattern)?),
        },
    })
}

/// Compiles an expression that matches whole texts.
fn expression(pattern: &str) -> Result<Regex, String> {
    let refuse = |why: String| format!("Failed to construct regex from pattern '{pattern}': {why}");
    // The pattern is parsed alone first, so that it cannot close the group that is put around it.
    regex_syntax::Parser::new().parse(pattern).map_err(|error| refuse(error.to_string()))?;
    let built = RegexBuilder::new(&format!(r"\A(?:{pattern})\z")).size_limit(REGEX_BYTES_MAX).build();
    built.map_err(|error| refuse(error.to_string()))
}

impl ClientPreferences {
    /// Whether the client has its own minimum size of offers.
    pub(super) fn has_min_allocatable(&self) -> bool {
        self.min_allocatable.is_some()
    }

    /// Whether there is any preference.
    pub(super) fn is_restricted(&self) -> bool {
        self.constraints.is_some() || self.min_allocatable.is_some()
    }

    /// Whether the agent meets the constraints.
    pub(super) fn admit(&self, properties: &AgentProperties) -> bool {
        let Some(groups) = &self.constraints else { return true };
        groups.iter().any(|group| group.iter().all(|constraint| constraint.holds(properties)))
    }

    /// Whether an offer is large enough; `default` is the result of the allocator's default minimum.
    pub(super) fn meets_minimum(&self, offer: &Resources, default: bool) -> bool {
        match self.min_allocatable.as_deref() {
            None => default,
            Some([]) => !offer.is_empty(),
            Some(alternatives) => alternatives.iter().any(|min_allocatable| {
                min_allocatable.iter().all(|(name, amount)| offer.scalar(name) >= *amount)
            }),
        }
    }
}

impl Constraint {
    fn holds(&self, properties: &AgentProperties) -> bool {
        match &self.selector {
            Selector::Attribute(name) => {
                match properties.attributes.iter().find(|a| a.name == *name).map(|a| &a.value) {
                    Some(AttributeValue::Text(text)) => self.test.of_text(Some(text)),
                    Some(_) => !matches!(self.test, CompiledPredicate::NotExists),
                    None => self.test.of_text(None),
                }
            }
            Selector::Hostname => self.test.of_text(Some(&properties.hostname)),
            // Agents have no fault domain yet.
            Selector::Region | Selector::Zone => self.test.of_text(None),
        }
    }
}

impl CompiledPredicate {
    fn of_text(&self, text: Option<&str>) -> bool {
        match (self, text) {
            (CompiledPredicate::Exists, text) => text.is_some(),
            (CompiledPredicate::NotExists, text) => text.is_none(),
            (CompiledPredicate::Equals(wanted), text) => text == Some(wanted),
            (CompiledPredicate::NotEquals(wanted), text) => text != Some(wanted),
            (CompiledPredicate::Matches(wanted), text) => text.is_some_and(|text| wanted.is_match(text)),
            (CompiledPredicate::NotMatches(wanted), text) => text.is_none_or(|text| !wanted.is_match(text)),
        }
    }
}
