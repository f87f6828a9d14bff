//! Operations: what they make of the machine is checkpointed, their statuses are repeated, and volumes follow tasks.

use std::collections::BTreeSet;

use kernel_model::{
    agent::{Launch, ToAgent, ToMaster},
    labels::Labels,
    operation::{AppliedOperations, OfferOperation, OperationUuid},
    resources::{
        Conversion, ConversionKind, Disk, Persistence, Reservation, ReservationKind, Resource, Resources,
        VolumeMount,
    },
    roles::Role,
    scheduler::OperationState,
    task::TaskInfo,
    time::Time,
};

use super::script::config;
use crate::{
    agent::{Agent, Config, Effect, Effects, Event, LinkedVolume, Record},
    master::tests::cluster::{framework, task},
};

fn of_machine(resources: &str) -> Config {
    let mut config = config(1);
    config.info.resources = resources.parse().unwrap();
    config
}

/// The same resources, reserved for `eng`.
fn reserved(text: &str) -> Resources {
    let level = Reservation {
        kind: ReservationKind::Dynamic,
        role: Role::parse("eng").unwrap(),
        principal: None,
        labels: Labels::default(),
    };
    let plain: Resources = text.parse().unwrap();
    plain.iter().map(|one| Resource { reservations: vec![level.clone()], ..one.clone() }).collect()
}

fn volume(id: &str, path: &str) -> Resources {
    let disk = Disk {
        source: None,
        persistence: Some(Persistence { id: id.into(), principal: None }),
        volume: Some(VolumeMount { container_path: path.into(), read_only: false }),
    };
    let with_disk = |one: &Resource| Resource { disk: Some(disk.clone().into()), ..one.clone() };
    reserved("disk:10").iter().map(with_disk).collect()
}

fn applied(count: u64, volumes: &Resources) -> AppliedOperations {
    let before = AppliedOperations { count: count - 1, ..Default::default() };
    before.after(&Conversion { consumed: Resources::new(), converted: volumes.clone() })
}

fn operation(resources: &Resources) -> OfferOperation {
    OfferOperation {
        uuid: OperationUuid([7; 16]),
        framework_id: "F".into(),
        id: "op".into(),
        kind: ConversionKind::Reserve,
        resources: resources.clone(),
        state: OperationState::Pending,
        message: String::new(),
        status: None,
    }
}

fn registered(machine: &str) -> Agent {
    let mut agent = Agent::new(of_machine(machine));
    let _ = register(&mut agent, Time::default());
    agent
}

fn register(agent: &mut Agent, now: Time) -> Effects {
    let _ = agent.step(now, Event::LinkUp);
    let (agent_id, ping_interval) = ("A0".into(), std::time::Duration::ZERO);
    let message = ToAgent::Registered { agent_id, ping_interval, ping_timeouts: 5 };
    agent.step(now, Event::FromMaster(message))
}

fn from_master(agent: &mut Agent, message: ToAgent) -> Effects {
    agent.step(Time::default(), Event::FromMaster(message))
}

fn statuses(effects: &Effects) -> Vec<OfferOperation> {
    let status = |effect: &Effect| match effect {
        Effect::ToMaster(ToMaster::OperationStatus { operation }) => Some(OfferOperation::clone(operation)),
        _ => None,
    };
    effects.after_persist.iter().filter_map(status).collect()
}

