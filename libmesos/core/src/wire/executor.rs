//! The parts of the v1 executor API that the executor driver reads and writes.

use bytes::Bytes;
use prost::Message;

use super::Id;

/// Type numbers of calls.
#[allow(missing_docs)]
pub mod call {
    pub const SUBSCRIBE: i32 = 1;
    pub const UPDATE: i32 = 2;
    pub const MESSAGE: i32 = 3;
}

/// A call to the agent.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Call {
    #[prost(message, required, tag = "1")]
    pub executor_id: Id,
    #[prost(message, required, tag = "2")]
    pub framework_id: Id,
    #[prost(int32, optional, tag = "3")]
    pub r#type: Option<i32>,
    #[prost(message, optional, tag = "4")]
    pub subscribe: Option<Subscribe>,
    #[prost(message, optional, tag = "5")]
    pub update: Option<Update>,
    #[prost(message, optional, tag = "6")]
    pub message: Option<CallMessage>,
}

/// `Call.Subscribe`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Subscribe {
    #[prost(message, repeated, tag = "1")]
    pub unacknowledged_tasks: Vec<Task>,
    #[prost(message, repeated, tag = "2")]
    pub unacknowledged_updates: Vec<Update>,
}

/// What identifies a `TaskInfo`, with its required members.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Task {
    #[prost(string, required, tag = "1")]
    pub name: String,
    #[prost(message, required, tag = "2")]
    pub task_id: Id,
    #[prost(message, required, tag = "3")]
    pub agent_id: Id,
}

/// `Call.Update`: an encoded `TaskStatus`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Update {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub status: Bytes,
}

/// `Call.Message`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct CallMessage {
    #[prost(bytes = "bytes", required, tag = "2")]
    pub data: Bytes,
}

/// Members that the driver appends to a `TaskStatus` of the executor; a decoder takes the last value of a member.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct StatusOrigin {
    #[prost(message, optional, tag = "5")]
    pub agent_id: Option<Id>,
    #[prost(double, optional, tag = "6")]
    pub timestamp: Option<f64>,
    #[prost(int32, optional, tag = "9")]
    pub source: Option<i32>,
    #[prost(bytes = "bytes", optional, tag = "11")]
    pub uuid: Option<Bytes>,
}

/// The number of `SOURCE_EXECUTOR`.
pub const SOURCE_EXECUTOR: i32 = 2;

/// Type numbers of events.
#[allow(missing_docs)]
pub mod event {
    pub const SUBSCRIBED: i32 = 1;
    pub const LAUNCH: i32 = 2;
    pub const KILL: i32 = 3;
    pub const ACKNOWLEDGED: i32 = 4;
    pub const MESSAGE: i32 = 5;
    pub const ERROR: i32 = 6;
    pub const SHUTDOWN: i32 = 7;
    pub const LAUNCH_GROUP: i32 = 8;
}

/// An event of the agent.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Event {
    #[prost(int32, optional, tag = "1")]
    pub r#type: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub subscribed: Option<Subscribed>,
    #[prost(message, optional, tag = "3")]
    pub acknowledged: Option<Acknowledged>,
    #[prost(message, optional, tag = "4")]
    pub launch: Option<Launch>,
    #[prost(message, optional, tag = "5")]
    pub kill: Option<Kill>,
    #[prost(message, optional, tag = "6")]
    pub message: Option<EventMessage>,
    #[prost(message, optional, tag = "7")]
    pub error: Option<super::Error>,
    #[prost(message, optional, tag = "8")]
    pub launch_group: Option<LaunchGroup>,
}

/// `Event.Subscribed`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Subscribed {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub executor_info: Bytes,
    #[prost(bytes = "bytes", required, tag = "2")]
    pub framework_info: Bytes,
    #[prost(bytes = "bytes", required, tag = "3")]
    pub agent_info: Bytes,
}

/// `Event.Acknowledged`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Acknowledged {
    #[prost(message, required, tag = "1")]
    pub task_id: Id,
    #[prost(bytes = "bytes", required, tag = "2")]
    pub uuid: Bytes,
}

/// `Event.Launch`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Launch {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub task: Bytes,
}

/// `Event.LaunchGroup`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct LaunchGroup {
    #[prost(message, required, tag = "1")]
    pub task_group: TaskGroup,
}

/// `TaskGroupInfo`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct TaskGroup {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub tasks: Vec<Bytes>,
}

/// `Event.Kill`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Kill {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub task_id: Bytes,
}

/// `Event.Message`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct EventMessage {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub data: Bytes,
}
