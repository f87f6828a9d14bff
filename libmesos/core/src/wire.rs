//! The parts of the v1 scheduler API that the driver reads and writes; those of the executor API are in [`executor`].
//!
//! Messages that only pass through (offers, tasks, filters, statuses) are `bytes` here: on the wire a nested message and a
//! byte string are the same, so what a newer jar or master adds to them is kept. The Java library's v0 messages have the tags
//! of v1. A test compares the tags with the complete messages of `kernel-wire`.

pub mod executor;

use bytes::Bytes;
use prost::Message;

/// `FrameworkID`, `TaskID`, `AgentID`: a message with one string.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
#[allow(missing_docs)]
pub struct Id {
    #[prost(string, required, tag = "1")]
    pub value: String,
}

/// What the driver needs to know of a `FrameworkInfo`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct FrameworkInfo {
    #[prost(string, optional, tag = "1")]
    pub user: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub id: Option<Id>,
    /// Absent means `*`.
    #[prost(string, optional, tag = "6")]
    pub role: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub hostname: Option<String>,
    #[prost(message, repeated, tag = "10")]
    pub capabilities: Vec<Capability>,
    #[prost(string, repeated, tag = "12")]
    pub roles: Vec<String>,
}

/// `FrameworkInfo.Capability`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Capability {
    #[prost(int32, optional, tag = "1")]
    pub r#type: Option<i32>,
}

/// The number of the capability PARTITION_AWARE.
pub const PARTITION_AWARE: i32 = 5;
/// The number of the capability MULTI_ROLE.
pub const MULTI_ROLE: i32 = 6;

/// Members that are appended to an encoded `FrameworkInfo`; a decoder takes the last value of a member.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct FrameworkDefaults {
    #[prost(string, optional, tag = "1")]
    pub user: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub id: Option<Id>,
    #[prost(string, optional, tag = "7")]
    pub hostname: Option<String>,
}

/// Type numbers of calls.
#[allow(missing_docs)]
pub mod call {
    pub const SUBSCRIBE: i32 = 1;
    pub const TEARDOWN: i32 = 2;
    pub const ACCEPT: i32 = 3;
    pub const DECLINE: i32 = 4;
    pub const REVIVE: i32 = 5;
    pub const KILL: i32 = 6;
    pub const ACKNOWLEDGE: i32 = 8;
    pub const RECONCILE: i32 = 9;
    pub const MESSAGE: i32 = 10;
    pub const REQUEST: i32 = 11;
    pub const SUPPRESS: i32 = 12;
    pub const UPDATE_FRAMEWORK: i32 = 17;

    /// The name of a type.
    pub fn name(number: i32) -> &'static str {
        const NAMES: [&str; 18] = [
            "UNKNOWN",
            "SUBSCRIBE",
            "TEARDOWN",
            "ACCEPT",
            "DECLINE",
            "REVIVE",
            "KILL",
            "SHUTDOWN",
            "ACKNOWLEDGE",
            "RECONCILE",
            "MESSAGE",
            "REQUEST",
            "SUPPRESS",
            "ACCEPT_INVERSE_OFFERS",
            "DECLINE_INVERSE_OFFERS",
            "ACKNOWLEDGE_OPERATION_STATUS",
            "RECONCILE_OPERATIONS",
            "UPDATE_FRAMEWORK",
        ];
        usize::try_from(number).ok().and_then(|number| NAMES.get(number)).unwrap_or(&"UNKNOWN")
    }
}

/// The type of a call, of which the rest passes through.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct CallType {
    #[prost(int32, optional, tag = "2")]
    pub r#type: Option<i32>,
}

/// A call to the master.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Call {
    #[prost(message, optional, tag = "1")]
    pub framework_id: Option<Id>,
    #[prost(int32, optional, tag = "2")]
    pub r#type: Option<i32>,
    #[prost(message, optional, tag = "3")]
    pub subscribe: Option<Subscribe>,
    #[prost(message, optional, tag = "4")]
    pub accept: Option<Accept>,
    #[prost(message, optional, tag = "5")]
    pub decline: Option<Decline>,
    #[prost(message, optional, tag = "6")]
    pub kill: Option<Kill>,
    #[prost(message, optional, tag = "8")]
    pub acknowledge: Option<Acknowledge>,
    #[prost(message, optional, tag = "9")]
    pub reconcile: Option<Reconcile>,
    #[prost(message, optional, tag = "10")]
    pub message: Option<FrameworkMessage>,
    #[prost(message, optional, tag = "11")]
    pub request: Option<Requests>,
    #[prost(message, optional, tag = "15")]
    pub revive: Option<Roles>,
    #[prost(message, optional, tag = "16")]
    pub suppress: Option<Roles>,
    #[prost(message, optional, tag = "19")]
    pub update_framework: Option<Subscribe>,
}

/// `Call.Subscribe`, and `Call.UpdateFramework`, which has the same members.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Subscribe {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub framework_info: Bytes,
    #[prost(string, repeated, tag = "2")]
    pub suppressed_roles: Vec<String>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub offer_constraints: Option<Bytes>,
}

/// `Call.Accept`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Accept {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub offer_ids: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub operations: Vec<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub filters: Option<Bytes>,
}

/// `Call.Decline`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Decline {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub offer_ids: Vec<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub filters: Option<Bytes>,
}

/// `Call.Revive` and `Call.Suppress`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Roles {
    #[prost(string, repeated, tag = "1")]
    pub roles: Vec<String>,
}

