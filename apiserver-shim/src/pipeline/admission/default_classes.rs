//! DefaultStorageClass, DefaultIngressClass and PersistentVolumeClaimResize: claims and Ingresses without a class get the default
//! one, and only claims whose class allows it grow.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::default_classes as rules;
use shim_model::access;
use shim_model::status::Status;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::registry::Registry;

/// The name of the default class of a resource.
fn default_of(classes: &ServedResource, is_default: impl Fn(&Value) -> bool) -> Option<String> {
    // Most classes are not the default and need no decoding.
    const MARK: &[u8] = b"is-default-class";
    let view = classes.cache().view();
    let marked = view.iter(None).filter(|class| memchr::memmem::find(class.bytes(), MARK).is_some());
    let classes: Vec<Value> = marked.map(|class| class.value()).filter(is_default).collect();
    rules::newest(&classes).map(str::to_owned)
}

pub(super) struct DefaultStorageClass {
    classes: Arc<ServedResource>,
}

impl DefaultStorageClass {
    pub(super) fn new(registry: &Registry) -> DefaultStorageClass {
        DefaultStorageClass { classes: registry.builtin(&served("storage.k8s.io", "storageclasses")) }
    }
}

#[async_trait]
impl AdmissionPlugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && attributes.is_core("persistentvolumeclaims")
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if let Some(claim) = &mut attributes.object
            && !rules::claim_has_class(claim)
            && let Some(name) = default_of(&self.classes, rules::is_default_storage_class)
        {
            access::object_mut(claim, &["spec"]).insert("storageClassName".into(), name.into());
        }
        Ok(())
    }
}

pub(super) struct DefaultIngressClass {
    classes: Arc<ServedResource>,
}

impl DefaultIngressClass {
    pub(super) fn new(registry: &Registry) -> DefaultIngressClass {
        DefaultIngressClass { classes: registry.builtin(&served("networking.k8s.io", "ingressclasses")) }
    }
}

#[async_trait]
impl AdmissionPlugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create
            && attributes.subresource.is_empty()
            && attributes.resource.is("networking.k8s.io", "ingresses")
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if let Some(ingress) = &mut attributes.object
            && !rules::ingress_has_class(ingress)
            && let Some(name) = default_of(&self.classes, rules::is_default_ingress_class)
        {
            access::object_mut(ingress, &["spec"]).insert("ingressClassName".into(), name.into());
        }
        Ok(())
    }
}

pub(super) struct PersistentVolumeClaimResize {
    registry: Registry,
    classes: Arc<ServedResource>,
}

impl PersistentVolumeClaimResize {
    pub(super) fn new(registry: &Registry) -> PersistentVolumeClaimResize {
        let classes = registry.builtin(&served("storage.k8s.io", "storageclasses"));
        PersistentVolumeClaimResize { registry: registry.clone(), classes }
    }
}

#[async_trait]
impl AdmissionPlugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && attributes.is_core("persistentvolumeclaims")
    }

    async fn validate(
        &self,
        _context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let (Some(new), Some(old)) = (&attributes.object, attributes.old_object) else { return Ok(()) };
        let class = |name: &str| Some(self.registry.peek(&self.classes, "", name)?.value());
        rules::check_resize(new, old, class).map_err(|why| attributes.forbidden(why))
    }
}
