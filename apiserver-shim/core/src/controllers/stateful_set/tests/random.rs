//! Members at random.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Happening {
    Look,
    Ready(usize),
    Break(usize),
    End(usize),
    Lose(usize),
    Image(u8),
    Size(i64),
    Wait,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => Just(Happening::Look),
        6 => any::<usize>().prop_map(Happening::Ready),
        1 => any::<usize>().prop_map(Happening::Break),
        1 => any::<usize>().prop_map(Happening::End),
        1 => any::<usize>().prop_map(Happening::Lose),
        1 => (1u8..4).prop_map(Happening::Image),
        1 => (0i64..5).prop_map(Happening::Size),
        1 => Just(Happening::Wait),
    ]
}

fn happen(cluster: &mut TestCluster, what: &Happening) {
    let pods = cluster.pods();
    let pick = |n: usize| pods.get(n % pods.len().max(1)).map(|pod| pod.header().name.clone());
    let mut set_status = |n: usize, status: Value| {
        if let Some(name) = pick(n) {
            cluster.edit("pods", &name, |pod| pod["status"] = status);
        }
    };
    match what {
        Happening::Look => {
            let plan = next(cluster);
            cluster.apply(&plan);
        }
        Happening::Ready(n) => {
            if let Some(name) = pick(*n) {
                make_ready(cluster, &name);
            }
        }
        Happening::Break(n) => set_status(*n, json!({"phase": "Running"})),
        Happening::End(n) => set_status(*n, json!({"phase": "Failed"})),
        Happening::Lose(n) => {
            if let Some(name) = pick(*n) {
                cluster.objects.remove(&("pods".to_owned(), Key::new("ns", &name)));
            }
        }
        Happening::Image(n) => set_image(cluster, &format!("db:{n}")),
        Happening::Size(n) => resize(cluster, *n),
        Happening::Wait => cluster.now += 40,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// After any sequence of changes the set has exactly its ordinals, all of the present template, and a second reconcile
    /// plans nothing.
    #[test]
    fn converges_from_any_state(
        happenings in proptest::collection::vec(happening(), 0..50),
        parallel in any::<bool>(), claims in any::<bool>(), start in 0i64..3,
        min_ready in prop_oneof![Just(0i64), Just(30)],
    ) {
        let mut set = if claims { with_claims("Retain", "Delete") } else { stateful_set(2) };
        set["spec"]["podManagementPolicy"] = json!(if parallel { "Parallel" } else { "OrderedReady" });
        set["spec"]["ordinals"] = json!({"start": start});
        set["spec"]["minReadySeconds"] = json!(min_ready);
        let mut cluster = cluster(set);
        for what in &happenings {
            happen(&mut cluster, what);
        }
        for _ in 0..30 {
            settle(&mut cluster);
            ready_all(&mut cluster);
            cluster.now += 40;
        }
        settle(&mut cluster);
        let wanted = cluster.get("statefulsets", "db")["spec"]["replicas"].as_i64().unwrap();
        let expected: Vec<String> = (start..start + wanted).map(|ordinal| format!("db-{ordinal}")).collect();
        prop_assert_eq!(names(&cluster), expected);
        let status = &cluster.get("statefulsets", "db")["status"];
        prop_assert_eq!(access::int(status, &["updatedReplicas"]).unwrap_or(0), wanted);
        prop_assert_eq!(access::int(status, &["availableReplicas"]).unwrap_or(0), wanted);
        prop_assert_eq!(&status["currentRevision"], &status["updateRevision"]);
    }

    /// With OrderedReady and without failures, the ordinals have no gap, at most one Pod is not available at any time, and
    /// a Pod starts after those below it.
    #[test]
    fn order_is_kept(
        steps in proptest::collection::vec((0u8..8, any::<usize>(), 0i64..5), 1..100),
    ) {
        let mut cluster = cluster(stateful_set(3));
        for (kind, n, size) in steps {
            happen(&mut cluster, &match kind {
                0..=3 => Happening::Look,
                4..=6 => Happening::Ready(n),
                _ => Happening::Size(size),
            });
            let names = names(&cluster);
            let expected: Vec<String> = (0..names.len()).map(|ordinal| format!("db-{ordinal}")).collect();
            prop_assert_eq!(&names, &expected);
            let waiting = cluster.pods().iter().filter(|pod| !pod.is_ready()).count();
            prop_assert!(waiting <= 1, "{waiting} are not available");
        }
    }

    /// An update without failures makes at most one Pod unavailable.
    #[test]
    fn an_update_replaces_one_pod_at_a_time(
        steps in proptest::collection::vec((any::<bool>(), any::<usize>()), 1..60), size in 1i64..6,
    ) {
        let mut cluster = cluster(stateful_set(size));
        roll(&mut cluster);
        set_image(&mut cluster, "db:2");
        for (look, n) in steps {
            happen(&mut cluster, &if look { Happening::Look } else { Happening::Ready(n) });
            let ready = cluster.pods().iter().filter(|pod| pod.is_ready()).count() as i64;
            prop_assert!(ready >= size - 1, "{ready} of {size} are ready");
        }
    }
}
