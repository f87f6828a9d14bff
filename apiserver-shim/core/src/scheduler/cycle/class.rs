//! How an equivalence class evaluates nodes: what is computed once per class and per node, and how it is kept up to
//! date.

use super::*;
use crate::scheduler::{domain_ranking::DomainRanking, framework::MAX_SCORE, score_cache::AppliedRule};

/// The values by which a profile's domain rules distinguish Pods.
pub(super) fn domain_classes(profile: &Profile, pod: &PendingPod) -> Vec<Box<str>> {
    let rules = profile.domain_rules().iter().filter_map(|plugin| profile.plugin(*plugin).domain_rule());
    rules.filter_map(|rule| rule.class(pod)).collect()
}

impl AppliedRule {
    /// A domain rule's verdict on a combination of domains: its weighted score, or `None` if it refuses.
    pub(super) fn verdict(&self, profile: &Profile, pod: &PendingPod, counts: &[DomainCount]) -> Option<i64> {
        let rule = profile.plugin(self.plugin).domain_rule()?;
        let counts = &counts[self.queries.clone()];
        if self.filters && rule.filter(pod, counts).is_err() {
            return None;
        }
        match self.weight {
            0 => Some(0),
            weight => Some(rule.score(pod, counts).clamp(0, MAX_SCORE) * weight),
        }
    }
}

