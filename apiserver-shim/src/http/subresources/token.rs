//! `serviceaccounts/token`: issues a token that is bound to the account and optionally to a Pod.

use serde_json::{Value, json};
use shim_core::controllers::served;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::managed_fields::{self, Writer};
use shim_model::resource::KindRef;
use shim_model::status::{self, Status};
use shim_model::time::Instant;

use crate::auth::authentication::{BoundObject, TokenSubject};
use crate::http::body::{self, Body, Response};
use crate::http::objects::ResourceRequest;
use crate::http::service::Api;
use crate::http::{negotiation, reply};
use crate::pipeline::{Attributes, Operation, Preconditions};
use crate::storage::registry::now;

const TOKEN_REQUEST: KindRef<'_> =
    KindRef { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" };
/// The default lifetime.
const SECONDS_DEFAULT: i64 = 3600;
/// The minimum lifetime that may be requested.
const SECONDS_MIN: i64 = 600;
/// The maximum lifetime that may be requested.
const SECONDS_MAX: i64 = 1 << 32;

pub(super) async fn serve(api: &Api, asked: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    let accepted = asked.accepted()?;
    let context = asked.write_context("CreateOptions")?;
    negotiation::body_media(asked.headers)?;
    let bytes = body::read(body).await?;
    let mut request = asked.decode(&bytes, asked.subresource_type()?, &context)?.value;
    let (namespace, name) = (&asked.target.namespace, &asked.target.name);
    let account = api.registry.get(asked.resource, namespace, name).await?;
    let mut attributes = Attributes::new(Operation::Create, asked.resource, namespace);
    (attributes.name, attributes.subresource, attributes.kind) = (name, "token", TOKEN_REQUEST);
    attributes.object = Some(request);
    // Tokens are not stored, so preconditions that plugins add have no effect.
    let admitted = api.pipeline.admit_only(&context, attributes, &mut Preconditions::default()).await?;
    request = admitted.unwrap_or_default();
    let seconds = seconds(&request)?;
    let audiences = audiences(&request);
    let uid = account.header().uid.clone();
    let mut subject = TokenSubject {
        namespace: namespace.clone(),
        service_account: BoundObject { name: name.clone(), uid },
        pod: None,
        node: None,
    };
    bind(api, &request, &mut subject).await?;
    let issued = now().seconds();
    let token = api.authenticator.issue(subject, audiences.clone(), issued, seconds)?;
    access::object_mut(&mut request, &["spec"]).insert("expirationSeconds".into(), seconds.into());
    let at = Instant::from_seconds(issued);
    let writer = Writer {
        manager: &context.field_manager,
        ty: asked.subresource_type()?,
        subresource: "token",
        now: at,
        reset: &[],
    };
    managed_fields::record_update(None, &mut request, writer);
    let spec = access::object_mut(&mut request, &["spec"]);
    spec.insert("audiences".into(), json!(audiences));
    spec.entry("boundObjectRef").or_insert(Value::Null);
    let metadata = access::object_mut(&mut request, &["metadata"]);
    metadata.insert("name".into(), name.as_str().into());
    metadata.insert("namespace".into(), namespace.as_str().into());
    metadata.insert("creationTimestamp".into(), at.to_rfc3339().into());
    request["status"] = json!({
        "token": token,
        "expirationTimestamp": Instant::from_seconds(issued + seconds).to_rfc3339(),
    });
    Ok(reply::value(201, accepted.media, &request))
}

fn seconds(request: &Value) -> Result<i64, Status> {
    let Some(asked) = access::int(request, &["spec", "expirationSeconds"]) else {
        return Ok(SECONDS_DEFAULT);
    };
    let why = if asked < SECONDS_MIN {
        "may not specify a duration less than 10 minutes"
    } else if asked > SECONDS_MAX {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(asked);
    };
    let error = FieldError::invalid("spec.expirationSeconds", asked, why);
    Err(status::invalid(TOKEN_REQUEST.group, TOKEN_REQUEST.kind, "", &[error]))
}

fn audiences(request: &Value) -> Vec<String> {
    let asked: Vec<String> = access::list(request, &["spec", "audiences"])
        .iter()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    if asked.is_empty() { vec![crate::auth::authentication::DEFAULT_AUDIENCE.to_owned()] } else { asked }
}

/// Looks up the object that the token is to be bound to.
async fn bind(api: &Api, request: &Value, subject: &mut TokenSubject) -> Result<(), Status> {
    let reference = &request["spec"]["boundObjectRef"];
    if reference.is_null() {
        return Ok(());
    }
    let kind = access::text(reference, &["kind"]);
    if kind != "Pod" || access::text(reference, &["apiVersion"]) != "v1" {
        return Err(status::bad_request(format!("cannot bind token to object of type {kind}")));
    }
    let name = access::text(reference, &["name"]);
    let pods = &api.registry.builtin(&served("", "pods"));
    let pod = api.registry.get(pods, &subject.namespace, name).await?;
    let (wanted, found) = (access::text(reference, &["uid"]), &pod.header().uid);
    if !wanted.is_empty() && wanted != found {
        let mut status = status::conflict(pods, name, "");
        status.message = format!(
            "Operation cannot be fulfilled on Pod \"{name}\": the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        if let Some(details) = &mut status.details {
            details.kind = "Pod".into();
        }
        return Err(status);
    }
    subject.pod = Some(BoundObject { name: name.to_owned(), uid: found.clone() });
    if let Some(node) = pod.field("spec.nodeName").filter(|n| !n.is_empty()) {
        let uid = api
            .registry
            .peek(served("", "nodes"), "", node)
            .map(|n| n.header().uid.clone())
            .unwrap_or_default();
        subject.node = Some(BoundObject { name: node.to_owned(), uid });
    }
    Ok(())
}
