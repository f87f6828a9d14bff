//! PodSecurity: the Pod Security Standards, as far as the labels of a namespace ask for them. Pods that violate the
//! enforced level are refused; templates of workloads, and changed labels, only warn.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use shim_core::controllers::served;
use shim_core::pod_security::{
    ExistingPods, IGNORED_POD_SUBRESOURCES, Level, LevelVersion, PODS_MAX, PodSecurityConfiguration, Policy,
    evaluate, is_significant_update, pod_of,
};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::object::Header;
use shim_model::status::{self, Status};

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::storage::catalog::ServedResource;
use crate::storage::registry::Registry;

/// How long the Pods of a namespace may be checked when its level changes (as upstream).
const POD_CHECK_MAX: Duration = Duration::from_secs(1);
/// Pods that are checked before the clock is read and other tasks may run: some milliseconds.
const POD_CHECK_BATCH: usize = 64;

/// The workloads whose templates are checked.
const WORKLOADS: [(&str, &str); 8] = [
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
];

pub(super) struct PodSecurity {
    registry: Registry,
    configuration: PodSecurityConfiguration,
    namespaces: Arc<ServedResource>,
    pods: Arc<ServedResource>,
}

impl PodSecurity {
    pub(super) fn new(registry: Registry, configuration: PodSecurityConfiguration) -> PodSecurity {
        let namespaces = registry.builtin(&served("", "namespaces"));
        let pods = registry.builtin(&served("", "pods"));
        PodSecurity { registry, configuration, namespaces, pods }
    }

    /// The policy of the request's namespace, and what is wrong with its labels.
    async fn policy(&self, namespace: &str) -> Result<(Policy, Vec<FieldError>), Status> {
        let found = match self.registry.peek(&self.namespaces, "", namespace) {
            Some(found) => found,
            None => self.registry.get(&self.namespaces, "", namespace).await?,
        };
        Ok(Policy::of_labels(&found.header().labels, &self.configuration.defaults))
    }

    fn is_exempt_namespace(&self, name: &str) -> bool {
        self.configuration.exemptions.namespaces.contains(name)
    }

    fn is_exempt_pod(&self, spec: &Value) -> bool {
        self.configuration.exemptions.runtime_classes.contains(access::text(spec, &["runtimeClassName"]))
    }

    async fn validate_namespace(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        namespace: &Value,
    ) -> Result<(), Status> {
        let header = Header::of(namespace);
        let default = &self.configuration.defaults;
        let (new, errors) = Policy::of_labels(&header.labels, default);
        let warn_of_exemption = || {
            let warning = new.exemption_warning(&header.name, &header.labels, default);
            warning.into_iter().for_each(|warning| context.warn(warning));
        };
        let refuse = |errors: &[FieldError]| match errors {
            [] => Ok(()),
            errors => Err(status::invalid("", "Namespace", attributes.object_name(), errors)),
        };
        let Some(old) = attributes.old_object else {
            refuse(&errors)?;
            if self.is_exempt_namespace(&header.name) {
                warn_of_exemption();
            }
            return Ok(());
        };
        let (old, old_errors) = Policy::of_labels(&Header::of(old).labels, default);
        if errors != old_errors {
            refuse(&errors)?;
        }
        let (enforce, before) = (new.enforce, old.enforce);
        let weaker = enforce.version == before.version && enforce.level <= before.level;
        if enforce == before || enforce.level == Level::Privileged || weaker {
            return Ok(());
        }
        if self.is_exempt_namespace(&header.name) {
            warn_of_exemption();
            return Ok(());
        }
        for warning in self.existing_pods(&header.name, enforce).await {
            context.warn(warning);
        }
        Ok(())
    }

