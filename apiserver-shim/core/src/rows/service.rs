//! A Service, as the endpoint controllers see it.

use std::sync::Arc;

use serde_json::Value;
use shim_model::{
    access,
    object::{Header, StoredObject},
};

use super::{LabelSelector, ObjectView, decode_part};

/// A Service.
#[derive(Debug, Clone)]
pub struct Service {
    /// The object as stored.
    pub object: Arc<StoredObject>,
    /// `spec` as written.
    pub spec: Value,
    /// `spec.selector`; `None` if it is empty or the type is `ExternalName`, so that no controller keeps its endpoints.
    pub selector: Option<LabelSelector>,
}

impl Service {
    /// The header.
    pub fn header(&self) -> &Header {
        &self.object.header
    }

    /// Whether it has no cluster IP by intent.
    pub fn is_headless(&self) -> bool {
        access::text(&self.spec, &["clusterIP"]) == "None"
    }
}

impl ObjectView for Service {
    const GROUP: &'static str = "";
    const PLURAL: &'static str = "services";

    fn parse(object: &Arc<StoredObject>, _: u64) -> Result<Self, serde_json::Error> {
        let spec = decode_part(object.spec())?;
        let external = access::text(&spec, &["type"]) == "ExternalName";
        let selector = LabelSelector::equalities(access::entries(&spec, &["selector"]));
        let selector = (!external && !selector.is_empty()).then_some(selector);
        Ok(Service { object: object.clone(), spec, selector })
    }

    fn object(&self) -> &Arc<StoredObject> {
        &self.object
    }

    fn selector(&self) -> Option<&LabelSelector> {
        self.selector.as_ref()
    }
}