/// `Call.Kill`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Kill {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub task_id: Bytes,
}

/// `Call.Acknowledge`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Acknowledge {
    #[prost(message, required, tag = "1")]
    pub agent_id: Id,
    #[prost(message, required, tag = "2")]
    pub task_id: Id,
    #[prost(bytes = "bytes", required, tag = "3")]
    pub uuid: Bytes,
}

/// `Call.Reconcile`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Reconcile {
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<ReconcileTask>,
}

/// `Call.Reconcile.Task`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct ReconcileTask {
    #[prost(message, required, tag = "1")]
    pub task_id: Id,
    #[prost(message, optional, tag = "2")]
    pub agent_id: Option<Id>,
}

/// `Call.Message` and `Event.Message`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct FrameworkMessage {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub agent_id: Bytes,
    #[prost(bytes = "bytes", required, tag = "2")]
    pub executor_id: Bytes,
    #[prost(bytes = "bytes", required, tag = "3")]
    pub data: Bytes,
}

/// `Call.Request`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Requests {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub requests: Vec<Bytes>,
}

/// The operation LAUNCH of `Offer.Operation`, to be encoded.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct LaunchOperation {
    #[prost(int32, optional, tag = "1")]
    pub r#type: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub launch: Option<TaskInfos>,
}

/// The number of the operation LAUNCH.
pub const LAUNCH: i32 = 1;

/// `Offer.Operation.Launch`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct TaskInfos {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub task_infos: Vec<Bytes>,
}

/// The tasks that an `Offer.Operation` launches.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Operation {
    #[prost(message, optional, tag = "2")]
    pub launch: Option<Tasks>,
    #[prost(message, optional, tag = "7")]
    pub launch_group: Option<LaunchGroup>,
}

/// `Offer.Operation.LaunchGroup`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct LaunchGroup {
    #[prost(message, optional, tag = "2")]
    pub task_group: Option<Tasks>,
}

/// Launched tasks.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Tasks {
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<LaunchedTask>,
}

/// What the driver needs to know of a `TaskInfo`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct LaunchedTask {
    #[prost(message, optional, tag = "2")]
    pub task_id: Option<Id>,
    #[prost(message, optional, tag = "3")]
    pub agent_id: Option<Id>,
}

/// What the driver reads and writes of a `TaskStatus`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct TaskStatus {
    #[prost(message, required, tag = "1")]
    pub task_id: Id,
    #[prost(int32, required, tag = "2")]
    pub state: i32,
    #[prost(string, optional, tag = "4")]
    pub message: Option<String>,
    #[prost(message, optional, tag = "5")]
    pub agent_id: Option<Id>,
    /// Seconds since the epoch.
    #[prost(double, optional, tag = "6")]
    pub timestamp: Option<f64>,
    #[prost(int32, optional, tag = "9")]
    pub source: Option<i32>,
    #[prost(int32, optional, tag = "10")]
    pub reason: Option<i32>,
    #[prost(bytes = "bytes", optional, tag = "11")]
    pub uuid: Option<Bytes>,
}

/// Numbers of task states, sources and reasons that the driver itself uses.
#[allow(missing_docs)]
pub mod status {
    pub const TASK_LOST: i32 = 5;
    pub const TASK_DROPPED: i32 = 9;
    pub const SOURCE_MASTER: i32 = 0;
    pub const REASON_MASTER_DISCONNECTED: i32 = 7;
    pub const REASON_TASK_INVALID: i32 = 14;
}

/// Type numbers of events.
#[allow(missing_docs)]
pub mod event {
    pub const SUBSCRIBED: i32 = 1;
    pub const OFFERS: i32 = 2;
    pub const RESCIND: i32 = 3;
    pub const UPDATE: i32 = 4;
    pub const MESSAGE: i32 = 5;
    pub const FAILURE: i32 = 6;
    pub const ERROR: i32 = 7;
}

/// An event of the master.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Event {
    #[prost(int32, optional, tag = "1")]
    pub r#type: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub subscribed: Option<Subscribed>,
    #[prost(message, optional, tag = "3")]
    pub offers: Option<Offers>,
    #[prost(message, optional, tag = "4")]
    pub rescind: Option<Rescind>,
    #[prost(message, optional, tag = "5")]
    pub update: Option<Update>,
    #[prost(message, optional, tag = "6")]
    pub message: Option<FrameworkMessage>,
    #[prost(message, optional, tag = "7")]
    pub failure: Option<Failure>,
    #[prost(message, optional, tag = "8")]
    pub error: Option<Error>,
}

/// `Event.Subscribed`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Subscribed {
    #[prost(message, required, tag = "1")]
    pub framework_id: Id,
    #[prost(double, optional, tag = "2")]
    pub heartbeat_interval_seconds: Option<f64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub master_info: Option<Bytes>,
}

/// `Event.Offers`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Offers {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub offers: Vec<Bytes>,
}

/// `Event.Rescind`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Rescind {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub offer_id: Bytes,
}

/// `Event.Update`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Update {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub status: Bytes,
}

/// `Event.Failure`: of an executor, or of a whole agent.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Failure {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub agent_id: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub executor_id: Option<Bytes>,
    #[prost(int32, optional, tag = "3")]
    pub status: Option<i32>,
}

/// `Event.Error`.
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs)]
pub struct Error {
    #[prost(string, required, tag = "1")]
    pub message: String,
}

#[cfg(test)]
mod tests;
