//! Reviews, such as SubjectAccessReview and TokenReview: virtual resources that answer a create request in their
//! status. Nothing is stored.

use serde_json::{Value, json};
use shim_model::access;
use shim_model::field::FieldError;
use shim_model::managed_fields::{self, Writer};
use shim_model::status::{self, Status};

use crate::auth::authentication::User;
use crate::auth::authorization::Attributes;
use crate::http::body::{self, Body, Response};
use crate::http::objects::ResourceRequest;
use crate::http::service::Api;
use crate::http::{negotiation, reply};
use crate::pipeline::{self, Operation, Preconditions};
use crate::request::info::Target;
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
    let mut review = decoded.value;
    let now = now();
    if resource.namespaced && access::text(&review, &["metadata", "namespace"]).is_empty() {
        let namespace = asked.target.namespace.as_str();
        access::object_mut(&mut review, metadata).insert("namespace".into(), namespace.into());
    }
    if resource.plural == "selfsubjectreviews" {
        access::object_mut(&mut review, metadata).insert("creationTimestamp".into(), now.to_rfc3339().into());
    } else {
        let writer =
            Writer { manager: &context.field_manager, ty, subresource: "", now, reset: &[&["status"]] };
        managed_fields::record_update(None, &mut review, writer);
    }
    let mut attributes = pipeline::Attributes::new(Operation::Create, resource, &asked.target.namespace);
    attributes.object = Some(review);
    // Reviews are not stored, so preconditions that plugins add have no effect.
    let admitted = api.pipeline.admit_only(&context, attributes, &mut Preconditions::default()).await?;
    let mut review = admitted.unwrap_or_default();
    let answer = match resource.plural.as_str() {
        "selfsubjectreviews" => json!({"userInfo": asked.context.user.to_value()}),
        "tokenreviews" => token_review(api, &review)?,
        "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews" => {
            check_access_review(&resource.plural, &review)?;
            let user = match resource.plural.as_str() {
                "selfsubjectaccessreviews" => User::clone(&asked.context.user),
                _ => subject(&review),
            };
            access_review(api, &user, &review)
        }
        "selfsubjectrulesreviews" => rules_review(api, &asked.context.user, &review)?,
        _ => return Err(status::unknown_path()),
    };
    access::as_object(&mut review).insert("status".into(), answer);
    let mut response = reply::value(201, accepted.media, &review);
    reply::add_warnings(&mut response, &decoded.warnings);
    Ok(response)
}

/// Validates the spec of an access review.
fn check_access_review(plural: &str, review: &Value) -> Result<(), Status> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut errors = Vec::new();
    match (resource.is_object(), path.is_object()) {
        (true, true) => errors.push(FieldError::invalid_shown(
            "spec.nonResourceAttributes",
            shown_path(path),
            "cannot be specified in combination with resourceAttributes",
        )),
        (false, false) => errors.push(FieldError::invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let nobody = access::text(spec, &["user"]).is_empty() && access::list(spec, &["groups"]).is_empty();
    if plural != "selfsubjectaccessreviews" && nobody {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "", why));
    }
    if plural == "localsubjectaccessreviews" {
        let asked = access::text(resource, &["namespace"]);
        if resource.is_object() && asked != access::text(review, &["metadata", "namespace"]) {
            let field = "spec.resourceAttributes.namespace";
            errors.push(FieldError::invalid(field, asked, "must match metadata.namespace"));
        }
        if path.is_object() {
            let why = "disallowed on this kind of request";
            errors.push(FieldError::invalid_shown("spec.nonResourceAttributes", shown_path(path), why));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(status::invalid("authorization.k8s.io", "", "", &errors)) }
}

/// Non-resource attributes as upstream prints them, with Go's member names.
fn shown_path(path: &Value) -> String {
    let (at, verb) = (access::text(path, &["path"]), access::text(path, &["verb"]));
    json!({"Path": at, "Verb": verb}).to_string()
}

fn token_review(api: &Api, review: &Value) -> Result<Value, Status> {
    let token = access::text(review, &["spec", "token"]);
    if token.is_empty() {
        return Err(status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = access::list(review, &["spec", "audiences"])
        .iter()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    Ok(match api.authenticator.check_token(token, &audiences) {
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

fn access_review(api: &Api, user: &User, review: &Value) -> Value {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |key: &str| access::text(resource, &[key]).to_owned();
    let target = Target {
        group: text("group"),
        version: text("version"),
        namespace: text("namespace"),
        plural: text("resource"),
        subresource: text("subresource"),
        name: text("name"),
        rest: None,
    };
    let attributes = if resource.is_object() {
        Attributes { verb: access::text(resource, &["verb"]), path: "", target: Some(&target) }
    } else {
        Attributes { verb: access::text(path, &["verb"]), path: access::text(path, &["path"]), target: None }
    };
    let (allowed, reason) = api.authorizer.authorize(user, &attributes);
    let mut out = json!({"allowed": allowed});
    if !reason.is_empty() {
        out["reason"] = reason.into();
    }
    out
}

fn rules_review(api: &Api, user: &User, review: &Value) -> Result<Value, Status> {
    let namespace = access::text(review, &["spec", "namespace"]);
    if namespace.is_empty() {
        return Err(status::bad_request("no namespace on request"));
    }
    let rules = api.authorizer.rules(user, namespace);
    Ok(
        json!({"resourceRules": rules.resource_rules, "nonResourceRules": rules.path_rules, "incomplete": false}),
    )
}
