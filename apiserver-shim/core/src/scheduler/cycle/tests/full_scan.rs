//! Cached decisions against a full scan without caches: every Pod runs every plugin on every node, and domain counts
//! are computed from all Pods each time.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::scheduler::{
    DomainQuery,
    framework::{Filter, MAX_SCORE, NOTHING_PLACED, tests::profiles_with_examples},
    testing::{Offers, owned_by},
};

/// Computes the counts of a query from scratch.
fn count(query: &DomainQuery, nodes: &[NodeInfo], placed: &[(usize, Arc<Pod>)], at: usize) -> DomainCount {
    let value = |at: usize| nodes[at].node.header().labels.get(&*query.topology_key);
    let matches = |pod: &&Arc<Pod>| {
        let header = pod.header();
        let inside = query.namespaces.is_empty() || query.namespaces.iter().any(|n| **n == *header.namespace);
        inside && query.selector.matches(&header.labels)
    };
    let mut domains: BTreeMap<&String, u32> = BTreeMap::new();
    for (at, node) in nodes.iter().enumerate() {
        let Some(value) = value(at) else { continue };
        let here = placed.iter().filter(|(on, _)| *on == at).map(|(_, pod)| pod);
        let pods = node.pods().iter().chain(here).filter(matches).count();
        *domains.entry(value).or_default() += u32::try_from(pods).unwrap();
    }
    DomainCount {
        in_domain: value(at).is_some(),
        pods: value(at).map_or(0, |value| domains[value]),
        fewest: domains.values().min().copied().unwrap_or(0),
        any: domains.values().any(|pods| *pods > 0),
    }
}

/// Shape, owner, value of the label `app`, and node.
type Class = (usize, Option<Arc<str>>, String, usize);

struct Scan<'a> {
    profile: &'a Profile,
    nodes: &'a [NodeInfo],
    offers: &'a Offers,
    placed: BTreeMap<usize, Placed>,
    placed_pods: Vec<(usize, Arc<Pod>)>,
    /// By class (shape, owner, labels) and node.
    class_pods: BTreeMap<Class, u32>,
}