    /// The warnings about the Pods of a namespace that gets a new level.
    async fn existing_pods(&self, namespace: &str, enforce: LevelVersion) -> Vec<String> {
        let exempts = !self.configuration.exemptions.runtime_classes.is_empty();
        let mut pods = self.pods.cache().list(Some(namespace));
        if exempts {
            pods.retain(|pod| !self.is_exempt_pod(&pod.value()["spec"]));
        }
        let mut checks = ExistingPods::new(enforce);
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for pod in &pods {
            let controller = pod.header().owners.iter().find(|owner| owner.controller);
            let duplicate = checks.is_duplicate(controller.map(|owner| owner.uid.as_str()));
            if duplicate { &mut later } else { &mut first }.push(pod);
        }
        let begun = Instant::now();
        for (at, pod) in first.into_iter().chain(later).take(PODS_MAX).enumerate() {
            if at % POD_CHECK_BATCH == 0 {
                tokio::task::yield_now().await;
            }
            checks.check(&pod.value());
            if begun.elapsed() > POD_CHECK_MAX {
                break;
            }
        }
        checks.warnings(namespace, pods.len())
    }

    fn evaluate(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        (policy, errors): &(Policy, Vec<FieldError>),
        object: &Value,
    ) -> Result<(), Status> {
        let (metadata, spec) = pod_of(object, &attributes.resource.plural);
        if !spec.is_object() {
            return Ok(());
        }
        if self.is_exempt_pod(&spec) {
            annotate(context, "exempt", "runtimeClass".to_owned());
            return Ok(());
        }
        if !errors.is_empty() {
            annotate(context, "error", format!("Failed to parse policy: {}", status::aggregate(errors)));
        }
        let mut refusal = None;
        if attributes.resource.is("", "pods") {
            annotate(context, "enforce-policy", policy.enforce.to_string());
            let found = evaluate(policy.enforce, &metadata, &spec);
            if !found.is_empty() {
                let why = format!("violates PodSecurity \"{}\": {}", policy.enforce, found.details());
                refusal = Some(status::forbidden("", "pods", attributes.object_name(), why));
            }
        }
        let would = |lv: LevelVersion| {
            let found = evaluate(lv, &metadata, &spec);
            (!found.is_empty()).then(|| format!("would violate PodSecurity \"{lv}\": {}", found.details()))
        };
        if let Some(violation) = would(policy.audit) {
            annotate(context, "audit-violations", violation);
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        if let Some(violation) = would(policy.warn) {
            context.warn(violation);
        }
        Ok(())
    }
}

fn annotate(context: &RequestContext, key: &str, value: String) {
    context.annotate(&format!("pod-security.kubernetes.io/{key}"), value);
}

#[async_trait]
impl AdmissionPlugin for PodSecurity {
    fn name(&self) -> &'static str {
        super::POD_SECURITY
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let resource = attributes.resource;
        matches!(attributes.operation, Operation::Create | Operation::Update)
            && match attributes.subresource {
                "" => {
                    let is = |(group, plural): &(&'static str, &'static str)| resource.is(group, plural);
                    [("", "pods"), ("", "namespaces")].iter().chain(&WORKLOADS).any(is)
                }
                subresource => resource.is("", "pods") && !IGNORED_POD_SUBRESOURCES.contains(&subresource),
            }
    }

    async fn validate(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let Some(object) = &attributes.object else { return Ok(()) };
        if attributes.resource.is("", "namespaces") {
            return self.validate_namespace(context, attributes, object).await;
        }
        let is_pod = attributes.resource.is("", "pods");
        let namespace = attributes.namespace;
        let exempt = match () {
            () if self.is_exempt_namespace(namespace) => Some("namespace"),
            () if self.configuration.exemptions.usernames.contains(&context.user.name) => Some("user"),
            () => None,
        };
        if let Some(reason) = exempt {
            annotate(context, "exempt", reason.to_owned());
            return Ok(());
        }
        let policy = match self.policy(namespace).await {
            Ok(policy) => policy,
            Err(error) => {
                let why = format!("failed to lookup namespace \"{namespace}\"");
                annotate(context, "error", format!("{why}: {}", error.message));
                return if is_pod { Err(status::internal(why)) } else { Ok(()) };
            }
        };
        if policy.0.is_privileged() && policy.1.is_empty() {
            if is_pod && context.audit.is_some() {
                annotate(context, "enforce-policy", LevelVersion::PRIVILEGED.to_string());
            }
            return Ok(());
        }
        match attributes.old_object {
            Some(old) if is_pod && !is_significant_update(object, old) => Ok(()),
            _ => self.evaluate(context, attributes, &policy, object),
        }
    }
}
