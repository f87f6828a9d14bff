//! Keeps the objects of `roles.catamaran.dev` and the kernel's roles the same. One task installs the definition, looks at both sides
//! whenever an object changes and every two seconds, and carries out what `shim_core::kernel_roles` decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::driver::{DriverError, RoleDriver};
use kernel_model::ids::FrameworkId;
use kernel_model::quota::Quota;
use kernel_model::role_report::RoleReport;
use kernel_model::roles::Role;
use serde_json::Value;
use shim_core::kernel_roles::{self, Change, Decision, Ineffective, Settings, definition};
use shim_core::kinds::Subresource;
use shim_model::resource::GroupResource;
use shim_model::status::Status;

use crate::custom_resources::DEFINITIONS;
use crate::pipeline::{Identity, ObjectRef, Pipeline, WriteOutcome};
use crate::scheduler::kernel_client::KernelClient;
use crate::storage::catalog::ServedResource;
use crate::storage::deletion::DeleteOptions;
use crate::storage::registry::now;
use crate::storage::selection::Selection;
use crate::storage::watch_cache::{WatchFrom, Watcher};

/// How often the kernel is asked: its roles change without telling.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The shortest time between two looks.
const LOOKS_APART: Duration = Duration::from_millis(100);
/// When a refused change is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Writes per look that only bring what a role holds up to date.
const UPDATES_MAX: usize = 32;
/// Changes read at once.
const CHANGES_MAX: usize = 1024;
/// The manager of the fields in `metadata.managedFields`.
const MANAGER: &str = "catamaran";

/// The task.
pub struct KernelRoles {
    /// Reads and writes objects.
    pub pipeline: Pipeline,
    /// The kernel's roles.
    pub driver: Arc<dyn RoleDriver>,
    /// Knows the framework whose tasks are Pods.
    pub client: KernelClient,
}

struct Look {
    roles: KernelRoles,
    resource: GroupResource,
    /// Whether the definition is this version's.
    is_installed: bool,
    pods: Option<FrameworkId>,
    refused: HashMap<String, (Settings, Ineffective, Instant)>,
    /// The name after which the next round of updates begins.
    updated: String,
}

impl KernelRoles {
    /// Runs until the task is aborted.
    pub async fn run(self) {
        let resource = GroupResource::new(kernel_roles::GROUP, kernel_roles::PLURAL);
        let mut look = Look {
            roles: self,
            resource,
            is_installed: false,
            pods: None,
            refused: HashMap::new(),
            updated: String::new(),
        };
        let mut watcher = None;
        let mut is_due = true;
        loop {
            if let Err(why) = look.once(is_due).await {
                tracing::warn!(why, "the roles of the kernel are not shown; trying again");
            }
            tokio::time::sleep(LOOKS_APART).await;
            let changed = look.changed(&mut watcher);
            is_due = tokio::time::timeout(LOOK_EVERY, changed).await.is_err();
        }
    }
}

impl Look {
    /// Waits for a change of an object.
    async fn changed(&self, watcher: &mut Option<Watcher>) {
        let registry = self.roles.pipeline.registry();
        if watcher.is_none() {
            *watcher = registry.watch(&self.resource, WatchFrom::Now, Selection::everything()).ok();
        }
        let Some(open) = watcher else { return std::future::pending().await };
        open.changed().await;
        loop {
            match open.poll(CHANGES_MAX) {
                Ok(batch) if batch.deliveries.is_empty() => return,
                Ok(_) => {}
                Err(_) => {
                    *watcher = None;
                    return;
                }
            }
        }
    }