impl Scan<'_> {
    fn class(pod: &PendingPod, at: usize) -> Class {
        // The value by which the example domain rules distinguish Pods.
        let app = pod.pod.header().labels.get("app").cloned().unwrap_or_default();
        let app = if app.starts_with("one-per") || app == "spread" { app } else { String::new() };
        (Arc::as_ptr(&pod.pod.shape).addr(), pod.owner.clone(), app, at)
    }

    /// The scores of all plugins for a node, with their indices; `None` if a filter refuses it.
    fn scores(&self, pod: &PendingPod, at: usize) -> Option<Vec<(usize, i64)>> {
        let info = &self.nodes[at];
        let placed = self.placed.get(&at);
        let left = placed.and_then(|placed| placed.left(&pod.role));
        let view = NodeView {
            info,
            placed: placed.unwrap_or(&NOTHING_PLACED),
            offered: left.or_else(|| self.offers.free(info, &pod.role)),
            class_pods: self.class_pods.get(&Self::class(pod, at)).copied().unwrap_or(0),
            leaves_room: false,
            lister: self.offers,
        };
        let charge = pod.pod.shape.charge();
        let context = PodContext { pod, charge: &charge };
        let bound = pod.bound_to().is_some();
        let ok = |(_, filter): (usize, &dyn Filter)| {
            bound && !filter.concerns_bound_pods() || filter.filter(&context, &view).is_ok()
        };
        if !self.profile.filters().all(ok) {
            return None;
        }
        let score = |plugin: &usize| {
            let named = self.profile.plugin(*plugin);
            let applies = named.pre_score().is_none_or(|pre_score| pre_score.applies(pod));
            Some((*plugin, named.score().filter(|_| applies)?.score(&context, &view)))
        };
        Some(self.profile.at(ExtensionPoint::Score).iter().filter_map(score).collect())
    }

    /// The weighted points of all nodes, normalised over the nodes that no filter refuses.
    fn points(&self, pod: &PendingPod) -> Vec<(i64, std::cmp::Reverse<usize>)> {
        let scores: Vec<_> = (0..self.nodes.len()).map(|at| self.scores(pod, at)).collect();
        let of = |plugin: usize| scores.iter().flatten().flatten().filter(move |(p, _)| *p == plugin);
        let points = |(plugin, score): &(usize, i64)| {
            let normalization = self.profile.plugin(*plugin).score().unwrap().normalization();
            let highest = of(*plugin).map(|(_, score)| *score).max().unwrap_or(0);
            let points = normalization.map_or(*score, |scale| scale.points(*score, highest));
            points.clamp(0, MAX_SCORE) * self.profile.weight(*plugin)
        };
        let sum = |(at, scores): (usize, &Option<Vec<(usize, i64)>>)| {
            let sum: i64 = scores.as_ref()?.iter().map(points).sum();
            Some((sum + self.domain_points(pod, at)?, std::cmp::Reverse(at)))
        };
        scores.iter().enumerate().filter_map(sum).collect()
    }

    /// The weighted points by domain rules; `None` if one refuses the node.
    fn domain_points(&self, pod: &PendingPod, at: usize) -> Option<i64> {
        let mut sum = 0;
        for plugin in self.profile.domain_rules().iter().filter(|_| pod.bound_to().is_none()) {
            let rule = self.profile.plugin(*plugin).domain_rule().unwrap();
            let queries = rule.queries(pod);
            if queries.is_empty() {
                continue;
            }
            let counts: Vec<DomainCount> =
                queries.iter().map(|query| count(query, self.nodes, &self.placed_pods, at)).collect();
            rule.filter(pod, &counts).ok()?;
            sum += rule.score(pod, &counts).clamp(0, MAX_SCORE) * self.profile.weight(*plugin);
        }
        Some(sum)
    }

    fn place(&mut self, pod: &PendingPod) -> Option<usize> {
        let at = self.points(pod).into_iter().max()?.1.0;
        let charge = pod.pod.shape.charge();
        let offered = self.offers.free(&self.nodes[at], &pod.role).cloned().unwrap_or_default();
        let placed = self.placed.entry(at).or_default();
        if placed.left.is_empty() {
            placed.left.push((pod.role.clone(), offered));
        }
        placed.left[0].1.subtract(&charge);
        if pod.bound_to().is_none() {
            placed.pods += 1;
            placed.requested.get_or_insert_default().add(&charge);
            placed.host_ports.extend(pod.pod.shape.host_ports.iter().cloned());
            self.placed_pods.push((at, pod.pod.clone()));
        }
        if pod.owner.is_some() {
            *self.class_pods.entry(Self::class(pod, at)).or_default() += 1;
        }
        Some(at)
    }
}

/// A change between two cycles.
#[derive(Debug, Clone)]
enum Step {
    Relabel(usize, usize),
    Taint(usize, bool),
    Offer(usize),
    Withhold(usize),
    Add(usize),
    Remove(usize),
    EndPods(usize),
    Relabeled(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..10, 0usize..4).prop_map(|(n, zone)| Step::Relabel(n, zone)),
        (0usize..10, any::<bool>()).prop_map(|(n, on)| Step::Taint(n, on)),
        (0usize..10).prop_map(Step::Offer),
        (0usize..10).prop_map(Step::Offer),
        (0usize..10).prop_map(Step::Withhold),
        (0usize..10).prop_map(Step::Add),
        (0usize..10).prop_map(Step::Remove),
        (0usize..10).prop_map(Step::EndPods),
        (0usize..10).prop_map(Step::Relabeled),
    ]
}

/// The last node has no zone, so it is in no domain.
fn labels(n: usize, zone: usize) -> serde_json::Value {
    match zone {
        3 => json!({"host": name(n)}),
        zone => json!({"host": name(n), "zone": format!("z{zone}")}),
    }
}

