//! Quotas by operators: refusals, offers that are rescinded, and the time after a start.

use expect_test::{Expect, expect};
use kernel_model::{
    quota::{Quantities, Quota},
    resources::Resources,
    roles::Role,
    scheduler::Operation,
};

use super::cluster::*;
use crate::master::OperatorCall;

fn check(cluster: &mut Cluster, expected: Expect) {
    expected.assert_eq(&cluster.log());
}

/// The quota of a SET_QUOTA.
fn same(text: &str) -> Quota {
    Quota { guarantees: quantities(text), limits: quantities(text) }
}

fn quantities(text: &str) -> Quantities {
    Quantities::of(&text.parse::<Resources>().unwrap(), |_| true)
}

fn update(cluster: &mut Cluster, configs: &[(&str, &str, &str)], force: bool) {
    let config = |(role, guarantees, limits): &(&str, &str, &str)| {
        let quota = Quota { guarantees: quantities(guarantees), limits: quantities(limits) };
        (Role::parse(role).unwrap(), quota)
    };
    let configs = configs.iter().map(config).collect();
    cluster.operator(OperatorCall::UpdateQuota { configs, force });
}

#[test]
fn quotas_that_contradict_each_other_or_the_cluster_are_refused() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4;mem:1024");
    c.log();
    update(&mut c, &[("a", "cpus:5", "")], false);
    update(&mut c, &[("a/b", "cpus:1", "")], false);
    update(&mut c, &[("a", "cpus:2", "cpus:3"), ("a/b", "cpus:1", ""), ("a/c", "cpus:2", "")], false);
    update(&mut c, &[("a", "", "cpus:3"), ("a/b", "", "cpus:4")], false);
    update(&mut c, &[("a", "cpus:5", "")], true);
    let (role, quota) = (Role::parse("b").unwrap(), same("mem:2000"));
    c.operator(OperatorCall::SetQuota { role: role.clone(), quota: quota.clone(), force: false });
    c.operator(OperatorCall::SetQuota { role: role.clone(), quota: quota.clone(), force: true });
    c.operator(OperatorCall::SetQuota { role: role.clone(), quota, force: true });
    let refusal = "Failed to remove quota".to_owned();
    c.operator(OperatorCall::RemoveQuota { role: role.clone(), refusal: refusal.clone() });
    c.operator(OperatorCall::RemoveQuota { role, refusal });
    update(&mut c, &[("a", "", "")], false);
    assert_eq!(c.master.quotas().count(), 0);
    check(
        &mut c,
        expect![[r#"
        reply Unforced: Invalid QuotaConfig: total quota guarantees 'cpus:5' exceed cluster capacity 'cpus:4; mem:1024' (use 'force' flag to bypass this check)
        reply Invalid: Invalid QuotaConfig: Invalid quota configuration. Parent role 'a' with guarantees ({}) does not contain the sum of its children's guarantees (cpus:1)
        reply Invalid: Invalid QuotaConfig: Invalid quota configuration. Parent role 'a' with guarantees (cpus:2) does not contain the sum of its children's guarantees (cpus:3)
        reply Invalid: Invalid QuotaConfig: Invalid quota configuration. Role 'a/b' with limits (cpus:4) exceeds the limits of 'a' (cpus:3)
        put Quota(Role(a))
        reply Done
        reply Conflict: Quota guarantees overcommit the cluster (use 'force' to bypass this check): Total quota guarantees 'cpus:5; mem:2000' exceed cluster capacity 'cpus:4; mem:1024'
        put Quota(Role(b))
        reply Done
        reply Invalid: Failed to validate set quota request: Cannot set quota for role 'b' which already has quota
        delete Quota(Role(b))
        reply Done
        reply Invalid: Failed to remove quota: Role 'b' has no quota set
        delete Quota(Role(a))
        reply Done
    "#]],
    );
}

#[test]
fn offers_above_a_new_limit_and_against_a_new_guarantee_are_rescinded() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4;mem:1024");
    c.agent(2, "cpus:4;mem:1024");
    c.subscribe("s1", framework("f", &["eng/web"]));
    c.log();
    update(&mut c, &[("eng", "", "cpus:5")], false);
    update(&mut c, &[("ops", "cpus:6", "")], false);
    c.subscribe("s2", framework("g", &["ops"]));
    update(&mut c, &[("ops", "", "")], false);
    check(
        &mut c,
        expect![[r#"
        put Quota(Role(eng))
        s1 <- Rescind { offer_id: OfferId(m-O1) }
        reply Done
        s1 <- Offers [m-O2 of m-S1 for eng/web: cpus:1; mem:1024]
        put Quota(Role(ops))
        s1 <- Rescind { offer_id: OfferId(m-O2) }
        s1 <- Rescind { offer_id: OfferId(m-O0) }
        reply Done
        s1 <- Offers [m-O3 of m-S0 for eng/web: cpus:2; mem:1024]
        reply Stream
        s2 <- Subscribed m-0001
        s2 <- Offers [m-O4 of m-S0 for ops: cpus:2, m-O5 of m-S1 for ops: cpus:4; mem:1024]
        delete Quota(Role(ops))
        reply Done
    "#]],
    );
}

#[test]
fn a_limit_below_what_is_used_needs_force() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4;mem:1024");
    c.subscribe("s1", framework("f", &["eng"]));
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks: vec![task("t", "m-S0", "cpus:3;mem:64")] }]);
    c.log();
    update(&mut c, &[("eng", "", "cpus:2")], false);
    update(&mut c, &[("eng", "", "cpus:2")], true);
    check(
        &mut c,
        expect![[r#"
        reply Unforced: Invalid QuotaConfig: Role 'eng' is already consuming 'cpus:3; mem:64'; this is more than the requested limits 'cpus:2' (use 'force' flag to bypass this check)
        put Quota(Role(eng))
        reply Done
    "#]],
    );
}

#[test]
fn after_a_start_offers_wait_for_the_agents() {
    let mut c = Cluster::new();
    (1..=5).for_each(|link| c.agent(link, "cpus:4;mem:1024"));
    update(&mut c, &[("eng", "", "cpus:2")], false);
    c.restart("n");
    c.log();
    c.subscribe("s1", framework("f", &["eng"]));
    for link in 1..=4 {
        let info = agent_info(link, "cpus:4;mem:1024");
        let info = kernel_model::agent::AgentInfo { id: Some(format!("m-S{}", link - 1).into()), ..info };
        c.connect(
            10 + link,
            kernel_model::agent::ToMaster::Reregister {
                info: info.into(),
                frameworks: vec![],
                executors: vec![],
                tasks: vec![],
                operations: Vec::new(),
            },
        );
    }
    check(
        &mut c,
        expect![[r#"
        reply Stream
        s1 <- Subscribed n-0000
        l11 <- Reregistered m-S0 unknown []
        l11 <- Ping
        l12 <- Reregistered m-S1 unknown []
        l12 <- Ping
        l13 <- Reregistered m-S2 unknown []
        l13 <- Ping
        l14 <- Reregistered m-S3 unknown []
        l14 <- Ping
        s1 <- Offers [n-O0 of m-S0 for eng: cpus:2; mem:1024]
    "#]],
    );
}

#[test]
fn a_role_is_reported_with_what_each_framework_holds_below_it() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4;mem:1024");
    c.subscribe("s1", framework("f", &["eng/web"]));
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks: vec![task("t", "m-S0", "cpus:1;mem:512")] }]);
    c.subscribe("s2", framework("g", &["idle"]));
    update(&mut c, &[("eng", "cpus:1", "")], false);
    c.operator(OperatorCall::UpdateWeights {
        weights: vec![(Role::parse("old").unwrap(), 1.0), (Role::parse("heavy").unwrap(), 2.0)],
    });
    let shown = |report: kernel_model::role_report::RoleReport| {
        let held: Vec<String> = report.allocated.iter().map(|(id, held)| format!("{id} {held}")).collect();
        format!(
            "{} {} {} [{}] {}\n",
            report.role,
            report.weight,
            report.quota.guarantees,
            held.join(", "),
            report.dominant_share
        )
    };
    expect![[r#"
        eng 1 cpus:1 [m-0000 cpus:1; mem:512] 0.5
        eng/web 1 {} [m-0000 cpus:1; mem:512] 0.5
        heavy 2 {} [] 0
        idle 1 {} [] 0
    "#]]
    .assert_eq(&c.master.role_reports().into_iter().map(shown).collect::<String>());
}

#[test]
fn what_could_not_be_read_again_is_refused_whoever_sets_it() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4;mem:1024");
    c.log();
    update(&mut c, &[("a", "cpus:2", "cpus:1")], true);
    update(&mut c, &[("a", "", "mem:2147483648000")], true);
    update(&mut c, &[("a", "", "cpus:1000000000001")], true);
    let (role, quota) = (Role::parse("b").unwrap(), same("cpus:5000000000000"));
    c.operator(OperatorCall::SetQuota { role, quota, force: true });
    assert_eq!(c.master.quotas().count(), 0);
    check(
        &mut c,
        expect![[r#"
        reply Invalid: Invalid QuotaConfig: The guarantee cpus:2 is not contained within the limit cpus:1
        reply Invalid: Invalid QuotaConfig: The limit of 'mem' is greater than 1 exabyte: 2147483648000
        reply Invalid: Invalid QuotaConfig: The limit of 'cpus' is greater than 1 trillion: 1000000000001
        reply Invalid: Failed to validate set quota request: The guarantee of 'cpus' is greater than 1 trillion: 5000000000000
    "#]],
    );
}
