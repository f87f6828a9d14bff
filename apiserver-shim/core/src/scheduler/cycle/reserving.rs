//! The steps between the choice of a node and the launch: Reserve, Permit, PreBind, and their rollback.

use std::time::Duration;

use super::*;
use crate::scheduler::{Reason, framework::PermitVerdict};

/// A Pod that a Permit plugin delays after its node was chosen. It occupies the node's resources in every cycle.
#[derive(Debug, Clone)]
pub struct PermitWait {
    pod: Arc<Pod>,
    profile: usize,
    node: Box<str>,
    /// The index of the Permit plugin.
    plugin: usize,
    /// When the Pod returns to the queue.
    until: Time,
}

impl Scheduler {
    /// Releases the plugins' reservations for a Pod whose launch failed.
    pub fn unreserve(&mut self, profile: usize, pod: &Pod, node: &str) {
        unreserve(self.profiles.get_mut(profile), pod, node);
    }

    /// Ends the wait of a Pod that was deleted or changed.
    pub fn forget_pod(&mut self, uid: &str) {
        if let Some(wait) = self.permit_waits.remove(uid) {
            unreserve(self.profiles.get_mut(wait.profile), &wait.pod, &wait.node);
        }
    }

    /// Whether a Permit plugin delays the Pod.
    pub fn waits_on_permit(&self, uid: &str) -> bool {
        self.permit_waits.contains_key(uid)
    }
}

/// Calls `unreserve` of all plugins in reverse order.
fn unreserve(profile: &mut Profile, pod: &Pod, node: &str) {
    for at in (0..profile.at(ExtensionPoint::Reserve).len()).rev() {
        let plugin = profile.at(ExtensionPoint::Reserve)[at];
        if let Some(plugin) = profile.plugin_mut(plugin).reserve() {
            plugin.unreserve(pod, node);
        }
    }
}

/// The combined result of the Permit plugins.
enum Permission {
    Granted,
    Wait { at_most: Duration, plugin: usize },
}

