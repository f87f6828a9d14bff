//! Bodies of custom resources that name another version than the path. They are refused; but as upstream, fields that their own version
//! does not have are told first.

use serde_json::Value;
use shim_model::access;
use shim_model::resource::split_api_version;
use shim_model::schema::{self, Media, Strictness};
use shim_model::status::{self, Status};

use super::objects::ResourceRequest;
use crate::pipeline::RequestContext;

/// Warns about unknown fields of a refused body, or returns the error that comes before the refusal.
pub fn check(
    request: &ResourceRequest<'_>,
    (bytes, media): (&[u8], Media),
    context: &RequestContext,
) -> Option<Status> {
    let wanted = request.resource.object_type.kind();
    let body = schema::decode_untyped(bytes, media, wanted).ok()?;
    let (api_version, kind) = (access::text(&body, &["apiVersion"]), access::text(&body, &["kind"]));
    let (group, version) = split_api_version(api_version);
    if group != wanted.group || version == wanted.version || kind != wanted.kind {
        return None;
    }
    let row =
        request.catalog.iter().find(|row| row.is(group, &request.resource.plural) && row.version == version);
    if let Some(row) = row {
        return match schema::decode(bytes, media, &row.object_type, context.strictness) {
            Ok(decoded) => {
                decoded.warnings.into_iter().for_each(|warning| context.warn(warning));
                None
            }
            Err(refusal) => Some(refusal),
        };
    }
    let unknown = unknown_members(&body);
    match context.strictness {
        Strictness::Ignore => None,
        Strictness::Warn => {
            unknown.into_iter().for_each(|warning| context.warn(warning));
            None
        }
        Strictness::Strict if unknown.is_empty() => None,
        Strictness::Strict => Some(status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {}",
            unknown.join(", ")
        ))),
    }
}

/// What is said about the members of an object of an unknown version.
fn unknown_members(body: &Value) -> Vec<String> {
    let members = body.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let mut unknown: Vec<&str> =
        members.filter(|name| !matches!(*name, "apiVersion" | "kind" | "metadata")).collect();
    unknown.sort_unstable();
    unknown.into_iter().map(|name| format!("unknown field \"{name}\"")).collect()
}
