//! Pod counts per topology domain. For a topology key and a selector, the matching Pods are counted in each domain,
//! that is, on the nodes with the same value of the key.
//!
//! A table is built from all Pods when a rule first needs it, and then updated per Pod. Each table has a change log,
//! from which a class of Pods learns which counts changed while its node ranking stays valid.

use std::{collections::BTreeMap, sync::Arc};

use super::{NodeInfo, change_log::ChangeLog};
use crate::rows::{LabelSelector, Pod};

/// Unused tables that are kept. Rebuilding one costs a scan of all Pods; keeping one costs a selector match for each
/// added or removed Pod.
const UNUSED_TABLES_MAX: usize = 16;

/// Which Pods to count, and by which domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainQuery {
    /// The node label whose values define the domains.
    pub topology_key: Box<str>,
    /// The namespaces of the Pods; empty means all namespaces.
    pub namespaces: Vec<Box<str>>,
    /// The label selector of the Pods.
    pub selector: LabelSelector,
}

impl DomainQuery {
    fn counts(&self, pod: &Pod) -> bool {
        let header = pod.header();
        (self.namespaces.is_empty()
            || self.namespaces.iter().any(|namespace| **namespace == *header.namespace))
            && self.selector.matches(&header.labels)
    }
}

/// The count of one domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DomainCount {
    /// Whether the node is in a domain, that is, has the topology key.
    pub in_domain: bool,
    /// The number of matching Pods in the domain.
    pub pods: u32,
    /// The lowest count of any domain.
    pub fewest: u32,
    /// Whether any domain has a matching Pod.
    pub any: bool,
}

/// Identifies a table; never reused.
pub(super) type TableId = u64;
/// Identifies a domain within its table.
pub(super) type DomainId = usize;

/// All tables of counts.
#[derive(Debug, Default)]
pub struct DomainCounts {
    tables: BTreeMap<TableId, Table>,
    next: TableId,
}

#[derive(Debug)]
struct Table {
    query: Arc<DomainQuery>,
    domain_ids: BTreeMap<Box<str>, DomainId>,
    domains: Vec<Domain>,
    /// The domain of each node, by node index.
    domain_of: Vec<Option<DomainId>>,
    /// The matching Pods of each node, by node index.
    pods_on: Vec<u32>,
    /// The number of domains with nodes, by their count of Pods.
    by_pods: BTreeMap<u32, usize>,
    changes: ChangeLog,
    /// Incremented when `fewest` or `any` changes, which affects all domains.
    aggregate: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Domain {
    nodes: u32,
    pods: u32,
}

impl DomainCounts {
    /// The table of a query. A missing one is built from the nodes' Pods and those placed in the present cycle.
    pub(super) fn table(
        &mut self,
        query: &DomainQuery,
        nodes: &[NodeInfo],
        placed: &[(usize, Arc<Pod>)],
    ) -> TableId {
        if let Some((id, _)) = self.tables.iter().find(|(_, table)| *table.query == *query) {
            return *id;
        }
        self.next += 1;
        let mut table = Table::of(query, nodes);
        placed.iter().filter(|(_, pod)| query.counts(pod)).for_each(|(node, _)| table.add(*node, 1));
        self.tables.insert(self.next, table);
        self.next
    }

    /// The domain of a node.
    pub(super) fn domain_of(&self, table: TableId, node: usize) -> Option<DomainId> {
        self.tables.get(&table)?.domain_of.get(node).copied().flatten()
    }

    /// The count of a domain; zero for a node without the key.
    pub(super) fn count(&self, table: TableId, domain: Option<DomainId>) -> DomainCount {
        let Some(table) = self.tables.get(&table) else {
            return DomainCount { in_domain: false, pods: 0, fewest: 0, any: false };
        };
        let (fewest, any) = table.aggregates();
        let pods = domain.map_or(0, |domain| table.domains[domain].pods);
        DomainCount { in_domain: domain.is_some(), pods, fewest, any }
    }

    /// The domains whose count changed after the first `seen` changes; `None` if the log does not reach back.
    pub(super) fn since(&self, table: TableId, seen: usize) -> Option<impl Iterator<Item = DomainId>> {
        self.tables.get(&table)?.changes.since(seen)
    }

    /// The number of count changes and of aggregate changes so far.
    pub(super) fn end(&self, table: TableId) -> (usize, u64) {
        self.tables.get(&table).map_or((0, 0), |table| (table.changes.end(), table.aggregate))
    }