    /// Looks at both sides. `with_updates` also writes what roles hold.
    async fn once(&mut self, with_updates: bool) -> Result<(), String> {
        let row = self.roles.pipeline.registry().catalog().named(&self.resource).cloned();
        let Some(row) = row.filter(|_| self.is_installed) else {
            // It may be that of an earlier version, or somebody may have deleted it.
            self.install().await.map_err(|status| status.to_string())?;
            self.is_installed = true;
            return Ok(());
        };
        if self.pods.is_none() {
            self.pods = self.roles.client.framework_id().await.map_err(|error| error.to_string())?;
        }
        let reports = self.roles.driver.roles().await.map_err(|error| error.to_string())?;
        let objects: Vec<Value> = row.cache().list(None).iter().map(|object| object.value()).collect();
        let by_name: HashMap<&str, &Value> = objects
            .iter()
            .filter_map(|object| Some((object["metadata"]["name"].as_str()?, object)))
            .collect();
        self.refused.retain(|name, _| by_name.contains_key(name.as_str()));
        let mut revision = 0;
        let mut updates = Vec::new();
        for decision in kernel_roles::decide(&objects, &reports) {
            let written = match decision {
                Decision::Create(object) => self.create(&row, object).await,
                Decision::Delete { name } => self.delete(&row, &name).await,
                Decision::Apply { ref name, .. } | Decision::Ignore { ref name, .. } => {
                    let object = by_name[name.as_str()];
                    let status = self.carry_out(&row, object, &decision, &reports, &mut revision).await;
                    updates.extend(status.map(|status| (name.clone(), status)));
                    continue;
                }
            };
            revision = revision.max(written.unwrap_or_else(|status| refused_write("", &status)));
        }
        updates.retain(|(name, status)| {
            let known = &by_name[name.as_str()]["status"];
            *known != *status && (with_updates || differs_in_settings(known, status))
        });
        revision = revision.max(self.update(&row, updates).await);
        self.roles.pipeline.registry().wait_for(revision).await.map_err(|status| status.to_string())
    }

    /// Creates the definition, or brings the one of an earlier version up to date.
    async fn install(&self) -> Result<(), Status> {
        let (pipeline, identity) = (&self.roles.pipeline, Identity::apiserver());
        let definitions = pipeline.registry().builtin(&DEFINITIONS);
        let target = ObjectRef::new(&definitions, "", definition::NAME);
        let wanted = definition::definition();
        if pipeline.registry().peek(&DEFINITIONS, "", definition::NAME).is_none() {
            let target = ObjectRef::new(&definitions, "", "");
            let created = pipeline.create(&identity.context("create"), target, wanted.clone()).await;
            if !matches!(&created, Err(status) if status.reason == "AlreadyExists") {
                return created.map(drop);
            }
        }
        let change = |current: &Value| {
            let mut changed = current.clone();
            changed["spec"] = wanted["spec"].clone();
            Ok(changed)
        };
        pipeline.update_with(&identity.context("update"), target, change).await.map(drop)
    }

    async fn create(&self, row: &Arc<ServedResource>, object: Value) -> Result<u64, Status> {
        let context = identity().context("create");
        let created = self.roles.pipeline.create(&context, ObjectRef::new(row, "", ""), object).await;
        created.map(|outcome| outcome.revision())
    }

    /// Deletes an object that was made here, at once: a role that gets settings meanwhile must not be reset by its finalizer.
    async fn delete(&self, row: &Arc<ServedResource>, name: &str) -> Result<u64, Status> {
        self.edit(ObjectRef::new(row, "", name), kernel_roles::without_finalizer).await?;
        let (context, target) = (identity().context("delete"), ObjectRef::new(row, "", name));
        let deleted = self.roles.pipeline.delete(&context, target, &DeleteOptions::default()).await;
        deleted.map(|outcome| outcome.revision())
    }

    async fn edit(
        &self,
        target: ObjectRef<'_>,
        edit: impl Fn(&Value) -> Value + Send + Sync,
    ) -> Result<u64, Status> {
        let context = identity().context("update");
        let written = self.roles.pipeline.update_with(&context, target, |current| Ok(edit(current))).await;
        written.map(|outcome: WriteOutcome| outcome.revision())
    }

