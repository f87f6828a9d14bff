//! Authorization of requests: `system:masters` may do anything, then the node authorizer and RBAC are asked, as upstream with
//! `--authorization-mode=Node,RBAC`. The decisions are `shim_core::authorization`'s; this module feeds them from the watch
//! caches.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shim_core::authorization::index::aggregate;
use shim_core::authorization::node::{self, NodeVerdict};
use shim_core::authorization::{AccessRequest, PolicyRule, Requested, RequestedResource, Subject};
use shim_model::go_quote::Quoted;
use shim_model::status::{self, Status};

use crate::auth::authentication::{MASTERS, UNAUTHENTICATED, User};
use crate::request::info::{RequestInfo, Target};
use crate::storage::registry::Registry;

mod node_relations;
mod rbac_cache;

pub use node_relations::{NodeRelations, Related};
pub use rbac_cache::RbacCache;

/// How long a node's request waits for the binding of a Pod that is not bound yet. The kernel launches a Pod before its
/// binding is written, which usually takes milliseconds; this is many of the scheduler's write cycles.
const BINDING_WAIT_MAX: Duration = Duration::from_secs(5);

/// The result of authorization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// Why; may be empty.
    pub reason: String,
    /// The request would be allowed once a Pod is bound to the node that asks.
    pub awaits_binding: bool,
}

/// The rules that apply to a user, as in SelfSubjectRulesReview.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Rules for resources.
    pub resource_rules: Vec<Value>,
    /// Rules for non-resource paths.
    pub path_rules: Vec<Value>,
    /// Why there may be more rules than those; empty if the list is complete.
    pub errors: Vec<String>,
    /// Whether an authorizer cannot enumerate its rules.
    pub incomplete: bool,
}

/// The authorization of the API server: `system:masters`, nodes, RBAC. Clones share.
#[derive(Clone)]
pub struct AccessControl {
    registry: Registry,
    rbac: Arc<RbacCache>,
    nodes: Arc<NodeRelations>,
}

impl AccessControl {
    /// Creates the authorizers over the caches of a registry.
    pub fn new(registry: Registry) -> AccessControl {
        let rbac = Arc::new(RbacCache::new(registry.clone()));
        let nodes = Arc::new(NodeRelations::new(registry.clone()));
        AccessControl { registry, rbac, nodes }
    }

    /// The roles and bindings.
    pub fn rbac(&self) -> &RbacCache {
        &self.rbac
    }

    /// Decides a request. Before a request is refused, the caches catch up with the writes that are acknowledged, so that
    /// a role can be used at once; and a node's request waits for the binding of its Pod.
    pub async fn decide(&self, user: &User, request: &AccessRequest<'_>) -> Decision {
        let decision = self.authorize(user, request);
        // Anonymous requests must not cost a request to the store.
        if decision.allowed || user.is_in(UNAUTHENTICATED) {
            return decision;
        }
        // Boxed: the future of every request would have room for this one.
        Box::pin(self.decide_when_fresh(decision, user, request)).await
    }

    async fn decide_when_fresh(
        &self,
        decision: Decision,
        user: &User,
        request: &AccessRequest<'_>,
    ) -> Decision {
        if self.registry.fresh().await.is_err() {
            return decision;
        }
        let deadline = tokio::time::Instant::now() + BINDING_WAIT_MAX;
        let mut progress = self.registry.subscribe_progress();
        loop {
            progress.borrow_and_update();
            let decision = self.authorize(user, request);
            if decision.allowed || !decision.awaits_binding {
                return decision;
            }
            match tokio::time::timeout_at(deadline, progress.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return decision,
            }
        }
    }

