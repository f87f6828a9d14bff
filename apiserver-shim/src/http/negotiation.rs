//! Content negotiation: the encoding of the response (JSON, YAML or protobuf), its shape (object, Table or metadata only),
//! and the encoding of request bodies. Pure; the texts of errors are in the model.

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
    /// JSON, YAML or protobuf.
    pub media: Media,
    /// Which shape.
    pub shape: Shape,
    /// Whether the shape's own version is the older one, `meta.k8s.io/v1beta1`.
    pub is_beta: bool,
}

/// One clause of an Accept header.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// `type/subtype`. As upstream, the case matters.
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

const PROTOBUF: &str = shim_model::protobuf::MEDIA_TYPE;
/// Maximum number of clauses considered.
const CLAUSES_MAX: usize = 32;

/// The clauses of the Accept headers in order of preference. A missing header counts as `*/*`.
pub fn clauses(headers: &HeaderMap) -> Vec<Clause> {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let mut out: Vec<(f32, Clause)> = Vec::new();
    for text in texts.flat_map(|t| t.split(',')).map(str::trim).filter(|t| !t.is_empty()).take(CLAUSES_MAX) {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or("").to_owned();
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
    // As upstream's library: higher qualities first, and specific types before wildcards whatever their quality. This is no
    // order, so that the algorithm matters: for as few clauses as clients send, upstream's is insertion.
    for at in 1..out.len() {
        let mut at = at;
        while at > 0 && precedes(&out[at], &out[at - 1]) {
            out.swap(at, at - 1);
            at -= 1;
        }
    }
    out.into_iter().map(|(_, clause)| clause).collect()
}

fn precedes((quality, clause): &(f32, Clause), (other_quality, other): &(f32, Clause)) -> bool {
    let wild = |clause: &Clause| {
        let (ty, subtype) = clause.media.split_once('/').unwrap_or((&clause.media, ""));
        (ty == "*", subtype == "*")
    };
    let ((ty, subtype), (other_ty, other_subtype)) = (wild(clause), wild(other));
    quality > other_quality || (!ty && other_ty) || (!subtype && other_subtype)
}

/// What an endpoint can answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// It has watches: the error for unknown types lists those of streams.
    pub watchable: bool,
    /// Its objects have protobuf messages.
    pub protobuf: bool,
    /// Its objects have rows of tables.
    pub tables: bool,
    /// Its objects can be reduced to their metadata.
    pub shapes: bool,
}

impl Endpoint {
    /// An endpoint of a document that has a message and cannot be watched.
    pub const DOCUMENT: Endpoint = Endpoint { watchable: false, protobuf: true, tables: true, shapes: true };
}

/// Negotiates the response format.
pub fn accept(headers: &HeaderMap, endpoint: Endpoint) -> Result<Accepted, Status> {
    if let Some(accepted) = plain(headers, endpoint) {
        return Ok(accepted);
    }
    let clauses = clauses(headers);
    if endpoint.protobuf && !clauses.iter().any(is_known) {
        return Err(status::not_acceptable(endpoint.watchable));
    }
    for clause in &clauses {
        for media in media_of(clause) {
            if let Some(shape) = shape_of(clause, *media, endpoint) {
                let is_beta = shape != Shape::Object && clause.parameter("v") == "v1beta1";
                return Ok(Accepted { media: *media, shape, is_beta });
            }
        }
    }
    Err(only_these())
}

/// The format if the header is one type without parameters, which most requests have.
fn plain(headers: &HeaderMap, endpoint: Endpoint) -> Option<Accepted> {
    let mut values = headers.get_all(ACCEPT).iter();
    let media = match (values.next()?.as_bytes(), values.next()) {
        (b"application/json", None) => Media::Json,
        (value, None) if value == PROTOBUF.as_bytes() && endpoint.protobuf => Media::Protobuf,
        _ => return None,
    };
    Some(Accepted { media, shape: Shape::Object, is_beta: false })
}

/// Whether a clause names a type that is served. A wildcard for the subtype alone does not, as upstream.
pub fn is_known(clause: &Clause) -> bool {
    !media_of(clause).is_empty() && clause.media != "application/*"
}

/// Negotiates the format of the events of a watch. There are no streams of YAML.
pub fn accept_stream(accepted: Accepted) -> Result<Accepted, Status> {
    match accepted.media {
        Media::Yaml => Err(Status::failure(
            406,
            "NotAcceptable",
            format!(
                "only the following media types are accepted: application/json;stream=watch, {PROTOBUF};stream=watch"
            ),
        )),
        Media::Json | Media::Protobuf => Ok(accepted),
    }
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
    let clauses = clauses(headers);
    let plain = |c: &&Clause| ["as", "g", "v"].iter().all(|key| c.parameter(key).is_empty());
    clauses.iter().filter(plain).find_map(|c| media_of(c).first()).copied().unwrap_or_default()
}

/// The encodings that a clause accepts, the preferred one first.
pub fn media_of(clause: &Clause) -> &'static [Media] {
    match clause.media.as_str() {
        "*/*" | "application/*" => &[Media::Json, Media::Yaml, Media::Protobuf],
        "application/json" => &[Media::Json],
        "application/yaml" => &[Media::Yaml],
        PROTOBUF => &[Media::Protobuf],
        _ => &[],
    }
}

/// The shape that a clause asks for, if the endpoint has it in this encoding.
fn shape_of(clause: &Clause, media: Media, endpoint: Endpoint) -> Option<Shape> {
    let stream = clause.parameter("stream");
    if !stream.is_empty() && (stream != "watch" || media == Media::Yaml) {
        return None;
    }
    let (group, version) = (clause.parameter("g"), clause.parameter("v"));
    let meta = endpoint.shapes && group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1");
    let protobuf = media == Media::Protobuf;
    match clause.parameter("as") {
        "" if !group.is_empty() || !version.is_empty() => None,
        "" => Some(Shape::Object).filter(|_| endpoint.protobuf || !protobuf),
        "Table" if meta && !protobuf && endpoint.tables => Some(Shape::Table),
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

/// The media type of a patch. As upstream, it is what comes before the first semicolon, to the letter.
pub fn patch_type(headers: &HeaderMap) -> &str {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    text.split(';').next().unwrap_or("")
}

const ACCEPTED: &[&str] = &["application/json", "application/yaml", PROTOBUF];

/// The encoding of a request body.
pub fn body_media(headers: &HeaderMap) -> Result<Media, Status> {
    match &*content_type(headers) {
        "" | "application/json" => Ok(Media::Json),
        "application/yaml" => Ok(Media::Yaml),
        PROTOBUF => Ok(Media::Protobuf),
        _ => Err(status::unsupported_media_type(ACCEPTED)),
    }
}

#[cfg(test)]
mod tests;
