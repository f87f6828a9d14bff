//! Decodes a request body to a checked value: syntax, kind, types, unknown and duplicate members. Errors and warnings
//! have upstream's wording.

use super::yaml_document::{self, YamlError};
use super::{Coercion, Issues, ObjectType, Schema, check, check_metadata, go_json, go_text, scheme};
use super::{duplicate_keys, nesting_limit, strict_fields, strict_json};
use crate::protobuf;
use crate::resource::{KindRef, split_api_version};
use crate::status::{Status, bad_request};
use serde_json::{Map, Value};
use std::fmt;

/// What to do about unknown and duplicate members (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strictness {
    /// Drop them silently.
    Ignore,
    /// Drop them with a warning.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

impl Strictness {
    /// Reads the `fieldValidation` parameter; empty means the default.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Strictness::Warn),
            "Ignore" => Some(Strictness::Ignore),
            "Strict" => Some(Strictness::Strict),
            _ => None,
        }
    }
}

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Media {
    #[default]
    Json,
    Yaml,
    Protobuf,
}

/// A decoded body.
#[derive(Debug)]
pub struct Decoded {
    /// The object, with `apiVersion` and `kind` set, without unknown members, with canonical quantities.
    pub value: Value,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// Decodes an object of type `expected`.
pub fn decode(
    body: &[u8],
    media: Media,
    expected: &ObjectType,
    strictness: Strictness,
) -> Result<Decoded, Status> {
    let kind = expected.kind();
    let mut duplicates = Vec::new();
    let object = match media {
        Media::Protobuf => parse_message(body, expected)?,
        _ => {
            let mut object = parse_object(body, media, kind, &mut duplicates)?;
            if expected.schema().is_structural() {
                check_names_kind(&object, kind, body, media)?;
            }
            check_kind(&mut object, kind, expected.schema())?;
            object
        }
    };
    // As upstream, duplicates of YAML are found by another pass, which knows lines instead of paths.
    let mut lines = Vec::new();
    if media == Media::Yaml && !duplicates.is_empty() {
        duplicates.clear();
        lines = duplicate_keys::told(body);
    }
    let json = (media == Media::Json).then_some(body);
    let found = Found { duplicates, lines, json, complaints: Vec::new() };
    finish(Value::Object(object), expected, found, strictness).map_err(|why| cannot_be_handled(kind, why))
}

/// What a body has told about its members.
struct Found<'a> {
    /// Paths of duplicate members.
    duplicates: Vec<String>,
    /// What is said about duplicate members of YAML.
    lines: Vec<String>,
    /// The body, if the order of its members counts.
    json: Option<&'a [u8]>,
    /// What a patch has told already.
    complaints: Vec<String>,
}

fn cannot_be_handled(KindRef { version, kind, .. }: KindRef<'_>, why: impl fmt::Display) -> Status {
    bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
}

/// Reads an object from a protobuf message in its envelope. `apiVersion` and `kind` are the envelope's.
fn parse_message(body: &[u8], expected: &ObjectType) -> Result<Map<String, Value>, Status> {
    const NO_MESSAGE: &str = "object *unstructured.Unstructured does not implement the protobuf marshalling \
        interface and cannot be encoded to a protobuf message";
    let kind = expected.kind();
    let envelope = protobuf::open(body).map_err(|why| unrecognized(kind, &why, body))?;
    let mut head = Map::new();
    head.insert("apiVersion".into(), envelope.api_version.into());
    head.insert("kind".into(), envelope.kind.into());
    check_kind(&mut head, kind, expected.schema())?;
    let message = expected.message().ok_or_else(|| cannot_be_handled(kind, NO_MESSAGE))?;
    let mut object = protobuf::decode(message, envelope.raw).map_err(|why| cannot_be_handled(kind, why))?;
    object.append(&mut head);
    Ok(object)
}

