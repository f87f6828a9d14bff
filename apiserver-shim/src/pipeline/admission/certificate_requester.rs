//! A CertificateSigningRequest records who created it, whatever the client wrote: signers and approvers rely on it. Its
//! conditions get times. Upstream does both in the strategy of the kind, which has user and time there.

use async_trait::async_trait;
use serde_json::{Map, Value};
use shim_model::access;
use shim_model::status::Status;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::auth::authentication::User;
use crate::storage::registry::now;

pub(super) struct CertificateRequester;

#[async_trait]
impl AdmissionPlugin for CertificateRequester {
    fn name(&self) -> &'static str {
        "CertificateRequester"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        let part = (attributes.operation, attributes.subresource);
        matches!(part, (Operation::Create, "") | (Operation::Update, "status" | "approval"))
            && attributes.resource.is("certificates.k8s.io", "certificatesigningrequests")
    }

    async fn admit(
        &self,
        context: &RequestContext,
        attributes: &mut Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let old = attributes.old_object;
        match (&mut attributes.object, old) {
            (Some(request), None) => record(request, &context.user),
            (Some(request), Some(old)) => set_times(request, old, &now().to_rfc3339()),
            (None, _) => {}
        }
        Ok(())
    }
}

fn record(request: &mut Value, user: &User) {
    let extra: Map<String, Value> =
        user.extra.iter().map(|(key, values)| (key.clone(), values.clone().into())).collect();
    let members: [(&str, Value); 4] = [
        ("username", user.name.as_str().into()),
        ("uid", user.uid.as_str().into()),
        ("groups", user.groups.clone().into()),
        ("extra", extra.into()),
    ];
    let spec = access::object_mut(request, &["spec"]);
    for (name, value) in members {
        spec.remove(name);
        if !access::is_zero(&value) {
            spec.insert(name.to_owned(), value);
        }
    }
}

/// A condition without times gets them; that of an unchanged status keeps the time of its transition.
fn set_times(request: &mut Value, old: &Value, now: &str) {
    let before = access::list(old, &["status", "conditions"]);
    for condition in access::list_mut(request, &["status", "conditions"]).into_iter().flatten() {
        let same = |other: &&Value| ["type", "status"].iter().all(|k| other.get(*k) == condition.get(*k));
        let since = before.iter().find(same).map_or("", |c| access::text(c, &["lastTransitionTime"]));
        let since = if since.is_empty() { now } else { since }.to_owned();
        let condition = access::as_object(condition);
        access::set_if_zero(condition, "lastTransitionTime", since);
        access::set_if_zero(condition, "lastUpdateTime", now);
    }
}
