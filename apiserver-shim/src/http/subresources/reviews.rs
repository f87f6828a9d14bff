//! Reviews, such as SubjectAccessReview and TokenReview: virtual resources that answer a create request in their
//! status. Nothing is stored.

use serde_json::{Value, json};
use shim_core::authorization::review as rules;
use shim_core::authorization::{AccessRequest, RequestedResource};
use shim_model::access;
use shim_model::managed_fields::{self, OneVersion, ResetFields, Writer};
use shim_model::status::{self, Status};

use crate::auth::authentication::User;
use crate::http::body::{self, Body, Response};
use crate::http::negotiation::{self, Shape};
use crate::http::objects::ResourceRequest;
use crate::http::service::Api;
use crate::http::{reply, shapes};
use crate::pipeline::{self, Operation, Preconditions};
use crate::storage::registry::now;

/// Answers a review.
pub async fn serve(api: &Api, asked: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    if asked.verb != "create" {
        return Err(status::method_not_allowed());
    }
    let accepted = asked.accepted()?;
    let context = asked.write_context("CreateOptions")?;
    let resource = asked.resource;
    let (ty, metadata) = (&resource.object_type, &["metadata"]);
    negotiation::body_media(asked.headers)?;
    let bytes = body::read(body).await?;
    let decoded = asked.decode(&bytes, ty, &context)?;
    decoded.warnings.into_iter().for_each(|warning| context.warn(warning));
    let mut review = decoded.value;
    let now = now();
    if resource.namespaced && access::text(&review, &["metadata", "namespace"]).is_empty() {
        let namespace = asked.target.namespace.as_str();
        access::object_mut(&mut review, metadata).insert("namespace".into(), namespace.into());
    }
    if resource.plural == "selfsubjectreviews" {
        // As upstream, the answer is a new object.
        let metadata = access::object_mut(&mut review, metadata);
        metadata.clear();
        metadata.insert("creationTimestamp".into(), now.to_rfc3339().into());
    } else {
        let reset = ResetFields::default();
        let manager = &context.field_manager;
        let writer = Writer { manager, ty, subresource: "", now, reset, versions: &OneVersion };
        managed_fields::record_update(None, &mut review, writer);
    }
    let mut attributes = pipeline::Attributes::new(Operation::Create, resource, &asked.target.namespace);
    attributes.object = Some(review);
    // Reviews are not stored, so preconditions that plugins add have no effect.
    let admitted = api.pipeline.admit_only(&context, attributes, &mut Preconditions::default()).await?;
    let mut review = admitted.unwrap_or_default();
    let answer = match resource.plural.as_str() {
        "selfsubjectreviews" => json!({"userInfo": asked.context.user.to_value()}),
        "tokenreviews" => token_review(api, &review).await?,
        "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews" => {
            let errors = rules::validate(&resource.plural, &review);
            if !errors.is_empty() {
                return Err(status::invalid("authorization.k8s.io", "", "", &errors));
            }
            let user = match resource.plural.as_str() {
                "selfsubjectaccessreviews" => User::clone(&asked.context.user),
                _ => subject(&review),
            };
            access_review(api, &user, &review).await
        }
        "selfsubjectrulesreviews" => {
            let answer = rules_review(api, &asked.context.user, &review)?;
            // As upstream, the answer is a new object.
            let asked = access::as_object(&mut review);
            asked.insert("metadata".into(), json!({}));
            asked.insert("spec".into(), json!({}));
            answer
        }
        _ => return Err(status::unknown_path()),
    };
    access::as_object(&mut review).insert("status".into(), answer);
    match accepted.shape {
        Shape::Object => Ok(reply::value(201, accepted.media, &review)),
        _ => shapes::one_value(201, resource, accepted, asked.query, review),
    }
}

async fn token_review(api: &Api, review: &Value) -> Result<Value, Status> {
    let token = access::text(review, &["spec", "token"]);
    if token.is_empty() {
        return Err(status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = access::list(review, &["spec", "audiences"])
        .iter()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    Ok(match api.authenticator.check_token(token, &audiences).await {
        Ok((user, served)) => json!({"authenticated": true, "user": user.to_value(), "audiences": served}),
        Err(why) => json!({"user": {}, "error": why}),
    })
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn subject(review: &Value) -> User {
    let spec = &review["spec"];
    let text = |key: &str| access::text(spec, &[key]).to_owned();
    let extra = access::entries(spec, &["extra"]).map(|(k, v)| (k.to_owned(), texts(v))).collect();
    User { name: text("user"), groups: texts(&spec["groups"]), uid: text("uid"), extra }
}

async fn access_review(api: &Api, user: &User, review: &Value) -> Value {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |key: &str| access::text(resource, &[key]);
    let selectors = rules::Selectors::of(resource);
    let request = if resource.is_object() {
        let requested = RequestedResource {
            group: text("group"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
            fields: &selectors.fields,
        };
        AccessRequest::resource(text("verb"), requested)
    } else {
        AccessRequest::path(access::text(path, &["verb"]), access::text(path, &["path"]))
    };
    let decision = api.access().decide(user, &request).await;
    let mut out = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        out["reason"] = decision.reason.into();
    }
    if !selectors.errors.is_empty() {
        out["evaluationError"] = selectors.errors.join("; ").into();
    }
    out
}

fn rules_review(api: &Api, user: &User, review: &Value) -> Result<Value, Status> {
    let namespace = access::text(review, &["spec", "namespace"]);
    if namespace.is_empty() {
        return Err(status::bad_request("no namespace on request"));
    }
    let rules = api.access().rules(user, namespace);
    let mut out = json!({
        "resourceRules": rules.resource_rules,
        "nonResourceRules": rules.path_rules,
        "incomplete": rules.incomplete,
    });
    match rules.errors.as_slice() {
        [] => {}
        [error] => out["evaluationError"] = error.as_str().into(),
        errors => out["evaluationError"] = format!("[{}]", errors.join(", ")).into(),
    }
    Ok(out)
}
