//! The context of a request. The HTTP service, or the component that writes, creates it once and passes it with every
//! write.

use std::sync::{Arc, LazyLock, Mutex};

use shim_model::schema::Strictness;
use shim_model::status::Status;

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
    /// The audit record, if the policy records the request.
    pub audit: Option<Arc<AuditRecord>>,
    /// Whether validation errors are logged instead of returned; see [`RequestContext::tolerate_invalid`].
    tolerates_invalid: bool,
    /// Whether a component of this process writes, without an HTTP request.
    internal: bool,
    /// Whether the written object already has its managed fields; see [`RequestContext::with_recorded_owners`].
    owners_are_recorded: bool,
    warnings: Mutex<Vec<String>>,
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
            audit: None,
            tolerates_invalid: false,
            internal: false,
            owners_are_recorded: false,
            warnings: Mutex::default(),
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
            audit: self.audit.clone(),
            tolerates_invalid: self.tolerates_invalid,
            internal: self.internal,
            owners_are_recorded: self.owners_are_recorded,
            warnings: Mutex::default(),
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

    /// Adds a warning to the response's `Warning` headers. Duplicates are dropped.
    pub fn warn(&self, warning: impl Into<String>) {
        self.lock_warnings().push(warning.into());
    }

    /// Takes the warnings added so far.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.lock_warnings())
    }

    /// Adds an annotation to the audit event, if there is one.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        if let Some(audit) = &self.audit {
            audit.annotate(key, value.into());
        }
    }

    fn lock_warnings(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.warnings.lock().expect("invariant: no holder of the lock panics")
    }
}

/// A component of this process that writes objects under its own identity.
#[derive(Clone, Debug)]
pub struct Identity {
    user: Arc<User>,
    field_manager: &'static str,
}

impl Identity {
    /// A controller, with the service account that upstream's controller manager uses for it, such as
    /// `deployment-controller`.
    pub fn controller(name: &str) -> Identity {
        let user = User::service_account("kube-system", name);
        Identity { user: Arc::new(user), field_manager: "kube-controller-manager" }
    }

    /// The scheduler. It writes bindings and conditions, which have no field manager.
    pub fn scheduler() -> Identity {
        static SCHEDULER: LazyLock<Arc<User>> =
            LazyLock::new(|| Arc::new(User::component("system:kube-scheduler", &[])));
        Identity { user: SCHEDULER.clone(), field_manager: "" }
    }

    /// The node `name`, for reports of its agent and executor. As for the kubelet's status updates, fields are not
    /// tracked.
    pub fn node(name: &str) -> Identity {
        let user = User::component(&format!("system:node:{name}"), &["system:nodes"]);
        Identity { user: Arc::new(user), field_manager: "" }
    }

    /// This API server, for bootstrap objects.
    pub fn apiserver() -> Identity {
        Identity { user: Arc::new(User::system("system:apiserver")), field_manager: "kube-apiserver" }
    }

    /// The same component without tracking in `metadata.managedFields`.
    #[must_use]
    pub fn untracked(mut self) -> Identity {
        self.field_manager = "";
        self
    }

    /// The user.
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// Creates the context of one write.
    pub fn context(&self, verb: &'static str) -> RequestContext {
        RequestContext::internal(self.user.clone(), verb, self.field_manager)
    }
}
