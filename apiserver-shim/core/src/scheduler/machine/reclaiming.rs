//! Guarantees of roles across kinds of work: tells the kernel what pending Pods lack, and evicts Pods whose resources the kernel wants
//! for others.

use std::{collections::BTreeMap, sync::Arc};

use kernel_model::{
    ids::OfferId,
    offer::{InverseOffer, Reclaim},
    resources::Resources,
    roles::Role,
    scheduler::Call,
};

use super::binding_cycle::event_source;
use super::launching::kernel_resources;
use super::node_projection::executor_share;
use super::{EvictWrite, SchedulerMachine, Write};
use crate::controllers::{EventRecord, Target, served};
use crate::rows::Key;
use crate::scheduler::Amounts;

/// The plugins whose refusals mean that resources are missing.
const OF_RESOURCES: [&str; 3] = ["NodeResourcesFit", "KernelOffers", "NodePorts"];

impl SchedulerMachine {
    /// Tells the kernel what Pods without a node need, by role, if it is something else than before.
    pub(super) fn tell_demand(&mut self) {
        if self.framework_id.is_none() {
            return;
        }
        let mut by_role: BTreeMap<Arc<str>, Amounts> = BTreeMap::new();
        for (pending, by) in self.queue.refused() {
            let profile = self.scheduler.profiles().get(pending.profile);
            let lacks = by.iter().any(|plugin| OF_RESOURCES.contains(&profile.plugin(plugin).name()));
            if lacks {
                let role = self.roles.of(&pending.pod.header().namespace);
                by_role.entry(role).or_default().add(&pending.pod.shape.charge());
            }
        }
        for amounts in by_role.values_mut().filter(|amounts| !amounts.others.is_empty()) {
            // The kernel would free something for a resource that it does not have.
            let is_declared = |name: &str| self.node_infos.all().iter().any(|info| info.declares(name));
            amounts.others.retain(|(name, _)| !is_declared(name));
        }
        // On a node without Pods the executor is to be started first.
        let starts = self.node_infos.all().iter().any(|info| info.pods().is_empty());
        let demand = by_role.into_iter().filter_map(|(role, mut amounts)| {
            if starts {
                amounts.add(&executor_share());
            }
            Some((Role::parse(&role).ok()?, kernel_resources(&amounts)))
        });
        let demand: Vec<(Role, Resources)> = demand.collect();
        if demand != self.told_demand {
            self.told_demand.clone_from(&demand);
            self.call(Call::Demand { roles: demand });
        }
    }

    /// Evicts the Pods that the kernel names.
    pub(super) fn inverse_offers_came(&mut self, offers: &[InverseOffer]) {
        for offer in offers {
            let uid = offer.task_id.as_str();
            let state = self.pods.by_uid.get_mut(uid);
            let Some(state) = state.filter(|state| state.row.deletion.is_none() && !state.evicting) else {
                // It ends already, or is not known.
                self.call(Call::AcceptInverseOffers { offer_ids: vec![offer.id.clone()] });
                continue;
            };
            state.evicting = true;
            let header = state.row.header();
            let (reason, message) = match offer.why {
                Reclaim::Guarantee => {
                    ("Preempted", "Preempted: its resources are guaranteed to another role")
                }
                Reclaim::Drain => ("Draining", "Evicted: an operator drains its machine"),
            };
            self.out.persist.push(Write::Evict(Box::new(EvictWrite {
                key: Key::of(header),
                uid: uid.into(),
                offer_id: offer.id.clone(),
                why: offer.why,
                event: EventRecord {
                    about: Target::of(served("", "pods"), header),
                    warning: false,
                    reason,
                    message: message.to_owned(),
                    source: event_source(&self.scheduler, &state.row),
                },
            })));
        }
    }

    /// An eviction has begun, or failed. Answers the kernel's inverse offer, if it was for one.
    pub(super) fn evicted(&mut self, uid: &str, offer: Option<(OfferId, Reclaim)>, evicted: bool) {
        match offer {
            None => self.preempted.for_priority += u64::from(evicted),
            Some((_, Reclaim::Guarantee)) => self.preempted.for_guarantees += u64::from(evicted),
            Some((_, Reclaim::Drain)) => {}
        }
        if let Some(state) = self.pods.by_uid.get_mut(uid).filter(|_| !evicted) {
            state.evicting = false;
        }
        let Some((offer_id, _)) = offer else { return };
        let offer_ids = vec![offer_id];
        self.call(match evicted {
            true => Call::AcceptInverseOffers { offer_ids },
            false => Call::DeclineInverseOffers { offer_ids },
        });
    }
}
