//! Typed views of Pods. Each version of a Pod is decoded once per process; scheduler and controllers share the `Arc`.
//! A change of the status decodes the status only.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use shim_core::rows::{Pod, PodParts, is_revocable};
use shim_core::scheduler::Shapes;
use shim_model::pod_status::PodStatus;

use crate::storage::object::Object;

/// Decodes Pods and caches the newest view of each. Clones share the cache.
#[derive(Clone, Debug, Default)]
pub struct PodViews {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest view of each Pod, by UID.
    rows: HashMap<Box<str>, Arc<Pod>>,
    shapes: Shapes,
    /// The last spec that was decoded, as trimmed by [`trimmed_spec`], and its view. Pods of one template often
    /// arrive in sequence.
    last: Option<(Vec<u8>, Arc<Pod>)>,
}

impl PodViews {
    /// The view of an object.
    ///
    /// # Errors
    /// Members of another type than the schema's. The pipeline stores none; another writer of the store may.
    pub fn of(&self, object: &Object) -> Result<Arc<Pod>, serde_json::Error> {
        let uid = object.header().uid.as_str();
        let known = self.lock().rows.get(uid).cloned();
        match known {
            Some(row) if row.revision == object.revision => Ok(row),
            Some(row) if same_spec(&row, object) => Ok(self.keep(with_new_status(&row, object)?)),
            _ => self.decode(object),
        }
    }

    /// Drops the view of a deleted Pod.
    pub fn forget(&self, uid: &str) {
        self.lock().rows.remove(uid);
    }

    fn decode(&self, object: &Object) -> Result<Arc<Pod>, serde_json::Error> {
        let stored = object.stored();
        let trimmed = trimmed_spec(stored.spec());
        // Few Pods have annotations, and views read nothing else of the metadata beside the header.
        let annotated = memmem::find(stored.metadata(), b"\"annotations\"").is_some();
        let metadata = match annotated {
            true => serde_json::from_slice(stored.metadata())?,
            false => Metadata::default(),
        };
        let status = PodStatus::parse(stored.status())?;
        // The claims of ephemeral volumes have the Pod's name, which is not part of the spec.
        let revocable = is_revocable(&metadata.annotations);
        let own = memmem::find(&trimmed, b"\"ephemeral\"").is_some();
        let last = self
            .lock()
            .last
            .as_ref()
            .filter(|(spec, row)| !own && *spec == trimmed && row.shape.revocable == revocable)
            .map(|(_, row)| row.clone());
        if let Some(alike) = last {
            let alike = Pod::clone(&alike);
            let row = alike.like(stored.clone(), object.revision, &metadata.annotations, &status);
            return Ok(self.keep(row));
        }
        let spec = if trimmed.is_empty() { Value::Null } else { serde_json::from_slice(&trimmed)? };
        let parts = PodParts { annotations: &metadata.annotations, spec: &spec, status: &status };
        let shape = self.lock().shapes.share(parts.shape(&stored.header.name));
        let row = self.keep(Pod::decode(stored.clone(), object.revision, parts, shape));
        self.lock().last = Some((trimmed, row.clone()));
        Ok(row)
    }

    fn keep(&self, row: Pod) -> Arc<Pod> {
        let row = Arc::new(row);
        let mut state = self.lock();
        match state.rows.get_mut(row.uid()) {
            Some(newer) if newer.revision > row.revision => {}
            Some(older) => *older = row.clone(),
            None => {
                state.rows.insert(row.uid().into(), row.clone());
            }
        }
        row
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("invariant: no holder of the lock panics")
    }
}

/// The metadata that a view reads beside the header.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    annotations: Value,
}

/// Re-encodes the spec with the members that a view reads. A spec that does not parse is kept whole.
fn trimmed_spec(bytes: &[u8]) -> Vec<u8> {
    let trimmed = serde_json::from_slice::<Spec<'_>>(bytes).ok().and_then(|mut spec| {
        spec.volumes.retain(Volume::has_claim);
        serde_json::to_vec(&spec).ok()
    });
    trimmed.unwrap_or_else(|| bytes.to_vec())
}

/// The members of a spec that [`Pod::decode`] and [`PodParts::shape`] read.
#[derive(Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Spec<'a> {
    #[serde(borrow)]
    affinity: Option<&'a RawValue>,
    #[serde(borrow)]
    containers: Vec<Container<'a>>,
    #[serde(borrow)]
    hostname: Option<&'a RawValue>,
    #[serde(borrow)]
    init_containers: Vec<Container<'a>>,
    #[serde(borrow)]
    node_name: Option<&'a RawValue>,
    #[serde(borrow)]
    node_selector: Option<&'a RawValue>,
    #[serde(borrow)]
    overhead: Option<&'a RawValue>,
    #[serde(borrow)]
    preemption_policy: Option<&'a RawValue>,
    #[serde(borrow)]
    priority: Option<&'a RawValue>,
    #[serde(borrow)]
    resources: Option<&'a RawValue>,
    #[serde(borrow)]
    resource_claims: Option<&'a RawValue>,
    #[serde(borrow)]
    scheduler_name: Option<&'a RawValue>,
    #[serde(borrow)]
    scheduling_gates: Option<&'a RawValue>,
    #[serde(borrow)]
    subdomain: Option<&'a RawValue>,
    #[serde(borrow)]
    termination_grace_period_seconds: Option<&'a RawValue>,
    #[serde(borrow)]
    tolerations: Option<&'a RawValue>,
    #[serde(borrow)]
    topology_spread_constraints: Option<&'a RawValue>,
    /// Those with claims only.
    #[serde(borrow)]
    volumes: Vec<Volume<'a>>,
}

/// The members of a volume that a view reads.
#[derive(Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Volume<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ephemeral: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    persistent_volume_claim: Option<&'a RawValue>,
}

impl Volume<'_> {
    fn has_claim(&self) -> bool {
        self.ephemeral.is_some() || self.persistent_volume_claim.is_some()
    }
}

/// The members of a container that a view reads.
#[derive(Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Container<'a> {
    #[serde(borrow)]
    ports: Option<&'a RawValue>,
    #[serde(borrow)]
    resources: Option<&'a RawValue>,
    #[serde(borrow)]
    restart_policy: Option<&'a RawValue>,
}

/// Whether at most header, binding and status differ: any other change of the spec increments `metadata.generation`.
fn same_spec(row: &Pod, object: &Object) -> bool {
    row.header().generation == object.header().generation && object.header().generation > 0
}

fn with_new_status(row: &Pod, object: &Object) -> Result<Pod, serde_json::Error> {
    let stored = object.stored();
    let status = PodStatus::parse(stored.status())?;
    let mut next = row.clone().with_status(stored.clone(), object.revision, &status);
    if row.object.spec() != stored.spec() {
        let spec: Binding<'_> = serde_json::from_slice(stored.spec())?;
        next.node = spec.node_name.filter(|node| !node.is_empty()).map(Cow::into_owned).map(Box::from);
    }
    Ok(next)
}

/// The member of the spec that a binding sets.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Binding<'a> {
    #[serde(borrow)]
    node_name: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests;
