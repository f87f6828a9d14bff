//! Priority: sets a Pod's priority from its PriorityClass, or from the global default class, and sees to it that only one class is
//! the default.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::kernel_resources::REVOCABLE_ANNOTATION;
use shim_core::kinds::admission as rules;
use shim_core::rows::is_revocable;
use shim_model::access;
use shim_model::status::{self, Status};

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::object::Object;
use crate::storage::registry::Registry;

pub(super) struct Priority {
    registry: Registry,
    classes: Arc<ServedResource>,
}

impl Priority {
    pub(super) fn new(registry: Registry) -> Priority {
        let classes = registry.builtin(&served("scheduling.k8s.io", "priorityclasses"));
        Priority { registry, classes }
    }

    /// The class that a Pod names, or else the default one. Neither may change until the Pod is written: the cache may lag
    /// behind a deletion.
    async fn class_for(
        &self,
        pod: &Value,
        preconditions: &mut Preconditions,
    ) -> Result<Option<rules::PriorityClass>, Status> {
        let found = match rules::priority_class_name(pod) {
            Some(name) => match self.registry.peek(&self.classes, "", name) {
                None => {
                    // It may have been created a moment ago.
                    self.registry.fresh().await?;
                    self.registry.peek(&self.classes, "", name)
                }
                found => found,
            },
            None => self.default_class()?,
        };
        let Some(found) = found else { return Ok(None) };
        preconditions.require_unchanged(&self.classes, &found);
        class_of(&found).map(Some)
    }

    /// The global default class; of several, the one with the lowest value.
    fn default_class(&self) -> Result<Option<Arc<Object>>, Status> {
        // Search the bytes first: most classes are not the default and need no decoding.
        const MARK: &[u8] = b"\"globalDefault\":true";
        let view = self.classes.cache().view();
        let marked = view.iter(None).filter(|o| memchr::memmem::find(o.tail(), MARK).is_some());
        let classes: Vec<_> = marked.map(|o| Ok((class_of(o)?, o.clone()))).collect::<Result<_, Status>>()?;
        let defaults = classes.into_iter().filter(|(class, _)| class.global_default);
        Ok(defaults.min_by_key(|(class, _)| class.value).map(|(_, object)| object))
    }

    /// Refuses a class as global default beside another one.
    async fn check_default(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let is_default = |class: &Value| access::flag(class, &["globalDefault"]);
        if !attributes.object.as_ref().is_some_and(is_default) {
            return Ok(());
        }
        self.registry.fresh().await?;
        let default = self.default_class()?;
        let is_update = attributes.operation == Operation::Update;
        let other = default.filter(|class| !is_update || class.name() != attributes.object_name());
        other.map_or(Ok(()), |class| {
            Err(attributes.forbidden(format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                class.name()
            )))
        })
    }
}

#[async_trait]
impl AdmissionPlugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        matches!(attributes.operation, Operation::Create | Operation::Update)
            && (attributes.is_core("pods") || is_class(attributes))
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if is_class(attributes) {
            return Ok(());
        }
        let Some(pod) = &mut attributes.object else { return Ok(()) };
        match attributes.old_object {
            // An update that omits the priority keeps it.
            Some(old) => rules::keep_priority(pod, old),
            None => {
                let class = self.class_for(pod, preconditions).await?;
                rules::priority(pod, class.as_ref())?;
            }
        }
        Ok(())
    }

    async fn validate(
        &self,
        _context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        match is_class(attributes) {
            true => self.check_default(attributes).await,
            false => Ok(()),
        }
    }
}

fn is_class(attributes: &Attributes<'_>) -> bool {
    attributes.resource.is("scheduling.k8s.io", "priorityclasses")
}

fn class_of(object: &Object) -> Result<rules::PriorityClass, Status> {
    let class: rules::PriorityClass = object.decode().map_err(status::internal)?;
    // Search the bytes first: most classes have no annotation.
    let marked = memchr::memmem::find(object.stored().metadata(), REVOCABLE_ANNOTATION.as_bytes()).is_some();
    let metadata: Value = match marked {
        true => serde_json::from_slice(object.stored().metadata()).map_err(status::internal)?,
        false => Value::Null,
    };
    let revocable = is_revocable(access::get(&metadata, &["annotations"]).unwrap_or(&Value::Null));
    Ok(rules::PriorityClass { name: object.name().to_owned(), revocable, ..class })
}
