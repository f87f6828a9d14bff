//! The node ranking of a class to which domain rules apply.
//!
//! Nodes that are in the same domains for all queries of the class form a group. Within a group nodes are ranked by
//! their own scores, because the domain rules' verdict is the same for all of them. A second heap ranks the groups,
//! one entry each. So a changed count moves whole groups, and scheduling a Pod takes a few heap operations regardless
//! of the number of nodes and domains. A change that affects all domains, such as the lowest count, re-evaluates all
//! groups. The lowest of n counts grows once per n Pods, so this amortizes to one step per Pod.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use super::{
    DomainCount, DomainCounts,
    change_log::ChangeLog,
    domain_counts::{DomainId, TableId},
    score_cache::Candidate,
};

/// Evaluates the domain rules for a combination of domains: their score, or `None` if one refuses.
pub(super) type DomainVerdict<'a> = dyn Fn(&[DomainCount]) -> Option<i64> + 'a;

/// Outdated entries in `best` before it is rebuilt.
const BEST_SLACK: usize = 64;

/// The nodes of a class, by group.
#[derive(Debug)]
pub(super) struct DomainRanking {
    /// The table of each query of the class.
    pub tables: Vec<TableId>,
    /// How far the change log of each table has been read.
    seen: Vec<(usize, u64)>,
    groups: Vec<Group>,
    group_ids: BTreeMap<Vec<Option<DomainId>>, usize>,
    /// The groups of each domain, by query and domain.
    groups_in: BTreeMap<(usize, DomainId), Vec<usize>>,
    /// The best node of each group. Entries with an old stamp are outdated.
    best: BinaryHeap<BestOfGroup>,
    /// Groups whose entry in `best` is outdated.
    dirty: BTreeSet<usize>,
    nodes: usize,
}

#[derive(Debug)]
struct Group {
    domains: Vec<Option<DomainId>>,
    nodes: BinaryHeap<Candidate>,
    stamp: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BestOfGroup {
    score: i64,
    first: Reverse<usize>,
    group: usize,
    stamp: u64,
}

impl DomainRanking {
    pub fn new(tables: Vec<TableId>) -> DomainRanking {
        DomainRanking {
            seen: vec![(0, 0); tables.len()],
            tables,
            groups: Vec::new(),
            group_ids: BTreeMap::new(),
            groups_in: BTreeMap::new(),
            best: BinaryHeap::new(),
            dirty: BTreeSet::new(),
            nodes: 0,
        }
    }

    /// Removes all nodes.
    pub fn clear(&mut self) {
        *self = DomainRanking::new(std::mem::take(&mut self.tables));
    }

    /// The number of entries, including outdated ones.
    pub fn len(&self) -> usize {
        self.nodes
    }

    /// Adds a node with its present score.
    pub fn push(&mut self, candidate: Candidate, counts: &DomainCounts) {
        let domains: Vec<_> =
            self.tables.iter().map(|table| counts.domain_of(*table, candidate.first.0)).collect();
        let group = match self.group_ids.get(&domains) {
            Some(group) => *group,
            None => self.add_group(domains),
        };
        self.groups[group].nodes.push(candidate);
        self.nodes += 1;
        self.dirty.insert(group);
    }

    fn add_group(&mut self, domains: Vec<Option<DomainId>>) -> usize {
        let group = self.groups.len();
        for (query, domain) in domains.iter().enumerate() {
            if let Some(domain) = domain {
                self.groups_in.entry((query, *domain)).or_default().push(group);
            }
        }
        self.group_ids.insert(domains.clone(), group);
        self.groups.push(Group { domains, nodes: BinaryHeap::new(), stamp: 0 });
        group
    }

    /// Takes the best node that the rules allow.
    pub fn pop(
        &mut self,
        changes: &ChangeLog,
        counts: &DomainCounts,
        verdict: &DomainVerdict<'_>,
    ) -> Option<Candidate> {
        self.note_changed_counts(counts);
        if self.best.len() > 2 * self.groups.len() + BEST_SLACK {
            self.best.clear();
            self.dirty.extend(0..self.groups.len());
        }
        loop {
            for group in std::mem::take(&mut self.dirty) {
                self.rank_group(group, changes, counts, verdict);
            }
            let best = self.best.pop()?;
            let group = &mut self.groups[best.group];
            if group.stamp != best.stamp {
                continue;
            }
            self.dirty.insert(best.group);
            let Some(top) = group.nodes.pop() else { continue };
            self.nodes -= 1;
            if top.as_of == changes.last_of(top.first.0) {
                return Some(top);
            }
        }
    }

    fn note_changed_counts(&mut self, counts: &DomainCounts) {
        for (query, table) in self.tables.iter().enumerate() {
            let end = counts.end(*table);
            let seen = std::mem::replace(&mut self.seen[query], end);
            let changed = counts.since(*table, seen.0).filter(|_| seen.1 == end.1);
            match changed {
                None => self.dirty.extend(0..self.groups.len()),
                Some(domains) => {
                    let groups_in = &self.groups_in;
                    let groups = domains.filter_map(|domain| groups_in.get(&(query, domain))).flatten();
                    self.dirty.extend(groups.copied());
                }
            }
        }
    }

    /// Updates a group's entry in `best`.
    fn rank_group(
        &mut self,
        at: usize,
        changes: &ChangeLog,
        counts: &DomainCounts,
        verdict: &DomainVerdict<'_>,
    ) {
        let group = &mut self.groups[at];
        group.stamp += 1;
        while let Some(top) = group.nodes.peek()
            && top.as_of != changes.last_of(top.first.0)
        {
            group.nodes.pop();
            self.nodes -= 1;
        }
        let Some(top) = group.nodes.peek() else { return };
        let domains = self.tables.iter().zip(&group.domains);
        let found: Vec<DomainCount> = domains.map(|(table, domain)| counts.count(*table, *domain)).collect();
        if let Some(score) = verdict(&found) {
            let (score, first) = (top.score + score, top.first);
            self.best.push(BestOfGroup { score, first, group: at, stamp: group.stamp });
        }
    }
}
