//! Who may use the node's server: administrators, which the API server is, and others as the API server says. A client has a
//! certificate of the cluster's authority or a bearer token. Nothing is remembered: clients such as metrics-server ask every few
//! seconds, and a right that was taken away ends at once.

use std::collections::BTreeMap;

use executor_core::node_access::NodeRequest;
use http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::{
    authentication::v1::UserInfo,
    authorization::v1::{ResourceAttributes, SubjectAccessReviewSpec},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    api::{Api, ApiError},
    pod::context::NodeContext,
};

/// The group of administrators.
const MASTERS: &str = "system:masters";

/// A refusal: status code and text.
pub(super) type Refusal = (StatusCode, String);

/// The user of a client certificate, which has been verified.
pub(super) fn user_of(der: &[u8]) -> Option<UserInfo> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups = subject.iter_organization().filter_map(|group| Some(group.as_str().ok()?.to_owned()));
    let authenticated = "system:authenticated".to_owned();
    Some(UserInfo {
        username: Some(name.to_owned()),
        groups: Some(groups.chain([authenticated]).collect()),
        ..UserInfo::default()
    })
}

/// Checks that a client may send a request.
///
/// # Errors
/// The refusal.
pub(super) async fn check(
    context: &NodeContext,
    certified: Option<&UserInfo>,
    (method, path, headers): (&str, &str, &HeaderMap),
) -> Result<(), Refusal> {
    let user = match certified {
        Some(user) => user.clone(),
        None => user_of_token(&*context.api, headers).await?,
    };
    if user.groups.iter().flatten().any(|group| group == MASTERS) {
        return Ok(());
    }
    let request = NodeRequest::of(method, path);
    for subresource in request.subresources {
        let asked = review(&user, &context.config.node_name, request.verb, subresource);
        if context.api.review_access(asked).await.map_err(cannot_ask)? {
            return Ok(());
        }
    }
    Err((StatusCode::FORBIDDEN, request.refusal(user.username.as_deref().unwrap_or_default())))
}

async fn user_of_token(api: &dyn Api, headers: &HeaderMap) -> Result<UserInfo, Refusal> {
    let refused = || (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
    let value =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(refused)?;
    let (scheme, token) = value.split_once(' ').ok_or_else(refused)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(refused());
    }
    api.review_token(token).await.map_err(cannot_ask)?.ok_or_else(refused)
}

fn review(user: &UserInfo, node: &str, verb: &str, subresource: &str) -> SubjectAccessReviewSpec {
    let UserInfo { extra, groups, uid, username } = user.clone();
    let attributes = ResourceAttributes {
        name: Some(node.to_owned()),
        resource: Some("nodes".to_owned()),
        subresource: Some(subresource.to_owned()),
        verb: Some(verb.to_owned()),
        version: Some("v1".to_owned()),
        ..ResourceAttributes::default()
    };
    SubjectAccessReviewSpec {
        extra: extra.map(BTreeMap::from_iter),
        groups,
        resource_attributes: Some(attributes),
        uid,
        user: username,
        ..SubjectAccessReviewSpec::default()
    }
}

/// A client may try again when the API server answers.
fn cannot_ask(error: ApiError) -> Refusal {
    tracing::warn!(%error, "cannot check who may use the node's server");
    (StatusCode::INTERNAL_SERVER_ERROR, format!("Authorization error: {error}\n"))
}