/// Decodes an object without looking into it; `expected` is the kind that refusals name.
pub fn decode_untyped(body: &[u8], media: Media, expected: KindRef<'_>) -> Result<Value, Status> {
    if media == Media::Protobuf {
        let envelope = protobuf::open(body).map_err(|why| unrecognized(expected, &why, body))?;
        let message = protobuf::message_of_kind(expected).ok_or_else(|| unrecognized(expected, "", body))?;
        let object = protobuf::decode(message, envelope.raw);
        return object.map(Value::Object).map_err(|why| cannot_be_handled(expected, why));
    }
    parse_object(body, media, expected, &mut Vec::new()).map(Value::Object)
}

fn parse_object(
    body: &[u8],
    media: Media,
    expected: KindRef<'_>,
    duplicates: &mut Vec<String>,
) -> Result<Map<String, Value>, Status> {
    match parse(body, media, duplicates).map_err(|why| unrecognized(expected, &why, body))? {
        Value::Object(object) => match wrong_type_meta(&object) {
            Some(why) => {
                let why = format!("couldn't get version/kind; json parse error: {why}");
                Err(unrecognized(expected, &why, body))
            }
            None => match odd_version(&object) {
                Some(odd) => {
                    let why = format!("unexpected GroupVersion string: {odd}");
                    Err(unrecognized(expected, &why, body))
                }
                None => Ok(object),
            },
        },
        Value::Null => Ok(Map::new()),
        other => {
            let why = format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
                kind_word(&other)
            );
            Err(unrecognized(expected, &why, body))
        }
    }
}

/// An `apiVersion` that is none.
fn odd_version(object: &Map<String, Value>) -> Option<&str> {
    object.get("apiVersion")?.as_str().filter(|version| version.matches('/').count() > 1)
}

/// What is wrong with the members that name the kind. Go finds them in any case.
fn wrong_type_meta(object: &Map<String, Value>) -> Option<String> {
    ["apiVersion", "kind"].into_iter().find_map(|name| {
        let of = |(key, value): (&String, &Value)| {
            (key.eq_ignore_ascii_case(name) && !value.is_string() && !value.is_null())
                .then(|| kind_word(value))
        };
        let found = object.iter().find_map(of)?;
        Some(format!("json: cannot unmarshal {found} into Go struct field .{name} of type string"))
    })
}

/// Checks the result of a patch. The error is the bare reason, which the caller wraps. `complaints` are those about the patch.
pub fn check_patched(
    value: Value,
    expected: &ObjectType,
    complaints: Vec<String>,
    strictness: Strictness,
) -> Result<Decoded, String> {
    finish(
        value,
        expected,
        Found { duplicates: Vec::new(), lines: Vec::new(), json: None, complaints },
        strictness,
    )
}

/// Decodes the object of a custom resource: metadata as of every object, the rest by its schema.
fn coerced(expected: &ObjectType, coercion: &dyn Coercion, value: &mut Value) -> Result<Issues, String> {
    let mut issues = check_metadata(expected, value);
    if issues.mismatch.is_none() && value["kind"] == expected.kind().kind {
        issues.unknown.extend(coercion.coerce(value)?);
    }
    Ok(issues)
}

fn finish(
    mut value: Value,
    expected: &ObjectType,
    found: Found<'_>,
    strictness: Strictness,
) -> Result<Decoded, String> {
    let issues = match expected.coercion() {
        None => check(expected, &mut value),
        Some(coercion) => coerced(expected, coercion, &mut value)?,
    };
    if let Some(mismatch) = issues.mismatch {
        return Err(mismatch);
    }
    let complaints = match strictness {
        Strictness::Ignore => Vec::new(),
        _ => complaints(expected, &found, &issues.unknown),
    };
    let lines = if strictness == Strictness::Ignore { Vec::new() } else { found.lines };
    if strictness == Strictness::Strict && !(complaints.is_empty() && lines.is_empty()) {
        let lines = (!lines.is_empty()).then(|| duplicate_keys::unmarshal_errors(&lines));
        let all: Vec<String> = lines.into_iter().chain(complaints).collect();
        return Err(format!("strict decoding error: {}", all.join(", ")));
    }
    Ok(Decoded { value, warnings: lines.into_iter().chain(complaints).collect() })
}

