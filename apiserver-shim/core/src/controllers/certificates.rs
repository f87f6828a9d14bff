//! The controllers of CertificateSigningRequests: one approves those of nodes that may have them, one signs what is approved, one
//! deletes old ones.

use std::sync::Arc;

use serde_json::{Value, json};
use shim_model::resource::GroupResource;
use shim_model::{access, base64};

use super::{
    Action, Change, Controller, Input, Keys, ObjectChange, ObjectName, Plan, Propagation, Target, View,
    condition, served,
};
use crate::authorization::index::Binding;
use crate::authorization::{AccessRequest, PolicyRule, RbacIndex, RequestedResource, Subject};
use crate::certificates::{CertificateSigner, approvals, check, request_of, usages_of, validity};
use crate::kinds::rbac;
use crate::rows::{Seconds, rfc3339, seconds};

/// Approves requests of nodes.
#[derive(Debug)]
pub struct CertificateApprover {
    /// Reads requests.
    pub signer: Arc<dyn CertificateSigner>,
}

/// Signs approved requests.
#[derive(Debug)]
pub struct CertificateSigning {
    /// Signs.
    pub signer: Arc<dyn CertificateSigner>,
}

/// Deletes old requests.
#[derive(Debug)]
pub struct CertificateCleaner {
    /// Reads certificates.
    pub signer: Arc<dyn CertificateSigner>,
}

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: GroupResource = served(GROUP, "certificatesigningrequests");
const ROLES: GroupResource = served(rbac::GROUP, "clusterroles");
const BINDINGS: GroupResource = served(rbac::GROUP, "clusterrolebindings");
const ACCOUNT: &str = "certificate-controller";
/// How long decided requests stay (upstream's).
const DECIDED: Seconds = 3600;
/// How long undecided requests stay, and approved ones without a certificate (upstream's).
const PENDING: Seconds = 24 * 3600;

fn inputs() -> Vec<Input> {
    vec![Input::headers(GROUP, "certificatesigningrequests")]
}

/// Whether the request has this condition, and it is not false.
fn has(object: &Value, kind: &str) -> bool {
    condition(&object["status"], kind).is_some_and(|found| access::text(found, &["status"]) != "False")
}

fn is_issued(object: &Value) -> bool {
    !access::text(object, &["status", "certificate"]).is_empty()
}

impl Controller for CertificateApprover {
    const NAME: &'static str = "certificatesigningrequest-approving-controller";
    const SERVICE_ACCOUNT: &'static str = ACCOUNT;