    /// Waits until the caches have the writes that are acknowledged.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn catch_up(&self) -> Result<(), Status> {
        self.registry.fresh().await.map(|_| ())
    }

    /// Decides a request from what is cached.
    pub fn authorize(&self, user: &User, request: &AccessRequest<'_>) -> Decision {
        if user.is_in(MASTERS) {
            return Decision { allowed: true, ..Decision::default() };
        }
        let subject = subject(user);
        let mut decision = match node::node_name(&subject) {
            Some(node) => self.node_decision(node, user, request),
            None => Decision::default(),
        };
        if decision.allowed {
            return decision;
        }
        match self.rbac.decide(&subject, request) {
            Ok(reason) => Decision { allowed: true, reason, awaits_binding: false },
            Err(unknown) => {
                if !unknown.is_empty() {
                    let separator = if decision.reason.is_empty() { "" } else { "\n" };
                    decision.reason.push_str(&format!("{separator}RBAC: {}", aggregate(&unknown)));
                }
                decision
            }
        }
    }

    /// The rules that apply to the user in a namespace.
    pub fn rules(&self, user: &User, namespace: &str) -> Rules {
        let subject = subject(user);
        let (found, unknown) = self.rbac.rules_for(&subject, namespace);
        let mut rules = Rules::default();
        if node::node_name(&subject).is_some() {
            rules.errors.push("node authorizer does not support user rule resolution".to_owned());
            rules.incomplete = true;
        }
        if !unknown.is_empty() {
            rules.errors.push(aggregate(&unknown));
        }
        for rule in found {
            let PolicyRule { verbs, api_groups, resources, resource_names, non_resource_urls } = rule;
            if !resources.is_empty() {
                let mut written = json!({"verbs": verbs, "apiGroups": api_groups, "resources": resources});
                if !resource_names.is_empty() {
                    written["resourceNames"] = json!(resource_names);
                }
                rules.resource_rules.push(written);
            }
            if !non_resource_urls.is_empty() {
                rules.path_rules.push(json!({"verbs": verbs, "nonResourceURLs": non_resource_urls}));
            }
        }
        rules
    }

    fn node_decision(&self, node: &str, user: &User, request: &AccessRequest<'_>) -> Decision {
        let rules = self.rbac.node_rules();
        let relation = match node::decide(node, &user.name, request, &rules) {
            NodeVerdict::Allow => return Decision { allowed: true, ..Decision::default() },
            NodeVerdict::NoOpinion(reason) => return Decision { reason, ..Decision::default() },
            NodeVerdict::IfRelated(relation) => relation,
        };
        let Requested::Resource(resource) = &request.object else { return Decision::default() };
        match self.nodes.find(node, relation, resource.namespace, resource.name) {
            Related::Yes => Decision { allowed: true, ..Decision::default() },
            related => Decision {
                reason: node::unrelated(node),
                awaits_binding: related == Related::OnceBound,
                ..Decision::default()
            },
        }
    }
}

/// The user as the core sees it.
pub fn subject(user: &User) -> Subject<'_> {
    Subject { name: &user.name, groups: &user.groups }
}

/// The attributes of an HTTP request.
pub fn request_of(info: &RequestInfo) -> AccessRequest<'_> {
    let Some(target) = &info.target else { return AccessRequest::path(info.verb, &info.path) };
    let name = if target.name.is_empty() { info.selected_name() } else { &target.name };
    AccessRequest::resource(
        info.verb,
        RequestedResource { name, fields: &info.fields, ..resource_of(target) },
    )
}

/// The resource that a path names, without selectors.
pub fn resource_of(target: &Target) -> RequestedResource<'_> {
    // The namespace of a Namespace is itself, so that a RoleBinding in it can allow it.
    let is_namespace = target.plural == "namespaces" && target.namespace.is_empty();
    RequestedResource {
        group: &target.group,
        resource: &target.plural,
        subresource: &target.subresource,
        namespace: if is_namespace { &target.name } else { &target.namespace },
        name: &target.name,
        ..RequestedResource::default()
    }
}

/// The 403 response for a request that is not allowed.
pub fn refusal(user: &User, request: &AccessRequest<'_>, reason: &str) -> Status {
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let verb = request.verb;
    match &request.object {
        Requested::Path(path) => {
            let why = sanitized(&format!("User {} cannot {verb} path {}", Quoted(&user.name), Quoted(path)));
            status::forbidden_path(format!("{why}{because}"))
        }
        Requested::Resource(resource) => {
            let place = match resource.namespace {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {}", Quoted(namespace)),
            };
            let what = format!(
                "User {} cannot {verb} resource {} in API group {} {place}",
                Quoted(&user.name),
                Quoted(&resource.qualified()),
                Quoted(resource.group),
            );
            let why = format!("{}{because}", sanitized(&what));
            status::forbidden(resource.group, resource.resource, resource.name, why)
        }
    }
}

/// Upstream escapes these characters, because a browser may show the message.
fn sanitized(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
