//! Operations with an id that no agent has confirmed when the master restarts.

use kernel_model::{
    agent::ToMaster, framework::FrameworkInfo, resources::ConversionKind::Reserve, scheduler::Call,
};

use super::{
    cluster::*,
    operations::{finished, offered, operation},
    reservations::reserved,
};
use crate::master::Record;

/// The crash boundary: the master's registry has the operation, and nobody has told the agent. The next master knows it, unless
/// the agent has heard of it and says nothing more.
#[test]
fn an_operation_with_an_id_is_known_after_a_restart() {
    for heard in [false, true] {
        let mut c = offered();
        let before = c.master.agents().next().unwrap().info.clone();
        c.accept("m-0000", "s1", 0, vec![operation("op", Reserve, reserved("cpus:1", &["eng"], None))]);
        let after = c.master.agents().next().unwrap().info.clone();
        c.restart("n");
        c.subscribe("s2", FrameworkInfo { id: Some("m-0000".into()), ..framework("f", &["eng"]) });
        c.log();
        let reconcile = |c: &mut Cluster| {
            let operations = vec![("op".into(), Some("m-S0".into()))];
            c.call("m-0000", "s2", Call::ReconcileOperations { operations });
            c.log()
        };
        let log = reconcile(&mut c);
        assert!(log.contains("op Recovering 'Reconciliation: Agent is recovered but has not"), "{log}");
        c.connect(
            1,
            ToMaster::Reregister {
                info: if heard { after } else { before },
                frameworks: vec![],
                executors: vec![],
                tasks: vec![],
                operations: vec![],
            },
        );
        let log = c.log();
        let sent = "l1 <- CheckpointResources cpus(reservations: [(DYNAMIC,eng)]):1 for op";
        assert_eq!(log.contains(sent), !heard, "{log}");
        let log = reconcile(&mut c);
        let expected = if heard { "op Unknown 'Reconciliation: Operation is unknown'" } else { "op Pending" };
        assert!(log.contains(expected), "{log}");
        finished(&mut c, 1);
        let log = c.log();
        assert_eq!(
            log.contains("s2 <- UpdateOperationStatus op Finished '' (to acknowledge)"),
            !heard,
            "{log}"
        );
        let is_pending = |record: &Record| matches!(record, Record::PendingOperation { .. });
        assert!(!c.master.registry().iter().any(is_pending));
    }
}