    fn inputs(&self) -> Vec<Input> {
        let roles = ["clusterroles", "clusterrolebindings"].map(|plural| Input::headers(rbac::GROUP, plural));
        inputs().into_iter().chain(roles).collect()
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        if change.is_of(GROUP, "certificatesigningrequests") {
            keys.insert(change.name());
        }
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(found) = view.named(key) else { return plan };
        let object = found.value();
        if is_issued(&object) || has(&object, "Approved") || has(&object, "Denied") {
            return plan;
        }
        let Ok(asked) = self.signer.read(&request_of(&object)) else { return plan };
        let mut tried = approvals(&object, &asked).peekable();
        if tried.peek().is_none() {
            return plan;
        }
        let index = index_of(view);
        let Some((_, message)) = tried.find(|(subresource, _)| may_create(&index, &object, subresource))
        else {
            return plan;
        };
        let condition =
            json!({"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message});
        plan.actions.push(with_condition(found.header(), &object, condition, "approval"));
        plan
    }
}

/// The cluster-wide bindings and their roles. Requests of nodes are rare, so they are read for each.
fn index_of(view: &View<'_>) -> RbacIndex {
    let mut index = RbacIndex::default();
    for role in view.in_namespace(&ROLES, "") {
        index.put_role("", &role.header().name, PolicyRule::all_of(&role.value()));
    }
    for binding in view.in_namespace(&BINDINGS, "") {
        index.put_binding(Binding::of(&binding.value()));
    }
    index
}

fn may_create(index: &RbacIndex, object: &Value, subresource: &str) -> bool {
    let groups: Vec<String> = access::list(object, &["spec", "groups"])
        .iter()
        .filter_map(|g| g.as_str().map(str::to_owned))
        .collect();
    let subject = Subject { name: access::text(object, &["spec", "username"]), groups: &groups };
    let resource = RequestedResource {
        group: GROUP,
        resource: "certificatesigningrequests",
        subresource,
        ..RequestedResource::default()
    };
    index.decide(&subject, &AccessRequest::resource("create", resource)).is_ok()
}

fn with_condition(
    header: &shim_model::object::Header,
    object: &Value,
    condition: Value,
    subresource: &'static str,
) -> Action {
    let mut all = access::list(object, &["status", "conditions"]).to_vec();
    all.push(condition);
    let target = Target::of(REQUESTS, header);
    let changes = vec![Change::Put(&["status", "conditions"], all.into())];
    Action::Change { target, subresource: Some(subresource), changes }
}

impl Controller for CertificateSigning {
    const NAME: &'static str = "certificatesigningrequest-signing-controller";
    const SERVICE_ACCOUNT: &'static str = ACCOUNT;

    fn inputs(&self) -> Vec<Input> {
        inputs()
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        keys.insert(change.name());
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(found) = view.named(key) else { return plan };
        let object = found.value();
        let waits = has(&object, "Approved") && !has(&object, "Denied") && !has(&object, "Failed");
        if !waits || is_issued(&object) {
            return plan;
        }
        let (request, usages) = (request_of(&object), usages_of(&object));
        let signer = access::text(&object, &["spec", "signerName"]);
        let Ok(asked) = self.signer.read(&request) else { return plan };
        let signed = match check(signer, &asked, &usages) {
            None => return plan,
            Some(Ok(())) => {
                let times = validity(access::int(&object, &["spec", "expirationSeconds"]), view.now);
                self.signer.sign(&request, &usages, times)
            }
            Some(Err(why)) => Err(why),
        };
        plan.actions.push(match signed {
            Ok(certificate) => {
                let target = Target::of(REQUESTS, found.header());
                let encoded = base64::encode(certificate.as_bytes()).into();
                let changes = vec![Change::Put(&["status", "certificate"], encoded)];
                Action::Change { target, subresource: Some("status"), changes }
            }
            Err(why) => {
                let now = rfc3339(view.now);
                let condition = json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure",
                    "message": why, "lastUpdateTime": now, "lastTransitionTime": now});
                with_condition(found.header(), &object, condition, "status")
            }
        });
        plan
    }
}

impl Controller for CertificateCleaner {
    const NAME: &'static str = "certificatesigningrequest-cleaner-controller";
    const SERVICE_ACCOUNT: &'static str = ACCOUNT;

    fn inputs(&self) -> Vec<Input> {
        inputs()
    }

    fn keys(&self, change: &ObjectChange, _: &View<'_>, keys: &mut Keys) {
        keys.insert(change.name());
    }

    fn reconcile(&self, view: &View<'_>, key: &ObjectName) -> Plan {
        let mut plan = Plan::default();
        let Some(found) = view.named(key) else { return plan };
        let due = self.due(&found.value(), view.now);
        if due > view.now {
            plan.requeue_after(due - view.now);
        } else {
            let target = Target::of(REQUESTS, found.header());
            let propagation = Propagation::Background;
            plan.actions.push(Action::Delete { target, propagation, grace_seconds: None });
        }
        plan
    }
}

