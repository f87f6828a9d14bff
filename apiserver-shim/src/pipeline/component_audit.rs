//! Audit of writes by components of this process. They do not pass the HTTP layer; their events look like the
//! requests that the same components send upstream.

use std::sync::Arc;

use shim_model::status::Status;

use super::{ObjectRef, Pipeline, RequestContext, subresource_name};
use crate::auth::audit::{AuditLog, AuditRecord, AuditRequest, Stage};
use crate::request::info::{RequestInfo, Target};
use crate::request::query::Query;

impl Pipeline {
    /// Sets the audit log for writes of components.
    #[must_use]
    pub fn with_audit(mut self, log: Option<Arc<AuditLog>>) -> Pipeline {
        self.audit = log;
        self
    }

    /// Opens the record of a component's write. `None` if audit is disabled, and for HTTP requests, which have a
    /// record.
    pub(super) async fn open_audit(
        &self,
        context: &RequestContext,
        target: &ObjectRef<'_>,
        subresource: &str,
    ) -> Option<Arc<AuditRecord>> {
        let log = self.audit.as_ref().filter(|_| context.is_internal())?;
        let info = request_info(context.verb, target, subresource);
        let request = AuditRequest::of_component(log, context.audit_id.clone(), &info.path);
        request.begin(&context.user, &info).await
    }
}

/// Closes the record of a component's write. `code` is the HTTP status that a client would get.
pub(super) async fn close_audit<T>(record: Option<Arc<AuditRecord>>, code: u16, result: Result<T, &Status>) {
    let Some(record) = record else { return };
    match result {
        Ok(_) => record.respond(code, None),
        Err(status) => record.respond(status.code, Some(status)),
    }
    record.write(Stage::ResponseComplete).await;
}

/// The attributes of the equivalent HTTP request.
fn request_info(verb: &'static str, target: &ObjectRef<'_>, subresource: &str) -> RequestInfo {
    let ObjectRef { resource, namespace, name, .. } = *target;
    let subresource = if subresource.is_empty() { subresource_name(target.subresource) } else { subresource };
    let root = if resource.group.is_empty() { "/api" } else { "/apis/" };
    let mut path = format!("{root}{}/{}", resource.group, resource.version);
    for part in
        [if namespace.is_empty() { "" } else { "namespaces" }, namespace, &resource.plural, name, subresource]
    {
        if !part.is_empty() {
            path.push('/');
            path.push_str(part);
        }
    }
    let target = Target {
        group: resource.group.clone(),
        version: resource.version.clone(),
        namespace: namespace.to_owned(),
        plural: resource.plural.clone(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
        rest: None,
    };
    let (query, raw_query, fields) = (Query::default(), String::new(), Vec::new());
    RequestInfo { path, verb, target: Some(target), query, raw_query, deprecated_watch: false, fields }
}
