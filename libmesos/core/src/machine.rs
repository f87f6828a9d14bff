//! What the drivers have in common: what goes into their state machines and what comes out. The threads of the shell run any
//! [`Machine`].

use std::fmt::Debug;

use bytes::Bytes;
use kernel_model::time::Time;

use crate::master::Endpoint;

/// `Protos.Status` of the Java library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Status {
    NotStarted,
    Running,
    Aborted,
    Stopped,
}

/// A way in.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<R> {
    /// `start()`.
    Start,
    /// There is nothing to connect to; the driver aborts.
    StartFailed(String),
    /// `stop(failover)`; only schedulers fail over.
    #[allow(missing_docs)]
    Stop { failover: bool },
    /// `abort()`.
    Abort,
    /// Any other method of the driver.
    Request(R),
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
    /// [`Machine::next_deadline`] has passed.
    Tick,
}

/// Why a stream is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The connection failed, ended, or was answered with an error that may pass.
    Lost(String),
    /// 307: another master leads.
    Redirected(Endpoint),
    /// The other side refuses this subscription.
    Refused(String),
}

/// How a call was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallOutcome {
    /// 202 or 200.
    Accepted,
    /// The call is refused for what it says; the stream goes on.
    Rejected(String),
    /// The call may not have arrived, or this stream is not valid any more.
    Lost(String),
}

/// A way out. Effects are carried out in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect<C> {
    /// Run a callback and report [`Event::CallbackReturned`].
    Callback(C),
    /// Send SUBSCRIBE and report its answer and records under the number of the stream.
    #[allow(missing_docs)]
    Connect { stream: u64, to: Endpoint, body: Bytes },
    /// Find out whether the other side accepts connections, and report it as [`Event::StreamOpened`] or [`Event::StreamClosed`].
    #[allow(missing_docs)]
    Reach { stream: u64, to: Endpoint },
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
    /// Kill the process group of this process after a time, whatever happens until then.
    #[allow(missing_docs)]
    KillGroup { after: std::time::Duration },
    /// Everything that was to be sent has been sent or given up: close what is open.
    Closed,
}

/// A callback into Java.
pub trait Callback: Clone + Debug + Send + 'static {
    /// Java's interface and method, for messages.
    fn method(&self) -> String;
}

/// A driver's state machine.
pub trait Machine: Send + 'static {
    /// The methods of the driver that lead to calls.
    type Request: Send;
    /// The methods of the framework's side.
    type Callback: Callback;

    /// The only entrance.
    fn step(&mut self, now: Time, event: Event<Self::Request>) -> Vec<Effect<Self::Callback>>;

    /// The status that the driver's methods return.
    fn status(&self) -> Status;

    /// Whether all calls are sent or given up: `stop()` may return.
    fn is_closed(&self) -> bool;

    /// Whether nothing will happen any more but the end of a callback in progress: `join()` may return.
    fn is_finished(&self) -> bool;

    /// Whether no callback is in progress or to come.
    fn is_idle(&self) -> bool;

    /// Whether further records may be read.
    fn accepts_records(&self) -> bool;

    /// When [`Event::Tick`] is due.
    fn next_deadline(&self) -> Option<Time>;
}
