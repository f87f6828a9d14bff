//! Example plugins that exist in tests only. They show what adding one takes: its file (`tests/license_seats.rs`,
//! `tests/one_per_domain.rs`, `tests/app_spread.rs`) and its line in a plugin list.

mod app_spread;
mod license_seats;
mod one_per_domain;

use std::sync::{Arc, LazyLock};

use kernel_model::time::Time;
use serde_json::json;

use super::{profile::entry, *};
use crate::scheduler::{
    Outcome, Scheduler, SchedulingQueue,
    testing::{Cluster, GIB, name, pending, places, pod_with, report, shape},
};

/// The default plugins, with the examples before the last one.
pub fn entries() -> Vec<PluginEntry> {
    let mut entries = DEFAULT_PLUGINS.to_vec();
    let offers = entries.pop().expect("there are plugins");
    entries.extend([
        entry("LicenseSeats", 1, || Box::new(license_seats::LicenseSeats::new(2))),
        entry("OnePerDomain", 1, || Box::new(one_per_domain::OnePerDomain)),
        entry("AppSpread", 5000, || Box::new(app_spread::AppSpread)),
        offers,
    ]);
    entries
}

pub fn profiles_with_examples() -> Profiles {
    let profile = Profile::new(crate::scheduler::NAME, &entries(), &[]).expect("the plugins make a profile");
    Profiles::new(vec![profile]).expect("one profile is enough")
}

/// The shape of all Pods here, because different shapes are different classes.
static SHAPE: LazyLock<Arc<PodShape>> = LazyLock::new(|| shape(100, 0));

fn app(n: usize, app: &str) -> PendingPod {
    let metadata = json!({"labels": {"app": app}});
    pending(pod_with(n, &SHAPE, metadata, json!({})))
}

/// Three zones with two nodes each; even nodes are licensed.
fn zones() -> Cluster {
    let mut cluster = Cluster::default();
    for n in 0..6 {
        let licensed = if n % 2 == 0 { "yes" } else { "no" };
        let labels = json!({"zone": format!("z{}", n / 2), "host": name(n), "licensed": licensed});
        cluster.add_node(n, 1000 + 100 * i64::try_from(n).unwrap(), GIB, labels);
    }
    cluster
}

#[test]
fn every_plugin_has_the_name_of_its_entry() {
    for entry in entries() {
        assert_eq!((entry.make)().name(), entry.name);
    }
}

#[test]
fn a_domain_rule_allows_one_pod_per_zone() {
    let mut cluster = zones();
    let mut scheduler = Scheduler::new(profiles_with_examples());
    let pods: Vec<_> = (0..4).map(|n| app(n, "one-per-zone-a")).collect();
    let decisions = cluster.decide_with(&mut scheduler, &pods);
    // The emptiest node is the largest.
    assert_eq!(places(&decisions), [Some(5), Some(3), Some(1), None]);
    let refused = "0/6 nodes are available: 6 node(s) had a pod of the app in their domain. preemption: 0/6 nodes are available: 6 No preemption victims found for incoming pod.";
    assert_eq!(report(&decisions[3]), refused);
    for (pod, at) in pods.iter().zip([5, 3, 1]) {
        cluster.add_pod(at, &pod.pod);
    }
    let runs = scheduler.stats().plugin_runs(ExtensionPoint::Filter);
    cluster.remove_pod(&name(3), &pods[1].pod);
    let decisions = cluster.decide_with(&mut scheduler, &pods[3..]);
    assert_eq!(places(&decisions), [Some(3)]);
    // Only the three changed nodes were evaluated again.
    let runs = scheduler.stats().plugin_runs(ExtensionPoint::Filter) - runs;
    let filters = scheduler.profiles().get(0).filters().count() as u64;
    assert!(runs <= 3 * filters, "{runs}");
}

#[test]
fn a_domain_rule_scores_by_zone() {
    let mut cluster = zones();
    let pods: Vec<_> = (0..6).map(|n| app(n, "spread")).collect();
    let decisions = cluster.decide_with(&mut Scheduler::new(profiles_with_examples()), &pods);
    assert_eq!(places(&decisions), [Some(5), Some(3), Some(1), Some(4), Some(2), Some(0)]);
}

