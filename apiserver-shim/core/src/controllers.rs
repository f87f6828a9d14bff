//! Controllers: pure functions from the cached objects to the next writes.
//!
//! Reading order: `controller` (the interface), `cache` (what a controller sees: objects, typed views, indices), `plan`
//! (what it returns), then one file per controller. The shell (`apiserver-shim/src/controllers`) feeds the cache, gives each
//! controller a worker with a queue, and executes the plans. To add a controller, write a file with an `impl Controller`
//! and add a line to [`all`].

mod cache;
mod conditions;
mod controller;
mod disruption;
mod int_or_percent;
mod owned_pods;
mod plan;
mod revisions;
mod service_backends;

pub mod bootstrap_tokens;
pub mod certificates;
pub mod cluster_role_aggregation;
pub mod cron_job;
pub mod daemon_set;
pub mod deployment;
pub mod disruption_budgets;
pub mod endpoint_slice_mirroring;
pub mod endpoint_slices;
pub mod endpoints;
pub mod ephemeral_volumes;
pub mod event_ttl;
pub mod flow_control;
pub mod garbage_collector;
pub mod ip_addresses;
pub mod job;
pub mod namespace;
pub mod node_lifecycle;
pub mod node_ttl;
pub mod pod_gc;
pub mod pod_status;
pub mod policy_status;
pub mod replica_set;
pub mod replication_controller;
pub mod resource_claims;
pub mod resource_quota;
pub mod root_ca;
pub mod secret_tokens;
pub mod service_account;
pub mod service_cidrs;
pub mod stateful_set;
pub mod taint_eviction;
mod template_hash;
pub mod ttl_after_finished;
pub mod volume_binder;
pub mod volume_protection;

pub use cache::{
    AnyView, CachedObject, ChangeKind, ControllerCache, Decoder, Dependent, Input, NewObject, ObjectChange,
    ObjectName, OwnerLookup, Refusal, View,
};
pub use conditions::{
    Condition, applied_condition, condition, equal_ignoring_empty, remove_condition, replace_condition, says,
    set_condition,
};
pub use controller::{Controller, Keys, Registration};
pub use disruption::{Disruption, mark_disrupted};
pub use plan::{
    Action, Change, CreationEvents, CreationText, EventRecord, EventSource, Plan, Propagation, Target,
};

use std::sync::Arc;

use shim_model::resource::GroupResource;

use crate::certificates::CertificateSigner;
use crate::secret_tokens::SecretTokenSigner;
use crate::service_cidr::ServiceCidr;

/// What the controllers are configured with.
#[derive(Debug, Clone, Default)]
pub struct ControllerConfig {
    /// The certificate authority of the API server, in PEM.
    pub ca_pem: String,
    /// The range of cluster IPs.
    pub service_cidr: ServiceCidr,
    /// Signs certificate signing requests; without it nobody does.
    pub signer: Option<Arc<dyn CertificateSigner>>,
    /// Signs the tokens of Secrets; without it they stay empty.
    pub token_signer: Option<Arc<dyn SecretTokenSigner>>,
}

/// Every controller.
pub fn all(config: &ControllerConfig) -> Vec<Registration> {
    let mut all = vec![
        Registration::new(deployment::DeploymentController),
        Registration::new(replica_set::ReplicaSetController),
        Registration::new(daemon_set::DaemonSetController),
        Registration::new(stateful_set::StatefulSetController),
        Registration::new(volume_binder::VolumeBinder),
        Registration::new(ephemeral_volumes::EphemeralVolumeController),
        Registration::new(namespace::NamespaceController),
        Registration::new(service_account::ServiceAccountController),
        Registration::new(root_ca::RootCaPublisher { ca_pem: config.ca_pem.clone() }),
        Registration::new(endpoints::EndpointsController),
        Registration::new(endpoint_slices::EndpointSliceController),
        Registration::new(endpoint_slice_mirroring::EndpointSliceMirroringController),
        Registration::new(node_lifecycle::NodeLifecycleController),
        Registration::new(node_ttl::TtlController),
        Registration::new(taint_eviction::TaintEvictionController),
        Registration::new(pod_gc::PodGarbageCollector::default()),
        Registration::new(garbage_collector::GarbageCollector),
        Registration::new(cluster_role_aggregation::ClusterRoleAggregationController),
        Registration::new(volume_protection::ClaimProtectionController),
        Registration::new(volume_protection::VolumeProtectionController),
        Registration::new(volume_protection::AttributesClassProtectionController),
        Registration::new(disruption_budgets::DisruptionController),
        Registration::new(resource_quota::ResourceQuotaController),
        Registration::new(job::JobController),
        Registration::new(cron_job::CronJobController),
        Registration::new(ttl_after_finished::TtlAfterFinishedController),
        Registration::new(replication_controller::ReplicationManager),
        Registration::new(service_cidrs::ServiceCidrController { service_cidr: config.service_cidr }),
        Registration::new(ip_addresses::IpAddressRepair { service_cidr: config.service_cidr }),
        Registration::new(flow_control::ConfigProducer),
        Registration::new(flow_control::ConfigConsumer),
        Registration::new(bootstrap_tokens::TokenCleaner),
        Registration::new(bootstrap_tokens::BootstrapSigner),
        Registration::new(policy_status::PolicyStatusController),
        Registration::new(secret_tokens::TokenTracking),
        Registration::new(secret_tokens::UnusedTokenCleaner),
        Registration::new(resource_claims::ResourceClaimController),
    ];
    if let Some(signer) = &config.token_signer {
        let (ca_pem, signer) = (config.ca_pem.clone(), signer.clone());
        all.push(Registration::new(secret_tokens::TokensController { ca_pem, signer }));
    }
    if let Some(signer) = &config.signer {
        all.push(Registration::new(certificates::CertificateApprover { signer: signer.clone() }));
        all.push(Registration::new(certificates::CertificateSigning { signer: signer.clone() }));
        all.push(Registration::new(certificates::CertificateCleaner { signer: signer.clone() }));
    }
    all
}

/// Names a built-in resource.
pub const fn served(group: &'static str, plural: &'static str) -> GroupResource {
    GroupResource::builtin(group, plural)
}

#[cfg(test)]
#[path = "controllers/tests.rs"]
mod tests;
