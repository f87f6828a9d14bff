//! Operator calls that change state.

use std::collections::BTreeSet;

use kernel_model::roles::Role;

use super::{
    Master,
    effect::{Answer, Op, Record, RecordKey, Refusal},
    event::OperatorCall,
};

/// How many roles can have a weight: more than any cluster has tenants. Each is a record of the registry and is in memory.
const WEIGHTS_MAX: usize = 16 * 1024;

impl Master {
    pub(super) fn operator_call(&mut self, call: OperatorCall) -> Result<Answer, Refusal> {
        match call {
            OperatorCall::Teardown { framework_id } => {
                if !self.frameworks.contains_key(&framework_id) {
                    return Err(Refusal::Invalid("No framework found with specified ID".to_owned()));
                }
                self.end_framework(&framework_id);
            }
            OperatorCall::UpdateWeights { weights } => self.update_weights(weights)?,
            OperatorCall::UpdateQuota { configs, force } => self.update_quota(configs, force)?,
            OperatorCall::SetQuota { role, quota, force } => self.set_quota(role, quota, force)?,
            OperatorCall::RemoveQuota { role, refusal } => self.remove_quota(role, &refusal)?,
            OperatorCall::MarkAgentGone { agent_id } => {
                if !self.mark_gone(&agent_id) {
                    return Err(Refusal::NotFound(format!("Agent '{agent_id}' not found")));
                }
            }
            OperatorCall::DrainAgent { agent_id, config } => self.drain_agent(&agent_id, config)?,
            OperatorCall::DeactivateAgent { agent_id } => self.deactivate_agent(&agent_id)?,
            OperatorCall::ReactivateAgent { agent_id } => self.reactivate_agent(&agent_id)?,
            OperatorCall::Convert { agent_id, kind, principal, resources } => {
                self.convert_by_operator(&agent_id, kind, principal.as_deref(), &resources)?;
                return Ok(Answer::Accepted);
            }
            OperatorCall::ChangeReservation { agent_id, principal, source, resources } => {
                self.change_reservation(&agent_id, principal.as_deref(), &source, &resources)?;
                return Ok(Answer::Accepted);
            }
            OperatorCall::Unsupported { kind } => {
                return Err(Refusal::Unsupported(format!("{kind} is not supported by this version")));
            }
        }
        Ok(Answer::Done)
    }

    fn update_weights(&mut self, weights: Vec<(Role, f64)>) -> Result<(), Refusal> {
        if let Some((role, weight)) =
            weights.iter().find(|(_, weight)| !(weight.is_finite() && *weight > 0.0))
        {
            let text = format!("Invalid weight '{weight}' for role '{role}': Weights must be positive");
            return Err(Refusal::Invalid(text));
        }
        let named: BTreeSet<&str> = weights.iter().map(|(role, _)| role.as_str()).collect();
        let known = self.weights().filter(|(role, _)| !named.contains(role.as_str())).count();
        if known + named.len() > WEIGHTS_MAX {
            return Err(Refusal::Invalid(format!("At most {WEIGHTS_MAX} roles can have a weight")));
        }
        let is_affected = |role: &Role| role.lineage().any(|name| named.contains(name));
        let affected = self.frameworks.values().any(|f| f.info.roles.iter().any(is_affected));
        for (role, weight) in weights {
            self.allocator.set_weight(&role, weight);
            let record = Record::Weight { role, weight };
            if self.registry.get(&record.key()) != Some(&record) {
                self.persist(Op::Put(record));
            }
        }
        if affected {
            self.withdraw_all_offers();
        }
        Ok(())
    }

    pub(super) fn restore_weights(&mut self) {
        for record in self.registry.iter() {
            if let Record::Weight { role, weight } = record {
                self.allocator.set_weight(role, *weight);
            }
        }
    }

    /// The weight of a role: 1 by default.
    pub(super) fn weight_of(&self, role: &Role) -> f64 {
        match self.registry.get(&RecordKey::Weight(role.clone())) {
            Some(Record::Weight { weight, .. }) => *weight,
            _ => 1.0,
        }
    }
}
