//! Roles of a master in the same process: their state, weights and quotas.

use async_trait::async_trait;
use kernel_core::master::{Master, OperatorCall};
use kernel_model::{quota::Quota, role_report::RoleReport, roles::Role};

use super::{DriverError, InProcessDriver};

/// What administrators of roles read and set.
#[async_trait]
pub trait RoleDriver: Send + Sync {
    /// The roles with frameworks, weights, quotas or reservations, ordered by name.
    async fn roles(&self) -> Result<Vec<RoleReport>, DriverError>;

    /// Sets the weight of a role. `Ok` means that it is durable.
    async fn set_weight(&self, role: &Role, weight: f64) -> Result<(), DriverError>;

    /// Sets the quota of a role; a default one removes it. `Ok` means that it is durable.
    async fn set_quota(&self, role: &Role, quota: Quota) -> Result<(), DriverError>;
}

#[async_trait]
impl RoleDriver for InProcessDriver {
    async fn roles(&self) -> Result<Vec<RoleReport>, DriverError> {
        Ok(self.queue.view(Master::role_reports).await?)
    }

    async fn set_weight(&self, role: &Role, weight: f64) -> Result<(), DriverError> {
        let call = OperatorCall::UpdateWeights { weights: vec![(role.clone(), weight)] };
        Ok(self.queue.operator(call).await.map(drop)?)
    }

    async fn set_quota(&self, role: &Role, quota: Quota) -> Result<(), DriverError> {
        let call = OperatorCall::UpdateQuota { configs: vec![(role.clone(), quota)], force: false };
        Ok(self.queue.operator(call).await.map(drop)?)
    }
}
