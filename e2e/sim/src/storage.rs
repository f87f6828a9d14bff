//! A framework with persistent volumes: it reserves disk and creates a volume in the ACCEPT that launches a task on it, uses the
//! volume for later tasks, and destroys it and gives the disk back when it has no more work. It wants to know what became of each
//! operation.

use std::collections::BTreeMap;

use kernel_model::{
    ids::{AgentId, OperationId, TaskId, UpdateId},
    labels::Labels,
    offer::{Filters, Offer},
    resources::{
        ConversionKind, Disk, Persistence, Reservation, ReservationKind, Resource, Resources, Scalar,
        VolumeMount,
    },
    roles::Role,
    scheduler::{Call, Operation, OperationState},
    time::Time,
};
use std::time::Duration;

use crate::{
    framework::{ItemState, needs},
    operators::PRINCIPAL,
    world::World,
};

/// How long an operation may be without a status before the framework asks.
const ASK_AFTER: Duration = Duration::from_secs(8);
/// The size of each volume.
const VOLUME: Scalar = Scalar(10_000);
/// Names of volumes on a machine; few, so that a name is used again after its volume was destroyed.
const NAMES: u64 = 4;
/// Operations that carry an id, per thousand.
const WITH_ID: u64 = 700;

/// The operations of a framework, which its process remembers through crashes.
#[derive(Default)]
pub(crate) struct Storage {
    next: u64,
    operations: BTreeMap<OperationId, Sent>,
}

struct Sent {
    agent: AgentId,
    at: Time,
    state: Option<OperationState>,
}

/// Whether the operation will not change any more.
fn is_final(state: OperationState) -> bool {
    use OperationState::*;
    !matches!(state, Pending | Unreachable | Recovering)
}

impl Storage {
    /// Whether the framework knows what became of all its operations.
    pub(crate) fn is_settled(&self) -> bool {
        self.open().is_empty()
    }

    /// The operations that it does not know the end of.
    pub(crate) fn open(&self) -> Vec<&OperationId> {
        let open = self.operations.iter().filter(|(_, sent)| !sent.state.is_some_and(is_final));
        open.map(|(id, _)| id).collect()
    }
}

fn of_framework(resource: &Resource) -> bool {
    resource.reservation().is_some_and(|level| {
        level.kind == ReservationKind::Dynamic && level.principal.as_deref() != Some(PRINCIPAL)
    })
}

fn disk(role: &Role, name: Option<&str>) -> Resource {
    let level = Reservation {
        kind: ReservationKind::Dynamic,
        role: role.clone(),
        principal: None,
        labels: Labels::default(),
    };
    let volume = |name: &str| Disk {
        source: None,
        persistence: Some(Persistence { id: name.to_owned(), principal: None }),
        volume: Some(VolumeMount { container_path: "data".to_owned(), read_only: false }),
    };
    Resource {
        reservations: vec![level],
        disk: name.map(|name| volume(name).into()),
        ..Resource::scalar("disk", VOLUME)
    }
}

fn one(resource: Resource) -> Resources {
    std::iter::once(resource).collect()
}

impl World {
    pub(crate) fn answer_offer_of_volumes(&mut self, index: usize, offer: &Offer) {
        let left = offer.resources.unallocated();
        let pending = self.frameworks[index].items.iter().find(|(_, item)| item.state == ItemState::Pending);
        let pending = pending.map(|(id, _)| id.clone());
        let operations = match pending {
            Some(id) => self.use_volume(index, offer, &left, id),
            None => self.give_back(index, offer, &left),
        };
        let offer_ids = vec![offer.id.clone()];
        if operations.is_empty() {
            let filters = Filters { refuse: Duration::from_secs(20) };
            self.send_call(index, Call::Decline { offer_ids, filters }, None);
            return;
        }
        let filters = Filters { refuse: Duration::from_millis(self.variety.random.below(3) * 1000) };
        self.send_call(index, Call::Accept { offer_ids, operations, filters }, None);
    }

