//! Offer constraints and minimum sizes, malformed tasks, and snapshots of the tables.

use std::{collections::BTreeMap, time::Duration};

use expect_test::expect;
use kernel_model::{
    agent::ToMaster,
    caller::Caller,
    offer_preferences::{AttributeConstraint, OfferPreferences, Predicate, Selector},
    resources::{Attribute, AttributeValue, Scalar},
    roles::Role,
    scheduler::{Call, MalformedTask, Operation, Subscribe},
    task::TaskState,
};

use super::cluster::*;
use crate::master::Event;

fn only(selector: Selector, predicate: Predicate) -> OfferPreferences {
    let constraint = AttributeConstraint { selector, predicate };
    OfferPreferences {
        constraints: BTreeMap::from([(Role::any(), vec![vec![constraint]])]),
        ..Default::default()
    }
}

impl Cluster {
    /// An agent `h<link>` in a rack.
    fn agent_in(&mut self, link: u64, rack: Attribute) {
        let mut info = agent_info(link, "cpus:4;mem:1024");
        info.attributes = vec![rack];
        self.connect(link, ToMaster::Register { info: info.into() });
    }

    fn subscribe_with(&mut self, stream: &str, preferences: OfferPreferences) {
        let framework = framework("f", &["*"]);
        let subscribe = Subscribe { framework, suppressed_roles: Default::default(), preferences };
        let (request, stream) = (self.request(), stream.into());
        self.step(Event::Subscribe {
            request,
            stream,
            caller: Caller::InProcess,
            subscribe: subscribe.into(),
        });
    }
}

/// Which agents a framework with one constraint is offered: one without a rack, one in rack a, one in rack b, one whose
/// rack is a number.
fn offered(selector: Selector, predicate: Predicate) -> Vec<String> {
    let mut c = Cluster::new();
    c.agent(1, "cpus:4;mem:1024");
    c.agent_in(2, Attribute::text("rack", "a"));
    c.agent_in(3, Attribute::text("rack", "b"));
    c.agent_in(4, Attribute { name: "rack".into(), value: AttributeValue::Scalar(Scalar::from_units(1)) });
    c.subscribe_with("s1", only(selector, predicate));
    c.master.offers(None).map(|offer| offer.agent.hostname.clone()).collect()
}

#[test]
fn constraints_choose_the_agents() {
    let rack = || Selector::Attribute("rack".into());
    let table = [
        (rack(), Predicate::Exists, vec!["h2", "h3", "h4"]),
        (rack(), Predicate::NotExists, vec!["h1"]),
        (rack(), Predicate::TextEquals("a".into()), vec!["h2", "h4"]),
        (rack(), Predicate::TextNotEquals("a".into()), vec!["h1", "h3", "h4"]),
        (rack(), Predicate::TextMatches("[a-b]".into()), vec!["h2", "h3", "h4"]),
        (rack(), Predicate::TextMatches("".into()), vec!["h4"]),
        (rack(), Predicate::TextNotMatches("a|x".into()), vec!["h1", "h3", "h4"]),
        (Selector::Hostname, Predicate::TextMatches("h[12]".into()), vec!["h1", "h2"]),
        (Selector::Zone, Predicate::Exists, vec![]),
        (Selector::Region, Predicate::TextNotEquals("x".into()), vec!["h1", "h2", "h3", "h4"]),
    ];
    for (selector, predicate, hosts) in table {
        assert_eq!(offered(selector, predicate.clone()), hosts, "{predicate:?}");
    }
}