#[test]
fn what_operations_make_is_checkpointed_and_follows_the_machine() {
    let mut agent = registered("cpus:4;disk:20");
    let mut made = reserved("cpus:3");
    made += &volume("v", "data");
    let applied = applied(2, &made);
    let set = ToAgent::CheckpointResources {
        resources: made.clone(),
        applied: applied.clone(),
        operations: Vec::new(),
    };
    let effects = from_master(&mut agent, set.clone());
    assert_eq!(effects.persist, [Record::Resources { resources: made.clone(), applied: applied.clone() }]);
    let volumes = applied.volumes.clone();
    assert_eq!(effects.after_persist, [Effect::SyncVolumes { agent_id: "A0".into(), volumes }]);
    assert!(from_master(&mut agent, set).is_empty(), "it is known already");
    let shown = "cpus:1; cpus(reservations: [(DYNAMIC,eng)]):3; disk:10; \
                 disk(reservations: [(DYNAMIC,eng)])[v:data]:10";
    assert_eq!(agent.info().resources.to_string(), shown);
    let records = agent.records();
    let recover = |machine: &str, records| {
        Agent::recover(of_machine(machine), Time::default(), records, &Default::default())
    };
    let (agent, effects) = recover("cpus:4;disk:20", records.clone());
    assert_eq!((agent.info().resources.to_string().as_str(), agent.records()), (shown, records.clone()));
    assert!(matches!(&effects.after_persist[..], [Effect::SyncVolumes { .. }]));
    assert_eq!(agent.info().operations, applied);
    // A smaller machine keeps in mind what it cannot hold, until it can again.
    let smaller = recover("cpus:2;disk:5", records.clone()).0;
    assert_eq!(smaller.info().resources.to_string(), "cpus:2; disk:5");
    assert_eq!(*smaller.unmet_resources(), made);
    assert_eq!(smaller.info().operations, applied, "the files of its volumes stay");
    assert_eq!(recover("cpus:4;disk:20", smaller.records()).0.info().resources.to_string(), shown);
    // So it does when the master, which does not know of it, makes more.
    let mut smaller = recover("cpus:2;disk:5", records).0;
    let _ = register(&mut smaller, Time::default());
    let more = reserved("cpus:1");
    let next = applied.after(&Conversion { consumed: Resources::new(), converted: more.clone() });
    let set = ToAgent::CheckpointResources { resources: more.clone(), applied: next, operations: Vec::new() };
    let _ = from_master(&mut smaller, set);
    assert_eq!(smaller.info().resources.to_string(), "cpus:1; cpus(reservations: [(DYNAMIC,eng)]):1; disk:5");
    let larger = recover("cpus:8;disk:20", smaller.records()).0;
    let again = "cpus:4; cpus(reservations: [(DYNAMIC,eng)]):4; disk:10; disk(reservations: [(DYNAMIC,eng)])[v:data]:10";
    assert_eq!(larger.info().resources.to_string(), again);
}

#[test]
fn a_volume_that_cannot_be_made_has_failed_and_the_master_is_told() {
    let mut agent = registered("cpus:4;disk:30");
    let made = volume("v", "data");
    let set = ToAgent::CheckpointResources {
        resources: made.clone(),
        applied: applied(1, &made),
        operations: vec![OfferOperation { kind: ConversionKind::Create, ..operation(&made) }],
    };
    let effects = from_master(&mut agent, set.clone());
    assert!(statuses(&effects).is_empty(), "nothing is known about the directory: {effects:?}");
    // The master asks again, and once is enough.
    assert!(from_master(&mut agent, set).is_empty());
    let id = made.iter().next().unwrap().volume_id().unwrap();
    let failed = [(id.clone(), "no room".to_owned())].into();
    let effects = agent.step(Time::default(), Event::VolumesSynced { failed });
    let sent = statuses(&effects);
    assert_eq!((sent[0].state, sent[0].message.as_str()), (OperationState::Failed, "no room"));
    assert!(matches!(&effects.persist[..], [Record::Operation { .. }]), "{effects:?}");
    let told = Effect::ToMaster(ToMaster::VolumesFailed { volumes: vec![id.clone()] });
    assert!(effects.after_persist.contains(&told), "{effects:?}");
    // One that was there before may have data: its tasks fail, and it stays.
    let failed = [(id, "the disk does not answer".to_owned())].into();
    assert!(agent.step(Time::default(), Event::VolumesSynced { failed }).is_empty());
}

