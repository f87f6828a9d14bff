//! Starts what runs beside the API: the controllers and the scheduler framework.

use std::sync::Arc;

use kernel::driver::SchedulerDriver;
use tokio::task::JoinHandle;

use crate::controllers::{self, ControllerOptions, EventRecorder};
use crate::node_endpoints::NodeEndpoints;
use crate::pipeline::Pipeline;
use crate::scheduler::kernel_client::KernelClient;
use crate::scheduler::{self, SchedulerOptions};
use crate::storage::pod_cidrs::PodCidrs;
use crate::storage::pod_views::PodViews;

/// What the runners need.
pub struct RunnersOptions {
    /// The objects, and the way in for new ones.
    pub pipeline: Pipeline,
    /// The kernel.
    pub driver: Arc<dyn SchedulerDriver>,
    /// Where executors can be reached; filled in here.
    pub node_endpoints: NodeEndpoints,
    /// Pod CIDRs of Nodes.
    pub pod_cidrs: PodCidrs,
    /// The certificate authority of the API server, for `kube-root-ca.crt`.
    pub ca_pem: String,
}

/// The runners. Dropping it stops them; nothing is lost by that, for all that they know is in the store and in the kernel.
#[derive(Debug)]
pub struct RunnersHandle {
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the controllers and the scheduler framework. Needs a tokio runtime.
pub fn start(options: RunnersOptions) -> RunnersHandle {
    let registry = options.pipeline.registry().clone();
    let events = EventRecorder::start(registry.clone());
    let pod_views = PodViews::default();
    let controllers = controllers::run(ControllerOptions {
        pipeline: options.pipeline,
        pod_views: pod_views.clone(),
        ca_pem: options.ca_pem,
        events: events.clone(),
    });
    let client = KernelClient::new(options.driver, registry.store().clone());
    let scheduler = scheduler::run(SchedulerOptions {
        registry,
        client,
        node_endpoints: options.node_endpoints,
        pod_cidrs: options.pod_cidrs,
        pod_views,
        events,
    });
    RunnersHandle { tasks: vec![tokio::spawn(controllers), tokio::spawn(scheduler)] }
}

impl RunnersHandle {
    /// Waits until one of them ends by itself, which is a defect of ours: the cluster would stand still without a word. The
    /// text says which. To be asked once.
    pub async fn ended(&mut self) -> String {
        let (ended, at, _) = futures::future::select_all(&mut self.tasks).await;
        let name = ["the controllers", "the scheduler"][at];
        match ended {
            Ok(()) => format!("{name} ended"),
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
