//! Which volume suits a claim.

use super::{Node, PersistentVolume, PersistentVolumeClaim, Pod, View};

/// Why a volume that a claim asks for by name does not suit it.
pub fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    let (has, wants) = (&volume.terms, &claim.terms);
    if volume.header().deletion_timestamp.is_some() {
        return Some(format!("the volume is marked for deletion \"{}\"", volume.name()));
    }
    let why = if has.size < wants.size {
        "requested PV is too small"
    } else if has.class != wants.class {
        "storageClassName does not match"
    } else if has.attributes != wants.attributes {
        "volumeAttributesClassName does not match"
    } else if has.block != wants.block {
        "incompatible volumeMode"
    } else if !wants.access_modes.iter().all(|mode| has.access_modes.contains(mode)) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// The volume for a claim: one that is reserved for it, or else the smallest available one that suits. Of claims that wait
/// for a Pod, only reserved volumes are found without `consumers`.
pub fn best<'a>(
    claim: &PersistentVolumeClaim,
    consumers: Option<&[&Pod]>,
    view: &View<'a>,
) -> Option<&'a PersistentVolume> {
    let fits = |volume: &&PersistentVolume| {
        let mut reserved_volume = mismatch(volume, claim);
        // A reserved volume may have another class.
        if volume.claim.is_some() && reserved_volume.as_deref() == Some("storageClassName does not match") {
            reserved_volume = None;
        }
        reserved_volume.is_none()
    };
    let mut candidates: Vec<&PersistentVolume> = view
        .all::<PersistentVolume>()
        .filter(|volume| volume.claim.is_none() || volume.is_of(claim.header()))
        .collect();
    candidates.sort_by(|a, b| {
        // Fewer access modes first, then the smaller one, then by name.
        let modes = |volume: &PersistentVolume| volume.terms.access_modes.len();
        (modes(a), a.terms.size, a.name()).cmp(&(modes(b), b.terms.size, b.name()))
    });
    if let Some(reserved) = candidates.iter().copied().filter(fits).find(|volume| volume.claim.is_some()) {
        return Some(reserved);
    }
    let consumers = consumers?;
    let selected = |volume: &&PersistentVolume| {
        claim.selector.as_ref().is_none_or(|selector| selector.matches(&volume.header().labels))
    };
    let mut free =
        candidates.into_iter().filter(|volume| volume.claim.is_none() && volume.phase == "Available");
    free.find(|volume| fits(volume) && selected(volume) && is_reachable(volume, consumers, view))
}

/// Whether a node that the Pods select can use the volume.
fn is_reachable(volume: &PersistentVolume, consumers: &[&Pod], view: &View<'_>) -> bool {
    let Some(affinity) = volume.node_affinity.as_ref().filter(|_| !consumers.is_empty()) else { return true };
    let selects = |pod: &Pod, node: &Node| {
        let labels = &node.header().labels;
        let mut selector = pod.shape.node_selector.iter();
        selector.all(|(key, value)| labels.get(&**key).is_some_and(|own| *own == **value))
            && pod.shape.affinity.as_ref().is_none_or(|affinity| affinity.matches(node.header()))
    };
    let mut nodes = view.all::<Node>().filter(|node| affinity.matches(node.header()));
    nodes.any(|node| consumers.iter().all(|pod| selects(pod, node)))
}
