//! NodeRestriction: a node writes its own Node, Lease and CSINode, the status of its own Pods, and gets tokens for them.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::authorization::{node, node_restriction as rules};
use shim_core::controllers::served;
use shim_model::access;
use shim_model::go_quote::Quoted;
use shim_model::status::{self, Status};

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::auth::authorization::subject;
use crate::storage::registry::Registry;

/// How long a token request waits for the binding of its Pod; as long as authorization waits for it.
const BINDING_WAIT_MAX: Duration = Duration::from_secs(5);

pub(super) struct NodeRestriction {
    registry: Registry,
}

impl NodeRestriction {
    pub(super) fn new(registry: Registry) -> NodeRestriction {
        NodeRestriction { registry }
    }

    fn check(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        let Attributes { operation, subresource, namespace, .. } = *attributes;
        let name = match &attributes.object {
            Some(object) if attributes.name.is_empty() => access::text(object, &["metadata", "name"]),
            _ => attributes.name,
        };
        let (new, old) = (attributes.object.as_ref(), attributes.old_object);
        match (attributes.resource.group.as_str(), attributes.resource.plural.as_str()) {
            ("", "pods") => self.check_pod(node, attributes),
            ("", "nodes") if matches!(operation, Operation::Create | Operation::Update) => {
                rules::write_node(node, name, new.unwrap_or(&Value::Null), old)
            }
            ("", "nodes") if name == node => Ok(()),
            ("", "nodes") => {
                Err(format!("node {} is not allowed to modify node {}", Quoted(node), Quoted(name)))
            }
            ("", "persistentvolumeclaims") => match (subresource, operation, new, old) {
                ("status", Operation::Update, Some(new), Some(old)) => {
                    rules::update_claim_status(node, new, old)
                }
                ("status", ..) => Err(format!("unexpected operation {}", Quoted(operation.name()))),
                _ => Err("may only update PVC status".to_owned()),
            },
            ("coordination.k8s.io", "leases") => rules::write_lease(node, namespace, name),
            ("storage.k8s.io", "csinodes") => rules::write_csi_node(node, name),
            ("", "serviceaccounts") if operation == Operation::Create && subresource == "token" => {
                let pod = |name: &str| self.pod(namespace, name);
                rules::create_token(node, new.unwrap_or(&Value::Null), pod)
            }
            _ => Ok(()),
        }
    }

    fn check_pod(&self, node: &str, attributes: &Attributes<'_>) -> Result<(), String> {
        let Attributes { operation, subresource, namespace, name, .. } = *attributes;
        let node_of = |pod: Option<Value>| {
            pod.map(|pod| access::text(&pod, &["spec", "nodeName"]).to_owned()).unwrap_or_default()
        };
        match (subresource, operation) {
            ("", Operation::Create) => {
                let own = self.registry.peek(served("", "nodes"), "", node);
                let uid = own.as_ref().map(|own| own.header().uid.as_str());
                rules::create_pod(node, attributes.object.as_ref().unwrap_or(&Value::Null), uid)
            }
            ("", Operation::Delete) if node_of(self.pod(namespace, name)) == node => Ok(()),
            ("", Operation::Delete) => {
                Err(format!("node {} can only delete pods with spec.nodeName set to itself", Quoted(node)))
            }
            ("", other) => Err(format!(
                "unexpected operation {}, node {} can only create and delete mirror pods",
                Quoted(other.name()),
                Quoted(node)
            )),
            ("status", Operation::Update) => match (&attributes.object, attributes.old_object) {
                (Some(new), Some(old)) => rules::update_pod_status(node, new, old),
                _ => Ok(()),
            },
            ("eviction", Operation::Create) if node_of(self.pod(namespace, name)) == node => Ok(()),
            ("eviction", Operation::Create) => {
                Err(format!("node {node} can only evict pods with spec.nodeName set to itself"))
            }
            ("status" | "eviction", other) => Err(format!("unexpected operation {}", Quoted(other.name()))),
            (other, _) => Err(format!(
                "unexpected pod subresource {other}, only 'status' and 'eviction' are allowed",
                other = Quoted(other)
            )),
        }
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Value> {
        self.registry.peek(served("", "pods"), namespace, name).map(|pod| pod.value())
    }

    /// Waits until the Pod of a token request is bound: the kernel launches it before its binding is written.
    async fn wait_for_binding(&self, attributes: &Attributes<'_>) {
        let Some(request) = attributes.object.as_ref().filter(|_| attributes.subresource == "token") else {
            return;
        };
        let name = access::text(request, &["spec", "boundObjectRef", "name"]);
        let deadline = tokio::time::Instant::now() + BINDING_WAIT_MAX;
        let mut progress = self.registry.subscribe_progress();
        loop {
            progress.borrow_and_update();
            let pod = self.registry.peek(served("", "pods"), attributes.namespace, name);
            let is_unbound = pod.is_some_and(|pod| pod.field("spec.nodeName").unwrap_or("").is_empty());
            if !is_unbound
                || !matches!(tokio::time::timeout_at(deadline, progress.changed()).await, Ok(Ok(())))
            {
                return;
            }
        }
    }
}

#[async_trait]
impl AdmissionPlugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let limited = ["pods", "nodes", "persistentvolumeclaims", "serviceaccounts", "leases", "csinodes"];
        attributes.operation != Operation::Connect && limited.contains(&attributes.resource.plural.as_str())
    }

    /// Fast paths are those of this process, which the plugin does not restrict.
    fn needs_object(&self) -> bool {
        false
    }

    async fn admit(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let Some(node) = node::node_name(&subject(&context.user)).filter(|_| !context.is_internal()) else {
            return Ok(());
        };
        self.wait_for_binding(attributes).await;
        let checked = match node {
            "" => Err(format!("could not determine node from user {}", Quoted(&context.user.name))),
            node => self.check(node, attributes),
        };
        checked.map_err(|why| {
            let resource = attributes.resource;
            status::forbidden(&resource.group, &resource.plural, attributes.object_name(), why)
        })
    }
}