#[test]
fn constraints_are_checked_and_replaced() {
    let mut c = Cluster::new();
    for pattern in ["(", ")(", "a{1000}{1000}"] {
        c.subscribe_with("s0", only(Selector::Hostname, Predicate::TextMatches(pattern.into())));
        let log = c.log();
        let refusal = "Offer constraints are not valid: A role * has an invalid 'AttributeConstraint': Failed to construct";
        assert!(log.contains(refusal), "{log}");
    }
    let mut many = only(Selector::Hostname, Predicate::TextMatches("h".into()));
    let group = &mut many.constraints.get_mut(&Role::any()).unwrap()[0];
    *group = vec![group[0].clone(); 129];
    c.subscribe_with("s0", many);
    let log = c.log();
    assert!(log.contains("Offer constraints are not valid: 129 regexes are more than 128"), "{log}");
    c.subscribe_with("s1", only(Selector::Hostname, Predicate::TextEquals("h2".into())));
    c.agent(1, "cpus:4;mem:1024");
    assert_eq!(c.master.offers(None).count(), 0);
    c.log();
    let mut info = framework("f", &["*"]);
    info.id = Some("m-0000".into());
    let update = |preferences| Call::UpdateFramework {
        framework: info.clone().into(),
        suppressed_roles: Default::default(),
        preferences,
    };
    c.call("m-0000", "s1", update(only(Selector::Hostname, Predicate::TextMatches("(".into()))));
    assert!(
        c.log().contains(
            "Invalid: 'UpdateFramework' call is not valid: Offer constraints are not valid: A role *"
        )
    );
    c.call("m-0000", "s1", update(OfferPreferences::default()));
    assert_eq!(c.master.offers(None).count(), 1);
}

#[test]
fn frameworks_set_min_allocatable_resources() {
    let least = |text: &[(&str, i64)]| text.iter().map(|(n, a)| ((*n).to_owned(), Scalar(*a))).collect();
    let preferences = |least| OfferPreferences {
        min_allocatable: BTreeMap::from([(Role::any(), least)]),
        ..Default::default()
    };
    let given = |preferences, resources: &str| {
        let mut c = Cluster::new();
        c.subscribe_with("s1", preferences);
        c.agent(1, resources);
        c.advance(Duration::from_secs(2));
        c.master.offers(None).count()
    };
    assert_eq!(given(OfferPreferences::default(), "disk:10"), 0);
    assert_eq!(given(preferences(vec![]), "disk:10"), 1, "any offer will do");
    assert_eq!(given(preferences(vec![least(&[("disk", 10_000)])]), "disk:10"), 1);
    assert_eq!(given(preferences(vec![least(&[("disk", 10_001)])]), "disk:10"), 0);
    assert_eq!(given(preferences(vec![least(&[("cpus", 5_000)])]), "cpus:4;mem:4096"), 0);
    let either = vec![least(&[("cpus", 5_000)]), least(&[("mem", 4_096_000), ("cpus", 1_000)])];
    assert_eq!(given(preferences(either), "cpus:4;mem:4096"), 1);
}

#[test]
fn malformed_tasks_are_refused_and_the_others_start() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024");
    c.log();
    let malformed = |id: &str| MalformedTask {
        task_id: id.into(),
        agent_id: "m-S0".into(),
        why: "it is nonsense".into(),
    };
    let operations = || {
        vec![
            Operation::Launch { tasks: vec![task("good", "m-S0", "cpus:1")] },
            Operation::Malformed { tasks: vec![malformed("bad")], grouped: false },
            Operation::Malformed { tasks: vec![malformed("g1"), malformed("g2")], grouped: true },
        ]
    };
    c.accept("m-0000", "s1", 0, operations());
    expect![[r#"
        reply Accepted
        l1 <- RunTask task good on new command
        s1 <- Update bad Error by Master TaskInvalid 'it is nonsense'
        s1 <- Update g1 Error by Master TaskGroupInvalid 'it is nonsense'
        s1 <- Update g2 Error by Master TaskGroupInvalid 'it is nonsense'
    "#]]
    .assert_eq(&c.log());
    c.accept("m-0000", "s1", 0, operations());
    assert!(
        c.log().contains("Update bad Dropped by Master InvalidOffers 'Task launched with invalid offers")
    );
}

#[test]
fn a_snapshot_does_not_change() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024");
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks: vec![task("t", "m-S0", "cpus:1")] }]);
    let snapshot = c.master.snapshot();
    let state = |framework: &crate::master::Framework| framework.tasks.get("t").map(|task| task.state);
    c.update(1, "m-0000", "t", TaskState::Running);
    c.operator(crate::master::OperatorCall::UpdateWeights { weights: vec![(Role::any(), 2.0)] });
    assert_eq!(state(snapshot.framework(&"m-0000".into()).unwrap()), Some(TaskState::Staging));
    assert_eq!(state(c.master.framework(&"m-0000".into()).unwrap()), Some(TaskState::Running));
    assert_eq!((snapshot.roles()[0].weight, c.master.roles()[0].weight), (1.0, 2.0));
    assert_eq!(snapshot.allocated_to(&"m-0000".into()).scalar("cpus"), Scalar::from_units(1));
}
