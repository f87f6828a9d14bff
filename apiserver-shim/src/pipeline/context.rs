//! The context of a request. The HTTP service, or the component that writes, creates it once and passes it with every
//! write.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shim_core::kinds::Strategy;
use shim_model::schema::Strictness;
use shim_model::status::Status;

use crate::auth::audit::policy::Level;
use crate::auth::audit::{AuditId, AuditRecord};
use crate::auth::authentication::User;

/// The admission operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creation of an object, or an action requested by creating one (binding, eviction, token, review).
    Create,
    /// Change of an object: PUT, PATCH, or a component's read-modify-write.
    Update,
    /// Deletion of an object, also as part of a collection.
    Delete,
    /// Connection to an object: `exec`, `attach`, `portforward` or `proxy`.
    Connect,
}

impl Operation {
    /// The operation's name in AdmissionReviews.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }

    /// The operation of a verb; `None` for reads.
    pub fn of_verb(verb: &str) -> Option<Operation> {
        match verb {
            "create" => Some(Operation::Create),
            "update" | "patch" => Some(Operation::Update),
            "delete" | "deletecollection" => Some(Operation::Delete),
            _ => None,
        }
    }
}

/// Who sends a request, what it does, and with which options.
#[derive(Debug)]
pub struct RequestContext {
    /// The user whose permissions apply.
    pub user: Arc<User>,
    /// The authenticated user, if the request impersonates another one.
    pub impersonator: Option<Arc<User>>,
    /// The verb as authorization sees it: `create`, `update`, `patch`, `delete`, `deletecollection` …
    pub verb: &'static str,
    /// The admission operation; `None` for reads.
    pub operation: Option<Operation>,
    /// The requested subresource; empty for the object itself.
    pub subresource: String,
    /// The request's id.
    pub audit_id: AuditId,
    /// Whether to stop before the write.
    pub dry_run: bool,
    /// The owner of changed fields in `metadata.managedFields`. Empty: the write is not tracked.
    pub field_manager: String,
    /// How unknown and duplicate fields are handled (`fieldValidation`).
    pub strictness: Strictness,
    /// The parameters of the write as the client has given them.
    pub parameters: WriteParameters,
    /// When the client stops to wait for the answer; `None` for components.
    pub deadline: Option<Instant>,
    /// The audit record, if the policy records the request.
    pub audit: Option<Arc<AuditRecord>>,
    /// Whether validation errors are logged instead of returned; see [`RequestContext::tolerate_invalid`].
    tolerates_invalid: bool,
    /// Whether a component of this process writes, without an HTTP request.
    internal: bool,
    /// Whether the written object already has its managed fields; see [`RequestContext::with_recorded_owners`].
    owners_are_recorded: bool,
    /// Whether no webhooks are called; see [`Identity::bootstrap`].
    skips_webhooks: bool,
    /// All contexts of a request share them.
    warnings: Warnings,
}

/// Texts for the `Warning` headers of a response. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// Adds one.
    pub fn add(&self, warning: String) {
        self.lock().push(warning);
    }

    /// Takes those added so far.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().expect("invariant: no holder of the lock panics")
    }
}

/// Time for a request if the client does not want less (upstream's `--request-timeout`).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The parameters of a write as the client has given them: webhooks and policies see them as `options`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct WriteParameters {
    pub field_manager: String,
    pub field_validation: String,
    /// `force` of an apply patch.
    pub force: Option<bool>,
}

impl RequestContext {
    /// Creates a context without write options; see [`RequestContext::with_options`].
    pub fn new(user: Arc<User>, verb: &'static str, audit_id: AuditId) -> RequestContext {
        RequestContext {
            user,
            impersonator: None,
            verb,
            operation: Operation::of_verb(verb),
            subresource: String::new(),
            audit_id,
            dry_run: false,
            field_manager: String::new(),
            strictness: Strictness::Ignore,
            parameters: WriteParameters::default(),
            deadline: None,
            audit: None,
            tolerates_invalid: false,
            internal: false,
            owners_are_recorded: false,
            skips_webhooks: false,
            warnings: Warnings::default(),
        }
    }

    /// Creates the context of a write by a component of this process.
    pub fn internal(user: Arc<User>, verb: &'static str, field_manager: &str) -> RequestContext {
        let mut context = RequestContext::new(user, verb, AuditId::new());
        (context.field_manager, context.internal) = (field_manager.to_owned(), true);
        context
    }

    /// Disables validation errors. Only for the API server's own endpoints on loopback, which validation forbids for
    /// all others.
    #[must_use]
    pub(crate) fn tolerate_invalid(mut self) -> RequestContext {
        self.tolerates_invalid = true;
        self
    }

    /// Whether a component of this process writes, without an HTTP request.
    pub fn is_internal(&self) -> bool {
        self.internal
    }

    /// Applies `tolerates_invalid` to the result of validation.
    pub(super) fn judge(&self, validated: Result<(), Status>) -> Result<(), Status> {
        match validated {
            Err(status) if self.tolerates_invalid && status.reason == "Invalid" => {
                tracing::debug!(%status, "writing an invalid object");
                Ok(())
            }
            validated => validated,
        }
    }

    /// The same request with the options of its write.
    #[must_use]
    pub fn with_options(
        &self,
        field_manager: String,
        strictness: Strictness,
        dry_run: bool,
    ) -> RequestContext {
        RequestContext {
            user: self.user.clone(),
            impersonator: self.impersonator.clone(),
            verb: self.verb,
            operation: self.operation,
            subresource: self.subresource.clone(),
            audit_id: self.audit_id.clone(),
            dry_run,
            field_manager,
            strictness,
            parameters: self.parameters.clone(),
            deadline: self.deadline,
            audit: self.audit.clone(),
            tolerates_invalid: self.tolerates_invalid,
            internal: self.internal,
            owners_are_recorded: self.owners_are_recorded,
            skips_webhooks: self.skips_webhooks,
            warnings: self.warnings.clone(),
        }
    }

