//! Tasks of others end for what is guaranteed to a role with demand, and what they free is held for it.

use std::time::Duration;

use kernel_model::{
    quota::{Quantities, Quota},
    resources::Resources,
    roles::Role,
    scheduler::{Call, Operation},
};

use super::cluster::*;
use crate::master::{OperatorCall, Registry};

fn cluster() -> Cluster {
    let config = crate::master::MasterConfig { preempt_after: Some(Duration::from_secs(2)), ..config("m") };
    Cluster::with(config, Registry::default())
}

fn role(name: &str) -> Role {
    Role::parse(name).unwrap()
}

fn guarantee(c: &mut Cluster, name: &str, text: &str) {
    let quantities = |text: &str| Quantities::of(&text.parse::<Resources>().unwrap(), |_| true);
    let quota = Quota { guarantees: quantities(text), limits: Quantities::default() };
    c.operator(OperatorCall::UpdateQuota { configs: vec![(role(name), quota)], force: false });
}

/// Two tasks of a framework in `batch` that fill an agent, and a guarantee of half of it for `eng`.
fn full(c: &mut Cluster) {
    c.agent(1, "cpus:4;mem:1024");
    c.subscribe("s1", framework("f", &["batch"]));
    let tasks = vec![task("old", "m-S0", "cpus:2;mem:512"), task("new", "m-S0", "cpus:2;mem:512")];
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks }]);
    guarantee(c, "eng", "cpus:2;mem:512");
    c.log();
}

fn asked(c: &mut Cluster) -> usize {
    c.log().matches("InverseOffers").count()
}

fn suppress(c: &mut Cluster, framework: &str, stream: &str) {
    c.call(framework, stream, Call::Suppress { roles: Vec::new() });
}

#[test]
fn nothing_ends_without_demand_or_before_its_time() {
    let mut c = cluster();
    full(&mut c);
    c.advance(Duration::from_secs(10));
    assert_eq!(asked(&mut c), 0, "nobody wants anything in the role");
    c.call("m-0000", "s1", Call::Demand { roles: vec![(role("batch"), "cpus:2".parse().unwrap())] });
    c.advance(Duration::from_secs(10));
    assert_eq!(asked(&mut c), 0, "it is wanted in another role");
    c.subscribe("s2", framework("g", &["eng"]));
    suppress(&mut c, "m-0001", "s2");
    c.call("m-0001", "s2", Call::Demand { roles: vec![(role("eng"), "cpus:1;mem:64".parse().unwrap())] });
    c.advance(Duration::from_secs(1));
    assert_eq!(asked(&mut c), 0);
    c.advance(Duration::from_secs(3));
    // One task is enough, and it is asked for once. The newest of equal ones ends: the tasks were launched together.
    assert_eq!(asked(&mut c), 1);
    c.advance(Duration::from_secs(20));
    assert_eq!(asked(&mut c), 0);
}

fn causes(c: &Cluster, framework: &str, name: &str) -> Vec<String> {
    let why = c.master.explain_role_of(&framework.into(), &role(name));
    why.iter().map(|cause| cause.to_string()).collect()
}

#[test]
fn who_waits_for_a_guarantee_is_told_when_tasks_of_others_end() {
    let mut c = cluster();
    full(&mut c);
    c.subscribe("s2", framework("g", &["eng"]));
    suppress(&mut c, "m-0001", "s2");
    let suppressed = "the framework suppressed offers for the role";
    assert_eq!(causes(&c, "m-0001", "eng"), [suppressed]);
    c.call("m-0001", "s2", Call::Demand { roles: vec![(role("eng"), "cpus:1;mem:64".parse().unwrap())] });
    c.advance(Duration::from_secs(1));
    let unmet = "the role has had less than is guaranteed to it for 0 s; unless what is missing becomes free, tasks of \
                 others end for it in 2 s";
    assert_eq!(causes(&c, "m-0001", "eng"), [suppressed, unmet]);
    assert_eq!(causes(&c, "m-0000", "batch").iter().filter(|cause| **cause == unmet).count(), 0);
    c.advance(Duration::from_secs(1));
    assert!(
        causes(&c, "m-0001", "eng")[1].contains("for 1 s")
            && causes(&c, "m-0001", "eng")[1].contains("in 1 s")
    );
    c.advance(Duration::from_secs(1));
    assert_eq!(
        causes(&c, "m-0001", "eng"),
        [suppressed, "1 task(s) of others end for what is guaranteed to the role"]
    );
}

