//! Which descriptions are of one executor.

use std::{sync::Arc, time::Duration};

use expect_test::expect;
use kernel_model::{executor::ExecutorInfo, labels::Labels, scheduler::Operation};

use super::cluster::*;

#[test]
fn the_order_of_variables_and_labels_make_no_other_executor() {
    let mut c = Cluster::new();
    c.subscribe("s1", framework("f", &["*"]));
    c.agent(1, "cpus:4;mem:1024;ports:[1-10]");
    c.log();
    let on = |id: &str, change: &dyn Fn(&mut ExecutorInfo)| {
        let mut task = on_executor(task(id, "m-S0", "cpus:0.5"), executor("e", "cpus:0.5;mem:32"));
        let executor = Arc::make_mut(task.executor.as_mut().unwrap());
        let variable = |name: &str| (name.to_owned(), "secret".to_owned());
        executor.command.as_mut().unwrap().environment = vec![variable("A"), variable("B")];
        change(executor);
        task
    };
    let same = on("b", &|executor| {
        executor.command.as_mut().unwrap().environment.reverse();
        executor.shutdown_grace = Some(Duration::from_secs(1));
        executor.labels = Labels::default().with("k", "v");
    });
    let other = on("c", &|executor| {
        executor.command.as_mut().unwrap().environment.pop();
    });
    let tasks = vec![on("a", &|_| ()), same, other];
    c.accept("m-0000", "s1", 0, vec![Operation::Launch { tasks }]);
    expect![[r#"
        reply Accepted
        l1 <- RunTask task a on new e
        l1 <- RunTask task b on running e
        s1 <- Update c Error by Master TaskInvalid 'ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.
        ------------------------------------------------------------
        Existing ExecutorInfo:
        command: value 'exec', shell true, arguments [], user '', variables {"A", "B"} (without values), URIs {}
        ------------------------------------------------------------
        ExecutorInfo:
        command: value 'exec', shell true, arguments [], user '', variables {"A"} (without values), URIs {}
        ------------------------------------------------------------
        '
    "#]].assert_eq(&c.log());
}
