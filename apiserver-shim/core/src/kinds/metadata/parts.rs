//! How each kind's update validates its metadata, in upstream's order.

use shim_model::resource::Resource;

/// One validation of the metadata.
pub(super) enum Part {
    /// The metadata as of a new object.
    Whole,
    /// The same without the rule that finalizers have a prefix.
    GenericWhole,
    /// The change and the maps.
    Change,
    /// The same without the rule that finalizers have a prefix.
    GenericChange,
}

use Part::{Change, GenericChange, GenericWhole, Whole};

/// What the kind itself validates, after what every update validates.
pub(super) fn of(resource: &Resource, status: bool) -> &'static [Part] {
    if resource.custom.is_some() {
        return &[GenericChange];
    }
    match (resource.group.as_str(), resource.kind.as_str(), status) {
        ("admissionregistration.k8s.io" | "flowcontrol.apiserver.k8s.io", _, true)
        | ("policy", "PodDisruptionBudget", _)
        | ("", "Event", _) => &[],
        ("admissionregistration.k8s.io", ..) => &[GenericWhole],
        ("apiextensions.k8s.io", ..) => &[GenericChange],
        ("apiregistration.k8s.io", ..) => &[GenericChange, GenericWhole],
        ("node.k8s.io", ..) => &[GenericWhole, GenericChange],
        ("apps", "ControllerRevision", _)
        | ("networking.k8s.io", "Ingress" | "IngressClass", false)
        | ("storage.k8s.io", "VolumeAttributesClass", _)
        | (
            "",
            "ConfigMap" | "Endpoints" | "PersistentVolumeClaim" | "Pod" | "Secret" | "ServiceAccount",
            false,
        ) => &[Change, Whole],
        ("batch", "Job", false)
        | ("certificates.k8s.io" | "rbac.authorization.k8s.io", ..)
        | ("resource.k8s.io", "DeviceClass" | "ResourceClaim" | "ResourceClaimTemplate", false)
        | ("storage.k8s.io", "StorageClass" | "CSIStorageCapacity", _)
        | ("networking.k8s.io", "IPAddress", _)
        | ("", "Namespace" | "Node", false) => &[Whole, Change],
        ("storage.k8s.io", "VolumeAttachment" | "CSINode", _)
        | ("discovery.k8s.io" | "flowcontrol.apiserver.k8s.io", ..)
        | ("", "LimitRange", _) => &[Whole],
        ("", "PersistentVolume", false) => &[Whole, Whole],
        _ => &[Change],
    }
}
