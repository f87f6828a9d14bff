//! The admission chain: order, reinvocation and refusals.

use std::sync::Mutex;

use serde_json::json;
use shim_core::controllers::served;

use super::*;
use crate::pipeline::Identity;

/// The calls of a test's plugins, in order.
type Calls = Arc<Mutex<Vec<String>>>;

/// Appends its name to the object's list; reports the change if configured to.
struct Append {
    name: &'static str,
    calls: Calls,
    policy: ReinvocationPolicy,
    tells: bool,
}

#[async_trait]
impl AdmissionPlugin for Append {
    fn name(&self) -> &'static str {
        self.name
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.is_core("configmaps")
    }

    fn reinvocation_policy(&self) -> ReinvocationPolicy {
        self.policy
    }

    async fn admit(
        &self,
        _context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        self.calls.lock().unwrap().push(self.name.to_owned());
        let object = attributes.object.as_mut().unwrap();
        // Idempotent, as reinvocation requires.
        if object["data"].get(self.name).is_none() {
            object["data"][self.name] = json!("seen");
            if self.tells {
                attributes.note_change();
            }
        }
        Ok(())
    }

    async fn validate(
        &self,
        _context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let seen = attributes.object.as_ref().map_or(0, |o| o["data"].as_object().map_or(0, |d| d.len()));
        self.calls.lock().unwrap().push(format!("{} validates {seen}", self.name));
        Ok(())
    }
}

async fn run(plugins: &[(&'static str, ReinvocationPolicy, bool)]) -> Vec<String> {
    let calls = Calls::default();
    let plugins = plugins.iter().map(|&(name, policy, tells)| {
        Arc::new(Append { name, calls: calls.clone(), policy, tells }) as Arc<dyn AdmissionPlugin>
    });
    let chain = AdmissionChain::new(plugins.collect());
    let context = Identity::apiserver().context("create");
    let registry = Registry::open(Arc::new(store::MemoryStore::new())).await.unwrap();
    let maps = registry.builtin(&served("", "configmaps"));
    let mut attributes = Attributes::new(Operation::Create, &maps, "ns");
    attributes.object = Some(json!({"data": {}}));
    let mut preconditions = Preconditions::default();
    chain.admit(&context, &mut attributes, &mut preconditions).await.unwrap();
    chain.validate(&context, &attributes, &mut preconditions).await.unwrap();
    let calls = calls.lock().unwrap();
    calls.clone()
}

#[tokio::test]
async fn a_plugin_is_reinvoked_after_a_later_change() {
    use ReinvocationPolicy::{IfNeeded, Never};
    let order =
        run(&[("a", IfNeeded, false), ("b", Never, false), ("c", IfNeeded, true), ("d", IfNeeded, false)]);
    assert_eq!(
        order.await,
        ["a", "b", "c", "d", "a", "a validates 4", "b validates 4", "c validates 4", "d validates 4"],
        "a ran before the change of c and wants to see it, b does not want to, c and d have seen it"
    );
}

#[tokio::test]
async fn no_plugin_is_reinvoked_without_a_reported_change() {
    use ReinvocationPolicy::IfNeeded;
    let order = run(&[("a", IfNeeded, false), ("b", IfNeeded, false)]).await;
    assert_eq!(order, ["a", "b", "a validates 2", "b validates 2"]);
}

#[tokio::test]
async fn two_plugins_that_report_changes_are_reinvoked_once() {
    use ReinvocationPolicy::IfNeeded;
    let order = run(&[("a", IfNeeded, true), ("b", IfNeeded, true)]).await;
    assert_eq!(order, ["a", "b", "a", "a validates 2", "b validates 2"]);
}

#[tokio::test]
async fn built_in_plugins_are_in_upstreams_order() {
    let registry = Registry::open(Arc::new(store::MemoryStore::new())).await.unwrap();
    let access = AccessControl::new(registry.clone());
    let caller = WebhookCaller::new(&registry);
    let plugins = built_in(&registry, &access, &AdmissionConfiguration::default(), caller);
    let names: Vec<&str> = plugins.iter().map(|plugin| plugin.name()).collect();
    assert_eq!(
        names,
        [
            "NamespaceLifecycle",
            "LimitRanger",
            "ServiceAccount",
            "NodeRestriction",
            "TaintNodesByCondition",
            "PodSecurity",
            "Priority",
            "DefaultTolerationSeconds",
            "DefaultStorageClass",
            "StorageObjectInUseProtection",
            "PersistentVolumeClaimResize",
            "RuntimeClass",
            "CertificateApproval",
            "CertificateSigning",
            "CertificateSubjectRestriction",
            "DefaultIngressClass",
            "PodTopologyLabels",
            "PodResizeValidator",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionWebhook",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionWebhook",
            "RoleEscalation",
            "CertificateRequester",
            "ResourceQuota",
        ]
    );
}
