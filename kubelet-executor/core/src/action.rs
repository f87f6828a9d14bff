//! Inputs and outputs of the Pod state machine.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use crate::{
    observed::{ObservedContainer, ObservedPod, ObservedSandbox},
    probe::{ProbeFailure, ProbeKind},
    resources::CgroupLimits,
};

/// An input of the state machine.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Event {
    /// A listing of the runtime. The first one adopts what already runs; nothing is started before it.
    Observed(ObservedPod),
    /// The Pod's object changed.
    Update(Arc<Pod>),
    /// Terminate the Pod within `grace`. A repeated event can only shorten the grace period.
    Kill { grace: Duration },
    /// Evict the Pod: it fails with this message, whatever its containers return.
    Evict {
        message: String,
        /// Whether the node's state is the cause and not the Pod: its status says so with a condition, as upstream's.
        disruption: bool,
    },
    /// [`Action::StartSandbox`] succeeded.
    SandboxStarted(ObservedSandbox),
    /// [`Action::StartSandbox`] failed; nothing of the attempt is left that could run.
    SandboxFailed {
        /// In CamelCase.
        reason: &'static str,
        message: String,
    },
    /// [`Action::RemoveSandbox`] succeeded: the sandbox and all its containers are gone.
    SandboxRemoved { id: String },
    /// [`Action::StartContainer`] succeeded.
    ContainerStarted(ObservedContainer),
    /// [`Action::StartContainer`] failed.
    ContainerFailed {
        name: String,
        failure: StartFailure,
        message: String,
        /// The image that could not be pulled, if it is that of a volume.
        volume_image: Option<String>,
    },
    /// [`Action::StopContainer`] returned. The container's new state appears in the next listing.
    StopReturned { id: String },
    /// [`Action::RunProbe`] returned.
    Probed {
        /// The instance that was probed.
        container_id: String,
        kind: ProbeKind,
        result: Result<(), ProbeFailure>,
    },
    /// [`Action::CheckResize`] returned for this version of the Pod.
    ResizeChecked { pod: Arc<Pod>, verdict: Result<(), ResizeRefusal> },
    /// [`Action::UpdateContainer`] returned, with the limits that the container's cgroup has now.
    ContainerUpdated { id: String, result: Result<Option<CgroupLimits>, String> },
    /// The runtime does not answer; no action can succeed until it does.
    RuntimeUnavailable { message: String },
    /// The time requested by [`Effects::wake_at`] has come.
    Tick,
}

/// Why a container could not be started; the names are the reasons that kubectl shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum StartFailure {
    ErrImagePull,
    ErrImageNeverPull,
    InvalidImageName,
    CreateContainerConfigError,
    CreateContainerError,
    RunContainerError,
    PostStartHookError,
    /// [`Action::CancelStart`] cancelled the start, or the runtime went away during it.
    Interrupted,
}

impl StartFailure {
    /// The reason in the container's waiting state.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ErrImagePull => "ErrImagePull",
            Self::ErrImageNeverPull => "ErrImageNeverPull",
            Self::InvalidImageName => "InvalidImageName",
            Self::CreateContainerConfigError => "CreateContainerConfigError",
            Self::CreateContainerError => "CreateContainerError",
            Self::RunContainerError => "RunContainerError",
            Self::PostStartHookError => "PostStartHookError",
            Self::Interrupted => "ContainerCreating",
        }
    }
}

/// An output of the state machine. At most one action per container and one for the sandbox is in progress at a time.
/// The exception is a [`Action::StopContainer`] that shortens an earlier one.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Action {
    /// Set up volumes, then create and start a sandbox.
    StartSandbox {
        /// Unique per Pod, ascending.
        attempt: u32,
    },
    /// Stop and remove a sandbox with everything in it.
    RemoveSandbox { id: String },
    /// Pull the image if needed, create the container, start it, run its post-start hook.
    StartContainer {
        name: String,
        /// The sandbox to create it in.
        sandbox_id: String,
        /// The attempt number in the runtime.
        attempt: u32,
        /// Stored with the instance as an annotation.
        restart_count: u32,
    },
    /// Cancel a start that still waits for its image.
    CancelStart { name: String },
    /// Run the pre-stop hook, send the stop signal, kill the process when `grace` is over.
    StopContainer {
        name: String,
        /// The instance.
        id: String,
        /// Counted from now.
        grace: Duration,
        /// False if the hook has been started before.
        pre_stop: bool,
        /// The message of the Event `Killing`.
        why: String,
    },
    /// Remove an instance that has been superseded, or that was created and never started.
    RemoveContainer { id: String },
    /// Run a probe once.
    RunProbe {
        name: String,
        /// The instance.
        container_id: String,
        kind: ProbeKind,
    },
    /// Check whether the node has room for the resources of this version of the Pod.
    CheckResize { pod: Arc<Pod> },
    /// Give a running container the resources in the Pod's spec.
    UpdateContainer { name: String, id: String },
    /// Record a Kubernetes Event.
    RecordEvent(EventRecord),
}

/// Why a resize is not carried out now; with upstream's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResizeRefusal {
    /// Other Pods have the resources.
    Deferred(String),
    /// The node has too little, even without other Pods.
    Infeasible(String),
}

impl ResizeRefusal {
    /// The reason of the Pod's condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Deferred(_) => "Deferred",
            Self::Infeasible(_) => "Infeasible",
        }
    }

    /// The reason of the Event.
    pub fn event_reason(&self) -> &'static str {
        match self {
            Self::Deferred(_) => "ResizeDeferred",
            Self::Infeasible(_) => "ResizeInfeasible",
        }
    }

    /// The message of condition and Event.
    pub fn message(&self) -> &str {
        match self {
            Self::Deferred(message) | Self::Infeasible(message) => message,
        }
    }
}

/// A Kubernetes Event to record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct EventRecord {
    /// The container that it is about; `None` for the Pod.
    pub container: Option<String>,
    pub warning: bool,
    /// In CamelCase.
    pub reason: &'static str,
    pub message: String,
}

/// The outputs of one step.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Effects {
    /// Persist before the first action of `after_persist`: the decided end of the Pod. Without it, a crash could let
    /// the Pod run again.
    pub persist: Option<FinalStatus>,
    pub after_persist: Vec<Action>,
    /// When to send [`Event::Tick`], at the latest.
    pub wake_at: Option<Timestamp>,
}

/// The decided end of a Pod.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct FinalStatus {
    pub outcome: PodOutcome,
    /// The status to report.
    pub status: PodStatus,
}

/// How a Pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodOutcome {
    /// All containers succeeded.
    Finished,
    /// A container failed and is not restarted, or the Pod exceeded its deadline.
    Failed,
    /// The Pod was killed.
    Killed,
}
