//! The fields that a write to an object, or to a subresource, cannot change: the strategies restore them, so they get no
//! owner. As upstream, `ephemeralcontainers` and `resize` of Pods declare none.

use shim_model::managed_fields::ResetFields;
use shim_model::resource::Resource;

/// Groups whose statuses cannot change the metadata either.
const STATUS_ONLY: &[&str] = &[
    "admissionregistration.k8s.io",
    "apiregistration.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "resource.k8s.io",
    "storagemigration.k8s.io",
];
/// Kinds of other groups of which the same is true.
const STATUS_ONLY_KINDS: &[&str] = &["PodGroup", "ServiceCIDR", "VolumeAttachment"];

/// The reset fields of a resource, or of one of its subresources.
pub fn reset_fields(resource: &Resource, subresource: &str) -> ResetFields<'static> {
    let group = resource.group.as_str();
    if resource.custom.is_some() {
        let exclude: &[&[&str]] = match subresource {
            "status" => &[&["metadata"], &["spec"]],
            "" if resource.subresource("status").is_some() => &[&["status"]],
            _ => &[],
        };
        return ResetFields { exclude };
    }
    let exclude: &[&[&str]] = match (resource.kind.as_str(), subresource) {
        ("CertificateSigningRequest", "") => &[&["spec"], &["status"]],
        ("CertificateSigningRequest", "status") => &[&["spec"], &["status", "conditions"]],
        ("CertificateSigningRequest", "approval") => &[&["spec"], &["status", "certificate"]],
        ("Deployment", "status") => &[&["spec"], &["metadata", "labels"]],
        ("Pod", "status") => {
            &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]
        }
        (kind, "status") if STATUS_ONLY.contains(&group) || STATUS_ONLY_KINDS.contains(&kind) => {
            &[&["metadata"], &["spec"]]
        }
        (_, "status") => &[&["spec"]],
        (_, "" | "finalize") => &[&["status"]],
        _ => &[],
    };
    ResetFields { exclude }
}
