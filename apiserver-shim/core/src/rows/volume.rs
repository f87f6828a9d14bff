//! PersistentVolumes and PersistentVolumeClaims, as the binder and the scheduler see them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject, string_map},
    quantity::Quantity,
};

use super::{LabelSelector, ObjectView};
use crate::scheduler::NodeAffinity;

/// The annotation that the binder sets when a claim and its volume name each other.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The annotation of a claim with the node that the scheduler has chosen for the Pod, for which the volume is to be made.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The annotation with the class of a volume or claim. It is older than the field.
pub const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The name of the claim of a generic ephemeral volume of a Pod.
pub fn ephemeral_claim(pod: &str, volume: &Value) -> String {
    format!("{pod}-{}", access::text(volume, &["name"]))
}

/// What a volume offers, or a claim requires.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct VolumeTerms {
    /// The StorageClass; empty means none.
    pub class: String,
    /// `capacity.storage`, or `resources.requests.storage`.
    pub size: Quantity,
    pub access_modes: Vec<String>,
    /// Whether it is a block device.
    pub block: bool,
    /// `volumeAttributesClassName`.
    pub attributes: String,
}

impl VolumeTerms {
    fn decode(value: &Value, size: &[&str]) -> VolumeTerms {
        let spec = &value["spec"];
        let modes = access::list(spec, &["accessModes"]).iter();
        let class = match access::text(value, &["metadata", "annotations", CLASS_ANNOTATION]) {
            "" => access::text(spec, &["storageClassName"]),
            class => class,
        };
        VolumeTerms {
            class: class.to_owned(),
            size: access::text(spec, size).parse().unwrap_or(Quantity::ZERO),
            access_modes: modes.filter_map(Value::as_str).map(str::to_owned).collect(),
            block: access::text(spec, &["volumeMode"]) == "Block",
            attributes: access::text(spec, &["volumeAttributesClassName"]).to_owned(),
        }
    }
}

/// The claim that a volume is bound to, or reserved for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ClaimReference {
    pub namespace: String,
    pub name: String,
    /// Empty until the volume is bound.
    pub uid: String,
}

/// A PersistentVolume.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct PersistentVolume {
    pub object: Arc<StoredObject>,
    pub revision: u64,
    pub annotations: BTreeMap<String, String>,
    pub terms: VolumeTerms,
    /// `spec.accessModes` and `spec.capacity` as written.
    pub access_modes: Value,
    pub capacity: Value,
    pub claim: Option<ClaimReference>,
    pub reclaim_policy: String,
    /// The nodes that can use it; nothing means all.
    pub node_affinity: Option<NodeAffinity>,
    pub phase: String,
}

/// A PersistentVolumeClaim.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct PersistentVolumeClaim {
    pub object: Arc<StoredObject>,
    pub revision: u64,
    pub annotations: BTreeMap<String, String>,
    pub terms: VolumeTerms,
    /// Whether it names a class; the empty one is a choice too.
    pub has_class: bool,
    /// Which volumes it accepts; nothing means all.
    pub selector: Option<LabelSelector>,
    /// The volume that it is bound to, or wants.
    pub volume: String,
    /// `status` as written.
    pub status: Value,
}

impl PersistentVolume {
    /// Its header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.object.header.name
    }

    /// Whether it is bound to a claim or reserved for it.
    pub fn is_of(&self, claim: &Header) -> bool {
        self.claim.as_ref().is_some_and(|own| {
            own.namespace == claim.namespace
                && own.name == claim.name
                && (own.uid.is_empty() || own.uid == claim.uid)
        })
    }
}

impl PersistentVolumeClaim {
    /// Its header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// `status.phase`.
    pub fn phase(&self) -> &str {
        access::text(&self.status, &["phase"])
    }
}

impl ObjectView for PersistentVolume {
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "persistentvolumes";

    fn parse(object: &Arc<StoredObject>, revision: u64) -> Result<Self, serde_json::Error> {
        let value: Value = serde_json::from_slice(&object.bytes)?;
        let spec = &value["spec"];
        let claim = access::get(spec, &["claimRef"]).filter(|claim| claim.is_object());
        let member = |claim: &Value, member| access::text(claim, &[member]).to_owned();
        Ok(PersistentVolume {
            revision,
            annotations: string_map(&value["metadata"]["annotations"]),
            terms: VolumeTerms::decode(&value, &["capacity", "storage"]),
            access_modes: spec["accessModes"].clone(),
            capacity: spec["capacity"].clone(),
            claim: claim.map(|claim| ClaimReference {
                namespace: member(claim, "namespace"),
                name: member(claim, "name"),
                uid: member(claim, "uid"),
            }),
            reclaim_policy: access::text(spec, &["persistentVolumeReclaimPolicy"]).to_owned(),
            node_affinity: access::get(spec, &["nodeAffinity", "required"])
                .filter(|required| required.is_object())
                .map(NodeAffinity::decode),
            phase: access::text(&value, &["status", "phase"]).to_owned(),
            object: object.clone(),
        })
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }
}

impl ObjectView for PersistentVolumeClaim {
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "persistentvolumeclaims";

    fn parse(object: &Arc<StoredObject>, revision: u64) -> Result<Self, serde_json::Error> {
        let value: Value = serde_json::from_slice(&object.bytes)?;
        let annotations = string_map(&value["metadata"]["annotations"]);
        let selector = access::get(&value, &["spec", "selector"]).filter(|selector| selector.is_object());
        Ok(PersistentVolumeClaim {
            revision,
            terms: VolumeTerms::decode(&value, &["resources", "requests", "storage"]),
            has_class: annotations.contains_key(CLASS_ANNOTATION)
                || value["spec"]["storageClassName"].is_string(),
            selector: selector.map(|selector| LabelSelector::decode(Some(selector))),
            volume: access::text(&value, &["spec", "volumeName"]).to_owned(),
            status: value["status"].clone(),
            annotations,
            object: object.clone(),
        })
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }
}
