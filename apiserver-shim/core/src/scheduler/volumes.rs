//! The PersistentVolumeClaims of pending Pods with their volumes and storage classes, and what they mean for the Pods'
//! placement. Nothing is bound or provisioned here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;
use shim_model::access;

use super::NodeAffinity;
use crate::rows::{BIND_COMPLETED, CLASS_ANNOTATION, Pod, ephemeral_claim};

/// A claim that a Pod's volume names, or that is made for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimReference {
    /// The name of the PersistentVolumeClaim.
    pub name: Box<str>,
    /// Whether it is the claim of a generic ephemeral volume.
    pub ephemeral: bool,
}

impl ClaimReference {
    /// The claims of the volumes of the Pod called `pod`.
    pub(super) fn of_volumes(spec: &Value, pod: &str) -> Vec<ClaimReference> {
        let of = |volume: &Value| {
            let named = access::text(volume, &["persistentVolumeClaim", "claimName"]);
            if !named.is_empty() {
                return Some(ClaimReference { name: named.into(), ephemeral: false });
            }
            let name = || ephemeral_claim(pod, volume).into();
            volume.get("ephemeral").map(|_| ClaimReference { name: name(), ephemeral: true })
        };
        access::list(spec, &["volumes"]).iter().filter_map(of).collect()
    }
}

/// What placement reads of a PersistentVolumeClaim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeClaim {
    controller: Option<Box<str>>,
    /// The name of its volume, or empty.
    volume: Box<str>,
    bound: bool,
    lost: bool,
    deleting: bool,
    class: Box<str>,
}

impl VolumeClaim {
    /// Decodes a PersistentVolumeClaim.
    pub fn decode(claim: &Value) -> VolumeClaim {
        let annotation = |name| access::text(claim, &["metadata", "annotations", name]);
        let completed = access::get(claim, &["metadata", "annotations", BIND_COMPLETED]).is_some();
        let volume = access::text(claim, &["spec", "volumeName"]);
        let owners = access::list(claim, &["metadata", "ownerReferences"]);
        let controller = owners.iter().find(|owner| access::flag(owner, &["controller"]));
        let class = match annotation(CLASS_ANNOTATION) {
            "" => access::text(claim, &["spec", "storageClassName"]),
            class => class,
        };
        VolumeClaim {
            controller: controller.map(|owner| access::text(owner, &["uid"]).into()),
            volume: volume.into(),
            bound: completed && !volume.is_empty(),
            lost: access::text(claim, &["status", "phase"]) == "Lost",
            deleting: !access::text(claim, &["metadata", "deletionTimestamp"]).is_empty(),
            class: class.into(),
        }
    }
}

/// What placement reads of a PersistentVolume: the nodes that reach it; `None` if all do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume(Option<NodeAffinity>);

impl Volume {
    /// Decodes a PersistentVolume.
    pub fn decode(volume: &Value) -> Volume {
        Volume(access::get(volume, &["spec", "nodeAffinity", "required"]).map(NodeAffinity::decode))
    }
}

/// Why the claims of a Pod keep it from all nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum ClaimRefusal {
    NotFound(Box<str>),
    /// The claim of a generic ephemeral volume, which its controller has not made yet.
    NotMade(Box<str>),
    /// The volume of the claim no longer exists.
    Lost {
        claim: Box<str>,
        volume: Box<str>,
    },
    Deleting(Box<str>),
    /// The claim has the name of one of a generic ephemeral volume, and is of somebody else.
    NotOwned {
        namespace: Box<str>,
        claim: Box<str>,
        pod: Box<str>,
    },
    /// A claim that is bound without a Pod is not bound yet.
    UnboundImmediate,
}

/// What the claims of a Pod mean for its placement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PodVolumes {
    /// Why no node can take the Pod.
    pub refusal: Option<ClaimRefusal>,
    /// Whether the volume of a bound claim does not exist.
    pub missing: bool,
    /// Whether a claim is to be bound to a volume of the Pod's node.
    pub delayed: bool,
    /// The nodes that reach the volumes of the bound claims.
    pub affinities: Vec<NodeAffinity>,
}

/// The known claims, volumes and storage classes.
#[derive(Debug, Default)]
pub(super) struct VolumeCache {
    /// By namespace and name.
    claims: BTreeMap<Box<str>, BTreeMap<Box<str>, VolumeClaim>>,
    volumes: BTreeMap<Box<str>, Volume>,
    /// The storage classes with `volumeBindingMode: WaitForFirstConsumer`.
    delaying: BTreeSet<Box<str>>,
}

impl VolumeCache {
    pub fn put_claim(&mut self, namespace: &str, name: &str, claim: Option<VolumeClaim>) {
        let claims = self.claims.entry(namespace.into()).or_default();
        match claim {
            Some(claim) => drop(claims.insert(name.into(), claim)),
            None => drop(claims.remove(name)),
        }
        if claims.is_empty() {
            self.claims.remove(namespace);
        }
    }

    pub fn put_volume(&mut self, name: &str, volume: Option<Volume>) {
        match volume {
            Some(volume) => drop(self.volumes.insert(name.into(), volume)),
            None => drop(self.volumes.remove(name)),
        }
    }

    pub fn put_class(&mut self, name: &str, delays: bool) {
        if delays {
            self.delaying.insert(name.into());
        } else {
            self.delaying.remove(name);
        }
    }

    /// What the claims of a Pod mean; `None` if it has none.
    pub fn of(&self, pod: &Pod) -> Option<Arc<PodVolumes>> {
        let claims = &pod.shape.volume_claims;
        if claims.is_empty() {
            return None;
        }
        let found = claims.iter().map(|claim| self.claim(pod, claim)).collect::<Result<Vec<_>, _>>();
        Some(Arc::new(match found {
            Ok(found) => self.of_claims(&found),
            Err(refusal) => PodVolumes { refusal: Some(refusal), ..PodVolumes::default() },
        }))
    }

    fn claim(&self, pod: &Pod, reference: &ClaimReference) -> Result<&VolumeClaim, ClaimRefusal> {
        let (header, name) = (pod.header(), reference.name.clone());
        let claims = self.claims.get(header.namespace.as_str());
        match claims.and_then(|claims| claims.get(&reference.name)) {
            None if reference.ephemeral => Err(ClaimRefusal::NotMade(name)),
            None => Err(ClaimRefusal::NotFound(name)),
            Some(claim) if claim.lost => {
                Err(ClaimRefusal::Lost { claim: name, volume: claim.volume.clone() })
            }
            Some(claim) if claim.deleting => Err(ClaimRefusal::Deleting(name)),
            Some(claim) if reference.ephemeral && claim.controller.as_deref() != Some(pod.uid()) => {
                let namespace = header.namespace.as_str().into();
                Err(ClaimRefusal::NotOwned { namespace, claim: name, pod: header.name.as_str().into() })
            }
            Some(claim) => Ok(claim),
        }
    }

    fn of_claims(&self, claims: &[&VolumeClaim]) -> PodVolumes {
        let mut volumes = PodVolumes::default();
        for claim in claims {
            if claim.bound {
                match self.volumes.get(&claim.volume) {
                    Some(Volume(affinity)) => volumes.affinities.extend(affinity.clone()),
                    None => volumes.missing = true,
                }
            } else if claim.volume.is_empty() && self.delaying.contains(&claim.class) {
                volumes.delayed = true;
            } else {
                volumes.refusal = Some(ClaimRefusal::UnboundImmediate);
            }
        }
        volumes
    }
}
