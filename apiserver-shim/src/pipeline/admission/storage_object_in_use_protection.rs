//! StorageObjectInUseProtection: PersistentVolumes, PersistentVolumeClaims and VolumeAttributesClasses get the finalizer
//! that keeps them while they are in use. The controllers of `volume_protection` remove it.

use async_trait::async_trait;
use shim_core::kinds::admission as rules;
use shim_model::status::Status;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};

pub(super) struct StorageObjectInUseProtection;

/// The finalizer of the object's kind, if it has one.
fn finalizer(attributes: &Attributes<'_>) -> Option<&'static str> {
    if attributes.is_core("persistentvolumes") {
        Some(rules::VOLUME_FINALIZER)
    } else if attributes.is_core("persistentvolumeclaims") {
        Some(rules::CLAIM_FINALIZER)
    } else if attributes.subresource.is_empty()
        && attributes.resource.is("storage.k8s.io", "volumeattributesclasses")
    {
        Some(rules::ATTRIBUTES_CLASS_FINALIZER)
    } else {
        None
    }
}

#[async_trait]
impl AdmissionPlugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && finalizer(attributes).is_some()
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if let Some(finalizer) = finalizer(attributes)
            && let Some(object) = &mut attributes.object
        {
            rules::protect_storage(object, finalizer);
        }
        Ok(())
    }
}