#[test]
fn a_change_of_counts_evaluates_no_node() {
    let mut cluster = Cluster::default();
    for n in 0..2000 {
        cluster.add_node(n, 32_000, GIB, json!({"zone": format!("z{}", n % 3), "host": name(n)}));
    }
    let mut scheduler = Scheduler::new(profiles_with_examples());
    let pods: Vec<_> = (0..600).map(|n| app(n, ["spread", "one-per-host"][n % 2])).collect();
    let decisions = cluster.decide_with(&mut scheduler, &pods);
    assert!(places(&decisions).iter().all(Option::is_some));
    let filters = scheduler.profiles().get(0).filters().count() as u64;
    let looks = scheduler.stats().plugin_runs(ExtensionPoint::Filter) / filters;
    // Each class evaluates every node once, and again each node that got a Pod.
    assert!(looks <= 2 * (2000 + 600), "{looks}");
}

#[test]
fn a_plugin_filters_scores_reserves_and_delays() {
    let mut cluster = zones();
    let mut scheduler = Scheduler::new(profiles_with_examples());
    let pods: Vec<_> = (0..3).map(|n| app(n, "licensed")).collect();
    // A single Pod waits: it keeps its node and its seat.
    let decisions = cluster.decide_with(&mut scheduler, &pods[..1]);
    assert_eq!(decisions[0].outcome, Outcome::Permit { node: 4 });
    assert!(scheduler.waits_on_permit("u00000"));
    // The second Pod releases both; there is no seat for a third.
    let decisions = cluster.decide_with(&mut scheduler, &pods);
    assert_eq!(places(&decisions), [Some(4), Some(4), None]);
    assert_eq!(report(&decisions[2]), "0/6 nodes are available: all license seats are taken.");
    // A failed launch releases its seat.
    scheduler.unreserve(0, &pods[1].pod, &name(4));
    let decisions = cluster.decide_with(&mut scheduler, &pods[2..]);
    assert_eq!(places(&decisions), [Some(4)]);
}

#[test]
fn a_pod_delayed_by_permit_returns_to_the_queue_after_the_timeout() {
    let mut cluster = zones();
    let mut scheduler = Scheduler::new(profiles_with_examples());
    let pods = [app(0, "licensed")];
    assert_eq!(cluster.decide_with(&mut scheduler, &pods)[0].outcome, Outcome::Permit { node: 4 });
    let later = Time(0) + license_seats::QUORUM_WAIT;
    let decisions = scheduler.schedule(later, &pods, &mut cluster.nodes, &cluster.offers);
    assert_eq!(report(&decisions[0]), "0/6 nodes are available: timed out waiting on permit.");
    assert!(!scheduler.waits_on_permit("u00000"));
    // Its seat was released: two others get both.
    let others = [app(1, "licensed"), app(2, "licensed")];
    assert!(places(&cluster.decide_with(&mut scheduler, &others)).iter().all(Option::is_some));
    // Deletion of a waiting Pod releases its seat too.
    scheduler.forget_pod("u00000");
}

#[test]
fn a_pod_delayed_by_permit_keeps_its_resources() {
    let mut cluster = Cluster::default();
    cluster.add_node(0, 150, GIB, json!({"licensed": "yes", "zone": "a"}));
    let mut scheduler = Scheduler::new(profiles_with_examples());
    let pods = [app(0, "licensed"), app(1, "plain")];
    let decisions = cluster.decide_with(&mut scheduler, &pods);
    assert_eq!(decisions[0].outcome, Outcome::Permit { node: 0 });
    assert!(report(&decisions[1]).contains("Insufficient cpu"), "{}", report(&decisions[1]));
    let decisions = cluster.decide_with(&mut scheduler, &pods[1..]);
    assert!(report(&decisions[0]).contains("Insufficient cpu"), "{}", report(&decisions[0]));
}

#[test]
fn a_refused_pod_is_retried_after_the_plugin_s_events_only() {
    let mut cluster = zones();
    let mut scheduler = Scheduler::new(profiles_with_examples());
    let pods: Vec<_> = (0..3).map(|n| app(n, "licensed")).collect();
    let decisions = cluster.decide_with(&mut scheduler, &pods);
    let Outcome::Wait(refused) = &decisions[2].outcome else { panic!("placed") };
    let mut queue = SchedulingQueue::default();
    queue.put(scheduler.profiles(), pods[2].clone());
    queue.unschedulable("u00002", Time(0), refused.refused_by);
    let event = |kinds| ClusterEvent { kinds, ..ClusterEvent::default() };
    queue.on_event(scheduler.profiles(), Time(0), &event(EventSet::NODE_TAINTS));
    queue.advance(Time(0));
    assert!(!queue.is_active("u00002"));
    queue.on_event(scheduler.profiles(), Time(0), &event(EventSet::POD_DELETE));
    queue.advance(Time(0));
    assert!(queue.is_active("u00002"));
}
