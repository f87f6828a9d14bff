//! Hollow agents with a real master.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use kernel_model::{
    executor::CommandInfo,
    framework::{FrameworkCapability, FrameworkInfo},
    labels::Labels,
    offer::{Filters, Offer},
    operator,
    resources::Resources,
    roles::Role,
    scheduler::{Call, Event, Operation, Subscribe},
    task::{TaskInfo, TaskState},
};

use super::{HollowOptions, start};
use crate::{
    driver::SchedulerDriver,
    server::{self, MasterOptions},
};

const MACHINES: u32 = 200;

fn framework() -> FrameworkInfo {
    FrameworkInfo {
        user: "root".into(),
        name: "test".into(),
        id: None,
        failover_timeout: Duration::ZERO,
        checkpoint: true,
        roles: vec![Role::any()],
        hostname: String::new(),
        principal: None,
        webui_url: String::new(),
        capabilities: BTreeSet::from([FrameworkCapability::MultiRole, FrameworkCapability::PartitionAware]),
        labels: Labels::default(),
        extra: Bytes::new(),
    }
}

fn launch(offer: Offer) -> Call {
    let share: Resources = "cpus:1;mem:64".parse().unwrap();
    let task = TaskInfo {
        name: String::new(),
        task_id: offer.agent_id.as_str().into(),
        agent_id: offer.agent_id,
        resources: share.allocated_to(&offer.role),
        zero_resources: Vec::new(),
        executor: None,
        command: Some(CommandInfo { shell: true, value: Some("true".into()), ..CommandInfo::default() }),
        kill_grace: None,
        max_completion_time: None,
        image: None,
        data: "what to run".into(),
        labels: Labels::default(),
        extra: Bytes::new(),
    };
    let operations = vec![Operation::Launch { tasks: vec![task] }];
    Call::Accept {
        offer_ids: vec![offer.id],
        operations,
        filters: Filters { refuse: Duration::from_secs(600) },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hollow_agents_take_report_and_end_tasks() {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = MasterOptions::new(Arc::new(store::MemoryStore::new()), listen);
    let master = server::start(options).await.unwrap();
    let driver = master.in_process_driver();
    let subscribe = Subscribe {
        framework: framework(),
        suppressed_roles: BTreeSet::new(),
        preferences: Default::default(),
    };
    let mut events = driver.subscribe(subscribe).await.unwrap();
    let Some(Event::Subscribed { framework_id, .. }) = events.recv().await else { panic!("not subscribed") };
    let status_data: super::StatusData = Arc::new(|agent, task, states| {
        let data = |state| format!("{} {:?} {state:?}", agent.hostname, task.data).into();
        states.iter().map(data).collect()
    });
    let options = HollowOptions { status_data, ..HollowOptions::new() };
    let _hollow = start(MACHINES, &master, options);
    let (_, mut cluster) = driver.watch_cluster().await.unwrap();
    let (mut running, mut killed, mut launched) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    while killed.len() < MACHINES as usize {
        let event = tokio::time::timeout(Duration::from_secs(60), events.recv()).await.unwrap().unwrap();
        match event {
            Event::Offers { offers } => {
                // What a killed task held is offered again.
                for offer in offers.into_iter().filter(|offer| launched.insert(offer.agent_id.clone())) {
                    driver.call(&framework_id, launch(Offer::clone(&offer))).await.unwrap();
                }
            }
            Event::Update { status } => {
                let (agent_id, task_id) = (status.agent_id.clone().unwrap(), status.task_id.clone());
                let uuid = status.uuid.unwrap();
                let acknowledge = Call::Acknowledge { agent_id, task_id: task_id.clone(), uuid };
                driver.call(&framework_id, acknowledge).await.unwrap();
                match status.state {
                    TaskState::Running => {
                        let text = String::from_utf8(status.data.to_vec()).unwrap();
                        assert!(text.starts_with("hollow-") && text.contains("what to run"), "{text}");
                        running.insert(task_id.clone());
                        let kill = Call::Kill { task_id, agent_id: None, grace: None };
                        driver.call(&framework_id, kill).await.unwrap();
                    }
                    TaskState::Killed => {
                        killed.insert(task_id);
                    }
                    TaskState::Starting => {}
                    other => panic!("{task_id} is {other:?}: {:?}", status.message),
                }
            }
            _ => {}
        }
    }
    assert_eq!(running, killed);
    let mut updated = 0;
    while let Ok(event) = cluster.try_recv() {
        let of_task =
            matches!(event, operator::Event::TaskAdded { .. } | operator::Event::TaskUpdated { .. });
        assert!(!of_task, "who watches the cluster hears of no tasks: {event:?}");
        updated += usize::from(matches!(event, operator::Event::AgentUpdated { .. }));
    }
    assert!(updated >= MACHINES as usize);
}
