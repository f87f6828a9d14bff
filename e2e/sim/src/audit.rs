//! The facade's auditor over a play: the bindings that the facade has written against what really runs on the machines,
//! which is more than the facade or the master may know.

use std::{collections::BTreeMap, sync::Arc};

use shim_core::{
    audit::{State, audit},
    rows::{Phase, Pod},
    scheduler::{Amounts, PodShape},
};
use shim_model::object::{Header, StoredObject};

use crate::{
    framework::{Item, ItemState},
    world::World,
};

/// What every pod requests, as `framework::needs` has it for the kernel.
const REQUESTS: Amounts = Amounts { cpu_milli: 700, memory: 32 << 20, ephemeral: 0, others: Vec::new() };
/// What every machine has, as `node::RESOURCES` has it for the kernel.
const TOTAL: Amounts = Amounts { cpu_milli: 4000, memory: 1024 << 20, ephemeral: 0, others: Vec::new() };

impl World {
    /// Asks about the pods of one framework.
    pub(crate) fn audit_facade(&mut self, index: usize) {
        let shape = Arc::new(PodShape { requests: REQUESTS, ..PodShape::default() });
        let items = &self.frameworks[index].items;
        let pods: Vec<Pod> = items.iter().map(|(id, item)| row(id.as_str(), item, shape.clone())).collect();
        let names: Vec<String> = self.nodes.iter().map(|node| format!("node{}", node.index)).collect();
        let running = |(node, name)| {
            let node: &crate::node::Node = node;
            let name: &String = name;
            let alive = node.pods.iter().filter(|(_, pod)| pod.outcome.is_none());
            alive.map(move |(id, _)| (id.as_str(), name.as_str()))
        };
        let state = State {
            pods: pods.iter().collect(),
            nodes: Vec::new(),
            tasks: self.nodes.iter().zip(&names).flat_map(running).collect(),
            totals: names.iter().map(|name| (name.as_str(), TOTAL)).collect::<BTreeMap<_, _>>(),
        };
        let notes = audit(&state);
        notes.into_iter().for_each(|note| self.fail(note.to_string()));
    }
}

fn row(id: &str, item: &Item, shape: Arc<PodShape>) -> Pod {
    let header =
        Header { name: id.to_owned(), namespace: "ns".to_owned(), uid: id.to_owned(), ..Header::default() };
    Pod {
        object: Arc::new(StoredObject::bare(header)),
        revision: 0,
        shape,
        node: item.pod.bound_to().map(Box::from),
        scheduled_by_us: true,
        gated: false,
        phase: if matches!(item.state, ItemState::Done(_)) { Phase::Succeeded } else { Phase::Pending },
        ready_since: None,
        scheduled: None,
        restarts: 0,
        ips: Vec::new(),
        hostname: None,
        subdomain: None,
        deletion_cost: 0,
        created: 0,
        deletion: None,
    }
}