/// The scheduler of Pods suppresses a role whose Pods fit nowhere, and says what they need.
#[test]
fn a_quota_is_named_beside_a_suppression() {
    let mut c = cluster();
    c.agent(1, "cpus:6;mem:6000");
    let limits = Quantities::of(&"cpus:0.5".parse::<Resources>().unwrap(), |_| true);
    let quota = Quota { guarantees: Quantities::default(), limits };
    c.operator(OperatorCall::UpdateQuota { configs: vec![(role("k8s/lim"), quota)], force: false });
    c.subscribe("s1", framework("kubernetes", &["k8s/lim"]));
    let tasks = vec![task("p1", "m-S0", "cpus:0.2;mem:64"), task("p2", "m-S0", "cpus:0.2;mem:64")];
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks }]);
    suppress(&mut c, "m-0000", "s1");
    let codes = |c: &Cluster| {
        let role = c.master.explain_role("k8s/lim").unwrap();
        role.clients[0].reasons.iter().map(|cause| cause.code()).collect::<Vec<_>>()
    };
    assert_eq!(codes(&c), ["SUPPRESSED"]);
    let lacks = |cpus: &str| Call::Demand { roles: vec![(role("k8s/lim"), cpus.parse().unwrap())] };
    c.call("m-0000", "s1", lacks("cpus:0.2;mem:64"));
    assert_eq!(codes(&c), ["SUPPRESSED", "QUOTA_LIMIT"]);
    c.call("m-0000", "s1", lacks("cpus:0.1;mem:64"));
    assert_eq!(codes(&c), ["SUPPRESSED"], "a tenth of a CPU is left");
}

#[test]
fn a_declined_task_is_spared_and_another_one_asked_for() {
    let mut c = cluster();
    full(&mut c);
    c.subscribe("s2", framework("g", &["eng"]));
    suppress(&mut c, "m-0001", "s2");
    c.call("m-0001", "s2", Call::Demand { roles: vec![(role("eng"), "cpus:1;mem:64".parse().unwrap())] });
    c.advance(Duration::from_secs(4));
    assert_eq!(asked(&mut c), 1);
    for number in 0..2 {
        let offer_ids = vec![format!("m-I{number}").into()];
        c.call("m-0000", "s1", Call::DeclineInverseOffers { offer_ids });
        c.log();
        c.advance(Duration::from_secs(2));
        assert_eq!(asked(&mut c), 1 - number, "both were declined");
    }
    let why = c.master.explain_role_of(&"m-0001".into(), &role("eng"));
    assert_eq!(
        why.iter().map(|cause| cause.code()).collect::<Vec<_>>(),
        ["SUPPRESSED", "NOTHING_TO_PREEMPT"]
    );
}

#[test]
fn a_role_at_its_guarantee_keeps_what_it_has() {
    let mut c = cluster();
    full(&mut c);
    guarantee(&mut c, "batch", "cpus:2;mem:512");
    c.subscribe("s2", framework("g", &["eng"]));
    c.call("m-0001", "s2", Call::Demand { roles: vec![(role("eng"), "cpus:4;mem:64".parse().unwrap())] });
    c.advance(Duration::from_secs(20));
    assert_eq!(asked(&mut c), 1, "one of two tasks is above what is guaranteed");
}

#[test]
fn parts_on_several_agents_are_named_as_the_reason() {
    let mut c = cluster();
    c.agent(1, "cpus:2;mem:1024");
    c.agent(2, "cpus:2;mem:1024");
    guarantee(&mut c, "eng", "cpus:4;mem:512");
    c.subscribe("s2", framework("g", &["eng"]));
    // It has declined what it was offered, and has no use for less than three CPUs at once.
    let offers: Vec<_> = c.master.offers(None).map(|offer| offer.id.clone()).collect();
    let filters = kernel_model::offer::Filters { refuse: Duration::from_secs(100) };
    c.call("m-0000", "s2", Call::Decline { offer_ids: offers, filters });
    c.call("m-0000", "s2", Call::Demand { roles: vec![(role("eng"), "cpus:3;mem:64".parse().unwrap())] });
    c.advance(Duration::from_secs(10));
    let why = c.master.explain_role_of(&"m-0000".into(), &role("eng"));
    assert!(why.iter().any(|cause| cause.code() == "FRAGMENTED"), "{why:?}");
}

#[test]
fn an_inverse_offer_names_the_task_and_what_it_holds() {
    let mut c = cluster();
    full(&mut c);
    c.subscribe("s2", framework("g", &["eng"]));
    c.call("m-0001", "s2", Call::Demand { roles: vec![(role("eng"), "cpus:1;mem:64".parse().unwrap())] });
    c.advance(Duration::from_secs(4));
    let log = c.log();
    assert!(log.contains("m-I0") && (log.contains("TaskId(new)") || log.contains("TaskId(old)")), "{log}");
}