/// A typed JSON body has its complaints in the order of the document. Upstream decodes everything else twice: duplicate members
/// come first.
fn complaints(expected: &ObjectType, found: &Found<'_>, unknown: &[String]) -> Vec<String> {
    if found.duplicates.is_empty() && found.complaints.is_empty() && unknown.is_empty() {
        return Vec::new();
    }
    let typed = found.json.filter(|_| expected.coercion().is_none());
    typed.and_then(|body| strict_fields::find(body, expected)).unwrap_or_else(|| {
        let duplicates = found.duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
        found
            .complaints
            .iter()
            .cloned()
            .chain(duplicates)
            .chain(unknown.iter().map(|path| format!("unknown field \"{path}\"")))
            .collect()
    })
}

/// Parses a body of either encoding. The error continues "the object provided is unrecognized".
pub(crate) fn parse(body: &[u8], media: Media, duplicates: &mut Vec<String>) -> Result<Value, String> {
    if media == Media::Yaml && has_control_characters(body) {
        return Err("yaml: control characters are not allowed".to_owned());
    }
    let json = media != Media::Yaml || body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
    let parsed = if json { parse_plain(body, duplicates) } else { Err(String::new()) };
    match (parsed, media) {
        (Ok(value), _) => Ok(value),
        (Err(why), Media::Json | Media::Protobuf) => {
            Err(format!("couldn't get version/kind; json parse error: {why}"))
        }
        (Err(_), Media::Yaml) => {
            duplicates.clear();
            yaml(body, duplicates)
        }
    }
}

/// Whether a text has characters that YAML does not, outside of escapes.
fn has_control_characters(body: &[u8]) -> bool {
    let unprintable = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    std::str::from_utf8(body).is_ok_and(|text| text.contains(unprintable))
}

/// Parses any JSON; errors have Go's wording.
pub fn plain_json(body: &[u8]) -> Result<Value, String> {
    parse_plain(body, &mut Vec::new())
}

/// Parses any YAML; errors have Go's wording.
pub fn plain_yaml(body: &[u8]) -> Result<Value, String> {
    yaml(body, &mut Vec::new())
}

/// Like [`plain_json`]; `duplicates` receives duplicate members.
pub(crate) fn parse_plain(body: &[u8], duplicates: &mut Vec<String>) -> Result<Value, String> {
    let refused = match strict_json::from_json(body, duplicates) {
        Ok(value) => return Ok(value),
        Err(e) => e,
    };
    match go_text::lenient(body) {
        Some(repaired) => {
            duplicates.clear();
            strict_json::from_json(&repaired, duplicates).map_err(|e| json_error(&repaired, &e))
        }
        None => Err(json_error(body, &refused)),
    }
}

/// Parses the first document of a YAML body and ignores further ones, as upstream does.
pub(super) fn yaml(body: &[u8], duplicates: &mut Vec<String>) -> Result<Value, String> {
    if nesting_limit::is_exceeded(body) {
        return Err("yaml: too many brackets for a body of this length; send it as JSON".to_owned());
    }
    yaml_document::parse(body, duplicates).map_err(|e| {
        let e = match e {
            YamlError::Content(why) => return why,
            YamlError::Syntax(error) => error,
        };
        let text = e.to_string();
        let why = text.split_once(" at line ").map_or(text.as_str(), |(why, _)| why);
        // Upstream omits the line number for the first line.
        match e.location().map_or(0, |l| l.line()) {
            0 | 1 => format!("yaml: {why}"),
            line => format!("yaml: line {line}: {why}"),
        }
    })
}

