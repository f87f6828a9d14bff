//! What goes into the state machine and what comes out.

use bytes::Bytes;
use prost::Message;

use crate::{master::Endpoint, wire};

/// A way in.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// `start()`.
    Start,
    /// There is no way to find a master; the driver aborts.
    StartFailed(String),
    /// `stop(failover)`.
    #[allow(missing_docs)]
    Stop { failover: bool },
    /// `abort()`.
    Abort,
    /// Any other method of the driver.
    Request(Request),
    /// The master that leads now, if one is known.
    Leader(Option<Endpoint>),
    /// The subscription was answered with 200.
    StreamOpened {
        /// The number in [`Effect::Connect`].
        stream: u64,
        /// The header `Mesos-Stream-Id`.
        id: String,
    },
    /// A record of the stream.
    #[allow(missing_docs)]
    Record { stream: u64, record: Bytes },
    /// The stream has ended, or was never opened.
    #[allow(missing_docs)]
    StreamClosed { stream: u64, reason: CloseReason },
    /// The answer to [`Effect::Call`].
    #[allow(missing_docs)]
    CallAnswered { call: u64, outcome: CallOutcome },
    /// The callback of the last [`Effect::Callback`] has returned.
    CallbackReturned {
        /// The exception that it threw.
        thrown: Option<String>,
    },
    /// [`super::Driver::next_deadline`] has passed.
    Tick,
}

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

/// Why a stream is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The connection failed, ended, or was answered with an error that may pass.
    Lost(String),
    /// 307: another master leads.
    Redirected(Endpoint),
    /// The master refuses this framework.
    Refused(String),
}

/// How a call was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome {
    /// 202 or 200.
    Accepted,
    /// The call is refused for what it says; the stream goes on.
    Rejected(String),
    /// The call may not have arrived, or this stream is not the master's any more.
    Lost(String),
}

/// A way out. Effects are carried out in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Run a callback and report [`Event::CallbackReturned`].
    Callback(Callback),
    /// Send SUBSCRIBE and report its answer and records under the number of the stream.
    #[allow(missing_docs)]
    Connect { stream: u64, to: Endpoint, body: Bytes },
    /// Close the stream; nothing of it is awaited any more.
    #[allow(missing_docs)]
    Disconnect { stream: u64 },
    /// Send a call on the stream with this `Mesos-Stream-Id` and report [`Event::CallAnswered`].
    #[allow(missing_docs)]
    Call { call: u64, to: Endpoint, stream_id: String, body: Bytes },
    /// Look for the leading master and report each change as [`Event::Leader`].
    Detect,
    /// Tell the operator.
    Log(String),
    /// Everything that was to be sent has been sent or given up: close what is open.
    Closed,
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

impl Callback {
    /// The name of the Java method.
    pub fn method(&self) -> &'static str {
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
