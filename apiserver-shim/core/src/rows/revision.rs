//! A ControllerRevision, as the controllers of DaemonSets and StatefulSets see it.

use std::sync::Arc;

use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject},
};

use super::{ObjectView, Seconds, seconds};

/// A ControllerRevision.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ControllerRevision {
    pub object: Arc<StoredObject>,
    pub revision: i64,
    /// `data`: the patch that restores the template.
    pub data: Value,
    pub created: Seconds,
}

impl ControllerRevision {
    /// Its header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.object.header.name
    }
}

impl ObjectView for ControllerRevision {
    const GROUP: &'static str = "apps";
    const PLURAL: &'static str = "controllerrevisions";
    const INDEXED_BY_LABELS: bool = true;

    fn parse(object: &Arc<StoredObject>, _: u64) -> Result<Self, serde_json::Error> {
        let mut value: Value = serde_json::from_slice(&object.bytes)?;
        Ok(ControllerRevision {
            revision: access::int(&value, &["revision"]).unwrap_or(0),
            data: value["data"].take(),
            created: seconds(&object.header.creation_timestamp).unwrap_or(0),
            object: object.clone(),
        })
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }
}
