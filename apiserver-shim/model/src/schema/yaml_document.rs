//! Reads the first document of a YAML text as upstream does: YAML 1.1 (`yaml_scalar`), with merge keys, and with names of
//! members that may be numbers or booleans. Later documents are not looked at.

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

use super::strict_json::Path;
use super::yaml_scalar::{self, Scalar};

/// The values that a document may have in any case, by its aliases; one without aliases has no more than bytes. As upstream, which
/// counts more finely between this number and ten times it.
const VALUES_MIN: usize = 400_000;
/// The bytes that its scalars may have in any case.
const SCALAR_BYTES_MIN: usize = 16 << 20;
/// How far before a scalar its tag may stand, in bytes.
const TAG_DISTANCE_MAX: usize = 1024;

/// Why a text is no document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum YamlError {
    /// The parser refuses it.
    #[error("{0}")]
    Syntax(#[from] serde_yaml_ng::Error),
    /// It is YAML, but not what JSON can have. The text is upstream's.
    #[error("{0}")]
    Content(String),
}

/// Parses the first document; `duplicates` receives the path of each member that occurs twice.
pub(crate) fn parse(bytes: &[u8], duplicates: &mut Vec<String>) -> Result<Value, YamlError> {
    let text = utf_8(bytes);
    let Some(document) = serde_yaml_ng::Deserializer::from_slice(&text).next() else {
        return Ok(Value::Null);
    };
    let mut reading = Reading {
        text: &text,
        duplicates,
        failure: None,
        values_left: text.len().max(VALUES_MIN),
        bytes_left: text.len().saturating_mul(2).max(SCALAR_BYTES_MIN),
    };
    let seed = Seed { path: &Path::ROOT, reading: &mut reading, tagged: false };
    let value = seed.deserialize(document);
    match reading.failure {
        Some(failure) => Err(YamlError::Content(failure)),
        None => Ok(value?),
    }
}

/// The text in UTF-8: one that begins with the mark of UTF-16 is in that encoding.
pub(super) fn utf_8(bytes: &[u8]) -> Cow<'_, [u8]> {
    let unit: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return Cow::Borrowed(bytes),
    };
    let units = bytes[2..].as_chunks().0.iter().map(|pair| unit(*pair));
    let decoded = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
    Cow::Owned(decoded.collect::<String>().into_bytes())
}

/// A document that is being read.
pub(super) struct Reading<'r> {
    text: &'r [u8],
    duplicates: &'r mut Vec<String>,
    failure: Option<String>,
    /// What aliases may still repeat.
    values_left: usize,
    bytes_left: usize,
}

impl Reading<'_> {
    /// Counts a value, or the bytes of a scalar.
    fn count<E: Error>(&mut self, values: usize, bytes: usize) -> Result<(), E> {
        match (self.values_left.checked_sub(values), self.bytes_left.checked_sub(bytes)) {
            (Some(values_left), Some(bytes_left)) => {
                (self.values_left, self.bytes_left) = (values_left, bytes_left);
                Ok(())
            }
            _ => Err(self.fail("yaml: document contains excessive aliasing")),
        }
    }

    /// Ends the reading.
    fn fail<E: Error>(&mut self, why: impl Into<String>) -> E {
        let why = why.into();
        let error = E::custom(&why);
        self.failure.get_or_insert(why);
        error
    }

    fn resolve(&self, borrowed: &str) -> Scalar {
        resolve(self.text, borrowed)
    }
}

/// What a scalar is that the parser has borrowed from the text: one in quotes, or with a tag, is a text.
pub(super) fn resolve(text: &[u8], borrowed: &str) -> Scalar {
    let start = borrowed.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
    let Some(before) = text.get(..start) else { return Scalar::Text };
    let is_quoted =
        matches!(before.last(), Some(b'\'' | b'"')) && text.get(start + borrowed.len()) == before.last();
    if is_quoted || tag(before).is_some() { Scalar::Text } else { yaml_scalar::resolve(borrowed) }
}

