//! Names, labels and Pods of the members of a StatefulSet.

use serde_json::{Value, json};
use shim_model::access;

use super::{claims, history::Template, owned_pods};
use crate::{
    controllers::revisions::REVISION_LABEL,
    rows::{Pod, StatefulSet, controller_reference},
};

/// The label with the name of the Pod.
pub const POD_NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
/// The label with the ordinal.
pub const POD_INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// Splits `NAME-ORDINAL`.
pub fn split(name: &str) -> Option<(&str, i64)> {
    let (parent, digits) = name.rsplit_once('-')?;
    let ordinal: i32 = digits.parse().ok()?;
    (ordinal.to_string() == digits).then_some((parent, ordinal.into()))
}

/// The ordinal of a Pod, if its name is one of this set.
pub fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i64> {
    split(&pod.header().name).filter(|(parent, _)| *parent == set.name()).map(|(_, ordinal)| ordinal)
}

/// The name of the Pod with an ordinal.
pub fn pod_name(set: &StatefulSet, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.name())
}

/// The revision of a Pod.
pub fn revision_of(pod: &Pod) -> &str {
    pod.header().labels.get(REVISION_LABEL).map_or("", String::as_str)
}

/// The labels that a Pod lacks, as a merge patch.
pub fn missing_labels(set: &StatefulSet, pod: &Pod, ordinal: i64) -> Option<Value> {
    let name = pod_name(set, ordinal);
    let labelled = pod.header().labels.get(POD_NAME_LABEL).is_some_and(|label| *label == name);
    let index = ordinal.to_string();
    (!labelled).then(|| json!({"metadata": {"labels": {POD_NAME_LABEL: name, POD_INDEX_LABEL: index}}}))
}

/// The Pod with an ordinal, of a template.
pub fn new_pod(set: &StatefulSet, ordinal: i64, template: &Template) -> Value {
    let name = pod_name(set, ordinal);
    let reference = controller_reference("apps/v1", "StatefulSet", set.header());
    // As upstream, the Pod has the prefix of generated names beside its name.
    let mut pod = owned_pods::from_template_with_generated_name(set.header(), reference, &template.value);
    pod["metadata"]["name"] = Value::from(name.as_str());
    let labels = access::object_mut(&mut pod, &["metadata", "labels"]);
    labels.insert(POD_NAME_LABEL.to_owned(), name.as_str().into());
    labels.insert(POD_INDEX_LABEL.to_owned(), ordinal.to_string().into());
    labels.insert(REVISION_LABEL.to_owned(), template.revision.as_str().into());
    let spec = access::object_mut(&mut pod, &["spec"]);
    spec.insert("hostname".to_owned(), name.into());
    match set.service_name.as_str() {
        "" => spec.remove("subdomain"),
        service => spec.insert("subdomain".to_owned(), service.into()),
    };
    let mut volumes: Vec<Value> = set
        .claim_templates
        .iter()
        .map(|claim| {
            let name = claims::template_name(claim);
            let claim = claims::name(set, claim, ordinal);
            json!({"name": name, "persistentVolumeClaim": {"claimName": claim}})
        })
        .collect();
    let replaced: Vec<&str> = set.claim_templates.iter().map(claims::template_name).collect();
    let others = access::list(&template.value, &["spec", "volumes"]).iter();
    let kept = others.filter(|volume| !replaced.contains(&access::text(volume, &["name"])));
    volumes.extend(kept.cloned());
    if !volumes.is_empty() {
        pod["spec"]["volumes"] = Value::from(volumes);
    }
    pod
}
