//! The TTL controller: the annotation `node.alpha.kubernetes.io/ttl` of each Node says for how many seconds its kubelet may keep
//! Secrets and ConfigMaps before it reads them again. The more nodes there are, the longer, so that their reads stay bounded.

use serde_json::json;
use shim_model::access;

use super::{
    Action, Change, ChangeKind, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Target, View, served,
};

const ANNOTATION: &str = "node.alpha.kubernetes.io/ttl";

/// The numbers of nodes from and up to which a TTL in seconds may stay. They overlap, so that a cluster at a boundary does not
/// change its TTL with every node. Upstream's numbers.
const STEPS: &[(usize, usize, i64)] =
    &[(0, 100, 0), (90, 500, 15), (450, 1_000, 30), (900, 2_000, 60), (1_800, usize::MAX, 300)];

/// The TTL of a node that has `current`, in a cluster of this many nodes.
fn desired(current: Option<i64>, nodes: usize) -> i64 {
    let stays = STEPS.iter().find(|(from, to, ttl)| current == Some(*ttl) && (*from..=*to).contains(&nodes));
    let lowest = || STEPS.iter().find(|(_, to, _)| nodes <= *to);
    stays.or_else(lowest).map_or(0, |(_, _, ttl)| *ttl)
}

/// Keeps the annotation of every Node.
pub struct TtlController;

impl Controller for TtlController {
    const NAME: &'static str = "ttl-controller";
    const SERVICE_ACCOUNT: &'static str = "ttl-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "nodes")]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        // As upstream, a changed number of nodes reaches each node with its next change.
        if change.kind != ChangeKind::Deleted {
            keys.insert(change.name());
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let nodes = served("", "nodes");
        let Some(node) = view.named(key) else { return plan };
        let value = node.value();
        let current = access::text(&value, &["metadata", "annotations", ANNOTATION]).parse().ok();
        let count = view.counts("").find(|(resource, _)| **resource == nodes).map_or(0, |(_, count)| count);
        let wanted = desired(current, count);
        if current != Some(wanted) {
            let patch = json!({"metadata": {"annotations": {ANNOTATION: wanted.to_string()}}});
            let target = Target::of(nodes, node.header());
            plan.actions.push(Action::Change {
                target,
                subresource: None,
                changes: vec![Change::Merge(patch)],
            });
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ttl_grows_with_the_cluster_and_stays_near_a_boundary() {
        let table = [
            (None, 1, 0),
            (None, 100, 0),
            (None, 101, 15),
            (Some(0), 95, 0),
            (Some(15), 95, 15),
            (Some(15), 89, 0),
            (Some(15), 501, 30),
            (Some(7), 3_000, 300),
            (Some(300), 1_800, 300),
            (Some(300), 1_799, 60),
        ];
        for (current, nodes, ttl) in table {
            assert_eq!(desired(current, nodes), ttl, "{current:?} of {nodes}");
        }
    }
}
