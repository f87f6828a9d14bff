//! What a framework says of the offers that it wants, role by role: which agents (Mesos `OfferConstraints`), and how small
//! an offer may be (Mesos `OfferFilters.MinAllocatableResources`).

use std::collections::BTreeMap;

use crate::{resources::Scalar, roles::Role};

/// All wishes of a framework. A role without an entry has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OfferWishes {
    /// An agent is offered if it meets all constraints of one group at least; no group is no restriction.
    pub constraints: BTreeMap<Role, Vec<Vec<AttributeConstraint>>>,
    /// An offer holds one of these alternatives at least; no alternative means that any offer will do.
    pub least: BTreeMap<Role, Vec<BTreeMap<String, Scalar>>>,
}

/// One condition on an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeConstraint {
    /// What is looked at.
    pub selector: Selector,
    /// What must hold of it.
    pub predicate: Predicate,
}

/// What a constraint looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The first attribute of this name.
    Attribute(String),
    /// The agent's host name.
    Hostname,
    /// The agent's region.
    Region,
    /// The agent's zone.
    Zone,
}

/// What a constraint asks. Texts are compared with texts: of an attribute of another type each of these holds, so that the
/// framework decides itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Predicate {
    Exists,
    NotExists,
    TextEquals(String),
    TextNotEquals(String),
    /// A regular expression that fits the whole text.
    TextMatches(String),
    TextNotMatches(String),
}
