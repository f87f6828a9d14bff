//! Every way into the Pod's machine and every way out of it, each on one screen.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use crate::{
    probe::ProbeKind,
    seen::{ContainerSeen, SandboxSeen, Seen},
};

/// What a machine is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// What the runtime shows. The first one adopts; before it nothing is started.
    Seen(Seen),
    /// The Pod's object changed.
    Update(Arc<Pod>),
    /// The Pod is to end within `grace`. May come again; a shorter grace shortens.
    Kill {
        /// Time that containers have for their own end.
        grace: Duration,
    },
    /// [`Action::StartSandbox`] succeeded.
    SandboxStarted(SandboxSeen),
    /// [`Action::StartSandbox`] failed; nothing of the attempt remains that could run.
    SandboxFailed {
        /// Short, in CamelCase.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// [`Action::RemoveSandbox`] succeeded: the sandbox and all its containers are gone.
    SandboxRemoved {
        /// Which.
        id: String,
    },
    /// [`Action::StartContainer`] succeeded.
    ContainerStarted(ContainerSeen),
    /// [`Action::StartContainer`] failed.
    ContainerFailed {
        /// Which.
        name: String,
        /// Why.
        failure: StartFailure,
        /// For people.
        message: String,
    },
    /// [`Action::StopContainer`] came back; what became of the container shows in the next listing.
    StopReturned {
        /// Which.
        id: String,
    },
    /// [`Action::RunProbe`] came back.
    Probed {
        /// The instance that was probed.
        container_id: String,
        /// Which of its probes.
        kind: ProbeKind,
        /// `Err` carries what was wrong.
        result: Result<(), String>,
    },
    /// The runtime does not answer; nothing can be done for the Pod until it does.
    RuntimeAway {
        /// For people.
        message: String,
    },
    /// The moment that [`Effects::wake_at`] asked for.
    Tick,
}

/// Why a container could not be started, as kubectl names it.
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
    /// The start was called off by [`Action::CancelStart`], or the runtime went away in the middle of it.
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

/// What a machine asks for. At most one action per container, and one for the sandbox, is under way at a time, but for
/// [`Action::StopContainer`] that shortens an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Prepare volumes, then make and start a sandbox.
    StartSandbox {
        /// Unique per Pod, growing.
        attempt: u32,
    },
    /// Stop and remove a sandbox with everything in it.
    RemoveSandbox {
        /// Which.
        id: String,
    },
    /// Make sure of the image, make the container, start it, run its post-start hook.
    StartContainer {
        /// Its name in the spec.
        name: String,
        /// The sandbox to make it in.
        sandbox_id: String,
        /// The runtime's attempt number.
        attempt: u32,
        /// To be remembered with the instance.
        restart_count: u32,
    },
    /// Give up a start that still waits for its image.
    CancelStart {
        /// Its name in the spec.
        name: String,
    },
    /// Run the pre-stop hook, ask the process to end, kill it when `grace` is over.
    StopContainer {
        /// Its name in the spec.
        name: String,
        /// The instance.
        id: String,
        /// From now.
        grace: Duration,
        /// False where the hook was begun before.
        pre_stop: bool,
        /// Why, for the event `Killing`.
        why: String,
    },
    /// Remove an instance that is over and superseded, or was made and never started.
    RemoveContainer {
        /// The instance.
        id: String,
    },
    /// Run a probe once.
    RunProbe {
        /// Its name in the spec.
        name: String,
        /// The instance.
        container_id: String,
        /// Which of its probes.
        kind: ProbeKind,
    },
    /// Tell people through a Kubernetes Event.
    Tell(Told),
}

/// A Kubernetes Event to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The container that it is about, or the Pod.
    pub container: Option<String>,
    /// Whether it is a warning.
    pub warning: bool,
    /// Short, in CamelCase.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// What a step asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// To be on disk before anything of `after_persist` is begun: the Pod's end, so that no crash can make it run again.
    pub persist: Option<Final>,
    /// To do.
    pub after_persist: Vec<Action>,
    /// When to send [`Event::Tick`], at the latest.
    pub wake_at: Option<Timestamp>,
}

/// The end of a Pod, decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Final {
    /// How it ended.
    pub outcome: Outcome,
    /// The status to report.
    pub status: PodStatus,
}

/// How a Pod ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All containers succeeded.
    Finished,
    /// A container failed for good, or the Pod took too long.
    Failed,
    /// It was told to end.
    Killed,
}
