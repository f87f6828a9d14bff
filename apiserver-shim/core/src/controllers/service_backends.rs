//! The Pods behind a Service, for both endpoint controllers.

use serde_json::{Value, json};
use shim_model::access;

use super::{Keys, ObjectChange, ObjectName, View, served};
use crate::rows::{Pod, Service};

/// The annotation with the time of the change that a write follows, from which clients measure the programming latency.
pub(super) const TRIGGER_TIME_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The label of slices with the name of their Service.
pub(super) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label of slices with the controller that keeps them.
pub(super) const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";

/// A Pod with an address that a Service selects.
pub(super) struct Backend<'a> {
    pub pod: &'a Pod,
    pub ip: &'a str,
    pub ports: Value,
    pub publish_not_ready: bool,
}

impl Backend<'_> {
    /// Whether it has a deletion timestamp.
    pub fn terminating(&self) -> bool {
        self.pod.deletion.is_some()
    }

    /// Whether it receives traffic.
    pub fn ready(&self) -> bool {
        self.publish_not_ready || (self.pod.is_ready() && !self.terminating())
    }

    /// As a `targetRef`.
    pub fn reference(&self) -> Value {
        let header = self.pod.header();
        json!({"kind": "Pod", "namespace": header.namespace, "name": header.name, "uid": header.uid})
    }
}

/// The backends of a Service, ordered by the Pods' names; `None` if the Service has no selector or is being deleted.
pub(super) fn backends<'a>(view: &View<'a>, service: &Service) -> Option<Vec<Backend<'a>>> {
    let header = service.header();
    let selector = service.selector.as_ref().filter(|_| header.deletion_timestamp.is_none())?;
    let publish_not_ready = access::flag(&service.spec, &["publishNotReadyAddresses"]);
    let pods = view.matching::<Pod>(&header.namespace, selector).into_iter();
    let pods = pods.filter(|pod| !pod.phase.is_terminal());
    let mut backends: Vec<Backend<'a>> = pods
        .filter_map(|pod| {
            let ip = pod.ips.first()?;
            Some(Backend { pod, ip, ports: ports(&service.spec, pod), publish_not_ready })
        })
        .collect();
    backends.sort_by(|a, b| a.pod.header().name.cmp(&b.pod.header().name));
    Some(backends)
}

/// The Service's ports on this Pod, where a `targetPort` may name a container's port.
fn ports(spec: &Value, pod: &Pod) -> Value {
    let of = |port: &Value| {
        let protocol = match access::text(port, &["protocol"]) {
            "" => "TCP",
            protocol => protocol,
        };
        let number = match port.get("targetPort") {
            Some(Value::String(name)) => {
                let named = pod.shape.ports.iter().find(|p| *p.name == **name && *p.protocol == *protocol);
                i64::from(named?.port)
            }
            Some(number) if number.as_i64().is_some_and(|n| n != 0) => number.as_i64()?,
            _ => access::int(port, &["port"])?,
        };
        let mut value = json!({"name": access::text(port, &["name"]), "port": number, "protocol": protocol});
        if let Some(application) = port.get("appProtocol").filter(|v| !v.is_null()) {
            value["appProtocol"] = application.clone();
        }
        Some(value)
    };
    access::list(spec, &["ports"]).iter().filter_map(of).collect()
}

/// The Services that select a Pod, before or after a change that concerns their endpoints.
pub(super) fn keys_of_pod(change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
    let (new, old) = (change.object.view::<Pod>(), change.previous.as_ref().and_then(|p| p.view::<Pod>()));
    if let (Some(new), Some(old)) = (new, old)
        && !change.is_deletion()
        && same_endpoint(new, old)
    {
        return;
    }
    for pod in change.headers() {
        let services = view.selecting::<Service>(&pod.namespace, &pod.labels);
        keys.extend(services.into_iter().map(|s| ObjectName::of(served("", "services"), s.header())));
    }
}

/// Whether two versions of a Pod yield the same endpoint.
fn same_endpoint(a: &Pod, b: &Pod) -> bool {
    a.ips == b.ips
        && a.node == b.node
        && a.is_ready() == b.is_ready()
        && a.deletion.is_some() == b.deletion.is_some()
        && a.phase.is_terminal() == b.phase.is_terminal()
        && (&a.hostname, &a.subdomain) == (&b.hostname, &b.subdomain)
        && a.shape.ports == b.shape.ports
        && a.header().labels == b.header().labels
        && a.uid() == b.uid()
}