    /// Writes an object's settings, and what is in force.
    async fn write(
        &self,
        target: ObjectRef<'_>,
        seen: &Value,
        settings: &Settings,
        in_force: &Settings,
    ) -> Result<u64, Status> {
        let context = identity().context("update");
        let parts = [Subresource::Main, Subresource::Status];
        let change = |current: &Value| Ok(kernel_roles::with_settings(current, seen, settings, in_force));
        let written = self.roles.pipeline.update_parts(&context, target, &parts, change).await;
        written.map(|outcome| outcome.revision())
    }

    /// Carries out a decision about an object. Returns the status that it is to have, unless it is gone.
    async fn carry_out(
        &mut self,
        row: &Arc<ServedResource>,
        object: &Value,
        decision: &Decision,
        reports: &[RoleReport],
        revision: &mut u64,
    ) -> Option<Value> {
        let (report, outcome, release, name) = match decision {
            Decision::Apply { name, role, settings, write, set, release } => {
                let target = ObjectRef::new(row, "", name);
                let known = reports.iter().find(|report| report.role == *role);
                if *write {
                    match self.write(target, object, settings, &Settings::of(known)).await {
                        Ok(written) => *revision = written.max(*revision),
                        Err(status) => {
                            return {
                                refused_write(name, &status);
                                None
                            };
                        }
                    }
                }
                let outcome = self.set(name, role, settings, (set, &Settings::of(known))).await;
                let report = match outcome {
                    Ok(()) => Some(in_force(known, role, settings)),
                    Err(_) => known.cloned(),
                };
                (report, outcome, *release, name)
            }
            Decision::Ignore { name, why, release } => (None, Err(why.clone()), *release, name),
            Decision::Create(_) | Decision::Delete { .. } => return None,
        };
        // What has no effect needs nothing undone.
        if release && (outcome.is_ok() || matches!(decision, Decision::Ignore { .. })) {
            let released = self.edit(ObjectRef::new(row, "", name), kernel_roles::without_finalizer).await;
            *revision = (*revision).max(released.unwrap_or_else(|status| refused_write(name, &status)));
            return None;
        }
        let time = now().to_rfc3339();
        Some(kernel_roles::status(object, report.as_ref(), self.pods.as_ref(), outcome.as_ref().err(), &time))
    }

    /// Tells the kernel what differs. What it has refused is tried again some time later.
    async fn set(
        &mut self,
        name: &str,
        role: &Role,
        settings: &Settings,
        (set, in_force): (&Change, &Settings),
    ) -> Result<(), Ineffective> {
        if set.is_empty() {
            self.refused.remove(name);
            return Ok(());
        }
        if let Some((same, why, at)) = self.refused.get(name)
            && same == settings
            && at.elapsed() < RETRY_AFTER
        {
            return Err(why.clone());
        }
        let driver = &self.roles.driver;
        let result = async {
            if let Some(weight) = set.weight {
                driver.set_weight(role, weight).await?;
            }
            if let Some(quota) = &set.quota {
                set_quota(&**driver, role, &in_force.quota, quota).await?;
            }
            Ok(())
        };
        match result.await {
            Ok(()) => {
                tracing::info!(%role, object = name, "weight and quota of a role are set");
                // What was refused before may fit the tree now.
                self.refused.clear();
                Ok(())
            }
            Err(error) => {
                let why = ineffective(&error);
                tracing::warn!(%role, object = name, %error, "weight and quota of a role cannot be set");
                self.refused.insert(name.to_owned(), (settings.clone(), why.clone(), Instant::now()));
                Err(why)
            }
        }
    }

