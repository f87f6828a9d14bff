//! The controllers of tokens in Secrets ([`crate::secret_tokens`]): one fills the Secrets and deletes those whose service account is
//! gone, one says since when the use of tokens is tracked, and one removes tokens of old clusters that nobody uses.

use std::sync::Arc;

use serde_json::{Value, json};
use shim_model::resource::GroupResource;
use shim_model::{access, base64};

use super::{
    Action, CachedObject, Change, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Propagation,
    Target, View, served,
};
use crate::authorization::references::References;
use crate::rows::{Pod, Seconds, seconds};
use crate::secret_tokens::{
    ACCOUNT_NAME, ACCOUNT_UID, INVALID_SINCE, LAST_USED, SECRET_TYPE, SecretTokenClaims, SecretTokenSigner,
    date, lists, may_have_token, start_of,
};

const SECRETS: GroupResource = served("", "secrets");
const ACCOUNTS: GroupResource = served("", "serviceaccounts");
const MAPS: GroupResource = served("", "configmaps");

/// The ConfigMap that says since when the use of tokens is tracked.
const TRACKING: (&str, &str) = ("kube-system", "kube-apiserver-legacy-service-account-token-tracking");
const SINCE: &str = "since";

const DAY: Seconds = 24 * 3600;
/// Tokens that service accounts list are removed after this time without use (upstream's
/// `--legacy-service-account-token-clean-up-period`).
const UNUSED_MAX: Seconds = 365 * DAY;

/// Fills Secrets that ask for a token, and deletes those whose service account is gone.
pub struct TokensController {
    /// The certificate authority of the API server, in PEM.
    pub ca_pem: String,
    /// Signs the tokens.
    pub signer: Arc<dyn SecretTokenSigner>,
}

/// Maintains the ConfigMap that says since when the use of tokens is tracked.
pub struct TokenTracking;

/// Marks tokens that a service account lists and nobody has used for a year as invalid, and deletes them a year later. Clusters
/// before Kubernetes 1.24 made such tokens for every account.
pub struct UnusedTokenCleaner;

fn is_token(secret: &Value) -> bool {
    access::text(secret, &["type"]) == SECRET_TYPE
}

fn annotation<'a>(secret: &'a Value, name: &str) -> &'a str {
    access::text(secret, &["metadata", "annotations", name])
}

fn delete(plan: &mut Plan, secret: &CachedObject) {
    let target = Target::of(SECRETS, secret.header());
    plan.actions.push(Action::Delete { target, propagation: Propagation::Background, grace_seconds: None });
}

impl Controller for TokensController {
    const NAME: &'static str = "serviceaccount-token-controller";
    const SERVICE_ACCOUNT: &'static str = "tokens-controller";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "secrets"), Input::headers("", "serviceaccounts")]
    }

    fn keys(&self, change: &ObjectChange, view: &View<'_>, keys: &mut Keys) {
        if change.is_of("", "secrets") {
            if may_have_token(&change.object.object) {
                keys.insert(change.name());
            }
        } else if change.is_deletion() || change.headers().any(|header| header.uid != change.header().uid) {
            // An account that is made again has another UID. Secrets of a new one have changes of their own.
            let secrets = view.in_namespace(&SECRETS, &change.header().namespace);
            let tokens = secrets.filter(|secret| may_have_token(&secret.object));
            keys.extend(tokens.map(|secret| ObjectName::of(SECRETS, secret.header())));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(found) = view.named(key) else {
            unlist(view, key, &mut plan);
            return plan;
        };
        let secret = found.value();
        if !is_token(&secret) || found.header().deletion_timestamp.is_some() {
            return plan;
        }
        let name = annotation(&secret, ACCOUNT_NAME);
        let uid = annotation(&secret, ACCOUNT_UID);
        let account = view.object(&ACCOUNTS, &key.key.namespace, name);
        match account.filter(|account| uid.is_empty() || account.header().uid == uid) {
            Some(account) => self.fill(found, &secret, account, &mut plan),
            // The account may have been made just before the Secret.
            None if view.complete_to < found.revision => plan.needs_revision = Some(found.revision),
            None => delete(&mut plan, found),
        }
        plan
    }
}

/// Removes a deleted Secret from the lists of the service accounts.
fn unlist(view: &View<'_>, secret: &ObjectName, plan: &mut Plan) {
    for account in view.in_namespace(&ACCOUNTS, &secret.key.namespace) {
        if lists(&account.value(), &secret.key.name) {
            let target = Target::of(ACCOUNTS, account.header());
            let changes = vec![Change::RemoveNamed(&["secrets"], secret.key.name.to_string())];
            plan.actions.push(Action::Change { target, subresource: None, changes });
        }
    }
}

