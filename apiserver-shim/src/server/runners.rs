//! Starts the controllers, the scheduler, the sweep of unused Pod CIDRs and the renewal of the nodes' Leases, which run
//! beside the API server.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kernel::driver::{RoleDriver, SchedulerDriver};
use shim_core::certificates::CertificateSigner;
use shim_core::controllers::{self, ControllerConfig};
use shim_core::secret_tokens::SecretTokenSigner;
use tokio::task::JoinHandle;

use super::node_leases;
use crate::autoscaler::AutoscalerController;
use crate::controllers::{ControllerOptions, Controllers, EventRecorder, workqueue_collector};
use crate::http::component_statuses::{self, ComponentTasks};
use crate::http::service::ApiService;
use crate::kernel_roles::KernelRoles;
use crate::metrics::{self, register};
use crate::node_endpoints::NodeEndpoints;
use crate::pipeline::Pipeline;
use crate::scheduler::kernel_client::KernelClient;
use crate::scheduler::{self, SchedulerConfiguration, SchedulerOptions};
use crate::storage::pod_cidrs::{PodCidrs, sweep};
use crate::storage::pod_views::PodViews;
use crate::storage::registry::Registry;

/// How often it is looked whether all stored objects can be read, if some cannot.
const READABLE_PERIOD: Duration = Duration::from_secs(5);

/// Options of the controllers and the scheduler.
pub struct RunnersOptions {
    /// Reads and writes objects.
    pub pipeline: Pipeline,
    /// The kernel.
    pub driver: Arc<dyn SchedulerDriver>,
    /// The kernel's roles, which are shown as objects; `None` shows none.
    pub roles: Option<Arc<dyn RoleDriver>>,
    /// The addresses of the executors; the scheduler driver updates them.
    pub node_endpoints: NodeEndpoints,
    /// Pod CIDRs of Nodes.
    pub pod_cidrs: PodCidrs,
    /// The scheduler's profiles and back-off times.
    pub scheduler_configuration: SchedulerConfiguration,
    /// The registry for the metrics of controllers and scheduler.
    pub metrics: metrics::Registry,
    /// The certificate authority of the API server, for `kube-root-ca.crt`.
    pub ca_pem: String,
    /// Where the tasks of scheduler and controllers are told, for ComponentStatuses.
    pub components: ComponentTasks,
    /// The API, for the HorizontalPodAutoscaler controller; `None` runs none.
    pub service: Option<ApiService>,
    /// Signs certificate signing requests.
    pub signer: Option<Arc<dyn CertificateSigner>>,
    /// Signs the tokens of service accounts that are kept in Secrets.
    pub token_signer: Option<Arc<dyn SecretTokenSigner>>,
}

/// Handle of the controllers and the scheduler. Dropping it stops them; their state is in the store and in the
/// kernel.
#[derive(Debug)]
pub struct RunnersHandle {
    tasks: Vec<JoinHandle<String>>,
}

/// Starts the controllers, the scheduler framework, the sweep of Pod CIDRs and the renewal of Leases. Needs a tokio runtime.
pub fn start(options: RunnersOptions) -> RunnersHandle {
    let registry = options.pipeline.registry().clone();
    let events = EventRecorder::start(options.pipeline.clone());
    let pod_views = PodViews::default();
    let controllers = Controllers::new(ControllerOptions {
        pipeline: options.pipeline.clone(),
        pod_views: pod_views.clone(),
        controllers: controllers::all(&ControllerConfig {
            ca_pem: options.ca_pem,
            service_cidr: registry.service_cidr(),
            signer: options.signer,
            token_signer: options.token_signer,
        }),
        events: events.clone(),
    });
    let (swept, objects) = (options.pod_cidrs.clone(), registry.clone());
    let leases = node_leases::run(options.pipeline.clone());
    register(&options.metrics, workqueue_collector(controllers.metrics()));
    let client = KernelClient::new(options.driver, registry.store().clone());
    let roles = options.roles.map(|driver| KernelRoles {
        pipeline: options.pipeline.clone(),
        driver,
        client: client.clone(),
    });
    let autoscaler = options
        .service
        .map(|service| AutoscalerController::new(&service, options.pipeline.clone(), events.clone()));
    let scheduler = scheduler::run(SchedulerOptions {
        pipeline: options.pipeline,
        client,
        node_endpoints: options.node_endpoints,
        pod_cidrs: options.pod_cidrs,
        pod_views,
        events,
        configuration: options.scheduler_configuration,
        metrics: options.metrics,
    });
    let readable = all_readable(registry).shared();
    let controllers = tokio::spawn(readable.clone().then(|()| controllers.run()));
    let ready = readable.clone();
    let scheduler = tokio::spawn(async move {
        ready.await;
        scheduler.await;
        "the scheduler exited".to_owned()
    });
    options.components.insert(component_statuses::CONTROLLER_MANAGER, controllers.abort_handle());
    options.components.insert(component_statuses::SCHEDULER, scheduler.abort_handle());
    let autoscaler = tokio::spawn(readable.clone().then(|()| run_autoscaler(autoscaler)));
    let sweep = tokio::spawn(async move {
        readable.await;
        sweep::run(swept, objects).await;
        "the sweep of Pod CIDRs ended".to_owned()
    });
    let leases = tokio::spawn(async move {
        leases.await;
        "the renewal of the nodes' Leases ended".to_owned()
    });
    let roles = tokio::spawn(async move {
        match roles {
            Some(roles) => roles.run().await,
            None => std::future::pending().await,
        }
        "the task of the kernel's roles ended".to_owned()
    });
    RunnersHandle { tasks: vec![controllers, scheduler, sweep, leases, roles, autoscaler] }
}

async fn run_autoscaler(autoscaler: Option<AutoscalerController>) -> String {
    match autoscaler {
        Some(autoscaler) => autoscaler.run().await,
        None => std::future::pending().await,
    }
    "the HorizontalPodAutoscaler controller ended".to_owned()
}

/// Waits until all stored objects can be read: to a component that does not see an object, it looks deleted.
async fn all_readable(registry: Registry) {
    loop {
        let unreadable = registry.unreadable();
        let Some((key, reason)) = unreadable.first() else { return };
        let count = unreadable.len();
        tracing::error!(
            count,
            key,
            reason,
            "controllers and scheduler wait until all stored objects can be read"
        );
        tokio::time::sleep(READABLE_PERIOD).await;
    }
}

impl RunnersHandle {
    /// Waits until one of them exits, which is always a defect, and says which one. The process should exit then,
    /// because the cluster would stop without notice. Call this only once.
    pub async fn ended(&mut self) -> String {
        let (ended, at, _) = futures::future::select_all(&mut self.tasks).await;
        let names = [
            "the controllers",
            "the scheduler",
            "the sweep of Pod CIDRs",
            "the renewal of the nodes' Leases",
            "the task of the kernel's roles",
            "the HorizontalPodAutoscaler controller",
        ];
        let name = names[at];
        match ended {
            Ok(reason) => reason,
            Err(error) => format!("{name} failed: {error}"),
        }
    }

    /// Stops them.
    pub fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for RunnersHandle {
    fn drop(&mut self) {
        self.stop();
    }
}