    /// Counts a Pod that was placed on a node.
    pub(super) fn add_pod(&mut self, node: usize, pod: &Pod) {
        for table in self.tables.values_mut().filter(|table| table.query.counts(pod)) {
            table.add(node, 1);
        }
    }

    /// Stops counting a Pod that left a node.
    pub(super) fn remove_pod(&mut self, node: usize, pod: &Pod) {
        for table in self.tables.values_mut().filter(|table| table.query.counts(pod)) {
            table.add(node, -1);
        }
    }

    /// Updates the domains after a change of a Node's labels.
    pub(super) fn node_changed(&mut self, at: usize, node: &NodeInfo) {
        for table in self.tables.values_mut() {
            table.take_node_out(at);
            table.put_node_in(at, node);
        }
    }

    /// Drops unused tables beyond [`UNUSED_TABLES_MAX`].
    pub(super) fn drop_unused(&mut self, used: impl Fn(TableId) -> bool) {
        if self.tables.keys().filter(|id| !used(**id)).count() > UNUSED_TABLES_MAX {
            self.tables.retain(|id, _| used(*id));
        }
    }

    /// Drops all tables, because node indices have changed.
    pub(super) fn clear(&mut self) {
        self.tables.clear();
    }
}

impl Table {
    fn of(query: &DomainQuery, nodes: &[NodeInfo]) -> Table {
        let mut table = Table {
            query: Arc::new(query.clone()),
            domain_ids: BTreeMap::new(),
            domains: Vec::new(),
            domain_of: Vec::with_capacity(nodes.len()),
            pods_on: Vec::with_capacity(nodes.len()),
            by_pods: BTreeMap::new(),
            changes: ChangeLog::default(),
            aggregate: 0,
        };
        nodes.iter().enumerate().for_each(|(at, node)| table.put_node_in(at, node));
        table
    }

    /// The lowest count of a domain, and whether any domain has a Pod.
    fn aggregates(&self) -> (u32, bool) {
        let fewest = self.by_pods.first_key_value().map_or(0, |(pods, _)| *pods);
        let most = self.by_pods.last_key_value().map_or(0, |(pods, _)| *pods);
        (fewest, most > 0)
    }

    fn put_node_in(&mut self, at: usize, node: &NodeInfo) {
        let pods = node.pods().iter().filter(|pod| self.query.counts(pod)).count();
        let pods = u32::try_from(pods).unwrap_or(u32::MAX);
        if self.domain_of.len() <= at {
            self.domain_of.resize(at + 1, None);
            self.pods_on.resize(at + 1, 0);
        }
        self.pods_on[at] = pods;
        let value = node.node.header().labels.get(&*self.query.topology_key);
        self.domain_of[at] = value.map(|value| match self.domain_ids.get(value.as_str()) {
            Some(id) => *id,
            None => {
                self.domains.push(Domain::default());
                self.domain_ids.insert(value.as_str().into(), self.domains.len() - 1);
                self.domains.len() - 1
            }
        });
        if let Some(domain) = self.domain_of[at] {
            self.change(domain, |domain| {
                domain.nodes += 1;
                domain.pods += pods;
            });
        }
    }

    fn take_node_out(&mut self, at: usize) {
        let Some(domain) = self.domain_of.get(at).copied().flatten() else { return };
        let pods = self.pods_on[at];
        self.domain_of[at] = None;
        self.change(domain, |domain| {
            domain.nodes -= 1;
            domain.pods -= pods;
        });
    }

    fn add(&mut self, node: usize, pods: i32) {
        let Some(on_node) = self.pods_on.get_mut(node) else { return };
        *on_node = on_node.saturating_add_signed(pods);
        if let Some(domain) = self.domain_of[node] {
            self.change(domain, |domain| domain.pods = domain.pods.saturating_add_signed(pods));
        }
    }

    fn change(&mut self, id: DomainId, change: impl FnOnce(&mut Domain)) {
        let aggregates = self.aggregates();
        let before = self.domains[id];
        change(&mut self.domains[id]);
        let now = self.domains[id];
        if before.nodes > 0
            && let Some(domains) = self.by_pods.get_mut(&before.pods)
        {
            *domains -= 1;
            if *domains == 0 {
                self.by_pods.remove(&before.pods);
            }
        }
        if now.nodes > 0 {
            *self.by_pods.entry(now.pods).or_default() += 1;
        }
        self.changes.note(id);
        self.changes.limit_to(2 * self.domains.len());
        self.aggregate += u64::from(self.aggregates() != aggregates);
    }
}

#[cfg(test)]
#[path = "domain_counts/tests.rs"]
mod tests;
