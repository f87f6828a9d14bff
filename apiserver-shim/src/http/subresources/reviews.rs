//! Reviews: questions that are asked by creating an object, and answered in its status. Nothing is stored.

use serde_json::{Value, json};
use shim_model::access;
use shim_model::schema::Media;
use shim_model::status::{self, Status};

use crate::authentication::User;
use crate::authorization::Attributes;
use crate::http::body::{self, Body, Response};
use crate::http::objects::ResourceRequest;
use crate::http::request_info::Target;
use crate::http::{negotiation, reply};
use crate::registry::now;
use crate::service::Api;

/// Whether a resource is a review.
pub fn is_review(group: &str) -> bool {
    matches!(group, "authentication.k8s.io" | "authorization.k8s.io")
}

/// Answers a review.
pub async fn serve(api: &Api, asked: &ResourceRequest<'_>, body: Body) -> Result<Response, Status> {
    if asked.verb != "create" {
        return Err(status::method_not_allowed());
    }
    let accepted = asked.accepted()?;
    let mut review = decode(asked, body).await?;
    let resource = asked.resource;
    let answer = match resource.plural {
        "selfsubjectreviews" => json!({"userInfo": asked.user.to_value()}),
        "tokenreviews" => token_review(api, &review),
        "selfsubjectaccessreviews" => access_review(api, asked.user, &review)?,
        "subjectaccessreviews" | "localsubjectaccessreviews" => {
            access_review(api, &subject(&review)?, &review)?
        }
        "selfsubjectrulesreviews" => rules_review(api, asked.user, &review)?,
        _ => return Err(status::unknown_path()),
    };
    let members = access::as_object(&mut review);
    members.insert("apiVersion".into(), resource.api_version().into());
    members.insert("kind".into(), resource.kind.into());
    members.insert("status".into(), answer);
    let metadata = access::object_mut(&mut review, &["metadata"]);
    if resource.plural == "selfsubjectreviews" {
        metadata.insert("creationTimestamp".into(), now().to_rfc3339().into());
    }
    Ok(reply::value(201, accepted.media, &review))
}

async fn decode(asked: &ResourceRequest<'_>, body: Body) -> Result<Value, Status> {
    let media = negotiation::body_media(asked.headers)?;
    let bytes = body::read(body).await?;
    let refuse = |why: String| {
        let kind = asked.resource.kind;
        status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why}"))
    };
    let value: Value = match media {
        Media::Json => serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?,
        Media::Yaml => serde_yaml_ng::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?,
    };
    if value.is_object() { Ok(value) } else { Err(refuse("it is no object".to_owned())) }
}

fn token_review(api: &Api, review: &Value) -> Value {
    let token = access::text(review, &["spec", "token"]);
    let audiences: Vec<String> = access::list(review, &["spec", "audiences"])
        .iter()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    match api.authenticator.check_token(token, &audiences) {
        Ok((user, served)) => json!({"authenticated": true, "user": user.to_value(), "audiences": served}),
        Err(why) => json!({"user": {}, "error": why}),
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn subject(review: &Value) -> Result<User, Status> {
    let spec = &review["spec"];
    let name = access::text(spec, &["user"]).to_owned();
    let groups = texts(&spec["groups"]);
    if name.is_empty() && groups.is_empty() {
        return Err(status::bad_request("at least one of user or group must be specified"));
    }
    let extra = access::entries(spec, &["extra"]).map(|(k, v)| (k.to_owned(), texts(v))).collect();
    Ok(User { name, groups, uid: access::text(spec, &["uid"]).to_owned(), extra })
}

fn access_review(api: &Api, user: &User, review: &Value) -> Result<Value, Status> {
    let spec = &review["spec"];
    let text = |of: &Value, key: &str| access::text(of, &[key]).to_owned();
    let attributes = match (&spec["resourceAttributes"], &spec["nonResourceAttributes"]) {
        (resource, _) if resource.is_object() => Attributes {
            verb: text(resource, "verb"),
            path: String::new(),
            target: Some(Target {
                group: text(resource, "group"),
                version: text(resource, "version"),
                namespace: text(resource, "namespace"),
                plural: text(resource, "resource"),
                subresource: text(resource, "subresource"),
                name: text(resource, "name"),
                rest: None,
            }),
        },
        (_, path) if path.is_object() => {
            Attributes { verb: text(path, "verb"), path: text(path, "path"), target: None }
        }
        _ => {
            let message = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(status::bad_request(message));
        }
    };
    let (allowed, reason) = api.authorizer.authorize(user, &attributes);
    let mut out = json!({"allowed": allowed});
    if !reason.is_empty() {
        out["reason"] = reason.into();
    }
    Ok(out)
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