/// A JSON syntax error in Go's wording.
pub(crate) fn json_error(body: &[u8], error: &serde_json::Error) -> String {
    if let Some(complaint) = go_json::complaint(body) {
        return complaint;
    }
    match body.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'[') => "json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }".to_owned(),
        _ if error.is_syntax() => "exceeded max depth".to_owned(),
        _ => error.to_string(),
    }
}

pub(crate) fn kind_word(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Object(_) => "object",
        _ => "bool",
    }
}

fn check_kind(object: &mut Map<String, Value>, expected: KindRef<'_>, schema: &Schema) -> Result<(), Status> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let wanted = expected.api_version();
    // Evictions are read in the version that clients of old send them in, too.
    let is_old = expected.kind == "Eviction" && api_version == "policy/v1beta1";
    if (api_version == wanted || api_version.is_empty() || is_old)
        && (kind == expected.kind || kind.is_empty())
    {
        if api_version != wanted || kind.is_empty() {
            object.insert("apiVersion".into(), wanted.into());
            object.insert("kind".into(), expected.kind.into());
        }
        return Ok(());
    }
    let (group, version) = if api_version.is_empty() {
        (expected.group, expected.version)
    } else {
        split_api_version(&api_version)
    };
    let kind = if kind.is_empty() { expected.kind } else { kind.as_str() };
    if schema.is_structural() {
        return check_custom_kind(object, expected, &found_version(group, version));
    }
    let found = found_version(group, version);
    let why = if !scheme::knows(schema, group, version, kind) {
        format!(
            "no kind \"{kind}\" is registered for version \"{found}\" in scheme \"{}\"",
            scheme::name(expected.group)
        )
    } else if kind == expected.kind {
        let message = format!(
            "the API version in the data ({found}) does not match the expected API version ({wanted})"
        );
        return Err(bad_request(message));
    } else {
        format!(
            "converting ({version}.{kind}) to ({}.{}): unknown conversion",
            internal_package(expected.group),
            expected.kind
        )
    };
    Err(bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {}: {why}",
        expected.kind
    )))
}

/// A custom resource of another version is refused; one of another kind is decoded, and validation refuses it.
/// Objects of definitions must say what they are, unlike others.
fn check_names_kind(
    object: &Map<String, Value>,
    expected: KindRef<'_>,
    body: &[u8],
    media: Media,
) -> Result<(), Status> {
    let is_named =
        |member: &str| object.get(member).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if !is_named("kind") {
        let shown = match media {
            Media::Json => String::from_utf8_lossy(body).into_owned(),
            _ => Value::Object(object.clone()).to_string(),
        };
        return Err(unrecognized(expected, &format!("Object 'Kind' is missing in '{shown}'"), body));
    }
    if !is_named("apiVersion") {
        let wanted = expected.api_version();
        return Err(bad_request(format!(
            "the API version in the data () does not match the expected API version ({wanted})"
        )));
    }
    Ok(())
}

fn check_custom_kind(
    object: &mut Map<String, Value>,
    expected: KindRef<'_>,
    found: &str,
) -> Result<(), Status> {
    let wanted = expected.api_version();
    if found != wanted {
        let message = format!(
            "the API version in the data ({found}) does not match the expected API version ({wanted})"
        );
        return Err(bad_request(message));
    }
    object.insert("apiVersion".into(), wanted.into());
    Ok(())
}

fn found_version(group: &str, version: &str) -> String {
    crate::resource::api_version(group, version)
}

fn internal_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        other => other.split('.').next().unwrap_or(other),
    }
}

fn unrecognized(expected: KindRef<'_>, why: &str, body: &[u8]) -> Status {
    let message = format!(
        "the object provided is unrecognized (must be of type {}): {why} ({})",
        expected.kind,
        summary(body)
    );
    bad_request(message)
}

/// The beginning of a body for messages: as text if it looks like JSON, otherwise in hexadecimal.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let head = &body[..body.len().min(SHOWN)];
    let more = if body.len() > SHOWN { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => format!("{}{more}", head.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}
