//! `serviceaccounts/token`: issues a token that is bound to the account and optionally to a Pod.

use serde_json::{Value, json};
use shim_core::controllers::served;
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::go_quote::Quoted;
use shim_model::managed_fields::{self, OneVersion, ResetFields, Writer};
use shim_model::resource::KindRef;
use shim_model::status::{self, Status};
use shim_model::time::Instant;

use crate::auth::authentication::{BoundObject, TokenSubject};
use crate::http::body::{self, Body, Response};
use crate::http::objects::ResourceRequest;
use crate::http::service::Api;
use crate::http::{negotiation, reply};
use crate::pipeline::{Attributes, Operation, Preconditions};
use crate::storage::object::Object;
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
    super::check_namespace(&request, namespace)?;
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
        secret: None,
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
        reset: ResetFields::default(),
        versions: &OneVersion,
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
    let of = |member: &str| access::text(reference, &[member]);
    let (kind, name) = (of("kind"), of("name"));
    let (plural, namespace) = match (of("apiVersion"), kind) {
        // The core group in any version.
        (version, "Pod") if !version.contains('/') => ("pods", subject.namespace.as_str()),
        (version, "Secret") if !version.contains('/') => ("secrets", subject.namespace.as_str()),
        (version, "Node") if !version.contains('/') => ("nodes", ""),
        (version, kind) => {
            let group = if version.contains('/') { "" } else { "/" };
            let why = format!("cannot bind token to object of type {group}{version}, Kind={kind}");
            return Err(status::bad_request(why));
        }
    };
    let resource = &api.registry.builtin(&served("", plural));
    let object = api.registry.get(resource, namespace, name).await?;
    if kind == "Pod" {
        let value = object.value();
        let account = subject.service_account.name.as_str();
        if access::text(&value, &["spec", "serviceAccountName"]) != account {
            let why = format!(
                "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
                Quoted(account)
            );
            return Err(status::bad_request(why));
        }
    }
    let (wanted, found) = (of("uid"), &object.header().uid);
    if !wanted.is_empty() && wanted != found {
        let mut status = status::conflict(resource, name, "");
        status.message = format!(
            "Operation cannot be fulfilled on {kind} \"{name}\": the UID in the bound object reference ({wanted}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        if let Some(details) = &mut status.details {
            details.kind = kind.into();
        }
        return Err(status);
    }
    let bound = BoundObject { name: name.to_owned(), uid: found.clone() };
    match kind {
        "Pod" => (subject.pod, subject.node) = (Some(bound), node_of(api, &object)),
        "Secret" => subject.secret = Some(bound),
        _ => subject.node = Some(bound),
    }
    Ok(())
}

/// The node of a Pod, whose object may not exist.
fn node_of(api: &Api, pod: &Object) -> Option<BoundObject> {
    let name = pod.field("spec.nodeName").filter(|name| !name.is_empty())?;
    let node = api.registry.peek(served("", "nodes"), "", name);
    let uid = node.map(|node| node.header().uid.clone()).unwrap_or_default();
    Some(BoundObject { name: name.to_owned(), uid })
}
