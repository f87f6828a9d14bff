//! `/statusz` and `/flagz` of the API server. What they say is in `exposition::zpages`.

use std::collections::BTreeMap;

use exposition::zpages::{self, AVAILABLE, Form, Page, Version, Wanted};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use shim_model::schema::Media;
use shim_model::status::{self, Status};

use super::body::Response;
use super::negotiation::{self, Clause};
use super::{reply, version};
use crate::storage::registry::now;

/// The component's name, as upstream's API server calls itself here.
const COMPONENT: &str = "apiserver";

/// Serves a page. `paths` are those that `/` lists.
pub fn serve(
    page: Page,
    headers: &HeaderMap,
    flags: &BTreeMap<String, String>,
    paths: &[String],
) -> Result<Response, Status> {
    let clauses = negotiation::clauses(headers);
    let wanted = clauses.iter().map(|clause: &Clause| Wanted {
        media: &clause.media,
        kind: clause.parameter("as"),
        group: clause.parameter("g"),
        version: clause.parameter("v"),
    });
    let form = zpages::negotiate(page, wanted).ok_or_else(|| status::unacceptable(&AVAILABLE))?;
    let now = now().seconds();
    let binary = version::git_version();
    let about = zpages::Status {
        component: COMPONENT,
        started: exposition::process_start().unwrap_or(now),
        now,
        version: binary.trim_start_matches('v'),
        emulated: version::EMULATED,
        paths,
    };
    let object = |version: Version| match page {
        Page::Statusz => about.object(version),
        Page::Flagz => zpages::flags_object(COMPONENT, flags, version),
    };
    let structured = |media: Media, version: Version| {
        let object: Value = object(version);
        let mut response = reply::value(200, media, &object);
        let warning = version.warning(page);
        reply::add_warnings(&mut response, &warning.into_iter().collect::<Vec<_>>());
        if let Ok(media_type) = HeaderValue::from_str(&form.media_type(page)) {
            response.headers_mut().insert(CONTENT_TYPE, media_type);
        }
        response
    };
    Ok(match (form, page) {
        (Form::Json(version), _) => structured(Media::Json, version),
        (Form::Yaml(version), _) => structured(Media::Yaml, version),
        (Form::Text, Page::Statusz) => reply::text(200, about.text()),
        (Form::Text, Page::Flagz) => reply::text(200, zpages::flags_text(COMPONENT, flags)),
    })
}