/// The tag at the end of what comes before a scalar, where an anchor may stand between.
fn tag(before: &[u8]) -> Option<&[u8]> {
    let mut before = &before[before.len().saturating_sub(TAG_DISTANCE_MAX)..];
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'[' | b'{' | b',');
    // A scalar has at most an anchor and a tag.
    for _ in 0..2 {
        before = without_comment(before).trim_ascii_end();
        let at = before.iter().rposition(ends).map_or(0, |at| at + 1);
        match &before[at..] {
            token if token.ends_with(b":") || token.contains(&b'"') || token.contains(&b'\'') => return None,
            [b'&', ..] => before = &before[..at],
            token @ [b'!', ..] => return Some(token),
            _ => return None,
        }
    }
    None
}

/// The text without the comments at its end, which are those of lines after which only white space follows.
fn without_comment(mut text: &[u8]) -> &[u8] {
    while let Some(end) = text.iter().rposition(|byte| *byte == b'\n') {
        if !text[end..].trim_ascii().is_empty() {
            break;
        }
        let start = text[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let line = &text[start..end];
        let begins = |at: &usize| line[*at] == b'#' && (*at == 0 || line[at - 1].is_ascii_whitespace());
        match (0..line.len()).find(begins) {
            Some(at) => text = &text[..start + at],
            None if line.trim_ascii().is_empty() => text = &text[..start],
            None => break,
        }
    }
    text
}

struct Seed<'p, 's, 'r> {
    path: &'p Path<'p>,
    reading: &'s mut Reading<'r>,
    /// Whether a tag says that the scalar is a text.
    tagged: bool,
}

