//! Conversion without a webhook: the version is renamed, and what the other version's schema does not know is removed.

use std::future::ready;
use std::sync::Arc;

use serde_json::Value;
use shim_model::status::Status;

use super::Family;
use crate::converter::{Conversion, Converter};

/// The converter of a definition whose strategy is `None`.
pub struct RenameVersion {
    family: Arc<Family>,
    served: String,
}

impl RenameVersion {
    /// The converter between the storage version and `served`.
    pub fn new(family: Arc<Family>, served: &str) -> Arc<Self> {
        Arc::new(RenameVersion { family, served: served.to_owned() })
    }

    fn convert(&self, mut objects: Vec<Value>, version: &str) -> Result<Vec<Value>, Status> {
        let api_version = format!("{}/{version}", self.family.group);
        objects.iter_mut().for_each(|object| rename(object, &self.family, version, &api_version));
        Ok(objects)
    }
}

fn rename(object: &mut Value, family: &Family, version: &str, api_version: &str) {
    if object["apiVersion"] == api_version {
        return;
    }
    object["apiVersion"] = api_version.into();
    if let Some(schema) = family.schema(version) {
        schema.prune(object);
    }
}

impl Converter for RenameVersion {
    fn to_served(&self, stored: Vec<Value>) -> Conversion<'_> {
        Box::pin(ready(self.convert(stored, &self.served)))
    }

    fn to_stored(&self, served: Vec<Value>) -> Conversion<'_> {
        Box::pin(ready(self.convert(served, &self.family.storage_version)))
    }
}

/// Brings an object of any version from the store to the storage version. The strategy is `None`.
pub fn to_storage_version(object: &mut Value, family: &Family) {
    let version = &family.storage_version;
    rename(object, family, version, &format!("{}/{version}", family.group));
}
