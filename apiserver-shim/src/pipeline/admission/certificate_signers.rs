//! CertificateApproval, CertificateSigning and CertificateSubjectRestriction: who may approve and sign for a signer (the verbs
//! `approve` and `sign` of its name), and that no request for an API client asks for `system:masters`.

use async_trait::async_trait;
use serde_json::Value;
use shim_core::authorization::{AccessRequest, RequestedResource};
use shim_core::certificates::{API_CLIENT, request_of};
use shim_model::access;
use shim_model::go_quote::Quoted;
use shim_model::status::Status;
use shim_pki::SigningRequest;

use super::{AdmissionPlugin, Attributes, Operation, Preconditions, RequestContext};
use crate::auth::authentication::{MASTERS, User};
use crate::auth::authorization::AccessControl;

const GROUP: &str = "certificates.k8s.io";

fn concerns(attributes: &Attributes<'_>, subresource: &str) -> bool {
    attributes.subresource == subresource && attributes.resource.is(GROUP, "certificatesigningrequests")
}

fn signer_of(request: &Value) -> &str {
    access::text(request, &["spec", "signerName"])
}

/// Whether a user has a verb for a signer, or for all signers of its domain.
async fn may(access: &AccessControl, user: &User, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or(signer);
    for name in [signer, &format!("{domain}/*")] {
        let resource =
            RequestedResource { group: GROUP, resource: "signers", name, ..RequestedResource::default() };
        if access.decide(user, &AccessRequest::resource(verb, resource)).await.allowed {
            return true;
        }
    }
    false
}

pub(super) struct CertificateApproval {
    pub access: AccessControl,
}

#[async_trait]
impl AdmissionPlugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && concerns(attributes, "approval")
    }

    async fn validate(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let signer = attributes.old_object.map_or("", signer_of);
        match may(&self.access, &context.user, "approve", signer).await {
            true => Ok(()),
            false => {
                let why =
                    format!("user not permitted to approve requests with signerName {}", Quoted(signer));
                Err(attributes.forbidden(why))
            }
        }
    }
}

pub(super) struct CertificateSigning {
    pub access: AccessControl,
}

#[async_trait]
impl AdmissionPlugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Update && concerns(attributes, "status")
    }

    async fn validate(
        &self,
        context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let (Some(new), Some(old)) = (&attributes.object, attributes.old_object) else { return Ok(()) };
        let same = |key: &str| access::get(new, &["status", key]) == access::get(old, &["status", key]);
        let signer = signer_of(old);
        if same("certificate") && same("conditions") || may(&self.access, &context.user, "sign", signer).await
        {
            return Ok(());
        }
        Err(attributes
            .forbidden(format!("user not permitted to sign requests with signerName {}", Quoted(signer))))
    }
}

pub(super) struct CertificateSubjectRestriction;

#[async_trait]
impl AdmissionPlugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create && concerns(attributes, "")
    }

    async fn validate(
        &self,
        _context: &RequestContext,
        attributes: &Attributes<'_>,
        _preconditions: &mut Preconditions,
    ) -> Result<(), Status> {
        let Some(object) = attributes.object.as_ref().filter(|object| signer_of(object) == API_CLIENT) else {
            return Ok(());
        };
        let asked = SigningRequest::parse(&request_of(object));
        let asked = asked.map_err(|why| attributes.forbidden(format!("failed to parse CSR: {why}")))?;
        match asked.organizations.iter().any(|group| group == MASTERS) {
            true => Err(attributes
                .forbidden(format!("use of {API_CLIENT} signer with {MASTERS} group is not allowed"))),
            false => Ok(()),
        }
    }
}
