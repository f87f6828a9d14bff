//! Which volume suits a claim.

use super::{Node, PersistentVolume, PersistentVolumeClaim, Pod, View};

/// What is wrong with a volume for a claim, in the order in which it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mismatch {
    Deleted,
    Small,
    Class,
    Attributes,
    Mode,
    Access,
}

fn mismatches(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> impl Iterator<Item = Mismatch> {
    let (has, wants) = (&volume.terms, &claim.terms);
    let access = wants.access_modes.iter().all(|mode| has.access_modes.contains(mode));
    let found = [
        (volume.header().deletion_timestamp.is_some(), Mismatch::Deleted),
        (has.size < wants.size, Mismatch::Small),
        (has.class != wants.class, Mismatch::Class),
        (has.attributes != wants.attributes, Mismatch::Attributes),
        (has.block != wants.block, Mismatch::Mode),
        (!access, Mismatch::Access),
    ];
    found.into_iter().filter_map(|(is_wrong, what)| is_wrong.then_some(what))
}

/// Why a volume that a claim asks for by name does not suit it.
pub fn mismatch(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    let why = match mismatches(volume, claim).next()? {
        Mismatch::Deleted => return Some(format!("the volume is marked for deletion \"{}\"", volume.name())),
        Mismatch::Small => "requested PV is too small",
        Mismatch::Class => "storageClassName does not match",
        Mismatch::Attributes => "volumeAttributesClassName does not match",
        Mismatch::Mode => "incompatible volumeMode",
        Mismatch::Access => "incompatible accessMode",
    };
    Some(why.to_owned())
}

/// The volume for a claim: with as few access modes as possible, one that is reserved for the claim rather than a free one, and
/// then the smallest. A reserved volume may have another class. Of claims that wait for a Pod, only reserved volumes are found
/// without `consumers`.
pub fn best<'a>(
    claim: &PersistentVolumeClaim,
    consumers: Option<&[&Pod]>,
    view: &View<'a>,
) -> Option<&'a PersistentVolume> {
    let rank = |volume: &'a PersistentVolume| {
        let is_free = volume.claim.is_none();
        (volume.terms.access_modes.len(), is_free, volume.terms.size, volume.name())
    };
    let is_selected = |volume: &PersistentVolume| {
        claim.selector.as_ref().is_none_or(|selector| selector.matches(&volume.header().labels))
    };
    let suits = |volume: &PersistentVolume| match (&volume.claim, consumers) {
        (Some(_), _) => {
            volume.is_of(claim.header())
                && mismatches(volume, claim).all(|mismatch| mismatch == Mismatch::Class)
        }
        (None, None) => false,
        (None, Some(consumers)) => {
            volume.phase == "Available"
                && mismatches(volume, claim).next().is_none()
                && is_selected(volume)
                && is_reachable(volume, consumers, view)
        }
    };
    let mut best: Option<&PersistentVolume> = None;
    for volume in view.all::<PersistentVolume>() {
        // Whether nodes reach it is the most expensive question, so only a better one is looked at.
        if best.is_none_or(|best| rank(volume) < rank(best)) && suits(volume) {
            best = Some(volume);
        }
    }
    best
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