impl Cycle<'_> {
    /// Runs Reserve, Permit and PreBind.
    pub(super) fn reserve(&mut self, pod: &PendingPod, at: usize) -> Outcome {
        let profile = self.profiles.get(pod.profile);
        let runs = |point| !profile.at(point).is_empty();
        if !(runs(ExtensionPoint::Reserve) || runs(ExtensionPoint::Permit) || runs(ExtensionPoint::PreBind)) {
            return Outcome::Place { node: at };
        }
        let result = self.run_reserve(pod, at).and_then(|()| self.run_permit(pod, at));
        match result {
            Ok(Permission::Granted) => match self.run_pre_bind(pod, at) {
                Ok(()) => Outcome::Place { node: at },
                Err(refused) => self.release(pod, at, refused),
            },
            Ok(Permission::Wait { at_most, plugin }) => {
                let wait = PermitWait {
                    plugin,
                    pod: pod.pod.clone(),
                    profile: pod.profile,
                    node: self.nodes[at].name().into(),
                    until: self.now + at_most,
                };
                self.permit_waits.insert(pod.uid().into(), wait);
                Outcome::Permit { node: at }
            }
            Err(refused) => self.release(pod, at, refused),
        }
    }

    fn run_reserve(&mut self, pod: &PendingPod, at: usize) -> Result<(), (usize, Refusal)> {
        let node = &self.nodes[at];
        self.run(pod, ExtensionPoint::Reserve, |_, plugin| match plugin.reserve() {
            Some(plugin) => plugin.reserve(pod, node),
            None => Ok(()),
        })
    }

    fn run_pre_bind(&mut self, pod: &PendingPod, at: usize) -> Result<(), (usize, Refusal)> {
        let node = &self.nodes[at];
        self.run(pod, ExtensionPoint::PreBind, |_, plugin| match plugin.pre_bind() {
            Some(plugin) => plugin.pre_bind(pod, node),
            None => Ok(()),
        })
    }

    fn run_permit(&mut self, pod: &PendingPod, at: usize) -> Result<Permission, (usize, Refusal)> {
        let node = &self.nodes[at];
        let mut permission = Permission::Granted;
        self.run(pod, ExtensionPoint::Permit, |index, plugin| {
            match plugin.permit().map(|plugin| plugin.permit(pod, node)) {
                Some(PermitVerdict::Refuse(refusal)) => return Err(refusal),
                Some(PermitVerdict::Wait(length)) => match &permission {
                    // The shortest timeout applies.
                    Permission::Wait { at_most, .. } if *at_most <= length => {}
                    _ => permission = Permission::Wait { at_most: length, plugin: index },
                },
                Some(PermitVerdict::Allow) | None => {}
            }
            Ok(())
        })?;
        Ok(permission)
    }

    fn run(
        &mut self,
        pod: &PendingPod,
        point: ExtensionPoint,
        mut call: impl FnMut(usize, &mut dyn Plugin) -> Result<(), Refusal>,
    ) -> Result<(), (usize, Refusal)> {
        let profile = self.profiles.get_mut(pod.profile);
        for at in 0..profile.at(point).len() {
            let plugin = profile.at(point)[at];
            self.stats.count_run(point);
            call(plugin, profile.plugin_mut(plugin)).map_err(|refusal| (plugin, refusal))?;
        }
        Ok(())
    }

    fn release(&mut self, pod: &PendingPod, at: usize, (plugin, refusal): (usize, Refusal)) -> Outcome {
        unreserve(self.profiles.get_mut(pod.profile), &pod.pod, self.nodes[at].name());
        self.refused(plugin, &refusal)
    }

    fn refused(&self, plugin: usize, refusal: &Refusal) -> Outcome {
        let mut report = Report { nodes: self.nodes.len(), ..Report::default() };
        report.add_for_pod(plugin, refusal);
        Outcome::Wait(Arc::new(report))
    }

    /// Subtracts the requests of delayed Pods from their nodes.
    pub(super) fn take_room_of_permit_waits(&mut self) {
        let waits: Vec<(Arc<Pod>, Option<usize>)> =
            self.permit_waits.values().map(|wait| (wait.pod.clone(), self.index(&wait.node))).collect();
        for (pod, at) in waits {
            if let Some(at) = at {
                self.take_room(&pod, false, at, &pod.shape.charge());
            }
        }
    }

    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.nodes.binary_search_by(|node| node.name().cmp(name)).ok()
    }

    /// Runs the Permit plugins again for a delayed Pod.
    pub(super) fn ask_permit_again(&mut self, pod: &PendingPod, wait: &PermitWait) -> Outcome {
        let Some(at) = self.index(&wait.node) else {
            return self.end_permit_wait(pod, wait, (wait.plugin, Refusal::unresolvable(Reason::OtherNode)));
        };
        match self.run_permit(pod, at) {
            Err(refused) => return self.end_permit_wait(pod, wait, refused),
            Ok(Permission::Wait { plugin, .. }) if self.now >= wait.until => {
                let refusal = Refusal::resolvable(Reason::PermitTimeout);
                return self.end_permit_wait(pod, wait, (plugin, refusal));
            }
            Ok(Permission::Wait { .. }) => return Outcome::Permit { node: at },
            Ok(Permission::Granted) => {}
        }
        // The offers of the cycle that chose the node may be gone; then the Pod waits for new ones.
        let charge = pod.pod.shape.charge();
        if !self.view(pod, &BTreeMap::new(), at).offers(&charge) {
            return Outcome::Permit { node: at };
        }
        if let Err(refused) = self.run_pre_bind(pod, at) {
            return self.end_permit_wait(pod, wait, refused);
        }
        self.permit_waits.remove(pod.uid());
        self.changes.note(at);
        self.take_offer(pod, at, &charge);
        Outcome::Place { node: at }
    }

    fn end_permit_wait(&mut self, pod: &PendingPod, wait: &PermitWait, refused: (usize, Refusal)) -> Outcome {
        self.permit_waits.remove(pod.uid());
        unreserve(self.profiles.get_mut(wait.profile), &wait.pod, &wait.node);
        self.refused(refused.0, &refused.1)
    }

    /// Runs the Permit plugins of delayed Pods again, because later Pods of the cycle may have fulfilled the
    /// condition.
    pub(super) fn ask_permits_at_end(&mut self, pending: &[PendingPod], decisions: &mut [Decision]) {
        for decision in decisions {
            if let Outcome::Permit { .. } = decision.outcome
                && let Some(wait) = self.permit_waits.get(pending[decision.pod].uid()).cloned()
            {
                decision.outcome = self.ask_permit_again(&pending[decision.pod], &wait);
            }
        }
    }
}