fn apply(cluster: &mut Cluster, step: &Step) {
    let exists = |cluster: &Cluster, n: usize| cluster.nodes.index(&name(n)).is_some();
    match *step {
        Step::Relabel(n, zone) if exists(cluster, n) => {
            cluster.nodes.put_node(node(n, labels(n, zone), json!({})), 110);
        }
        Step::Taint(n, on) if exists(cluster, n) => {
            let effect = if on { "NoSchedule" } else { "PreferNoSchedule" };
            let spec = json!({"taints": [{"key": "k", "effect": effect}]});
            cluster.nodes.put_node(node(n, labels(n, n % 4), spec), 110);
        }
        Step::Offer(n) => cluster.offer_all(n),
        Step::Withhold(n) => cluster.offer_nothing(n),
        Step::Add(n) => cluster.add_node(n, 500 * (1 + n as i64), GIB, labels(n, n % 4)),
        Step::Remove(n) => cluster.nodes.remove_node(&name(n)),
        Step::EndPods(n) if exists(cluster, n) => {
            let pods = cluster.nodes.get(&name(n)).unwrap().pods().to_vec();
            pods.iter().step_by(2).for_each(|pod| cluster.remove_pod(&name(n), pod));
        }
        Step::Relabeled(n) if exists(cluster, n) => {
            let pods = cluster.nodes.get(&name(n)).unwrap().pods().to_vec();
            if let Some(pod) = pods.first() {
                let n_of_pod = pod.uid()[1..].parse().unwrap();
                let other = pod_with(n_of_pod, &pod.shape, json!({"labels": {"app": "changed"}}), json!({}));
                cluster.nodes.update_pod(&name(n), pod, &other);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// After any sequence of changes, cached decisions equal those of a full scan.
    #[test]
    fn cached_decisions_equal_a_full_scan(
        nodes in 1usize..9,
        cycles in proptest::collection::vec((
            proptest::collection::vec(step(), 0..6),
            proptest::collection::vec((0usize..2, 0usize..6, 0usize..3, any::<bool>()), 0..10),
        ), 1..10),
    ) {
        let mut cluster = Cluster::default();
        (0..nodes).for_each(|n| cluster.add_node(n, 500 * (1 + n as i64), GIB, labels(n, n % 4)));
        let shapes = [shape(100, GIB / 16), shape(400, 0)];
        // Labels that the example domain rules select, and some that they do not.
        let apps = ["", "plain", "one-per-zone-a", "one-per-zone-b", "one-per-host", "spread"];
        let mut kept = Scheduler::new(profiles_with_examples());
        let reference = profiles_with_examples();
        for (cycle, (steps, asks)) in cycles.into_iter().enumerate() {
            steps.iter().for_each(|step| apply(&mut cluster, step));
            let pods: Vec<PendingPod> = asks.iter().enumerate().map(|(n, (shape, app, owner, _))| {
                let mut metadata = [json!({}), owned_by("a"), owned_by("b")][*owner].clone();
                metadata["labels"] = json!({"app": apps[*app]});
                pending(pod_with(cycle * 100 + n, &shapes[*shape], metadata, json!({})))
            }).collect();
            let decisions = places(&cluster.decide_with(&mut kept, &pods));
            let mut scan = Scan {
                profile: reference.get(0),
                nodes: cluster.nodes.all(),
                offers: &cluster.offers,
                placed: BTreeMap::new(),
                placed_pods: Vec::new(),
                class_pods: BTreeMap::new(),
            };
            let expected: Vec<Option<usize>> = pods.iter().map(|pod| scan.place(pod)).collect();
            prop_assert_eq!(&decisions, &expected);
            let mut used = BTreeSet::new();
            for ((pod, at), (_, _, _, launched)) in pods.iter().zip(decisions).zip(&asks) {
                if let Some(at) = at.filter(|_| *launched) {
                    cluster.add_pod(at, &pod.pod);
                    used.insert(cluster.nodes.all()[at].name()[1..].parse::<usize>().unwrap());
                }
            }
            used.into_iter().for_each(|n| cluster.offer_nothing(n));
        }
    }
}