    /// The same request, for writers that set the managed fields themselves: apply, and writes of a view such as
    /// `scale`.
    #[must_use]
    pub fn with_recorded_owners(mut self) -> RequestContext {
        self.owners_are_recorded = true;
        self
    }

    /// Whether the written object already has its managed fields.
    pub fn owners_are_recorded(&self) -> bool {
        self.owners_are_recorded
    }

    /// Sets the defaults of what the request writes.
    pub(super) fn default(&self, strategy: &dyn Strategy, object: &mut Value) {
        if self.owners_are_recorded { strategy.default_applied(object) } else { strategy.default(object) }
    }

    /// Whether no webhooks are called.
    pub(super) fn skips_webhooks(&self) -> bool {
        self.skips_webhooks
    }

    /// The time until the client stops to wait.
    pub(super) fn time_left(&self) -> Duration {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        self.deadline.map_or(REQUEST_TIMEOUT, left)
    }

    /// The options of the write as webhooks and policies see them; null for connections.
    pub(super) fn options(&self, operation: Operation, dry_run: bool) -> Value {
        let kind = match operation {
            Operation::Create => "CreateOptions",
            Operation::Update if self.verb == "patch" => "PatchOptions",
            Operation::Update => "UpdateOptions",
            Operation::Delete => "DeleteOptions",
            Operation::Connect => return Value::Null,
        };
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if dry_run {
            options["dryRun"] = json!(["All"]);
        }
        let WriteParameters { field_manager, field_validation, force } = &self.parameters;
        for (member, text) in [("fieldManager", field_manager), ("fieldValidation", field_validation)] {
            if !text.is_empty() && operation != Operation::Delete {
                options[member] = text.as_str().into();
            }
        }
        if let Some(force) = force.filter(|_| kind == "PatchOptions") {
            options["force"] = force.into();
        }
        options
    }

    /// Adds a warning to the response's `Warning` headers. Duplicates are dropped.
    pub fn warn(&self, warning: impl Into<String>) {
        self.warnings.add(warning.into());
    }

    /// The same request, whose warnings are added to these.
    #[must_use]
    pub fn with_warnings(mut self, warnings: &Warnings) -> RequestContext {
        self.warnings = warnings.clone();
        self
    }

    /// Adds an annotation to the audit event, if there is one.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        if let Some(audit) = &self.audit {
            audit.annotate(key, value.into());
        }
    }

    /// Adds an annotation to the audit event if it has the request's object.
    pub fn annotate_request(&self, key: &str, value: impl FnOnce() -> String) {
        if let Some(audit) = self.audit.as_ref().filter(|audit| audit.level() >= Level::Request) {
            audit.annotate(key, value());
        }
    }
}

/// A component of this process that writes objects under its own identity.
#[derive(Clone, Debug)]
pub struct Identity {
    user: Arc<User>,
    field_manager: &'static str,
    skips_webhooks: bool,
}

impl Identity {
    /// A controller, with the service account that upstream's controller manager uses for it, such as
    /// `deployment-controller`.
    pub fn controller(name: &str) -> Identity {
        let user = User::service_account("kube-system", name);
        Identity::new(Arc::new(user), "kube-controller-manager")
    }

    /// The scheduler. It writes bindings and conditions, which have no field manager.
    pub fn scheduler() -> Identity {
        static SCHEDULER: LazyLock<Arc<User>> =
            LazyLock::new(|| Arc::new(User::component("system:kube-scheduler", &[])));
        Identity::new(SCHEDULER.clone(), "")
    }

    /// The node `name`, for reports of its agent and executor. As for the kubelet's status updates, fields are not
    /// tracked.
    pub fn node(name: &str) -> Identity {
        let user = User::component(&format!("system:node:{name}"), &["system:nodes"]);
        Identity::new(Arc::new(user), "")
    }

    /// This API server.
    pub fn apiserver() -> Identity {
        Identity::new(Arc::new(User::system("system:apiserver")), "kube-apiserver")
    }

    /// This API server before it accepts requests. No webhooks are called: they may run in this cluster, and nothing in it can
    /// start before the server.
    pub fn bootstrap() -> Identity {
        Identity { skips_webhooks: true, ..Identity::apiserver() }
    }

    fn new(user: Arc<User>, field_manager: &'static str) -> Identity {
        Identity { user, field_manager, skips_webhooks: false }
    }

    /// The same component without tracking in `metadata.managedFields`.
    #[must_use]
    pub fn untracked(mut self) -> Identity {
        self.field_manager = "";
        self
    }

    /// The same component under another name in `metadata.managedFields`.
    #[must_use]
    pub fn managing_as(mut self, manager: &'static str) -> Identity {
        self.field_manager = manager;
        self
    }

    /// The context of a server-side apply in the name of `manager`.
    pub fn applying(&self, manager: &'static str) -> RequestContext {
        let context = Identity { field_manager: manager, ..self.clone() }.context("patch");
        context.with_recorded_owners()
    }

    /// The user.
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// Creates the context of one write.
    pub fn context(&self, verb: &'static str) -> RequestContext {
        let mut context = RequestContext::internal(self.user.clone(), verb, self.field_manager);
        context.skips_webhooks = self.skips_webhooks;
        context
    }
}