    /// Launches a task on a volume of the offer, or on a new one.
    fn use_volume(&mut self, index: usize, offer: &Offer, left: &Resources, id: TaskId) -> Vec<Operation> {
        let plain = left.filter(|resource| resource.disk.is_none());
        let Some(mut resources) = plain.find(&needs()) else { return Vec::new() };
        let mut operations = Vec::new();
        let mut volumes: Vec<Resource> = left.persistent_volumes().into_iter().filter(of_framework).collect();
        let volume = match volumes.pop() {
            Some(known) => known,
            None => {
                let reserved = disk(&offer.role, None);
                if !left.contains(&one(reserved.clone())) {
                    let unreserved = Resource { reservations: Vec::new(), ..reserved.clone() };
                    if !left.contains(&one(unreserved)) {
                        return Vec::new();
                    }
                    operations.push(self.operation(index, offer, ConversionKind::Reserve, one(reserved)));
                }
                let name = format!("v{}", self.variety.random.below(NAMES));
                let volume = disk(&offer.role, Some(&name));
                operations.push(self.operation(index, offer, ConversionKind::Create, one(volume.clone())));
                volume
            }
        };
        resources.add(volume);
        let now = self.now;
        let framework = &mut self.frameworks[index];
        let mut task = framework.task(&id, &offer.agent_id);
        task.resources = resources;
        let item = framework.items.get_mut(&id).expect("one of its items");
        item.state = ItemState::Intended;
        item.agent = Some(offer.agent_id.clone());
        (item.since, item.asked) = (now, now);
        self.note(format_args!("framework {index} launches {id} with {} operations", operations.len()));
        operations.push(Operation::Launch { tasks: vec![task] });
        operations
    }

    /// Destroys volumes and gives back what is reserved.
    fn give_back(&mut self, index: usize, offer: &Offer, left: &Resources) -> Vec<Operation> {
        let own = left.filter(of_framework);
        let volumes = own.persistent_volumes();
        let mut operations = Vec::new();
        if !volumes.is_empty() {
            operations.push(self.operation(index, offer, ConversionKind::Destroy, volumes.clone()));
        }
        let plain = ConversionKind::Destroy.of(&volumes).apply(&own).unwrap_or_default();
        if !plain.is_empty() {
            operations.push(self.operation(index, offer, ConversionKind::Unreserve, plain));
        }
        operations
    }

    fn operation(
        &mut self,
        index: usize,
        offer: &Offer,
        kind: ConversionKind,
        resources: Resources,
    ) -> Operation {
        let now = self.now;
        let with_id = self.variety.random.permille(WITH_ID);
        let storage = &mut self.frameworks[index].storage;
        let id = with_id.then(|| {
            storage.next += 1;
            let id = OperationId::new(format!("op-{}", storage.next));
            let sent = Sent { agent: offer.agent_id.clone(), at: now, state: None };
            storage.operations.insert(id.clone(), sent);
            id
        });
        self.note(format_args!("framework {index} wants {} {resources} as {id:?}", kind.name()));
        Operation::Convert { id, kind, resources }
    }

    pub(crate) fn operation_status_arrives(
        &mut self,
        index: usize,
        operation_id: OperationId,
        state: OperationState,
        agent_id: Option<AgentId>,
        uuid: Option<UpdateId>,
    ) {
        self.note(format_args!("framework {index} hears of {operation_id}: {state:?}"));
        let Some(sent) = self.frameworks[index].storage.operations.get_mut(&operation_id) else { return };
        let known = sent.state.filter(|known| is_final(*known));
        sent.state = Some(known.filter(|known| *known != OperationState::Unknown).unwrap_or(state));
        let contradicts =
            known == Some(OperationState::Finished) && uuid.is_some() && state != OperationState::Finished;
        if contradicts {
            self.fail(format!("{operation_id} was finished and is {state:?}"));
        }
        if let (Some(uuid), Some(agent_id)) = (uuid, agent_id) {
            self.send_call(index, Call::AcknowledgeOperationStatus { agent_id, operation_id, uuid }, None);
        }
    }

    /// Asks about operations that nothing was heard of. Without work, the framework wants its volumes offered.
    pub(crate) fn wake_storage(&mut self, index: usize) {
        let now = self.now;
        let mut operations = Vec::new();
        for (id, sent) in &mut self.frameworks[index].storage.operations {
            if !sent.state.is_some_and(is_final) && now.since(sent.at) >= ASK_AFTER {
                sent.at = now;
                operations.push((id.clone(), Some(sent.agent.clone())));
            }
        }
        if !operations.is_empty() {
            self.send_call(index, Call::ReconcileOperations { operations }, None);
        }
        if self.frameworks[index].is_done() && now.since(self.frameworks[index].revived).as_secs() >= 6 {
            self.frameworks[index].revived = now;
            self.send_call(index, Call::Revive { roles: vec![] }, None);
        }
    }
}
