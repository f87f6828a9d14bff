//! Revocable resources: who is offered them, and what follows an agent's estimates. Each step is audited, and with it the ledger.

use expect_test::{Expect, expect};
use kernel_model::{
    agent::ToMaster,
    caller::Caller,
    framework::{FrameworkCapability, FrameworkInfo},
    offer::Filters,
    oversubscription::Estimator,
    quota::{Quantities, Quota},
    resources::{Resources, Scalar},
    roles::Role,
    scheduler::{Call, Operation, Subscribe},
    task::{TaskInfo, TaskState},
};

use super::cluster::*;
use crate::master::{Event, OperatorCall};

fn check(cluster: &mut Cluster, expected: Expect) {
    expected.assert_eq(&cluster.log());
}

fn revocable(text: &str) -> Resources {
    let Ok(Estimator::Fixed(resources)) = format!("fixed:{text}").parse() else { panic!("not read") };
    resources
}

fn oversubscribe(c: &mut Cluster, text: &str) {
    let resources = if text.is_empty() { Resources::new() } else { revocable(text) };
    c.send_message(1, ToMaster::Oversubscribed { resources });
}

fn capable(name: &str) -> FrameworkInfo {
    let mut info = framework(name, &["*"]);
    info.capabilities.insert(FrameworkCapability::RevocableResources);
    info
}

/// A task with one revocable CPU.
fn revocable_task(id: &str) -> TaskInfo {
    let mut task = task(id, "m-S0", "mem:64");
    task.resources += &revocable("cpus:1");
    task
}

#[test]
fn revocable_resources_are_offered_to_capable_frameworks_only() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:2;mem:1024");
    c.subscribe("s1", framework("plain", &["*"]));
    c.log();
    oversubscribe(&mut c, "cpus:4");
    check(&mut c, expect![[""]]);
    c.subscribe("s2", capable("capable"));
    let log = c.log();
    assert!(log.contains("s2 <- Offers [m-O1 of m-S0 for *: cpus{REV}:3]"), "half of all CPUs: {log}");
}

#[test]
fn an_estimate_rescinds_offers_that_exceed_it() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:2;mem:1024");
    oversubscribe(&mut c, "cpus:4");
    c.subscribe("s1", capable("f"));
    c.log();
    oversubscribe(&mut c, "cpus:8");
    check(
        &mut c,
        expect![[r#"
        s1 <- Offers [m-O1 of m-S0 for *: cpus{REV}:4]
    "#]],
    );
    oversubscribe(&mut c, "cpus:1");
    check(
        &mut c,
        expect![[r#"
        s1 <- Rescind { offer_id: OfferId(m-O0) }
        s1 <- Rescind { offer_id: OfferId(m-O1) }
        s1 <- Offers [m-O2 of m-S0 for *: cpus:2; cpus{REV}:1; mem:1024]
    "#]],
    );
    // The agent registers again, and does not oversubscribe any more.
    oversubscribe(&mut c, "");
    check(
        &mut c,
        expect![[r#"
        s1 <- Rescind { offer_id: OfferId(m-O2) }
        s1 <- Offers [m-O3 of m-S0 for *: cpus:2; mem:1024]
    "#]],
    );
}

/// Takes all outstanding offers for a launch.
fn launch(c: &mut Cluster, caller: Caller, tasks: Vec<TaskInfo>) {
    let offer_ids = c.master.offers(None).map(|offer| offer.id.clone()).collect();
    let operations = vec![Operation::Launch { tasks }];
    let call = Call::Accept { offer_ids, operations, filters: Filters::default() };
    let (request, framework_id, stream) = (c.request(), "m-0000".into(), Some("s1".into()));
    c.step(Event::SchedulerCall { request, framework_id, stream, caller, call });
}

#[test]
fn what_is_allocated_stays_whatever_the_agent_says() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:2;mem:1024");
    oversubscribe(&mut c, "cpus:4");
    c.subscribe("s1", capable("f"));
    launch(&mut c, Caller::InProcess, vec![revocable_task("t")]);
    c.update(1, "m-0000", "t", TaskState::Running);
    let revocable = |c: &Cluster| c.master.agents().next().unwrap().revocable.to_string();
    assert_eq!(revocable(&c), "cpus{REV}:4");
    // The report may be older than the launch.
    oversubscribe(&mut c, "");
    assert_eq!(revocable(&c), "cpus{REV}:1");
    c.update(1, "m-0000", "t", TaskState::Finished);
    oversubscribe(&mut c, "cpus:2");
    assert_eq!(revocable(&c), "cpus{REV}:2");
}

#[test]
fn a_revocable_task_grows_into_revocable_resources() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:2;mem:1024");
    oversubscribe(&mut c, "cpus:4.5");
    c.subscribe("s1", capable("f"));
    launch(&mut c, Caller::InProcess, vec![revocable_task("t")]);
    c.update(1, "m-0000", "t", TaskState::Running);
    let mut resized = |amounts: &str| {
        let (framework_id, task_id) = ("m-0000".into(), "t".into());
        c.send_message(1, ToMaster::ResizeTask { framework_id, task_id, amounts: amounts.parse().unwrap() });
        let framework = c.master.framework(&"m-0000".into()).unwrap();
        framework.tasks.get("t").unwrap().info.resources.unallocated().to_string()
    };
    assert_eq!(resized("cpus:4.5"), "cpus{REV}:4.5; mem:64");
    assert_eq!(resized("cpus:4.501"), "cpus{REV}:4.5; mem:64");
    assert_eq!(resized("cpus:0.5"), "cpus{REV}:0.5; mem:64");
}

#[test]
fn revocable_resources_count_for_no_quota() {
    let mut c = Cluster::new();
    c.agent(1, "cpus:2;mem:1024");
    let quantities = |text: &str| Quantities::of(&text.parse::<Resources>().unwrap(), |_| true);
    let quota = Quota { guarantees: Quantities::default(), limits: quantities("cpus:1") };
    c.operator(OperatorCall::UpdateQuota { configs: vec![(Role::parse("r").unwrap(), quota)], force: true });
    oversubscribe(&mut c, "cpus:4");
    c.subscribe("s1", FrameworkInfo { roles: vec![Role::parse("r").unwrap()], ..capable("f") });
    let log = c.log();
    assert!(log.contains("cpus:1; cpus{REV}:4; mem:1024") || log.contains("cpus{REV}:4"), "{log}");
    let consumed = c.master.allocator().consumed(&Role::parse("r").unwrap());
    assert_eq!(consumed.get("cpus"), Some(Scalar::from_units(1)));
}

#[test]
fn a_task_and_its_executor_are_both_revocable_or_neither() {
    let tasks = || vec![on_executor(revocable_task("t"), executor("e", "cpus:0.1;mem:32"))];
    let launched = |caller: Caller| {
        let mut c = Cluster::new();
        c.agent(1, "cpus:2;mem:1024");
        oversubscribe(&mut c, "cpus:4");
        let (request, stream) = (c.request(), "s1".into());
        let subscribe = Subscribe {
            framework: FrameworkInfo { principal: Some("p".into()), ..capable("f") },
            suppressed_roles: Default::default(),
            preferences: Default::default(),
        };
        let subscribe = subscribe.into();
        c.step(Event::Subscribe { request, stream, caller: caller.clone(), subscribe });
        launch(&mut c, caller, tasks());
        c.log()
    };
    let log = launched(Caller::Principal("p".into()));
    assert!(log.contains("mix revocable and non-revocable resources"), "{log}");
    let log = launched(Caller::InProcess);
    assert!(log.contains("RunTask"), "each Pod has a control group of its own: {log}");
}
