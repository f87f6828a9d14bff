//! Which users a framework's tasks may run as: Mesos' ACL `run_tasks`, and the rule for clients without credentials.
//!
//! The decision is about user names. An agent runs nothing as root under another name, so `root` is the only name (besides
//! the empty one) that means root.

use kernel_model::{
    caller::Caller, executor::ExecutorInfo, framework::FrameworkInfo, ids::FrameworkId, task::TaskInfo,
};

use super::Master;

/// The principals or users that a rule is about (Mesos `ACL.Entity`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Entity {
    Any,
    None,
    Some(Vec<String>),
}

/// One entry of `run_tasks`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RunAsRule {
    pub principals: Entity,
    pub users: Entity,
}

/// The users that frameworks may run tasks as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAsPolicy {
    /// The first rule that matches principal and user decides.
    pub rules: Vec<RunAsRule>,
    /// Whether a launch that no rule matches is allowed.
    pub permissive: bool,
    /// Whether clients without credentials may run tasks as root.
    pub anonymous_root: bool,
}

impl Default for RunAsPolicy {
    /// Every principal may use every user; clients without credentials may use every user but root.
    fn default() -> Self {
        Self { rules: Vec::new(), permissive: true, anonymous_root: false }
    }
}

impl Entity {
    /// Whether a rule with this entity is about the name; `None` is a client without a principal.
    fn matches(&self, name: Option<&str>) -> bool {
        match (self, name) {
            (Entity::Any | Entity::None, _) => true,
            (Entity::Some(names), Some(name)) => names.iter().any(|listed| listed == name),
            (Entity::Some(_), None) => false,
        }
    }
}

impl RunAsPolicy {
    /// Whether a caller may run something as this user.
    pub fn permits(&self, caller: &Caller, user: &str) -> bool {
        let principal = match caller {
            Caller::Principal(who) => Some(who.as_str()),
            // The principal that a client without credentials claims proves nothing.
            Caller::InProcess | Caller::Anonymous => None,
        };
        self.allows(caller, principal, user)
    }

    fn allows(&self, caller: &Caller, principal: Option<&str>, user: &str) -> bool {
        let user = if user.is_empty() { "root" } else { user };
        match caller {
            Caller::InProcess => return true,
            Caller::Anonymous if user == "root" && !self.anonymous_root => return false,
            Caller::Anonymous | Caller::Principal(_) => {}
        }
        let matching = self
            .rules
            .iter()
            .find(|rule| rule.principals.matches(principal) && rule.users.matches(Some(user)));
        match matching {
            // NONE matches every name and allows none.
            Some(rule) => rule.principals != Entity::None && rule.users != Entity::None,
            None => self.permissive,
        }
    }
}

impl Master {
    /// Why the framework may not launch the task, in Mesos' words.
    pub(super) fn launch_refusal(&self, id: &FrameworkId, task: &TaskInfo) -> Option<String> {
        let user = self.refused_user(id, task.executor.as_deref(), task)?;
        let principal = self.frameworks.get(id)?.info.principal.as_deref().unwrap_or_default();
        let launch = launch_as(id, task, &user);
        Some(format!("Principal '{principal}' no authorized to {launch}{}", self.hint(id)))
    }

    /// Why the framework may not launch the task group.
    pub(super) fn group_launch_refusal(
        &self,
        id: &FrameworkId,
        executor: &ExecutorInfo,
        tasks: &[TaskInfo],
    ) -> Option<String> {
        tasks.iter().find_map(|task| {
            let user = self.refused_user(id, Some(executor), task)?;
            let launch = launch_as(id, task, &user);
            Some(format!("Task '{}' is not authorized to {launch}{}", task.task_id, self.hint(id)))
        })
    }

    /// The first user of task and executor that the framework may not use. Both may name one; the executor's process has
    /// the executor's.
    fn refused_user(
        &self,
        id: &FrameworkId,
        executor: Option<&ExecutorInfo>,
        task: &TaskInfo,
    ) -> Option<String> {
        let framework = self.frameworks.get(id)?;
        let caller = framework.caller.as_ref().unwrap_or(&Caller::Anonymous);
        if *caller == Caller::InProcess {
            return None;
        }
        let refused = |user: &&str| !self.config.run_as.permits(caller, user);
        users(&framework.info, executor, task).find(refused).map(str::to_owned)
    }

    /// Tells clients without credentials why they are refused.
    fn hint(&self, id: &FrameworkId) -> &'static str {
        let anonymous = self.frameworks.get(id).is_some_and(|f| f.caller == Some(Caller::Anonymous));
        match anonymous && !self.config.run_as.anonymous_root {
            true => " (frameworks without credentials run tasks as unprivileged users only)",
            false => "",
        }
    }
}

/// The users that a launch switches to.
fn users<'a>(
    framework: &'a FrameworkInfo,
    executor: Option<&'a ExecutorInfo>,
    task: &'a TaskInfo,
) -> impl Iterator<Item = &'a str> {
    let of_task = task.command.as_ref().map(|command| command.user.as_deref());
    let of_executor = executor.map(|e| e.command.as_ref().and_then(|command| command.user.as_deref()));
    let default = framework.user.as_str();
    let none = of_task.is_none() && of_executor.is_none();
    [of_task, of_executor, none.then_some(None)]
        .into_iter()
        .flatten()
        .map(move |user| user.unwrap_or(default))
}

fn launch_as(id: &FrameworkId, task: &TaskInfo, user: &str) -> String {
    format!("launch task {} of framework {id} under user '{user}'", task.task_id)
}
