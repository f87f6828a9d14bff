//! Which callers may launch tasks as which user, and whose framework a caller may use.

use expect_test::{Expect, expect};
use kernel_model::{
    caller::{Caller, IN_PROCESS_PRINCIPAL},
    framework::FrameworkInfo,
    offer::Filters,
    scheduler::{Call, Operation, Subscribe},
    task::TaskInfo,
};

use super::cluster::*;
use crate::master::{Entity, Event, Registry, RunAsPolicy, RunAsRule};

fn check(cluster: &mut Cluster, expected: Expect) {
    expected.assert_eq(&cluster.log());
}

fn principal(name: &str) -> Caller {
    Caller::Principal(name.to_owned())
}

impl Cluster {
    fn subscribe_as(&mut self, caller: Caller, stream: &str, framework: FrameworkInfo) {
        let subscribe =
            Subscribe { framework, suppressed_roles: Default::default(), preferences: Default::default() };
        let request = self.request();
        self.step(Event::Subscribe { request, stream: stream.into(), caller, subscribe: subscribe.into() });
    }

    fn call_as(&mut self, caller: Caller, framework: &str, stream: &str, call: Call) {
        let (request, framework_id, stream) = (self.request(), framework.into(), Some(stream.into()));
        self.step(Event::SchedulerCall { request, framework_id, stream, caller, call });
    }

    fn launch_as(&mut self, caller: Caller, operations: Vec<Operation>) {
        let offer_ids = vec!["m-O0".into()];
        let call = Call::Accept { offer_ids, operations, filters: Filters::default() };
        self.call_as(caller, "m-0000", "s1", call);
    }
}

/// A framework of this caller with the offer m-O0.
fn offered(policy: RunAsPolicy, caller: &Caller, user: &str) -> Cluster {
    let config = crate::master::MasterConfig { run_as: policy, ..config("m") };
    let mut c = Cluster::with(config, Registry::default());
    c.subscribe_as(caller.clone(), "s1", FrameworkInfo { user: user.into(), ..framework("f", &["*"]) });
    c.agent(1, "cpus:4;mem:1024;disk:1024");
    c.log();
    c
}

fn task_of(id: &str, user: Option<&str>) -> TaskInfo {
    let mut task = task(id, "m-S0", "cpus:1;mem:32");
    task.command.as_mut().unwrap().user = user.map(str::to_owned);
    task
}

fn launch(tasks: Vec<TaskInfo>) -> Operation {
    Operation::Launch { tasks }
}

#[test]
fn without_credentials_only_unprivileged_users_run_tasks() {
    for (framework_user, task_user, runs) in [
        ("nobody", None, true),
        ("root", Some("nobody"), true),
        ("root", None, false),
        ("", None, false),
        ("nobody", Some("root"), false),
        ("nobody", Some(""), false),
    ] {
        let mut c = offered(RunAsPolicy::default(), &Caller::Anonymous, framework_user);
        c.launch_as(Caller::Anonymous, vec![launch(vec![task_of("t", task_user)])]);
        let log = c.log();
        assert_eq!(log.contains("RunTask"), runs, "{framework_user} {task_user:?}: {log}");
    }
    let mut c = offered(RunAsPolicy::default(), &Caller::Anonymous, "root");
    c.launch_as(Caller::Anonymous, vec![launch(vec![task_of("t", None)])]);
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- Update t Error by Master TaskUnauthorized 'Principal '' no authorized to launch task t of framework m-0000 under user 'root' (frameworks without credentials run tasks as unprivileged users only)'
    "#]],
    );
    let open = RunAsPolicy { anonymous_root: true, ..RunAsPolicy::default() };
    let mut c = offered(open, &Caller::Anonymous, "root");
    c.launch_as(Caller::Anonymous, vec![launch(vec![task_of("t", None)])]);
    assert!(c.log().contains("RunTask"));
}

#[test]
fn executors_and_groups_are_checked_too() {
    let mut custom = executor("e", "cpus:0.1;mem:32;disk:1");
    custom.command.as_mut().unwrap().user = Some("root".into());
    let mut on_executor = task_of("t", None);
    (on_executor.command, on_executor.executor) = (None, Some(custom.clone().into()));
    let mut c = offered(RunAsPolicy::default(), &Caller::Anonymous, "nobody");
    let group = Operation::LaunchGroup {
        executor: custom,
        tasks: vec![task_of("g1", Some("nobody")), task_of("g2", Some("nobody"))],
    };
    c.launch_as(Caller::Anonymous, vec![launch(vec![on_executor]), group]);
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- Update t Error by Master TaskUnauthorized 'Principal '' no authorized to launch task t of framework m-0000 under user 'root' (frameworks without credentials run tasks as unprivileged users only)'
        s1 <- Update g1 Error by Master TaskGroupUnauthorized 'Task 'g1' is not authorized to launch task g1 of framework m-0000 under user 'root' (frameworks without credentials run tasks as unprivileged users only)'
        s1 <- Update g2 Error by Master TaskGroupUnauthorized 'Task 'g1' is not authorized to launch task g1 of framework m-0000 under user 'root' (frameworks without credentials run tasks as unprivileged users only)'
    "#]],
    );
}