impl TokensController {
    fn fill(&self, found: &CachedObject, secret: &Value, account: &CachedObject, plan: &mut Plan) {
        let (header, account) = (found.header(), account.header());
        let data = |key: &str| access::text(secret, &["data", key]);
        let ca = base64::encode(self.ca_pem.as_bytes());
        let mut changes = Vec::new();
        if data("ca.crt") != ca {
            changes.push(Change::Merge(json!({"data": {"ca.crt": ca}})));
        }
        if data("namespace").is_empty() {
            let namespace = base64::encode(header.namespace.as_bytes());
            changes.push(Change::Fill(&["data", "namespace"], namespace.into()));
        }
        if data("token").is_empty() {
            let claims = SecretTokenClaims::new(&header.namespace, &header.name, &account.name, &account.uid);
            match self.signer.sign(&claims) {
                // Another server may have filled it meanwhile: its token stays.
                Some(token) => {
                    changes.push(Change::Fill(&["data", "token"], base64::encode(token.as_bytes()).into()));
                }
                None => return plan.requeue_after(60),
            }
        }
        if changes.is_empty() {
            return;
        }
        let annotations = json!({ACCOUNT_NAME: account.name, ACCOUNT_UID: account.uid});
        changes.push(Change::Merge(json!({"metadata": {"annotations": annotations}})));
        plan.actions.push(Action::Change { target: Target::of(SECRETS, header), subresource: None, changes });
    }
}

impl Controller for TokenTracking {
    const NAME: &'static str = "legacy-token-tracking-controller";
    const SERVICE_ACCOUNT: &'static str = "legacy-token-tracking";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::headers("", "namespaces"), Input::headers("", "configmaps")]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        let header = change.header();
        let is_namespace = change.is_of("", "namespaces") && header.name == TRACKING.0;
        if is_namespace || (header.namespace.as_str(), header.name.as_str()) == TRACKING {
            keys.insert(ObjectName::new(MAPS, TRACKING.0, TRACKING.1));
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let data = json!({SINCE: date(view.now)});
        match view.named(key) {
            None => plan.actions.push(Action::Create {
                resource: MAPS,
                namespace: TRACKING.0.to_owned(),
                object: json!({
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": TRACKING.1, "namespace": TRACKING.0},
                    "data": data,
                }),
            }),
            Some(found) if tracked_since(&found.value()).is_none() => {
                let target = Target::of(MAPS, found.header());
                let changes = vec![Change::Merge(json!({"data": data}))];
                plan.actions.push(Action::Change { target, subresource: None, changes });
            }
            Some(_) => {}
        }
        plan
    }
}

fn tracked_since(map: &Value) -> Option<Seconds> {
    start_of(access::text(map, &["data", SINCE]))
}

impl Controller for UnusedTokenCleaner {
    const NAME: &'static str = "legacy-serviceaccount-token-cleaner-controller";
    const SERVICE_ACCOUNT: &'static str = "legacy-service-account-token-cleaner";

    fn inputs(&self) -> Vec<Input> {
        vec![
            Input::headers("", "secrets"),
            Input::headers("", "serviceaccounts"),
            Input::headers("", "configmaps"),
            Input::views::<Pod>(),
        ]
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        if change.is_of("", "secrets") && !change.is_deletion() && may_have_token(&change.object.object) {
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
        plan.requeue_after(DAY);
        if !is_unused(view, found, &secret) {
            return plan;
        }
        match start_of(access::text(&secret, &["metadata", "labels", INVALID_SINCE])) {
            None => {
                let target = Target::of(SECRETS, found.header());
                let labels = json!({"metadata": {"labels": {INVALID_SINCE: date(view.now)}}});
                let changes = vec![Change::Merge(labels)];
                plan.actions.push(Action::Change { target, subresource: None, changes });
            }
            Some(since) if since < last_day_kept(view) => delete(&mut plan, found),
            Some(_) => {}
        }
        plan
    }
}

/// The start of the first day whose uses keep a token.
fn last_day_kept(view: &View<'_>) -> Seconds {
    let at = view.now - UNUSED_MAX;
    at - at.rem_euclid(DAY)
}

/// Whether a service account lists a Secret whose token has not been used for [`UNUSED_MAX`], and no Pod refers to it.
fn is_unused(view: &View<'_>, found: &CachedObject, secret: &Value) -> bool {
    let (namespace, name) = (&found.header().namespace, &found.header().name);
    let map = view.object(&MAPS, TRACKING.0, TRACKING.1).map(CachedObject::value);
    // Uses before the first whole day of tracking have left no label.
    let tracked = map.as_ref().and_then(tracked_since).is_some_and(|at| at + DAY + UNUSED_MAX <= view.now);
    let created = seconds(access::text(secret, &["metadata", "creationTimestamp"]));
    if !tracked || created.is_none_or(|at| at >= view.now - UNUSED_MAX) {
        return false;
    }
    let is_old = match access::text(secret, &["metadata", "labels", LAST_USED]) {
        "" => true,
        day => start_of(day).is_some_and(|day| day < last_day_kept(view)),
    };
    let uid = annotation(secret, ACCOUNT_UID);
    let account = view.object(&ACCOUNTS, namespace, annotation(secret, ACCOUNT_NAME));
    let is_listed = || {
        account
            .filter(|account| uid.is_empty() || account.header().uid == uid)
            .is_some_and(|account| lists(&account.value(), name))
    };
    let is_mounted = || {
        let mut pods = view.in_namespace(&served("", "pods"), namespace);
        pods.any(|pod| References::of_any(&pod.value()).secrets.contains(name.as_str()))
    };
    is_old && is_listed() && !is_mounted()
}

#[cfg(test)]
#[path = "secret_tokens/tests.rs"]
mod tests;
