//! The controllers of bootstrap tokens: one deletes expired ones, one signs the ConfigMap `cluster-info` with those that sign.

use std::collections::BTreeMap;

use memchr::memmem;
use serde_json::{Value, json};
use shim_model::access;
use shim_model::resource::GroupResource;

use super::{
    Action, CachedObject, Change, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Propagation,
    Target, View, served,
};
use crate::bootstrap_tokens::{
    Expiration, NAME_PREFIX, NAMESPACE, SECRET_TYPE, expiration, sign, signing_token,
};

/// Deletes expired tokens.
pub struct TokenCleaner;

/// Signs `cluster-info`.
pub struct BootstrapSigner;

const SECRETS: GroupResource = served("", "secrets");
const MAPS: GroupResource = served("", "configmaps");
const MAP_NAMESPACE: &str = "kube-public";
const MAP_NAME: &str = "cluster-info";
const SIGNED_KEY: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

/// Whether a Secret may be a token. Few are, and the others are not decoded.
fn may_be_token(secret: &CachedObject) -> bool {
    secret.header().namespace == NAMESPACE
        && memmem::find(&secret.object.bytes, SECRET_TYPE.as_bytes()).is_some()
}

fn is_token(secret: &Value) -> bool {
    access::text(secret, &["type"]) == SECRET_TYPE
}

impl Controller for TokenCleaner {
    const NAME: &'static str = "token-cleaner-controller";
    const SERVICE_ACCOUNT: &'static str = "token-cleaner";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "secrets")]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        if may_be_token(&change.object) {
            keys.insert(change.name());
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(found) = view.named(key) else { return plan };
        let secret = found.value();
        if !is_token(&secret) || found.header().deletion_timestamp.is_some() {
            return plan;
        }
        let expired = match expiration(&secret) {
            Expiration::Never => false,
            Expiration::At(time) if time > view.now => {
                plan.requeue_after(time - view.now);
                false
            }
            Expiration::At(_) | Expiration::Unreadable => true,
        };
        if expired {
            let target = Target::of(SECRETS, found.header());
            let propagation = Propagation::Background;
            plan.actions.push(Action::Delete { target, propagation, grace_seconds: None });
        }
        plan
    }
}

impl Controller for BootstrapSigner {
    const NAME: &'static str = "bootstrap-signer-controller";
    const SERVICE_ACCOUNT: &'static str = "bootstrap-signer";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "secrets"), Input::headers("", "configmaps")]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        let header = change.header();
        let is_map =
            change.is_of("", "configmaps") && header.namespace == MAP_NAMESPACE && header.name == MAP_NAME;
        let was_token = || change.previous.as_ref().is_some_and(may_be_token);
        if is_map || change.is_of("", "secrets") && (may_be_token(&change.object) || was_token()) {
            keys.insert(ObjectName::new(MAPS, MAP_NAMESPACE, MAP_NAME));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(found) = view.named(key) else { return plan };
        let map = found.value();
        let Some(content) = access::get(&map, &["data", SIGNED_KEY]).and_then(Value::as_str) else {
            return plan;
        };
        // Tokens have such names; so the other Secrets of the namespace are not decoded.
        let secrets = view.in_namespace(&SECRETS, NAMESPACE);
        let tokens =
            secrets.filter(|secret| secret.header().name.starts_with(NAME_PREFIX) && may_be_token(secret));
        let mut signatures = BTreeMap::new();
        for secret in tokens.map(CachedObject::value) {
            if let Expiration::At(time) = expiration(&secret)
                && time > view.now
            {
                plan.requeue_after(time - view.now);
            }
            if let Some((id, token_secret)) = signing_token(&secret, view.now) {
                let signature = sign(content, &id, &token_secret);
                signatures.insert(format!("{SIGNATURE_PREFIX}{id}"), Value::from(signature));
            }
        }
        // Only the signatures: what others write to the map meanwhile stays.
        let data = map["data"].as_object().cloned().unwrap_or_default();
        let mut merged = serde_json::Map::new();
        for key in data.keys().filter(|key| key.starts_with(SIGNATURE_PREFIX)) {
            if !signatures.contains_key(key) {
                merged.insert(key.clone(), Value::Null);
            }
        }
        merged.extend(signatures.into_iter().filter(|(key, signature)| data.get(key) != Some(signature)));
        if !merged.is_empty() {
            let target = Target::of(MAPS, found.header());
            let changes = vec![Change::Merge(json!({"data": merged}))];
            plan.actions.push(Action::Change { target, subresource: None, changes });
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap_tokens::tests::secret;
    use crate::controllers::Registration;
    use crate::rows::rfc3339;
    use crate::testing::TestCluster;

    fn run(cluster: &mut TestCluster) {
        cluster.run(&[Registration::new(TokenCleaner), Registration::new(BootstrapSigner)]);
    }

    #[test]
    fn cluster_info_is_signed_until_the_token_expires() {
        let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
        cluster.add(
            MAPS,
            json!({"metadata": {"name": MAP_NAME, "namespace": MAP_NAMESPACE}, "data": {"kubeconfig": "content"}}),
        );
        let expiration = rfc3339(2_000);
        cluster.add(SECRETS, secret(&[("usage-bootstrap-signing", "true"), ("expiration", &expiration)]));
        run(&mut cluster);
        let data = cluster.all("configmaps")[0]["data"].clone();
        assert_eq!(data["jws-kubeconfig-abcdef"], sign("content", "abcdef", "0123456789abcdef"));
        cluster.now = 2_000;
        run(&mut cluster);
        assert!(cluster.all("secrets").is_empty());
        assert_eq!(cluster.all("configmaps")[0]["data"], json!({"kubeconfig": "content"}));
    }

    #[test]
    fn other_secrets_and_tokens_without_end_stay() {
        let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
        cluster.add(SECRETS, secret(&[]));
        let mut other = secret(&[("expiration", "1970-01-01T00:00:00Z")]);
        other["metadata"]["name"] = json!("other");
        other["type"] = json!("Opaque");
        cluster.add(SECRETS, other);
        run(&mut cluster);
        assert_eq!(cluster.all("secrets").len(), 2);
    }
}