impl Seed<'_, '_, '_> {
    fn number(self, number: impl Into<Value>) -> Value {
        let number = number.into();
        if self.tagged { number.to_string().into() } else { number }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.reading.count(1, 0)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(self.number(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(self.number(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(self.number(n))
    }

    fn visit_i128<E: Error>(self, n: i128) -> Result<Value, E> {
        self.visit_f64(n as f64)
    }

    fn visit_u128<E: Error>(self, n: u128) -> Result<Value, E> {
        self.visit_f64(n as f64)
    }

    fn visit_f64<E: Error>(self, n: f64) -> Result<Value, E> {
        match yaml_scalar::float(n) {
            Some(number) => Ok(self.number(number)),
            None => {
                let shown = if n.is_nan() {
                    "NaN"
                } else if n > 0.0 {
                    "+Inf"
                } else {
                    "-Inf"
                };
                Err(self.reading.fail(format!("json: unsupported value: {shown}")))
            }
        }
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Value, E> {
        if self.tagged {
            return self.visit_str(text);
        }
        match self.reading.resolve(text) {
            Scalar::Text | Scalar::Merge => self.visit_str(text),
            Scalar::Bool(value) => Ok(value.into()),
            Scalar::Int(value) => Ok(value.into()),
            Scalar::Uint(value) => Ok(value.into()),
            Scalar::Float(value) => self.visit_f64(value),
        }
    }

    fn visit_str<E: Error>(self, s: &str) -> Result<Value, E> {
        self.reading.count(0, s.len())?;
        Ok(Value::String(s.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        loop {
            let path = self.path.index(out.len());
            match seq.next_element_seed(Seed { path: &path, reading: self.reading, tagged: false })? {
                Some(value) => out.push(value),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = map.next_key_seed(NameSeed { reading: self.reading })? {
            let shown = name.shown();
            let path = self.path.key(&shown);
            let value = map.next_value_seed(Seed { path: &path, reading: self.reading, tagged: false })?;
            match name {
                Name::Member(name) => {
                    if out.insert(name, value).is_some() {
                        self.reading.duplicates.push(path.to_string());
                    }
                }
                Name::Merge => {
                    let Some(members) = merged(value) else {
                        let why = "yaml: map merge requires map or sequence of maps as the value";
                        return Err(self.reading.fail(why));
                    };
                    for (name, value) in members {
                        let path = self.path.key(&name).to_string();
                        if out.insert(name, value).is_some() {
                            self.reading.duplicates.push(path);
                        }
                    }
                }
                Name::Null => {
                    let value = yaml_scalar::go_syntax(&value);
                    let value = value.strip_prefix("interface {}(nil)").map_or(value.as_str(), |_| "<nil>");
                    let why = format!("unsupported map key of type: %!s(<nil>), key: <nil>, value: {value}");
                    return Err(self.reading.fail(why));
                }
                Name::Collection(key) => {
                    let key = yaml_scalar::go_syntax(&key);
                    return Err(self.reading.fail(format!("yaml: invalid map key: {key}")));
                }
            }
        }
        Ok(Value::Object(out))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        let (_, content): (String, A::Variant) = tagged.variant()?;
        content.newtype_variant_seed(Seed { tagged: true, ..self })
    }
}

/// The members that a merge key brings; of several mappings the first prevails.
fn merged(value: Value) -> Option<Vec<(String, Value)>> {
    match value {
        Value::Object(members) => Some(members.into_iter().collect()),
        Value::Array(maps) => {
            let mut out = Map::new();
            for map in maps.into_iter().rev() {
                let Value::Object(members) = map else { return None };
                out.extend(members);
            }
            Some(out.into_iter().collect())
        }
        _ => None,
    }
}

/// The name of a member as it is in the document.
pub(super) enum Name {
    Member(String),
    /// `<<`
    Merge,
    Null,
    /// A list or a mapping.
    Collection(Value),
}

impl Name {
    fn shown(&self) -> String {
        match self {
            Name::Member(name) => name.clone(),
            _ => String::new(),
        }
    }
}

struct NameSeed<'s, 'r> {
    reading: &'s mut Reading<'r>,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_, '_> {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        self.reading.count(1, 0)?;
        let text = self.reading.text;
        let name = deserializer.deserialize_any(NameVisitor { text, reading: Some(self.reading) })?;
        if let Name::Member(name) = &name {
            self.reading.count(0, name.len())?;
        }
        Ok(name)
    }
}

/// Reads the name of a member.
pub(super) struct NameVisitor<'n, 'r> {
    /// The whole text.
    pub text: &'n [u8],
    /// What reads lists and mappings, which are no names; without it they are an error at once.
    pub reading: Option<&'n mut Reading<'r>>,
}

impl<'n, 'r> NameVisitor<'n, 'r> {
    fn collection<E: Error>(self) -> Result<Seed<'static, 'n, 'r>, E> {
        let no_name = || E::custom("a list or a mapping is no name");
        Ok(Seed { path: &Path::ROOT, reading: self.reading.ok_or_else(no_name)?, tagged: false })
    }
}

impl<'de> Visitor<'de> for NameVisitor<'_, '_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_unit<E>(self) -> Result<Name, E> {
        Ok(Name::Null)
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name, E> {
        Ok(match resolve(self.text, name) {
            Scalar::Text => Name::Member(name.to_owned()),
            Scalar::Merge => Name::Merge,
            Scalar::Bool(value) => Name::Member(value.to_string()),
            Scalar::Int(value) => Name::Member(value.to_string()),
            Scalar::Uint(value) => Name::Member(value.to_string()),
            Scalar::Float(value) => Name::Member(yaml_scalar::float_name(value)),
        })
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name::Member(name.to_owned()))
    }

    fn visit_bool<E>(self, b: bool) -> Result<Name, E> {
        Ok(Name::Member(b.to_string()))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Name, E> {
        Ok(Name::Member(n.to_string()))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Name, E> {
        Ok(Name::Member(n.to_string()))
    }

    fn visit_i128<E>(self, n: i128) -> Result<Name, E> {
        Ok(Name::Member(yaml_scalar::float_name(n as f64)))
    }

    fn visit_u128<E>(self, n: u128) -> Result<Name, E> {
        Ok(Name::Member(yaml_scalar::float_name(n as f64)))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Name, E> {
        Ok(Name::Member(yaml_scalar::float_name(n)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Name, A::Error> {
        self.collection()?.visit_seq(seq).map(Name::Collection)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Name, A::Error> {
        self.collection()?.visit_map(map).map(Name::Collection)
    }
}

#[cfg(test)]
mod tests;