impl Cycle<'_> {
    /// Creates a class: runs the per-class plugins and evaluates every node.
    pub(super) fn new_class(&mut self, pod: &PendingPod) -> ClassRanking {
        let mut class = ClassRanking::of(pod);
        let profile = self.profiles.get(pod.profile);
        class.nodes = pre_filter(profile, pod, self.stats);
        for plugin in profile.at(ExtensionPoint::Score) {
            let named = profile.plugin(*plugin);
            let pre_scores = profile.at(ExtensionPoint::PreScore).contains(plugin);
            let applies = match named.pre_score().filter(|_| pre_scores) {
                Some(pre_score) => {
                    self.stats.count_run(ExtensionPoint::PreScore);
                    pre_score.applies(pod)
                }
                None => true,
            };
            let Some(score) = named.score().filter(|_| applies) else { continue };
            let weight = profile.weight(*plugin);
            match score.normalization() {
                None => class.scores.push((*plugin, weight)),
                Some(normalization) => class.node_scores.normalize(*plugin, weight, normalization),
            }
        }
        if pod.bound_to().is_none() {
            self.apply_domain_rules(pod, &mut class);
        }
        self.look_at_all(pod, &mut class);
        class
    }

    fn apply_domain_rules(&mut self, pod: &PendingPod, class: &mut ClassRanking) {
        let profile = self.profiles.get(pod.profile);
        let mut tables = Vec::new();
        for plugin in profile.domain_rules() {
            let queries = profile.plugin(*plugin).domain_rule().map(|rule| rule.queries(pod));
            let queries = queries.unwrap_or_default();
            if queries.is_empty() {
                continue;
            }
            let first = tables.len();
            tables
                .extend(queries.iter().map(|query| self.domains.table(query, self.nodes, &self.placed_pods)));
            let scores = profile.at(ExtensionPoint::Score).contains(plugin);
            class.rules.push(AppliedRule {
                plugin: *plugin,
                queries: first..tables.len(),
                filters: profile.at(ExtensionPoint::Filter).contains(plugin),
                weight: if scores { profile.weight(*plugin) } else { 0 },
            });
        }
        class.domains = (!tables.is_empty()).then(|| Box::new(DomainRanking::new(tables)));
    }

    fn look_at_all(&self, pod: &PendingPod, class: &mut ClassRanking) {
        let nodes = match &class.nodes {
            Ok(NodeSet::All) => 0..self.nodes.len(),
            Ok(NodeSet::Named(name)) => match self.nodes.binary_search_by(|node| node.name().cmp(name)) {
                Ok(at) => at..at + 1,
                Err(_) => 0..0,
            },
            Err(_) => 0..0,
        };
        class.node_scores.clear(nodes.clone());
        nodes.for_each(|at| self.evaluate(pod, class, at));
        class.node_scores.rescale();
        self.rank_all(class);
        class.seen = self.changes.end();
    }

    /// Ranks all nodes by their present scores.
    fn rank_all(&self, class: &mut ClassRanking) {
        let mut found = Vec::with_capacity(class.node_scores.nodes().len());
        found.extend(class.node_scores.nodes().filter_map(|at| self.candidate(class, at)));
        match &mut class.domains {
            Some(domains) => {
                domains.clear();
                found.into_iter().for_each(|candidate| domains.push(candidate, self.domains));
            }
            None => class.candidates = found.into(),
        }
    }

    /// Evaluates the nodes that changed since the class was last used.
    pub(super) fn catch_up(&self, pod: &PendingPod, class: &mut ClassRanking) {
        let end = self.changes.end();
        if class.seen == end || class.nodes.is_err() {
            class.seen = end;
            return;
        }
        // With more outdated entries than nodes it is cheaper to start over.
        let outdated = class.len() + (end - class.seen) > 2 * self.nodes.len() + 1;
        let (seen, nodes) = (class.seen, class.node_scores.nodes());
        let changed = || Some(self.changes.since(seen)?.filter(|at| nodes.contains(at)));
        let (Some(changed), Some(again)) = (changed().filter(|_| !outdated), changed()) else {
            return self.look_at_all(pod, class);
        };
        changed.for_each(|at| self.evaluate(pod, class, at));
        if class.node_scores.rescale() {
            self.rank_all(class);
        } else {
            for at in again {
                if let Some(candidate) = self.candidate(class, at) {
                    class.push(candidate, self.domains);
                }
            }
        }
        class.seen = end;
    }

    /// Runs the filters and, if none refuses the node, the score plugins.
    fn evaluate(&self, pod: &PendingPod, class: &mut ClassRanking, at: usize) {
        let profile = self.profiles.get(pod.profile);
        let ClassRanking { placed, charge, scores, node_scores, .. } = class;
        let view = self.view(pod, placed, at);
        let context = PodContext { pod, charge };
        let bound = context.is_bound();
        // Run the filters in reverse: the last ones, resources and offers, refuse most often. The result does not
        // depend on the order.
        let mut runs = 0;
        let fits = profile.filters().rev().all(|(_, filter)| {
            runs += 1;
            (bound && !filter.concerns_bound_pods()) || filter.filter(&context, &view).is_ok()
        });
        self.filter_runs.set(self.filter_runs.get() + runs);
        if !fits {
            return node_scores.set(at, None, |_| 0);
        }
        let score = |plugin| profile.plugin(plugin).score().map_or(0, |plugin| plugin.score(&context, &view));
        let fixed = scores.iter().map(|(plugin, weight)| score(*plugin).clamp(0, MAX_SCORE) * weight).sum();
        self.score_runs.set(self.score_runs.get() + (scores.len() + node_scores.plugins()) as u64);
        node_scores.set(at, Some(fixed), score);
    }

    /// The entry of a node in its class's ranking; `None` if a filter refuses it.
    fn candidate(&self, class: &ClassRanking, at: usize) -> Option<Candidate> {
        let score = class.node_scores.sum(at)?;
        Some(Candidate { score, first: std::cmp::Reverse(at), as_of: self.changes.last_of(at) })
    }

    /// The first plugin that refuses a node, in the profile's order.
    pub(super) fn refusal(
        &self,
        pod: &PendingPod,
        class: &ClassRanking,
        at: usize,
    ) -> Option<(usize, Refusal)> {
        self.refusal_of(pod, class, at, &self.view(pod, &class.placed, at))
    }

    /// The same for a node that is seen in another way.
    pub(super) fn refusal_of(
        &self,
        pod: &PendingPod,
        class: &ClassRanking,
        at: usize,
        view: &NodeView<'_>,
    ) -> Option<(usize, Refusal)> {
        let profile = self.profiles.get(pod.profile);
        let context = PodContext { pod, charge: &class.charge };
        for plugin in profile.at(ExtensionPoint::Filter) {
            let named = profile.plugin(*plugin);
            if let Some(filter) = named.filter()
                && (!context.is_bound() || filter.concerns_bound_pods())
                && let Err(refusal) = filter.filter(&context, view)
            {
                return Some((*plugin, refusal));
            }
            let rule = class.rules.iter().find(|rule| rule.plugin == *plugin && rule.filters);
            if let Some(applied) = rule
                && let Some(rule) = named.domain_rule()
                && let Err(refusal) = rule.filter(pod, &self.counts(class, applied, at))
            {
                return Some((*plugin, refusal));
            }
        }
        None
    }

    fn counts(&self, class: &ClassRanking, rule: &AppliedRule, at: usize) -> Vec<DomainCount> {
        let tables = class.domains.as_ref().map(|domains| &domains.tables[rule.queries.clone()]);
        let count = |table: &u64| self.domains.count(*table, self.domains.domain_of(*table, at));
        tables.into_iter().flatten().map(count).collect()
    }
}

impl ClassRanking {
    pub(super) fn push(&mut self, candidate: Candidate, counts: &DomainCounts) {
        match &mut self.domains {
            Some(domains) => domains.push(candidate, counts),
            None => self.candidates.push(candidate),
        }
    }
}

/// Runs the PreFilter plugins. Returns the nodes to evaluate, or the plugin that refuses the Pod.
fn pre_filter(
    profile: &Profile,
    pod: &PendingPod,
    stats: &mut SchedulerStats,
) -> Result<NodeSet, (usize, Refusal)> {
    let mut nodes = NodeSet::All;
    for index in profile.at(ExtensionPoint::PreFilter) {
        stats.count_run(ExtensionPoint::PreFilter);
        let Some(plugin) = profile.plugin(*index).pre_filter() else { continue };
        match plugin.pre_filter(pod) {
            Ok(NodeSet::All) => {}
            Ok(NodeSet::Named(name)) => match &nodes {
                // Two plugins with different node names leave no node; the filters give the reasons.
                NodeSet::Named(other) if *other != name => nodes = NodeSet::Named("".into()),
                _ => nodes = NodeSet::Named(name),
            },
            Err(refusal) => return Err((*index, refusal)),
        }
    }
    Ok(nodes)
}
