//! Services with a selector: which Pods stand behind them, as EndpointSlices and as (older clients') Endpoints.

mod legacy;
mod slices;

pub use slices::MANAGED_BY;

use serde_json::{Value, json};
use shim_model::{access, object::Header};

use super::Plan;
use crate::rows::{LabelSelector, Pod, Seconds};

/// All that one look at a Service sees.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// The Service's header.
    pub header: &'a Header,
    /// The Service.
    pub value: &'a Value,
    /// Every Pod of its namespace that its selector matches.
    pub pods: Vec<&'a Pod>,
    /// Every EndpointSlice that is ours and labelled with its name.
    pub slices: Vec<(&'a Header, &'a Value)>,
    /// The Endpoints of its name.
    pub endpoints: Option<(&'a Header, &'a Value)>,
    /// The time.
    pub now: Seconds,
}

/// The selector of a Service; `None` if its endpoints are somebody else's business.
pub fn selector(service: &Value) -> Option<LabelSelector> {
    let external = access::text(service, &["spec", "type"]) == "ExternalName";
    let selector = LabelSelector::equalities(access::entries(service, &["spec", "selector"]));
    (!external && !selector.is_empty()).then_some(selector)
}

/// What to do next about a Service's endpoints.
pub fn reconcile(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = Plan::default();
    if snapshot.header.deletion_timestamp.is_some() || selector(snapshot.value).is_none() {
        return plan;
    }
    let behind = behind(snapshot);
    slices::plan(snapshot, &behind, &mut plan);
    legacy::plan(snapshot, &behind, &mut plan);
    plan
}

/// A Pod behind a Service.
pub(super) struct Endpoint<'a> {
    pub pod: &'a Pod,
    pub ip: &'a str,
    pub ports: Value,
    pub publish_not_ready: bool,
}

impl Endpoint<'_> {
    fn terminating(&self) -> bool {
        self.pod.deletion.is_some()
    }

    fn ready(&self) -> bool {
        self.publish_not_ready || (self.pod.is_ready() && !self.terminating())
    }

    fn reference(&self) -> Value {
        let header = self.pod.header();
        json!({"kind": "Pod", "namespace": header.namespace, "name": header.name, "uid": header.uid})
    }
}

fn behind<'a>(snapshot: &Snapshot<'a>) -> Vec<Endpoint<'a>> {
    let publish_not_ready = access::flag(snapshot.value, &["spec", "publishNotReadyAddresses"]);
    let mut behind: Vec<Endpoint<'a>> = snapshot
        .pods
        .iter()
        .filter(|pod| !pod.phase.is_terminal())
        .filter_map(|pod| {
            let ip = pod.ips.first()?;
            Some(Endpoint { pod, ip, ports: ports(snapshot.value, pod), publish_not_ready })
        })
        .collect();
    behind.sort_by(|a, b| a.pod.header().name.cmp(&b.pod.header().name));
    behind
}

/// The Service's ports as this Pod has them: a `targetPort` may be the name of a container's port.
fn ports(service: &Value, pod: &Pod) -> Value {
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
    access::list(service, &["spec", "ports"]).iter().filter_map(of).collect()
}

fn is_headless(service: &Value) -> bool {
    access::text(service, &["spec", "clusterIP"]) == "None"
}

#[cfg(test)]
#[path = "endpoints/tests.rs"]
mod tests;
