//! DefaultStorageClass, DefaultIngressClass and PersistentVolumeClaimResize: claims and Ingresses without a class get the default
//! one, and only claims whose class allows it grow.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::default_classes as rules;
use shim_model::access;
use shim_model::status::Status;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::registry::Registry;

/// The name of the default class of a resource.
fn default_of(classes: &ServedResource, is_default: impl Fn(&Value) -> bool) -> Option<String> {
    // Most classes are not the default and need no decoding.
    const MARK: &[u8] = b"is-default-class";
    let view = classes.cache().view();
    let marked = view.iter(None).filter(|class| memchr::memmem::find(class.bytes(), MARK).is_some());
    let classes: Vec<Value> = marked.map(|class| class.value()).filter(is_default).collect();
    rules::newest(&classes).map(str::to_owned)
}

/// DefaultStorageClass or DefaultIngressClass.
pub(super) struct DefaultClass {
    rule: &'static ClassRule,
    classes: Arc<ServedResource>,
}

/// Which objects get a class, and where it is written.
struct ClassRule {
    /// The plugin's name.
    name: &'static str,
    /// Group and plural of the objects, and of the classes.
    objects: (&'static str, &'static str),
    classes: (&'static str, &'static str),
    has_class: fn(&Value) -> bool,
    set_class: fn(&mut Value, String),
    is_default: fn(&Value) -> bool,
}

const STORAGE: ClassRule = ClassRule {
    name: "DefaultStorageClass",
    objects: ("", "persistentvolumeclaims"),
    classes: ("storage.k8s.io", "storageclasses"),
    has_class: rules::claim_has_class,
    set_class: |claim, name| {
        drop(access::object_mut(claim, &["spec"]).insert("storageClassName".into(), name.into()))
    },
    is_default: rules::is_default_storage_class,
};

const INGRESS: ClassRule = ClassRule {
    name: "DefaultIngressClass",
    objects: ("networking.k8s.io", "ingresses"),
    classes: ("networking.k8s.io", "ingressclasses"),
    has_class: rules::ingress_has_class,
    set_class: |ingress, name| {
        drop(access::object_mut(ingress, &["spec"]).insert("ingressClassName".into(), name.into()))
    },
    is_default: rules::is_default_ingress_class,
};

impl DefaultClass {
    pub(super) fn storage(registry: &Registry) -> DefaultClass {
        DefaultClass::new(registry, &STORAGE)
    }

    pub(super) fn ingress(registry: &Registry) -> DefaultClass {
        DefaultClass::new(registry, &INGRESS)
    }

    fn new(registry: &Registry, rule: &'static ClassRule) -> DefaultClass {
        let (group, plural) = rule.classes;
        DefaultClass { rule, classes: registry.builtin(&served(group, plural)) }
    }
}

#[async_trait]
impl AdmissionPlugin for DefaultClass {
    fn name(&self) -> &'static str {
        self.rule.name
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let (group, plural) = self.rule.objects;
        attributes.operation == Operation::Create
            && attributes.subresource.is_empty()
            && attributes.resource.is(group, plural)
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        if let Some(object) = &mut attributes.object
            && !(self.rule.has_class)(object)
            && let Some(name) = default_of(&self.classes, self.rule.is_default)
        {
            (self.rule.set_class)(object, name);
        }
        Ok(())
    }
}

pub(super) struct PersistentVolumeClaimResize {
    registry: Registry,
    classes: Arc<ServedResource>,
}

impl PersistentVolumeClaimResize {
    pub(super) fn new(registry: &Registry) -> PersistentVolumeClaimResize {
        let classes = registry.builtin(&served("storage.k8s.io", "storageclasses"));
        PersistentVolumeClaimResize { registry: registry.clone(), classes }
    }
}

#[async_trait]
impl AdmissionPlugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && attributes.is_core("persistentvolumeclaims")
    }

    async fn validate(
        &self,
        _context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let (Some(new), Some(old)) = (&attributes.object, attributes.old_object) else { return Ok(()) };
        let class = |name: &str| Some(self.registry.peek(&self.classes, "", name)?.value());
        rules::check_resize(new, old, class).map_err(|why| attributes.forbidden(why))
    }
}
