//! The tasks of a built-in executor that run or are about to.

use std::{collections::HashMap, sync::mpsc::SyncSender, thread};

use kernel_core::builtin_executor::Event;
use kernel_model::{
    ids::{ContainerId, TaskId},
    task::TaskInfo,
};
use tokio_util::sync::CancellationToken;

use super::{
    Settings,
    launch::{Launch, Running, Started},
    main_loop::Message,
};

/// The processes of an executor's tasks.
pub(super) struct Containers {
    settings: Settings,
    messages: SyncSender<Message>,
    /// The executor's container, once the agent has told it.
    parent: Option<ContainerId>,
    tasks: HashMap<TaskId, Container>,
}

enum Container {
    /// Its sandbox is being prepared.
    Preparing(CancellationToken),
    Running(Running),
}

impl Containers {
    pub(super) fn new(settings: Settings, messages: SyncSender<Message>) -> Self {
        Self { settings, messages, parent: None, tasks: HashMap::new() }
    }

    pub(super) fn set_parent(&mut self, container_id: &ContainerId) {
        self.parent = Some(container_id.clone());
    }

    /// Starts a task in a thread of its own, which sends what becomes of it.
    pub(super) fn start(&mut self, task: TaskInfo, framework_user: &str) {
        let stop = CancellationToken::new();
        self.tasks.insert(task.task_id.clone(), Container::Preparing(stop.clone()));
        let launch = Launch {
            task,
            framework_user: framework_user.to_owned(),
            parent: self.parent.clone(),
            settings: self.settings.clone(),
            messages: self.messages.clone(),
            stop,
        };
        thread::spawn(move || launch.run());
    }

    /// Takes the process of a task; returns what the state machine has to know.
    pub(super) fn add(&mut self, task_id: TaskId, started: Started) -> Event {
        let Started { running, health, extra } = started;
        self.tasks.insert(task_id.clone(), Container::Running(running));
        Event::Started { task_id, health, extra }
    }

    /// Stops the preparation of a task, or sends SIGTERM to its processes.
    pub(super) fn terminate(&self, task_id: &TaskId) {
        match self.tasks.get(task_id) {
            Some(Container::Preparing(stop)) => stop.cancel(),
            Some(Container::Running(running)) => running.terminate(),
            None => {}
        }
    }

    /// Sends SIGKILL to a task's processes.
    pub(super) fn kill(&self, task_id: &TaskId) {
        match self.tasks.get(task_id) {
            Some(Container::Preparing(stop)) => stop.cancel(),
            Some(Container::Running(running)) => running.kill(),
            None => {}
        }
    }

    /// Kills what an ended command has left.
    pub(super) fn remove(&mut self, task_id: &TaskId) {
        if let Some(Container::Running(running)) = self.tasks.remove(task_id) {
            running.clean_up();
        }
    }
}
