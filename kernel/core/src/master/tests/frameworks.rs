//! Subscription, failover, refusals, offers and filters.

use std::time::Duration;

use expect_test::{Expect, expect};
use kernel_model::{
    caller::Caller, framework::FrameworkCapability, ids::FrameworkId, offer::Filters, roles::Role,
    scheduler::Call, task::TaskState,
};

use super::cluster::*;
use crate::{
    allocator::WaitReason,
    master::{Event, OperatorCall},
};

fn check(cluster: &mut Cluster, expected: Expect) {
    expected.assert_eq(&cluster.log());
}

#[test]
fn subscribing_again_takes_over() {
    let mut c = Cluster::new();
    c.operators = true;
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024");
    let again = || {
        let mut info = framework("renamed", &["*"]);
        info.id = Some("m-0000".into());
        info.user = "somebody".into();
        info
    };
    c.subscribe("s2", again());
    assert_eq!(c.master.framework(&"m-0000".into()).unwrap().info.user, "root");
    c.step(Event::SchedulerClosed { stream: "s1".into() });
    c.step(Event::SchedulerClosed { stream: "s2".into() });
    c.subscribe("s3", again());
    c.step(Event::SchedulerClosed { stream: "s3".into() });
    c.advance(Duration::from_secs(100));
    c.subscribe("s4", again());
    check(
        &mut c,
        expect![[r#"
            reply Stream
            operators <- framework added f
            s1 <- Subscribed m-0000
            put Agent(AgentId(m-S0))
            l1 <- Registered m-S0
            operators <- agent added m-S0 Connected
            l1 <- Ping
            s1 <- Offers [m-O0 of m-S0 for *: cpus:4; mem:1024]
            reply Stream
            s1 <- Error { reason: FailedOver, message: "Framework failed over" }
            s1 closed
            operators <- framework updated renamed
            s2 <- Subscribed m-0000
            s2 <- Offers [m-O1 of m-S0 for *: cpus:4; mem:1024]
            put AbsentFramework(FrameworkId(m-0000))
            delete AbsentFramework(FrameworkId(m-0000))
            reply Stream
            operators <- framework updated renamed
            s3 <- Subscribed m-0000
            s3 <- Offers [m-O2 of m-S0 for *: cpus:4; mem:1024]
            put AbsentFramework(FrameworkId(m-0000))
            l1 <- Ping
            l1 <- Ping
            l1 <- Ping
            l1 <- Ping
            put Agent(AgentId(m-S0))
            l1 closed
            operators <- agent updated m-S0 Unreachable
            delete AbsentFramework(FrameworkId(m-0000))
            put EndedFramework(FrameworkId(m-0000))
            operators <- framework removed renamed
            reply Stream
            s4 <- Error { reason: FrameworkRemoved, message: "Framework has been removed" }
            s4 closed
        "#]],
    );
}

#[test]
fn the_failover_timeout_ends_a_framework() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024");
    let launch = kernel_model::scheduler::Operation::Launch { tasks: vec![task("t", "m-S0", "cpus:1")] };
    c.accept("m-0000", "s1", 0, vec![launch]);
    c.log();
    c.step(Event::SchedulerClosed { stream: "s1".into() });
    c.advance(Duration::from_secs(30));
    c.send_message(1, kernel_model::agent::ToMaster::Pong);
    c.advance(Duration::from_secs(60));
    c.send_message(1, kernel_model::agent::ToMaster::Pong);
    c.log();
    c.advance(Duration::from_secs(11));
    check(
        &mut c,
        expect![[r#"
            delete AbsentFramework(FrameworkId(m-0000))
            put EndedFramework(FrameworkId(m-0000))
            l1 <- ShutdownFramework { framework_id: FrameworkId(m-0000) }
        "#]],
    );
    assert_eq!(c.master.completed_frameworks().count(), 1);
    c.update(1, "m-0000", "t", TaskState::Killed);
    check(
        &mut c,
        expect![[r#"
        l1 <- ShutdownFramework { framework_id: FrameworkId(m-0000) }
    "#]],
    );
}

#[test]
fn refusals_of_subscriptions() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("twice", &["a", "a"]));
    let mut single = framework("single", &["a", "b"]);
    single.capabilities.remove(&FrameworkCapability::MultiRole);
    c.subscribe("s2", single);
    let mut bad = framework("bad id", &["a"]);
    bad.id = Some("a/b".into());
    c.subscribe("s3", bad);
    let mut owned = framework("owned", &["a"]);
    owned.id = Some("known".into());
    owned.principal = Some("p".into());
    c.subscribe("s4", owned.clone());
    owned.principal = None;
    c.subscribe("s5", owned.clone());
    c.operator(OperatorCall::Teardown { framework_id: "known".into() });
    owned.principal = Some("p".into());
    c.subscribe("s6", owned);
    check(
        &mut c,
        expect![[r#"
            reply Stream
            s1 <- Error { reason: Other, message: "'FrameworkInfo.roles' contains duplicate items: { a }" }
            s1 closed
            reply Stream
            s2 <- Error { reason: Other, message: "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable" }
            s2 closed
            reply Stream
            s3 <- Error { reason: Other, message: "'a/b' contains invalid characters" }
            s3 closed
            reply Stream
            s4 <- Subscribed known
            reply Stream
            s5 <- Error { reason: Other, message: "Changing framework's principal is not allowed." }
            s5 closed
            put EndedFramework(FrameworkId(known))
            s4 closed
            reply Done
            reply Stream
            s6 <- Error { reason: FrameworkRemoved, message: "Framework has been removed" }
            s6 closed
        "#]],
    );
}

#[test]
fn refusals_of_calls() {
    let mut c = Cluster::new();
    c.call("nobody", "s1", Call::Request);
    c.subscribe("s1", framework("f", &["*"]));
    c.call("m-0000", "s2", Call::Request);
    let request = c.request();
    let call = |principal: Option<&str>, stream: Option<&str>| Event::SchedulerCall {
        request,
        framework_id: "m-0000".into(),
        stream: stream.map(Into::into),
        caller: principal.map_or(Caller::InProcess, |name| Caller::Principal(name.into())),
        call: Call::Request,
    };
    c.step(call(None, None));
    c.step(call(Some("p"), Some("s1")));
    c.step(call(None, Some("s1")));
    c.step(Event::SchedulerClosed { stream: "s1".into() });
    c.call("m-0000", "s1", Call::Request);
    c.operator(OperatorCall::MarkAgentGone { agent_id: "x".into() });
    c.operator(OperatorCall::DeactivateAgent { agent_id: "x".into() });
    c.operator(OperatorCall::Teardown { framework_id: "x".into() });
    c.operator(OperatorCall::UpdateWeights { weights: vec![(Role::any(), 0.0)] });
    c.operator(OperatorCall::Unsupported { kind: "DRAIN_AGENT" });
    check(
        &mut c,
        expect![[r#"
            reply Invalid: Framework cannot be found
            reply Stream
            s1 <- Subscribed m-0000
            reply Invalid: The stream ID 's2' included in this request didn't match the stream ID currently associated with framework ID m-0000
            reply Invalid: All non-subscribe calls should include the 'Mesos-Stream-Id' header
            reply Invalid: Authenticated principal 'p' does not match principal '' set in `FrameworkInfo`
            reply Accepted
            put AbsentFramework(FrameworkId(m-0000))
            reply Forbidden: Framework is not subscribed
            reply NotFound: Agent 'x' not found
            reply Invalid: Unknown agent
            reply Invalid: No framework found with specified ID
            reply Invalid: Invalid weight '0' for role '*': Weights must be positive
            reply Unsupported: DRAIN_AGENT is not supported by this version
        "#]],
    );
}

#[test]
fn offers_are_declined_filtered_revived_and_suppressed() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024");
    c.log();
    c.decline("m-0000", "s1", 0, 5.0);
    c.decline("m-0000", "s1", 0, 5.0);
    assert_eq!(c.master.explain(&"m-0000".into()), [(Role::any(), vec![WaitReason::AgentsRefused(1)])]);
    c.advance(Duration::from_millis(4990));
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        reply Accepted
    "#]],
    );
    c.advance(Duration::from_millis(100));
    check(
        &mut c,
        expect![[r#"
        s1 <- Offers [m-O1 of m-S0 for *: cpus:4; mem:1024]
    "#]],
    );
    c.decline("m-0000", "s1", 1, 1e6);
    c.call("m-0000", "s1", Call::Revive { roles: vec![] });
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        reply Accepted
        s1 <- Offers [m-O2 of m-S0 for *: cpus:4; mem:1024]
    "#]],
    );
    c.call("m-0000", "s1", Call::Suppress { roles: vec![] });
    c.decline("m-0000", "s1", 2, 0.0);
    c.advance(Duration::from_secs(10));
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        reply Accepted
        l1 <- Ping
    "#]],
    );
    c.call("m-0000", "s1", Call::Revive { roles: vec![Role::parse("b").unwrap()] });
    c.call("m-0000", "s1", Call::Revive { roles: vec![Role::any()] });
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        reply Accepted
        s1 <- Offers [m-O3 of m-S0 for *: cpus:4; mem:1024]
    "#]],
    );
    // Zero seconds become one, so that no framework spins.
    c.decline("m-0000", "s1", 3, 0.0);
    check(
        &mut c,
        expect![[r#"
        reply Accepted
    "#]],
    );
    c.advance(Duration::from_millis(1010));
    check(
        &mut c,
        expect![[r#"
        s1 <- Offers [m-O4 of m-S0 for *: cpus:4; mem:1024]
    "#]],
    );
}

#[test]
fn an_unanswered_offer_goes_to_another_framework() {
    let mut settings = config("m");
    settings.offer_timeout = Some(Duration::from_secs(30));
    let mut c = Cluster::with(settings, Default::default());
    c.subscribe("s1", framework("silent", &["a"]));
    c.agent(1, "cpus:4;mem:1024");
    c.log();
    // While nobody else wants resources, it keeps the offer for the whole time.
    c.advance(Duration::from_secs(10));
    check(&mut c, expect![""]);
    // Another framework gets its share at once, and the rest when that offer has expired.
    c.subscribe("s2", framework("other", &["b"]));
    check(
        &mut c,
        expect![[r#"
        reply Stream
        s2 <- Subscribed m-0001
        s1 <- Rescind { offer_id: OfferId(m-O0) }
        s1 <- Offers [m-O2 of m-S0 for a: cpus:2; mem:512]
        s2 <- Offers [m-O1 of m-S0 for b: cpus:2; mem:512]
    "#]],
    );
    c.decline("m-0001", "s2", 1, 100.0);
    c.log();
    c.advance(Duration::from_secs(31));
    check(
        &mut c,
        expect![[r#"
        s1 <- Rescind { offer_id: OfferId(m-O3) }
        l1 <- Ping
        l1 <- Ping
        s1 <- Rescind { offer_id: OfferId(m-O2) }
        s2 <- Offers [m-O4 of m-S0 for b: cpus:4; mem:1024]
    "#]],
    );
}

#[test]
fn weights_and_deactivation_rescind() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["a/b"]));
    c.agent(1, "cpus:4;mem:1024");
    c.log();
    c.operator(OperatorCall::UpdateWeights { weights: vec![(Role::parse("a").unwrap(), 2.0)] });
    check(
        &mut c,
        expect![[r#"
        put Weight(Role(a))
        s1 <- Rescind { offer_id: OfferId(m-O0) }
        reply Done
        s1 <- Offers [m-O1 of m-S0 for a/b: cpus:4; mem:1024]
    "#]],
    );
    c.operator(OperatorCall::DeactivateAgent { agent_id: "m-S0".into() });
    c.operator(OperatorCall::DeactivateAgent { agent_id: "m-S0".into() });
    c.operator(OperatorCall::ReactivateAgent { agent_id: "m-S0".into() });
    c.operator(OperatorCall::ReactivateAgent { agent_id: "m-S0".into() });
    check(
        &mut c,
        expect![[r#"
        put Agent(AgentId(m-S0))
        s1 <- Rescind { offer_id: OfferId(m-O1) }
        reply Done
        reply Done
        put Agent(AgentId(m-S0))
        reply Done
        s1 <- Offers [m-O2 of m-S0 for a/b: cpus:4; mem:1024]
        reply Invalid: Agent is not deactivated
    "#]],
    );
    c.restart("n");
    assert_eq!(c.master.weights().map(|(_, w)| w).collect::<Vec<_>>(), [2.0]);
    let roles: Vec<_> = c.master.roles().into_iter().map(|r| (r.role.to_string(), r.weight)).collect();
    assert_eq!(roles, [("a".to_owned(), 2.0)]);
}

#[test]
fn updating_a_framework() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["a"]));
    c.agent(1, "cpus:4;mem:1024");
    c.log();
    let update = |change: &dyn Fn(&mut kernel_model::framework::FrameworkInfo)| {
        let mut framework = framework("f", &["a"]);
        framework.id = Some(FrameworkId::from("m-0000"));
        change(&mut framework);
        Call::UpdateFramework {
            framework: framework.into(),
            suppressed_roles: Default::default(),
            preferences: Default::default(),
        }
    };
    c.call("m-0000", "s1", update(&|f| f.user = "b".into()));
    c.call("m-0000", "s1", update(&|f| f.id = None));
    c.call("m-0000", "s1", update(&|f| f.roles.clear()));
    c.call("m-0000", "s1", update(&|f| f.roles.push(Role::any())));
    check(
        &mut c,
        expect![[r#"
            reply Invalid: FrameworkInfo update is not valid: Updating 'FrameworkInfo.user' is unsupported; attempted to update from 'root' to 'b'
            reply Invalid: 'framework_id' differs from 'update_framework.framework_info.id'
            s1 <- Rescind { offer_id: OfferId(m-O0) }
            reply Done
            reply Done
            s1 <- Offers [m-O1 of m-S0 for *: cpus:2; mem:512, m-O2 of m-S0 for a: cpus:2; mem:512]
        "#]],
    );
    let filters = Filters::default();
    c.call("m-0000", "s1", Call::Decline { offer_ids: vec!["m-O1".into(), "m-O01".into()], filters });
    check(
        &mut c,
        expect![[r#"
            reply Accepted
            s1 <- Offers [m-O3 of m-S0 for a: cpus:2; mem:512]
        "#]],
    );
}