impl CertificateCleaner {
    /// When a request is deleted: some time after it was decided, or when its certificate ends.
    fn due(&self, object: &Value, now: Seconds) -> Seconds {
        let time = |value: Option<&Value>| value.and_then(Value::as_str).and_then(seconds).unwrap_or(now);
        let since =
            |kind: &str| condition(&object["status"], kind).map(|found| time(found.get("lastUpdateTime")));
        let issued = is_issued(object);
        let certificate =
            base64::decode(access::text(object, &["status", "certificate"])).unwrap_or_default();
        let ends = [
            since("Denied").map(|at| at + DECIDED),
            since("Failed").map(|at| at + DECIDED),
            since("Approved").map(|at| at + if issued { DECIDED } else { PENDING }),
            since("Approved").filter(|_| issued).and_then(|_| self.signer.end(&certificate)),
        ];
        let undecided = || time(access::get(object, &["metadata", "creationTimestamp"])) + PENDING;
        ends.into_iter().flatten().min().unwrap_or_else(undecided) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::{API_CLIENT, KUBELET_CLIENT, RequestedCertificate};
    use crate::controllers::Registration;
    use crate::testing::TestCluster;

    /// Requests are `common name/organization`; certificates say what was signed.
    #[derive(Debug)]
    struct Plain;

    impl CertificateSigner for Plain {
        fn read(&self, request: &[u8]) -> Result<RequestedCertificate, String> {
            let text = String::from_utf8_lossy(request);
            let (name, organization) = text.split_once('/').ok_or("not a request")?;
            let organizations = vec![organization.to_owned()];
            Ok(RequestedCertificate { common_name: name.to_owned(), organizations, ..Default::default() })
        }

        fn sign(&self, request: &[u8], usages: &[&str], times: (Seconds, Seconds)) -> Result<String, String> {
            Ok(format!("{} {usages:?} {times:?}", String::from_utf8_lossy(request)))
        }

        fn end(&self, _: &[u8]) -> Option<Seconds> {
            Some(1_500)
        }
    }

    fn controllers() -> [Registration; 2] {
        let signer: Arc<dyn CertificateSigner> = Arc::new(Plain);
        [
            Registration::new(CertificateApprover { signer: signer.clone() }),
            Registration::new(CertificateSigning { signer }),
        ]
    }

    fn cluster(signer: &str, request: &str, conditions: Value) -> TestCluster {
        let mut cluster = TestCluster { now: 1_000, ..TestCluster::default() };
        cluster.add(
            REQUESTS,
            json!({"metadata": {"name": "csr"}, "spec": {"signerName": signer, "request": base64::encode(request.as_bytes()),
                "usages": ["client auth", "digital signature"], "username": "system:node:a", "groups": ["system:nodes"],
                "expirationSeconds": 600}, "status": {"conditions": conditions}}),
        );
        cluster
    }

    fn outcome(cluster: &mut TestCluster) -> String {
        cluster.run(&controllers());
        let object = cluster.all("certificatesigningrequests")[0].clone();
        let kinds =
            access::list(&object, &["status", "conditions"]).iter().map(|c| access::text(c, &["type"]));
        let certificate = base64::decode(access::text(&object, &["status", "certificate"])).unwrap();
        format!("{:?} {}", kinds.collect::<Vec<_>>(), String::from_utf8(certificate).unwrap())
    }

    #[test]
    fn an_approved_request_is_signed() {
        let approved = json!([{"type": "Approved", "status": "True"}]);
        let mut cluster = cluster(API_CLIENT, "jane/dev", approved);
        assert_eq!(
            outcome(&mut cluster),
            r#"["Approved"] jane/dev ["client auth", "digital signature"] (700, 1600)"#
        );
    }

    #[test]
    fn what_the_signer_refuses_fails() {
        let approved = json!([{"type": "Approved", "status": "True"}]);
        let mut refused = cluster(KUBELET_CLIENT, "jane/dev", approved.clone());
        assert_eq!(outcome(&mut refused), r#"["Approved", "Failed"] "#);
        let mut foreign = cluster("example.com/own", "jane/dev", approved);
        assert_eq!(outcome(&mut foreign), r#"["Approved"] "#);
        assert_eq!(outcome(&mut cluster(API_CLIENT, "jane/dev", json!([]))), "[] ");
    }

    #[test]
    fn a_node_is_approved_if_it_may_have_its_certificate() {
        let mut cluster = cluster(KUBELET_CLIENT, "system:node:a/system:nodes", json!([]));
        assert_eq!(outcome(&mut cluster), "[] ");
        let rule = json!({"apiGroups": [GROUP], "resources": ["certificatesigningrequests/selfnodeclient"], "verbs": ["create"]});
        cluster.add(ROLES, json!({"metadata": {"name": "self"}, "rules": [rule]}));
        let subject = json!({"kind": "Group", "name": "system:nodes", "apiGroup": rbac::GROUP});
        cluster.add(
            BINDINGS,
            json!({"metadata": {"name": "self"}, "subjects": [subject],
                "roleRef": {"kind": "ClusterRole", "name": "self", "apiGroup": rbac::GROUP}}),
        );
        assert!(outcome(&mut cluster).starts_with(r#"["Approved"] system:node:a"#));
    }

    #[test]
    fn old_requests_are_deleted() {
        let at = rfc3339;
        let cleaner = CertificateCleaner { signer: Arc::new(Plain) };
        let due = |status: Value| {
            cleaner.due(&json!({"metadata": {"creationTimestamp": at(100)}, "status": status}), 1_000)
        };
        assert_eq!(due(json!({})), 100 + PENDING + 1);
        let condition = |kind| json!([{"type": kind, "status": "True", "lastUpdateTime": at(200)}]);
        assert_eq!(due(json!({"conditions": condition("Denied")})), 200 + DECIDED + 1);
        assert_eq!(due(json!({"conditions": condition("Approved")})), 200 + PENDING + 1);
        let issued = json!({"conditions": condition("Approved"), "certificate": "AAAA"});
        assert_eq!(due(issued), 1_501, "its certificate has ended");
    }
}
