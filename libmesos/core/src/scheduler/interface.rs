//! What goes into the state machine and what comes out.

use bytes::Bytes;
use prost::Message;

use crate::{machine, wire};

/// A way in.
pub type Event = machine::Event<Request>;
/// A way out.
pub type Effect = machine::Effect<Callback>;

/// A method of the driver that leads to a call. Messages are encoded.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Request {
    Accept {
        offers: Vec<Bytes>,
        operations: Vec<Bytes>,
        filters: Option<Bytes>,
    },
    Decline {
        offer: Bytes,
        filters: Option<Bytes>,
    },
    Kill {
        task: Bytes,
    },
    /// The encoded `TaskStatus`.
    Acknowledge {
        status: Bytes,
    },
    Message {
        executor: Bytes,
        agent: Bytes,
        data: Bytes,
    },
    /// Encoded `TaskStatus`es; none reconciles all tasks.
    Reconcile {
        statuses: Vec<Bytes>,
    },
    /// `None` means all roles.
    Revive(Option<Vec<String>>),
    /// `None` means all roles.
    Suppress(Option<Vec<String>>),
    Resources(Vec<Bytes>),
    UpdateFramework {
        framework: Bytes,
        suppressed_roles: Vec<String>,
        constraints: Option<Bytes>,
    },
}

impl Request {
    /// `launchTasks`: one operation LAUNCH.
    pub fn launch(offers: Vec<Bytes>, tasks: Vec<Bytes>, filters: Option<Bytes>) -> Self {
        let operation = wire::LaunchOperation {
            r#type: Some(wire::LAUNCH),
            launch: Some(wire::TaskInfos { task_infos: tasks }),
        };
        Request::Accept { offers, operations: vec![operation.encode_to_vec().into()], filters }
    }
}

/// A method of the framework's `Scheduler`. Messages are encoded.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Callback {
    Registered {
        framework_id: Bytes,
        master: Bytes,
    },
    Reregistered {
        master: Bytes,
    },
    Disconnected,
    ResourceOffers {
        offers: Vec<Bytes>,
    },
    OfferRescinded {
        offer: Bytes,
    },
    StatusUpdate {
        status: Bytes,
    },
    FrameworkMessage {
        executor: Bytes,
        agent: Bytes,
        data: Bytes,
    },
    AgentLost {
        agent: Bytes,
    },
    /// The raw wait status.
    ExecutorLost {
        executor: Bytes,
        agent: Bytes,
        status: i32,
    },
    Error {
        message: String,
    },
}

impl machine::Callback for Callback {
    fn method(&self) -> String {
        format!("Scheduler.{}", self.name())
    }
}

impl Callback {
    /// The name of the Java method.
    pub fn name(&self) -> &'static str {
        match self {
            Callback::Registered { .. } => "registered",
            Callback::Reregistered { .. } => "reregistered",
            Callback::Disconnected => "disconnected",
            Callback::ResourceOffers { .. } => "resourceOffers",
            Callback::OfferRescinded { .. } => "offerRescinded",
            Callback::StatusUpdate { .. } => "statusUpdate",
            Callback::FrameworkMessage { .. } => "frameworkMessage",
            Callback::AgentLost { .. } => "slaveLost",
            Callback::ExecutorLost { .. } => "executorLost",
            Callback::Error { .. } => "error",
        }
    }
}
