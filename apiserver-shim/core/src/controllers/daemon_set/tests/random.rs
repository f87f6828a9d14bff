//! Rollouts at random.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Happening {
    Look,
    Ready(usize),
    Break(usize),
    End(usize),
    Image(u8),
    Taint(usize, bool),
    Wait,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Look),
        6 => any::<usize>().prop_map(Happening::Ready),
        1 => any::<usize>().prop_map(Happening::Break),
        1 => any::<usize>().prop_map(Happening::End),
        1 => (1u8..4).prop_map(Happening::Image),
        1 => (1usize..5, any::<bool>()).prop_map(|(node, on)| Happening::Taint(node, on)),
        1 => Just(Happening::Wait),
    ]
}

fn happen(cluster: &mut TestCluster, what: &Happening) {
    let pods = cluster.pods();
    let pick = |n: usize| pods.get(n % pods.len().max(1)).map(|pod| pod.header().name.clone());
    match what {
        Happening::Look => drop(step(cluster)),
        Happening::Ready(n) => {
            if let Some(name) = pick(*n) {
                make_ready(cluster, &name);
            }
        }
        Happening::Break(n) => {
            if let Some(name) = pick(*n) {
                cluster.edit("pods", &name, |pod| pod["status"] = json!({"phase": "Running"}));
            }
        }
        Happening::End(n) => {
            if let Some(name) = pick(*n) {
                cluster.edit("pods", &name, |pod| pod["status"] = json!({"phase": "Failed"}));
            }
        }
        Happening::Image(n) => set_image(cluster, &format!("agent:{n}")),
        Happening::Taint(at, on) => {
            let key = ("nodes".to_owned(), Key::new("", &format!("n{at}")));
            if let Some(node) = cluster.objects.get_mut(&key) {
                let taint = json!([{"key": "own", "effect": "NoExecute"}]);
                node["spec"]["taints"] = if *on { taint } else { json!([]) };
            }
        }
        Happening::Wait => cluster.now += 40,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// After any sequence of changes the rollout ends with one Pod of the present template on every node that fits, and a
    /// second reconcile plans nothing.
    #[test]
    fn converges_from_any_state(
        happenings in proptest::collection::vec(happening(), 0..50),
        surge in 0i64..3, missing in 0i64..3, min_ready in prop_oneof![Just(0i64), Just(30)],
    ) {
        let mut set = daemon_set(json!(missing), json!(surge));
        set["spec"]["minReadySeconds"] = json!(min_ready);
        let mut cluster = cluster(4, set);
        for what in &happenings {
            happen(&mut cluster, what);
        }
        for _ in 0..30 {
            settle(&mut cluster);
            ready_all(&mut cluster);
            cluster.now += 40;
        }
        settle(&mut cluster);
        let tainted = |name: &str| {
            let node = &cluster.objects[&("nodes".to_owned(), Key::new("", name))];
            !access::list(node, &["spec", "taints"]).is_empty()
        };
        let fitting: Vec<String> = (1..=4).map(|at| format!("n{at}")).filter(|name| !tainted(name)).collect();
        let pods = cluster.pods();
        let mut nodes: Vec<&str> = pods.iter().filter_map(target_node).collect();
        nodes.sort_unstable();
        prop_assert_eq!(nodes, fitting.iter().map(String::as_str).collect::<Vec<_>>());
        let status = &cluster.get("daemonsets", "agent")["status"];
        prop_assert_eq!(access::int(status, &["updatedNumberScheduled"]).unwrap_or(0), fitting.len() as i64);
        prop_assert_eq!(access::int(status, &["numberAvailable"]).unwrap_or(0), fitting.len() as i64);
    }

    /// During a rollout without failures, at most `maxUnavailable` nodes lack an available Pod, and at most `maxSurge` nodes
    /// have two Pods.
    #[test]
    fn a_rollout_respects_surge_and_unavailable(
        steps in proptest::collection::vec((any::<bool>(), any::<usize>()), 1..80),
        nodes in 1usize..6, surge in 0usize..3, missing in 0usize..3,
    ) {
        let mut cluster = cluster(nodes, daemon_set(json!(missing), json!(surge)));
        settle(&mut cluster);
        ready_all(&mut cluster);
        settle(&mut cluster);
        set_image(&mut cluster, "agent:2");
        let missing = if surge == 0 { missing.max(1) } else { 0 };
        for (look, n) in steps {
            happen(&mut cluster, &if look { Happening::Look } else { Happening::Ready(n) });
            let pods = cluster.pods();
            let served: std::collections::BTreeSet<&str> =
                pods.iter().filter(|pod| pod.is_ready()).filter_map(target_node).collect();
            prop_assert!(served.len() + missing >= nodes, "{} of {nodes} nodes served", served.len());
            prop_assert!(pods.len() <= nodes + surge, "{} pods", pods.len());
        }
    }
}
