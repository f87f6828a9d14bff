//! What a Pod refers to: the objects that its node may read.

use std::collections::BTreeSet;

use serde_json::Value;
use shim_model::access;

use super::node::Relation;

/// The annotation of mirror Pods, whose references give their node no access.
pub const MIRROR: &str = "kubernetes.io/config.mirror";
/// Members of volumes that name a Secret as `secretRef`.
const SECRET_REFS: [&str; 7] = ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"];

/// The names of the objects in a Pod's namespace that it refers to.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct References<'a> {
    pub secrets: BTreeSet<&'a str>,
    pub config_maps: BTreeSet<&'a str>,
    /// PersistentVolumeClaims, except those of ephemeral volumes.
    pub claims: BTreeSet<&'a str>,
    /// Names of the claims of ephemeral volumes.
    pub ephemeral_claims: BTreeSet<String>,
    pub resource_claims: BTreeSet<&'a str>,
    pub service_account: &'a str,
    /// Audiences of the projected service account tokens; empty for the API server's.
    pub audiences: BTreeSet<&'a str>,
}

impl<'a> References<'a> {
    /// The references of a Pod; a mirror Pod has none.
    pub fn of(pod: &'a Value) -> References<'a> {
        match access::get(pod, &["metadata", "annotations", MIRROR]) {
            Some(_) => References::default(),
            None => References::of_any(pod),
        }
    }

    /// The references of a Pod, mirror Pods included.
    pub(crate) fn of_any(pod: &'a Value) -> References<'a> {
        let mut found = References::default();
        let spec = &pod["spec"];
        found.service_account = access::text(spec, &["serviceAccountName"]);
        for secret in access::list(spec, &["imagePullSecrets"]) {
            found.secrets.insert(access::text(secret, &["name"]));
        }
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            access::list(spec, &[list]).iter().for_each(|container| found.add_container(container));
        }
        let name = access::text(pod, &["metadata", "name"]);
        access::list(spec, &["volumes"]).iter().for_each(|volume| found.add_volume(name, volume));
        for claim in access::list(spec, &["resourceClaims"]) {
            found.resource_claims.insert(access::text(claim, &["resourceClaimName"]));
        }
        for claim in access::list(pod, &["status", "resourceClaimStatuses"]) {
            found.resource_claims.insert(access::text(claim, &["resourceClaimName"]));
        }
        for names in
            [&mut found.secrets, &mut found.config_maps, &mut found.claims, &mut found.resource_claims]
        {
            names.remove("");
        }
        found
    }

    /// Whether the Pod refers to the object of this name.
    pub fn has(&self, relation: Relation, name: &str) -> bool {
        match relation {
            Relation::Secret => self.secrets.contains(name),
            Relation::ConfigMap => self.config_maps.contains(name),
            Relation::PersistentVolumeClaim => {
                self.claims.contains(name) || self.ephemeral_claims.contains(name)
            }
            Relation::ResourceClaim => self.resource_claims.contains(name),
            Relation::ServiceAccount => self.service_account == name,
            Relation::Pod
            | Relation::PersistentVolume
            | Relation::VolumeAttachment
            | Relation::ResourceSlice => false,
        }
    }

    fn add_container(&mut self, container: &'a Value) {
        for source in access::list(container, &["envFrom"]) {
            self.config_maps.insert(access::text(source, &["configMapRef", "name"]));
            self.secrets.insert(access::text(source, &["secretRef", "name"]));
        }
        for variable in access::list(container, &["env"]) {
            self.config_maps.insert(access::text(variable, &["valueFrom", "configMapKeyRef", "name"]));
            self.secrets.insert(access::text(variable, &["valueFrom", "secretKeyRef", "name"]));
        }
    }

    fn add_volume(&mut self, pod: &str, volume: &'a Value) {
        self.config_maps.insert(access::text(volume, &["configMap", "name"]));
        self.secrets.insert(access::text(volume, &["secret", "secretName"]));
        self.secrets.insert(access::text(volume, &["azureFile", "secretName"]));
        self.secrets.insert(access::text(volume, &["csi", "nodePublishSecretRef", "name"]));
        for member in SECRET_REFS {
            self.secrets.insert(access::text(volume, &[member, "secretRef", "name"]));
        }
        self.claims.insert(access::text(volume, &["persistentVolumeClaim", "claimName"]));
        if access::get(volume, &["ephemeral"]).is_some_and(Value::is_object) {
            self.ephemeral_claims.insert(format!("{pod}-{}", access::text(volume, &["name"])));
        }
        for source in access::list(volume, &["projected", "sources"]) {
            self.config_maps.insert(access::text(source, &["configMap", "name"]));
            self.secrets.insert(access::text(source, &["secret", "name"]));
            if let Some(token) = access::get(source, &["serviceAccountToken"]) {
                self.audiences.insert(access::text(token, &["audience"]));
            }
        }
    }
}
