//! What is known of a request while it is carried out: made once, by the HTTP service or by the component that writes, and
//! passed with every write.

use std::sync::{Arc, LazyLock, Mutex};

use shim_model::schema::Strictness;
use shim_model::status::Status;

use crate::auth::audit::{AuditId, AuditRecord};
use crate::auth::authentication::User;

/// What a write does to an object, as admission sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object, or an action that is asked for by creating one (binding, eviction, token, review).
    Create,
    /// A change of an object: PUT, PATCH, or a component's read-modify-write.
    Update,
    /// A deletion, also of one object out of a collection.
    Delete,
    /// A connection to what an object stands for: `exec`, `attach`, `portforward`, `proxy`.
    Connect,
}

impl Operation {
    /// The name in admission reviews.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }

    /// The operation that a request's verb begins with; reads have none.
    pub fn of_verb(verb: &str) -> Option<Operation> {
        match verb {
            "create" => Some(Operation::Create),
            "update" | "patch" => Some(Operation::Update),
            "delete" | "deletecollection" => Some(Operation::Delete),
            _ => None,
        }
    }
}

/// Who asks for what, and how.
#[derive(Debug)]
pub struct RequestContext {
    /// Whom the request is carried out as.
    pub user: Arc<User>,
    /// Who asked, if the request is carried out as somebody else.
    pub impersonator: Option<Arc<User>>,
    /// The verb as authorization knows it: `create`, `update`, `patch`, `delete`, `deletecollection` …
    pub verb: &'static str,
    /// What the verb means for admission; none for reads.
    pub operation: Option<Operation>,
    /// The subresource of the request; empty for the object itself.
    pub subresource: String,
    /// The request's id.
    pub audit_id: AuditId,
    /// Whether the request is carried out up to the write and no further.
    pub dry_run: bool,
    /// Under which name fields are owned (`metadata.managedFields`). Empty: the write is not tracked there.
    pub field_manager: String,
    /// What is done about members that the schema does not know.
    pub strictness: Strictness,
    /// The audit event of the request, if the policy wants one.
    pub audit: Option<Arc<AuditRecord>>,
    /// Whether an object that breaks a rule of its kind is written all the same; see [`RequestContext::tolerate_invalid`].
    tolerates_invalid: bool,
    /// Whether a component of this process writes, without an HTTP request.
    internal: bool,
    warnings: Mutex<Vec<String>>,
}

impl RequestContext {
    /// The context of a request that writes nothing yet: options are set where the verb's are read.
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
            warnings: Mutex::default(),
        }
    }

    /// The context of a write by a component of this process.
    pub fn internal(user: Arc<User>, verb: &'static str, field_manager: &str) -> RequestContext {
        let mut context = RequestContext::new(user, verb, AuditId::new());
        (context.field_manager, context.internal) = (field_manager.to_owned(), true);
        context
    }

    /// The same write, whose object may break rules of its kind. For one thing alone: the endpoints of the API server itself
    /// when it listens on loopback, which the rules for everybody else's endpoints forbid.
    #[must_use]
    pub(crate) fn tolerate_invalid(mut self) -> RequestContext {
        self.tolerates_invalid = true;
        self
    }

    /// Whether a component of this process writes, without an HTTP request.
    pub fn is_internal(&self) -> bool {
        self.internal
    }

    /// What validation says, as it is held against this write.
    pub(super) fn judge(&self, validated: Result<(), Status>) -> Result<(), Status> {
        match validated {
            Err(status) if self.tolerates_invalid && status.reason == "Invalid" => {
                tracing::debug!(%status, "written although it breaks a rule");
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
            warnings: Mutex::default(),
        }
    }

    /// Adds a warning that the answer will carry in a `Warning` header. What is said twice is sent once.
    pub fn warn(&self, warning: impl Into<String>) {
        self.lock_warnings().push(warning.into());
    }

    /// Takes the warnings so far.
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
        self.warnings.lock().expect("invariant: nobody panics who holds the warnings")
    }
}

/// A component of this process that writes objects under a name of its own.
#[derive(Clone, Debug)]
pub struct Identity {
    user: Arc<User>,
    field_manager: &'static str,
}

impl Identity {
    /// A controller, under the service account that upstream's controller manager uses for it, such as
    /// `deployment-controller`.
    pub fn controller(name: &str) -> Identity {
        let user = User::service_account("kube-system", name);
        Identity { user: Arc::new(user), field_manager: "kube-controller-manager" }
    }

    /// The scheduler. Its writes are bindings and conditions, which have no field manager.
    pub fn scheduler() -> Identity {
        static SCHEDULER: LazyLock<Arc<User>> =
            LazyLock::new(|| Arc::new(User::component("system:kube-scheduler", &[])));
        Identity { user: SCHEDULER.clone(), field_manager: "" }
    }

    /// The node `name`, for what its agent and executor report. As with kubelets' heartbeats nobody manages the fields.
    pub fn node(name: &str) -> Identity {
        let user = User::component(&format!("system:node:{name}"), &["system:nodes"]);
        Identity { user: Arc::new(user), field_manager: "" }
    }

    /// This API server itself, for the objects that every cluster has.
    pub fn apiserver() -> Identity {
        Identity { user: Arc::new(User::system("system:apiserver")), field_manager: "kube-apiserver" }
    }

    /// The same component, whose writes do not show in `metadata.managedFields`.
    #[must_use]
    pub fn untracked(mut self) -> Identity {
        self.field_manager = "";
        self
    }

    /// The user.
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// The context of one write.
    pub fn context(&self, verb: &'static str) -> RequestContext {
        RequestContext::internal(self.user.clone(), verb, self.field_manager)
    }
}
