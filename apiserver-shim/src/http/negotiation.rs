//! Content negotiation: the encoding of the response (JSON or YAML), its shape (object, Table or metadata only), and
//! the encoding of request bodies. Pure; the texts of errors are in the model.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use shim_model::schema::Media;
use shim_model::status::{self, Status};

/// The shape of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Shape {
    /// The object itself.
    #[default]
    Object,
    /// A `Table`.
    Table,
    /// A `PartialObjectMetadata`.
    Metadata,
    /// A `PartialObjectMetadataList`.
    MetadataList,
}

/// The negotiated response format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Accepted {
    /// JSON or YAML.
    pub media: Media,
    /// Which shape.
    pub shape: Shape,
}

/// One clause of an Accept header.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// `type/subtype`, lower case.
    pub media: String,
    /// Parameters, in order.
    pub parameters: Vec<(String, String)>,
}

impl Clause {
    /// A parameter's value, or `""`.
    pub fn parameter(&self, key: &str) -> &str {
        self.parameters.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v.as_str())
    }
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// Maximum number of clauses considered.
const CLAUSES_MAX: usize = 32;

/// The clauses of the Accept headers in order of preference. A missing header counts as `*/*`.
pub fn clauses(headers: &HeaderMap) -> Vec<Clause> {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let mut out: Vec<(f32, Clause)> = Vec::new();
    for text in texts.flat_map(|t| t.split(',')).map(str::trim).filter(|t| !t.is_empty()).take(CLAUSES_MAX) {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or("").to_ascii_lowercase();
        let mut quality = 1.0;
        let mut parameters = Vec::new();
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key.trim() {
                "q" => quality = value.trim().parse().unwrap_or(1.0),
                key => parameters.push((key.to_owned(), value.trim().trim_matches('"').to_owned())),
            }
        }
        out.push((quality, Clause { media, parameters }));
    }
    if out.is_empty() {
        return vec![Clause { media: "*/*".into(), parameters: Vec::new() }];
    }
    out.sort_by(|a, b| b.0.total_cmp(&a.0));
    out.into_iter().map(|(_, clause)| clause).collect()
}

/// Negotiates the response format. `watchable` adds the stream types to the list in the error.
pub fn accept(headers: &HeaderMap, watchable: bool) -> Result<Accepted, Status> {
    let clauses = clauses(headers);
    let known = |c: &&Clause| media_of(c).is_some() || c.media == PROTOBUF;
    if !clauses.iter().any(|c| known(&c)) {
        return Err(status::not_acceptable(watchable));
    }
    for clause in &clauses {
        let Some(media) = media_of(clause) else { continue };
        if let Some(shape) = shape_of(clause) {
            return Ok(Accepted { media, shape });
        }
    }
    Err(only_these())
}

/// 406 for media types that are known but not available in this combination.
pub fn only_these() -> Status {
    let message = format!(
        "only the following media types are accepted: application/json, application/yaml, {PROTOBUF}"
    );
    Status::failure(406, "NotAcceptable", message)
}

/// The encoding of an error that occurs before negotiation.
pub fn accept_for_errors(headers: &HeaderMap) -> Media {
    // A Status is never converted: clauses that ask for another shape are ignored.
    clauses(headers).iter().filter(|c| c.parameter("as").is_empty()).find_map(media_of).unwrap_or_default()
}

/// JSON or YAML, if the clause accepts either.
pub fn media_of(clause: &Clause) -> Option<Media> {
    match clause.media.as_str() {
        "*/*" | "application/json" => Some(Media::Json),
        "application/yaml" => Some(Media::Yaml),
        _ => None,
    }
}

fn shape_of(clause: &Clause) -> Option<Shape> {
    let (group, version) = (clause.parameter("g"), clause.parameter("v"));
    let meta = group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1");
    match clause.parameter("as") {
        "" => Some(Shape::Object),
        "Table" if meta => Some(Shape::Table),
        "PartialObjectMetadata" if meta => Some(Shape::Metadata),
        "PartialObjectMetadataList" if meta => Some(Shape::MetadataList),
        _ => None,
    }
}

/// The Content-Type in lower case without parameters; `""` if absent.
pub fn content_type(headers: &HeaderMap) -> Cow<'_, str> {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media = text.split(';').next().unwrap_or("").trim();
    match media.bytes().any(|b| b.is_ascii_uppercase()) {
        true => media.to_ascii_lowercase().into(),
        false => media.into(),
    }
}

const ACCEPTED: &[&str] = &["application/json", "application/yaml"];

/// Clients often send protobuf by default; the message says how to switch to JSON.
fn protobuf_not_read() -> Status {
    let mut status = status::unsupported_media_type(ACCEPTED);
    status.message.push_str(
        " (this client sent protobuf, which this server does not read yet; `kubectl apply`, `kubectl create -f` and \
         `kubectl run` send JSON)",
    );
    status
}

/// The encoding of a request body. Protobuf is not supported yet.
pub fn body_media(headers: &HeaderMap) -> Result<Media, Status> {
    match &*content_type(headers) {
        "" | "application/json" => Ok(Media::Json),
        "application/yaml" => Ok(Media::Yaml),
        PROTOBUF => Err(protobuf_not_read()),
        _ => Err(status::unsupported_media_type(ACCEPTED)),
    }
}

#[cfg(test)]
mod tests;
