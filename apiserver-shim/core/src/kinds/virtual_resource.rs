//! Virtual resources: their objects are not stored; a create is answered or carried out at once.

use super::{Strategy, VirtualResource};

/// The strategy of reviews such as SubjectAccessReview and TokenReview.
pub(super) struct Review;

impl Strategy for Review {
    fn virtual_resource(&self) -> Option<VirtualResource> {
        Some(VirtualResource::Review)
    }
}

/// The strategy of `bindings`, the older form of `pods/binding`.
pub(super) struct Binding;

impl Strategy for Binding {
    fn virtual_resource(&self) -> Option<VirtualResource> {
        Some(VirtualResource::Binding)
    }
}
