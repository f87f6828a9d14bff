//! Which offers a framework accepts, by role: constraints on agents (Mesos `OfferConstraints`) and the minimum size of
//! an offer (Mesos `OfferFilters.MinAllocatableResources`).

use std::collections::BTreeMap;

use crate::{resources::Scalar, roles::Role};

/// The offer preferences of a framework. A role without an entry has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OfferPreferences {
    /// An agent matches if it meets all constraints of at least one group. Without groups every agent matches.
    pub constraints: BTreeMap<Role, Vec<Vec<AttributeConstraint>>>,
    /// An offer must contain at least one of these quantities. An empty list means that any offer is large enough.
    pub min_allocatable: BTreeMap<Role, Vec<BTreeMap<String, Scalar>>>,
}

/// A constraint on an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AttributeConstraint {
    pub selector: Selector,
    pub predicate: Predicate,
}

/// The agent property that a constraint selects.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Selector {
    /// The first attribute with this name.
    Attribute(String),
    Hostname,
    /// The region of the agent's fault domain.
    Region,
    /// The zone of the agent's fault domain.
    Zone,
}

/// The condition of a constraint. It compares texts: for an attribute of another type every condition except
/// `NotExists` holds, and the framework decides itself (as in Mesos).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Predicate {
    Exists,
    NotExists,
    TextEquals(String),
    TextNotEquals(String),
    /// A regular expression that matches the whole text.
    TextMatches(String),
    TextNotMatches(String),
}