    /// Writes statuses, those of a change of settings first and the others in turn. Returns the last revision.
    async fn update(&mut self, row: &Arc<ServedResource>, mut updates: Vec<(String, Value)>) -> u64 {
        updates.sort_by(|(a, _), (b, _)| {
            let turn = |name: &String| (*name <= self.updated, name.clone());
            turn(a).cmp(&turn(b))
        });
        updates.truncate(UPDATES_MAX);
        let mut revision = 0;
        for (name, status) in updates {
            let with = |current: &Value| {
                let mut changed = current.clone();
                changed["status"] = status.clone();
                changed
            };
            let written = self.edit(ObjectRef::new(row, "", &name).status(), with).await;
            revision = revision.max(written.unwrap_or_else(|status| refused_write(&name, &status)));
            self.updated = name;
        }
        revision
    }
}

/// Sets the quota, or as much of it as the kernel takes; the error is that of the whole.
async fn set_quota(
    driver: &dyn RoleDriver,
    role: &Role,
    in_force: &Quota,
    wanted: &Quota,
) -> Result<(), DriverError> {
    let Err(error) = driver.set_quota(role, wanted.clone()).await else { return Ok(()) };
    for part in kernel_roles::parts_of_quota(in_force, wanted) {
        if driver.set_quota(role, part).await.is_ok() {
            break;
        }
    }
    Err(error)
}

fn identity() -> Identity {
    Identity::apiserver().managing_as(MANAGER)
}

/// Whatever is missing is seen by the next look.
fn refused_write(name: &str, status: &Status) -> u64 {
    tracing::debug!(object = name, %status, "the object of a role was not written");
    0
}

fn ineffective(error: &DriverError) -> Ineffective {
    let reason = match error {
        DriverError::Refused(_) => "Refused",
        DriverError::Unreachable(_) => "Unreachable",
    };
    Ineffective { reason, message: error.to_string() }
}

/// The report with the settings that were just set.
fn in_force(known: Option<&RoleReport>, role: &Role, settings: &Settings) -> RoleReport {
    let Settings { weight, quota } = settings.clone();
    match known {
        Some(known) => RoleReport { weight, quota, ..known.clone() },
        None => RoleReport {
            role: role.clone(),
            weight,
            quota,
            allocated: Default::default(),
            reserved: Default::default(),
            dominant_share: 0.0,
        },
    }
}

fn differs_in_settings(known: &Value, status: &Value) -> bool {
    ["observedGeneration", "weight", "guarantee", "limit", "conditions"]
        .iter()
        .any(|name| known.get(*name) != status.get(*name))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use kernel_model::quota::Quantities;
    use kernel_model::resources::Resources;

    use super::*;

    /// Takes quotas without limits.
    #[derive(Default)]
    struct NoLimits(Mutex<Quota>);

    #[async_trait::async_trait]
    impl RoleDriver for NoLimits {
        async fn roles(&self) -> Result<Vec<RoleReport>, DriverError> {
            Ok(Vec::new())
        }

        async fn set_weight(&self, _: &Role, _: f64) -> Result<(), DriverError> {
            Ok(())
        }

        async fn set_quota(&self, _: &Role, quota: Quota) -> Result<(), DriverError> {
            if !quota.limits.is_empty() {
                return Err(DriverError::Refused(format!("{} is in use", quota.limits)));
            }
            *self.0.lock().unwrap() = quota;
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_limit_that_is_refused_does_not_keep_the_guarantee_from_a_role() {
        let of = |text: &str| Quantities::of(&text.parse::<Resources>().unwrap(), |_| true);
        let (kernel, role) = (NoLimits::default(), Role::parse("a").unwrap());
        let wanted = Quota { guarantees: of("cpus:1"), limits: of("cpus:2") };
        let refused = set_quota(&kernel, &role, &Quota::default(), &wanted).await.unwrap_err();
        assert_eq!(refused.to_string(), DriverError::Refused("cpus:2 is in use".to_owned()).to_string());
        let in_force = kernel.0.lock().unwrap().clone();
        assert_eq!(in_force, Quota { guarantees: of("cpus:1"), limits: Quantities::default() });
        let again = set_quota(&kernel, &role, &in_force, &wanted).await;
        assert!(again.is_err(), "it is not applied until all is");
    }
}
