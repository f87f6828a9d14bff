//! The PersistentVolumeClaims of pending Pods with their volumes and storage classes, and what they mean for the Pods'
//! placement. Nothing is bound or provisioned here: for a claim whose volume is to be made where its Pod runs, the scheduler
//! chooses the node and writes it into an annotation, by which an external provisioner finds the claim.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use shim_model::access;

use super::NodeAffinity;
use crate::rows::{BIND_COMPLETED, CLASS_ANNOTATION, Pod, SELECTED_NODE, ephemeral_claim};

/// The provisioner of classes whose volumes somebody makes.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

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
    /// The node for which its volume is being made.
    selected: Option<Box<str>>,
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
            selected: Some(annotation(SELECTED_NODE)).filter(|node| !node.is_empty()).map(Into::into),
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

/// A storage class with `volumeBindingMode: WaitForFirstConsumer`: its claims get their volumes when a Pod uses them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayingClass {
    /// The nodes for which a provisioner makes volumes; `None` if somebody makes them.
    provisions: Option<Topologies>,
}

impl DelayingClass {
    /// Decodes a StorageClass; `None` if it is of another mode.
    pub fn decode(class: &Value) -> Option<DelayingClass> {
        let provisions = !matches!(access::text(class, &["provisioner"]), "" | NO_PROVISIONER);
        let delays = access::text(class, &["volumeBindingMode"]) == "WaitForFirstConsumer";
        delays.then(|| DelayingClass { provisions: provisions.then(|| Topologies::decode(class)) })
    }
}

/// The `allowedTopologies` of a StorageClass: alternatives, each with the values that labels of a node must have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topologies(Vec<Vec<LabelValues>>);

/// A label with the values that it may have.
type LabelValues = (Box<str>, Vec<Box<str>>);

impl Topologies {
    fn decode(class: &Value) -> Topologies {
        let values = |expression: &Value| {
            let values = access::list(expression, &["values"]).iter().filter_map(Value::as_str);
            (access::text(expression, &["key"]).into(), values.map(Into::into).collect())
        };
        let term = |term: &Value| access::list(term, &["matchLabelExpressions"]).iter().map(values).collect();
        Topologies(access::list(class, &["allowedTopologies"]).iter().map(term).collect())
    }

    /// Whether a node with these labels is allowed. Without alternatives every node is.
    pub fn allow(&self, labels: &BTreeMap<String, String>) -> bool {
        let holds = |(key, values): &LabelValues| {
            labels.get(&**key).is_some_and(|label| values.iter().any(|value| **value == **label))
        };
        self.0.is_empty() || self.0.iter().any(|term| term.iter().all(holds))
    }
}

/// A claim whose volume is made for the node that its Pod gets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProvisionedClaim {
    /// The name of the PersistentVolumeClaim.
    pub name: Box<str>,
    /// The nodes for which it can be made.
    pub topologies: Topologies,
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
    /// The volume of the claim is being made for a node.
    BeingProvisioned {
        claim: Box<str>,
        node: Box<str>,
    },
}

/// What the claims of a Pod mean for its placement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PodVolumes {
    /// Why no node can take the Pod.
    pub refusal: Option<ClaimRefusal>,
    /// Whether the volume of a bound claim does not exist.
    pub missing: bool,
    /// Whether a claim is to be bound to a volume of the Pod's node that somebody has made.
    pub delayed: bool,
    /// The claims whose volumes are to be made for the Pod's node.
    pub provisioned: Vec<ProvisionedClaim>,
    /// The nodes that reach the volumes of the bound claims.
    pub affinities: Vec<NodeAffinity>,
}

/// The known claims, volumes and storage classes.
#[derive(Debug, Default)]
pub(super) struct VolumeCache {
    /// By namespace and name.
    claims: BTreeMap<Box<str>, BTreeMap<Box<str>, VolumeClaim>>,
    volumes: BTreeMap<Box<str>, Volume>,
    delaying: BTreeMap<Box<str>, DelayingClass>,
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

    /// Puts a storage class; `None` for one that is gone or of another mode.
    pub fn put_class(&mut self, name: &str, class: Option<DelayingClass>) {
        match class {
            Some(class) => drop(self.delaying.insert(name.into(), class)),
            None => drop(self.delaying.remove(name)),
        }
    }

    /// Notes the node for which the volume of an unbound claim is to be made, before the claim says so itself, or that it was not
    /// written.
    pub fn select(&mut self, namespace: &str, name: &str, node: Option<&str>) {
        let claim = self.claims.get_mut(namespace).and_then(|claims| claims.get_mut(name));
        if let Some(claim) = claim.filter(|claim| !claim.bound) {
            claim.selected = node.map(Into::into);
        }
    }

    /// What the claims of a Pod mean; `None` if it has none.
    pub fn of(&self, pod: &Pod) -> Option<Arc<PodVolumes>> {
        let claims = &pod.shape.volume_claims;
        if claims.is_empty() {
            return None;
        }
        let named = |claim: &'_ ClaimReference| Ok((claim.name.clone(), self.claim(pod, claim)?));
        let found = claims.iter().map(named).collect::<Result<Vec<_>, _>>();
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

    fn of_claims(&self, claims: &[(Box<str>, &VolumeClaim)]) -> PodVolumes {
        let mut volumes = PodVolumes::default();
        for (name, claim) in claims {
            let class = self.delaying.get(&claim.class).filter(|_| claim.volume.is_empty());
            if claim.bound {
                match self.volumes.get(&claim.volume) {
                    Some(Volume(affinity)) => volumes.affinities.extend(affinity.clone()),
                    None => volumes.missing = true,
                }
                continue;
            }
            match (class, &claim.selected) {
                (Some(DelayingClass { provisions: None }), _) => volumes.delayed = true,
                (Some(DelayingClass { provisions: Some(topologies) }), None) => {
                    let topologies = topologies.clone();
                    volumes.provisioned.push(ProvisionedClaim { name: name.clone(), topologies });
                }
                (Some(_), Some(node)) => {
                    let (claim, node) = (name.clone(), node.clone());
                    volumes.refusal = Some(ClaimRefusal::BeingProvisioned { claim, node });
                }
                (None, _) => volumes.refusal = Some(ClaimRefusal::UnboundImmediate),
            }
        }
        volumes
    }
}