#[test]
fn a_status_is_repeated_until_it_is_acknowledged_whatever_crashes() {
    let mut agent = registered("cpus:4");
    let made = reserved("cpus:3");
    let set = ToAgent::CheckpointResources {
        resources: made.clone(),
        applied: applied(1, &made),
        operations: vec![operation(&made)],
    };
    let effects = from_master(&mut agent, set.clone());
    let [Record::Resources { .. }, Record::Operation { operation: recorded }] = &effects.persist[..] else {
        panic!("{:?}", effects.persist)
    };
    let first = statuses(&effects);
    assert_eq!((first.len(), first[0].state), (1, OperationState::Finished));
    assert_eq!((first[0].clone(), first[0].status.is_some()), (OfferOperation::clone(recorded), true));
    // The master asks again: the same status, and nothing new to record.
    let again = from_master(&mut agent, set);
    assert_eq!((again.persist.len(), statuses(&again)), (0, first.clone()));
    let deadline = agent.next_deadline().unwrap();
    assert_eq!(statuses(&agent.step(deadline, Event::Tick)), first);
    // After a crash it is among what the agent reports, and sent when it is registered.
    let records = agent.records();
    let recovered = Agent::recover(of_machine("cpus:4"), deadline, records, &BTreeSet::new());
    let mut agent = recovered.0;
    let reported = agent.step(deadline, Event::LinkUp);
    let Some(Effect::ToMaster(ToMaster::Reregister { operations, .. })) = reported.after_persist.first()
    else {
        panic!("{reported:?}")
    };
    assert_eq!(*operations, first);
    let (agent_id, ping_interval) = ("A0".into(), std::time::Duration::ZERO);
    let message =
        ToAgent::Reregistered { agent_id, ping_interval, ping_timeouts: 5, unknown_here: Vec::new() };
    assert_eq!(statuses(&agent.step(deadline, Event::FromMaster(message))), first);
    let uuid = first[0].uuid;
    let acknowledge = |status| ToAgent::AcknowledgeOperation { operation: uuid, status };
    let other = acknowledge(kernel_model::ids::UpdateId([1; 16]));
    assert!(agent.step(deadline, Event::FromMaster(other)).persist.is_empty());
    let done = acknowledge(first[0].status.unwrap());
    let effects = agent.step(deadline, Event::FromMaster(done));
    assert_eq!(effects.persist, [Record::OperationDone { uuid }]);
    assert_eq!((agent.operations().count(), agent.next_deadline()), (0, None));
}

#[test]
fn volumes_are_linked_for_their_tasks_and_paths_do_not_clash() {
    let mut agent = registered("cpus:4;disk:30");
    let run = |agent: &mut Agent, tasks: Vec<TaskInfo>, new| {
        let framework =
            kernel_model::framework::FrameworkInfo { id: Some("F".into()), ..framework("f", &["eng"]) };
        let executor = super::script::executor("e", false);
        let message = ToAgent::RunTask {
            framework: framework.into(),
            executor: Some(executor.into()),
            launch: Launch::Group(tasks),
            launch_executor: new,
        };
        from_master(agent, message)
    };
    let with = |id: &str, volume: Resources| TaskInfo { resources: volume, ..task(id, "A0", "cpus:1") };
    let linked = |name: &str, path: &str| LinkedVolume {
        id: volume(name, path).iter().next().unwrap().volume_id().unwrap(),
        container_path: path.into(),
        read_only: false,
    };
    let effects = run(&mut agent, vec![with("t1", volume("a", "data"))], true);
    let started = effects.after_persist.iter().find_map(|effect| match effect {
        Effect::Start(start) => Some(start.volumes.clone()),
        _ => None,
    });
    assert_eq!(started, Some(vec![linked("a", "data")]));
    let effects = run(&mut agent, vec![with("t2", volume("b", "more"))], false);
    let both = [linked("a", "data"), linked("b", "more")];
    let link = |effect: &Effect| matches!(effect, Effect::LinkVolumes { volumes, .. } if volumes[..] == both);
    assert!(effects.after_persist.iter().any(link), "{effects:?}");
    let refused = run(&mut agent, vec![with("t3", volume("c", "data"))], false);
    let shown = format!("{:?}", refused.after_persist);
    assert!(shown.contains("Another persistent volume is mounted at 'data'"), "{shown}");
}