#[test]
fn the_first_matching_rule_decides() {
    let some = |names: &[&str]| Entity::Some(names.iter().map(|name| (*name).to_owned()).collect());
    let rule = |principals, users| RunAsRule { principals, users };
    let policy = RunAsPolicy {
        rules: vec![
            rule(some(&["spark"]), some(&["spark", "nobody"])),
            rule(some(&["spark"]), Entity::None),
            rule(Entity::None, some(&["root"])),
        ],
        permissive: true,
        anonymous_root: true,
    };
    for (name, user, runs) in [
        ("spark", "spark", true),
        ("spark", "root", false),
        ("spark", "daemon", false),
        ("other", "daemon", true),
        ("other", "root", false),
        ("other", "", false),
    ] {
        let mut c = offered(policy.clone(), &principal(name), user);
        c.launch_as(principal(name), vec![launch(vec![task_of("t", None)])]);
        let log = c.log();
        assert_eq!(log.contains("RunTask"), runs, "{name} {user}: {log}");
    }
    let closed = RunAsPolicy { permissive: false, ..RunAsPolicy::default() };
    let mut c = offered(closed.clone(), &principal("p"), "nobody");
    c.launch_as(principal("p"), vec![launch(vec![task_of("t", None)])]);
    check(
        &mut c,
        expect![[r#"
        reply Accepted
        s1 <- Update t Error by Master TaskUnauthorized 'Principal 'p' no authorized to launch task t of framework m-0000 under user 'nobody''
    "#]],
    );
    let mut c = offered(closed, &Caller::InProcess, "root");
    c.launch_as(Caller::InProcess, vec![launch(vec![task_of("t", None)])]);
    assert!(c.log().contains("RunTask"));
}

/// A claimed principal gives no rights, and nobody takes over another one's framework.
#[test]
fn frameworks_belong_to_their_callers() {
    let mut c = Cluster::new();
    let named = |id: &str, principal: Option<&str>| FrameworkInfo {
        id: Some(id.into()),
        principal: principal.map(str::to_owned),
        ..framework("f", &["*"])
    };
    c.subscribe_as(principal("p"), "s1", named("own", None));
    c.subscribe_as(principal("q"), "s2", named("own", None));
    c.subscribe_as(principal("q"), "s3", named("own", Some("p")));
    c.subscribe_as(Caller::Anonymous, "s4", named("own", Some("p")));
    c.call_as(Caller::Anonymous, "own", "s1", Call::Request);
    c.call_as(principal("q"), "own", "s1", Call::Request);
    c.call_as(principal("p"), "own", "s1", Call::Request);
    c.subscribe_as(principal("p"), "s5", named("own", Some("p")));
    check(
        &mut c,
        expect![[r#"
        reply Stream
        s1 <- Subscribed own
        reply Stream
        s2 <- Error { reason: Other, message: "Changing framework's principal is not allowed." }
        s2 closed
        reply Invalid: Failed to validate scheduler::Call: Authenticated principal 'q' does not match principal 'p' set in `FrameworkInfo`
        reply Stream
        s4 <- Error { reason: Other, message: "Changing framework's principal is not allowed." }
        s4 closed
        reply Invalid: Authenticated principal '' does not match principal 'p' set in `FrameworkInfo`
        reply Invalid: Authenticated principal 'q' does not match principal 'p' set in `FrameworkInfo`
        reply Accepted
        reply Stream
        s1 <- Error { reason: FailedOver, message: "Framework failed over" }
        s1 closed
        s5 <- Subscribed own
    "#]],
    );
    c.subscribe_as(Caller::InProcess, "s6", named("internal", Some(IN_PROCESS_PRINCIPAL)));
    c.subscribe_as(Caller::Anonymous, "s7", named("internal", Some(IN_PROCESS_PRINCIPAL)));
    c.subscribe_as(Caller::Anonymous, "s8", named("internal", None));
    c.call_as(Caller::Anonymous, "internal", "s6", Call::Teardown);
    check(
        &mut c,
        expect![[r#"
        reply Stream
        s6 <- Subscribed internal
        reply Invalid: Failed to validate scheduler::Call: Authenticated principal '' does not match principal 'catamaran-internal' set in `FrameworkInfo`
        reply Stream
        s8 <- Error { reason: Other, message: "Changing framework's principal is not allowed." }
        s8 closed
        reply Invalid: Authenticated principal '' does not match principal 'catamaran-internal' set in `FrameworkInfo`
    "#]],
    );
}

#[test]
fn a_policy_permits_users_to_callers() {
    use kernel_model::caller::Caller;
    let open = RunAsPolicy::default();
    let principal = Caller::Principal("p".into());
    for (caller, user, permitted) in [
        (&Caller::Anonymous, "", false),
        (&Caller::Anonymous, "root", false),
        (&Caller::Anonymous, "nobody", true),
        (&principal, "", true),
        (&principal, "root", true),
    ] {
        assert_eq!(open.permits(caller, user), permitted, "{caller:?} {user}");
    }
    let rule =
        RunAsRule { principals: Entity::Some(vec!["p".into()]), users: Entity::Some(vec!["nobody".into()]) };
    let strict = RunAsPolicy { rules: vec![rule], permissive: false, anonymous_root: false };
    assert!(strict.permits(&principal, "nobody") && !strict.permits(&principal, "root"));
    assert!(!strict.permits(&Caller::Principal("q".into()), "nobody"));
}
